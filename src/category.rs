//! The words for what an ask is about: the router's categories and the classifier's labels.

use std::fmt;

/// What an ask is about. Decides its route and model.
///
/// A name, interned for the life of the process: five are built in, more come from `[categories.<name>]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Category(&'static str);

impl Category {
    /// Life support: greetings, thanks, "what can you do", health. Answered here.
    pub const FAST: Self = Self("fast");
    /// About records, metrics, tables.
    pub const DATA_QUESTION: Self = Self("data_question");
    /// Programming.
    pub const CODING: Self = Self("coding");
    /// Maths, logic, analysis, comparison, planning.
    pub const REASONING: Self = Self("reasoning");
    /// Everything else, and everything undecided.
    pub const GENERAL: Self = Self("general");
    /// The categories that exist without any config.
    pub const BUILT_IN: [Self; 5] =
        [Self::FAST, Self::DATA_QUESTION, Self::CODING, Self::REASONING, Self::GENERAL];

    /// A category of that name. Called for names in the config only, so that what it leaks is bounded by
    /// the config's length.
    pub fn intern(name: &str) -> Self {
        Self::BUILT_IN
            .into_iter()
            .find(|c| c.0 == name)
            .unwrap_or_else(|| Self(Box::leak(name.to_owned().into_boxed_str())))
    }

    /// The name, as it stands in headers, metrics and rules.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What the classifier may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    /// Social talk: hello, thanks, goodbye, how are you, who are you, what can you do, are you alive.
    Greeting,
    /// About records, metrics, tables.
    DataQuestion,
    /// Programming.
    Coding,
    /// Maths, logic, analysis, comparison, planning.
    Reasoning,
    /// Everything else.
    General,
}

impl Label {
    /// In the order of the model's outputs.
    pub const ALL: [Self; 5] =
        [Self::Greeting, Self::DataQuestion, Self::Coding, Self::Reasoning, Self::General];

    /// The name in labelled files and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::DataQuestion => "data_question",
            Self::Coding => "coding",
            Self::Reasoning => "reasoning",
            Self::General => "general",
        }
    }

    /// The label of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.name() == name)
    }

    /// The category that it stands for.
    pub fn category(self) -> Category {
        match self {
            Self::Greeting => Category::FAST,
            Self::DataQuestion => Category::DATA_QUESTION,
            Self::Coding => Category::CODING,
            Self::Reasoning => Category::REASONING,
            Self::General => Category::GENERAL,
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_names_are_not_interned_twice() {
        assert_eq!(Category::intern("coding"), Category::CODING);
        assert_eq!(Category::intern("legal"), Category::intern("legal"));
    }

    #[test]
    fn every_label_finds_itself_by_name() {
        for label in Label::ALL {
            assert_eq!(Label::of(label.name()), Some(label));
        }
    }
}
