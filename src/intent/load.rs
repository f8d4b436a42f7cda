//! From `classifier.model` to a classifier: what kind it is, whether it is light enough, how fast it is here.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::bag::Bag;
use super::blend::Blend;
use super::encoder::{Headed, file, shape};
use super::{Classifier, ClassifyError, Verdict};
use crate::config::Light;

/// What a directory's `config.json` says it is. A kind more is a variant more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One `.safetensors` of `brainstem train`.
    Bag,
    /// The shipped one: encoder and bag, our own layout.
    Blend,
    /// An encoder of the BERT family in Hugging Face's layout, with a head.
    Encoder,
}

/// Classified at load, as an ask would be: short and long, both languages.
const WARM_UP: [&str; 8] = [
    "привет, как у тебя сегодня дела?",
    "напиши функцию, которая сортирует список словарей по двум ключам",
    "сколько заказов было в прошлом месяце по каждому городу, покажи таблицей",
    "у Маши было двенадцать яблок, она отдала треть брату и ещё два сестре, сколько осталось у Маши?",
    "hello there, how are you doing today?",
    "write a python script that renames all files in a folder by their date",
    "which of our customers ordered more than ten times last year",
    "compare two ways of heating a small house in a cold climate and explain which one is cheaper over ten years",
];
/// So often each; 99 % of 40 is the slowest one.
const ROUNDS: usize = 5;

/// The classifier at a path, on the calling thread, where it must stay.
///
/// # Errors
/// Why there is none, in one line.
pub fn load(path: &Path, light: &Light) -> Result<Box<dyn Classifier>, String> {
    let kind = kind(path)?;
    let weights = if kind == Kind::Bag { path.to_owned() } else { path.join("model.safetensors") };
    check_size(path, &weights, light)?;
    let limit = usize::try_from(light.cache_limit).unwrap_or(usize::MAX);
    mlx_rs::memory::set_cache_limit(limit).map_err(|e| e.to_string())?;
    let classifier: Box<dyn Classifier> = match kind {
        Kind::Bag => Box::new(Bag::load(path).map_err(|e| format!("{}: {e}", path.display()))?),
        Kind::Blend => Box::new(Blend::load(path).map_err(|e| e.to_string())?),
        Kind::Encoder => Box::new(Headed::load(path).map_err(|e| e.to_string())?),
    };
    Ok(Box::new(Timed::new(classifier).map_err(|e| format!("{}: {e}", path.display()))?))
}

fn kind(path: &Path) -> Result<Kind, String> {
    if !path.is_dir() {
        return Ok(Kind::Bag);
    }
    let file = path.join("config.json");
    let bad = |what: String| format!("{}: {what}", file.display());
    let text = std::fs::read(&file).map_err(|e| bad(e.to_string()))?;
    let config: Value = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
    let model_type = match &config["model_type"] {
        Value::Null if config["format"].is_u64() => return Ok(Kind::Blend),
        Value::Null => {
            return Err(bad(format!("no model_type; supported: {}", shape::MODEL_TYPES.join(", "))));
        }
        Value::String(name) => name,
        other => return Err(bad(format!("model_type is {other}, expected a name"))),
    };
    if shape::MODEL_TYPES.contains(&&**model_type) {
        return Ok(Kind::Encoder);
    }
    let architecture = config["architectures"][0].as_str().map(|name| format!(" ({name})"));
    Err(bad(format!(
        "model_type {model_type:?}{} is no classifier here; supported: {}, and the layout of models/intent",
        architecture.unwrap_or_default(),
        shape::MODEL_TYPES.join(", ")
    )))
}

/// Refuses what is too large to be light before any of it is read.
fn check_size(path: &Path, weights: &Path, light: &Light) -> Result<(), String> {
    let size = match std::fs::metadata(weights) {
        Ok(metadata) => metadata.len(),
        Err(e) if path.join("model.safetensors.index.json").exists() => {
            return Err(format!("{}: {e}; a model in several parts is not supported", weights.display()));
        }
        Err(e) => return Err(format!("{}: {e}", weights.display())),
    };
    if light.only_light && size > light.max_bytes {
        // The number of parameters is for people only: a header that cannot be read is reported when it is small enough.
        let parameters =
            file::header(weights).map(|h| format!(" ({:.1} M parameters)", h.parameters as f64 / 1e6));
        return Err(format!(
            "{}: {size} bytes{}, above light.max_bytes = {} (light.only_light)",
            path.display(),
            parameters.unwrap_or_default(),
            light.max_bytes
        ));
    }
    Ok(())
}

/// A classifier that knows how long it takes on this machine.
struct Timed {
    inner: Box<dyn Classifier>,
    about: String,
}

impl Timed {
    /// The first round warms up and is not counted.
    fn new(mut inner: Box<dyn Classifier>) -> Result<Self, ClassifyError> {
        let mut times = Vec::with_capacity(WARM_UP.len() * ROUNDS);
        for round in 0..=ROUNDS {
            for text in WARM_UP {
                let clock = Instant::now();
                inner.classify(text)?;
                if round > 0 {
                    times.push(clock.elapsed());
                }
            }
        }
        times.sort_unstable();
        let ms = |time: Option<&Duration>| time.map_or(0.0, |t| t.as_secs_f64() * 1e3);
        let (p50, p99) = (ms(times.get(times.len() / 2)), ms(times.last()));
        let about = format!("{}, p50 {p50:.1} ms, p99 {p99:.1} ms", inner.describe());
        Ok(Self { inner, about })
    }
}

impl Classifier for Timed {
    fn classify(&mut self, text: &str) -> Result<Verdict, ClassifyError> {
        self.inner.classify(text)
    }

    fn read_fully(&mut self, text: &str) -> Result<Verdict, ClassifyError> {
        self.inner.read_fully(text)
    }

    fn describe(&self) -> String {
        self.about.clone()
    }
}
