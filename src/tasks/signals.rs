//! What the tasks say of an ask on its way, as far as the config wants to hear it. Words only: no model is asked, and
//! no time is lost that could be felt.

use prometheus::IntCounterVec;

use super::{clarify, complexity, safety};
use crate::ask::{Ask, Chore, Guard};
use crate::config::{Background, Clarifying, Complexity, Safety, Tasks};

/// So much of a message is looked at.
const SEEN: usize = 4096;

/// What was noticed; nothing of what is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signals {
    /// How much work it is.
    pub complexity: Option<complexity::Level>,
    /// It is too vague: what to ask back.
    pub question: Option<&'static str>,
    /// It means harm.
    pub is_unsafe: bool,
    /// A front end asks it for itself.
    pub chore: Option<Chore>,
}

impl Signals {
    /// Counts what was noticed.
    pub fn count(&self, signals: &IntCounterVec) {
        const LEVELS: &[&str] = &["1", "2", "3", "4", "5"];
        let level = self.complexity.and_then(|level| LEVELS.get(usize::from(level).checked_sub(1)?));
        let vague = self.question.map(|_| &"vague");
        let harm = self.is_unsafe.then_some(&"unsafe");
        let chore = self.chore.map(Chore::name);
        let noticed = [
            ("complexity", level.copied()),
            ("clarify", vague.copied()),
            ("safety", harm.copied()),
            ("chore", chore),
        ];
        for (signal, value) in noticed.into_iter().filter_map(|(signal, value)| Some((signal, value?))) {
            signals.with_label_values(&[signal, value]).inc();
        }
    }

    /// Of an ask, whose last human message is `text`.
    pub fn of(config: &Tasks, ask: &Ask<'_>, text: &str) -> Self {
        let text = &text[..text.floor_char_boundary(SEEN.min(text.len()))];
        if text.trim().is_empty() {
            return Self::default();
        }
        if ask.guards.contains(Guard::Harness) {
            let chore = if config.background == Background::Off { None } else { Chore::of(text) };
            return Self { chore, ..Self::default() };
        }
        let complexity = (config.complexity != Complexity::Off).then(|| complexity::level(text));
        let question = if config.clarify == Clarifying::Off { None } else { clarify::question(text) };
        let is_unsafe = config.safety != Safety::Off && safety::safety(text).is_unsafe;
        Self { complexity, question, is_unsafe, chore: None }
    }
}
