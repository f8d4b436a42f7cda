//! A decision on its way to the log and to the console: what is wanted of it, gathered while its ask is still here.

use std::sync::Arc;
use std::time::Duration;

use super::entry::{self, With};
use super::recent::Again;
use super::{Decisions, Entry, Recent};
use crate::brain::{Around, Brain, Sight};
use crate::category::Category;
use crate::decide::Decision;
use crate::intent::worker::Outcome;

/// A decision that somebody wants to keep.
#[derive(Debug)]
pub struct Note {
    entry: Arc<Entry>,
    again: Option<Box<Again>>,
    log: Option<Arc<Decisions>>,
    recent: Option<Arc<Recent>>,
}

impl Note {
    /// Of a decision that has just been made, if it has an id and anybody wants it; `from` is what hint and rules
    /// said, `hint` the category that the client named.
    pub fn of(
        brain: &Brain,
        sight: &Sight<'_>,
        decision: &Decision<'_>,
        from: Category,
        around: Around<'_>,
        hint: Option<Category>,
    ) -> Option<Self> {
        let (log, recent) = (brain.decisions.clone(), brain.recent.clone());
        let id = around.id.filter(|_| log.is_some() || recent.is_some())?;
        let said = |log: &Option<Arc<Decisions>>, recent: &Option<Arc<Recent>>| {
            log.as_ref().is_some_and(|log| log.with_text)
                || recent.as_ref().is_some_and(|kept| kept.with_text)
        };
        let with = With { text: said(&log, &recent), hash: log.is_some() };
        let again = recent.as_ref().filter(|kept| kept.with_text && entry::fits(&sight.ask.text));
        Some(Self {
            entry: Arc::new(Entry::of(sight, decision, from, id, with)),
            again: again.map(|_| Box::new(Again::of(sight, around.guards, hint))),
            log,
            recent,
        })
    }

    /// Adds the word of a classifier that was asked in passing.
    pub fn heard(&mut self, from: Category, outcome: &Outcome, waited: Duration) {
        // Nobody else has it yet.
        if let Some(entry) = Arc::get_mut(&mut self.entry) {
            entry.heard(from, outcome, waited, false);
        }
    }

    /// Hands it in. Never waits for more than another's moment in memory.
    pub fn keep(self) {
        if let Some(log) = self.log {
            log.write(self.entry.clone());
        }
        if let Some(recent) = self.recent {
            recent.push(self.entry, self.again);
        }
    }
}
