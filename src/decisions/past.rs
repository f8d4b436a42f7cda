//! What a log of decisions says, read again for a person to judge.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::LogError;
use super::file;
use crate::category::Label;

/// What was decided about a text, as far as a person needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// What was asked.
    pub text: String,
    /// The hash that the log has.
    pub hash: String,
    /// What it was taken for.
    pub category: String,
    /// By whom.
    pub decided_by: String,
    /// The rule that won.
    pub rule: Option<String>,
    /// What the classifier thought, most probable first; empty if it was not asked or did not answer.
    pub scores: Vec<(Label, f32)>,
}

/// The decisions of a log.
#[derive(Debug, Default)]
pub struct Log {
    /// One for each text, the newest; least certain first.
    pub decisions: Vec<Past>,
    /// Lines without text.
    pub without_text: usize,
    /// Lines that are none of a log of decisions.
    pub unreadable: usize,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    hash: String,
    text: Option<String>,
    category: String,
    decided_by: String,
    rule: Option<String>,
    classifier: Option<Word>,
}

#[derive(Deserialize)]
struct Word {
    scores: Option<HashMap<String, f32>>,
}

/// Reads a log with what was put aside of it.
///
/// # Errors
/// If there is none, or it cannot be read.
pub fn read(path: &Path) -> Result<Log, LogError> {
    let mut log = Log::default();
    let mut by_text: HashMap<String, Past> = HashMap::new();
    let mut order = Vec::new();
    for text in super::texts(path)?.iter().flat_map(|(_, text)| text.lines()) {
        match serde_json::from_str::<Line>(text) {
            Err(_) if text.trim().is_empty() => {}
            Err(_) => log.unreadable += 1,
            Ok(Line { text: None, .. }) => log.without_text += 1,
            Ok(Line { text: Some(text), .. }) if text.trim().is_empty() => {}
            Ok(Line { text: Some(text), hash, category, decided_by, rule, classifier }) => {
                let scores = ranked(classifier.and_then(|word| word.scores).unwrap_or_default());
                let past = Past { text: text.clone(), hash, category, decided_by, rule, scores };
                if by_text.insert(text.clone(), past).is_none() {
                    order.push(text);
                }
            }
        }
    }
    log.decisions = order.iter().filter_map(|text| by_text.remove(text)).collect();
    log.decisions.sort_by(|a, b| a.certainty().total_cmp(&b.certainty()));
    Ok(log)
}

fn ranked(scores: HashMap<String, f32>) -> Vec<(Label, f32)> {
    let mut ranked: Vec<_> =
        Label::ALL.into_iter().filter_map(|label| Some((label, *scores.get(label.name())?))).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked
}

impl Past {
    /// The distance between the two most probable labels, 0 to 1. Where the classifier said nothing: 2 if nobody
    /// knew, 3 if a rule did, 4 if the client said it.
    pub fn certainty(&self) -> f32 {
        match (&*self.scores, &*self.decided_by) {
            ([first, second, ..], _) => first.1 - second.1,
            (_, "hint") => 4.0,
            (_, "rule") => 3.0,
            _ => 2.0,
        }
    }
}

/// Whether there is such a log at all.
pub(super) fn exists(path: &Path) -> bool {
    !file::all(path).is_empty()
}

#[cfg(test)]
pub(crate) fn sample(text: &str) -> Past {
    Past {
        text: text.into(),
        hash: "0a".into(),
        category: "general".into(),
        decided_by: "default".into(),
        rule: None,
        scores: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, by: &str, scores: Option<(f32, f32)>) -> String {
        let word = scores.map_or(String::new(), |(coding, general)| {
            format!(
                r#","classifier":{{"outcome":"kept","scores":{{"coding":{coding},"general":{general}}}}}"#
            )
        });
        format!(r#"{{"hash":"0a","text":"{text}","category":"general","decided_by":"{by}"{word}}}"#) + "\n"
    }

    #[test]
    fn the_least_certain_come_first_and_each_text_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.jsonl");
        let aside = [line("by rule", "rule", None), line("twice", "default", Some((0.5, 0.45)))].concat();
        std::fs::write(dir.path().join("d.jsonl.1"), aside).unwrap();
        let running = [
            line("named", "hint", None),
            line("nobody knew", "default", None),
            line("torn", "classifier", Some((0.41, 0.4))),
            line("sure", "classifier", Some((0.9, 0.05))),
            line("twice", "default", Some((0.2, 0.7))),
            "{\"cut off\":".to_owned(),
            "\n\n{\"category\":\"general\",\"decided_by\":\"default\"}\n".to_owned(),
        ];
        std::fs::write(&path, running.concat()).unwrap();
        let log = read(&path).unwrap();
        let texts: Vec<&str> = log.decisions.iter().map(|past| &*past.text).collect();
        assert_eq!(texts, ["torn", "twice", "sure", "nobody knew", "by rule", "named"]);
        assert_eq!(log.decisions[1].scores[0], (Label::General, 0.7), "the newest of both");
        assert_eq!((log.without_text, log.unreadable), (1, 1));
    }

    #[test]
    fn a_missing_log_is_said_so() {
        let error = read(Path::new("/nonexistent/d.jsonl")).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/d.jsonl: "), "{error}");
    }
}
