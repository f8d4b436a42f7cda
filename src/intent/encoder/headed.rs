//! An encoder with a head: a classifier.

use std::path::Path;
use std::time::Instant;

use super::Encoder;
use super::head::{FILE, Head, Measured};
use crate::intent::labelled::Labelled;
use crate::intent::weights::ModelError;
use crate::intent::{Classifier, ClassifyError, NOTHING_SAID, Verdict, Wish, features, phrases};
use crate::text::fold;

/// A head made at load stands here, so that the next start need not make it.
const MADE: &str = "head.made.safetensors";
/// So many phrases of each file (ten files: two languages, five labels) make a head at load.
const PHRASES: usize = 160;
/// Of the cut that thresholds are set on.
const SEED: u64 = 7;

/// A loaded encoder with its head.
pub struct Headed {
    encoder: Encoder,
    head: Head,
    about: String,
}

impl Headed {
    /// Reads a directory: the encoder, and its head. Without a `head.safetensors` one is made from our phrases
    /// (some tens of seconds) and kept beside the weights.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let encoder = Encoder::load(dir)?;
        let (head, whence) = head(dir, &encoder)?;
        let about = format!(
            "{}, {}, {whence}, greeting from {:.3}",
            dir.display(),
            encoder.describe(),
            head.notes.greeting_from
        );
        let mut headed = Self { encoder, head, about };
        crate::intent::canary(|text| headed.classify(text).map(|v| v.scores))
            .map_err(|e| ModelError::Canary(e.to_string()))?;
        Ok(headed)
    }
}

/// The text as the encoder is given it: as all of us see it, however it is typed.
fn seen(text: &str) -> String {
    fold(&features::clip(text))
}

fn head(dir: &Path, encoder: &Encoder) -> Result<(Head, &'static str), ModelError> {
    let trained = dir.join(FILE);
    if trained.exists() {
        return Ok((Head::load(&trained, encoder.width(), encoder.fingerprint())?, "trained head"));
    }
    let made = dir.join(MADE);
    if let Ok(head) = Head::load(&made, encoder.width(), encoder.fingerprint()) {
        return Ok((head, "head of our phrases"));
    }
    tracing::info!("no {}: a head is being made from our phrases, once", trained.display());
    let clock = Instant::now();
    let (head, _) = fit(encoder, &phrases::lines(Some(PHRASES)), SEED, |_, _| {})?;
    tracing::info!(
        "head made in {:.0} s; `brainstem train --model` makes a better one",
        clock.elapsed().as_secs_f32()
    );
    if let Err(error) = head.save(&made) {
        tracing::warn!("the head is made anew at every start: {error}");
    }
    Ok((head, "head of our phrases"))
}

/// Embeds lines and fits a head to them. Tells how many of how many lines are embedded.
pub fn fit(
    encoder: &Encoder,
    lines: &[Labelled],
    seed: u64,
    mut told: impl FnMut(usize, usize),
) -> Result<(Head, Measured), ModelError> {
    let mut vectors = Vec::with_capacity(lines.len());
    for part in lines.chunks(512) {
        let texts: Vec<String> = part.iter().map(|line| seen(&line.text)).collect();
        let part = encoder.embed_all(&texts).map_err(|e| ModelError::Mlx(e.to_string()))?;
        vectors.extend(part);
        told(vectors.len(), lines.len());
    }
    Head::fit(lines, &vectors, encoder.fingerprint(), seed)
}

impl Classifier for Headed {
    fn classify(&mut self, text: &str) -> Result<Verdict, ClassifyError> {
        let (greeting_from, sure_from) = (self.head.notes.greeting_from, self.head.notes.sure_from);
        let mut verdict = Verdict {
            scores: NOTHING_SAID,
            embedding: Vec::new(),
            wish: Wish::default(),
            greeting_from,
            sure_from,
        };
        if !text.chars().any(char::is_alphanumeric) {
            return Ok(verdict);
        }
        verdict.embedding = self.encoder.embed(&seen(text))?;
        verdict.scores = crate::intent::probabilities(&self.head.scores(&verdict.embedding))?;
        Ok(verdict)
    }

    fn describe(&self) -> String {
        self.about.clone()
    }
}
