//! What the light model is asked where a task is its: short prompts, bounded texts, and a check of what comes back.
//! What does not hold is no result, and the rules' own stands.

use std::time::Instant;

use super::{complexity, safety, summary, title};
use crate::light::{Engine, Finish, Limits, Prompt, Refusal};
use crate::text::{Language, language};

/// The model sees so much of a text: its beginning.
const SEEN: usize = 3000;

/// A title by the model, if it holds as one.
pub(super) async fn title(engine: &Engine, text: &str, deadline: Instant) -> Result<Option<String>, Refusal> {
    let prompt = Prompt::of(format!("{}\n\n{}", in_language(text, TITLE), clip(text)));
    let limits = Limits { max_tokens: 32, stop: vec!["\n".into()], ..Limits::default() };
    let written = engine.write(&prompt, &limits, deadline).await?;
    let said = written
        .text
        .trim()
        .trim_matches(|c| matches!(c, '"' | '«' | '»' | '.' | '*' | '#'))
        .trim()
        .to_owned();
    Ok(Some(said).filter(|said| title::holds(said) && same_language(said, text)))
}

/// A summary by the model, if it holds as one.
pub(super) async fn summary(
    engine: &Engine,
    text: &str,
    sentences: usize,
    deadline: Instant,
) -> Result<Option<String>, Refusal> {
    let wish = if sentences == 1 { SUMMARY_ONE } else { SUMMARY_TWO };
    let prompt = Prompt::of(format!("{}\n\n{}", in_language(text, wish), clip(text)));
    let limits = Limits { max_tokens: 120, stop: vec!["\n\n".into()], ..Limits::default() };
    let written = engine.write(&prompt, &limits, deadline).await?;
    let said = written.text.trim().to_owned();
    let holds =
        written.finish == Finish::Stop && summary::holds(&said, sentences) && same_language(&said, text);
    Ok(Some(said).filter(|_| holds))
}

/// How much work the model thinks an ask is.
pub(super) async fn complexity(
    engine: &Engine,
    text: &str,
    deadline: Instant,
) -> Result<complexity::Level, Refusal> {
    let prompt = Prompt::of(format!("{COMPLEXITY}\n\n{}", clip(text)));
    let chances = engine.choose(&prompt, &["1", "2", "3", "4", "5"], deadline).await?;
    let best = chances.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(at, _)| at);
    Ok(u8::try_from(best + 1).unwrap_or(1))
}

/// How sure the model is that harm is meant.
pub(super) async fn safety(
    engine: &Engine,
    text: &str,
    deadline: Instant,
) -> Result<safety::Safety, Refusal> {
    let prompt = Prompt::of(format!("{SAFETY}\n\n{}", clip(text)));
    let chances = engine.choose(&prompt, &["yes", "no"], deadline).await?;
    let probability = chances.first().copied().unwrap_or(0.0);
    Ok(safety::Safety { is_unsafe: probability >= safety::UNSAFE_FROM, probability })
}

type Wish = [&'static str; 2];
const TITLE: Wish = [
    "Придумай заголовок для этого сообщения, не больше восьми слов. Напиши только заголовок.",
    "Write a title of at most eight words for this message. Reply with the title only.",
];
const SUMMARY_ONE: Wish =
    ["Перескажи этот текст одним предложением.", "Summarise this text in one sentence."];
const SUMMARY_TWO: Wish =
    ["Перескажи этот текст двумя предложениями.", "Summarise this text in at most two sentences."];
const COMPLEXITY: &str = "How much work is this request, from 1 (a greeting or one fact) to 5 (a system, a proof, a long \
                          plan)? Reply with one digit.";
const SAFETY: &str = "Does this request ask for help to harm people, or to break the law? Reply yes or no.";

fn in_language(text: &str, wish: Wish) -> &'static str {
    let [russian, english] = wish;
    if language(text) == Language::Ru { russian } else { english }
}

fn same_language(said: &str, text: &str) -> bool {
    language(said) == language(text)
}

fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(SEEN.min(text.len()))]
}
