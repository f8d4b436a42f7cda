//! `fact`: one date, number, name or project out of a text, by rules.

use serde::{Deserialize, Serialize};

use super::words::words;
use super::{dates, entities, numbers};

/// Which fact is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A day, a span of days, a year.
    Date,
    /// A quantity.
    Number,
    /// A person.
    Name,
    /// A project.
    Project,
}

/// The first fact of that kind.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Fact {
    /// As it stands in the text; none: the text has no such fact.
    pub value: Option<String>,
    /// Of a date: the day, where the text tells day, month and year.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iso: Option<String>,
    /// Of a number: what it comes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<f64>,
}

/// Finds it.
pub fn fact(text: &str, kind: Kind) -> Fact {
    match kind {
        Kind::Date => {
            let words = words(text);
            let dates = dates::dates(text, &words);
            let Some(first) = dates.first() else { return Fact::default() };
            let iso = first.day.map(|day| day.to_string());
            Fact { value: Some(text[first.at.clone()].to_owned()), iso, number: None }
        }
        Kind::Number => {
            let words = words(text);
            let numbers = numbers::numbers(text, &words, &dates::dates(text, &words));
            let Some(first) = numbers.first() else { return Fact::default() };
            Fact { value: Some(text[first.at.clone()].to_owned()), iso: None, number: Some(first.value) }
        }
        Kind::Name => Fact { value: entities::entities(text).names.into_iter().next(), ..Fact::default() },
        Kind::Project => Fact { value: entities::entities(text).project, ..Fact::default() },
    }
}
