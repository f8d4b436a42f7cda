//! Rules and answers as they stand in a file: typed and placed, nothing looked up yet.

use std::ops::Range;

use toml::de::DeTable;

use super::bounds::Bounds;
use super::file::Source;
use super::table::{Key, Placed, Reader, Value};
use crate::problem::Problem;

const FILE_KEYS: [&str; 4] = ["rule", "answer", "filler", "doubt"];
const RULE_KEYS: [&str; 14] = [
    "name", "category", "answer", "model", "upstream", "refuse", "priority", "any", "all", "none", "regex",
    "words", "when", "only",
];
const MATCH_KEYS: [&str; 7] = ["any", "all", "none", "regex", "words", "when", "only"];
const WHEN_KEYS: [&str; 5] = ["turns", "model", "dialect", "has", "language"];
const ANSWER_KEYS: [&str; 9] =
    ["name", "priority", "match", "examples", "covers", "strict", "ru", "en", "any two-letter language code"];

/// All that the files say.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    pub(crate) rules: Vec<RawRule>,
    pub(crate) answers: Vec<RawAnswer>,
    /// With the index of their file.
    pub(crate) fillers: Vec<(usize, Placed<String>)>,
    /// With the index of their file.
    pub(crate) doubts: Vec<(usize, Placed<String>)>,
    /// A file was no TOML: what it would have defined is not known.
    pub(crate) incomplete: bool,
}

/// `[[rule]]`
#[derive(Debug, Default)]
pub(crate) struct RawRule {
    /// Index of its file.
    pub(crate) source: usize,
    /// Where its header stands.
    pub(crate) at: usize,
    pub(crate) name: Option<Placed<String>>,
    pub(crate) category: Option<Placed<String>>,
    pub(crate) answer: Option<Placed<String>>,
    pub(crate) model: Option<Placed<String>>,
    pub(crate) upstream: Option<Placed<String>>,
    pub(crate) refuse: Option<Placed<String>>,
    pub(crate) priority: Option<i32>,
    pub(crate) conditions: RawConditions,
    /// A name was written, be it a wrong one.
    pub(crate) has_name: bool,
    /// An effect was written, be it a wrong one.
    pub(crate) has_effect: bool,
}

/// The keys by which a rule, or an answer's `match`, says when it holds.
#[derive(Debug, Default)]
pub(crate) struct RawConditions {
    pub(crate) any: Vec<Placed<String>>,
    pub(crate) all: Vec<Placed<String>>,
    pub(crate) none: Vec<Placed<String>>,
    pub(crate) regex: Vec<Placed<String>>,
    pub(crate) words: Option<Bounds>,
    pub(crate) when: RawWhen,
    pub(crate) only: bool,
    /// A condition was written, be it a wrong one: "no condition" would be a second, misleading complaint.
    pub(crate) given: bool,
}

/// `when = { … }`
#[derive(Debug, Default)]
pub(crate) struct RawWhen {
    pub(crate) turns: Option<Bounds>,
    pub(crate) model: Vec<Placed<String>>,
    pub(crate) dialect: Vec<Placed<String>>,
    pub(crate) has: Vec<Placed<String>>,
    pub(crate) language: Vec<Placed<String>>,
}

/// `[[answer]]`
#[derive(Debug, Default)]
pub(crate) struct RawAnswer {
    /// Index of its file.
    pub(crate) source: usize,
    /// Where its header stands.
    pub(crate) at: usize,
    pub(crate) name: Option<Placed<String>>,
    pub(crate) priority: Option<i32>,
    pub(crate) conditions: Option<(usize, RawConditions)>,
    pub(crate) examples: Vec<Placed<String>>,
    pub(crate) covers: Vec<Placed<String>>,
    pub(crate) strict: bool,
    /// Language code and its texts, in the order of the file.
    pub(crate) texts: Vec<(String, Vec<Placed<String>>)>,
    /// A name was written, be it a wrong one.
    pub(crate) has_name: bool,
    /// A text was written, be it a wrong one.
    pub(crate) has_text: bool,
}

impl Raw {
    pub(crate) fn read(sources: &[Source], problems: &mut Vec<Problem>) -> Self {
        let mut raw = Self::default();
        for (index, source) in sources.iter().enumerate().filter(|(_, source)| !source.teaches()) {
            let mut reader = Reader { source, problems };
            match reader.document() {
                None => raw.incomplete = true,
                Some(table) => raw.add(index, &table, &mut reader),
            }
        }
        raw
    }

    fn add(&mut self, source: usize, table: &DeTable<'_>, reader: &mut Reader<'_>) {
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "rule" => {
                    let tables = reader.tables(key, value);
                    self.rules.extend(tables.into_iter().map(|(at, t)| RawRule::read(source, at, t, reader)));
                }
                "answer" => {
                    let tables = reader.tables(key, value);
                    self.answers
                        .extend(tables.into_iter().map(|(at, t)| RawAnswer::read(source, at, t, reader)));
                }
                "filler" => {
                    self.fillers.extend(reader.strings(key, value).into_iter().map(|f| (source, f)));
                }
                "doubt" => {
                    self.doubts.extend(reader.strings(key, value).into_iter().map(|d| (source, d)));
                }
                _ => reader.unknown_key(key, "a rules file", &FILE_KEYS),
            }
        }
    }
}

impl RawRule {
    fn read(source: usize, at: Range<usize>, table: &DeTable<'_>, reader: &mut Reader<'_>) -> Self {
        let mut rule = Self { source, at: at.start, ..Self::default() };
        let has = |keys: &[&str]| keys.iter().any(|key| table.contains_key(*key));
        rule.has_name = has(&["name"]);
        rule.has_effect = has(&["category", "answer", "model", "upstream", "refuse"]);
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "name" => rule.name = reader.string(key, value),
                "category" => rule.category = reader.string(key, value),
                "answer" => rule.answer = reader.string(key, value),
                "model" => rule.model = reader.string(key, value),
                "upstream" => rule.upstream = reader.string(key, value),
                "refuse" => rule.refuse = reader.string(key, value),
                "priority" => rule.priority = reader.integer(key, value),
                _ if rule.conditions.take(key, value, reader) => {}
                _ => reader.unknown_key(key, "a rule", &RULE_KEYS),
            }
        }
        rule
    }
}

impl RawConditions {
    /// `false` if the key is no condition.
    fn take(&mut self, key: &Key<'_>, value: &Value<'_>, reader: &mut Reader<'_>) -> bool {
        match key.get_ref().as_ref() {
            "any" => self.any = reader.strings(key, value),
            "all" => self.all = reader.strings(key, value),
            "none" => self.none = reader.strings(key, value),
            "regex" => self.regex = reader.strings(key, value),
            "words" => self.words = reader.bounds(key, value),
            "when" => self.when = RawWhen::read(key, value, reader),
            "only" => {
                self.only = reader.boolean(key, value);
                // Alone it would match every message of fillers and other rules' keywords.
                return true;
            }
            _ => return false,
        }
        let empty = value.get_ref().as_array().is_some_and(|list| list.is_empty())
            || value.get_ref().as_table().is_some_and(|table| table.is_empty());
        self.given |= !empty;
        true
    }
}

impl RawWhen {
    fn read(key: &Key<'_>, value: &Value<'_>, reader: &mut Reader<'_>) -> Self {
        let mut when = Self::default();
        let Some(table) = reader.table(key, value) else { return when };
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "turns" => when.turns = reader.bounds(key, value),
                "model" => when.model = reader.strings(key, value),
                "dialect" => when.dialect = reader.strings(key, value),
                "has" => when.has = reader.strings(key, value),
                "language" => when.language = reader.strings(key, value),
                _ => reader.unknown_key(key, "`when`", &WHEN_KEYS),
            }
        }
        when
    }
}

impl RawAnswer {
    fn read(source: usize, at: Range<usize>, table: &DeTable<'_>, reader: &mut Reader<'_>) -> Self {
        let mut answer =
            Self { source, at: at.start, has_name: table.contains_key("name"), ..Self::default() };
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "name" => answer.name = reader.string(key, value),
                "priority" => answer.priority = reader.integer(key, value),
                "examples" => answer.examples = reader.strings(key, value),
                "covers" => answer.covers = reader.strings(key, value),
                "strict" => answer.strict = reader.boolean(key, value),
                "match" => {
                    let mut conditions =
                        RawConditions { given: !value.get_ref().is_table(), ..RawConditions::default() };
                    for (inner, value) in reader.table(key, value).into_iter().flatten() {
                        if !conditions.take(inner, value, reader) {
                            reader.unknown_key(inner, "`match`", &MATCH_KEYS);
                        }
                    }
                    answer.conditions = Some((key.span().start, conditions));
                }
                code if code.len() == 2 && code.bytes().all(|b| b.is_ascii_lowercase()) => {
                    answer.has_text = true;
                    let texts = reader.strings(key, value);
                    if value.get_ref().as_array().is_some_and(|list| list.is_empty()) {
                        reader.problem(value.span().start, format!("`{code}` has no text"));
                    }
                    answer.texts.push((code.to_owned(), texts));
                }
                _ => reader.unknown_key(key, "an answer", &ANSWER_KEYS),
            }
        }
        // In the order of the file, which "the first text" refers to; the parser sorts keys by name.
        answer.texts.sort_by_key(|(_, texts)| texts.first().map_or(usize::MAX, |t| t.span().start));
        answer
    }
}
