//! One way of looking at text for rules, answers and classifier: fold it, count its words, tell its language.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};
use wide::u8x16;

use crate::lane;

/// The part of a message that rules look at: all of it, or the beginning and the end of a long one. A person's
/// wish stands there; what lies between is what it is about.
pub fn window(text: &str) -> Cow<'_, str> {
    /// Bytes kept of the beginning and of the end.
    const HEAD: usize = 12 * 1024;
    const TAIL: usize = 4 * 1024;
    if text.len() <= HEAD + TAIL {
        return Cow::Borrowed(text);
    }
    let head = &text[..text.floor_char_boundary(HEAD)];
    let tail = &text[text.ceil_char_boundary(text.len() - TAIL)..];
    Cow::Owned(format!("{head}\n{tail}"))
}

/// Folds what people write differently and mean the same: Unicode forms (NFKC), case, `ё`/`е`, kinds of
/// white space (one space each run, none at the ends), invisible characters, typographic quotes and dashes.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return squeeze(fold_ascii(text));
    }
    if let Some(folded) = fold_plain(text) {
        return squeeze(folded);
    }
    // NFKC makes a space and an accent of it; people type it for an apostrophe.
    if text.contains('´') {
        return fold(&text.replace('´', "'"));
    }
    let mut out = String::with_capacity(text.len());
    if is_nfkc_quick(text.chars()) == IsNormalized::Yes {
        text.chars().flat_map(char::to_lowercase).for_each(|c| push_folded(&mut out, c));
    } else {
        text.nfkc().flat_map(char::to_lowercase).for_each(|c| push_folded(&mut out, c));
    }
    if out.ends_with(' ') {
        out.pop();
    }
    squeeze(out)
}

/// ASCII needs no tables, and goes by lanes; then the surplus blanks of each are cut out.
fn fold_ascii(text: &str) -> String {
    // Whole lanes are written, of which only the beginning counts.
    let mut out = vec![0; text.len() + lane::WIDTH];
    let mut end = 0;
    // As if a blank stood before it all: none is left at the beginning.
    let mut after_blank = 1;
    for lane in lane::all(text.as_bytes(), b' ') {
        let blank = lane::between(lane, 0, b' ') | lane::equal(lane, 0x7f);
        let folded = lane | (lane::between(lane, b'A', b'Z') & u8x16::splat(0x20));
        let folded = folded ^ (lane::equal(lane, b'`') & u8x16::splat(b'`' ^ b'\''));
        let mut folded = blank.bitselect(u8x16::splat(b' '), folded).to_array();
        let blanks = lane::bits(blank);
        let surplus = blanks & (blanks << 1 | after_blank);
        after_blank = blanks >> (lane::WIDTH - 1);
        if surplus != 0 {
            folded = without(folded, surplus);
        }
        if let Some(room) = out.get_mut(end..).and_then(<[u8]>::first_chunk_mut) {
            *room = folded;
        }
        end += lane::WIDTH - surplus.count_ones() as usize;
    }
    out.truncate(end);
    if out.last() == Some(&b' ') {
        out.pop();
    }
    String::from_utf8(out).unwrap_or_default()
}

/// A lane without some of its bytes: the others move up.
fn without(bytes: [u8; lane::WIDTH], mut surplus: u32) -> [u8; lane::WIDTH] {
    let mut left = u128::from_le_bytes(bytes);
    while surplus != 0 {
        let before = (1 << (8 * surplus.trailing_zeros())) - 1;
        left = left & before | (left >> 8) & !before;
        // Those behind it have moved, too.
        surplus = (surplus & (surplus - 1)) >> 1;
    }
    left.to_le_bytes()
}

/// ASCII and Russian letters over bytes, several times as fast as over characters; they are nearly all there
/// is. `None` if there is anything else.
fn fold_plain(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    // A space is owed as soon as another word comes; so there is none at the ends.
    let mut gap = false;
    while let Some(byte) = rest.next() {
        let letter: [u8; 2] = match byte {
            0..=b' ' | 0x7f => {
                gap = !out.is_empty();
                continue;
            }
            b'`' => [b'\'', 0],
            _ if byte.is_ascii() => [byte.to_ascii_lowercase(), 0],
            // UTF-8: А-П are d0 90-9f, Р-Я d0 a0-af, а-п d0 b0-bf, р-я d1 80-8f, Ё d0 81, ё d1 91.
            0xd0 => match rest.next()? {
                0x81 => [0xd0, 0xb5],
                low @ 0x90..=0x9f => [0xd0, low + 0x20],
                low @ 0xa0..=0xaf => [0xd1, low - 0x20],
                low @ 0xb0..=0xbf => [0xd0, low],
                _ => return None,
            },
            0xd1 => match rest.next()? {
                0x91 => [0xd0, 0xb5],
                low @ 0x80..=0x8f => [0xd1, low],
                _ => return None,
            },
            _ => return None,
        };
        if gap {
            out.push(b' ');
            gap = false;
        }
        out.extend_from_slice(if letter[1] == 0 { &letter[..1] } else { &letter });
    }
    String::from_utf8(out).ok()
}

/// "hellooo", "привееет": a letter written three times or more stands for one, unless it is all of the word
/// ("www", "ммм").
fn squeeze(text: String) -> String {
    if !maybe_drawn_out(text.as_bytes()) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| !c.is_alphabetic()) {
        let letters = word.trim_end_matches(|c: char| !c.is_alphabetic());
        let first = letters.chars().next();
        if letters.chars().all(|c| Some(c) == first) {
            out.push_str(word);
            continue;
        }
        let mut rest = word.chars().peekable();
        while let Some(c) = rest.next() {
            let mut run = 1;
            while rest.next_if_eq(&c).is_some() {
                run += 1;
            }
            let keep = if c.is_alphabetic() && run >= 3 { 1 } else { run };
            out.extend(std::iter::repeat_n(c, keep));
        }
    }
    out
}

/// Whether three equal characters may stand in a row: never wrong about a no, and over vectors. Characters of
/// one byte repeat a byte, those of two repeat a pair, and so on.
fn maybe_drawn_out(bytes: &[u8]) -> bool {
    let repeats = |width: usize| {
        let from = |at: usize| bytes.get(at..).unwrap_or_default();
        // Of a character of several bytes the last one is enough to look at: it differs most.
        let last = |byte: u8| (width == 1) == byte.is_ascii() && (width == 1 || byte & 0xc0 == 0x80);
        let threes = bytes.iter().zip(from(width)).zip(from(2 * width));
        threes.fold(false, |any, ((a, b), c)| any | (*a == *b) & (*b == *c) & last(*a) & (*a != b' '))
    };
    repeats(1) || (!bytes.is_ascii() && (2..=4).any(repeats))
}

fn push_folded(out: &mut String, c: char) {
    match c {
        'ё' => out.push('е'),
        '’' | '‘' | '`' => out.push('\''),
        '“' | '”' | '«' | '»' | '„' => out.push('"'),
        '–' | '—' | '−' | '‑' => out.push('-'),
        // Zero-width characters, soft hyphen, variation selectors, combining acute (Russian stress marks).
        '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}' | '\u{fe0f}' | '\u{301}' => {}
        c if c.is_whitespace() || c.is_control() => {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
        }
        c => out.push(c),
    }
}

/// No message is counted further than this: it is long, however long.
pub const MOST_WORDS: usize = 10_000;

/// Words: runs between white space, up to [`MOST_WORDS`].
pub fn count_words(text: &str) -> usize {
    if text.is_ascii() {
        // As `split_whitespace` sees ASCII, over bytes.
        let blank = |b: u8| matches!(b, b'\t'..=b'\r' | b' ');
        let starts =
            text.bytes().scan(true, |after, b| Some(std::mem::replace(after, blank(b)) && !blank(b)));
        return starts.filter(|start| *start).take(MOST_WORDS).count();
    }
    text.split_whitespace().take(MOST_WORDS).count()
}

/// The same of a text that is folded already: one space stands between two words, none at the ends.
pub fn count_folded_words(folded: &str) -> usize {
    if folded.is_empty() { 0 } else { memchr::memchr_iter(b' ', folded.as_bytes()).count() + 1 }
}

/// The language that a reply should be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// Mostly Cyrillic letters.
    Ru,
    /// Mostly Latin letters, or none at all.
    En,
    /// Mostly letters of another script.
    Other,
}

impl Language {
    /// As it stands in rules (`when.language`) and answers.
    pub fn code(self) -> &'static str {
        match self {
            Self::Ru => "ru",
            Self::En => "en",
            Self::Other => "other",
        }
    }
}

/// The language of a text by its script, on at most its first 400 letters. A mixed text is Russian when a
/// third of its letters are Cyrillic: Russians write product names in Latin letters, not the other way round.
pub fn language(text: &str) -> Language {
    if text.is_ascii() {
        return Language::En;
    }
    let (mut cyrillic, mut latin, mut other) = (0u32, 0u32, 0u32);
    for c in text.chars() {
        match c {
            'a'..='z' | 'A'..='Z' => latin += 1,
            '\0'..='\x7f' => {}
            '\u{400}'..='\u{4ff}' => cyrillic += 1,
            '\u{c0}'..='\u{24f}' if c.is_alphabetic() => latin += 1,
            c if c.is_alphabetic() => other += 1,
            _ => {}
        }
        if cyrillic + latin + other == 400 {
            break;
        }
    }
    let all = cyrillic + latin + other;
    if all == 0 {
        Language::En
    } else if cyrillic * 3 >= all {
        Language::Ru
    } else if other * 2 > all {
        Language::Other
    } else {
        Language::En
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_makes_equal_what_people_mean_as_equal() {
        assert_eq!(fold("  ПРИВЁТ,\u{a0}\n Мир! "), "привет, мир!");
        assert_eq!(fold("Cafe\u{301} ＨＥＬＬＯ"), "caf\u{e9} hello");
        assert_eq!(fold("за\u{301}мок"), "замок");
        assert_eq!(fold("it’s “fine” — ok, it´s"), "it's \"fine\" - ok, it's");
        assert_eq!(fold("Приветтт! hellooo www 1000"), "привет! hello www 1000");
        assert_eq!(fold(""), "");
        assert_eq!(fold("\u{200b}\u{feff}"), "");
    }

    #[test]
    fn a_long_message_is_seen_at_both_ends() {
        assert!(matches!(window("короткое"), Cow::Borrowed("короткое")));
        let long = format!("начало {} конец", "середина ".repeat(20_000));
        let seen = window(&long);
        assert!(seen.starts_with("начало") && seen.ends_with("конец") && seen.len() <= 16 * 1024 + 8);
    }

    fn fold_by_tables(text: &str) -> String {
        let mut out = String::new();
        text.nfkc().flat_map(char::to_lowercase).for_each(|c| push_folded(&mut out, c));
        out.trim_end_matches(' ').to_owned()
    }

    #[test]
    fn the_quick_way_and_the_tables_agree_on_every_character() {
        for c in (0..0x3000u32).filter_map(char::from_u32) {
            let text = format!("a {c}b");
            if c.is_ascii() {
                assert_eq!(fold_ascii(&text), fold_by_tables(&text), "{c:?}");
            }
            if let Some(quick) = fold_plain(&text) {
                assert_eq!(quick, fold_by_tables(&text), "{c:?}");
            }
        }
        assert_eq!(fold_plain("ПРИВЕТ, Ёлка и ёж\t`x` 9 "), Some("привет, елка и еж 'x' 9".into()));
        assert_eq!(fold_plain("привет…"), None);
    }

    proptest::proptest! {
        #[test]
        fn the_quick_way_and_the_tables_agree(text in "[ -~А-яЁё\\t\\n\\x00\\x7f]{0,60}") {
            proptest::prop_assert_eq!(fold_plain(&text), Some(fold_by_tables(&text)));
        }
    }

    proptest::proptest! {
        #[test]
        fn the_ascii_way_and_the_tables_agree(text in "[ -~\\t\\n\\x00\\x7f]{0,60}") {
            proptest::prop_assert_eq!(fold_ascii(&text), fold_by_tables(&text));
        }

        #[test]
        fn what_is_drawn_out_is_never_overlooked(before in "[aб你👋]{0,4}", c in "[aбß你👋]", after in "[aб你👋]{0,4}") {
            let text = format!("{before}{}{after}", c.repeat(3));
            proptest::prop_assert!(maybe_drawn_out(text.as_bytes()), "{}", text);
        }
    }

    #[test]
    fn words_are_what_white_space_parts() {
        assert_eq!(count_words(" один  два\nthree "), 3);
        assert_eq!(count_words(""), 0);
    }

    #[test]
    fn folding_keeps_the_words() {
        for text in ["", " ", "привет,  мир!", "one\ttwo\n", "…", "a – b"] {
            assert_eq!(count_folded_words(&fold(text)), count_words(text), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn words_of_ascii_are_counted_alike(text in "[ -~\\t\\n\\r\\x0b\\x0c\\x1c]{0,60}") {
            proptest::prop_assert_eq!(count_words(&text), text.split_whitespace().count());
        }
    }

    #[test]
    fn language_goes_by_script() {
        assert_eq!(language("Привет, Ollama!"), Language::Ru);
        assert_eq!(language("hello"), Language::En);
        assert_eq!(language("👋"), Language::En);
        assert_eq!(language("你好"), Language::Other);
    }

    proptest::proptest! {
        #[test]
        fn folding_twice_changes_nothing(text in "\\PC{0,60}") {
            let once = fold(&text);
            proptest::prop_assert_eq!(fold(&once), once);
        }
    }
}
