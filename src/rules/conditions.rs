//! When a rule holds, compiled.

use std::fmt;

use super::Facts;
use super::bounds::{Bounds, Glob};
use super::keywords::KeywordId;
use super::patterns::PatternId;
use crate::ask::Has;
use crate::dialect::Family;
use crate::text::Language;

/// When a rule holds. An empty list asks nothing.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) any: Box<[KeywordId]>,
    pub(crate) all: Box<[KeywordId]>,
    pub(crate) none: Box<[KeywordId]>,
    pub(crate) regex: Box<[PatternId]>,
    pub(crate) words: Bounds,
    pub(crate) when: When,
    pub(crate) only: bool,
}

impl Conditions {
    /// Whether keywords have a say in it.
    pub(crate) fn look_at_keywords(&self) -> bool {
        self.only || [&self.any, &self.all, &self.none].into_iter().any(|ids| !ids.is_empty())
    }

    /// A keyword or a pattern is enough: nothing is asked of what else is there, or of the request.
    pub(crate) fn asks_only_for_text(&self) -> bool {
        !self.only && self.words == Bounds::default() && self.when == When::default()
    }
}

/// What a rule asks of the request besides its text. An empty list asks nothing.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct When {
    pub(crate) turns: Bounds,
    pub(crate) models: Box<[Glob]>,
    pub(crate) families: Box<[Family]>,
    pub(crate) has: Box<[Has]>,
    pub(crate) languages: Box<[Language]>,
}

impl When {
    pub(crate) fn holds(&self, facts: &Facts<'_>) -> bool {
        self.turns.contains(facts.turns)
            && (self.models.is_empty() || self.models.iter().any(|glob| glob.matches(facts.model)))
            && (self.families.is_empty() || self.families.contains(&facts.family))
            && (self.has.is_empty() || self.has.iter().any(|has| facts.has.contains(*has)))
            && (self.languages.is_empty() || self.languages.contains(&facts.language))
    }
}

/// What made a rule match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By<'s> {
    /// A keyword of `any` or `all`, folded.
    Keyword(&'s str),
    /// A pattern of `regex`.
    Regex(&'s str),
    /// The message is one of the answer's examples.
    Example,
    /// Only conditions on the request or the number of words.
    Conditions,
}

impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keyword(text) => write!(f, "keyword \"{text}\""),
            Self::Regex(pattern) => write!(f, "regex {pattern}"),
            Self::Example => f.write_str("example"),
            Self::Conditions => f.write_str("conditions"),
        }
    }
}
