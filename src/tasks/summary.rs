//! `summary`: the one or two sentences of a text that say most of it.

use std::collections::{HashMap, HashSet};

use super::words::{sentences, words};

/// A sentence with more words sums nothing up.
const LONGEST: usize = 60;
/// Sentences that are looked at.
const MOST: usize = 200;
/// Words that stand in every text.
const COMMON: &[&str] = &[
    "и",
    "в",
    "во",
    "не",
    "что",
    "он",
    "на",
    "я",
    "с",
    "со",
    "как",
    "а",
    "то",
    "все",
    "она",
    "так",
    "его",
    "но",
    "да",
    "ты",
    "к",
    "у",
    "же",
    "вы",
    "за",
    "бы",
    "по",
    "ее",
    "мне",
    "было",
    "вот",
    "от",
    "меня",
    "еще",
    "нет",
    "о",
    "из",
    "ему",
    "теперь",
    "когда",
    "даже",
    "ну",
    "ли",
    "если",
    "уже",
    "или",
    "ни",
    "быть",
    "был",
    "до",
    "для",
    "мы",
    "их",
    "чем",
    "была",
    "это",
    "этот",
    "этого",
    "при",
    "также",
    "the",
    "a",
    "an",
    "and",
    "or",
    "of",
    "to",
    "in",
    "on",
    "at",
    "for",
    "with",
    "is",
    "are",
    "was",
    "were",
    "be",
    "been",
    "it",
    "its",
    "this",
    "that",
    "these",
    "as",
    "by",
    "from",
    "but",
    "not",
    "we",
    "they",
    "he",
    "she",
    "you",
    "i",
    "has",
    "have",
];

/// The summary, or none where there is nothing to sum up.
pub fn summary(text: &str, most: usize) -> Option<String> {
    let all: Vec<&str> = sentences(text).into_iter().take(MOST).collect();
    let bags: Vec<HashSet<String>> = all.iter().map(|sentence| bag(sentence)).collect();
    let mut spread: HashMap<&str, f32> = HashMap::new();
    for stem in bags.iter().flatten() {
        *spread.entry(stem).or_default() += 1.0;
    }
    let count = all.len() as f32;
    let mut ranked: Vec<(usize, f32)> = Vec::new();
    for (at, (sentence, bag)) in all.iter().zip(&bags).enumerate() {
        let length = sentence.split_whitespace().count();
        let usable = (3..=LONGEST).contains(&length) && !sentence.ends_with(['?', ':']);
        if !usable && all.len() > 1 || length > LONGEST {
            continue;
        }
        // What many sentences speak of is the subject; one long sentence must not win by its length.
        let subject: f32 = bag.iter().map(|stem| spread.get(stem.as_str()).map_or(0.0, |n| n - 1.0)).sum();
        let lead = if at == 0 { 1.3 } else { 1.0 + 0.3 * (1.0 - at as f32 / count) };
        ranked.push((at, (subject / (bag.len() as f32 + 3.0) + 0.1) * lead));
    }
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut picked: Vec<usize> = Vec::new();
    for (at, _) in ranked {
        let repeats = picked.iter().any(|p| overlap(&bags[*p], &bags[at]) > 0.6);
        if picked.len() < most && !repeats {
            picked.push(at);
        }
    }
    picked.sort_unstable();
    let said: Vec<&str> = picked.iter().map(|at| all[*at]).collect();
    (!said.is_empty()).then(|| said.join(" "))
}

/// Whether a text may stand as a summary of another, whoever wrote it.
pub fn holds(summary: &str, most: usize) -> bool {
    let said = sentences(summary);
    (1..=most).contains(&said.len())
        && said.iter().all(|sentence| sentence.split_whitespace().count() <= LONGEST)
}

/// The stems of a sentence's own words.
fn bag(sentence: &str) -> HashSet<String> {
    let own = words(sentence).into_iter().filter(|word| !COMMON.contains(&word.low.as_str()));
    own.map(|word| word.low.chars().take(6).collect()).collect()
}

fn overlap(one: &HashSet<String>, other: &HashSet<String>) -> f32 {
    let shared = one.intersection(other).count() as f32;
    shared / (one.len().min(other.len()).max(1) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_about_the_subject_stands_for_all() {
        let text = "Вчера шёл дождь. Сервер базы данных упал ночью из-за нехватки места на диске. \
                    Место на диске сервера кончилось из-за журналов базы. Утром пили кофе.";
        let said = summary(text, 1).unwrap();
        assert!(said.contains("Сервер") || said.contains("диске"), "{said}");
        assert_eq!(summary(text, 2).unwrap().matches('.').count(), 2);
        assert_eq!(summary("Одна фраза", 2).as_deref(), Some("Одна фраза"));
        assert_eq!(summary("?!", 2), None);
    }

    proptest::proptest! {
        #[test]
        fn it_has_at_most_so_many_sentences(text in "([а-я]{2,7}|[.!? \\n]){0,60}", most in 1usize..3) {
            if let Some(said) = summary(&text, most) {
                proptest::prop_assert!(sentences(&said).len() <= most, "{:?}", said);
            }
        }
    }
}
