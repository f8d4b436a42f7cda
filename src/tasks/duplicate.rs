//! `duplicate`: whether two texts say the same: words and letters they share, what contradicts, and, where the
//! classifier's encoder is loaded, how near their embeddings are.

use std::collections::{BTreeSet, HashSet};

use serde::Serialize;

use super::words::{Word, words};
use crate::text::fold;

/// How far two texts say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sameness {
    /// One can be dropped.
    Yes,
    /// They share a part, or what is said of one thing differs.
    Partly,
    /// They do not.
    No,
}

/// The candidate that is most like a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Match {
    /// How far.
    pub label: Sameness,
    /// Which; none if none is like it.
    #[serde(rename = "match")]
    pub index: Option<usize>,
    /// Of the best candidate, 0 to 1.
    pub score: f32,
}

/// From this score on it is a duplicate.
const YES_FROM: f32 = 0.5;
/// From this score on a part is shared.
const PARTLY_FROM: f32 = 0.25;

const FEATURES: usize = 8;
/// Logistic, fitted to Koziev's paraphrases (CC0), to the same with one word replaced, and to the half of our own pairs
/// that may be looked at; only what numbers weigh was set by hand, since no pair there differs in them alone.
const WITH_ENCODER: [f32; FEATURES + 1] = [-6.87, 4.25, 2.61, 1.92, 0.75, -3.0, -1.38, -2.61, -0.87];
const WITHOUT: [f32; FEATURES + 1] = [-6.29, 4.27, 2.63, 2.01, 0.0, -3.0, -1.4, -2.63, -0.87];

/// Stems that mean nearly the same in everyday asks; a short one is a whole word.
const ALIKE: &[&[&str]] = &[
    &["купи", "приобре", "закаж", "заказ", "buy", "purchase", "order"],
    &["стоим", "стоит", "цена", "цены", "цену", "price", "cost", "costs"],
    &["исправ", "почин", "поправ", "fix", "correct", "repair"],
    &["слома", "broken", "broke", "поломан", "down"],
    &["удали", "удале", "стере", "убери", "убрат", "delete", "remove", "erase"],
    &["созда", "сдела", "create", "make", "build"],
    &["отправ", "пошли", "пришли", "send", "sent", "forward"],
    &["начин", "начнет", "начал", "старт", "start", "starts", "begin", "begins"],
    &["брони", "бронь", "брон", "заброн", "book", "reserve", "booking", "reservation"],
    &["посове", "рекоме", "порек", "recommend", "suggest", "advise"],
    &["перево", "переве", "translate", "translation", "translated"],
    &["настро", "устано", "configure", "setup", "install"],
    &["покаж", "показа", "выведи", "show", "display", "list"],
    &["напис", "напиш", "состав", "write", "compose", "draft"],
    &["найди", "найти", "поиск", "ищу", "find", "search", "locate"],
    &["узна", "выясн", "расска", "скаж", "tell"],
    &["быстр", "скоро", "quick", "quickly", "fast", "faster", "soon"],
    &["пригот", "сварит", "рецеп", "cook", "recipe"],
    &["отмен", "cancel", "cancellation"],
    &["помен", "замен", "смени", "измен", "change", "replace", "switch"],
    &["обнов", "апдейт", "update", "upgrade", "updated"],
    &["телеф", "смартф", "phone", "smartphone"],
    &["ноутб", "лапто", "laptop", "notebook"],
    &["маме", "мама", "маму", "мамой", "mom", "mum", "mother"],
    &["фильм", "кино", "movie", "film"],
    &["скача", "загру", "download"],
    &["пароль", "пароля", "password", "passcode"],
    &["сброс", "reset"],
    &["закон", "оконч", "finish", "complete", "end"],
    &["подгот", "prepare", "preparation"],
    &["когда", "when", "сколь"],
    &["войти", "вход", "зайти", "login", "log"],
];

/// Words whose presence on one side only turns the meaning round.
const TURNS: &[&str] = &[
    "не",
    "нет",
    "без",
    "ни",
    "никогда",
    "нельзя",
    "not",
    "no",
    "never",
    "without",
    "cannot",
    "don",
    "doesn",
    "didn",
    "isn",
    "won",
    "can't",
    "aren",
    "включи",
    "выключи",
    "открой",
    "закрой",
    "on",
    "off",
    "отмени",
];
const COMMON: &[&str] = &[
    "нужно",
    "надо",
    "можно",
    "может",
    "могу",
    "можешь",
    "получается",
    "получилось",
    "сделай",
    "сделать",
    "сделал",
    "хочу",
    "помоги",
    "давай",
    "дай",
    "есть",
    "был",
    "была",
    "быть",
    "бы",
    "need",
    "needs",
    "want",
    "make",
    "makes",
    "get",
    "able",
    "unable",
    "there",
    "please",
    "should",
    "must",
    "will",
    "be",
    "has",
    "have",
    "let",
    "us",
    "time",
    "way",
    "any",
    "some",
    "и",
    "в",
    "во",
    "на",
    "с",
    "со",
    "а",
    "но",
    "к",
    "у",
    "о",
    "по",
    "за",
    "из",
    "от",
    "до",
    "для",
    "же",
    "ли",
    "бы",
    "то",
    "это",
    "мне",
    "я",
    "мы",
    "ты",
    "вы",
    "он",
    "она",
    "пожалуйста",
    "please",
    "the",
    "a",
    "an",
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
    "be",
    "it",
    "this",
    "that",
    "i",
    "you",
    "my",
    "me",
    "we",
    "do",
    "does",
    "can",
    "could",
    "would",
    "how",
    "what",
    "and",
    "or",
    "как",
    "что",
    "так",
    "там",
    "our",
    "your",
    "s",
    "t",
];

/// The best candidate for a text. `cosines` are those of the embeddings, one for each candidate, if there are any.
pub fn best(text: &str, candidates: &[String], cosines: Option<&[f32]>) -> Match {
    let mut best = Match { label: Sameness::No, index: None, score: 0.0 };
    for (index, candidate) in candidates.iter().enumerate() {
        let score = score(text, candidate, cosines.and_then(|all| all.get(index)).copied());
        if score > best.score {
            best = Match { label: label(score), index: Some(index), score };
        }
    }
    best.index = best.index.filter(|_| best.label != Sameness::No);
    best
}

fn label(score: f32) -> Sameness {
    if score >= YES_FROM {
        Sameness::Yes
    } else if score >= PARTLY_FROM {
        Sameness::Partly
    } else {
        Sameness::No
    }
}

/// How much both say the same: from [`YES_FROM`] on they do; below, what they share counts.
pub(crate) fn score(one: &str, other: &str, cosine: Option<f32>) -> f32 {
    let same_words =
        |a: &str, b: &str| words(a).into_iter().map(|w| w.low).eq(words(b).into_iter().map(|w| w.low));
    if fold(one) == fold(other) || (same_words(one, other) && !words(one).is_empty()) {
        return 1.0;
    }
    let [start, weights @ ..] = if cosine.is_some() { WITH_ENCODER } else { WITHOUT };
    let seen = features(one, other, cosine);
    let sum: f32 = seen.iter().zip(weights).map(|(feature, weight)| feature * weight).sum();
    let same = 1.0 / (1.0 + (-(start + sum)).exp());
    let [_, contained, letters, ..] = seen;
    if same >= YES_FROM { same } else { (0.9 * contained).max(letters).min(0.99) / 2.0 }
}

/// What both have in common, and what not, each 0 to 1.
pub(crate) fn features(one: &str, other: &str, cosine: Option<f32>) -> [f32; FEATURES] {
    let (a, b) = (Seen::of(one), Seen::of(other));
    let shared = a.stems.intersection(&b.stems).count() as f32;
    let union = a.stems.union(&b.stems).count().max(1) as f32;
    let smaller = a.stems.len().min(b.stems.len()).max(1) as f32;
    let grams = a.grams.intersection(&b.grams).count() as f32;
    let all_grams = (a.grams.len() + b.grams.len()).max(1) as f32;
    let (only_a, only_b) = (a.stems.len() as f32 - shared, b.stems.len() as f32 - shared);
    let differs = |is: bool| f32::from(u8::from(is));
    [
        shared / union,
        shared / smaller,
        2.0 * grams / all_grams,
        cosine.unwrap_or(0.0),
        differs(a.numbers != b.numbers),
        differs(a.turns != b.turns),
        only_a.min(only_b) / smaller,
        (only_a - only_b).abs() / smaller,
    ]
}

/// What is compared of a text.
struct Seen {
    stems: HashSet<String>,
    grams: HashSet<String>,
    numbers: BTreeSet<String>,
    turns: bool,
}

impl Seen {
    fn of(text: &str) -> Self {
        let words = words(text);
        let turn = |low: &str| TURNS.contains(&low);
        let is_own = |w: &&Word<'_>| !w.digits && !COMMON.contains(&w.low.as_str()) && !turn(&w.low);
        let own: Vec<&str> = words.iter().filter(is_own).map(|w| w.low.as_str()).collect();
        let padded = own.iter().map(|low| format!(" {low} ").chars().collect::<Vec<char>>());
        let grams =
            padded.flat_map(|w| w.windows(3).map(|gram| gram.iter().collect()).collect::<Vec<String>>());
        Self {
            stems: own.iter().map(|low| stem(low)).collect(),
            grams: grams.collect(),
            numbers: words.iter().filter(|w| w.digits).map(|w| w.low.clone()).collect(),
            turns: words.iter().any(|w| turn(&w.low)),
        }
    }
}

/// A word's first letters, or what stands for all that mean the same.
fn stem(low: &str) -> String {
    let is = |stem: &&str| if stem.chars().count() <= 4 { low == *stem } else { low.starts_with(stem) };
    let alike = ALIKE.iter().find(|group| group.iter().any(is));
    let kept = alike.and_then(|group| group.first()).copied();
    kept.map_or_else(|| low.chars().take(5).collect(), |first| format!("={first}"))
}

/// The cosine of two vectors; 0 if they cannot be compared.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    let norm = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    let product = norm(a) * norm(b);
    if a.len() == b.len() && product > 0.0 { dot / product } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_numbers_do() {
        let same = |a: &str, b: &str| label(score(a, b, None));
        assert_eq!(same("купи молоко сегодня", "сегодня купи молоко"), Sameness::Yes);
        assert_eq!(same("Купи молоко!", "купи молоко"), Sameness::Yes);
        assert_eq!(same("напиши отчёт о продажах", "почему небо голубое"), Sameness::No);
        assert_ne!(same("переведи 500 рублей маме", "переведи 700 рублей маме"), Sameness::Yes);
    }

    #[test]
    fn the_best_candidate_is_named() {
        let found =
            best("как настроить nginx", &["погода в москве".into(), "настроить nginx как".into()], None);
        assert_eq!((found.label, found.index), (Sameness::Yes, Some(1)));
        assert_eq!(best("один", &[], None).index, None);
    }
}
