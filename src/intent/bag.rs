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
        let sum: f32 = scores.iter().sum();
        let scores = <[f32; 5]>::try_from(scores)
            .ok()
            .filter(|s| s.iter().all(|p| (0.0..=1.0001).contains(p)) && (sum - 1.0).abs() < 1e-3)
            .ok_or_else(|| ClassifyError::Scores(format!("sum {sum}")))?;
        Ok(Verdict { scores, embedding, greeting_from: self.greeting_from, sure_from: self.sure_from })
    }

    /// Classifies a few known texts. Finite scores that sum to 1 must come out, twice the same, and not the
    /// same for all; run it after any error, and take the classifier out of service if it fails.
    pub fn canary(&mut self) -> Result<(), ClassifyError> {
        let mut seen = Vec::new();
        for text in ["привет, как дела?", "write a function that sorts a list of numbers in python", ""] {
            let once = self.classify(text)?.scores;
            if self.classify(text)?.scores != once {
                return Err(ClassifyError::Scores(format!("{text:?} scores differently the second time")));
            }
            seen.push(once);
        }
        if seen.iter().all(|s| *s == seen[0]) {
            return Err(ClassifyError::Scores("every text scores the same".to_owned()));
        }
        Ok(())
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
