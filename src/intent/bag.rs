//! The default classifier: a bag of hashed features, a table, one hidden layer, five probabilities; on MLX.
//!
//! It always runs on the CPU stream, also where there is a GPU: a forward pass is some thousand
//! multiplications, less than the cost of waking a GPU, and a Metal fault cannot be caught.

use std::path::Path;

use mlx_rs::error::Exception;
use mlx_rs::ops::{add, matmul, maximum, multiply, softmax_axis};
use mlx_rs::{Array, Device, DeviceType, Dtype, Stream, with_stream};

use super::features::{self, Settings};
pub use super::weights::ModelError;
use super::weights::Weights;
use super::{Classifier, ClassifyError, Verdict};
use crate::category::Label;

/// A loaded model. Stays on the thread that loaded it: MLX streams belong to threads.
pub struct Bag {
    stream: Stream,
    settings: Settings,
    table: Array,
    hidden_weight: Array,
    hidden_bias: Array,
    out_weight: Array,
    out_bias: Array,
    zero: Array,
    cooling: Array,
    greeting_from: f32,
    sure_from: f32,
    about: String,
    features: features::Bag,
}

impl Bag {
    /// Reads a model, puts it on MLX, evaluates it once (the first evaluation is slow) and checks it.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let mut bag = Self::new(&Weights::load(path)?)?;
        bag.about = format!("{}, {}", path.display(), bag.about);
        Ok(bag)
    }

    /// The same for weights already in memory.
    pub fn new(weights: &Weights) -> Result<Self, ModelError> {
        let mlx = |e: Exception| ModelError::Mlx(e.what().to_owned());
        let cpu = Device::new(DeviceType::Cpu, 0);
        let stream = Stream::try_default_on_device(&cpu).map_err(mlx)?;
        let (dim, hidden, labels) = (weights.dim as i32, weights.hidden as i32, Label::ALL.len() as i32);
        let table = Array::from_slice(&weights.table, &[weights.settings.buckets as i32, dim]);
        let table = with_stream(&stream, || {
            let table = table.view_dtype(Dtype::Float16)?;
            table.eval()?;
            Ok(table)
        });
        let mut bag = Self {
            table: table.map_err(mlx)?,
            hidden_weight: Array::from_slice(&weights.hidden_weight, &[dim, hidden]),
            hidden_bias: Array::from_slice(&weights.hidden_bias, &[hidden]),
            out_weight: Array::from_slice(&weights.out_weight, &[hidden, labels]),
            out_bias: Array::from_slice(&weights.out_bias, &[labels]),
            zero: Array::from_f32(0.0),
            cooling: Array::from_f32(1.0 / weights.temperature),
            settings: weights.settings,
            greeting_from: weights.greeting_from,
            sure_from: weights.sure_from,
            about: format!(
                "bag of {} features x {}, hidden {}, greeting from {:.3}",
                weights.settings.buckets, weights.dim, weights.hidden, weights.greeting_from
            ),
            features: features::Bag::default(),
            stream,
        };
        bag.canary().map_err(|e| ModelError::Canary(e.to_string()))?;
        Ok(bag)
    }

    /// What the text is about.
    pub fn classify(&mut self, text: &str) -> Result<Verdict, ClassifyError> {
        self.features.fill(text, &self.settings);
        let verdict = with_stream(&self.stream, || self.evaluate());
        let (scores, embedding) = verdict.map_err(|e| ClassifyError::Mlx(e.to_string()))?;
        Ok(Verdict {
            scores: super::probabilities(&scores)?,
            embedding,
            wish: super::Wish::default(),
            greeting_from: self.greeting_from,
            sure_from: self.sure_from,
        })
    }

    /// Classifies a few known texts; run it after any error, and take the classifier out of service if it fails.
    pub fn canary(&mut self) -> Result<(), ClassifyError> {
        super::canary(|text| self.classify(text).map(|verdict| verdict.scores))
    }

    fn evaluate(&self) -> Result<(Vec<f32>, Vec<f32>), mlx_rs::error::ConversionError> {
        let count = self.features.ids.len() as i32;
        let ids = Array::from_slice(&self.features.ids, &[count]);
        let shares = Array::from_slice(&self.features.shares, &[1, count]);
        let rows = self.table.take_axis(ids, 0)?.as_dtype(Dtype::Float32)?;
        let pooled = matmul(shares, rows)?;
        let hidden = add(matmul(&pooled, &self.hidden_weight)?, &self.hidden_bias)?;
        let hidden = maximum(hidden, &self.zero)?;
        let logits = add(matmul(hidden, &self.out_weight)?, &self.out_bias)?;
        let scores = softmax_axis(multiply(logits, &self.cooling)?, -1, true)?;
        mlx_rs::transforms::eval([&scores, &pooled])?;
        Ok((scores.to_vec_exact()?, pooled.to_vec_exact()?))
    }
}

impl Classifier for Bag {
    fn classify(&mut self, text: &str) -> Result<Verdict, ClassifyError> {
        Bag::classify(self, text)
    }

    fn describe(&self) -> String {
        self.about.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::weights::{from_half, to_half};

    /// Two dimensions: row 0 of every text speaks for coding; `w` scales it.
    fn weights(w: f32) -> Weights {
        let settings = Settings { buckets: 64, gram_min: 3, gram_max: 4 };
        Weights {
            table: (0..128).map(|i| to_half(w * (i % 7) as f32 / 7.0)).collect(),
            settings,
            dim: 2,
            hidden: 2,
            hidden_weight: vec![1.0, 0.0, 0.0, 1.0],
            hidden_bias: vec![0.0; 2],
            out_weight: vec![0.0, 0.1, 0.3, 0.0, 0.0, 0.0, -0.2, 0.1, 0.2, 0.0],
            out_bias: vec![0.1, 0.0, 0.2, 0.0, 0.0],
            temperature: 2.0,
            greeting_from: 0.9,
            sure_from: 0.0,
            notes: std::collections::BTreeMap::new(),
        }
    }

    /// The same in plain Rust.
    fn by_hand(weights: &Weights, text: &str) -> [f32; 5] {
        let mut bag = features::Bag::default();
        bag.fill(text, &weights.settings);
        let mut pooled = [0.0f32; 2];
        for (id, share) in bag.ids.iter().zip(&bag.shares) {
            for (d, sum) in pooled.iter_mut().enumerate() {
                let i = *id as usize * 2 + d;
                *sum += share * from_half(weights.table[i]);
            }
        }
        let logits: Vec<f32> = (0..5)
            .map(|l| {
                let hidden = |h: usize| pooled[h].max(0.0) * weights.out_weight[h * 5 + l];
                (hidden(0) + hidden(1) + weights.out_bias[l]) / weights.temperature
            })
            .collect();
        let powers: Vec<f32> = logits.iter().map(|l| l.exp()).collect();
        [0, 1, 2, 3, 4].map(|l| powers[l] / powers.iter().sum::<f32>())
    }

    #[test]
    fn scores_are_those_computed_by_hand() {
        let weights = weights(1.0);
        let mut bag = Bag::new(&weights).unwrap();
        for text in ["привет", "write a function, please", "", &"long ".repeat(3000)] {
            let verdict = bag.classify(text).unwrap();
            for (found, expected) in verdict.scores.iter().zip(by_hand(&weights, text)) {
                assert!((found - expected).abs() < 1e-4, "{text:.20}: {found} and {expected}");
            }
            assert_eq!(verdict.embedding.len(), 2);
        }
    }

    #[test]
    fn broken_weights_fail_the_canary() {
        let mut broken = weights(1.0);
        broken.out_bias[3] = f32::NAN;
        assert!(matches!(Bag::new(&broken), Err(ModelError::Canary(_))));
        assert!(matches!(Bag::new(&weights(0.0)), Err(ModelError::Canary(_))), "every text alike");
    }

    #[test]
    fn a_file_is_loaded_and_described() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("toy.safetensors");
        weights(1.0).save(&path).unwrap();
        let mut bag = Bag::load(&path).unwrap();
        bag.canary().unwrap();
        assert!(bag.describe().contains("toy.safetensors, bag of 64 features x 2"), "{}", bag.describe());
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(Bag::load(&path), Err(ModelError::Malformed { .. })));
    }

    #[test]
    fn a_model_works_on_any_thread_that_loads_it() {
        let scores =
            || std::thread::spawn(|| Bag::new(&weights(1.0)).unwrap().classify("hello").unwrap().scores);
        let (one, two) = (scores(), scores());
        assert_eq!(one.join().unwrap(), two.join().unwrap());
    }
}
