//! One line of the log of decisions.

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::ask::Guard;
use crate::brain::{Consulted, Sight};
use crate::category::Category;
use crate::decide::{CLARIFY, Decision, To};
use crate::experiment;
use crate::intent::Scores;
use crate::intent::labelled::MAX_CHARS;
use crate::intent::worker::Outcome;

/// A decision, as it is logged. What is absent has no key.
#[derive(Debug, Serialize)]
pub struct Entry {
    #[serde(serialize_with = "shown")]
    at: jiff::Timestamp,
    /// The request's id.
    id: String,
    /// [`experiment::hash`] of the ask: equal asks have equal ones. Only where it is wanted: it reads all of the text.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "in_hex")]
    hash: Option<u64>,
    dialect: &'static str,
    language: &'static str,
    words: usize,
    /// What was asked, if that is wanted and a person could label it: no longer than a labelled line may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// What hint and rules said.
    rules_category: &'static str,
    category: &'static str,
    decided_by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Arc<str>>,
    route: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guard: Option<&'static str>,
    /// `rules` or `classifier` while an experiment runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    arm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    classifier: Option<Word>,
}

/// What of an ask goes into its entry.
#[derive(Debug, Clone, Copy)]
pub struct With {
    /// What was asked.
    pub text: bool,
    /// Its hash.
    pub hash: bool,
}

/// What the classifier said.
#[derive(Debug, Serialize)]
struct Word {
    outcome: &'static str,
    /// Whether its word could have counted; not in a shadow.
    heeded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probability: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<Scores>,
    micros: u64,
}

impl Entry {
    /// Of a decision that has just been made; `from` is what hint and rules said.
    pub fn of(sight: &Sight<'_>, decision: &Decision<'_>, from: Category, id: &str, with: With) -> Self {
        let mut entry = Self {
            at: jiff::Timestamp::now(),
            id: id.to_owned(),
            hash: with.hash.then(|| experiment::hash(sight.ask)),
            dialect: sight.ask.dialect.name(),
            language: sight.facts.language.code(),
            words: sight.facts.words,
            text: (with.text && fits(&sight.ask.text)).then(|| sight.ask.text.to_string()),
            rules_category: from.name(),
            category: decision.category.name(),
            decided_by: decision.by.name(),
            rule: decision.rule.map(|rule| rule.name.clone()),
            route: decision.route().name(),
            answer: match decision.to {
                To::Answer(answer, _) | To::Unsafe(answer) => Some(answer.name.clone()),
                To::Question(..) => Some(CLARIFY.into()),
                To::Refusal(_) | To::Upstream(_) | To::Light(..) => None,
            },
            guard: decision.guard.map(Guard::name),
            arm: sight.arm.map(experiment::Arm::name),
            classifier: None,
        };
        if let Consulted::Asked(outcome, waited) = sight.consulted {
            entry.heard(from, outcome, *waited, true);
        }
        entry
    }

    /// What was asked, if it is here.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Adds the classifier's word.
    pub fn heard(&mut self, from: Category, outcome: &Outcome, waited: Duration, heeded: bool) {
        let verdict = match outcome {
            Outcome::Verdict(verdict) => Some(verdict),
            _ => None,
        };
        self.classifier = Some(Word {
            outcome: outcome.name(from),
            heeded,
            label: verdict.map(|v| v.confident().name()),
            probability: verdict.map(|v| v.of(v.confident())),
            scores: verdict.map(Scores::from),
            micros: u64::try_from(waited.as_micros()).unwrap_or(u64::MAX),
        });
    }
}

/// A person could label it.
pub(super) fn fits(text: &str) -> bool {
    text.len() <= MAX_CHARS || text.chars().nth(MAX_CHARS).is_none()
}

fn shown<S: Serializer>(at: &jiff::Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{at:.3}"))
}

fn in_hex<S: Serializer>(hash: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{:016x}", hash.unwrap_or_default()))
}

/// An entry for tests.
#[cfg(test)]
pub(super) fn sample(text: &str) -> Entry {
    Entry {
        at: jiff::Timestamp::UNIX_EPOCH,
        id: "abc-1".into(),
        hash: Some(0xab),
        dialect: "chat",
        language: "en",
        words: text.split_whitespace().count(),
        text: Some(text.to_owned()),
        rules_category: "general",
        category: "general",
        decided_by: "default",
        rule: None,
        route: "upstream",
        answer: None,
        guard: None,
        arm: None,
        classifier: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::{Verdict, Wish};

    #[test]
    fn a_line_says_what_the_docs_say() {
        let mut entry = sample("is it \"late\"?");
        assert_eq!(
            serde_json::to_string(&entry).unwrap(),
            r#"{"at":"1970-01-01T00:00:00.000Z","id":"abc-1","hash":"00000000000000ab","dialect":"chat","language":"en","words":3,"text":"is it \"late\"?","rules_category":"general","category":"general","decided_by":"default","route":"upstream"}"#
        );
        let verdict = Verdict {
            scores: [0.0, 0.25, 0.5, 0.25, 0.0],
            embedding: Vec::new(),
            wish: Wish::default(),
            greeting_from: 0.9,
            sure_from: 0.4,
        };
        entry.text = None;
        entry.heard(Category::GENERAL, &Outcome::Verdict(verdict), Duration::from_micros(7), false);
        let line = serde_json::to_value(&entry).unwrap();
        assert!(line.get("text").is_none());
        assert_eq!(
            line["classifier"],
            serde_json::json!({"outcome": "changed", "heeded": false, "label": "coding", "probability": 0.5,
                "scores": {"greeting": 0.0, "data_question": 0.25, "coding": 0.5, "reasoning": 0.25,
                           "general": 0.0}, "micros": 7})
        );
        entry.heard(Category::GENERAL, &Outcome::Busy, Duration::ZERO, true);
        let line = serde_json::to_value(&entry).unwrap();
        assert_eq!(line["classifier"], serde_json::json!({"outcome": "busy", "heeded": true, "micros": 0}));
    }
}
