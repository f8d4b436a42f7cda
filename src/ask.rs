//! What a client asks: read from the body of any of the six dialects, and only as far as a decision needs.
//!
//! Ollama reads bodies with Go's `encoding/json`, so keys match there in any case and the last of two wins.
//! Here they match in any case, too; a second one of a key that is read makes the body [`Unreadable`], and
//! the caller forwards what it cannot read as it came.

mod chore;
mod duration;
mod envelope;
mod fields;
mod guards;
mod json;
mod knobs;
mod persona;
mod talk;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

pub use self::chore::{Chore, first_said, wants_json};
pub use self::guards::{Guard, Guards, Has};

use self::fields::{Field, Fields};
use self::talk::Talk;
use crate::dialect::{Dialect, Family};

/// The body is not one JSON object that means one thing only. Forward it: the upstream's own error is the
/// right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body cannot be read as one JSON object")]
pub struct Unreadable;

/// An ask, borrowed from its body.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask<'b> {
    /// The dialect that it was read in.
    pub dialect: Dialect,
    /// The model's name as the client wrote it; empty if it wrote none.
    pub model: Cow<'b, str>,
    /// Where the model's JSON string, with its quotes, stands in the body; see [`with_model`].
    pub model_span: Option<Range<usize>>,
    /// The last human message: without what programs put around it, its parts joined with newlines.
    pub text: Cow<'b, str>,
    /// How the conversation opens: the first human message, or the prompt, as it stands in the body.
    pub opening: &'b [u8],
    /// How many messages are a human's, the last included.
    pub turns: usize,
    /// The reply is to be streamed; the dialect's default is applied.
    pub stream: bool,
    /// `stream_options.include_usage`.
    pub usage_chunk: bool,
    /// At most so many tokens may be answered (the smallest of the limits given); never 0.
    pub limit: Option<u64>,
    /// Strings that end the answer before them; none is empty.
    pub stops: Vec<Cow<'b, str>>,
    /// The body's `category`, on native paths.
    pub hint: Option<Cow<'b, str>>,
    /// What the ask carries besides text.
    pub has: Has,
    /// What in the body speaks against a local answer.
    pub guards: Guards,
    /// Length of all text of prompt and messages (escapes count as they stand in the body).
    pub prompt_bytes: usize,
    /// What `/v1/responses` repeats in its reply.
    pub echo: Echo<'b>,
}

/// Parameters that a reply of `/v1/responses` repeats.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Echo<'b> {
    /// `instructions`, unless empty.
    pub instructions: Option<Cow<'b, str>>,
    /// `temperature`.
    pub temperature: Option<f64>,
    /// `top_p`.
    pub top_p: Option<f64>,
    /// `truncation`.
    pub truncation: Option<Cow<'b, str>>,
    /// `max_output_tokens`.
    pub max_output_tokens: Option<i64>,
    /// `reasoning.effort`, unless empty.
    pub effort: Option<Cow<'b, str>>,
    /// `reasoning.summary`, unless empty.
    pub summary: Option<Cow<'b, str>>,
}

impl<'b> Ask<'b> {
    /// Reads a body, which has to be there whole. One pass; no text is copied that has nothing to unescape.
    pub fn parse(dialect: Dialect, body: &'b [u8]) -> Result<Self, Unreadable> {
        let mut fields = Fields::new();
        let mut talk = Talk::new(dialect);
        let mut cursor = json::Cursor::new(body);
        cursor.object(|cursor, key| match Field::of(&key)? {
            Some(field) if Some(field) == conversation(dialect) => {
                fields.meet(field)?;
                talk.read(cursor)
            }
            Some(field) => fields.set(field, cursor.value()?),
            None => cursor.value().map(drop),
        })?;
        cursor.end()?;

        let knobs = knobs::read(dialect, &fields)?;
        let mut ask = Self {
            dialect,
            model: Cow::Borrowed(""),
            model_span: None,
            text: Cow::Borrowed(""),
            opening: &[],
            turns: 0,
            stream: knobs.stream,
            usage_chunk: knobs.usage_chunk,
            limit: knobs.limit,
            stops: knobs.stops,
            hint: None,
            has: knobs.has,
            guards: knobs.guards,
            prompt_bytes: knobs.bytes,
            echo: knobs.echo,
        };
        ask.guards.insert_if(knobs.unload, Guard::Unload);
        ask.name_model(&fields)?;
        match conversation(dialect) {
            Some(_) => ask.take_talk(talk)?,
            None => ask.take_prompt(&fields)?,
        }
        ask.open_envelope();
        ask.notice_load();
        if dialect.family() == Family::Ollama {
            let hint = fields.get(Field::Category).and_then(|hint| hint.string());
            ask.hint = hint.map(|hint| hint.decode()).transpose()?;
        }
        Ok(ask)
    }

    fn name_model(&mut self, fields: &Fields<'b>) -> Result<(), Unreadable> {
        let value = fields.get(Field::Model);
        if let Some((value, text)) = value.and_then(|value| Some((value, value.string()?))) {
            self.model = text.decode()?;
            self.model_span = Some(value.start..value.start + value.json.len());
        }
        self.guards.insert_if(self.model.is_empty(), Guard::Invalid);
        Ok(())
    }

    /// `messages` or `input`.
    fn take_talk(&mut self, mut talk: Talk<'b>) -> Result<(), Unreadable> {
        talk.finish();
        self.text = talk.last_text()?;
        self.opening = talk.opening;
        self.turns = talk.turns;
        self.prompt_bytes += talk.bytes;
        self.has.insert(talk.has);
        self.guards.extend(talk.guards);
        self.guards.insert_if(talk.is_empty() && self.dialect != Dialect::Chat, Guard::Invalid);
        // System prompts alone: nobody has spoken.
        self.guards.insert_if(talk.turns == 0 && !talk.is_empty(), Guard::LastTurn);
        Ok(())
    }

    /// `prompt`: one string.
    fn take_prompt(&mut self, fields: &Fields<'b>) -> Result<(), Unreadable> {
        let Some(prompt) = fields.get(Field::Prompt) else { return Ok(()) };
        let Some(text) = prompt.string() else {
            self.guards.insert(Guard::Invalid);
            return Ok(());
        };
        self.text = text.decode()?;
        self.opening = text.raw();
        self.turns = usize::from(text.len() > 0);
        self.prompt_bytes += text.len();
        Ok(())
    }

    fn open_envelope(&mut self) {
        let blank = self.text.trim().is_empty();
        let opened = envelope::open(std::mem::take(&mut self.text));
        self.text = opened.text;
        self.guards.insert_if(opened.harness, Guard::Harness);
        self.guards.insert_if(blank && self.turns > 0, Guard::Invalid);
    }

    /// No prompt, no messages: not a short ask but a call to load the model.
    fn notice_load(&mut self) {
        let loads = matches!(self.dialect, Dialect::Generate | Dialect::Chat | Dialect::Completions);
        let spoken = self.turns > 0 || self.guards.contains(Guard::LastTurn);
        let wrong = self.guards.contains(Guard::Invalid);
        let unloads = self.guards.contains(Guard::Unload);
        self.guards.insert_if(loads && !spoken && !wrong && !unloads, Guard::Load);
    }
}

/// The model that a body names which is no ask: embeddings, `/api/show`. As Go would read it, so a body that
/// names two has none.
pub fn model_of(body: &[u8]) -> Option<String> {
    let mut fields = Fields::new();
    let mut cursor = json::Cursor::new(body);
    let read = cursor.object(|cursor, key| match Field::of(&key)? {
        Some(Field::Model) => fields.set(Field::Model, cursor.value()?),
        _ => cursor.value().map(drop),
    });
    read.and_then(|()| cursor.end()).ok()?;
    Some(fields.get(Field::Model)?.string()?.decode().ok()?.into_owned())
}

/// The field that holds the messages, in the dialects that have them.
fn conversation(dialect: Dialect) -> Option<Field> {
    match dialect {
        Dialect::Generate | Dialect::Completions => None,
        Dialect::Chat | Dialect::ChatCompletions | Dialect::Messages => Some(Field::Messages),
        Dialect::Responses => Some(Field::Input),
    }
}

/// The body with another model, every other byte as it was. `span` is the ask's `model_span`.
pub fn with_model(body: &[u8], span: &Range<usize>, model: &str) -> Vec<u8> {
    let (Some(before), Some(after)) = (body.get(..span.start), body.get(span.end..)) else {
        return body.to_vec();
    };
    let name = serde_json::Value::from(model).to_string();
    [before, name.as_bytes(), after].concat()
}
