//! The light tasks: small questions about a text that need no big model. What counts is the task, not the tool: each
//! is done by the means that did best on its evaluation.
//!
//! | task | done by |
//! |---|---|
//! | `intent` | the classifier |
//! | [`complexity`] | a linear model over words |
//! | [`entities`], [`fact`] | rules for [dates], [numbers], [names], [project] |
//! | [`clarify`], [`safety`], [`normalize`] | rules |
//! | [`summary`], [`title`] | the text's own sentences; the light model if the config says so |
//! | [`duplicate`] | words, letters and the classifier's encoder |
//! | `embed` | the classifier's encoder |
//!
//! [`order`] reads what is asked, [`desk`] sees to it that no task stands in anybody's way, [`wording`] asks the light
//! model.

pub mod chores;
pub mod clarify;
pub mod complexity;
pub mod desk;
pub mod duplicate;
pub mod entities;
pub mod fact;
pub mod normalize;
pub mod order;
pub mod safety;
pub mod signals;
pub mod summary;
pub mod title;
pub mod wording;

mod dates;
mod names;
mod numbers;
mod project;
mod words;

use serde_json::{Value, json};

pub use self::desk::Desk;
pub use self::order::Order;
pub use self::signals::Signals;

/// The model's name under which `/api/embed` and `/v1/embeddings` are served by the classifier's own encoder.
pub const EMBED_MODEL: &str = "brainstem/embed";

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// What a text is about.
    Intent,
    /// How much work it is.
    Complexity,
    /// Whom, what and when it names.
    Entities,
    /// Whether to ask back.
    Clarify,
    /// Its main sentences.
    Summary,
    /// Whether it was said before.
    Duplicate,
    /// A clean list.
    Normalize,
    /// One fact.
    Fact,
    /// Whether harm is meant.
    Safety,
    /// A title.
    Title,
    /// A vector.
    Embed,
}

impl Task {
    /// All of them, as documented.
    pub const ALL: [Self; 11] = [
        Self::Intent,
        Self::Complexity,
        Self::Entities,
        Self::Clarify,
        Self::Summary,
        Self::Duplicate,
        Self::Normalize,
        Self::Fact,
        Self::Safety,
        Self::Title,
        Self::Embed,
    ];

    /// What a light model knows how to do.
    pub const BY_MODEL: [Self; 4] = [Self::Summary, Self::Title, Self::Complexity, Self::Safety];

    /// As in the path and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Complexity => "complexity",
            Self::Entities => "entities",
            Self::Clarify => "clarify",
            Self::Summary => "summary",
            Self::Duplicate => "duplicate",
            Self::Normalize => "normalize",
            Self::Fact => "fact",
            Self::Safety => "safety",
            Self::Title => "title",
            Self::Embed => "embed",
        }
    }

    /// The task of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.name() == name)
    }
}

/// What a result was made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Rules and word lists.
    Rule,
    /// The classifier or its encoder.
    Encoder,
    /// The light model.
    Model,
}

impl Method {
    /// As in replies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Encoder => "encoder",
            Self::Model => "model",
        }
    }
}

/// What came of a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// A result that can be trusted as far as the evaluation says.
    Result {
        /// As the task's table in the docs says.
        value: Value,
        /// What made it.
        method: Method,
        /// Which model, if one did.
        model: Option<String>,
    },
    /// None; why.
    Nothing(String),
}

impl Said {
    fn by_rule(value: Value) -> Self {
        Self::Result { value, method: Method::Rule, model: None }
    }

    /// The reply's body.
    pub fn reply(&self, task: Task, ms: f64) -> Value {
        let ms = (ms * 1000.0).round() / 1000.0;
        match self {
            Self::Result { value, method, model } => json!({
                "task": task.name(), "ok": true, "result": value, "method": method.name(), "model": model, "ms": ms,
            }),
            Self::Nothing(reason) => json!({"task": task.name(), "ok": false, "reason": reason, "ms": ms}),
        }
    }
}

/// Why a task was not done at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The request is wrong; what is allowed.
    #[error("{0}")]
    Bad(String),
    /// Others are being served.
    #[error("busy")]
    Busy,
    /// It was not done in time.
    #[error("not done within tasks.timeout")]
    Deadline,
}

impl Refused {
    /// The HTTP status that says so.
    pub fn status(&self) -> u16 {
        match self {
            Self::Bad(_) => 400,
            Self::Busy => 503,
            Self::Deadline => 504,
        }
    }

    /// As in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bad(_) => "bad",
            Self::Busy => "busy",
            Self::Deadline => "deadline",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_finds_itself_by_name() {
        assert!(Task::ALL.iter().all(|task| Task::of(task.name()) == Some(*task)));
        assert_eq!(Task::of("sing"), None);
    }

    #[test]
    fn replies_have_the_documented_form() {
        let said = Said::by_rule(json!({"level": 2}));
        let reply = said.reply(Task::Complexity, 0.25);
        assert_eq!(
            reply,
            json!({"task": "complexity", "ok": true, "result": {"level": 2}, "method": "rule", "model": null, "ms": 0.25})
        );
        let none = Said::Nothing("no sentence".into()).reply(Task::Summary, 1.0);
        assert_eq!(none, json!({"task": "summary", "ok": false, "reason": "no sentence", "ms": 1.0}));
    }
}
