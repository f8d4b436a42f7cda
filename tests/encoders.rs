//! The encoders against `transformers` (`scripts/encoders/golden.py`): two tiny random checkpoints always, the real
//! weights where `scripts/encoders.sh` has put them; and what is refused.
#![cfg(feature = "mlx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use brainstem::config::Light;
use brainstem::intent::encoder::{Encoder, Headed};
use brainstem::intent::{Classifier, load};
use serde::Deserialize;
use support::{Options, eventually};

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    models: HashMap<String, Vec<Read>>,
}

#[derive(Deserialize)]
struct Read {
    /// Empty for the long text.
    ids: Vec<u32>,
    tokens: usize,
    /// Of length 1, in ten-thousandths.
    vector: Vec<f32>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The least cosine between our vectors and those of `transformers`, one text at a time and all in one go.
fn least_cosine(dir: &Path, name: &str) -> f64 {
    let golden = std::fs::read_to_string(root().join("tests/fixtures/encoders-golden.json")).unwrap();
    let golden: Golden = serde_json::from_str(&golden).unwrap();
    let encoder = Encoder::load(dir).unwrap();
    let together = encoder.embed_all(&golden.texts).unwrap();
    let mut least = 1.0f64;
    for ((text, read), batched) in golden.texts.iter().zip(&golden.models[name]).zip(&together) {
        let pieces = encoder.pieces(text).unwrap();
        assert_eq!(pieces.len(), read.tokens, "{name}: {text:.40}");
        assert!(read.ids.is_empty() || read.ids == pieces, "{name}: {text:.40}: {pieces:?}");
        least = least.min(cosine(&encoder.embed(text).unwrap(), &read.vector));
        least = least.min(cosine(batched, &read.vector));
    }
    println!("{name}: cosine at least {least:.7}");
    least
}

fn tiny(kind: &str) -> PathBuf {
    root().join("tests/fixtures/encoders").join(kind)
}

#[test]
fn tiny_checkpoints_read_as_transformers_reads_them() {
    // BERT: F16, "bert." before the names, a pooler, the first piece, not normalised. XLM-RoBERTa: BF16, positions
    // from 2, the mean.
    for kind in ["bert", "roberta"] {
        let least = least_cosine(&tiny(kind), &format!("tiny-{kind}"));
        assert!(least >= 0.9999, "{kind}: {least}");
    }
}

/// The directory of a real encoder; or says that and why it is not tested.
fn real(name: &str) -> Option<PathBuf> {
    let dir = root().join(".cache/encoders").join(name);
    let there = dir.join("model.safetensors").exists();
    if !there {
        eprintln!("skipped: {name} is not here; scripts/encoders.sh fetches it");
    }
    there.then_some(dir)
}

#[test]
fn minilm_reads_as_transformers_reads_it() {
    for name in ["minilm", "minilm-half"] {
        let Some(dir) = real(name) else { continue };
        let least = least_cosine(&dir, "minilm");
        assert!(least >= 0.9999, "{name}: {least}");
    }
}

#[test]
fn e5_reads_as_transformers_reads_it() {
    let Some(dir) = real("e5-small") else { return };
    let least = least_cosine(&dir, "e5-small");
    assert!(least >= 0.9999, "{least}");
}

/// A copy of a tiny checkpoint that may be changed.
fn copy(kind: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(tiny(kind).join(name), dir.path().join(name)).unwrap();
    }
    dir
}

fn light(max_bytes: u64) -> Light {
    Light {
        only_light: true,
        max_bytes,
        preload: true,
        cache_limit: 1 << 20,
        model: PathBuf::new(),
        max_parameters: 0,
        max_model_bytes: 0,
        memory_limit: 0,
        context: 0,
        idle_unload: std::time::Duration::ZERO,
    }
}

#[test]
fn a_directory_becomes_a_classifier_and_keeps_the_head_it_made() {
    let dir = copy("bert");
    let mut classifier = load::load(dir.path(), &light(1 << 20)).unwrap();
    let about = classifier.describe();
    assert!(
        about.contains("bert of 2 layers x 16 over 152 pieces, 0.0 M parameters, head of our phrases"),
        "{about}"
    );
    assert!(about.contains(" ms, p99 "), "{about}");
    let verdict = classifier.classify("hello there, how are you today?").unwrap();
    assert!((verdict.scores.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    assert_eq!(verdict.embedding.len(), 16);
    let made = dir.path().join("head.made.safetensors");
    let bytes = std::fs::read(&made).unwrap();
    // The second time it is read, and says the same; as a trained head, too.
    let again = Headed::load(dir.path()).unwrap().classify("hello there, how are you today?").unwrap();
    assert_eq!(again.scores, verdict.scores);
    std::fs::rename(&made, dir.path().join("head.safetensors")).unwrap();
    assert!(Headed::load(dir.path()).unwrap().describe().contains("trained head"));
    // Another encoder's head does not fit: made anew if it was made, refused if it was trained.
    std::fs::copy(tiny("roberta").join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    std::fs::copy(tiny("roberta").join("config.json"), dir.path().join("config.json")).unwrap();
    std::fs::copy(tiny("roberta").join("tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
    let error = Headed::load(dir.path()).err().unwrap().to_string();
    assert!(error.contains("head.safetensors: was trained on the vectors of another encoder"), "{error}");
    std::fs::remove_file(dir.path().join("head.safetensors")).unwrap();
    std::fs::write(&made, bytes).unwrap();
    assert!(Headed::load(dir.path()).is_ok());
}

/// Something done to a copy of a checkpoint.
type Change = Box<dyn FnOnce(&Path)>;

/// Why a changed copy is refused.
fn refused(change: impl FnOnce(&Path), max_bytes: u64) -> String {
    let dir = copy("bert");
    change(dir.path());
    load::load(dir.path(), &light(max_bytes)).err().expect("it should be refused")
}

fn replace(file: &'static str, from: &'static str, to: &'static str) -> impl FnOnce(&Path) {
    assert!(!file.ends_with("safetensors") || from.len() == to.len());
    move |dir| {
        let path = dir.join(file);
        let bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        let changed = [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat();
        std::fs::write(path, changed).unwrap();
    }
}

#[test]
fn what_does_not_fit_is_refused_and_named() {
    const WEIGHTS: &str = "model.safetensors";
    let cases: [(Change, &str); 9] = [
        (
            Box::new(replace(WEIGHTS, "layer.1.output.dense.bias", "layer.1.output.dense.bios")),
            "unknown tensor \"bert.encoder.layer.1.output.dense.bios\"",
        ),
        (
            Box::new(replace(
                WEIGHTS,
                "bert.encoder.layer.1.output.dense.bias",
                "bert.pooler.layer.1.output.dense1.bias",
            )),
            "no tensor \"encoder.layer.1.output.dense.bias\"",
        ),
        (
            Box::new(replace("config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1")),
            "unknown tensor \"bert.encoder.layer.1.",
        ),
        (
            Box::new(replace("config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3")),
            "no tensor \"encoder.layer.2.",
        ),
        (
            Box::new(replace("config.json", "\"intermediate_size\": 32", "\"intermediate_size\": 31")),
            "config.json says [31",
        ),
        (Box::new(replace("config.json", "\"vocab_size\": 152", "\"vocab_size\": 151")), "has a piece 151"),
        (
            Box::new(|dir| {
                let bytes = std::fs::read(dir.join(WEIGHTS)).unwrap();
                std::fs::write(dir.join(WEIGHTS), &bytes[..bytes.len() - 1]).unwrap();
            }),
            "cut off or damaged",
        ),
        (
            Box::new(|dir| std::fs::write(dir.join(WEIGHTS), b"short").unwrap()),
            "cut off: no safetensors header",
        ),
        (Box::new(|dir| std::fs::write(dir.join("tokenizer.json"), b"{}").unwrap()), "tokenizer.json: "),
    ];
    for (change, expected) in cases {
        let error = refused(change, 1 << 20);
        assert!(error.contains(expected) && !error.contains('\n'), "{expected}: {error}");
    }
}

#[test]
fn what_is_too_large_or_of_another_kind_is_refused_before_it_is_read() {
    let error = refused(|_| {}, 20_000);
    assert!(
        error.contains("20088 bytes (0.0 M parameters), above light.max_bytes = 20000 (light.only_light)"),
        "{error}"
    );
    let error = refused(replace("config.json", "\"bert\"", "\"qwen3\""), 1 << 20);
    assert!(
        error.contains(
            "model_type \"qwen3\" (BertModel) is no classifier here; supported: bert, roberta, xlm-roberta"
        ),
        "{error}"
    );
    let error = refused(
        |dir| {
            std::fs::rename(dir.join("model.safetensors"), dir.join("model-00001-of-00002.safetensors"))
                .unwrap();
            std::fs::write(dir.join("model.safetensors.index.json"), b"{}").unwrap();
        },
        1 << 20,
    );
    assert!(error.contains("a model in several parts is not supported"), "{error}");
    let error = refused(|dir| std::fs::remove_file(dir.join("config.json")).unwrap(), 1 << 20);
    assert!(error.contains("config.json: No such file"), "{error}");
}

#[test]
fn the_proxy_runs_on_without_a_refused_model_and_says_why() {
    let dir = copy("bert");
    let running = Options::before_nobody()
        .set("classifier.mode", "on")
        .set("classifier.model", dir.path().display().to_string())
        .set("light.max_bytes", "20kB")
        .start();
    eventually(support::DEADLINE, "the refusal is told", || {
        running.admin("/readyz").text().contains("above light.max_bytes = 20000 (light.only_light)")
    });
    assert_eq!(running.admin("/readyz").status, 200);
    assert!(running.admin("/metrics").text().contains("\nbrainstem_classifier_up 0\n"));
    assert_eq!(running.chat("hello").header("x-brainstem-route"), Some("local"));
}

#[test]
fn a_running_proxy_tells_how_fast_its_encoder_is() {
    let dir = copy("roberta");
    let running = Options::before_nobody()
        .set("classifier.mode", "on")
        .set("classifier.model", dir.path().display().to_string())
        .start();
    eventually(support::DEADLINE, "the encoder is ready", || {
        let reply = running.admin("/readyz");
        let ready = reply.text();
        ready.contains("xlm-roberta of 2 layers") && ready.contains(" p50 ") && ready.contains(" p99 ")
    });
}
