//! Answers that brainstem gives itself.
//!
//! Layout: `template` turns a text with live values into words, `example` is the form in which messages and
//! examples are compared, `fitting` picks an answer for a social message that no rule named, `doubt`
//! knows what speaks against it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use template::Templates;
pub use template::{LIVE_NAMES, Live, RenderError};

use crate::text::Language;

pub(crate) mod compile;
pub(crate) mod doubt;
pub(crate) mod example;
pub(crate) mod fitting;
pub(crate) mod template;

/// One answer: its texts per language.
pub struct Answer {
    /// As rules, headers and metrics name it.
    pub name: Arc<str>,
    /// As written: phrases that get this answer, and that may teach the classifier.
    pub examples: Vec<String>,
    /// Names of the answers that it can stand for, where it is clear that one of them is asked for, but not which.
    pub covers: Vec<Arc<str>>,
    /// Given on the classifier's word only for a message each of whose words stands in one of its examples: what it says
    /// of us could be asked of anything ("what can you tell me about bees").
    pub strict: bool,
    /// Language code and texts, at least one, in the order of the file.
    pub(crate) texts: Vec<(String, Vec<Text>)>,
    pub(crate) templates: Templates,
}

/// One text of an answer.
#[derive(Debug)]
pub(crate) enum Text {
    /// Said as it stands.
    Plain(String),
    /// The template of that name.
    Template(String),
}

impl Answer {
    /// The text for a reader of `language`: in that language, else in English, else in whatever there is.
    /// Among several the seed picks, so that a retry of one request repeats itself.
    pub fn render(
        &self,
        language: Language,
        seed: u64,
        live: &Live<'_>,
    ) -> Result<Cow<'_, str>, RenderError> {
        let of = |wanted: &str| self.texts.iter().find(|(code, _)| code == wanted);
        let (code, texts) = of(language.code())
            .or_else(|| of("en"))
            .or(self.texts.first())
            .map_or(("", &[][..]), |(code, texts)| (code.as_str(), texts.as_slice()));
        let pick = usize::try_from(seed % (texts.len().max(1) as u64)).unwrap_or(0);
        match texts.get(pick) {
            None => Ok(Cow::Borrowed("")),
            Some(Text::Plain(text)) => Ok(Cow::Borrowed(text)),
            Some(Text::Template(name)) => self.templates.render(name, code, live).map(Cow::Owned),
        }
    }

    /// A misunderstood ask would get a wrong answer, not just an idle one: it is strict, or states facts.
    pub fn is_about_us(&self) -> bool {
        self.strict || self.templates.state_facts()
    }

    /// The languages that it is written in.
    pub fn languages(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(|(code, _)| code.as_str())
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("name", &self.name).field("texts", &self.texts).finish_non_exhaustive()
    }
}
