//! The default classifier: two small models of different kinds whose opinions are averaged, on MLX.
//!
//! A **transformer encoder** over word pieces knows words by what they mean and in which order they stand; a
//! **bag of hashed features** ([`super::features`]) knows spellings, typos and set phrases. They err on
//! different asks. The bag costs a tenth of the encoder, so it goes first, and where it is sure of anything but
//! a greeting the encoder is not asked. A second head names the answer that a greeting asks for.
//!
//! A model is a directory: `config.json` ([`shape`]), `tokenizer.json` (Hugging Face's form), and
//! `model.safetensors`, whose large tables are quantised to 4 and 8 bits as MLX does it. `docs/classifier.md`
//! says how it is made.
//!
//! It always runs on the CPU stream, also where there is a GPU: a forward pass is a millisecond, hardly more
//! than the cost of waking a GPU, and a Metal fault cannot be caught.

use std::collections::HashMap;
use std::path::Path;

use mlx_rs::error::Exception;
use mlx_rs::fast::{rms_norm, scaled_dot_product_attention};
use mlx_rs::ops::{
    add, concatenate, dequantize, logsumexp_axis, matmul, maximum, multiply, softmax_axis, subtract,
};
use mlx_rs::{Array, Device, DeviceType, Dtype, Stream, with_stream};
use tokenizers::Tokenizer;

use self::shape::Shape;
use super::features;
use super::weights::ModelError;
use super::{Classifier, ClassifyError, NOTHING_SAID, Verdict, Wish};
use crate::category::Label;
use crate::text::fold;

mod shape;

/// A loaded model. Stays on the thread that loaded it: MLX streams belong to threads.
pub struct Blend {
    stream: Stream,
    shape: Shape,
    tokenizer: Tokenizer,
    tensors: HashMap<String, Array>,
    about: String,
    features: features::Bag,
}

/// What both members make of a text.
struct Read {
    scores: Array,
    /// The mean over the pieces.
    pooled: Array,
    /// Mean and maximum over the pieces.
    summary: Array,
}

impl Blend {
    /// Reads a directory, puts the weights on MLX, evaluates once (the first evaluation is slow) and checks it.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let malformed = |file: &str, what: String| ModelError::Malformed { path: dir.join(file), what };
        let file = |name: &str| {
            let path = dir.join(name);
            std::fs::read(&path).map_err(|source| ModelError::Io { path, source })
        };
        let shape: Shape = serde_json::from_slice(&file("config.json")?)
            .map_err(|e| malformed("config.json", e.to_string()))?;
        shape.check().map_err(|what| malformed("config.json", what))?;
        let tokenizer = Tokenizer::from_bytes(file("tokenizer.json")?)
            .map_err(|e| malformed("tokenizer.json", e.to_string()))?;
        let weights = dir.join("model.safetensors");
        std::fs::metadata(&weights).map_err(|source| ModelError::Io { path: weights.clone(), source })?;
        let mlx = |e: Exception| ModelError::Mlx(e.what().to_owned());
        let stream = Stream::try_default_on_device(&Device::new(DeviceType::Cpu, 0)).map_err(mlx)?;
        let tensors = with_stream(&stream, || Array::load_safetensors(&weights))
            .map_err(|e| malformed("model.safetensors", e.to_string()))?;
        shape.check_tensors(&tensors).map_err(|what| malformed("model.safetensors", what))?;
        let tensors = with_stream(&stream, || widened(tensors)).map_err(mlx)?;
        let about = format!(
            "{}, encoder of {} layers x {} over {} pieces and bag of {} features x {}, greeting from {:.3}",
            dir.display(),
            shape.layers,
            shape.width,
            shape.vocab,
            shape.buckets,
            shape.bag_width,
            shape.greeting_from
        );
        let mut blend = Self { stream, shape, tokenizer, tensors, about, features: features::Bag::default() };
        super::canary(|text| blend.classify(text).map(|v| v.scores))
            .map_err(|e| ModelError::Canary(e.to_string()))?;
        Ok(blend)
    }

    /// The pieces of a text, with the marks of its beginning and end.
    fn pieces(&self, text: &str) -> Result<Vec<u32>, ClassifyError> {
        let encoded = self.tokenizer.encode(fold(&features::clip(text)), true);
        let mut ids = encoded.map_err(|e| ClassifyError::Mlx(e.to_string()))?.get_ids().to_vec();
        let most = self.shape.max_tokens;
        if ids.len() > most {
            ids.drain(most / 4 * 3..ids.len() - most / 4);
        }
        Ok(ids)
    }

    fn tensor(&self, name: &str) -> Result<&Array, Exception> {
        // `check_tensors` has seen to it that it is there.
        self.tensors.get(name).ok_or_else(|| Exception::from(format!("no tensor {name}").as_str()))
    }

    /// Rows of a packed table.
    fn rows(&self, table: &str, ids: &[u32]) -> Result<Array, Exception> {
        let ids = Array::from_slice(ids, &[ids.len() as i32]);
        let part = |part: &str| self.tensor(&format!("{table}.{part}"))?.take_axis(&ids, 0);
        let (scales, biases) =
            (part("scales")?.as_dtype(Dtype::Float32)?, part("biases")?.as_dtype(Dtype::Float32)?);
        let Some(quant) = self.shape.quant.get(table) else {
            return Err(Exception::from("a table without its packing"));
        };
        dequantize(part("weight")?, scales, &biases, quant.group, quant.bits)
    }

    fn linear(&self, x: &Array, layer: &str) -> Result<Array, Exception> {
        let product = matmul(x, self.tensor(&format!("{layer}.weight"))?)?;
        match self.tensors.get(&format!("{layer}.bias")) {
            Some(bias) => add(product, bias),
            None => Ok(product),
        }
    }

    fn relu(x: Array) -> Result<Array, Exception> {
        maximum(x, Array::from_f32(0.0))
    }

    /// The encoder: its logits, the mean over the pieces, and mean beside maximum.
    fn encode(&self, ids: &[u32]) -> Result<(Array, Array, Array), Exception> {
        let (n, width, heads) = (ids.len() as i32, self.shape.width as i32, self.shape.heads as i32);
        let depth = width / heads;
        let places: Vec<u32> = (0..ids.len() as u32).collect();
        let places = self.tensor("enc.pos")?.take_axis(Array::from_slice(&places, &[n]), 0)?;
        let norm = |x: &Array, name: &str| {
            rms_norm(x, Some(self.tensor(&format!("{name}.weight"))?), self.shape.rms_eps)
        };
        let mut x = add(self.rows("enc.word", ids)?, places)?;
        for layer in 0..self.shape.layers {
            let name = |part: &str| format!("enc.blocks.{layer}.{part}");
            let parts = self.linear(&norm(&x, &name("n1"))?, &name("qkv"))?;
            // Pieces, then query/key/value, then heads; attention wants them the other way round.
            let parts = parts.reshape(&[1, n, 3, heads, depth])?.transpose_axes(&[2, 0, 3, 1, 4])?;
            let part = |at: i32| parts.take_axis(Array::from_slice(&[at], &[1]), 0)?.squeeze_axes(&[0]);
            let seen = scaled_dot_product_attention(
                part(0)?,
                part(1)?,
                part(2)?,
                (depth as f32).powf(-0.5),
                None,
                None,
            )?;
            let seen = seen.transpose_axes(&[0, 2, 1, 3])?.reshape(&[n, width])?;
            x = add(&x, self.linear(&seen, &name("o"))?)?;
            let inner = Self::relu(self.linear(&norm(&x, &name("n2"))?, &name("f1"))?)?;
            x = add(&x, self.linear(&inner, &name("f2"))?)?;
        }
        let x = norm(&x, "enc.norm")?;
        let pooled = x.mean_axis(0, true)?;
        let summary = concatenate(&[&pooled, &x.max_axis(0, true)?], 1)?;
        let logits = self.linear(&Self::relu(self.linear(&summary, "enc.hid")?)?, "enc.out")?;
        Ok((logits, pooled, summary))
    }

    /// The sum of a bag's rows.
    fn sum(&self, table: &str) -> Result<Array, Exception> {
        let shares = Array::from_slice(&self.features.shares, &[1, self.features.shares.len() as i32]);
        matmul(shares, self.rows(table, &self.features.ids)?)
    }

    /// The bag alone: its sum, and what it makes of it (logarithms of probabilities).
    fn read_bag(&self) -> Result<(Array, Array), Exception> {
        let sum = self.sum("bag.table")?;
        let logits = self.linear(&Self::relu(self.linear(&sum, "bag.hid")?)?, "bag.out")?;
        let labels = labels(&logits)?;
        mlx_rs::transforms::eval([&sum, &labels])?;
        Ok((sum, labels))
    }

    /// Both, averaged.
    fn read(&self, ids: &[u32], bagged: &Array) -> Result<Read, Exception> {
        let (encoded, pooled, summary) = self.encode(ids)?;
        let share = |of: f32| Array::from_f32(of / self.shape.temperature);
        let logits = add(
            multiply(labels(&encoded)?, share(1.0 - self.shape.bag_share))?,
            multiply(bagged, share(self.shape.bag_share))?,
        )?;
        let scores = softmax_axis(logits, -1, true)?;
        mlx_rs::transforms::eval([&scores, &pooled, &summary])?;
        Ok(Read { scores, pooled, summary })
    }

    /// What a greeting of that probability may ask for.
    fn wish(&mut self, text: &str, greeting: f32, read: &Read, bag: &Array) -> Result<Wish, Exception> {
        self.features.fill(text, &self.shape.settings(self.shape.answer_buckets));
        let scores = with_stream(&self.stream, || {
            let hidden = self.linear(&concatenate(&[&read.summary, bag], 1)?, "ans.hid")?;
            let logits = add(self.linear(&Self::relu(hidden)?, "ans.out")?, self.sum("ans.table")?)?;
            let scores = softmax_axis(logits, -1, true)?;
            scores.eval()?;
            Ok::<_, Exception>(scores)
        })?;
        let scores: Vec<f32> = scores.to_vec_exact().map_err(|e| Exception::from(e.to_string().as_str()))?;
        let named =
            self.shape.answers.iter().cloned().zip(scores.iter().map(|score| score * greeting)).skip(1);
        Ok(Wish {
            answers: named.collect(),
            one_from: self.shape.answer_from,
            family_from: self.shape.family_from,
        })
    }
}

impl Blend {
    /// Judges a text; with `sure_from` above 1 the encoder is always asked.
    fn judge(&mut self, text: &str, sure_from: f32) -> Result<Verdict, ClassifyError> {
        let mlx = |e: Exception| ClassifyError::Mlx(e.what().to_owned());
        let numbers = |array: &Array| -> Result<Vec<f32>, ClassifyError> {
            array.to_vec_exact().map_err(|e| ClassifyError::Mlx(e.to_string()))
        };
        let mut verdict = Verdict {
            scores: NOTHING_SAID,
            embedding: Vec::new(),
            wish: Wish::default(),
            greeting_from: self.shape.greeting_from,
            sure_from: self.shape.sure_from,
        };
        if !text.chars().any(char::is_alphanumeric) {
            return Ok(verdict);
        }
        self.features.fill(text, &self.shape.settings(self.shape.buckets));
        let (bag, bagged) = with_stream(&self.stream, || self.read_bag()).map_err(mlx)?;
        let powers: Vec<f32> = numbers(&bagged)?.iter().map(|logarithm| logarithm.exp()).collect();
        verdict.scores = super::probabilities(&powers)?;
        if verdict.label() != Label::Greeting && verdict.probability() >= sure_from {
            return Ok(verdict);
        }
        let ids = self.pieces(text)?;
        let read = with_stream(&self.stream, || self.read(&ids, &bagged)).map_err(mlx)?;
        verdict.scores = super::probabilities(&numbers(&read.scores)?)?;
        verdict.embedding = numbers(&read.pooled)?;
        if verdict.confident() == Label::Greeting {
            verdict.wish = self.wish(text, verdict.of(Label::Greeting), &read, &bag).map_err(mlx)?;
        }
        Ok(verdict)
    }
}

impl Classifier for Blend {
    fn classify(&mut self, text: &str) -> Result<Verdict, ClassifyError> {
        self.judge(text, self.shape.bag_sure_from)
    }

    fn read_fully(&mut self, text: &str) -> Result<Verdict, ClassifyError> {
        self.judge(text, f32::INFINITY)
    }

    fn describe(&self) -> String {
        self.about.clone()
    }
}

/// Normalised logarithms of the labels' probabilities; behind the labels' logits stand the answers'.
fn labels(logits: &Array) -> Result<Array, Exception> {
    let first: Vec<u32> = (0..Label::ALL.len() as u32).collect();
    let labels = logits.take_axis(Array::from_slice(&first, &[first.len() as i32]), 1)?;
    subtract(&labels, logsumexp_axis(&labels, -1, true)?)
}

/// Small tensors are kept in half precision and widened once; the packed tables stay packed.
fn widened(tensors: HashMap<String, Array>) -> Result<HashMap<String, Array>, Exception> {
    let packed = |name: &str| name.ends_with(".scales") || name.ends_with(".biases");
    let widen = |(name, tensor): (String, Array)| match tensor.dtype() {
        Dtype::Float16 if !packed(&name) => Ok((name, tensor.as_dtype(Dtype::Float32)?)),
        _ => Ok((name, tensor)),
    };
    let tensors: HashMap<String, Array> = tensors.into_iter().map(widen).collect::<Result<_, Exception>>()?;
    mlx_rs::transforms::eval(tensors.values())?;
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn shipped() -> Blend {
        Blend::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/intent")).unwrap()
    }

    #[derive(Deserialize)]
    struct Golden {
        text: String,
        folded: String,
        ids: Vec<u32>,
        pooled: Vec<f32>,
        logits: Vec<f32>,
    }

    /// The same weights in the program that trained them, over short, empty, very long and foreign texts.
    #[test]
    fn the_trainer_says_the_same() {
        let golden = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/intent-golden.json"));
        let golden: Vec<Golden> = serde_json::from_str(golden).unwrap();
        assert!(golden.len() >= 30);
        let (mut blend, mut compared) = (shipped(), 0);
        for Golden { text, folded, ids, pooled, logits } in golden {
            if text.len() <= features::MAX_BYTES {
                assert_eq!(fold(&text), folded);
                assert_eq!(blend.pieces(&text).unwrap(), ids, "{text:?}");
            }
            let verdict = blend.classify(&text).unwrap();
            let powers: Vec<f32> = logits.iter().map(|l| l.exp()).collect();
            // Where the bag was sure, or nothing is said, there is no average to compare.
            if verdict.embedding.is_empty() {
                continue;
            }
            compared += 1;
            for (found, power) in verdict.scores.iter().zip(&powers) {
                let wanted = power / powers.iter().sum::<f32>();
                assert!((found - wanted).abs() < 2e-3, "{text:?}: {found} and {wanted}");
            }
            for (found, wanted) in verdict.embedding.iter().zip(&pooled) {
                assert!((found - wanted).abs() < 1e-2, "{text:?}: {found} and {wanted}");
            }
        }
        assert!(compared >= 10, "{compared}");
    }

    #[test]
    fn a_greeting_comes_with_its_answer() {
        let mut blend = shipped();
        let mut answer = |text: &str| {
            let verdict = blend.classify(text).unwrap();
            verdict.wish.one().map(|(name, _)| name.to_owned())
        };
        assert_eq!(answer("слушай, а кто тебя вообще придумал и сделал").as_deref(), Some("who-made-you"));
        assert_eq!(answer("thank you so much for all of your help today").as_deref(), Some("thanks"));
        assert_eq!(answer("напиши функцию сортировки на питоне и объясни её"), None);
    }

    /// A copy of the shipped model with one file changed.
    fn with(file: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> String {
        let dir = tempfile::tempdir().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/intent");
        for name in ["config.json", "tokenizer.json", "model.safetensors"] {
            std::fs::copy(shipped.join(name), dir.path().join(name)).unwrap();
        }
        let path = dir.path().join(file);
        std::fs::write(&path, change(std::fs::read(&path).unwrap())).unwrap();
        Blend::load(dir.path()).err().unwrap().to_string()
    }

    #[test]
    fn what_does_not_fit_is_refused_and_named() {
        let replaced = |from: &'static str, to: &'static str| {
            move |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replacen(from, to, 1).into_bytes()
        };
        let error = with("config.json", replaced("\"width\"", "\"witdh\""));
        assert!(error.contains("config.json: unknown field `witdh`"), "{error}");
        let error = with("config.json", replaced("\"layers\": 2", "\"layers\": 1"));
        assert!(error.contains("unknown tensor \"enc.blocks.1."), "{error}");
        let error = with("config.json", replaced("\"vocab\": ", "\"vocab\": 1"));
        assert!(error.contains("tensor \"enc.word.weight\" is"), "{error}");
        let error = with("model.safetensors", |mut bytes| {
            bytes.truncate(bytes.len() / 2);
            bytes
        });
        assert!(error.contains("model.safetensors"), "{error}");
        let error = with("tokenizer.json", |_| b"{}".to_vec());
        assert!(error.contains("tokenizer.json"), "{error}");
        let missing = Blend::load(Path::new("/nowhere")).err().unwrap().to_string();
        assert!(missing.contains("/nowhere/config.json: No such file"), "{missing}");
    }
}
