//! What makes five probabilities of a vector: one linear layer (multinomial logistic regression) and a
//! temperature. `head.safetensors` holds `weight` (F32, 5 × width) and `bias` (F32, 5), the labels in the order of
//! [`Label::ALL`]; its metadata, under the one name `brainstem`, what [`Notes`] has. A file without metadata is
//! taken at its word with careful thresholds.

use std::collections::HashMap;
use std::path::Path;

use mlx_rs::error::Exception;
use mlx_rs::ops::{add, matmul, softmax_axis, subtract};
use mlx_rs::{Array, Device, DeviceType, Stream, with_stream};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};

use crate::category::Label;
use crate::intent::figures::{self, Figures, Outcome};
use crate::intent::holdout;
use crate::intent::labelled::Labelled;
use crate::intent::weights::ModelError;
use crate::text::Language;

/// Name of the file in a model's directory.
pub const FILE: &str = "head.safetensors";
/// No head is larger: 5 × 4096 numbers and a header.
const MAX_BYTES: u64 = 1 << 20;
const LABELS: usize = Label::ALL.len();
/// Steps of Adam over all lines at once; the loss has settled before.
const STEPS: usize = 300;
const RATE: f32 = 0.03;
/// Pull of the weights (over vectors of unit variance) towards zero.
const DECAY: f32 = 1e-3;
/// Share of the lines that thresholds are set on.
const HELD_OUT: f32 = 0.1;
/// Share of the other held-out lines that may pass for greetings: five times what a bag may, because half of our
/// phrases are borderline and this head names no answer. On its word alone nothing is answered here; a rule or an
/// example has to fit, too.
const FALSE_GREETINGS: f32 = 0.02;
/// Below it any label is undecided; the default classifier's.
const SURE_FROM: f32 = 0.35;

/// A linear head.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// 5 × width.
    weight: Vec<f32>,
    bias: [f32; LABELS],
    /// What is known of it.
    pub notes: Notes,
}

/// The metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notes {
    labels: Vec<String>,
    /// Logits are divided by it.
    temperature: f32,
    /// A greeting counts from this probability on.
    pub greeting_from: f32,
    /// Any other label counts from this probability on.
    pub sure_from: f32,
    /// Of the encoder whose vectors it was trained on.
    pub encoder: Option<String>,
    /// What it was trained on, and how it did on lines held out.
    pub trained: Option<String>,
}

impl Default for Notes {
    fn default() -> Self {
        Self {
            labels: Label::ALL.map(|label| label.name().to_owned()).into(),
            temperature: 1.0,
            greeting_from: 0.9,
            sure_from: 0.5,
            encoder: None,
            trained: None,
        }
    }
}

/// How it did on the lines held out, inside the word window: Russian, English.
pub type Measured = [Figures; 2];

impl Head {
    /// Five probabilities.
    pub fn scores(&self, vector: &[f32]) -> [f32; LABELS] {
        let width = vector.len().max(1);
        let mut logits = self.bias;
        for (logit, row) in logits.iter_mut().zip(self.weight.chunks_exact(width)) {
            *logit += row.iter().zip(vector).map(|(w, x)| w * x).sum::<f32>();
        }
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers = logits.map(|logit| ((logit - most) / self.notes.temperature).exp());
        let sum: f32 = powers.iter().sum();
        powers.map(|power| power / sum)
    }

    /// Reads a file and compares it with the encoder it is to stand on.
    pub fn load(path: &Path, width: usize, encoder: u64) -> Result<Self, ModelError> {
        let io = |source| ModelError::Io { path: path.to_owned(), source };
        let malformed = |what: String| ModelError::Malformed { path: path.to_owned(), what };
        let size = std::fs::metadata(path).map_err(io)?.len();
        if size > MAX_BYTES {
            return Err(malformed(format!("{size} bytes, more than a head has ({MAX_BYTES})")));
        }
        let head = Self::parse(&std::fs::read(path).map_err(io)?, width).map_err(malformed)?;
        match &head.notes.encoder {
            Some(of) if *of != name(encoder) => Err(malformed(format!(
                "was trained on the vectors of another encoder ({of}, this one is {}): run `brainstem train --model` again",
                name(encoder)
            ))),
            _ => Ok(head),
        }
    }

    fn parse(bytes: &[u8], width: usize) -> Result<Self, String> {
        let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        if let Some(unknown) = file.names().into_iter().find(|name| !matches!(*name, "weight" | "bias")) {
            return Err(format!("unknown tensor {unknown:?}: a head has weight and bias"));
        }
        let numbers = |name: &str, shape: &[usize]| {
            let tensor = file.tensor(name).map_err(|_| format!("no tensor {name:?}"))?;
            if tensor.shape() != shape || tensor.dtype() != Dtype::F32 {
                return Err(format!(
                    "tensor {name:?} is {:?} of {:?}, expected {shape:?} of F32",
                    tensor.shape(),
                    tensor.dtype()
                ));
            }
            let floats = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            Ok(floats.collect::<Vec<f32>>())
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let notes = header.metadata().as_ref().and_then(|all| all.get("brainstem"));
        let notes: Notes = match notes {
            Some(json) => serde_json::from_str(json).map_err(|e| format!("metadata: {e}"))?,
            None => Notes::default(),
        };
        notes.check()?;
        let bias = numbers("bias", &[LABELS])?;
        let bias = <[f32; LABELS]>::try_from(bias).map_err(|_| "bias is too short".to_owned())?;
        let head = Self { weight: numbers("weight", &[LABELS, width])?, bias, notes };
        if !head.weight.iter().chain(&head.bias).all(|x| x.is_finite()) {
            return Err("holds what is no number".into());
        }
        Ok(head)
    }

    /// The file's content; the same head gives the same bytes.
    fn bytes(&self) -> Result<Vec<u8>, String> {
        let raw = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let (weight, bias) = (raw(&self.weight), raw(&self.bias));
        let shape = vec![LABELS, self.weight.len() / LABELS];
        let view = |shape, data| TensorView::new(Dtype::F32, shape, data).map_err(|e| e.to_string());
        let notes = serde_json::to_string(&self.notes).map_err(|e| e.to_string())?;
        let tensors = [("weight", view(shape, &weight)?), ("bias", view(vec![LABELS], &bias)?)];
        serialize(tensors, Some(HashMap::from([("brainstem".to_owned(), notes)]))).map_err(|e| e.to_string())
    }

    /// Writes a file, whole or not at all (beside it first, then renamed).
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let io = |source| ModelError::Io { path: path.to_owned(), source };
        let bytes = self.bytes().map_err(|what| ModelError::Malformed { path: path.to_owned(), what })?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".part");
        std::fs::write(&beside, bytes).map_err(io)?;
        std::fs::rename(&beside, path).map_err(io)
    }

    /// Fits a head to vectors of labelled lines: once without a tenth of the lines, which sets temperature and
    /// threshold, then with all. The same lines give the same head.
    pub fn fit(
        lines: &[Labelled],
        vectors: &[Vec<f32>],
        encoder: u64,
        seed: u64,
    ) -> Result<(Self, Measured), ModelError> {
        let mlx = |e: Exception| ModelError::Mlx(e.what().to_owned());
        let stream = Stream::try_default_on_device(&Device::new(DeviceType::Cpu, 0)).map_err(mlx)?;
        let dev = holdout::cut(lines, HELD_OUT, seed);
        let pick = |held: bool| (0..lines.len()).filter(|i| dev[*i] == held).collect::<Vec<usize>>();
        let fit = |rows: &[usize]| with_stream(&stream, || regress(lines, vectors, rows)).map_err(mlx);
        let first = fit(&pick(false))?;
        let outcome = |i: &usize| Outcome::new(lines[*i].label, &lines[*i].text, first.scores(&vectors[*i]));
        let mut outcomes: Vec<Outcome> = pick(true).iter().map(outcome).collect();
        let temperature = figures::temperature(&outcomes);
        figures::cool(&mut outcomes, temperature);
        let greeting_from = figures::greeting_from(&outcomes, FALSE_GREETINGS);
        let measured = [Language::Ru, Language::En].map(|language| {
            let which = |o: &Outcome| o.language == language && figures::in_window(o);
            Figures::of(&outcomes, greeting_from, SURE_FROM, which)
        });
        let mut head = fit(&(0..lines.len()).collect::<Vec<usize>>())?;
        head.notes = Notes {
            temperature,
            greeting_from,
            sure_from: SURE_FROM,
            encoder: Some(name(encoder)),
            trained: Some(format!("{} lines; held out: ru {}; en {}", lines.len(), measured[0], measured[1])),
            ..Notes::default()
        };
        Ok((head, measured))
    }
}

impl Notes {
    fn check(&self) -> Result<(), String> {
        if !self.labels.iter().map(String::as_str).eq(Label::ALL.map(Label::name)) {
            return Err(format!("labels are {:?}, expected {:?}", self.labels, Label::ALL.map(Label::name)));
        }
        for (name, value, least, most) in [
            ("temperature", self.temperature, 0.01, 100.0),
            ("greeting_from", self.greeting_from, 0.0, 1.0),
            ("sure_from", self.sure_from, 0.0, 1.0),
        ] {
            if !(least..=most).contains(&value) {
                return Err(format!("{name} is {value}, expected {least} to {most}"));
            }
        }
        Ok(())
    }
}

fn name(encoder: u64) -> String {
    format!("{encoder:016x}")
}

/// Multinomial logistic regression of some rows, on vectors brought to mean 0 and variance 1, by Adam over all
/// of them at once; what was done to the vectors is then worked into the weights. Gradients in MLX: the logits'
/// are probabilities less targets.
fn regress(lines: &[Labelled], vectors: &[Vec<f32>], rows: &[usize]) -> Result<Head, Exception> {
    let width = vectors.first().map_or(0, Vec::len);
    let count = rows.len().max(1) as f32;
    let mut mean = vec![0.0f32; width];
    let mut spread = vec![0.0f32; width];
    for row in rows {
        mean.iter_mut().zip(&vectors[*row]).for_each(|(m, x)| *m += x / count);
    }
    for row in rows {
        let off = vectors[*row].iter().zip(&mean);
        spread.iter_mut().zip(off).for_each(|(s, (x, m))| *s += (x - m) * (x - m) / count);
    }
    spread.iter_mut().for_each(|s| *s = s.sqrt().max(1e-6));
    // A 1 behind each vector, so that the bias is a weight like the others.
    let wide = width + 1;
    let mut inputs = Vec::with_capacity(rows.len() * wide);
    let mut targets = vec![0.0f32; rows.len() * LABELS];
    for (at, row) in rows.iter().enumerate() {
        inputs.extend(vectors[*row].iter().zip(mean.iter().zip(&spread)).map(|(x, (m, s))| (x - m) / s));
        inputs.push(1.0);
        let label = Label::ALL.iter().position(|label| *label == lines[*row].label).unwrap_or(LABELS - 1);
        targets[at * LABELS + label] = 1.0;
    }
    let inputs = Array::from_slice(&inputs, &[rows.len() as i32, wide as i32]);
    let targets = Array::from_slice(&targets, &[rows.len() as i32, LABELS as i32]);
    let turned = inputs.transpose_axes(&[1, 0])?;
    // wide × 5
    let mut weight = vec![0.0f32; wide * LABELS];
    let (mut first, mut second) = (weight.clone(), weight.clone());
    for step in 1..=STEPS {
        let now = Array::from_slice(&weight, &[wide as i32, LABELS as i32]);
        let off = subtract(softmax_axis(matmul(&inputs, now)?, -1, true)?, &targets)?;
        let slope = add(matmul(&turned, off)?, Array::from_f32(0.0))?;
        slope.eval()?;
        let slope: Vec<f32> = slope.to_vec_exact().map_err(|e| Exception::from(e.to_string().as_str()))?;
        let rate = RATE * (1.0 - (step - 1) as f32 / STEPS as f32);
        let mend = (1.0 - 0.9f32.powi(step as i32), 1.0 - 0.999f32.powi(step as i32));
        for i in 0..weight.len() {
            let pull = if i < width * LABELS { DECAY * weight[i] } else { 0.0 };
            let slope = slope[i] / count + pull;
            first[i] = 0.9 * first[i] + 0.1 * slope;
            second[i] = 0.999 * second[i] + 0.001 * slope * slope;
            weight[i] -= rate * (first[i] / mend.0) / ((second[i] / mend.1).sqrt() + 1e-8);
        }
    }
    let mut head = Head { weight: vec![0.0; LABELS * width], bias: [0.0; LABELS], notes: Notes::default() };
    for label in 0..LABELS {
        head.bias[label] = weight[width * LABELS + label];
        for i in 0..width {
            let w = weight[i * LABELS + label] / spread[i];
            head.weight[label * width + i] = w;
            head.bias[label] -= w * mean[i];
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each label has a direction of its own; the vectors lie near it.
    fn toy() -> (Vec<Labelled>, Vec<Vec<f32>>) {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut lines = Vec::new();
        let mut vectors = Vec::new();
        for i in 0..400usize {
            let label = i % LABELS;
            let text =
                format!("{:x} {:x} {:x} {:x} {:x}", rng.u64(..), rng.u64(..), rng.u64(..), rng.u64(..), i);
            lines.push(Labelled { label: Label::ALL[label], text, source: "toy".into() });
            let near = |d: usize| if d == label { 1.0 } else { 0.0 };
            vectors.push((0..8).map(|d| 0.5 + near(d) + 0.3 * (rng.f32() - 0.5)).collect());
        }
        (lines, vectors)
    }

    #[test]
    fn a_toy_task_is_learned_and_survives_the_file() {
        let (lines, vectors) = toy();
        let (head, [_, english]) = Head::fit(&lines, &vectors, 7, 1).unwrap();
        assert!(english.accuracy > 0.9 && english.n > 10, "{english}");
        for (line, vector) in lines.iter().zip(&vectors) {
            let scores = head.scores(vector);
            assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            let best = (0..LABELS).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
            assert_eq!(Label::ALL[best], line.label);
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        head.save(&path).unwrap();
        assert_eq!(Head::load(&path, 8, 7).unwrap(), head);
        assert_eq!(Head::fit(&lines, &vectors, 7, 1).unwrap().0.bytes().unwrap(), head.bytes().unwrap());
        let other = Head::load(&path, 8, 8).unwrap_err().to_string();
        assert!(other.contains("was trained on the vectors of another encoder"), "{other}");
        let narrow = Head::load(&path, 9, 7).unwrap_err().to_string();
        assert!(narrow.contains("tensor \"weight\" is [5, 8] of F32, expected [5, 9] of F32"), "{narrow}");
    }

    #[test]
    fn a_head_of_another_tool_has_careful_thresholds() {
        let zeros = [0u8; 4 * LABELS * 2];
        let view = |shape: Vec<usize>| {
            let bytes = 4 * shape.iter().product::<usize>();
            TensorView::new(Dtype::F32, shape, &zeros[..bytes]).unwrap()
        };
        let bytes = serialize([("weight", view(vec![5, 2])), ("bias", view(vec![5]))], None).unwrap();
        let head = Head::parse(&bytes, 2).unwrap();
        assert_eq!((head.notes.greeting_from, head.notes.sure_from), (0.9, 0.5));
        assert_eq!(head.scores(&[1.0, 2.0]), [0.2; 5]);
        for cut in [0, 7, 20, bytes.len() - 1] {
            assert!(Head::parse(&bytes[..cut], 2).is_err(), "{cut}");
        }
        let odd = serialize([("wieght", view(vec![5, 2]))], None).unwrap();
        assert!(Head::parse(&odd, 2).unwrap_err().starts_with("unknown tensor \"wieght\""));
        let half = serialize([("weight", view(vec![5, 2]))], None).unwrap();
        assert_eq!(Head::parse(&half, 2).unwrap_err(), "no tensor \"bias\"");
    }
}
