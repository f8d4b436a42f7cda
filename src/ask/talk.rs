//! The messages of a body (`messages`, or `input` of `/v1/responses`): who spoke last and what.

use std::borrow::Cow;

use super::fields::go_folded;
use super::guards::{Guard, Guards, Has};
use super::json::{Cursor, Raw, Text};
use super::{Unreadable, persona};
use crate::dialect::Dialect;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Human,
    Assistant,
    System,
    Tool,
    Unknown,
}

impl Speaker {
    /// Ollama lower-cases roles, so do we.
    fn of(role: &str) -> Self {
        match role.to_ascii_lowercase().as_str() {
            "user" => Self::Human,
            "assistant" => Self::Assistant,
            "system" | "developer" => Self::System,
            "tool" | "function" => Self::Tool,
            _ => Self::Unknown,
        }
    }
}

/// What the messages come to, read in one pass.
pub(super) struct Talk<'b> {
    dialect: Dialect,
    /// The texts of the last human message.
    texts: Vec<Text<'b>>,
    /// The texts of the message that is being read.
    pending: Vec<Text<'b>>,
    last: Option<Speaker>,
    /// Messages in all, without system prompts.
    messages: usize,
    /// The first text of the first human message.
    pub(super) opening: &'b [u8],
    /// Those of a human.
    pub(super) turns: usize,
    /// Length of all their text, as it stands in the body.
    pub(super) bytes: usize,
    pub(super) guards: Guards,
    pub(super) has: Has,
}

/// One message while its members come in, in whatever order they stand.
#[derive(Default)]
struct Message<'b> {
    role: Option<Text<'b>>,
    kind: Option<Text<'b>>,
    met: u8,
    /// The content was there, and of a shape that the dialect has.
    content: bool,
    /// Its parts bring a tool's result, or are of an unknown kind.
    result: bool,
    strange: bool,
}

impl<'b> Talk<'b> {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            texts: Vec::new(),
            pending: Vec::new(),
            last: None,
            messages: 0,
            opening: &[],
            turns: 0,
            bytes: 0,
            guards: Guards::default(),
            has: Has::default(),
        }
    }

    /// Reads the value of `messages` or `input`.
    pub(super) fn read(&mut self, cursor: &mut Cursor<'b>) -> Result<(), Unreadable> {
        match cursor.peek() {
            Some(b'[') => cursor.array(|cursor| self.message(cursor)),
            Some(b'"') if self.dialect == Dialect::Responses => {
                self.text(cursor.string()?);
                if self.bytes > 0 {
                    self.spoken(Speaker::Human);
                }
                Ok(())
            }
            Some(b'n') => cursor.value().map(drop),
            _ => {
                self.guards.insert(Guard::Invalid);
                cursor.value().map(drop)
            }
        }
    }

    /// Closes the reading: what the order of the messages says.
    pub(super) fn finish(&mut self) {
        let others = self.messages.saturating_sub(self.turns);
        self.guards.insert_if(self.turns > 1 || others > 0, Guard::Turns);
        match self.last {
            Some(Speaker::Human) | None => {}
            Some(Speaker::Tool) => {
                self.guards.insert(Guard::ToolResult);
                self.guards.insert(Guard::LastTurn);
            }
            Some(_) => self.guards.insert(Guard::LastTurn),
        }
    }

    /// There was no message at all, not even a system prompt.
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// What the last human message says, its parts joined with newlines.
    pub(super) fn last_text(&self) -> Result<Cow<'b, str>, Unreadable> {
        match self.texts.as_slice() {
            [] => Ok(Cow::Borrowed("")),
            [one] => one.decode_ends(),
            many => {
                let parts: Vec<_> = many.iter().map(Text::decode_ends).collect::<Result<_, _>>()?;
                Ok(parts.join("\n").into())
            }
        }
    }

    fn text(&mut self, text: Text<'b>) {
        self.bytes += text.len();
        self.pending.push(text);
    }

    fn spoken(&mut self, speaker: Speaker) {
        if speaker == Speaker::Human {
            if self.turns == 0 {
                self.opening = self.pending.first().map_or(&[], Text::raw);
            }
            self.turns += 1;
            std::mem::swap(&mut self.texts, &mut self.pending);
        }
        // System prompts are no turns: they have a guard of their own.
        if speaker != Speaker::System {
            self.messages += 1;
        }
        self.last = Some(speaker);
        self.pending.clear();
    }

    fn message(&mut self, cursor: &mut Cursor<'b>) -> Result<(), Unreadable> {
        if cursor.peek() != Some(b'{') {
            self.guards.insert(Guard::Invalid);
            self.spoken(Speaker::Unknown);
            return cursor.value().map(drop);
        }
        let mut message = Message::default();
        cursor.object(|cursor, key| {
            let name = key.decode()?;
            let name = go_folded(&name).unwrap_or(Cow::Borrowed(&name));
            let bit = match name.as_ref() {
                "role" => 1,
                "type" => 2,
                "content" => 4,
                "images" => 8,
                _ => return cursor.value().map(drop),
            };
            if message.met & bit != 0 {
                return Err(Unreadable);
            }
            message.met |= bit;
            match bit {
                1 => message.role = self.string(cursor.value()?),
                2 => message.kind = self.string(cursor.value()?),
                4 => self.content(cursor, &mut message)?,
                _ => self.images(cursor.value()?),
            }
            Ok(())
        })?;
        self.close(&message)
    }

    /// A string, or null for none; anything else is invalid.
    fn string(&mut self, value: Raw<'b>) -> Option<Text<'b>> {
        let string = value.string();
        self.guards.insert_if(string.is_none() && !value.is_null(), Guard::Invalid);
        string
    }

    fn images(&mut self, value: Raw<'b>) {
        self.guards.insert_if(value.first() != b'[' && !value.is_null(), Guard::Invalid);
        if !value.is_zero() {
            self.picture();
        }
    }

    fn picture(&mut self) {
        self.guards.insert(Guard::Images);
        self.has.insert(Has::IMAGES);
    }

    fn content(&mut self, cursor: &mut Cursor<'b>, message: &mut Message<'b>) -> Result<(), Unreadable> {
        match cursor.peek() {
            Some(b'"') => {
                message.content = true;
                self.text(cursor.string()?);
                Ok(())
            }
            Some(b'[') if self.dialect != Dialect::Chat => {
                message.content = true;
                cursor.array(|cursor| self.part(cursor, message))
            }
            Some(b'n') => cursor.value().map(drop),
            _ => {
                self.guards.insert(Guard::Invalid);
                cursor.value().map(drop)
            }
        }
    }

    fn part(&mut self, cursor: &mut Cursor<'b>, message: &mut Message<'b>) -> Result<(), Unreadable> {
        if cursor.peek() != Some(b'{') {
            self.guards.insert(Guard::Invalid);
            return cursor.value().map(drop);
        }
        let [kind, text] = match self.dialect {
            Dialect::ChatCompletions => entries(cursor, ["type", "text"])?,
            _ => members(cursor, ["type", "text"])?,
        };
        let Some(kind) = kind.and_then(|kind| kind.string()) else {
            self.guards.insert(Guard::Invalid);
            return Ok(());
        };
        match (self.dialect, kind.decode()?.as_ref()) {
            (Dialect::ChatCompletions | Dialect::Messages, "text")
            | (Dialect::Responses, "input_text" | "output_text") => match text.and_then(|text| text.string())
            {
                Some(text) => self.text(text),
                None => self.guards.insert(Guard::Invalid),
            },
            (_, "image_url" | "input_image" | "image") => self.picture(),
            (_, "input_audio" | "audio") => {
                self.guards.insert(Guard::Audio);
                self.has.insert(Has::AUDIO);
            }
            (_, "tool_result" | "web_search_tool_result") => message.result = true,
            _ => message.strange = true,
        }
        Ok(())
    }

    fn close(&mut self, message: &Message<'b>) -> Result<(), Unreadable> {
        let role = message.role.map(|role| role.decode()).transpose()?;
        let kind = message.kind.map(|kind| kind.decode()).transpose()?;
        let kind = kind.as_deref().filter(|_| self.dialect == Dialect::Responses);
        let mut speaker = match kind {
            Some("function_call_output" | "custom_tool_call_output") => Speaker::Tool,
            Some("function_call" | "reasoning" | "web_search_call") => Speaker::Assistant,
            None | Some("message" | "") => role.map_or(Speaker::Unknown, |role| Speaker::of(&role)),
            Some(_) => Speaker::Unknown,
        };
        match speaker {
            Speaker::Human => {
                self.guards.insert_if(!message.content && self.dialect != Dialect::Chat, Guard::Invalid);
                self.guards.insert_if(message.strange, Guard::Part);
                if message.result {
                    speaker = Speaker::Tool;
                }
            }
            Speaker::System => self.system()?,
            Speaker::Unknown => self.guards.insert(Guard::Invalid),
            Speaker::Assistant | Speaker::Tool => {}
        }
        self.spoken(speaker);
        Ok(())
    }

    fn system(&mut self) -> Result<(), Unreadable> {
        let length: usize = self.pending.iter().map(Text::len).sum();
        if length > 0 {
            self.has.insert(Has::SYSTEM);
        }
        for text in &self.pending {
            self.guards.insert_if(!is_neutral(text)?, Guard::System);
        }
        Ok(())
    }
}

/// The system prompt sets no persona. A long one is not even decoded.
pub(super) fn is_neutral(prompt: &Text<'_>) -> Result<bool, Unreadable> {
    // An escaped character takes six bytes here, and two when decoded.
    Ok(prompt.len() <= 3 * persona::LONGEST && persona::is_neutral(&prompt.decode()?))
}

/// Members of an object that Go reads into a struct: names in any case.
pub(super) fn members<'b, const N: usize>(
    cursor: &mut Cursor<'b>,
    names: [&str; N],
) -> Result<[Option<Raw<'b>>; N], Unreadable> {
    pick(cursor, names, str::eq_ignore_ascii_case)
}

/// Members of an object that Go reads into a map (`options`, parts of OpenAI's messages): exact names.
pub(super) fn entries<'b, const N: usize>(
    cursor: &mut Cursor<'b>,
    names: [&str; N],
) -> Result<[Option<Raw<'b>>; N], Unreadable> {
    pick(cursor, names, |a, b| a == b)
}

fn pick<'b, const N: usize>(
    cursor: &mut Cursor<'b>,
    names: [&str; N],
    same: fn(&str, &str) -> bool,
) -> Result<[Option<Raw<'b>>; N], Unreadable> {
    let mut found = [None; N];
    cursor.object(|cursor, key| {
        let key = key.decode()?;
        let value = cursor.value()?;
        match names.iter().position(|name| same(name, &key)) {
            Some(at) if found[at].replace(value).is_some() => Err(Unreadable),
            _ => Ok(()),
        }
    })?;
    Ok(found)
}
