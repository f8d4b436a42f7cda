//! From files of weights to a decoder: every tensor that there must be, no other, each of the right shape; told by name
//! before any of them is read.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use mlx_rs::error::Exception;
use mlx_rs::ops::add;
use mlx_rs::{Array, Dtype};
use safetensors::tensor::Dtype as Stored;

use super::ModelError;
use super::decoder::{Attention, Block, Decoder, Gate, Queries};
use super::files::{Held, Weights};
use super::layers::{Linear, Matrix};
use super::spec::Spec;

/// What a tensor must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    /// outputs × inputs; may be quantised.
    Matrix(i32, i32),
    /// So many numbers.
    Vector(i32),
}

/// How matrices are packed: numbers in a group and bits of each.
type Packings = HashMap<String, (i32, i32)>;

/// Names without `.weight` and `.bias`, and what stands behind them.
fn wanted(spec: &Spec, tied: bool) -> BTreeMap<String, Want> {
    let (width, inner, head) = (spec.width, spec.inner, spec.head);
    let (queries, keys) = (spec.heads * head, spec.kv_heads * head);
    let mut all = BTreeMap::new();
    let mut want = |name: String, outputs: i32, inputs: i32, bias: bool| {
        if bias {
            all.insert(format!("{name}.bias"), Want::Vector(outputs));
        }
        let what = if inputs == 0 { Want::Vector(outputs) } else { Want::Matrix(outputs, inputs) };
        all.insert(format!("{name}.weight"), what);
    };
    want("model.embed_tokens".into(), spec.vocab, width, false);
    want("model.norm".into(), width, 0, false);
    if !tied {
        want("lm_head".into(), spec.vocab, width, false);
    }
    for layer in 0..spec.blocks.len() {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        want(name("input_layernorm"), width, 0, false);
        want(name("post_attention_layernorm"), width, 0, false);
        if spec.gemma {
            want(name("pre_feedforward_layernorm"), width, 0, false);
            want(name("post_feedforward_layernorm"), width, 0, false);
        }
        if spec.qk_norm {
            want(name("self_attn.q_norm"), head, 0, false);
            want(name("self_attn.k_norm"), head, 0, false);
        }
        if spec.fused {
            want(name("self_attn.qkv_proj"), queries + 2 * keys, width, spec.qkv_bias);
            want(name("mlp.gate_up_proj"), 2 * inner, width, spec.inner_bias);
        } else {
            for (part, outputs) in [("q", queries), ("k", keys), ("v", keys)] {
                want(name(&format!("self_attn.{part}_proj")), outputs, width, spec.qkv_bias);
            }
            want(name("mlp.gate_proj"), inner, width, spec.inner_bias);
            want(name("mlp.up_proj"), inner, width, spec.inner_bias);
        }
        want(name("self_attn.o_proj"), width, queries, spec.out_bias);
        want(name("mlp.down_proj"), width, inner, spec.inner_bias);
    }
    all
}

/// Numbers in a model, quantised ones counted one by one: those that its config asks for, since packed ones do not tell
/// whether they are few and precise or many and coarse.
pub fn parameters(spec: &Spec, weights: &Weights) -> u64 {
    let count = |want: &Want| match *want {
        Want::Matrix(outputs, inputs) => u64::from(outputs.unsigned_abs()) * u64::from(inputs.unsigned_abs()),
        Want::Vector(length) => u64::from(length.unsigned_abs()),
    };
    wanted(spec, is_tied(spec, weights)).values().map(count).sum()
}

fn is_tied(spec: &Spec, weights: &Weights) -> bool {
    spec.tied.unwrap_or(!weights.tensors.contains_key("lm_head.weight"))
}

/// How the matrices are packed; or the first tensor that is missing, unknown or misshapen.
fn check(spec: &Spec, weights: &Weights, tied: bool) -> Result<Packings, String> {
    let wanted = wanted(spec, tied);
    let mut packings = Packings::new();
    for (name, held) in &weights.tensors {
        let spare = name.ends_with("rotary_emb.inv_freq") || (tied && name.starts_with("lm_head."));
        let part = name.strip_suffix(".scales").or_else(|| name.strip_suffix(".biases"));
        let known = match part {
            // A bare bias of a quantised matrix is called `.bias`, its groups' biases `.biases`.
            Some(stem) => matches!(wanted.get(&format!("{stem}.weight")), Some(Want::Matrix(..))),
            None => wanted.contains_key(name),
        };
        if !known && !spare {
            return Err(format!("unknown tensor {name:?}, {} has {} of them", spec.kind, wanted.len()));
        }
        if part.is_some() || spare {
            continue;
        }
        let stem = name.strip_suffix(".weight").unwrap_or(name);
        match wanted.get(name) {
            Some(Want::Matrix(outputs, inputs))
                if weights.tensors.contains_key(&format!("{stem}.scales")) =>
            {
                packings.insert(stem.to_owned(), packed(stem, held, *outputs, *inputs, weights)?);
            }
            Some(Want::Matrix(outputs, inputs)) => plain(name, held, &[*outputs, *inputs])?,
            Some(Want::Vector(length)) => plain(name, held, &[*length])?,
            None => {}
        }
    }
    match wanted.keys().find(|name| !weights.tensors.contains_key(*name)) {
        Some(name) => Err(format!("no tensor {name:?}")),
        None if !packings.is_empty() && !spec.quantised => {
            Err("the weights are quantised, but config.json has no quantization".to_owned())
        }
        None => Ok(packings),
    }
}

fn plain(name: &str, held: &Held, expected: &[i32]) -> Result<(), String> {
    if !held.shape.iter().map(|n| *n as i64).eq(expected.iter().map(|n| i64::from(*n))) {
        return Err(format!("tensor {name:?} is {:?}, config.json says {expected:?}", held.shape));
    }
    if !matches!(held.dtype, Stored::F32 | Stored::F16 | Stored::BF16) {
        return Err(format!("tensor {name:?} holds {:?}: F32, F16 and BF16 are supported", held.dtype));
    }
    Ok(())
}

/// Group size and bits follow from the shapes, so that layers may differ.
fn packed(
    stem: &str,
    held: &Held,
    outputs: i32,
    inputs: i32,
    weights: &Weights,
) -> Result<(i32, i32), String> {
    let part = |name: &str| {
        let name = format!("{stem}.{name}");
        weights.tensors.get(&name).ok_or_else(|| format!("no tensor {name:?}"))
    };
    let (scales, biases) = (part("scales")?, part("biases")?);
    let wrong = || {
        format!(
            "tensor {stem:?} is packed as {:?} with scales {:?} and biases {:?}, config.json says [{outputs}, {inputs}]",
            held.shape, scales.shape, biases.shape
        )
    };
    let (&[rows, words], &[scale_rows, groups]) = (&held.shape[..], &scales.shape[..]) else {
        return Err(wrong());
    };
    let (inputs, outputs) = (inputs as usize, outputs as usize);
    if rows != outputs
        || scale_rows != outputs
        || scales.shape != biases.shape
        || scales.dtype != biases.dtype
    {
        return Err(wrong());
    }
    if held.dtype != Stored::U32 || !matches!(scales.dtype, Stored::F32 | Stored::F16 | Stored::BF16) {
        return Err(format!("tensor {stem:?} holds {:?} with scales in {:?}", held.dtype, scales.dtype));
    }
    let bits = words * 32 / inputs;
    let group = inputs.checked_div(groups).unwrap_or(0);
    if bits * inputs != words * 32 || group * groups != inputs {
        return Err(wrong());
    }
    if ![2, 3, 4, 5, 6, 8].contains(&bits) || ![32, 64, 128].contains(&group) {
        return Err(format!("tensor {stem:?} has {bits} bits in groups of {group}, which MLX does not know"));
    }
    Ok((group as i32, bits as i32))
}

/// A decoder of the files, its weights read. Call with MLX's stream set.
pub fn decoder(spec: Spec, weights: &Weights, context: usize) -> Result<Decoder, ModelError> {
    let tied = is_tied(&spec, weights);
    let complain = |what| ModelError::malformed(weights.place(), what);
    let packings = check(&spec, weights, tied).map_err(complain)?;
    let mut found = HashMap::new();
    for path in &weights.files {
        found.extend(read(path)?);
    }
    let tensors = Tensors { found, packings, gemma: spec.gemma };
    let built = tensors.decoder(spec, tied, context).and_then(|decoder| {
        // Now, while the files are there, and not at the first ask.
        mlx_rs::transforms::eval(decoder.arrays())?;
        Ok(decoder)
    });
    built.map_err(|e| ModelError::Mlx(e.what().to_owned()))
}

fn read(path: &Path) -> Result<HashMap<String, Array>, ModelError> {
    Array::load_safetensors(path).map_err(|e| ModelError::malformed(path, e.to_string()))
}

struct Tensors {
    found: HashMap<String, Array>,
    packings: Packings,
    gemma: bool,
}

impl Tensors {
    fn raw(&self, name: &str) -> Result<Array, Exception> {
        let tensor = self.found.get(name).cloned();
        tensor.ok_or_else(|| Exception::from(format!("no tensor {name}").as_str()))
    }

    fn matrix(&self, name: &str) -> Result<Matrix, Exception> {
        let weight = self.raw(&format!("{name}.weight"))?;
        match self.packings.get(name) {
            Some((group, bits)) => Ok(Matrix::Packed {
                words: weight,
                scales: self.raw(&format!("{name}.scales"))?,
                biases: self.raw(&format!("{name}.biases"))?,
                group: *group,
                bits: *bits,
            }),
            None => Ok(Matrix::Whole(weight.transpose()?)),
        }
    }

    fn linear(&self, name: &str) -> Result<Linear, Exception> {
        let bias = self.found.get(&format!("{name}.bias")).cloned();
        Ok(Linear { matrix: self.matrix(name)?, bias })
    }

    fn norm(&self, name: &str) -> Result<Array, Exception> {
        let weight = self.raw(&format!("{name}.weight"))?;
        if !self.gemma {
            return Ok(weight);
        }
        add(&weight, Array::from_f32(1.0).as_dtype(weight.dtype())?)
    }

    fn decoder(&self, spec: Spec, tied: bool, context: usize) -> Result<Decoder, Exception> {
        let blocks = (0..spec.blocks.len()).map(|layer| self.block(&spec, layer, context));
        Ok(Decoder {
            words: self.matrix("model.embed_tokens")?,
            blocks: blocks.collect::<Result<_, _>>()?,
            norm: self.norm("model.norm")?,
            head: if tied { None } else { Some(self.linear("lm_head")?) },
            spec,
        })
    }

    fn block(&self, spec: &Spec, layer: usize, context: usize) -> Result<Block, Exception> {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let linear = |part: &str| self.linear(&name(part));
        let norm = |part: &str| self.norm(&name(part));
        let norm_if = |wanted: bool, part: &str| wanted.then(|| norm(part)).transpose();
        let Some(own) = spec.blocks.get(layer) else { return Err(Exception::from("no such block")) };
        let queries = match spec.fused {
            true => Queries::Fused(linear("self_attn.qkv_proj")?),
            false => Queries::Apart {
                q: linear("self_attn.q_proj")?,
                k: linear("self_attn.k_proj")?,
                v: linear("self_attn.v_proj")?,
            },
        };
        let gate = match spec.fused {
            true => Gate::Fused(linear("mlp.gate_up_proj")?),
            false => Gate::Apart { gate: linear("mlp.gate_proj")?, up: linear("mlp.up_proj")? },
        };
        let before_feed = if spec.gemma { "pre_feedforward_layernorm" } else { "post_attention_layernorm" };
        Ok(Block {
            turn: own.rope.ready(context),
            window: own.window,
            attention: Attention {
                queries,
                q_norm: norm_if(spec.qk_norm, "self_attn.q_norm")?,
                k_norm: norm_if(spec.qk_norm, "self_attn.k_norm")?,
                out: linear("self_attn.o_proj")?,
            },
            before_attention: norm("input_layernorm")?,
            after_attention: norm_if(spec.gemma, "post_attention_layernorm")?,
            before_feed: norm(before_feed)?,
            after_feed: norm_if(spec.gemma, "post_feedforward_layernorm")?,
            gate,
            down: linear("mlp.down_proj")?,
        })
    }
}

/// The precision of what is computed: that of the table of tokens, or of its scales.
pub fn precision(decoder: &Decoder) -> Dtype {
    match &decoder.words {
        Matrix::Whole(table) => table.dtype(),
        Matrix::Packed { scales, .. } => scales.dtype(),
    }
}
