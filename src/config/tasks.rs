//! `[tasks]`: the light tasks, and which of them take part in the routing.

use std::time::Duration;

use super::check::{Checker, named, one_of, unknown};
use super::raw::RawTasks;
use crate::tasks::Task;

/// `[tasks]`
#[derive(Debug, Clone)]
pub struct Tasks {
    /// Whether `/light/v1/` is served here.
    pub enabled: bool,
    /// How long a task may take.
    pub timeout: Duration,
    /// Whether `/api/embed` and `/v1/embeddings` are looked at for the local encoder's name.
    pub embed: bool,
    /// The tasks that the light model does, if one is loaded.
    pub by_model: Vec<Task>,
    /// What an ask's complexity is for.
    pub complexity: Complexity,
    /// What becomes of vague asks for work.
    pub clarify: Clarifying,
    /// What becomes of asks that mean harm.
    pub safety: Safety,
    /// Who serves what chat front ends ask for themselves.
    pub background: Background,
    /// Whether the light model answers small talk that fits no written answer.
    pub small_talk: bool,
}

/// What an ask's complexity is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complexity {
    /// Not judged.
    Off,
    /// Told in a header, to the upstream and to the client.
    Annotate,
    /// The same, and it picks the category's small or heavy model for `auto`.
    Route,
}

/// What becomes of vague asks for work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clarifying {
    /// Nothing.
    Off,
    /// A header says so.
    Annotate,
    /// They are answered with one question.
    Ask,
}

/// What becomes of asks that mean harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// Nothing.
    Off,
    /// A header says so.
    Annotate,
    /// They are answered with the text of the answer `unsafe`.
    Refuse,
}

/// Who serves what chat front ends ask for themselves: titles, tags, follow-ups, completions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Background {
    /// The model that they name.
    Off,
    /// This model of the upstream.
    Model(String),
    /// The light model, if what it writes has the form that is asked for; else that model, else their own.
    Light(Option<String>),
}

impl Checker<'_> {
    pub(super) fn tasks(&mut self, raw: RawTasks, warnings: &mut Vec<String>) -> Tasks {
        let complexity = self
            .read("tasks.complexity", &raw.complexity, "off", |s| one_of(s, &["off", "annotate", "route"]));
        let clarify =
            self.read("tasks.clarify", &raw.clarify, "off", |s| one_of(s, &["off", "annotate", "ask"]));
        let safety =
            self.read("tasks.safety", &raw.safety, "off", |s| one_of(s, &["off", "annotate", "refuse"]));
        let background =
            self.read("tasks.background", &raw.background, "off", |s| one_of(s, &["off", "model", "light"]));
        let model = named(raw.background_model);
        if background == 1 && model.is_none() {
            warnings.push("tasks.background = \"model\" needs tasks.background_model; it is off".to_owned());
        }
        Tasks {
            enabled: self.take(raw.enabled, true),
            timeout: self.span("tasks.timeout", &raw.timeout, "2s", "10ms", "1m"),
            embed: self.take(raw.embed, true),
            by_model: self.by_model(raw.by_model),
            complexity: [Complexity::Off, Complexity::Annotate, Complexity::Route][complexity.min(2)],
            clarify: [Clarifying::Off, Clarifying::Annotate, Clarifying::Ask][clarify.min(2)],
            safety: [Safety::Off, Safety::Annotate, Safety::Refuse][safety.min(2)],
            background: match (background, model) {
                (1, Some(model)) => Background::Model(model),
                (2, model) => Background::Light(model),
                _ => Background::Off,
            },
            small_talk: self.take(raw.small_talk, false),
        }
    }

    fn by_model(&mut self, raw: super::raw::Key<Vec<String>>) -> Vec<Task> {
        let Some(list) = raw else { return Vec::new() };
        let at = list.span().start;
        let mut tasks = Vec::new();
        for name in list.get_ref() {
            match Task::of(name).filter(|task| Task::BY_MODEL.contains(task)) {
                Some(task) => tasks.push(task),
                None => self.note("tasks.by_model", at, unknown(name, &Task::BY_MODEL.map(Task::name))),
            }
        }
        tasks
    }
}
