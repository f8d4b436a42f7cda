//! Where the literals that regexes need stand in a text, all of them at once.

use aho_corasick::automaton::Automaton;
use aho_corasick::{Anchored, BuildError, MatchKind, StartKind, dfa, nfa};

/// Some literals; each has its place in the list that they were made of.
#[derive(Debug)]
pub(super) enum Literals {
    /// A step costs one look into a table of some kilobytes.
    Few(Box<dfa::DFA>),
    /// That table would have grown past the caches; a step costs more, the place less.
    Many(Box<nfa::contiguous::NFA>),
}

impl Literals {
    /// Bytes of all literals; more are many.
    const FEW: usize = 8 * 1024;

    /// Of texts that are not empty.
    pub(super) fn new(texts: &[String]) -> Result<Self, BuildError> {
        match texts.iter().map(String::len).sum() {
            0..=Self::FEW => Self::few(texts),
            _ => Self::many(texts),
        }
    }

    // Overlapping hits need the standard kind of match.

    fn few(texts: &[String]) -> Result<Self, BuildError> {
        let mut builder = dfa::DFA::builder();
        builder.match_kind(MatchKind::Standard).start_kind(StartKind::Unanchored).prefilter(false);
        Ok(Self::Few(Box::new(builder.build(texts)?)))
    }

    fn many(texts: &[String]) -> Result<Self, BuildError> {
        let mut builder = nfa::contiguous::NFA::builder();
        builder.match_kind(MatchKind::Standard).prefilter(false);
        Ok(Self::Many(Box::new(builder.build(texts)?)))
    }

    /// Calls `hit` with every literal that stands anywhere, each at least once.
    pub(super) fn scan(&self, text: &[u8], mut hit: impl FnMut(usize)) {
        match self {
            Self::Few(automaton) => walk(automaton.as_ref(), text, &mut hit),
            Self::Many(automaton) => walk(automaton.as_ref(), text, &mut hit),
        }
    }
}

/// A function of its own, so that its loop has the registers to itself.
#[inline(never)]
fn walk(automaton: &impl Automaton, text: &[u8], hit: &mut dyn FnMut(usize)) {
    let Ok(mut state) = automaton.start_state(Anchored::No) else { return };
    for byte in text {
        state = automaton.next_state(Anchored::No, state, *byte);
        if automaton.is_special(state) && automaton.is_match(state) {
            (0..automaton.match_len(state)).for_each(|i| hit(automaton.match_pattern(state, i).as_usize()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn few_and_many_find_what_is_there(
            texts in proptest::collection::vec("[abя(]{1,4}", 1..8),
            text in "[abcя( ]{0,30}",
        ) {
            for literals in [Literals::few(&texts).unwrap(), Literals::many(&texts).unwrap()] {
                let mut found = std::collections::BTreeSet::new();
                literals.scan(text.as_bytes(), |id| { found.insert(id); });
                let wanted = texts.iter().enumerate().filter(|(_, t)| text.contains(t.as_str())).map(|(id, _)| id);
                proptest::prop_assert_eq!(found, wanted.collect());
            }
        }
    }
}
