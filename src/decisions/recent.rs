//! The last decisions, in memory: what the console shows, and what a rule is tried against before it is saved.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::Entry;
use crate::ask::{Ask, Echo, Guards};
use crate::brain::{Consulted, Sight};
use crate::category::Category;
use crate::experiment::Arm;
use crate::intent::Verdict;
use crate::intent::worker::Outcome;

/// So many are kept.
pub const KEPT: usize = 200;

/// A ring of the last [`KEPT`] decisions. One short lock a decision; nobody who reads holds it for longer than it
/// takes to copy two hundred pointers.
#[derive(Debug)]
pub struct Recent {
    ring: Mutex<Ring>,
    /// Whether they carry what was asked.
    pub with_text: bool,
}

#[derive(Debug)]
struct Ring {
    kept: VecDeque<Kept>,
    /// How many there ever were.
    count: u64,
}

/// A decision that is kept.
#[derive(Debug, Clone, Serialize)]
pub struct Kept {
    /// 1 for the first of this process.
    pub number: u64,
    /// As it would be logged.
    #[serde(flatten)]
    pub entry: Arc<Entry>,
    /// What it takes to decide again; only with text.
    #[serde(skip)]
    pub again: Option<Arc<Again>>,
}

/// An ask, kept to be decided once more under other rules.
#[derive(Debug)]
pub struct Again {
    /// What is left of it that a decision looks at.
    pub ask: Ask<'static>,
    /// What its headers said against a local answer.
    pub guards: Guards,
    /// The category that the client named.
    pub hint: Option<Category>,
    /// What the classifier said, if it was asked and answered.
    pub verdict: Option<Verdict>,
    /// Whether it goes to the classifier at all: not in an experiment's arm `rules`.
    pub classified: bool,
}

impl Recent {
    /// Empty.
    pub fn new(with_text: bool) -> Self {
        Self { ring: Mutex::new(Ring { kept: VecDeque::with_capacity(KEPT), count: 0 }), with_text }
    }

    pub(super) fn push(&self, entry: Arc<Entry>, again: Option<Box<Again>>) {
        let again = again.map(Arc::from);
        let mut ring = self.lock();
        ring.count += 1;
        let number = ring.count;
        let oldest = if ring.kept.len() == KEPT { ring.kept.pop_front() } else { None };
        ring.kept.push_back(Kept { number, entry, again });
        drop(ring);
        // What has to be freed is freed outside the lock.
        drop(oldest);
    }

    /// Those after that number, oldest first, but no more than the last `most`.
    pub fn after(&self, number: u64, most: usize) -> Vec<Kept> {
        let ring = self.lock();
        let new = usize::try_from(ring.count.saturating_sub(number)).unwrap_or(usize::MAX);
        let skipped = ring.kept.len().saturating_sub(new.min(most));
        ring.kept.iter().skip(skipped).cloned().collect()
    }

    /// How many there ever were.
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // Whoever panicked inside left a ring that is still one.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Again {
    pub(super) fn of(sight: &Sight<'_>, guards: Guards, hint: Option<Category>) -> Self {
        let verdict = match sight.consulted {
            Consulted::Asked(Outcome::Verdict(verdict), _) => Some(verdict.clone()),
            _ => None,
        };
        let classified = sight.arm != Some(Arm::Rules);
        Self { ask: kept(sight.ask), guards, hint, verdict, classified }
    }

    /// As if that body had just come.
    pub fn fresh(ask: &Ask<'_>) -> Self {
        Self { ask: kept(ask), guards: Guards::default(), hint: None, verdict: None, classified: true }
    }
}

/// The ask without its body, and without what only a reply needs.
fn kept(ask: &Ask<'_>) -> Ask<'static> {
    let owned = |text: &str| Cow::Owned(text.to_owned());
    Ask {
        dialect: ask.dialect,
        model: owned(&ask.model),
        model_span: None,
        text: owned(&ask.text),
        turns: ask.turns,
        stream: ask.stream,
        usage_chunk: false,
        limit: None,
        stops: Vec::new(),
        hint: ask.hint.as_deref().map(owned),
        has: ask.has,
        guards: ask.guards,
        prompt_bytes: ask.prompt_bytes,
        opening: &[],
        echo: Echo::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry;
    use super::*;

    fn filled(with: usize) -> Recent {
        let recent = Recent::new(true);
        (0..with).for_each(|i| recent.push(Arc::new(entry::sample(&i.to_string())), None));
        recent
    }

    #[test]
    fn the_last_ones_are_kept_in_order_and_numbered() {
        let recent = filled(KEPT + 3);
        let all = recent.after(0, usize::MAX);
        assert_eq!((all.len(), all[0].number, all[KEPT - 1].number), (KEPT, 4, 203));
        assert_eq!(all[KEPT - 1].entry.text(), Some("202"));
        assert_eq!(recent.count(), 203);
    }

    #[test]
    fn only_what_is_new_is_told_and_not_too_much_of_it() {
        let recent = filled(10);
        let numbers = |after, most| recent.after(after, most).iter().map(|k| k.number).collect::<Vec<_>>();
        assert_eq!(numbers(7, 50), [8, 9, 10]);
        assert_eq!(numbers(2, 3), [8, 9, 10]);
        assert!(numbers(10, 50).is_empty() && numbers(99, 50).is_empty());
    }

    #[test]
    fn it_is_shown_as_it_is_logged_and_numbered() {
        let recent = filled(1);
        let shown = serde_json::to_value(&recent.after(0, 1)[0]).unwrap();
        assert_eq!(
            (&shown["number"], &shown["text"], &shown["dialect"]),
            (&1.into(), &"0".into(), &"chat".into())
        );
    }
}
