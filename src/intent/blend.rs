//! The default classifier: two small models of different kinds whose opinions are averaged, on MLX.
//!
//! A **transformer encoder** over word pieces knows words by what they mean and in which order they stand; a
//! **bag of hashed features** ([`super::features`]) knows spellings, typos and set phrases. They err on
//! different asks. The bag costs a tenth of the encoder, so it goes first, and where it is sure of anything but
//! a greeting the encoder is not asked. A second head names the answer that a greeting asks for.
//!
//! A model is a directory: `config.json` ([`Shape`]), `tokenizer.json` (Hugging Face's form), and
//! `model.safetensors`, whose large tables are quantised to 4 and 8 bits as MLX does it. `docs/classifier.md`
//! says how it is made.
//!
//! It always runs on the CPU stream, also where there is a GPU: a forward pass is a millisecond, hardly more
//! than the cost of waking a GPU, and a Metal fault cannot be caught.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use mlx_rs::error::Exception;
use mlx_rs::fast::{rms_norm, scaled_dot_product_attention};
use mlx_rs::ops::{
    add, concatenate, dequantize, logsumexp_axis, matmul, maximum, multiply, softmax_axis, subtract,
};
use mlx_rs::{Array, Device, DeviceType, Dtype, Stream, with_stream};
use serde::Deserialize;
use tokenizers::Tokenizer;

use super::features::{self, Settings};
use super::weights::ModelError;
use super::{Classifier, ClassifyError, NOTHING_SAID, Verdict};
use crate::category::Label;
use crate::text::fold;

/// Of the directory's layout.
const FORMAT: u32 = 1;
/// Positions that the encoder has learnt.
const POSITIONS: usize = 64;

/// `config.json`: sizes, thresholds, names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    format: u32,
    labels: Vec<String>,
    /// The first one is `none`.
    answers: Vec<Arc<str>>,
    /// Of the encoder's vectors.
    width: usize,
    heads: usize,
    layers: usize,
    feed_forward: usize,
    /// Of the hidden layer above the encoder.
    encoder_hidden: usize,
    /// A longer text is read in its first three quarters and its last quarter of so many pieces.
    max_tokens: usize,
    vocab: usize,
    quant: HashMap<String, Quant>,
    buckets: usize,
    gram_min: usize,
    gram_max: usize,
    bag_width: usize,
    bag_hidden: usize,
    answer_buckets: usize,
    answer_hidden: usize,
    /// The bag's weight in the average; the encoder's is the rest.
    bag_share: f32,
    /// A bag that is so sure of a label other than `greeting` is believed without asking the encoder.
    bag_sure_from: f32,
    temperature: f32,
    greeting_from: f32,
    sure_from: f32,
    /// An answer is named from this probability on: that of a greeting times that of this answer. It is what keeps
    /// wrong answers away; `greeting_from` alone only names the category.
    answer_from: f32,
    rms_eps: f32,
}

/// How a table is packed.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Quant {
    bits: i32,
    group: i32,
}

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

    /// The answer that a greeting asks for, if one is likely enough.
    fn answer(
        &mut self,
        text: &str,
        greeting: f32,
        read: &Read,
        bag: &Array,
    ) -> Result<Option<(Arc<str>, f32)>, Exception> {
        self.features.fill(text, &self.shape.settings(self.shape.answer_buckets));
        let scores = with_stream(&self.stream, || {
            let hidden = self.linear(&concatenate(&[&read.summary, bag], 1)?, "ans.hid")?;
            let logits = add(self.linear(&Self::relu(hidden)?, "ans.out")?, self.sum("ans.table")?)?;
            let scores = softmax_axis(logits, -1, true)?;
            scores.eval()?;
            Ok::<_, Exception>(scores)
        })?;
        let scores: Vec<f32> = scores.to_vec_exact().map_err(|e| Exception::from(e.to_string().as_str()))?;
        let named = self.shape.answers.iter().zip(scores.iter().map(|score| score * greeting)).skip(1);
        let best = named.max_by(|a, b| a.1.total_cmp(&b.1));
        Ok(best
            .filter(|(_, score)| *score >= self.shape.answer_from)
            .map(|(name, score)| (name.clone(), score)))
    }
}

impl Classifier for Blend {
    fn classify(&mut self, text: &str) -> Result<Verdict, ClassifyError> {
        let mlx = |e: Exception| ClassifyError::Mlx(e.what().to_owned());
        let numbers = |array: &Array| -> Result<Vec<f32>, ClassifyError> {
            array.to_vec_exact().map_err(|e| ClassifyError::Mlx(e.to_string()))
        };
        let mut verdict = Verdict {
            scores: NOTHING_SAID,
            embedding: Vec::new(),
            answer: None,
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
        if verdict.label() != Label::Greeting && verdict.probability() >= self.shape.bag_sure_from {
            return Ok(verdict);
        }
        let ids = self.pieces(text)?;
        let read = with_stream(&self.stream, || self.read(&ids, &bagged)).map_err(mlx)?;
        verdict.scores = super::probabilities(&numbers(&read.scores)?)?;
        verdict.embedding = numbers(&read.pooled)?;
        if verdict.confident() == Label::Greeting {
            verdict.answer = self.answer(text, verdict.of(Label::Greeting), &read, &bag).map_err(mlx)?;
        }
        Ok(verdict)
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

impl Shape {
    fn settings(&self, buckets: usize) -> Settings {
        Settings { buckets: buckets as u32, gram_min: self.gram_min, gram_max: self.gram_max }
    }

    /// Outputs of the answers' head: its table is packed in groups, so a few behind the last name are spare.
    fn answer_outputs(&self) -> usize {
        let group = self.quant.get("ans.table").map_or(1, |quant| quant.group.max(1) as usize);
        self.answers.len().next_multiple_of(group)
    }

    /// What is wrong with it.
    fn check(&self) -> Result<(), String> {
        let whole = |name: &str, value: usize, most: usize| match (1..=most).contains(&value) {
            true => Ok(()),
            false => Err(format!("{name} is {value}, expected 1 to {most}")),
        };
        let share = |name: &str, value: f32, most: f32| match (0.0..=most).contains(&value) {
            true => Ok(()),
            false => Err(format!("{name} is {value}, expected 0 to {most}")),
        };
        if self.format != FORMAT {
            return Err(format!("format is {}, expected {FORMAT}", self.format));
        }
        if !self.labels.iter().map(String::as_str).eq(Label::ALL.map(Label::name)) {
            return Err(format!("labels are {:?}, expected {:?}", self.labels, Label::ALL.map(Label::name)));
        }
        if self.answers.first().map(AsRef::as_ref) != Some("none") {
            return Err("answers do not begin with \"none\"".into());
        }
        for (name, value, most) in [
            ("width", self.width, 4096),
            ("heads", self.heads, self.width),
            ("layers", self.layers, 64),
            ("feed_forward", self.feed_forward, 16384),
            ("encoder_hidden", self.encoder_hidden, 4096),
            ("vocab", self.vocab, 1 << 20),
            ("buckets", self.buckets, 1 << 22),
            ("gram_min", self.gram_min, features::MAX_CHARS),
            ("gram_max", self.gram_max, features::MAX_CHARS),
            ("bag_width", self.bag_width, 1024),
            ("bag_hidden", self.bag_hidden, 4096),
            ("answer_buckets", self.answer_buckets, 1 << 22),
            ("answer_hidden", self.answer_hidden, 4096),
            ("max_tokens", self.max_tokens, POSITIONS),
        ] {
            whole(name, value, most)?;
        }
        if !self.width.is_multiple_of(self.heads) {
            return Err(format!("width {} is no multiple of heads {}", self.width, self.heads));
        }
        share("bag_share", self.bag_share, 1.0)?;
        share("bag_sure_from", self.bag_sure_from, 1.0)?;
        share("temperature", self.temperature, 100.0)?;
        share("greeting_from", self.greeting_from, 1.0)?;
        share("sure_from", self.sure_from, 1.0)?;
        share("answer_from", self.answer_from, 1.0)?;
        if self.temperature == 0.0 {
            return Err("temperature is 0".into());
        }
        for table in ["enc.word", "bag.table", "ans.table"] {
            let quant = self.quant.get(table).ok_or_else(|| format!("quant lacks {table:?}"))?;
            if !matches!(quant.bits, 4 | 8) || !matches!(quant.group, 32 | 64 | 128) {
                return Err(format!("{table} is packed as {quant:?}: bits are 4 or 8, groups 32, 64 or 128"));
            }
        }
        Ok(())
    }

    /// The tensors that there must be, no more and no less.
    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (width, feed) = (self.width, self.feed_forward);
        let answers = self.answer_outputs();
        let heads = Label::ALL.len() + answers;
        let mut all: Vec<(String, Vec<usize>)> = [
            ("enc.pos", vec![POSITIONS, width]),
            ("enc.norm.weight", vec![width]),
            ("enc.hid.weight", vec![2 * width, self.encoder_hidden]),
            ("enc.hid.bias", vec![self.encoder_hidden]),
            ("enc.out.weight", vec![self.encoder_hidden, heads]),
            ("enc.out.bias", vec![heads]),
            ("bag.hid.weight", vec![self.bag_width, self.bag_hidden]),
            ("bag.hid.bias", vec![self.bag_hidden]),
            ("bag.out.weight", vec![self.bag_hidden, heads]),
            ("bag.out.bias", vec![heads]),
            ("ans.hid.weight", vec![2 * width + self.bag_width, self.answer_hidden]),
            ("ans.hid.bias", vec![self.answer_hidden]),
            ("ans.out.weight", vec![self.answer_hidden, answers]),
            ("ans.out.bias", vec![answers]),
        ]
        .map(|(name, shape)| (name.to_owned(), shape))
        .into();
        for layer in 0..self.layers {
            let parts = [
                ("n1.weight", vec![width]),
                ("qkv.weight", vec![width, 3 * width]),
                ("o.weight", vec![width, width]),
                ("n2.weight", vec![width]),
                ("f1.weight", vec![width, feed]),
                ("f1.bias", vec![feed]),
                ("f2.weight", vec![feed, width]),
            ];
            all.extend(parts.map(|(part, shape)| (format!("enc.blocks.{layer}.{part}"), shape)));
        }
        let tables = [
            ("enc.word", self.vocab, width),
            ("bag.table", self.buckets, self.bag_width),
            ("ans.table", self.answer_buckets, answers),
        ];
        for (table, rows, columns) in tables {
            let Some(Quant { bits, group }) = self.quant.get(table).copied() else { continue };
            let (bits, group) = (bits as usize, group as usize);
            for (part, columns) in
                [("weight", columns * bits / 32), ("scales", columns / group), ("biases", columns / group)]
            {
                all.push((format!("{table}.{part}"), vec![rows, columns]));
            }
        }
        all
    }

    fn check_tensors(&self, found: &HashMap<String, Array>) -> Result<(), String> {
        let wanted = self.tensors();
        let names: BTreeSet<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
        if let Some(unknown) = found.keys().find(|name| !names.contains(name.as_str())) {
            return Err(format!("unknown tensor {unknown:?}"));
        }
        for (name, shape) in &wanted {
            let tensor = found.get(name).ok_or_else(|| format!("no tensor {name:?}"))?;
            if !tensor.shape().iter().map(|n| *n as usize).eq(shape.iter().copied()) {
                return Err(format!("tensor {name:?} is {:?}, expected {shape:?}", tensor.shape()));
            }
            let packed = self.quant.keys().any(|table| *name == format!("{table}.weight"));
            let kind = if packed { Dtype::Uint32 } else { Dtype::Float16 };
            if tensor.dtype() != kind {
                return Err(format!("tensor {name:?} holds {:?}, expected {kind:?}", tensor.dtype()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
            verdict.answer.map(|(name, _)| name.to_string())
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
