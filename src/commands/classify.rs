//! `brainstem classify`: lines in, verdicts out. The classifier alone: no rules, no word window, no deadline.

use std::io::{BufRead, Write};
use std::time::Instant;

use serde::Serialize;

use super::Failure;
use crate::brain;
use crate::cli::Settings;
use crate::intent::Scores;

#[derive(Serialize)]
struct Line<'a> {
    text: &'a str,
    label: &'static str,
    probability: f32,
    scores: Scores,
    /// For a greeting: the answer that it asks for, and how probable that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<(&'a str, f32)>,
    micros: u128,
}

/// Classifies stdin, line by line.
///
/// # Errors
/// If there is no classifier, or it fails.
pub fn run(settings: &Settings) -> Result<(), Failure> {
    crate::log::quiet();
    let config = settings.load()?;
    let mut classifier =
        brain::load_classifier(&config.classifier.model, &config.light).map_err(Failure::new)?;
    let mut out = std::io::stdout().lock();
    for text in std::io::stdin().lock().lines() {
        let text = text?;
        let clock = Instant::now();
        let verdict = classifier.classify(&text).map_err(|e| Failure::new(e.to_string()))?;
        let line = Line {
            label: verdict.confident().name(),
            probability: verdict.of(verdict.confident()),
            scores: Scores::from(&verdict),
            answer: verdict.wish.one(),
            micros: clock.elapsed().as_micros(),
            text: &text,
        };
        let json = serde_json::to_string(&line).map_err(|e| Failure::new(e.to_string()))?;
        if let Err(error) = writeln!(out, "{json}") {
            // `| head` has seen enough.
            return if error.kind() == std::io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error.into()) };
        }
    }
    Ok(())
}
