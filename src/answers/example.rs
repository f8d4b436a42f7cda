//! The form in which a message is compared with examples: words only. Fillers are taken off the message, never
//! off an example, else "ты супер" would be the example "ты".

use std::collections::HashSet;

use crate::rules::keywords::words;
use crate::text::fold;

/// Words that may stand around anything: "there", "друг", "please". `friend*` stands for any ending.
#[derive(Debug, Default)]
pub(crate) struct Fillers {
    exact: HashSet<String>,
    /// Those with a `*`, word by word: the stem, and whether any ending may follow.
    open: Vec<Vec<(String, bool)>>,
    /// In words.
    longest: usize,
}

impl Fillers {
    pub(crate) fn new<'a>(fillers: impl Iterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        let mut room = String::new();
        for filler in fillers.map(fold) {
            if filler.contains('*') {
                let word = |w: &str| {
                    let stem = w.strip_suffix('*');
                    (normal(stem.unwrap_or(w), &mut room).to_owned(), stem.is_some())
                };
                let words: Vec<(String, bool)> = filler.split(' ').map(word).collect();
                all.longest = all.longest.max(words.len());
                all.open.push(words);
            } else {
                let words = normal(&filler, &mut room);
                all.longest = all.longest.max(words.split(' ').count());
                all.exact.insert(words.to_owned());
            }
        }
        all
    }

    fn contains(&self, words: &str) -> bool {
        let fits = |(given, (stem, open)): (&str, &(String, bool))| {
            if *open { given.starts_with(stem.as_str()) } else { given == stem }
        };
        let is = |filler: &Vec<(String, bool)>| {
            filler.len() == words.split(' ').count() && words.split(' ').zip(filler).all(fits)
        };
        self.exact.contains(words) || self.open.iter().any(is)
    }

    /// What is left of a normal form when one filler is taken off an end of it.
    pub(crate) fn strip<'r>(&self, words: &'r str) -> Option<&'r str> {
        let before = || {
            (1..=self.longest).find_map(|count| {
                let (head, rest) = split_after(words, count)?;
                self.contains(head).then_some(rest)
            })
        };
        let after = || {
            (1..=self.longest).find_map(|count| {
                let (rest, tail) = split_before(words, count)?;
                self.contains(tail).then_some(rest)
            })
        };
        before().or_else(after)
    }
}

/// The normal form of a folded text, written in `room`. A text without any words is its signs, each run of
/// one sign once ("👋👋" is "👋").
pub(crate) fn normal<'r>(folded: &str, room: &'r mut String) -> &'r str {
    room.clear();
    push_words(folded, room);
    if room.is_empty() {
        push_signs(folded, room);
    }
    room
}

/// The first `count` words and what follows, if something does.
fn split_after(words: &str, count: usize) -> Option<(&str, &str)> {
    let (at, _) = words.match_indices(' ').nth(count - 1)?;
    Some((&words[..at], &words[at + 1..]))
}

/// What stands before the last `count` words, if something does, and they.
fn split_before(words: &str, count: usize) -> Option<(&str, &str)> {
    let (at, _) = words.rmatch_indices(' ').nth(count - 1)?;
    Some((&words[..at], &words[at + 1..]))
}

/// Words with one space between; parts of a word like "what's" are joined.
fn push_words(folded: &str, out: &mut String) {
    let mut last = 0;
    for word in words(folded) {
        let between = &folded[last..word.start];
        if !out.is_empty() && !between.is_empty() && between != "'" {
            out.push(' ');
        }
        last = word.end;
        out.push_str(&folded[word]);
    }
}

fn push_signs(folded: &str, out: &mut String) {
    let skin = '\u{1f3fb}'..='\u{1f3ff}';
    for c in folded.chars().filter(|c| !c.is_whitespace() && !skin.contains(c)) {
        if !out.ends_with(c) {
            out.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(text: &str) -> Vec<String> {
        let fillers = Fillers::new(
            ["there", "друг", "пожалуйста", "my friend", "дорог* мо*", "дорог*", "ты"].into_iter(),
        );
        let mut room = String::new();
        let mut form = Some(normal(&fold(text), &mut room));
        let mut forms = Vec::new();
        while let Some(words) = form {
            forms.push(words.to_owned());
            form = fillers.strip(words);
        }
        forms
    }

    #[test]
    fn punctuation_and_emoji_do_not_count() {
        assert_eq!(forms("Привет!!! 👋"), ["привет"]);
        assert_eq!(forms("What's up?"), ["whats up"]);
        assert_eq!(forms("a) кто-то"), ["a кто то"]);
    }

    #[test]
    fn fillers_are_taken_off_the_ends_one_by_one() {
        assert_eq!(forms("Hello there, my friend"), ["hello there my friend", "hello there", "hello"]);
        assert_eq!(
            forms("Дорогая, что ты умеешь, друг?"),
            ["дорогая что ты умеешь друг", "что ты умеешь друг", "что ты умеешь"]
        );
        assert_eq!(forms("привет, дорогой мой"), ["привет дорогой мой", "привет"]);
        assert_eq!(forms("is there a way"), ["is there a way"]);
    }

    #[test]
    fn something_is_always_left() {
        assert_eq!(forms("друг, пожалуйста"), ["друг пожалуйста", "пожалуйста"]);
        assert_eq!(forms("👋🏽👋🏽"), ["👋"]);
        assert_eq!(forms("?!"), ["?!"]);
        assert_eq!(forms(""), [""]);
    }
}
