//! Where the literals that regexes need stand in a text, all of them at once.
//!
//! Long ones are looked for where a gate knows their first three bytes: a look into a small table for each byte of
//! the text, none of which waits for the one before. An automaton that reads every byte costs five times as much.
//! The few short ones ("+", "=") are looked for one by one, which vectors make cheap.

use std::ops::Range;

use aho_corasick::automaton::Automaton;
use aho_corasick::nfa::contiguous;
use aho_corasick::{Anchored, BuildError, MatchKind};
use memchr::memmem::Finder;

/// Some literals; each has its place in the list that they were made of.
#[derive(Debug)]
pub(super) struct Literals {
    long: Option<Long>,
    /// Those of one or two bytes, each with all its places in the list.
    short: Vec<(Finder<'static>, Vec<usize>)>,
}

/// Literals of three bytes and more.
#[derive(Debug)]
struct Long {
    /// Whether some literal may begin so, by the hash of three bytes.
    begins: Box<[bool]>,
    /// Bits of a hash that are too many for the table.
    shift: u32,
    automaton: contiguous::NFA,
    /// Place of each in the list.
    places: Vec<usize>,
}

impl Literals {
    /// Of texts that are not empty.
    pub(super) fn new(texts: &[String]) -> Result<Self, BuildError> {
        let (long, short): (Vec<usize>, Vec<usize>) = (0..texts.len()).partition(|at| texts[*at].len() >= 3);
        let mut found: Vec<(Finder<'static>, Vec<usize>)> = Vec::new();
        for at in short {
            let text = texts[at].as_bytes();
            match found.iter_mut().find(|(finder, _)| finder.needle() == text) {
                Some((_, places)) => places.push(at),
                None => found.push((Finder::new(text).into_owned(), vec![at])),
            }
        }
        let long = (!long.is_empty()).then(|| Long::new(texts, long)).transpose()?;
        Ok(Self { long, short: found })
    }

    /// Calls `hit` with every literal that stands anywhere, each at least once.
    pub(super) fn scan(&self, text: &[u8], mut hit: impl FnMut(usize)) {
        let ascii = text.is_ascii();
        for (finder, places) in &self.short {
            if (!ascii || finder.needle().is_ascii()) && finder.find(text).is_some() {
                places.iter().copied().for_each(&mut hit);
            }
        }
        if let Some(long) = &self.long {
            long.scan(text, &mut hit);
        }
    }
}

impl Long {
    /// Entries of the table for each literal: so one place in a hundred passes by chance.
    const ROOM: usize = 64;
    /// Bits of a hash at least and at most: 8 KiB stay in a core's first cache.
    const BITS: Range<u32> = 13..17;

    fn new(texts: &[String], places: Vec<usize>) -> Result<Self, BuildError> {
        let wanted = (places.len() * Self::ROOM).next_power_of_two().trailing_zeros();
        let bits = wanted.clamp(Self::BITS.start, Self::BITS.end - 1);
        // Overlapping hits need the standard kind of match.
        let automaton = contiguous::NFA::builder()
            .match_kind(MatchKind::Standard)
            .prefilter(false)
            .build(places.iter().map(|at| texts[*at].as_bytes()))?;
        let mut long =
            Self { begins: vec![false; 1 << bits].into(), shift: u64::BITS - bits, automaton, places };
        for at in &long.places {
            if let Some([a, b, c]) = texts[*at].as_bytes().first_chunk() {
                long.begins[hash(u64::from_le_bytes([*a, *b, *c, 0, 0, 0, 0, 0]), long.shift)] = true;
            }
        }
        Ok(long)
    }

    fn scan(&self, text: &[u8], hit: &mut dyn FnMut(usize)) {
        let mut at = 0;
        // Six beginnings of three bytes stand in a word of eight; mostly none of them is one.
        while let Some(eight) = text[at..].first_chunk() {
            let word = u64::from_le_bytes(*eight);
            if (0..6).fold(false, |any, i| any | self.begins[hash(word >> (8 * i), self.shift)]) {
                for i in 0..6 {
                    if self.begins[hash(word >> (8 * i), self.shift)] {
                        self.follow_from(&text[at + i..], hit);
                    }
                }
            }
            at += 6;
        }
        for begin in at..text.len() {
            self.follow_from(&text[begin..], hit);
        }
    }

    /// Calls `hit` with the literals that begin where `rest` does.
    #[inline(never)]
    fn follow_from(&self, rest: &[u8], hit: &mut dyn FnMut(usize)) {
        let Ok(mut state) = self.automaton.start_state(Anchored::Yes) else { return };
        for byte in rest {
            state = self.automaton.next_state(Anchored::Yes, state, *byte);
            if self.automaton.is_dead(state) {
                return;
            }
            if self.automaton.is_match(state) {
                let ended = 0..self.automaton.match_len(state);
                ended.for_each(|i| hit(self.places[self.automaton.match_pattern(state, i).as_usize()]));
            }
        }
    }
}

/// Fibonacci hashing of the lowest three bytes: the high bits of a product with 2^64 / φ.
fn hash(bytes: u64, shift: u32) -> usize {
    ((bytes << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn literals_of_any_length_are_found(
            texts in proptest::collection::vec("[abя(]{1,6}", 1..12),
            text in "[abcя( ]{0,30}",
        ) {
            let mut found = std::collections::BTreeSet::new();
            Literals::new(&texts).unwrap().scan(text.as_bytes(), |id| { found.insert(id); });
            let wanted = texts.iter().enumerate().filter(|(_, t)| text.contains(t.as_str())).map(|(id, _)| id);
            proptest::prop_assert_eq!(found, wanted.collect());
        }
    }
}
