//! What chat front ends ask for themselves behind their user's back, and how they want it.

/// A background ask, known by the words that front ends ship (Open WebUI's templates, and the title prompts of others).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chore {
    /// A title for the conversation.
    Title,
    /// Tags for it.
    Tags,
    /// What its user may ask next.
    FollowUps,
    /// What to look up.
    Queries,
    /// How the line that is being typed may go on.
    Completion,
}

/// Looked for in the beginning of the prompt, the first that is found.
const SIGNS: [(&str, Chore); 9] = [
    ("autocompletion", Chore::Completion),
    ("follow-up", Chore::FollowUps),
    ("follow_ups", Chore::FollowUps),
    ("search queries", Chore::Queries),
    ("search query", Chore::Queries),
    (" tags", Chore::Tags),
    ("title", Chore::Title),
    ("3-5 word phrase", Chore::Title),
    ("3-5 word summary", Chore::Title),
];
/// So much of a prompt says what is wanted.
const HEAD: usize = 400;

impl Chore {
    /// What a harness prompt asks for, if it is one of these.
    pub fn of(text: &str) -> Option<Self> {
        let at = text.find("### Task:").unwrap_or(0);
        let rest = text.get(at..)?;
        let head = rest[..rest.floor_char_boundary(HEAD.min(rest.len()))].to_lowercase();
        let first = SIGNS.iter().filter_map(|(sign, chore)| Some((head.find(sign)?, *chore)));
        first.min_by_key(|(at, _)| *at).map(|(_, chore)| chore)
    }

    /// As in headers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Tags => "tags",
            Self::FollowUps => "follow-ups",
            Self::Queries => "queries",
            Self::Completion => "completion",
        }
    }

    /// The member of the JSON object that the front end reads.
    pub fn member(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Tags => "tags",
            Self::FollowUps => "follow_ups",
            Self::Queries => "queries",
            Self::Completion => "text",
        }
    }
}

/// Whether a background prompt wants its reply as JSON.
pub fn wants_json(text: &str) -> bool {
    text.contains("JSON")
}

/// What was said first in the conversation that a background prompt quotes.
pub fn first_said(text: &str) -> Option<&str> {
    let from = text.find("<chat_history>").map(|at| at + "<chat_history>".len());
    let to = text.rfind("</chat_history>");
    let history = text.get(from?..to?)?.trim();
    let said = history.strip_prefix("USER:").or_else(|| history.strip_prefix("User:")).unwrap_or(history);
    let end = ["\nASSISTANT:", "\nAssistant:"].iter().filter_map(|mark| said.find(mark)).min();
    Some(said[..end.unwrap_or(said.len())].trim()).filter(|said| !said.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_ends_are_known_by_their_templates() {
        for (text, chore) in [
            (
                "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.",
                Some(Chore::Title),
            ),
            (
                "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history",
                Some(Chore::Tags),
            ),
            (
                "### Task:\nSuggest 3-5 relevant follow-up questions or prompts that the user might ask",
                Some(Chore::FollowUps),
            ),
            (
                "### Task:\nYou are an autocompletion system. Continue the text in `<text>`",
                Some(Chore::Completion),
            ),
            (
                "### Task:\nAnalyze the chat history to determine the necessity of generating search queries",
                Some(Chore::Queries),
            ),
            ("Create a concise, 3-5 word phrase as a header for the following query", Some(Chore::Title)),
            ("### Task:\nRespond to the user query using the provided context", None),
        ] {
            assert_eq!(Chore::of(text), chore, "{text}");
        }
    }

    #[test]
    fn the_first_word_of_a_conversation_is_found() {
        let text =
            "### Task:\n…\n<chat_history>\nUSER: почему небо голубое\nASSISTANT: Потому что\n</chat_history>";
        assert_eq!(first_said(text), Some("почему небо голубое"));
        assert_eq!(first_said("no history"), None);
        assert_eq!(first_said("</chat_history><chat_history>"), None);
    }
}
