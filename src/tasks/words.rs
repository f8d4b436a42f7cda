//! A text as words with their places, which is all that most tasks look at.

use std::ops::Range;

/// A run of letters or a run of digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word<'t> {
    /// As written.
    pub(super) text: &'t str,
    /// In lower case, `ё` as `е`.
    pub(super) low: String,
    /// Its bytes in the text.
    pub(super) at: Range<usize>,
    /// It is a number.
    pub(super) digits: bool,
}

impl Word<'_> {
    /// It begins with a capital letter.
    pub(super) fn is_capital(&self) -> bool {
        self.text.chars().next().is_some_and(char::is_uppercase)
    }

    /// It is one of these.
    pub(super) fn is(&self, any: &[&str]) -> bool {
        any.contains(&self.low.as_str())
    }

    /// It begins with one of these.
    pub(super) fn begins(&self, any: &[&str]) -> bool {
        any.iter().any(|stem| self.low.starts_with(stem))
    }

    /// Its number, if it is a short one.
    pub(super) fn number(&self) -> Option<i64> {
        (self.digits && self.text.len() <= 15).then(|| self.text.parse().ok()).flatten()
    }
}

/// Cuts a text into its words.
pub(super) fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut begun: Option<(usize, bool)> = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        let kind = match c {
            _ if c.is_ascii_digit() => Some(true),
            // Stress marks belong to the letter before them.
            _ if c.is_alphanumeric() || (c == '\u{301}' && begun.is_some()) => Some(false),
            _ => None,
        };
        match begun {
            Some((_, digits)) if kind == Some(digits) => {}
            _ => {
                if let Some((from, digits)) = begun {
                    let word = &text[from..at];
                    let low = word.to_lowercase().replace('ё', "е").replace('\u{301}', "");
                    words.push(Word { text: word, low, at: from..at, digits });
                }
                begun = kind.map(|digits| (at, digits));
            }
        }
    }
    words
}

/// What stands between two words, or after the last one.
pub(super) fn gap<'t>(text: &'t str, words: &[Word<'_>], after: usize) -> &'t str {
    let from = words.get(after).map_or(0, |word| word.at.end);
    let to = words.get(after + 1).map_or(text.len(), |word| word.at.start);
    text.get(from..to).unwrap_or("")
}

/// Whether two words are parts of one phrase: blanks at most lie between them.
pub(super) fn joined(text: &str, words: &[Word<'_>], after: usize) -> bool {
    after + 1 < words.len() && gap(text, words, after).chars().all(|c| c == ' ' || c == '\u{a0}')
}

/// Whether a word begins a sentence or a line.
pub(super) fn begins_sentence(text: &str, words: &[Word<'_>], at: usize) -> bool {
    let Some(before) = at.checked_sub(1) else { return true };
    if words.get(before).is_some_and(|word| word.is(&["mr", "mrs", "ms", "dr", "prof", "st"])) {
        return false;
    }
    gap(text, words, before).contains(['.', '!', '?', '\n', ':', '…', '"', '«', '“'])
}

/// The sentences of a text, each trimmed, none empty. A full stop behind an abbreviation, an initial or a number in
/// front of a small letter ends none.
pub(super) fn sentences(text: &str) -> Vec<&str> {
    const SHORT: &[&str] = &[
        "mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "no", "inc", "ltd", "jr", "approx",
        "fig", "т.е", "т.к", "т.д", "т.п", "др", "пр", "г", "гг", "им", "ул", "руб", "см", "стр", "тыс",
        "млн", "млрд", "рис", "напр",
    ];
    let mut found = Vec::new();
    let mut from = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let end = at + c.len_utf8();
        let next = chars.peek().map(|(_, next)| *next);
        let ends = match c {
            '\n' => true,
            '!' | '?' | '…' => !next.is_some_and(|n| matches!(n, '!' | '?' | '.' | '…' | '"' | '»' | ')')),
            // What stands before it is looked at only where it may end something: it may be long.
            '.' if next.is_none_or(char::is_whitespace) => {
                let before = text[from..at].rsplit(char::is_whitespace).next().unwrap_or("");
                let bare = before.trim_start_matches(['(', '«', '"']).to_lowercase();
                let initial = bare.chars().count() == 1 && bare.chars().all(char::is_alphabetic);
                let after = text[end..].trim_start().chars().next();
                let goes_on = after.is_some_and(char::is_lowercase);
                let of_a_name = initial && before.chars().all(|c| c.is_uppercase() || !c.is_alphabetic());
                let short = SHORT.contains(&bare.as_str())
                    && (goes_on || !matches!(bare.as_str(), "др" | "г" | "т.д" | "т.п" | "etc"));
                !of_a_name && !short && !goes_on
            }
            _ => false,
        };
        if ends {
            found.push(text[from..end].trim());
            from = end;
        }
    }
    found.push(text[from..].trim());
    found.retain(|sentence| sentence.chars().any(char::is_alphanumeric));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_know_their_places() {
        let text = "Ёж, 15th of May-25!";
        let found = words(text);
        let lows: Vec<_> = found.iter().map(|w| w.low.as_str()).collect();
        assert_eq!(lows, ["еж", "15", "th", "of", "may", "25"]);
        assert!(found.iter().all(|w| &text[w.at.clone()] == w.text));
        assert_eq!((gap(text, &found, 0), gap(text, &found, 1), gap(text, &found, 5)), (", ", "", "!"));
    }

    #[test]
    fn sentences_end_where_people_end_them() {
        assert_eq!(sentences("One. Two! Really?! Yes"), ["One.", "Two!", "Really?!", "Yes"]);
        assert_eq!(
            sentences("Dr. Smith met Mr. Jones. They spoke."),
            ["Dr. Smith met Mr. Jones.", "They spoke."]
        );
        assert_eq!(
            sentences("Цена 5 тыс. рублей, т.е. мало. А. С. Пушкин."),
            ["Цена 5 тыс. рублей, т.е. мало.", "А. С. Пушкин."]
        );
        assert_eq!(sentences(" \n… "), Vec::<&str>::new());
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_them(text in "\\PC{0,80}") {
            proptest::prop_assert!(words(&text).iter().all(|w| text[w.at.clone()] == *w.text));
            sentences(&text);
        }
    }
}
