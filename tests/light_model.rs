//! The light model against `mlx-lm` (`scripts/light/golden.py`): tiny random checkpoints of every family always,
//! SmolLM2 where `scripts/light-model.sh` has put it; what is refused; and the engine inside a running proxy.
#![cfg(feature = "mlx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use brainstem::light::model::{Bounds, Model};
use brainstem::light::{Finish, Limits, Prompt, Refusal, Role, Written};
use safetensors::{SafeTensors, serialize};
use serde::Deserialize;
use support::{Options, eventually};

const BOUNDS: Bounds = Bounds { parameters: u64::MAX, bytes: u64::MAX, context: 512 };

#[derive(Deserialize)]
struct Golden {
    tiny: BTreeMap<String, Read>,
    smollm2: Vec<Said>,
}

#[derive(Deserialize)]
struct Read {
    ids: Vec<u32>,
    at: Vec<usize>,
    logits: Vec<Vec<f32>>,
    follows: Vec<u32>,
}

#[derive(Deserialize)]
struct Said {
    text: String,
    ids: Vec<u32>,
    follows: Vec<u32>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/light")
}

fn golden() -> Golden {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join("golden.json")).unwrap()).unwrap()
}

fn tiny(name: &str) -> Model {
    Model::load(&fixtures().join(name), &BOUNDS).unwrap()
}

fn write(model: &mut Model, prompt: &Prompt, limits: &Limits) -> (Written, Vec<String>) {
    let mut pieces = Vec::new();
    let mut listener = |piece: &str| {
        pieces.push(piece.to_owned());
        true
    };
    let written = model.write(prompt, limits, &|| true, &mut listener).unwrap();
    (written, pieces)
}

#[test]
fn tiny_checkpoints_of_every_family_read_and_go_on_as_mlx_lm_does() {
    let mut wrong = Vec::new();
    for (name, read) in golden().tiny {
        let mut model = tiny(&name);
        let logits = model.logits(&read.ids).unwrap();
        let mut worst = 0.0f32;
        for (at, expected) in read.at.iter().zip(&read.logits) {
            let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            let off = logits[*at].iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            worst = worst.max(off / largest);
        }
        let follows = model.greedy(&read.ids, read.follows.len()).unwrap();
        let alike = follows.iter().zip(&read.follows).take_while(|(a, b)| a == b).count();
        println!("{name}: {}, logits off by {worst:.1e} of the largest, {alike} tokens alike", model.about());
        if worst >= 1e-3 || alike < read.follows.len() {
            wrong.push(format!("{name}: {worst:.1e}, {alike} tokens"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// SmolLM2's directory; or says that and why it is not tested.
fn smollm2() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/light/smollm2-135m");
    let there = dir.join("model.safetensors").exists();
    if !there {
        eprintln!("skipped: SmolLM2 is not here; scripts/light-model.sh fetches it");
    }
    there.then_some(dir)
}

#[test]
fn smollm2_says_the_same_64_tokens_as_in_mlx_lm() {
    let Some(dir) = smollm2() else { return };
    let mut model = Model::load(&dir, &BOUNDS).unwrap();
    assert_eq!(model.about().kind, "llama, 4 bit");
    assert_eq!(model.about().parameters, 134_515_008);
    for said in golden().smollm2 {
        assert_eq!(model.tokens(&Prompt::of(&said.text)).unwrap(), said.ids, "{}", said.text);
        assert_eq!(model.greedy(&said.ids, said.follows.len()).unwrap(), said.follows, "{}", said.text);
    }
}

#[test]
fn smollm2_chooses_what_is_so() {
    let Some(dir) = smollm2() else { return };
    let mut model = Model::load(&dir, &BOUNDS).unwrap();
    let prompt = Prompt::of("What is the capital of France? Answer with the city's name alone.");
    let choices = ["London", "Paris", "Madrid", "Rome"].map(str::to_owned);
    let shares = model.choose(&prompt, &choices, &|| true).unwrap();
    assert!(shares[1] > 0.5, "{shares:?}");
}

#[test]
fn shares_are_those_of_the_logits_and_sum_to_one() {
    let mut model = tiny("qwen3-f32");
    let prompt = Prompt::of("pick one");
    let tokens = model.tokens(&prompt).unwrap();
    let choices = ["a", "b", "c"].map(str::to_owned);
    let shares = model.choose(&prompt, &choices, &|| true).unwrap();
    let logits = model.logits(&tokens).unwrap().pop().unwrap();
    // A letter is one token, the third: behind the mark of the beginning and the role's.
    let ids = choices.map(|choice| model.tokens(&Prompt::of(choice)).unwrap()[2]);
    let powers = ids.map(|id| logits[id as usize].exp());
    for (share, power) in shares.iter().zip(powers) {
        assert!((share - power / powers.iter().sum::<f32>()).abs() < 1e-4, "{shares:?} {powers:?}");
    }
}

#[test]
fn long_labels_and_labels_within_labels_are_weighed() {
    for name in ["llama-bf16", "gemma3-4bit", "phi3-f16"] {
        let mut model = tiny(name);
        let prompt = Prompt::of("which label?").under("one word");
        let choices = ["data", "data_question", "data_query", "coding", "code", "coding"].map(str::to_owned);
        let shares = model.choose(&prompt, &choices, &|| true).unwrap();
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-4, "{shares:?}");
        assert!(shares.iter().all(|share| *share > 0.0), "{shares:?}");
        assert_eq!(shares[3], shares[5], "the same label twice has half of it each");
        // What was read before changes nothing but the time it takes.
        model.choose(&Prompt::of("something else"), &choices, &|| true).unwrap();
        let again = model.choose(&prompt, &choices, &|| true).unwrap();
        assert!(shares.iter().zip(&again).all(|(a, b)| (a - b).abs() < 0.02), "{shares:?} {again:?}");
        assert_eq!(model.choose(&prompt, &choices[..1], &|| true).unwrap(), [1.0]);
        assert_eq!(model.choose(&prompt, &[], &|| true).unwrap(), [0.0f32; 0]);
    }
}

#[test]
fn pieces_are_whole_characters_and_make_the_text() {
    // Random weights over bytes: most of what they say is no UTF-8, which is the point.
    let mut model = tiny("qwen2-f16");
    for seed in 0..8 {
        let limits = Limits { max_tokens: 60, temperature: 1.0, seed, ..Limits::default() };
        let (written, pieces) = write(&mut model, &Prompt::of("говори"), &limits);
        assert_eq!(pieces.concat(), written.text);
        assert!(pieces.iter().all(|piece| !piece.is_empty()));
        let whole = (written.tokens, written.finish) == (60, Finish::Length);
        assert!(whole || written.tokens < 60 && written.finish == Finish::Stop, "{written:?}");
    }
    let limits = Limits { max_tokens: 60, temperature: 1.0, seed: 3, ..Limits::default() };
    let (written, _) = write(&mut model, &Prompt::of("говори"), &limits);
    let (again, _) = write(&mut model, &Prompt::of("говори"), &limits);
    assert_eq!(again.text, written.text, "the same seed says the same");
    let (other, _) = write(&mut model, &Prompt::of("говори"), &Limits { seed: 4, ..limits });
    assert_ne!(other.text, written.text);
}

#[test]
fn a_stop_string_ends_the_text_before_it() {
    let limits = Limits { max_tokens: 60, temperature: 1.0, seed: 5, ..Limits::default() };
    let mut model = tiny("qwen2-4bit");
    let (whole, _) = write(&mut model, &Prompt::of("abc"), &limits);
    let middle: Vec<char> = whole.text.chars().skip(8).take(3).collect();
    let stop: String = middle.iter().collect();
    let (cut, pieces) = write(&mut model, &Prompt::of("abc"), &Limits { stop: vec![stop.clone()], ..limits });
    assert_eq!(cut.text, whole.text[..whole.text.find(&stop).unwrap()]);
    assert_eq!(pieces.concat(), cut.text);
    assert_eq!(cut.finish, Finish::Stop);
    assert!(cut.tokens < whole.tokens);
}

#[test]
fn a_text_that_is_not_wanted_any_more_stops() {
    let mut model = tiny("llama-bf16");
    let limits = Limits { max_tokens: 400, ..Limits::default() };
    let heard = std::cell::Cell::new(0);
    let wanted = || heard.get() < 3;
    let mut listener = |_: &str| {
        heard.set(heard.get() + 1);
        true
    };
    let prompt = Prompt::of("go on");
    assert_eq!(model.write(&prompt, &limits, &wanted, &mut listener), Err(Refusal::Deadline));
    assert_eq!(model.write(&prompt, &limits, &|| true, &mut |_| false), Err(Refusal::Deadline));
    assert_eq!(model.choose(&prompt, &["a".into(), "b".into()], &|| false), Err(Refusal::Deadline));
    assert!(model.choose(&prompt, &["a".into(), "b".into()], &|| true).is_ok());
}

#[test]
fn a_prompt_past_the_context_is_refused_and_a_reply_ends_at_it() {
    let mut model = tiny("llama-bf16");
    let error = model.choose(&Prompt::of("x".repeat(600)), &["a".into()], &|| true).unwrap_err();
    assert!(matches!(error, Refusal::TooLong { tokens, limit: 511 } if tokens > 600), "{error:?}");
    let limits = Limits { max_tokens: 10_000, temperature: 0.7, ..Limits::default() };
    let prompt = Prompt::of("y".repeat(300)).then(Role::Assistant, "z".repeat(100)).then(Role::User, "go");
    let (written, _) = write(&mut model, &prompt, &limits);
    assert!(written.finish == Finish::Stop || written.prompt_tokens + written.tokens == 512, "{written:?}");
}

#[test]
fn names_of_control_tokens_in_a_text_are_no_control_tokens() {
    let model = tiny("llama-bf16");
    let plain = model.tokens(&Prompt::of("hello")).unwrap();
    assert_eq!(model.tokens(&Prompt::of("hel<|end|>lo")).unwrap(), plain);
    assert_eq!(model.tokens(&Prompt::of("hel<|e<|end|>nd|>lo")).unwrap(), plain);
}

/// A copy of a tiny checkpoint that may be changed.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(fixtures().join(name)).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    dir
}

#[test]
fn weights_in_several_files_are_the_same_model() {
    let dir = copy("llama3-4bit");
    let single = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&single).unwrap();
    let all = SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<&str> = all.names().into_iter().collect();
    names.sort_unstable();
    let mut map = HashMap::new();
    for (number, part) in names.chunks(names.len() / 2 + 1).enumerate() {
        let file = format!("model-0000{}-of-00002.safetensors", number + 1);
        let tensors: Vec<_> = part.iter().map(|name| (*name, all.tensor(name).unwrap())).collect();
        std::fs::write(dir.path().join(&file), serialize(tensors, None).unwrap()).unwrap();
        map.extend(part.iter().map(|name| ((*name).to_owned(), file.clone())));
    }
    std::fs::remove_file(&single).unwrap();
    let index = serde_json::json!({ "weight_map": map }).to_string();
    std::fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
    let read = &golden().tiny["llama3-4bit"];
    let mut model = Model::load(dir.path(), &BOUNDS).unwrap();
    assert_eq!(model.greedy(&read.ids, 16).unwrap(), read.follows[..16]);
}

/// Something done to a copy of a checkpoint.
type Change = Box<dyn FnOnce(&Path)>;

fn refused(name: &str, change: impl FnOnce(&Path), bounds: &Bounds) -> String {
    let dir = copy(name);
    change(dir.path());
    let error = Model::load(dir.path(), bounds).err().expect("it should be refused").to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

fn replace(file: &'static str, from: &'static str, to: &'static str) -> Change {
    assert!(!file.ends_with("safetensors") || from.len() == to.len());
    Box::new(move |dir| {
        let path = dir.join(file);
        let bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect(from);
        std::fs::write(path, [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat()).unwrap();
    })
}

#[test]
fn what_does_not_fit_is_refused_and_named() {
    const WEIGHTS: &str = "model.safetensors";
    let cases: Vec<(&str, Change, &str)> = vec![
        (
            "llama-bf16",
            replace(WEIGHTS, "model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.op_proj.weight"),
            "unknown tensor \"model.layers.1.mlp.op_proj.weight\"",
        ),
        (
            "llama-bf16",
            replace("config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
            "no tensor \"model.layers.2.",
        ),
        (
            "llama-bf16",
            replace("config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"),
            "unknown tensor \"model.layers.1.",
        ),
        (
            "llama-bf16",
            replace("config.json", "\"intermediate_size\": 96", "\"intermediate_size\": 64"),
            "config.json says [64",
        ),
        (
            "qwen2-4bit",
            replace("config.json", "\"intermediate_size\": 96", "\"intermediate_size\": 64"),
            "config.json says [64",
        ),
        (
            "qwen2-4bit",
            replace("config.json", "\"quantization\"", "\"quantised\""),
            "config.json has no quantization",
        ),
        (
            "llama-bf16",
            replace("config.json", "\"vocab_size\": 264", "\"vocab_size\": 259"),
            "has a token 259",
        ),
        (
            "llama-bf16",
            replace("config.json", "\"llama\"", "\"mamba\""),
            "model_type is \"mamba\", expected one of",
        ),
        (
            "llama-bf16",
            replace("tokenizer_config.json", "{% endfor %}", ""),
            "tokenizer_config.json: chat template: ",
        ),
        (
            "llama-bf16",
            replace("tokenizer_config.json", "{{ bos_token }}", "{{ raise_exception('never') }}"),
            "chat template: never",
        ),
        (
            "llama-bf16",
            Box::new(|dir| {
                let bytes = std::fs::read(dir.join(WEIGHTS)).unwrap();
                std::fs::write(dir.join(WEIGHTS), &bytes[..bytes.len() - 1]).unwrap();
            }),
            "cut off or damaged",
        ),
        (
            "llama-bf16",
            Box::new(|dir| std::fs::write(dir.join("tokenizer.json"), "{}").unwrap()),
            "tokenizer.json: ",
        ),
        (
            "llama-bf16",
            Box::new(|dir| std::fs::remove_file(dir.join("config.json")).unwrap()),
            "config.json: No such",
        ),
        (
            "llama-bf16",
            Box::new(|dir| std::fs::remove_file(dir.join(WEIGHTS)).unwrap()),
            "model.safetensors: No such",
        ),
    ];
    for (name, change, expected) in cases {
        let error = refused(name, change, &BOUNDS);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn what_is_above_the_limits_is_refused_before_it_is_read() {
    let parameters = tiny("qwen2-4bit").about().parameters;
    assert_eq!(
        parameters,
        tiny("qwen2-f16").about().parameters + 264 * 64,
        "packed numbers count one by one"
    );
    // The weights are damaged, which nobody finds out.
    let damage = |dir: &Path| {
        let path = dir.join("tokenizer.json");
        std::fs::write(path, "damaged").unwrap();
    };
    let error = refused("qwen2-4bit", damage, &Bounds { parameters: parameters - 1, ..BOUNDS });
    assert!(
        error.contains(&format!("{parameters} parameters, above the limit of {}", parameters - 1)),
        "{error}"
    );
    let error = refused("qwen2-4bit", damage, &Bounds { bytes: 1000, ..BOUNDS });
    assert!(error.contains("bytes, above the limit of 1000 (light.only_light)"), "{error}");
}

fn state(running: &support::Running) -> String {
    let ready: serde_json::Value = serde_json::from_str(running.admin("/readyz").text()).unwrap();
    ready["light"].to_string()
}

#[test]
fn a_running_proxy_loads_swaps_and_drops_its_model_by_the_config_alone() {
    let model = |name: &str| fixtures().join(name).display().to_string();
    let running = Options::before_nobody().set("light.model", model("llama-bf16")).start();
    eventually(support::DEADLINE, "the model is ready", || {
        state(&running).contains("llama-bf16: llama, bf16")
    });
    let metrics = running.admin("/metrics");
    let metrics = metrics.text();
    let active = metrics
        .lines()
        .find_map(|l| l.strip_prefix("brainstem_light_memory_bytes{kind=\"active\"} "))
        .unwrap();
    assert!(active.parse::<f64>().unwrap() > 100_000.0, "{active}");
    let file = running.dir.path().join("brainstem.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("llama-bf16", "gemma3-4bit")).unwrap();
    eventually(support::DEADLINE, "the other one is", || state(&running).contains("gemma3_text, 4 bit"));
    std::fs::write(&file, text.replace("llama-bf16", "no-such-model")).unwrap();
    eventually(support::DEADLINE, "a wrong one is told", || {
        state(&running).contains("no-such-model/config.json")
    });
    assert_eq!(running.chat("hello").header("x-brainstem-route"), Some("local"), "the proxy is unharmed");
    std::fs::write(&file, text.replace(&model("llama-bf16"), "")).unwrap();
    eventually(support::DEADLINE, "none", || state(&running).contains("\"off\""));
}

#[test]
fn a_model_above_the_limit_is_told_in_readyz() {
    let running = Options::before_nobody()
        .set("light.model", fixtures().join("llama-bf16").display().to_string())
        .set("light.max_parameters", "10000")
        .start();
    eventually(support::DEADLINE, "the refusal is told", || {
        state(&running).contains("parameters, above the limit of 10000 (light.only_light)")
    });
}
