//! What the light model does for asks on their way: a front end's background prompts, and small talk. What does not
//! hold is nothing, and the ask goes on as if nobody had tried.

use std::time::Instant;

use serde_json::{Value, json};

use super::{title, wording};
use crate::ask::{Chore, first_said, wants_json};
use crate::light::{Engine, Finish, Limits, Prompt};

/// So much of what was said first makes a title.
const SAID: usize = 4 * 1024;
/// A longer prompt is none for a light model; it would keep its thread in the tokenizer.
const LONGEST: usize = 32 * 1024;
/// No background reply needs more.
const MOST_TOKENS: usize = 200;
/// Nor does small talk.
const MOST_TALK: usize = 96;
const MANNERS: &str = "You are a friendly assistant. Reply to the user's small talk in one or two short sentences, in \
                       the user's language. State no facts and make no promises.";

/// A background prompt's reply in the form that the front end reads.
pub async fn chore(chore: Chore, text: &str, light: &Engine, deadline: Instant) -> Option<String> {
    let as_json = wants_json(text);
    if chore == Chore::Title {
        let said = first_said(text)?;
        let said = &said[..said.floor_char_boundary(SAID.min(said.len()))];
        let written = wording::title(light, said, deadline).await.ok().flatten();
        // The text's own words make a title, too.
        let title = written.or_else(|| title::title(said))?;
        return Some(if as_json { json!({"title": title}).to_string() } else { title });
    }
    if text.len() > LONGEST {
        return None;
    }
    let limits = Limits { max_tokens: MOST_TOKENS, ..Limits::default() };
    let written = light.write(&Prompt::of(text), &limits, deadline).await.ok()?;
    if as_json { object(chore, &written.text) } else { None }
}

/// The JSON object in what a model wrote, if it is what the front end reads, and nothing else.
fn object(chore: Chore, text: &str) -> Option<String> {
    let inside = text.get(text.find('{')?..=text.rfind('}')?)?;
    let value: Value = serde_json::from_str(inside).ok()?;
    let told = |value: &Value| value.as_str().is_some_and(|text| !text.trim().is_empty());
    let member = value.get(chore.member())?;
    let holds = match chore {
        Chore::Title | Chore::Completion => told(member),
        Chore::Tags | Chore::FollowUps => {
            member.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(told))
        }
        Chore::Queries => member.as_array().is_some_and(|all| all.iter().all(told)),
    };
    holds.then(|| json!({chore.member(): member}).to_string())
}

/// A reply to small talk, complete or none.
pub async fn small_talk(text: &str, light: &Engine, deadline: Instant) -> Option<String> {
    if text.len() > LONGEST {
        return None;
    }
    let limits = Limits { max_tokens: MOST_TALK, ..Limits::default() };
    let written = light.write(&Prompt::of(text).under(MANNERS), &limits, deadline).await.ok()?;
    let said = written.text.trim();
    (written.finish == Finish::Stop && !said.is_empty()).then(|| said.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_what_the_front_end_reads_gets_through() {
        for (chore, text, reply) in [
            (
                Chore::Tags,
                "Sure! {\"tags\": [\"Science\", \"Sky\"]} Done.",
                Some(r#"{"tags":["Science","Sky"]}"#),
            ),
            (Chore::Tags, "{\"tags\": []}", None),
            (Chore::Tags, "{\"tags\": \"Science\"}", None),
            (Chore::FollowUps, "{\"follow_ups\": [\"Why?\"]}", Some(r#"{"follow_ups":["Why?"]}"#)),
            (Chore::Queries, "{\"queries\": []}", Some(r#"{"queries":[]}"#)),
            (Chore::Completion, "} text {", None),
            (Chore::Completion, "no json", None),
        ] {
            assert_eq!(object(chore, text).as_deref(), reply, "{text}");
        }
    }

    #[tokio::test]
    async fn a_title_needs_no_model() {
        let light = Engine::off();
        let deadline = Instant::now() + Duration::from_secs(30);
        let text = "### Task:\nGenerate a title. JSON\n<chat_history>\nUSER: hi, write a haiku about rain\n</chat_history>";
        let said = chore(Chore::Title, text, &light, deadline).await;
        assert_eq!(said.as_deref(), Some(r#"{"title":"Write a haiku about rain"}"#));
        assert_eq!(chore(Chore::Tags, text, &light, deadline).await, None);
        assert_eq!(small_talk("hi", &light, deadline).await, None);
    }
}
