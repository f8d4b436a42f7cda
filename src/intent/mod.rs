//! The classifier: a text in, a label with its probability out.
//!
//! `blend` is the one that ships: an encoder and a bag of features, averaged. `bag` is the bag alone, and what
//! `train` makes; [`features`] are what goes into it. `encoder` is any larger encoder of the BERT family with a
//! head. `load` tells them apart. [`worker`] is the thread that all of it lives on, or from which it is spoken to in a
//! process of its own ([`apart`]).

pub mod apart;
pub mod augment;
pub mod breaker;
pub mod features;
pub mod figures;
pub mod holdout;
pub mod labelled;
pub mod phrases;
pub mod weights;
pub mod worker;

#[cfg(feature = "mlx")]
pub mod bag;
#[cfg(feature = "mlx")]
pub mod blend;
#[cfg(feature = "mlx")]
pub mod encoder;
#[cfg(feature = "mlx")]
pub mod load;

#[cfg(feature = "mlx")]
mod fit;
#[cfg(feature = "mlx")]
pub mod train;

use std::convert::Infallible;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use serde::Serialize;

use crate::category::Label;

/// What classifies. Lives on one thread of its own (MLX streams cannot move), hence no `Send`.
pub trait Classifier {
    /// What the text is about.
    fn classify(&mut self, text: &str) -> Result<Verdict, ClassifyError>;
    /// The same without short cuts: the verdict has an embedding, if this kind of classifier has any.
    fn read_fully(&mut self, text: &str) -> Result<Verdict, ClassifyError> {
        self.classify(text)
    }
    /// Kind, size and origin, for `/readyz` and the log.
    fn describe(&self) -> String;
    /// Disconnects when it is lost while nobody asks; one that lives in this process never is.
    fn lost(&self) -> Receiver<Infallible> {
        crossbeam_channel::never()
    }
    /// What it holds of MLX's memory, if that is not this process's: active, cached, peak.
    fn memory(&self) -> Option<[u64; 3]> {
        None
    }
}

/// What the classifier thinks of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Probabilities in the order of [`Label::ALL`]; they sum to 1.
    pub scores: [f32; 5],
    /// The text as the model's last hidden vector; empty if the classifier has none.
    pub embedding: Vec<f32>,
    /// For a greeting: what it may ask for, if the classifier knows answers at all.
    pub wish: Wish,
    /// A greeting counts as one from this probability on.
    pub greeting_from: f32,
    /// Any other label counts from this probability on.
    pub sure_from: f32,
}

/// Which answers a greeting may ask for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wish {
    /// Answers by name with the probability that this is a greeting and asks for that one.
    pub answers: Vec<(Arc<str>, f32)>,
    /// An answer is named from this probability on.
    pub one_from: f32,
    /// Answers that one text can stand for are, from this sum of theirs on.
    pub family_from: f32,
}

impl Wish {
    /// The answer that it asks for, if one is probable enough.
    pub fn one(&self) -> Option<(&str, f32)> {
        let best = self.answers.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        (best.1 >= self.one_from).then_some((&best.0, best.1))
    }

    /// The probability that it asks for one of these.
    pub fn any_of(&self, names: &[Arc<str>]) -> f32 {
        self.answers.iter().filter(|(name, _)| names.contains(name)).map(|(_, probability)| probability).sum()
    }
}

impl Verdict {
    /// The most probable label, thresholds aside.
    pub fn label(&self) -> Label {
        let mut best = 0;
        for (i, score) in self.scores.iter().enumerate() {
            if *score > self.scores[best] {
                best = i;
            }
        }
        Label::ALL[best]
    }

    /// The probability of [`Verdict::label`].
    pub fn probability(&self) -> f32 {
        self.of(self.label())
    }

    /// The probability of that label.
    pub fn of(&self, label: Label) -> f32 {
        Label::ALL.iter().zip(self.scores).find(|(l, _)| **l == label).map_or(0.0, |(_, score)| score)
    }

    /// The label to act on: what is below its threshold is undecided, and undecided is `general`.
    pub fn confident(&self) -> Label {
        let label = self.label();
        let from = if label == Label::Greeting { self.greeting_from } else { self.sure_from };
        if self.of(label) >= from { label } else { Label::General }
    }
}

/// The scores by label, in the order of [`Label::ALL`].
#[derive(Debug, Clone, Serialize)]
pub struct Scores {
    greeting: f32,
    data_question: f32,
    coding: f32,
    reasoning: f32,
    general: f32,
}

impl From<&Verdict> for Scores {
    fn from(verdict: &Verdict) -> Self {
        Self {
            greeting: verdict.of(Label::Greeting),
            data_question: verdict.of(Label::DataQuestion),
            coding: verdict.of(Label::Coding),
            reasoning: verdict.of(Label::Reasoning),
            general: verdict.of(Label::General),
        }
    }
}

/// Why there is no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClassifyError {
    /// MLX refused or broke off the evaluation.
    #[error("mlx: {0}")]
    Mlx(String),
    /// Numbers came back, but they are no probabilities.
    #[error("the model's scores are no probabilities: {0:?}")]
    Scores(String),
    /// There is no classifier behind this one.
    #[error("no classifier is loaded")]
    Absent,
    /// The process that it lived in is lost, or as good as.
    #[error("the classifier's process is gone: {0}")]
    Gone(String),
    /// Its process is being started again; nothing was tried.
    #[error("the classifier is being started again")]
    Restarting,
}

/// A message without a letter or a digit ("👋", "?!") says nothing that a model could know: `general`.
#[cfg(feature = "mlx")]
const NOTHING_SAID: [f32; 5] = [0.0, 0.0, 0.0, 0.0, 1.0];

/// Classifies a few known texts. Finite scores that sum to 1 must come out, twice the same, and not the same
/// for all.
#[cfg(feature = "mlx")]
fn canary(mut scores: impl FnMut(&str) -> Result<[f32; 5], ClassifyError>) -> Result<(), ClassifyError> {
    let mut seen = Vec::new();
    for text in ["привет, как дела?", "write a function that sorts a list of numbers in python", ""]
    {
        let once = scores(text)?;
        if scores(text)? != once {
            return Err(ClassifyError::Scores(format!("{text:?} scores differently the second time")));
        }
        seen.push(once);
    }
    if seen.iter().all(|s| *s == seen[0]) {
        return Err(ClassifyError::Scores("every text scores the same".to_owned()));
    }
    Ok(())
}

/// What came back from MLX, if it is five probabilities.
#[cfg(feature = "mlx")]
fn probabilities(scores: &[f32]) -> Result<[f32; 5], ClassifyError> {
    let sum: f32 = scores.iter().sum();
    <[f32; 5]>::try_from(scores)
        .ok()
        .filter(|s| s.iter().all(|p| (0.0..=1.0001).contains(p)) && (sum - 1.0).abs() < 1e-3)
        .ok_or_else(|| ClassifyError::Scores(format!("sum {sum}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(scores: [f32; 5]) -> Verdict {
        Verdict { scores, embedding: Vec::new(), wish: Wish::default(), greeting_from: 0.9, sure_from: 0.4 }
    }

    #[test]
    fn a_greeting_below_its_threshold_is_undecided() {
        let sure = verdict([0.95, 0.0, 0.0, 0.0, 0.05]);
        assert_eq!((sure.label(), sure.confident()), (Label::Greeting, Label::Greeting));
        let unsure = verdict([0.8, 0.0, 0.2, 0.0, 0.0]);
        assert_eq!((unsure.label(), unsure.confident()), (Label::Greeting, Label::General));
    }

    #[test]
    fn one_answer_must_be_probable_and_several_together() {
        let wish = |answers: &[(&str, f32)]| Wish {
            answers: answers.iter().map(|(name, p)| ((*name).into(), *p)).collect(),
            one_from: 0.7,
            family_from: 0.8,
        };
        assert_eq!(wish(&[("thanks", 0.2), ("goodbye", 0.75)]).one(), Some(("goodbye", 0.75)));
        let torn = wish(&[("thanks", 0.5), ("goodbye", 0.25), ("time", 0.125)]);
        assert_eq!(torn.one(), None);
        assert_eq!(torn.any_of(&["goodbye".into(), "thanks".into(), "praise".into()]), 0.75);
        assert_eq!(Wish::default().one(), None);
    }

    #[test]
    fn so_is_any_label_below_the_other_threshold() {
        let torn = verdict([0.1, 0.2, 0.35, 0.3, 0.05]);
        assert_eq!((torn.label(), torn.confident()), (Label::Coding, Label::General));
        assert_eq!(torn.of(Label::Reasoning), 0.3);
        assert_eq!(torn.probability(), 0.35);
    }
}
