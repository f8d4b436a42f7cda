//! All keywords of all rules in one Aho-Corasick automaton, over the folded text.
//!
//! A keyword begins where a word begins, so the automaton is entered there alone, and only where the gate knows a
//! keyword that begins alike. That costs a third of one that reads every byte.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::{ControlFlow, Range};

use aho_corasick::automaton::Automaton;
use aho_corasick::nfa::contiguous;
use aho_corasick::{Anchored, BuildError, MatchKind};

use super::gate::Gate;
use crate::lane;
use crate::text::fold;

/// Folded text above 64 KiB is looked at in its first 48 KiB and its last 16 KiB only.
const BOUND: usize = 64 << 10;
const HEAD: usize = 48 << 10;

/// Index of a keyword: its text and whether it stands for any ending.
pub(crate) type KeywordId = u32;

/// Collects keywords, each once.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    stems: Vec<Stem>,
    by_stem: HashMap<Box<str>, usize>,
    words: Vec<Word>,
    by_keyword: HashMap<Box<str>, KeywordId>,
}

/// What the automaton looks for: a keyword up to its first `*`, and the keywords that begin so.
#[derive(Debug)]
struct Stem {
    text: Box<str>,
    edge_left: bool,
    edge_right: bool,
    /// The keyword of that text and no more.
    exact: Option<KeywordId>,
    /// Keywords with a `*` here, and what follows in them, parted by more of them.
    open: Vec<(KeywordId, Box<[Box<str>]>)>,
}

/// One keyword.
#[derive(Debug, Clone)]
struct Word {
    shown: Box<str>,
    /// Its hits count as said in an `only` rule.
    covers: bool,
}

/// What is no keyword.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadKeyword {
    /// Nothing is left of it after folding.
    Empty,
    /// A `*` that does not end a word.
    Star,
}

impl Builder {
    pub(crate) fn add(&mut self, keyword: &str) -> Result<KeywordId, BadKeyword> {
        let folded = fold(keyword);
        if let Some(known) = self.by_keyword.get(folded.as_str()) {
            return Ok(*known);
        }
        let mut parts = folded.split('*');
        let stem = parts.next().unwrap_or_default();
        let parts: Box<[Box<str>]> = parts.map(Box::from).collect();
        if stem.is_empty() && parts.iter().all(|part| part.is_empty()) {
            return Err(BadKeyword::Empty);
        }
        let ends_word = |(at, part): (usize, &str)| match part.chars().next() {
            Some(c) => !joins(c),
            None => at + 1 == parts.len(),
        };
        if stem.is_empty() || !parts.iter().map(AsRef::as_ref).enumerate().all(ends_word) {
            return Err(BadKeyword::Star);
        }
        let id = self.words.len() as KeywordId;
        let at = match self.by_stem.entry(stem.into()) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.stems.push(Stem {
                    text: stem.into(),
                    edge_left: stem.chars().next().is_some_and(joins),
                    edge_right: stem.chars().next_back().is_some_and(joins),
                    exact: None,
                    open: Vec::new(),
                });
                *new.insert(self.stems.len() - 1)
            }
        };
        match parts.is_empty() {
            true => self.stems[at].exact = Some(id),
            false => self.stems[at].open.push((id, parts)),
        }
        self.words.push(Word { shown: folded.as_str().into(), covers: false });
        self.by_keyword.insert(folded.into(), id);
        Ok(id)
    }

    /// Hits of this keyword cover words for `only` rules.
    pub(crate) fn covers(&mut self, id: KeywordId) {
        self.words[id as usize].covers = true;
    }

    pub(crate) fn build(self) -> Result<Keywords, BuildError> {
        let mut gate = Gate::new();
        self.stems.iter().for_each(|stem| gate.open_for(stem.text.as_bytes()));
        // Overlapping hits need the standard kind. A contiguous NFA is built in one pass over the keywords
        // and takes some bytes per letter.
        let automaton = contiguous::NFA::builder()
            .match_kind(MatchKind::Standard)
            .prefilter(false)
            .build(self.stems.iter().map(|stem| stem.text.as_bytes()))?;
        Ok(Keywords { automaton, gate, stems: self.stems, words: self.words })
    }
}

/// The compiled keywords.
#[derive(Debug)]
pub(crate) struct Keywords {
    automaton: contiguous::NFA,
    gate: Gate,
    stems: Vec<Stem>,
    words: Vec<Word>,
}

impl Keywords {
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// As written, but folded.
    pub(crate) fn shown(&self, id: KeywordId) -> &str {
        &self.words[id as usize].shown
    }

    pub(crate) fn covering(&self, id: KeywordId) -> bool {
        self.words[id as usize].covers
    }

    /// Calls `hit` with every keyword in the text and where, overlapping ones too, until it has enough. For a `*`
    /// keyword the place reaches to the end of the word.
    pub(crate) fn scan(
        &self,
        folded: &str,
        mut hit: impl FnMut(KeywordId, Range<usize>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        pieces(folded).try_for_each(|piece| {
            let base = piece.start;
            let text = &folded[piece];
            for_each_start(text, |start| {
                let rest = &text.as_bytes()[start..];
                match self.gate.passes(rest) {
                    true => self.follow_from(folded, base + start, rest, &mut hit),
                    false => ControlFlow::Continue(()),
                }
            })
        })
    }

    /// Calls `hit` with every keyword that begins at `start`, from where `rest` is looked at.
    fn follow_from(
        &self,
        folded: &str,
        start: usize,
        rest: &[u8],
        hit: &mut impl FnMut(KeywordId, Range<usize>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Ok(mut state) = self.automaton.start_state(Anchored::Yes) else {
            return ControlFlow::Continue(());
        };
        for (read, byte) in (1..).zip(rest) {
            state = self.automaton.next_state(Anchored::Yes, state, *byte);
            if self.automaton.is_dead(state) {
                break;
            }
            if !self.automaton.is_match(state) {
                continue;
            }
            for i in 0..self.automaton.match_len(state) {
                let stem = &self.stems[self.automaton.match_pattern(state, i).as_usize()];
                // A state also knows the stems that end here and began later: their own start finds them.
                if stem.text.len() == read {
                    stem.at(folded, start, hit)?;
                }
            }
        }
        ControlFlow::Continue(())
    }
}

impl Stem {
    /// Calls `hit` with the keywords of this stem, which stands at `start`.
    fn at(
        &self,
        folded: &str,
        start: usize,
        hit: &mut impl FnMut(KeywordId, Range<usize>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let end = start + self.text.len();
        if self.edge_left && folded[..start].chars().next_back().is_some_and(joins) {
            return ControlFlow::Continue(());
        }
        if let Some(id) = self.exact
            && !(self.edge_right && folded[end..].starts_with(joins))
        {
            hit(id, start..end)?;
        }
        self.open.iter().try_for_each(|(id, parts)| match follow(parts, folded, end) {
            Some(end) => hit(*id, start..end),
            None => ControlFlow::Continue(()),
        })
    }
}

/// Calls `start` with every place where a keyword could begin (where a word begins, and at every sign) until it
/// has enough.
/// Over bytes, since most of a message is ASCII and Russian letters, and all of it is looked at.
fn for_each_start(text: &str, mut start: impl FnMut(usize) -> ControlFlow<()>) -> ControlFlow<()> {
    if text.is_ascii() {
        return for_each_ascii_start(text.as_bytes(), start);
    }
    let bytes = text.as_bytes();
    let (mut at, mut in_word) = (0, false);
    while let Some(byte) = bytes.get(at) {
        let (length, letter) = match KINDS[usize::from(*byte)] {
            Kind::Space => {
                (at, in_word) = (at + 1, false);
                continue;
            }
            Kind::Letter => {
                if !in_word {
                    start(at)?;
                }
                in_word = true;
                let rest = &bytes[at..];
                at += rest.iter().position(|b| KINDS[usize::from(*b)] != Kind::Letter).unwrap_or(rest.len());
                continue;
            }
            Kind::Sign => (1, false),
            // The letters from а to я.
            Kind::Lead => match (byte, bytes.get(at + 1)) {
                (0xd0, Some(0xb0..)) | (0xd1, Some(..=0x8f)) => (2, true),
                _ => text[at..].chars().next().map_or((1, false), |c| (c.len_utf8(), joins(c))),
            },
        };
        if !in_word || !letter {
            start(at)?;
        }
        (at, in_word) = (at + length, letter);
    }
    ControlFlow::Continue(())
}

/// The same of ASCII, by lanes.
fn for_each_ascii_start(bytes: &[u8], mut start: impl FnMut(usize) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut in_word = 0;
    for (base, lane) in (0..).step_by(lane::WIDTH).zip(lane::all(bytes, b' ')) {
        let letters = lane::bits(lane::between(lane, b'a', b'z') | lane::between(lane, b'0', b'9'));
        let blanks = lane::bits(lane::equal(lane, b' '));
        let mut starts = lane::ALL & !blanks & !(letters & (letters << 1 | in_word));
        in_word = letters >> (lane::WIDTH - 1);
        while starts != 0 {
            start(base + starts.trailing_zeros() as usize)?;
            starts &= starts - 1;
        }
    }
    ControlFlow::Continue(())
}

/// What a byte of folded text begins.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Space,
    Letter,
    Sign,
    /// A character of several bytes.
    Lead,
}

const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Lead; 256];
    let mut byte = 0u8;
    while byte < 0x80 {
        kinds[byte as usize] = match byte {
            b' ' => Kind::Space,
            _ if byte.is_ascii_alphanumeric() => Kind::Letter,
            _ => Kind::Sign,
        };
        byte += 1;
    }
    kinds
};

/// Where the rest of a keyword ends, if it stands at `at`: each part after some ending of the word before it.
fn follow(parts: &[Box<str>], folded: &str, mut at: usize) -> Option<usize> {
    for (index, part) in parts.iter().enumerate() {
        let rest = &folded[at..];
        let rest = rest.trim_start_matches(joins).strip_prefix(part.as_ref())?;
        at = folded.len() - rest.len();
        let last = index + 1 == parts.len();
        if last && part.ends_with(joins) && rest.starts_with(joins) {
            return None;
        }
    }
    Some(at)
}

/// The parts of a text that are looked at: all of it, or its head and tail.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = Range<usize>> {
    let (head, tail) = if text.len() <= BOUND {
        (text.len(), text.len())
    } else {
        (text.floor_char_boundary(HEAD), text.ceil_char_boundary(text.len() - (BOUND - HEAD)))
    };
    [0..head, tail..text.len()].into_iter().filter(|piece| !piece.is_empty())
}

/// The text is looked at whole.
pub(crate) fn within_bound(text: &str) -> bool {
    text.len() <= BOUND
}

/// Two such characters side by side are one word. Scripts that set no spaces between words have no word
/// edges to ask for: each of their characters stands alone.
fn joins(c: char) -> bool {
    match c {
        'а'..='я' => true,
        c if c.is_ascii() => c.is_ascii_alphanumeric(),
        c => c.is_alphanumeric() && !is_unspaced(c),
    }
}

fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' // Thai, Lao, Burmese, Khmer
        | '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}'                          // kana
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' // Han
        | '\u{20000}'..='\u{3ffff}')
}

/// The words of a folded text, as `only` and examples count them: runs of letters and digits, and every
/// character of an unspaced script by itself.
pub(crate) fn words(folded: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + folded[at..].find(char::is_alphanumeric)?;
        let rest = &folded[start..];
        let length = match rest.find(|c| !joins(c)) {
            Some(0) => rest.chars().next().map_or(0, char::len_utf8),
            Some(length) => length,
            None => rest.len(),
        };
        at = start + length;
        Some(start..at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(keywords: &[&str], text: &str) -> Vec<String> {
        let mut builder = Builder::default();
        for keyword in keywords {
            builder.add(keyword).unwrap();
        }
        let keywords = builder.build().unwrap();
        let folded = fold(text);
        let mut hits = Vec::new();
        let all = keywords.scan(&folded, |id, at| {
            hits.push(format!("{}@{}", keywords.shown(id), &folded[at]));
            ControlFlow::Continue(())
        });
        assert!(all.is_continue());
        hits.sort();
        hits
    }

    #[test]
    fn keywords_are_whole_words_unless_they_end_in_a_star() {
        assert_eq!(hits(&["кот"], "Который КОТ? котик"), ["кот@кот"]);
        assert_eq!(hits(&["кот*"], "Который скот"), ["кот*@который"]);
        assert_eq!(
            hits(&["функци* на python"], "Функцию на Python!"),
            ["функци* на python@функцию на python"]
        );
        assert_eq!(hits(&["функци* на pyth"], "функцию на python"), Vec::<String>::new());
        assert_eq!(hits(&["двоичн* дерев*"], "двоичное  деревце"), ["двоичн* дерев*@двоичное деревце"]);
        assert_eq!(hits(&["html-*"], "html-код"), ["html-*@html-код"]);
        assert_eq!(hits(&["stack  trace"], "a Stack\n\ttrace."), ["stack trace@stack trace"]);
        assert_eq!(hits(&["ёлка"], "ЕЛКА"), ["елка@елка"]);
    }

    #[test]
    fn an_edge_is_asked_for_only_where_the_keyword_has_one() {
        assert_eq!(hits(&["c++", "c"], "in C++?"), ["c++@c++", "c@c"]);
        assert_eq!(hits(&["c++"], "objc++"), Vec::<String>::new());
        assert_eq!(hits(&[".rs"], "main.rs"), [".rs@.rs"]);
        assert_eq!(hits(&["👋"], "hi👋👋"), ["👋@👋", "👋@👋"]);
        assert_eq!(hits(&["你好"], "你好世界"), ["你好@你好"]);
    }

    #[test]
    fn hits_may_overlap_and_share_their_text() {
        assert_eq!(hits(&["test", "test*", "unit test", "test run"], "unit test run").len(), 4);
    }

    #[test]
    fn a_keyword_of_nothing_is_none() {
        let mut builder = Builder::default();
        assert_eq!(builder.add("*"), Err(BadKeyword::Empty));
        assert_eq!(builder.add("\u{200b}"), Err(BadKeyword::Empty));
        for star in ["*x", "a*b", "a**", "a* *b"] {
            assert_eq!(builder.add(star), Err(BadKeyword::Star), "{star}");
        }
        assert_eq!(builder.add("Тест"), builder.add("тест"));
    }

    #[test]
    fn long_texts_are_looked_at_in_head_and_tail() {
        let text = format!("head {} middle {} tail", "слово ".repeat(10_000), "слово ".repeat(10_000));
        let hit = hits(&["head", "middle", "tail"], &text);
        assert_eq!(hit, ["head@head", "tail@tail"]);
    }

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        let text = "hi, what's up 42 你好!";
        let found: Vec<&str> = words(text).map(|at| &text[at]).collect();
        assert_eq!(found, ["hi", "what", "s", "up", "42", "你", "好"]);
    }

    proptest::proptest! {
        /// The gate and the walk from word starts find what a plain search finds.
        #[test]
        fn nothing_is_missed(
            keywords in proptest::collection::vec("[aбв+ ]{1,5}\\*?", 1..12),
            text in "[aбвгd+ .«👋]{0,40}",
        ) {
            let mut builder = Builder::default();
            let added: Vec<_> = keywords.iter().filter_map(|k| Some((fold(k), builder.add(k).ok()?))).collect();
            let built = builder.build().unwrap();
            let folded = fold(&text);
            let mut found = std::collections::BTreeSet::new();
            let _ = built.scan(&folded, |id, place| {
                found.insert((id, place.start));
                ControlFlow::Continue(())
            });
            let mut wanted = std::collections::BTreeSet::new();
            for (keyword, id) in added {
                let (stem, open) = keyword.strip_suffix('*').map_or((keyword.as_str(), false), |stem| (stem, true));
                for (at, _) in folded.match_indices(|_: char| true).filter(|(at, _)| folded[*at..].starts_with(stem)) {
                    let left = stem.starts_with(joins) && folded[..at].ends_with(joins);
                    let right = !open && stem.ends_with(joins) && folded[at + stem.len()..].starts_with(joins);
                    if !left && !right {
                        wanted.insert((id, at));
                    }
                }
            }
            proptest::prop_assert_eq!(found, wanted);
        }
    }
}
