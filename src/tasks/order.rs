//! What a task is asked: read from JSON, checked at the border.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::fact::Kind;
use super::{Refused, Task};

/// A text may have so many bytes.
pub const MOST_BYTES: usize = 64 * 1024;
/// A batch may have so many texts.
pub const MOST_TEXTS: usize = 256;
/// What `duplicate` compares at most, in bytes of all its pairs: a second or two, and it cannot be broken off.
pub const MOST_COMPARED: usize = 16 * 1024 * 1024;

/// A task with all that it needs.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// `intent`; one text, or a batch.
    Intent(OneOrMany),
    /// `complexity`
    Complexity(String),
    /// `entities`
    Entities(String),
    /// `clarify`
    Clarify(String),
    /// `summary`
    Summary {
        /// Of this.
        text: String,
        /// At most so many.
        sentences: usize,
    },
    /// `duplicate`; one text, or a batch, against the same candidates.
    Duplicate {
        /// What may have been said.
        texts: OneOrMany,
        /// Before.
        candidates: Vec<String>,
    },
    /// `normalize`
    Normalize {
        /// A list.
        text: String,
        /// At most so many are kept.
        max_items: usize,
    },
    /// `fact`
    Fact {
        /// Out of this.
        text: String,
        /// Which.
        kind: Kind,
    },
    /// `safety`
    Safety(String),
    /// `title`
    Title(String),
    /// `embed`
    Embed(Vec<String>),
}

/// One text, or several whose results come as a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OneOrMany {
    /// `text`
    One(String),
    /// `texts`
    Many(Vec<String>),
}

impl OneOrMany {
    /// All of them.
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    text: Option<String>,
    texts: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Summary {
    text: String,
    #[serde(default = "two")]
    sentences: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Duplicate {
    text: Option<String>,
    texts: Option<Vec<String>>,
    candidates: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Normalize {
    text: String,
    #[serde(default = "five")]
    max_items: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fact {
    text: String,
    kind: Kind,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Embed {
    input: Input,
}

fn two() -> usize {
    2
}

fn five() -> usize {
    5
}

impl Order {
    /// Reads a request's body.
    ///
    /// # Errors
    /// What is wrong with it, and what is allowed.
    pub fn read(task: Task, body: &[u8]) -> Result<Self, Refused> {
        let plain = || Ok(parsed::<Plain>(body)?.text).and_then(checked);
        Ok(match task {
            Task::Intent => {
                let Batch { text, texts } = parsed(body)?;
                Self::Intent(batch(text, texts)?)
            }
            Task::Complexity => Self::Complexity(plain()?),
            Task::Entities => Self::Entities(plain()?),
            Task::Clarify => Self::Clarify(plain()?),
            Task::Summary => {
                let Summary { text, sentences } = parsed(body)?;
                if !(1..=2).contains(&sentences) {
                    return Err(bad(format!("\"sentences\" is {sentences}; allowed: 1 or 2")));
                }
                Self::Summary { text: checked(text)?, sentences }
            }
            Task::Duplicate => {
                let Duplicate { text, texts, candidates } = parsed(body)?;
                if candidates.is_empty() {
                    return Err(bad("\"candidates\" is empty; name at least one text".into()));
                }
                let (texts, candidates) = (batch(text, texts)?, all(candidates, "candidates")?);
                let bytes = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
                let compared = bytes(texts.all()).saturating_mul(candidates.len())
                    + bytes(&candidates).saturating_mul(texts.all().len());
                if compared > MOST_COMPARED {
                    return Err(bad(format!(
                        "each text with each candidate is {compared} bytes to compare; allowed: up to {MOST_COMPARED}"
                    )));
                }
                Self::Duplicate { texts, candidates }
            }
            Task::Normalize => {
                let Normalize { text, max_items } = parsed(body)?;
                if !(1..=1000).contains(&max_items) {
                    return Err(bad(format!("\"max_items\" is {max_items}; allowed: 1 to 1000")));
                }
                Self::Normalize { text: checked(text)?, max_items }
            }
            Task::Fact => {
                let Fact { text, kind } = parsed(body)?;
                Self::Fact { text: checked(text)?, kind }
            }
            Task::Safety => Self::Safety(plain()?),
            Task::Title => Self::Title(plain()?),
            Task::Embed => Self::Embed(match parsed::<Embed>(body)?.input {
                Input::One(text) => vec![checked(text)?],
                Input::Many(texts) if texts.is_empty() => return Err(bad("\"input\" is empty".into())),
                Input::Many(texts) => all(texts, "input")?,
            }),
        })
    }

    /// Which task it is.
    pub fn task(&self) -> Task {
        match self {
            Self::Intent(_) => Task::Intent,
            Self::Complexity(_) => Task::Complexity,
            Self::Entities(_) => Task::Entities,
            Self::Clarify(_) => Task::Clarify,
            Self::Summary { .. } => Task::Summary,
            Self::Duplicate { .. } => Task::Duplicate,
            Self::Normalize { .. } => Task::Normalize,
            Self::Fact { .. } => Task::Fact,
            Self::Safety(_) => Task::Safety,
            Self::Title(_) => Task::Title,
            Self::Embed(_) => Task::Embed,
        }
    }
}

fn bad(what: String) -> Refused {
    Refused::Bad(what)
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|e| bad(e.to_string()))
}

fn checked(text: String) -> Result<String, Refused> {
    match text.len() {
        _ if text.trim().is_empty() => Err(bad("\"text\" is blank".into())),
        0..=MOST_BYTES => Ok(text),
        bytes => Err(bad(format!("a text of {bytes} bytes; allowed: up to {MOST_BYTES}"))),
    }
}

fn all(texts: Vec<String>, field: &str) -> Result<Vec<String>, Refused> {
    if texts.len() > MOST_TEXTS {
        return Err(bad(format!("\"{field}\" has {} texts; allowed: up to {MOST_TEXTS}", texts.len())));
    }
    texts.into_iter().map(checked).collect()
}

fn batch(text: Option<String>, texts: Option<Vec<String>>) -> Result<OneOrMany, Refused> {
    match (text, texts) {
        (Some(text), None) => Ok(OneOrMany::One(checked(text)?)),
        (None, Some(texts)) if !texts.is_empty() => Ok(OneOrMany::Many(all(texts, "texts")?)),
        _ => Err(bad("either \"text\" or a list \"texts\" is needed".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(task: &str, body: &str) -> Result<Order, String> {
        Order::read(Task::of(task).unwrap(), body.as_bytes()).map_err(|refused| refused.to_string())
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        assert_eq!(read("summary", r#"{"text":"a"}"#), Ok(Order::Summary { text: "a".into(), sentences: 2 }));
        assert_eq!(
            read("normalize", r#"{"text":"a"}"#),
            Ok(Order::Normalize { text: "a".into(), max_items: 5 })
        );
        assert_eq!(read("embed", r#"{"input":"a"}"#), Ok(Order::Embed(vec!["a".into()])));
        let many = OneOrMany::Many(vec!["a".into(), "b".into()]);
        assert_eq!(read("intent", r#"{"texts":["a","b"]}"#), Ok(Order::Intent(many)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (task, body, said) in [
            ("intent", "{}", "either \"text\" or a list \"texts\" is needed"),
            ("intent", r#"{"text":"a","texts":["b"]}"#, "either \"text\""),
            ("title", r#"{"text":" "}"#, "\"text\" is blank"),
            ("title", r#"{"text":"a","size":1}"#, "unknown field `size`"),
            ("title", "[", "EOF"),
            ("summary", r#"{"text":"a","sentences":3}"#, "allowed: 1 or 2"),
            ("fact", r#"{"text":"a","kind":"colour"}"#, "unknown variant `colour`"),
            ("duplicate", r#"{"text":"a","candidates":[]}"#, "\"candidates\" is empty"),
            ("embed", r#"{"input":[]}"#, "\"input\" is empty"),
        ] {
            let error = read(task, body).unwrap_err();
            assert!(error.contains(said), "{task} {body}: {error}");
        }
        let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(MOST_BYTES + 1));
        assert!(read("title", &long).unwrap_err().contains("allowed: up to 65536"));
    }
}
