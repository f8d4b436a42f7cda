//! What `config.json` says: which of the five families it is, its sizes, and where the families differ.
//!
//! All are decoders of blocks "norm, attention, sum, norm, gated feed-forward, sum" (Llama: Touvron et al., 2023); what
//! sets them apart is a handful of switches, so that one forward pass reads them all.

use std::path::Path;

use serde::Deserialize;

use super::ModelError;
use super::rope::{RawScaling, Rope};

/// The `model_type`s that the forward pass is right for.
pub const MODEL_TYPES: [&str; 5] = ["llama", "qwen2", "qwen3", "phi3", "gemma3_text"];

/// A checked `config.json`.
#[derive(Debug, Clone)]
pub struct Spec {
    /// One of [`MODEL_TYPES`].
    pub kind: &'static str,
    /// Rows of the table of tokens.
    pub vocab: i32,
    /// Of the vectors between the blocks.
    pub width: i32,
    /// Of the feed-forward layers.
    pub inner: i32,
    /// Of the queries.
    pub heads: i32,
    /// Of keys and values; several heads of queries share one.
    pub kv_heads: i32,
    /// Width of a head.
    pub head: i32,
    /// Of the norms.
    pub eps: f32,
    /// The table of tokens is also the last layer; where the file is silent, the weights show it.
    pub tied: Option<bool>,
    /// Biases of queries, keys and values.
    pub qkv_bias: bool,
    /// Bias after the attention.
    pub out_bias: bool,
    /// Biases of the feed-forward layers.
    pub inner_bias: bool,
    /// Queries and keys have a norm each, head by head.
    pub qk_norm: bool,
    /// One matrix for queries, keys and values, one for gate and up.
    pub fused: bool,
    /// Gemma's ways: norms store their weight less one, each half of a block has a norm behind it too, the tokens'
    /// vectors are scaled by the root of their width, and the gate is a GELU.
    pub gemma: bool,
    /// Of the attention's products.
    pub scale: f32,
    /// The logits are bent so that they stay within.
    pub soft_cap: Option<f32>,
    /// Block by block.
    pub blocks: Vec<BlockSpec>,
    /// Positions that the model was made for.
    pub positions: usize,
    /// Tokens that end a text, as far as `config.json` knows.
    pub eos: Vec<u32>,
    /// The weights are quantised.
    pub quantised: bool,
}

/// What one block may have for itself.
#[derive(Debug, Clone)]
pub struct BlockSpec {
    /// How positions are written into queries and keys.
    pub rope: Rope,
    /// It sees only so many of the last tokens.
    pub window: Option<i32>,
}

/// One token or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Tokens {
    /// One.
    One(u32),
    /// Several.
    Many(Vec<u32>),
}

impl Tokens {
    /// As a list.
    pub fn list(&self) -> Vec<u32> {
        match self {
            Self::One(token) => vec![*token],
            Self::Many(tokens) => tokens.clone(),
        }
    }
}

/// As it is typed; the rest of the file is about training.
#[derive(Debug, Deserialize)]
struct Raw {
    hidden_size: i32,
    num_hidden_layers: usize,
    intermediate_size: i32,
    num_attention_heads: i32,
    num_key_value_heads: Option<i32>,
    head_dim: Option<i32>,
    rms_norm_eps: f32,
    vocab_size: i32,
    max_position_embeddings: Option<usize>,
    original_max_position_embeddings: Option<usize>,
    tie_word_embeddings: Option<bool>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    hidden_act: Option<String>,
    /// Gemma's word for it, which stands over the other.
    hidden_activation: Option<String>,
    rope_theta: Option<f32>,
    rope_local_base_freq: Option<f32>,
    rope_scaling: Option<RawScaling>,
    rope_parameters: Option<RawParameters>,
    #[serde(default)]
    rope_traditional: bool,
    partial_rotary_factor: Option<f32>,
    sliding_window: Option<i32>,
    sliding_window_pattern: Option<usize>,
    #[serde(rename = "_sliding_window_pattern")]
    inner_sliding_window_pattern: Option<usize>,
    layer_types: Option<Vec<String>>,
    use_sliding_window: Option<bool>,
    query_pre_attn_scalar: Option<f32>,
    final_logit_softcapping: Option<f32>,
    attn_logit_softcapping: Option<f32>,
    eos_token_id: Option<Tokens>,
    quantization: Option<RawQuantization>,
    quantization_config: Option<RawQuantization>,
}

/// Newer files: what was `rope_theta` and `rope_scaling`, in one; Gemma has one for each kind of block.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawParameters {
    ByKind { full_attention: RawScaling, sliding_attention: RawScaling },
    Same(RawScaling),
}

#[derive(Debug, Deserialize)]
struct RawQuantization {
    mode: Option<String>,
    quant_method: Option<String>,
    bits: Option<u32>,
}

impl Spec {
    /// `config.json`, checked.
    pub fn read(dir: &Path) -> Result<Self, ModelError> {
        let path = dir.join("config.json");
        let text = std::fs::read(&path).map_err(|source| ModelError::io(&path, source))?;
        Self::parse(&text).map_err(|what| ModelError::malformed(&path, what))
    }

    /// The file's content.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Named {
            model_type: Option<String>,
        }
        let named: Named = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        let name = named.model_type.unwrap_or_default();
        let Some(kind) = MODEL_TYPES.iter().find(|kind| **kind == name) else {
            return Err(format!("model_type is {name:?}, expected one of {}", MODEL_TYPES.join(", ")));
        };
        let raw: Raw = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        raw.check(kind)?;
        raw.spec(kind)
    }
}

impl Raw {
    fn check(&self, kind: &str) -> Result<(), String> {
        let heads = self.num_attention_heads;
        let kv_heads = self.num_key_value_heads.unwrap_or(heads);
        for (name, value, most) in [
            ("hidden_size", self.hidden_size, 1 << 15),
            ("num_hidden_layers", i32::try_from(self.num_hidden_layers).unwrap_or(i32::MAX), 256),
            ("intermediate_size", self.intermediate_size, 1 << 17),
            ("num_attention_heads", heads, 256),
            ("num_key_value_heads", kv_heads, heads),
            ("vocab_size", self.vocab_size, 1 << 21),
            ("head_dim", self.head_dim.unwrap_or(1), 1024),
        ] {
            if !(1..=most).contains(&value) {
                return Err(format!("{name} is {value}, expected 1 to {most}"));
            }
        }
        if heads % kv_heads != 0 {
            return Err(format!(
                "num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}"
            ));
        }
        if self.head_dim.is_none() && self.hidden_size % heads != 0 {
            return Err(format!(
                "hidden_size {} is no multiple of num_attention_heads {heads}",
                self.hidden_size
            ));
        }
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            return Err(format!("rms_norm_eps is {}, expected above 0 and below 1", self.rms_norm_eps));
        }
        let wanted = if kind.starts_with("gemma") { "gelu_pytorch_tanh" } else { "silu" };
        match self.hidden_activation.as_deref().or(self.hidden_act.as_deref()) {
            None => {}
            Some(act) if act == wanted => {}
            Some(act) => return Err(format!("hidden_act is {act:?}, expected {wanted:?}")),
        }
        if self.attn_logit_softcapping.is_some() {
            return Err("attn_logit_softcapping is not supported".to_owned());
        }
        if self.use_sliding_window == Some(true) && kind != "gemma3_text" {
            return Err("use_sliding_window = true is not supported".to_owned());
        }
        for quantization in [&self.quantization, &self.quantization_config].into_iter().flatten() {
            if let Some(method) = &quantization.quant_method {
                return Err(format!(
                    "quantization by {method:?} is not supported; MLX's own is (mlx-community)"
                ));
            }
            match quantization.mode.as_deref() {
                None | Some("affine") => {}
                Some(mode) => {
                    return Err(format!("quantization mode {mode:?} is not supported, \"affine\" is"));
                }
            }
        }
        Ok(())
    }

    fn spec(&self, kind: &'static str) -> Result<Spec, String> {
        let gemma = kind == "gemma3_text";
        let head = match self.head_dim {
            Some(head) if kind != "phi3" => head,
            _ => self.hidden_size / self.num_attention_heads,
        };
        let scalar = self.query_pre_attn_scalar.filter(|_| gemma).unwrap_or(head as f32);
        let quantised =
            [&self.quantization, &self.quantization_config].into_iter().flatten().any(|q| q.bits.is_some());
        Ok(Spec {
            kind,
            vocab: self.vocab_size,
            width: self.hidden_size,
            inner: self.intermediate_size,
            heads: self.num_attention_heads,
            kv_heads: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            head,
            eps: self.rms_norm_eps,
            tied: self.tie_word_embeddings.or(gemma.then_some(true)),
            qkv_bias: kind == "qwen2" || self.attention_bias,
            out_bias: kind != "qwen2" && self.attention_bias,
            inner_bias: self.mlp_bias,
            qk_norm: matches!(kind, "qwen3" | "gemma3_text"),
            fused: kind == "phi3",
            gemma,
            scale: scalar.powf(-0.5),
            soft_cap: self.final_logit_softcapping,
            blocks: self.blocks(kind, head)?,
            positions: self.max_position_embeddings.unwrap_or(2048),
            eos: self.eos_token_id.as_ref().map(Tokens::list).unwrap_or_default(),
            quantised,
        })
    }

    fn blocks(&self, kind: &str, head: i32) -> Result<Vec<BlockSpec>, String> {
        let dims = (head as f32 * self.partial_rotary_factor.unwrap_or(1.0)) as i32;
        if dims < 2 || dims % 2 != 0 || dims > head {
            return Err(format!("{dims} of {head} dimensions would be turned by their position"));
        }
        let longest = self.max_position_embeddings.unwrap_or(2048);
        let rope = |scaling: Option<&RawScaling>, theta: Option<f32>| {
            let rope = Rope::new(dims, theta, self.rope_traditional, scaling, longest)?;
            let original = self.original_max_position_embeddings;
            Ok::<_, String>(match original {
                Some(original) => rope.made_for(original),
                None => rope,
            })
        };
        let (full, sliding) = match &self.rope_parameters {
            Some(RawParameters::Same(same)) => (rope(Some(same), self.rope_theta)?, None),
            Some(RawParameters::ByKind { full_attention, sliding_attention }) => {
                (rope(Some(full_attention), None)?, Some(rope(Some(sliding_attention), None)?))
            }
            None => (rope(self.rope_scaling.as_ref(), self.rope_theta)?, None),
        };
        if kind != "gemma3_text" {
            // Phi-3 names a window; the others' is off (checked above).
            let window = self.sliding_window.filter(|window| kind == "phi3" && *window > 0);
            let block = BlockSpec { rope: full, window };
            return Ok(vec![block; self.num_hidden_layers]);
        }
        let full = match self.rope_theta.or(self.rope_parameters.as_ref().map(|_| 0.0)) {
            Some(_) => full,
            None => rope(self.rope_scaling.as_ref(), Some(1_000_000.0))?,
        };
        let local = match sliding {
            Some(rope) => rope,
            None => rope(None, Some(self.rope_local_base_freq.unwrap_or(10_000.0)))?,
        };
        let window = self.sliding_window.filter(|window| *window > 0).unwrap_or(512);
        let pattern = self.sliding_window_pattern.or(self.inner_sliding_window_pattern).unwrap_or(6).max(1);
        let is_full = |layer: usize| match self.layer_types.as_ref().and_then(|types| types.get(layer)) {
            Some(kind) => kind == "full_attention",
            None => (layer + 1).is_multiple_of(pattern),
        };
        let block = |layer| match is_full(layer) {
            true => BlockSpec { rope: full.clone(), window: None },
            false => BlockSpec { rope: local.clone(), window: Some(window) },
        };
        Ok((0..self.num_hidden_layers).map(block).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA: &str = r#"{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "hidden_act": "silu",
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96, "rms_norm_eps": 1e-5,
        "vocab_size": 99, "rope_theta": 10000.0, "tie_word_embeddings": true}"#;

    fn refused(from: &str, to: &str) -> String {
        Spec::parse(LLAMA.replace(from, to).as_bytes()).unwrap_err()
    }

    #[test]
    fn the_families_differ_where_they_do() {
        let spec = |name: &str| Spec::parse(LLAMA.replace("\"llama\"", name).as_bytes());
        let llama = spec("\"llama\"").unwrap();
        assert_eq!((llama.head, llama.kv_heads, llama.qkv_bias, llama.qk_norm), (16, 2, false, false));
        let qwen = spec("\"qwen2\"").unwrap();
        assert_eq!((qwen.qkv_bias, qwen.out_bias), (true, false));
        assert!(spec("\"qwen3\"").unwrap().qk_norm);
        assert!(spec("\"phi3\"").unwrap().fused);
        let gemma = LLAMA.replace("\"llama\"", "\"gemma3_text\"").replace("silu", "gelu_pytorch_tanh");
        let gemma = Spec::parse(gemma.as_bytes()).unwrap();
        assert!(gemma.gemma && gemma.blocks.iter().all(|block| block.window == Some(512)));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert!(
            refused("\"llama\"", "\"mamba\"")
                .contains("model_type is \"mamba\", expected one of llama, qwen2")
        );
        assert!(refused("heads\": 2", "heads\": 3").contains("no multiple of num_key_value_heads 3"));
        assert!(refused("\"silu\"", "\"relu\"").contains("hidden_act is \"relu\", expected \"silu\""));
        assert!(refused("99", "0").contains("vocab_size is 0"));
        assert!(refused("\"vocab_size\"", "\"vocab\"").contains("missing field `vocab_size`"));
        let awq = "\"quantization_config\": {\"quant_method\": \"awq\", \"bits\": 4}, \"vocab_size\"";
        assert!(refused("\"vocab_size\"", awq).contains("quantization by \"awq\" is not supported"));
        let yarn = "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0}, \"vocab_size\"";
        assert!(refused("\"vocab_size\"", yarn).contains("rope_type \"yarn\" is not supported"));
    }
}
