//! What the JSON files of a Hugging Face directory say: `config.json`, and, where they are, the three files of
//! sentence-transformers (`modules.json`, `1_Pooling/config.json`, `config_sentence_transformers.json`).

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::intent::weights::ModelError;

/// The `model_type`s that this forward pass is right for.
pub const MODEL_TYPES: [&str; 3] = ["bert", "roberta", "xlm-roberta"];
/// More pieces of a text are not read: an ask of 25 words has 60, and attention grows with the square.
const MAX_TOKENS: usize = 512;

/// `config.json`, as far as the forward pass depends on it; the rest of the file is about training.
#[derive(Debug, Clone, Deserialize)]
pub struct Shape {
    model_type: String,
    /// Of the vectors.
    pub hidden_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Of the attention.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Rows of the table of positions.
    pub max_position_embeddings: usize,
    /// Rows of the table of sentence numbers.
    pub type_vocab_size: usize,
    /// Rows of the table of pieces.
    pub vocab_size: usize,
    /// Of the layer norms.
    #[serde(default = "layer_norm_eps")]
    pub layer_norm_eps: f32,
    #[serde(default)]
    pad_token_id: usize,
    hidden_act: Activation,
    #[serde(default = "absolute")]
    position_embedding_type: String,
}

/// Between the two halves of a feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// x Φ(x), with the error function itself, not its approximation.
    Gelu,
    /// max(x, 0)
    Relu,
}

/// How one vector is made of one for each piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The first piece's.
    Cls,
    /// Their mean.
    Mean,
}

/// How texts go in and vectors come out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manner {
    /// One vector of many.
    pub pooling: Pooling,
    /// Vectors are brought to length 1.
    pub normalize: bool,
    /// Stands before every text: what the model was trained to read before a question.
    pub prefix: String,
    /// A longer text loses its end.
    pub max_tokens: usize,
}

#[derive(Debug, Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

#[derive(Debug, Default, Deserialize)]
struct Sentence {
    max_seq_length: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
struct Prompts {
    #[serde(default)]
    prompts: HashMap<String, String>,
    default_prompt_name: Option<String>,
}

fn layer_norm_eps() -> f32 {
    1e-12
}

fn absolute() -> String {
    "absolute".to_owned()
}

impl Shape {
    /// `config.json`, checked.
    pub fn read(dir: &Path) -> Result<Self, ModelError> {
        let missing = || ModelError::Io {
            path: dir.join("config.json"),
            source: std::io::Error::from(std::io::ErrorKind::NotFound),
        };
        let shape: Self = json(dir, "config.json")?.ok_or_else(missing)?;
        shape.check().map_err(|what| ModelError::Malformed { path: dir.join("config.json"), what })?;
        Ok(shape)
    }

    fn check(&self) -> Result<(), String> {
        if !MODEL_TYPES.contains(&&*self.model_type) {
            return Err(format!("model_type is {:?}, expected one of {MODEL_TYPES:?}", self.model_type));
        }
        for (name, value, most) in [
            ("hidden_size", self.hidden_size, 4096),
            ("num_hidden_layers", self.num_hidden_layers, 64),
            ("num_attention_heads", self.num_attention_heads, self.hidden_size),
            ("intermediate_size", self.intermediate_size, 1 << 15),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 16),
            ("type_vocab_size", self.type_vocab_size, 16),
            ("vocab_size", self.vocab_size, 1 << 21),
        ] {
            if !(1..=most).contains(&value) {
                return Err(format!("{name} is {value}, expected 1 to {most}"));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(format!(
                "hidden_size {} is no multiple of num_attention_heads {}",
                self.hidden_size, self.num_attention_heads
            ));
        }
        if self.position_embedding_type != "absolute" {
            return Err(format!(
                "position_embedding_type is {:?}, expected \"absolute\"",
                self.position_embedding_type
            ));
        }
        if self.first_position() + 2 > self.max_position_embeddings {
            return Err(format!("pad_token_id {} leaves no position for a text", self.pad_token_id));
        }
        if !(0.0..1.0).contains(&self.layer_norm_eps) {
            return Err(format!("layer_norm_eps is {}, expected 0 to 1", self.layer_norm_eps));
        }
        Ok(())
    }

    /// Row of the first piece's position: RoBERTa counts from the one after its padding.
    pub fn first_position(&self) -> usize {
        if self.model_type == "bert" { 0 } else { self.pad_token_id + 1 }
    }

    /// Fills up the shorter texts of a batch.
    pub fn padding(&self) -> u32 {
        // Masked, so any row will do; `check_tokenizer` compares ids with the table.
        u32::try_from(self.pad_token_id.min(self.vocab_size - 1)).unwrap_or(0)
    }

    /// Of the feed-forward layers.
    pub fn activation(&self) -> Activation {
        self.hidden_act
    }

    /// Blocks, width, pieces, for people.
    pub fn describe(&self) -> String {
        format!(
            "{} of {} layers x {} over {} pieces",
            self.model_type, self.num_hidden_layers, self.hidden_size, self.vocab_size
        )
    }
}

impl Manner {
    /// What the directory says; without sentence-transformers' files the mean of length 1.
    pub fn read(dir: &Path, shape: &Shape) -> Result<Self, ModelError> {
        let modules: Option<Vec<Module>> = json(dir, "modules.json")?;
        let mut manner = Self {
            pooling: Pooling::Mean,
            normalize: true,
            prefix: prefix(dir)?,
            max_tokens: MAX_TOKENS.min(shape.max_position_embeddings - shape.first_position()),
        };
        let mut pooled = "1_Pooling".to_owned();
        if let Some(modules) = modules {
            manner.normalize = false;
            for module in modules {
                match module.kind.rsplit('.').next().unwrap_or_default() {
                    "Transformer" => {}
                    "Pooling" => pooled = module.path,
                    "Normalize" => manner.normalize = true,
                    other => {
                        return Err(ModelError::Malformed {
                            path: dir.join("modules.json"),
                            what: format!(
                                "module {other:?} is not supported: only Transformer, Pooling, Normalize are"
                            ),
                        });
                    }
                }
            }
        }
        let file = format!("{pooled}/config.json");
        if let Some(config) = json::<serde_json::Map<String, serde_json::Value>>(dir, &file)? {
            manner.pooling =
                pooling(&config).map_err(|what| ModelError::Malformed { path: dir.join(&file), what })?;
        }
        let sentence: Sentence = json(dir, "sentence_bert_config.json")?.unwrap_or_default();
        if let Some(most) = sentence.max_seq_length {
            manner.max_tokens = manner.max_tokens.min(most.max(2));
        }
        Ok(manner)
    }
}

/// The one mode that is switched on: `pooling_mode_mean_tokens: true` or, in newer files, `pooling_mode: "mean"`.
fn pooling(config: &serde_json::Map<String, serde_json::Value>) -> Result<Pooling, String> {
    let on = |(key, value): (&String, &serde_json::Value)| match value {
        serde_json::Value::Bool(true) => key.strip_prefix("pooling_mode_").map(str::to_owned),
        serde_json::Value::String(mode) if key == "pooling_mode" => Some(mode.clone()),
        _ => None,
    };
    let modes: Vec<String> = config.iter().filter_map(on).collect();
    match modes.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["cls_token" | "cls"] => Ok(Pooling::Cls),
        ["mean_tokens" | "mean"] => Ok(Pooling::Mean),
        _ => Err(format!("pooling by {modes:?} is not supported: only cls_token or mean_tokens is")),
    }
}

/// The prompt that sentence-transformers would put first; the E5 family wants one and does not always say so.
fn prefix(dir: &Path) -> Result<String, ModelError> {
    let prompts: Option<Prompts> = json(dir, "config_sentence_transformers.json")?;
    if let Some(name) = prompts.as_ref().and_then(|p| p.default_prompt_name.as_ref()) {
        let known = prompts.as_ref().and_then(|p| p.prompts.get(name)).cloned();
        return known.ok_or_else(|| ModelError::Malformed {
            path: dir.join("config_sentence_transformers.json"),
            what: format!("default_prompt_name is {name:?}, which prompts does not have"),
        });
    }
    let named: HashMap<String, serde_json::Value> = json(dir, "config.json")?.unwrap_or_default();
    let name = named.get("_name_or_path").and_then(|name| name.as_str()).unwrap_or_default();
    let folder = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_e5 = [name, &folder]
        .iter()
        .any(|name| name.to_lowercase().split(|c: char| !c.is_alphanumeric()).any(|part| part == "e5"));
    Ok(if is_e5 { "query: ".to_owned() } else { String::new() })
}

/// A file of the directory; `None` if it is not there.
fn json<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<Option<T>, ModelError> {
    let path = dir.join(name);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| ModelError::Malformed { path, what: e.to_string() }),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ModelError::Io { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    const CONFIG: &str = r#"{"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "hidden_act": "gelu",
        "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 16, "type_vocab_size": 2,
        "vocab_size": 9, "_name_or_path": "intfloat/multilingual-e5-small"}"#;

    fn manner(files: &[(&str, &str)]) -> Result<Manner, String> {
        let dir = dir(&[&[("config.json", CONFIG)], files].concat());
        let shape = Shape::read(dir.path()).unwrap();
        Manner::read(dir.path(), &shape).map_err(|e| e.to_string())
    }

    fn refused(from: &str, to: &str) -> String {
        let dir = dir(&[("config.json", &CONFIG.replace(from, to))]);
        Shape::read(dir.path()).unwrap_err().to_string()
    }

    #[test]
    fn without_further_files_it_is_the_mean_of_length_one_and_e5_gets_its_prefix() {
        let expected =
            Manner { pooling: Pooling::Mean, normalize: true, prefix: "query: ".into(), max_tokens: 16 };
        assert_eq!(manner(&[]).unwrap(), expected);
    }

    #[test]
    fn the_files_of_sentence_transformers_are_followed() {
        let modules = r#"[{"type": "sentence_transformers.models.Transformer", "path": ""},
            {"type": "sentence_transformers.models.Pooling", "path": "7_Pool"}]"#;
        let found = manner(&[
            ("modules.json", modules),
            ("7_Pool/config.json", r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#),
            ("sentence_bert_config.json", r#"{"max_seq_length": 10}"#),
            (
                "config_sentence_transformers.json",
                r#"{"prompts": {"a": "ask: "}, "default_prompt_name": "a"}"#,
            ),
        ]);
        let expected =
            Manner { pooling: Pooling::Cls, normalize: false, prefix: "ask: ".into(), max_tokens: 10 };
        assert_eq!(found.unwrap(), expected);
        let newer = manner(&[("1_Pooling/config.json", r#"{"pooling_mode": "cls"}"#)]).unwrap();
        assert_eq!((newer.pooling, newer.normalize), (Pooling::Cls, true));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let dense = manner(&[("modules.json", r#"[{"type": "sentence_transformers.models.Dense"}]"#)]);
        assert!(dense.unwrap_err().contains("modules.json: module \"Dense\" is not supported"));
        let most = manner(&[("1_Pooling/config.json", r#"{"pooling_mode_max_tokens": true}"#)]);
        assert!(most.unwrap_err().contains("pooling by [\"max_tokens\"] is not supported"));
        let prompt = manner(&[("config_sentence_transformers.json", r#"{"default_prompt_name": "q"}"#)]);
        assert!(prompt.unwrap_err().contains("default_prompt_name is \"q\""));
        assert!(
            refused("\"bert\"", "\"llama\"").contains("model_type is \"llama\", expected one of [\"bert\"")
        );
        assert!(refused("\"gelu\"", "\"gelu_new\"").contains("unknown variant `gelu_new`"));
        assert!(refused("\"vocab_size\": 9", "\"vocab_size\": 0").contains("vocab_size is 0"));
        assert!(refused("heads\": 2", "heads\": 3").contains("hidden_size 8 is no multiple"));
        assert!(refused("\"vocab_size\"", "\"vocabsize\"").contains("missing field `vocab_size`"));
    }
}
