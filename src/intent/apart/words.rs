//! What parent and child say to each other. Numbers go as their bits, so that both processes see the same ones.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::Light;
use crate::intent::{Verdict, Wish};

/// The parent's first line: what to load.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) model: PathBuf,
    pub(super) light: Light,
}

/// Each line after it: one text.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Task<T> {
    pub(super) text: T,
    /// Without short cuts: see [`crate::intent::Classifier::read_fully`].
    pub(super) fully: bool,
}

/// What the child says: once how loading went, then one line for each text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    Ready { about: String, memory: [u64; 3] },
    Failed { reason: String },
    Verdict { verdict: Packed, memory: [u64; 3] },
    Error { message: String },
}

/// A verdict as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Packed {
    scores: [u32; 5],
    embedding: Vec<u32>,
    answers: Vec<(String, u32)>,
    /// `one_from`, `family_from`, `greeting_from`, `sure_from`.
    from: [u32; 4],
}

impl Packed {
    pub(super) fn of(verdict: &Verdict) -> Self {
        let wish = &verdict.wish;
        Self {
            scores: verdict.scores.map(f32::to_bits),
            embedding: verdict.embedding.iter().map(|x| x.to_bits()).collect(),
            answers: wish.answers.iter().map(|(name, p)| (name.to_string(), p.to_bits())).collect(),
            from: [wish.one_from, wish.family_from, verdict.greeting_from, verdict.sure_from]
                .map(f32::to_bits),
        }
    }

    /// The verdict, if its scores are probabilities: a child whose memory is spoilt may say anything.
    pub(super) fn read(self) -> Option<Verdict> {
        let [one_from, family_from, greeting_from, sure_from] = self.from.map(f32::from_bits);
        let scores = self.scores.map(f32::from_bits);
        let answers = self.answers.into_iter().map(|(name, p)| (name.into(), f32::from_bits(p))).collect();
        scores.iter().all(|p| (0.0..=1.0001).contains(p)).then(|| Verdict {
            scores,
            embedding: self.embedding.into_iter().map(f32::from_bits).collect(),
            wish: Wish { answers, one_from, family_from },
            greeting_from,
            sure_from,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_arrives_as_it_left() {
        let verdict = Verdict {
            scores: [0.1, 0.2, 0.3, 0.4 - f32::EPSILON, 1e-30],
            embedding: vec![-0.1, f32::MIN_POSITIVE, 1.0 / 3.0],
            wish: Wish { answers: vec![("время".into(), 0.7)], one_from: 0.5, family_from: 0.8 },
            greeting_from: 0.9,
            sure_from: 0.4,
        };
        let line = serde_json::to_string(&Packed::of(&verdict)).unwrap();
        assert_eq!(serde_json::from_str::<Packed>(&line).unwrap().read(), Some(verdict.clone()));
        let spoilt = Verdict { scores: [f32::NAN; 5], ..verdict };
        assert_eq!(Packed::of(&spoilt).read(), None);
    }
}
