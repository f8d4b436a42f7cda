//! A text as a bag of numbered features: its words, stems, pairs of stems, pieces of words, and a few facts
//! about its shape.
//!
//! Each feature is a byte string, hashed with 64-bit FNV-1a, started from a basis of its kind, finished with
//! the 64-bit mixer of MurmurHash3, and reduced to a bucket by modulo. The same on every machine; a change
//! here makes old weights useless, so it needs a new [`VERSION`].
//!
//! Nothing here grows with the text: [`MAX_BYTES`] of it are read, [`MAX_WORDS`] of its words, [`MAX_CHARS`]
//! of each word, and [`MAX_FEATURES`] come out.

use std::borrow::Cow;

use crate::fnv;
use crate::text::fold;

/// Of this way of making features. Weights carry it.
pub const VERSION: u32 = 1;
/// So much of a text is read: three quarters from its beginning, a quarter from its end.
pub const MAX_BYTES: usize = 4096;
/// So many words of that, three quarters from the beginning again.
pub const MAX_WORDS: usize = 64;
/// So many characters of each word.
pub const MAX_CHARS: usize = 20;
/// So many features come out at most.
pub const MAX_FEATURES: usize = 2048;

/// How features are made; part of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Rows of the embedding table.
    pub buckets: u32,
    /// Shortest piece of a word, in characters.
    pub gram_min: usize,
    /// Longest piece of a word; pieces longer than the word are left out, so 0 turns pieces off.
    pub gram_max: usize,
}

/// A bag: which rows of the table, and how much of each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bag {
    /// Rows of the table, repeated if the feature is.
    pub ids: Vec<u32>,
    /// The share of each in the sum.
    pub shares: Vec<f32>,
}

/// The kinds of features. Each starts its hash elsewhere and is a mean of its own, so that the many pieces of
/// words do not drown the few words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Stem,
    Pair,
    Skip,
    Gram,
    Shape,
    Edge,
}

const KINDS: usize = 7;

impl Bag {
    /// Empties the bag and fills it from a text.
    pub fn fill(&mut self, text: &str, settings: &Settings) {
        self.fill_with(text, settings, |_| true);
    }

    /// The same, leaving out the words (by their number) for which `keep` says no.
    pub fn fill_with(&mut self, text: &str, settings: &Settings, mut keep: impl FnMut(usize) -> bool) {
        self.ids.clear();
        self.shares.clear();
        let text = clip(text);
        let folded = fold(&text);
        let mut words: Vec<&str> = words(&folded).collect();
        if words.len() > MAX_WORDS {
            let tail = words.len() - MAX_WORDS / 4;
            words.drain(MAX_WORDS - MAX_WORDS / 4..tail);
        }
        let mut at = 0;
        words.retain(|_| {
            at += 1;
            keep(at - 1)
        });
        let mut out = Filler { bag: self, settings, kind_of: Vec::with_capacity(512) };
        out.words(&words);
        out.shape(&text, &folded, words.len());
        let kinds = out.kind_of;
        let mut counts = [0u32; KINDS];
        kinds.iter().for_each(|k| counts[*k as usize] += 1);
        // Between a sum and a mean: a longer text says more, but not as much more as it is longer.
        self.shares.extend(kinds.iter().map(|k| 1.0 / (counts[*k as usize] as f32).sqrt()));
    }
}

struct Filler<'a> {
    bag: &'a mut Bag,
    settings: &'a Settings,
    kind_of: Vec<Kind>,
}

impl Filler<'_> {
    fn push(&mut self, kind: Kind, hash: u64) {
        if self.bag.ids.len() < MAX_FEATURES {
            self.bag.ids.push(bucket(hash, self.settings.buckets));
            self.kind_of.push(kind);
        }
    }

    fn words(&mut self, words: &[&str]) {
        let mut before = ["", "<"];
        for word in words {
            let stem = stem(word);
            self.push(Kind::Word, digits(basis(Kind::Word), word));
            self.push(Kind::Stem, digits(basis(Kind::Stem), stem));
            self.pair(Kind::Pair, before[1], stem);
            if !before[0].is_empty() {
                self.pair(Kind::Skip, before[0], stem);
            }
            self.grams(word);
            before = [before[1], stem];
        }
        self.pair(Kind::Pair, before[1], ">");
        if let Some(first) = words.first() {
            self.push(Kind::Edge, digits(basis(Kind::Edge), stem(first)));
        }
    }

    fn pair(&mut self, kind: Kind, left: &str, right: &str) {
        self.push(kind, digits(digits(basis(kind), left) ^ 0x20, right));
    }

    /// Pieces of `<word>`, edges marked, the whole word left out.
    fn grams(&mut self, word: &str) {
        let mut chars = ['<'; MAX_CHARS + 2];
        let mut len = 1;
        for c in word.chars().take(MAX_CHARS) {
            chars[len] = if c.is_ascii_digit() { '0' } else { c };
            len += 1;
        }
        chars[len] = '>';
        len += 1;
        for start in 0..len {
            let mut hash = basis(Kind::Gram);
            for (n, c) in chars[start..len].iter().take(self.settings.gram_max).enumerate() {
                hash = fnv::more(hash, c.encode_utf8(&mut [0; 4]).as_bytes());
                if n + 1 >= self.settings.gram_min && n + 1 < len {
                    self.push(Kind::Gram, hash);
                }
            }
        }
    }

    fn shape(&mut self, text: &str, folded: &str, words: usize) {
        let length = match words {
            0..=2 => words,
            3..=4 => 3,
            5..=7 => 4,
            8..=12 => 5,
            13..=20 => 6,
            21..=40 => 7,
            _ => 8,
        };
        self.flag("length", length);
        let numbers = folded
            .split(|c: char| !c.is_alphanumeric())
            .filter(|w| w.starts_with(|c: char| c.is_ascii_digit()))
            .count();
        self.flag("numbers", numbers.min(4));
        let letter = |c: char| c.is_ascii_lowercase();
        let inner = text.as_bytes().windows(2).any(|w| letter(w[0].into()) && w[1].is_ascii_uppercase());
        let snake =
            text.as_bytes().windows(3).any(|w| letter(w[0].into()) && w[1] == b'_' && letter(w[2].into()));
        let dotted =
            text.as_bytes().windows(3).any(|w| letter(w[0].into()) && w[1] == b'.' && letter(w[2].into()));
        let call = text.as_bytes().windows(2).any(|w| w[0].is_ascii_alphanumeric() && w[1] == b'(');
        let marks = text.bytes().filter(|b| b"{}[]<>=;`|\\$_&*/".contains(b)).count();
        for (name, on) in [
            ("inner", inner),
            ("snake", snake),
            ("dotted", dotted),
            ("call", call),
            ("marks", marks > 0),
            ("many marks", marks > 3),
            ("lines", text.trim().contains('\n')),
            ("colon", folded.contains(": ")),
            ("question", folded.contains('?')),
            ("quote", folded.contains('"')),
            ("sum", folded.contains(['+', '=', '%', '^'])),
        ] {
            if on {
                self.flag(name, 1);
            }
        }
    }

    fn flag(&mut self, name: &str, value: usize) {
        self.push(Kind::Shape, fnv::more(fnv::more(basis(Kind::Shape), name.as_bytes()), &[value as u8]));
    }
}

/// The beginning and the end of a text that is too long.
pub(super) fn clip(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_BYTES {
        return text.into();
    }
    let head = text.floor_char_boundary(MAX_BYTES / 4 * 3);
    let tail = text.ceil_char_boundary(text.len() - MAX_BYTES / 4);
    format!("{} {}", &text[..head], &text[tail..]).into()
}

/// Runs of letters, digits and the marks that belong to names ("c++", "c#", "snake_case", "don't").
/// Other marks part words and are no words.
pub fn words(folded: &str) -> impl Iterator<Item = &str> {
    folded
        .split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '\'' | '+' | '#')))
        .map(|w| w.trim_matches(['\'', '_']))
        .filter(|w| !w.is_empty())
}

/// The word without most of its endings: its first five letters (six if Latin).
pub fn stem(word: &str) -> &str {
    let keep = if word.starts_with(|c: char| c.is_ascii()) { 6 } else { 5 };
    word.char_indices().nth(keep).map_or(word, |(at, _)| &word[..at])
}

fn basis(kind: Kind) -> u64 {
    fnv::BASIS ^ (kind as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// FNV-1a over a word in which all digits are alike and at most [`MAX_CHARS`] characters count.
fn digits(hash: u64, word: &str) -> u64 {
    word.chars().take(MAX_CHARS).fold(hash, |h, c| {
        let c = if c.is_ascii_digit() { '0' } else { c };
        fnv::more(h, c.encode_utf8(&mut [0; 4]).as_bytes())
    })
}

fn bucket(mut hash: u64, buckets: u32) -> u32 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    (hash % u64::from(buckets.max(1))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { buckets: 100_000, gram_min: 3, gram_max: 5 };

    fn bag(text: &str) -> Bag {
        let mut bag = Bag::default();
        bag.fill(text, &SETTINGS);
        bag
    }

    #[test]
    fn the_same_text_gives_the_same_features_on_every_machine() {
        let one = bag("Привет, как дела?");
        assert_eq!(one, bag("привет,  КАК дела?"));
        // Written down once: a change of hash or features must come with a new VERSION.
        assert_eq!(&one.ids[..4], &GOLDEN);
    }

    const GOLDEN: [u32; 4] = [69806, 61, 29730, 36800];

    #[test]
    fn words_keep_the_marks_of_names() {
        let found: Vec<&str> = words("c++ or c#? don't 'quote' snake_case a.b").collect();
        assert_eq!(found, ["c++", "or", "c#", "don't", "quote", "snake_case", "a", "b"]);
    }

    #[test]
    fn pairs_know_their_order() {
        assert_ne!(bag("one two").ids, bag("two one").ids);
    }

    #[test]
    fn features_are_bounded_whatever_the_length() {
        for text in
            ["слово ".repeat(50_000), "x".repeat(1 << 20), "🙂é\u{301}".repeat(30_000), "a ".repeat(9_000)]
        {
            let bag = bag(&text);
            assert!(bag.ids.len() <= MAX_FEATURES);
            assert_eq!(bag.ids.len(), bag.shares.len());
        }
        assert!(!bag("").ids.is_empty(), "an empty text has a shape too");
    }

    proptest::proptest! {
        #[test]
        fn any_text_gives_rows_of_the_table(text in "\\PC{0,200}") {
            let bag = bag(&text);
            proptest::prop_assert!(bag.ids.iter().all(|id| *id < SETTINGS.buckets));
            proptest::prop_assert!(bag.shares.iter().all(|s| s.is_finite() && *s > 0.0));
        }
    }
}
