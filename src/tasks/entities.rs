//! `entities`: the people, the project and the dates that a text names, by rules.

use serde::Serialize;

use super::words::words;
use super::{dates, names, project};

/// What a text names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entities {
    /// People, as they stand in the text, each once.
    pub names: Vec<String>,
    /// The project.
    pub project: Option<String>,
    /// Dates, as they stand in the text, each once.
    pub dates: Vec<String>,
}

/// Finds them.
pub fn entities(text: &str) -> Entities {
    let words = words(text);
    let dates = dates::dates(text, &words);
    let project = project::project(text, &words);
    let mut taken: Vec<_> = dates.iter().map(|date| date.at.clone()).collect();
    if let Some(at) = project.as_deref().and_then(|name| text.find(name).map(|from| from..from + name.len()))
    {
        taken.push(at);
    }
    let mut told: Vec<String> = Vec::new();
    for date in &dates {
        let date = text[date.at.clone()].to_owned();
        if !told.contains(&date) {
            told.push(date);
        }
    }
    Entities { names: names::names(text, &words, &taken), project, dates: told }
}
