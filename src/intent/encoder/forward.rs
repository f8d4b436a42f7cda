//! The forward pass of BERT (Devlin et al., 2019, "BERT: Pre-training of Deep Bidirectional Transformers for
//! Language Understanding") and RoBERTa (Liu et al., 2019), which differ in where positions begin. Post-norm:
//! the layer norm stands behind each sum.
//!
//! Shapes: b texts of n pieces, w = `hidden_size`, h heads of w / h. Hugging Face's linear layers are stored as
//! outputs × inputs; they are multiplied transposed, which BLAS does without a copy.

use std::collections::HashMap;
use std::path::Path;

use mlx_rs::error::Exception;
use mlx_rs::fast::{ScaledDotProductAttentionMask, layer_norm, scaled_dot_product_attention};
use mlx_rs::ops::{add, addmm, concatenate, divide, matmul, maximum, minimum, multiply};
use mlx_rs::{Array, Dtype};
use safetensors::tensor::Dtype as Stored;

use super::file::Header;
use super::shape::{Activation, Pooling, Shape};
use crate::intent::weights::ModelError;

/// Stands before the names in checkpoints of a whole (`BertForMaskedLM`, sentence-transformers).
const PREFIXES: [&str; 4] = ["0.auto_model.", "bert.", "roberta.", "auto_model."];
/// What a checkpoint may have besides: the layer above the first piece that the encoders' own training used, the
/// numbers 0, 1, 2, … and the heads of masked language models. None of it has a say in the vectors.
const NOT_NEEDED: [&str; 5] =
    ["pooler.", "embeddings.position_ids", "embeddings.token_type_ids", "cls.", "lm_head."];
/// Added to the attention of padding: e to that power is 0.
const MASKED: f32 = -1e9;

/// The weights on MLX. Belong to the thread, as all arrays.
pub struct Bert {
    shape: Shape,
    /// In the precision of the file; rows are widened as they are taken.
    words: Array,
    /// Rows from the first position on, each with the row of sentence number 0 added.
    places: Array,
    norm: Norm,
    blocks: Vec<Block>,
}

struct Norm {
    weight: Array,
    bias: Array,
}

struct Linear {
    /// inputs × outputs
    weight: Array,
    bias: Array,
}

struct Block {
    /// Queries, keys and values in one.
    qkv: Linear,
    out: Linear,
    out_norm: Norm,
    inner: Linear,
    outer: Linear,
    outer_norm: Norm,
}

/// The name without what stands before it, and with the old names of layer norms replaced.
fn plain(name: &str) -> String {
    let name = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
}

/// The tensors that there must be, by plain name.
fn wanted(shape: &Shape) -> Vec<(String, Vec<usize>)> {
    let (width, inner) = (shape.hidden_size, shape.intermediate_size);
    let mut all: Vec<(String, Vec<usize>)> = [
        ("embeddings.word_embeddings.weight", vec![shape.vocab_size, width]),
        ("embeddings.position_embeddings.weight", vec![shape.max_position_embeddings, width]),
        ("embeddings.token_type_embeddings.weight", vec![shape.type_vocab_size, width]),
        ("embeddings.LayerNorm.weight", vec![width]),
        ("embeddings.LayerNorm.bias", vec![width]),
    ]
    .map(|(name, shape)| (name.to_owned(), shape))
    .into();
    for layer in 0..shape.num_hidden_layers {
        for (part, outputs, inputs) in [
            ("attention.self.query", width, Some(width)),
            ("attention.self.key", width, Some(width)),
            ("attention.self.value", width, Some(width)),
            ("attention.output.dense", width, Some(width)),
            ("attention.output.LayerNorm", width, None),
            ("intermediate.dense", inner, Some(width)),
            ("output.dense", width, Some(inner)),
            ("output.LayerNorm", width, None),
        ] {
            let name = format!("encoder.layer.{layer}.{part}");
            all.push((format!("{name}.bias"), vec![outputs]));
            let weight = inputs.map_or(vec![outputs], |inputs| vec![outputs, inputs]);
            all.push((format!("{name}.weight"), weight));
        }
    }
    all
}

/// The file's names of the tensors wanted, by plain name; or the first that is missing, unknown or misshapen.
fn check(header: &Header, shape: &Shape) -> Result<HashMap<String, String>, String> {
    let wanted: HashMap<String, Vec<usize>> = wanted(shape).into_iter().collect();
    let mut names = HashMap::new();
    for name in header.tensors.offset_keys() {
        let plain = plain(&name);
        if NOT_NEEDED.iter().any(|spare| plain.starts_with(spare)) {
            continue;
        }
        let Some(expected) = wanted.get(&plain) else { return Err(format!("unknown tensor {name:?}")) };
        let Some(info) = header.tensors.info(&name) else { continue };
        if info.shape != *expected {
            return Err(format!("tensor {name:?} is {:?}, config.json says {expected:?}", info.shape));
        }
        if !matches!(info.dtype, Stored::F32 | Stored::F16 | Stored::BF16) {
            return Err(format!("tensor {name:?} holds {:?}: F32, F16 and BF16 are supported", info.dtype));
        }
        if let Some(twin) = names.insert(plain, name.clone()) {
            return Err(format!("tensors {twin:?} and {name:?} are the same one"));
        }
    }
    let mut missing: Vec<&String> = wanted.keys().filter(|name| !names.contains_key(*name)).collect();
    missing.sort();
    missing.first().map_or(Ok(names), |name| Err(format!("no tensor {name:?}")))
}

impl Bert {
    /// Reads weights that fit the shape. Call with MLX's stream set.
    pub fn load(path: &Path, header: &Header, shape: Shape) -> Result<Self, ModelError> {
        let malformed = |what: String| ModelError::Malformed { path: path.to_owned(), what };
        let names = check(header, &shape).map_err(malformed)?;
        let found = Array::load_safetensors(path).map_err(|e| malformed(e.to_string()))?;
        Self::new(&Tensors { names, found }, shape).map_err(|e| ModelError::Mlx(e.what().to_owned()))
    }

    fn new(tensors: &Tensors, shape: Shape) -> Result<Self, Exception> {
        let first = shape.first_position() as i32;
        let rows: Vec<i32> = (first..shape.max_position_embeddings as i32).collect();
        let rows = Array::from_slice(&rows, &[rows.len() as i32]);
        let places = tensors.wide("embeddings.position_embeddings.weight")?.take_axis(rows, 0)?;
        let kind = tensors.wide("embeddings.token_type_embeddings.weight")?;
        let bert = Self {
            words: tensors.raw("embeddings.word_embeddings.weight")?.clone(),
            places: add(places, kind.take_axis(Array::from_slice(&[0], &[1]), 0)?)?,
            norm: tensors.norm("embeddings.LayerNorm")?,
            blocks: (0..shape.num_hidden_layers).map(|i| tensors.block(i)).collect::<Result<_, _>>()?,
            shape,
        };
        // Now, while the file is there, and not at the first ask.
        let mut all = vec![&bert.words, &bert.places, &bert.norm.weight, &bert.norm.bias];
        for block in &bert.blocks {
            for linear in [&block.qkv, &block.out, &block.inner, &block.outer] {
                all.extend([&linear.weight, &linear.bias]);
            }
            for norm in [&block.out_norm, &block.outer_norm] {
                all.extend([&norm.weight, &norm.bias]);
            }
        }
        mlx_rs::transforms::eval(all)?;
        Ok(bert)
    }

    /// One vector a text (b × w) of texts as numbered pieces, none of them empty or longer than there are positions.
    pub fn read(&self, texts: &[Vec<u32>], pooling: Pooling) -> Result<Array, Exception> {
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        let (b, n, w) = (texts.len() as i32, longest as i32, self.shape.hidden_size as i32);
        let heads = self.shape.num_attention_heads as i32;
        let depth = w / heads;
        let mut ids = Vec::with_capacity(texts.len() * longest);
        for text in texts {
            ids.extend(text);
            ids.resize(ids.len() + longest - text.len(), self.shape.padding());
        }
        let mask = self.mask(texts, longest);
        let rows: Vec<u32> = (0..longest as u32).collect();
        let places = self.places.take_axis(Array::from_slice(&rows, &[n]), 0)?;
        let words = self.words.take_axis(Array::from_slice(&ids, &[b, n]), 0)?.as_dtype(Dtype::Float32)?;
        let mut x = self.normed(add(words, places)?, &self.norm)?;
        for block in &self.blocks {
            let parts = block.qkv.of(&x)?.reshape(&[b, n, 3, heads, depth])?;
            let parts = parts.transpose_axes(&[2, 0, 3, 1, 4])?;
            let part = |at: i32| parts.take_axis(Array::from_slice(&[at], &[1]), 0)?.squeeze_axes(&[0]);
            let scale = (depth as f32).powf(-0.5);
            let seen = scaled_dot_product_attention(
                part(0)?,
                part(1)?,
                part(2)?,
                scale,
                mask.as_ref().map(ScaledDotProductAttentionMask::Array),
                None,
            )?;
            let seen = seen.transpose_axes(&[0, 2, 1, 3])?.reshape(&[b, n, w])?;
            x = self.normed(add(&x, block.out.of(&seen)?)?, &block.out_norm)?;
            let inner = self.activated(block.inner.of(&x)?)?;
            x = self.normed(add(&x, block.outer.of(&inner)?)?, &block.outer_norm)?;
        }
        match pooling {
            Pooling::Cls => x.take_axis(Array::from_slice(&[0], &[1]), 1)?.squeeze_axes(&[1]),
            Pooling::Mean => matmul(shares(texts, longest), x)?.squeeze_axes(&[1]),
        }
    }

    /// b × 1 × 1 × n, if any text is shorter than the longest.
    fn mask(&self, texts: &[Vec<u32>], longest: usize) -> Option<Array> {
        if texts.iter().all(|text| text.len() == longest) {
            return None;
        }
        let of = |text: &Vec<u32>| {
            let length = text.len();
            (0..longest).map(move |at| if at < length { 0.0 } else { MASKED })
        };
        let mask: Vec<f32> = texts.iter().flat_map(of).collect();
        Some(Array::from_slice(&mask, &[texts.len() as i32, 1, 1, longest as i32]))
    }

    fn normed(&self, x: Array, norm: &Norm) -> Result<Array, Exception> {
        layer_norm(x, &norm.weight, &norm.bias, self.shape.layer_norm_eps)
    }

    fn activated(&self, x: Array) -> Result<Array, Exception> {
        match self.shape.activation() {
            Activation::Relu => maximum(x, Array::from_f32(0.0)),
            // Φ(x) = (1 + erf(x / √2)) / 2 (Hendrycks and Gimpel, 2016).
            Activation::Gelu => {
                let phi = erf(&multiply(&x, Array::from_f32(std::f32::consts::FRAC_1_SQRT_2))?)?;
                multiply(multiply(x, Array::from_f32(0.5))?, add(phi, Array::from_f32(1.0))?)
            }
        }
    }
}

/// The error function, off by 5e-7 at most: Eigen's rational approximation over -4 to 4. MLX's own takes almost half
/// of a forward pass on x86, where it goes number by number through an exponential.
fn erf(x: &Array) -> Result<Array, Exception> {
    const ABOVE: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const BELOW: [f32; 5] =
        [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329_2e-3, -1.426_473_9e-2];
    let x = minimum(maximum(x, Array::from_f32(-4.0))?, Array::from_f32(4.0))?;
    let square = multiply(&x, &x)?;
    // Horner's scheme.
    let polynomial = |coefficients: &[f32]| {
        let mut sum = Array::from_f32(coefficients[0]);
        for coefficient in &coefficients[1..] {
            sum = add(multiply(&square, &sum)?, Array::from_f32(*coefficient))?;
        }
        Ok::<_, Exception>(sum)
    };
    divide(multiply(&x, polynomial(&ABOVE)?)?, polynomial(&BELOW)?)
}

/// b × 1 × n: what each piece has of the mean.
fn shares(texts: &[Vec<u32>], longest: usize) -> Array {
    let of = |text: &Vec<u32>| {
        let length = text.len();
        (0..longest).map(move |at| if at < length { 1.0 / length as f32 } else { 0.0 })
    };
    let shares: Vec<f32> = texts.iter().flat_map(of).collect();
    Array::from_slice(&shares, &[texts.len() as i32, 1, longest as i32])
}

impl Linear {
    fn of(&self, x: &Array) -> Result<Array, Exception> {
        addmm(&self.bias, x, &self.weight, None, None)
    }
}

/// The file's tensors by plain name.
struct Tensors {
    names: HashMap<String, String>,
    found: HashMap<String, Array>,
}

impl Tensors {
    fn raw(&self, plain: &str) -> Result<&Array, Exception> {
        let tensor = self.names.get(plain).and_then(|name| self.found.get(name));
        tensor.ok_or_else(|| Exception::from(format!("no tensor {plain}").as_str()))
    }

    fn wide(&self, plain: &str) -> Result<Array, Exception> {
        self.raw(plain)?.as_dtype(Dtype::Float32)
    }

    fn norm(&self, name: &str) -> Result<Norm, Exception> {
        Ok(Norm { weight: self.wide(&format!("{name}.weight"))?, bias: self.wide(&format!("{name}.bias"))? })
    }

    /// Several layers over the same inputs as one.
    fn linear(&self, names: &[String]) -> Result<Linear, Exception> {
        let all = |part: &str| {
            let parts: Vec<Array> =
                names.iter().map(|name| self.wide(&format!("{name}.{part}"))).collect::<Result<_, _>>()?;
            concatenate(&parts.iter().collect::<Vec<_>>(), 0)
        };
        Ok(Linear { weight: all("weight")?.transpose_axes(&[1, 0])?, bias: all("bias")? })
    }

    fn block(&self, layer: usize) -> Result<Block, Exception> {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let attention = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        Ok(Block {
            qkv: self.linear(&attention)?,
            out: self.linear(&[name("attention.output.dense")])?,
            out_norm: self.norm(&name("attention.output.LayerNorm"))?,
            inner: self.linear(&[name("intermediate.dense")])?,
            outer: self.linear(&[name("output.dense")])?,
            outer_norm: self.norm(&name("output.LayerNorm"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_is_the_error_function() {
        let places: Vec<f32> = (-600..=600).map(|i| i as f32 / 100.0).collect();
        let places = Array::from_slice(&places, &[places.len() as i32]);
        let (ours, theirs) = (erf(&places).unwrap(), mlx_rs::ops::erf(&places).unwrap());
        let off = mlx_rs::ops::abs(ours.subtract(theirs).unwrap()).unwrap().max(false).unwrap();
        assert!(off.to_vec_exact::<f32>().unwrap()[0] < 1e-6, "{off:?}");
    }
}
