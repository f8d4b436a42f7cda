//! What chat front ends ask for themselves behind their user's back, and how they want it.

use super::envelope::TITLES;

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
/// What they put the conversation between.
const HISTORY: (&str, &str) = ("<chat_history>", "</chat_history>");
/// So much of a prompt says what is wanted.
const HEAD: usize = 400;

impl Chore {
    /// What a harness prompt asks for, if it is one of these.
    pub fn of(text: &str) -> Option<Self> {
        let at = text.find("### Task:").unwrap_or(0);
        let rest = text.get(at..)?;
        let head = rest[..rest.floor_char_boundary(HEAD.min(rest.len()))].to_lowercase();
        let first = SIGNS.iter().filter_map(|(sign, chore)| Some((head.find(sign)?, *chore)));
        let (_, chore) = first.min_by_key(|(at, _)| *at)?;
        let bare = rest.strip_prefix("### Task:").unwrap_or(rest).trim_start();
        // A person may begin with "### Task:", too, and ask for tags; the frame is the front end's.
        let framed = match chore {
            Self::Completion => text.contains("<text>"),
            Self::Title if TITLES.iter().any(|opening| bare.starts_with(opening)) => true,
            _ => text.contains(HISTORY.0),
        };
        framed.then_some(chore)
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

/// Whether a background prompt wants its reply as JSON, whatever the conversation that it quotes is about.
pub fn wants_json(text: &str) -> bool {
    match (text.find(HISTORY.0), text.rfind(HISTORY.1)) {
        (Some(from), Some(to)) if from < to => text[..from].contains("JSON") || text[to..].contains("JSON"),
        _ => text.contains("JSON"),
    }
}

/// What was said first in the conversation that a background prompt quotes.
pub fn first_said(text: &str) -> Option<&str> {
    let from = text.find(HISTORY.0).map(|at| at + HISTORY.0.len());
    let to = text.rfind(HISTORY.1);
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
                "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n<chat_history>…",
                Some(Chore::Title),
            ),
            (
                "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history\n<chat_history>…",
                Some(Chore::Tags),
            ),
            (
                "### Task:\nSuggest 3-5 relevant follow-up questions or prompts that the user might ask\n<chat_history>…",
                Some(Chore::FollowUps),
            ),
            (
                "### Task:\nYou are an autocompletion system. Continue the text in `<text>`",
                Some(Chore::Completion),
            ),
            (
                "### Task:\nAnalyze the chat history to determine the necessity of generating search queries\n<chat_history>…",
                Some(Chore::Queries),
            ),
            ("Create a concise, 3-5 word phrase as a header for the following query", Some(Chore::Title)),
            ("### Task:\nWrite a Rust function that parses HTML tags into JSON", None),
            ("### Task:\nRespond to the user query using the provided context", None),
        ] {
            assert_eq!(Chore::of(text), chore, "{text}");
        }
    }

    #[test]
    fn what_is_quoted_does_not_say_how_to_reply() {
        let of = |text: &str| wants_json(text);
        assert!(!of("Write a title.\n<chat_history>\nUSER: how do I parse JSON?\n</chat_history>"));
        assert!(of("Write a title.\n<chat_history>\nUSER: hi\n</chat_history>\nReply with JSON."));
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
