//! What the fields around the prompt ask for: limits, formats, tools, a model to load or unload.

use std::borrow::Cow;

use super::duration;
use super::fields::{Field, Fields};
use super::guards::{Guard, Guards, Has};
use super::json::{Raw, Text};
use super::talk::{entries, is_neutral, members};
use super::{Echo, Unreadable};
use crate::dialect::{Dialect, Family};

/// What the fields come to.
pub(super) struct Knobs<'b> {
    pub(super) stream: bool,
    pub(super) usage_chunk: bool,
    pub(super) limit: Option<u64>,
    pub(super) stops: Vec<Cow<'b, str>>,
    pub(super) echo: Echo<'b>,
    /// `keep_alive` is zero.
    pub(super) unload: bool,
    /// Length of the system prompt.
    pub(super) bytes: usize,
    pub(super) guards: Guards,
    pub(super) has: Has,
}

/// Fields that a local answer cannot heed if they hold more than their zero value.
const FORBID_SET: &[(Field, Guard)] = &[
    (Field::Tools, Guard::Tools),
    (Field::Functions, Guard::Tools),
    (Field::McpServers, Guard::Tools),
    (Field::Images, Guard::Images),
    // Ollama makes pictures with /api/generate, too.
    (Field::Width, Guard::Images),
    (Field::Height, Guard::Images),
    (Field::Steps, Guard::Images),
    (Field::Audio, Guard::Audio),
    (Field::Raw, Guard::Raw),
    (Field::Suffix, Guard::Suffix),
    (Field::Template, Guard::Template),
    (Field::Context, Guard::Context),
    (Field::TopLogprobs, Guard::Logprobs),
    (Field::Echo, Guard::Choices),
    (Field::Background, Guard::Background),
    (Field::PreviousResponseId, Guard::Turns),
    (Field::Conversation, Guard::Turns),
    // `multi_turn` lifts the guard above; what was said is not in the body all the same.
    (Field::PreviousResponseId, Guard::Context),
    (Field::Conversation, Guard::Context),
    (Field::DebugRenderOnly, Guard::Debug),
    (Field::N, Guard::Choices),
    (Field::BestOf, Guard::Choices),
];

/// Fields that mean something even when they are empty.
const FORBID_ANY: &[(Field, Guard)] = &[
    (Field::ToolChoice, Guard::Tools),
    (Field::FunctionCall, Guard::Tools),
    (Field::WebSearchOptions, Guard::Tools),
    (Field::Container, Guard::Tools),
    (Field::OutputFormat, Guard::Format),
];

pub(super) fn read<'b>(dialect: Dialect, fields: &Fields<'b>) -> Result<Knobs<'b>, Unreadable> {
    let mut knobs = Knobs {
        stream: dialect.family() == Family::Ollama,
        usage_chunk: false,
        limit: None,
        stops: Vec::new(),
        echo: Echo::default(),
        unload: false,
        bytes: 0,
        guards: Guards::default(),
        has: Has::default(),
    };
    knobs.forbidden(dialect, fields);
    knobs.formats(dialect, fields)?;
    knobs.system(fields)?;
    knobs.thinking(fields)?;
    knobs.limits(dialect, fields)?;
    if let Some(stream) = fields.get(Field::Stream) {
        knobs.stream = stream.boolean().unwrap_or_else(|| knobs.invalid());
    }
    if let Some(options) = fields.get(Field::StreamOptions) {
        let [usage] = knobs.object(options, ["include_usage"])?;
        if let Some(usage) = usage.filter(|usage| !usage.is_null()) {
            knobs.usage_chunk = usage.boolean().unwrap_or_else(|| knobs.invalid());
        }
    }
    if let Some(keep) = fields.get(Field::KeepAlive).filter(|_| dialect.family() == Family::Ollama) {
        match keep_alive(keep)? {
            Some(seconds) => knobs.unload = seconds == 0.0,
            None => knobs.guards.insert(Guard::Invalid),
        }
    }
    if dialect == Dialect::Responses {
        knobs.echo(fields)?;
    }
    Ok(knobs)
}

impl<'b> Knobs<'b> {
    /// Notes a value that has not the type it should have; stands in for it with its default.
    fn invalid<T: Default>(&mut self) -> T {
        self.guards.insert(Guard::Invalid);
        T::default()
    }

    fn object<const N: usize>(
        &mut self,
        value: Raw<'b>,
        names: [&str; N],
    ) -> Result<[Option<Raw<'b>>; N], Unreadable> {
        if value.first() != b'{' {
            self.guards.insert(Guard::Invalid);
            return Ok([None; N]);
        }
        members(&mut value.cursor(), names)
    }

    /// The string in a field; nothing if it is absent, null or empty.
    fn string(&mut self, value: Option<Raw<'b>>) -> Option<Text<'b>> {
        let value = value.filter(|value| !value.is_null())?;
        match value.string() {
            Some(text) => Some(text).filter(|text| text.len() > 0),
            None => self.invalid(),
        }
    }

    fn forbidden(&mut self, dialect: Dialect, fields: &Fields<'b>) {
        for &(field, guard) in FORBID_SET {
            let one = matches!(field, Field::N | Field::BestOf)
                && fields.get(field).is_some_and(|value| value.integer() == Some(1));
            self.guards.insert_if(fields.is_set(field) && !one, guard);
        }
        for &(field, guard) in FORBID_ANY {
            self.guards.insert_if(fields.get(field).is_some(), guard);
        }
        // `{}` is a schema, `""` is no format. Of `logprobs`, a number, 0 is one, too.
        self.guards.insert_if(fields.get(Field::Format).is_some_and(|f| f.json != b"\"\""), Guard::Format);
        let logprobs = fields.get(Field::Logprobs).is_some_and(|value| value.boolean() != Some(false));
        self.guards.insert_if(logprobs, Guard::Logprobs);
        // Elsewhere `prompt` is the text itself, or nothing that is read.
        self.guards
            .insert_if(dialect == Dialect::Responses && fields.get(Field::Prompt).is_some(), Guard::Template);
        for (field, has) in [
            (Field::Tools, Has::TOOLS),
            (Field::Functions, Has::TOOLS),
            (Field::Images, Has::IMAGES),
            (Field::Audio, Has::AUDIO),
        ] {
            if fields.is_set(field) {
                self.has.insert(has);
            }
        }
    }

    fn formats(&mut self, dialect: Dialect, fields: &Fields<'b>) -> Result<(), Unreadable> {
        let mut formats = vec![fields.get(Field::ResponseFormat)];
        if let Some(text) = fields.get(Field::Text).filter(|_| dialect == Dialect::Responses) {
            formats.extend(self.object(text, ["format"])?);
        }
        for format in formats.into_iter().flatten().filter(|format| !format.is_null()) {
            let [kind] = self.object(format, ["type"])?;
            let plain = kind
                .and_then(|kind| kind.string())
                .is_some_and(|kind| kind.decode().is_ok_and(|kind| kind == "text"));
            self.guards.insert_if(!plain, Guard::Format);
        }
        if let Some(config) = fields.get(Field::OutputConfig) {
            let [format] = self.object(config, ["format"])?;
            self.guards.insert_if(format.is_some_and(|format| !format.is_null()), Guard::Format);
        }
        if self.guards.contains(Guard::Format) {
            self.has.insert(Has::FORMAT);
        }
        if let Some(modalities) = fields.get(Field::Modalities) {
            let kinds: Vec<Cow<'_, str>> = serde_json::from_slice(modalities.json).unwrap_or_default();
            self.guards.insert_if(kinds.is_empty(), Guard::Invalid);
            if kinds.iter().any(|kind| kind != "text") {
                self.guards.insert(Guard::Audio);
                self.has.insert(Has::AUDIO);
            }
        }
        Ok(())
    }

    /// `system` (a string, or text blocks in Anthropic's dialect) and `instructions`.
    fn system(&mut self, fields: &Fields<'b>) -> Result<(), Unreadable> {
        let mut prompts = Vec::new();
        match fields.get(Field::System) {
            Some(blocks) if blocks.first() == b'[' => blocks.cursor().array(|cursor| {
                let block = cursor.value()?;
                let [text] = self.object(block, ["text"])?;
                prompts.extend(self.string(text));
                Ok(())
            })?,
            system => prompts.extend(self.string(system)),
        }
        prompts.extend(self.string(fields.get(Field::Instructions)));
        for prompt in prompts {
            self.has.insert(Has::SYSTEM);
            self.bytes += prompt.len();
            self.guards.insert_if(!is_neutral(&prompt)?, Guard::System);
        }
        Ok(())
    }

    fn thinking(&mut self, fields: &Fields<'b>) -> Result<(), Unreadable> {
        let mut thinks = false;
        if let Some(think) = fields.get(Field::Think) {
            thinks = match (think.boolean(), think.string()) {
                (Some(think), _) => think,
                (None, Some(level)) => self.effort(level)?,
                (None, None) => self.invalid(),
            };
        }
        if let Some(thinking) = fields.get(Field::Thinking) {
            let [kind] = self.object(thinking, ["type"])?;
            let kind = self.string(kind).map(|kind| kind.decode()).transpose()?;
            thinks |= kind.is_some_and(|kind| kind != "disabled");
        }
        let mut effort = self.string(fields.get(Field::ReasoningEffort));
        if let Some(reasoning) = fields.get(Field::Reasoning) {
            let [level, summary] = self.object(reasoning, ["effort", "summary"])?;
            effort = self.string(level).or(effort);
            self.echo.effort = self.string(level).map(|level| level.decode()).transpose()?;
            self.echo.summary = self.string(summary).map(|summary| summary.decode()).transpose()?;
        }
        if let Some(effort) = effort {
            thinks |= self.effort(effort)?;
        }
        if thinks {
            self.has.insert(Has::THINK);
        }
        Ok(())
    }

    /// Whether a level of effort means thinking. Ollama refuses levels that it does not know.
    fn effort(&mut self, level: Text<'b>) -> Result<bool, Unreadable> {
        Ok(match level.decode()?.as_ref() {
            "none" => false,
            "minimal" | "low" | "medium" | "high" | "xhigh" | "ultra" | "max" => true,
            _ => self.invalid(),
        })
    }

    fn limits(&mut self, dialect: Dialect, fields: &Fields<'b>) -> Result<(), Unreadable> {
        match dialect.family() {
            Family::Ollama => {
                let Some(options) = fields.get(Field::Options) else { return Ok(()) };
                if options.first() != b'{' {
                    self.guards.insert(Guard::Invalid);
                    return Ok(());
                }
                let [limit, stop] = entries(&mut options.cursor(), ["num_predict", "stop"])?;
                if let Some(limit) = limit.filter(|limit| !limit.is_null()) {
                    // Go reads options as floats, and cuts them to integers.
                    match limit.float() {
                        Some(tokens) => self.at_most(tokens as i64),
                        None => self.guards.insert(Guard::Invalid),
                    }
                }
                let stop = stop.filter(|stop| !stop.is_null());
                self.guards.insert_if(stop.is_some_and(|stop| stop.first() != b'['), Guard::Invalid);
                self.stop(stop)
            }
            Family::OpenAi | Family::Anthropic => {
                for field in [Field::MaxTokens, Field::MaxCompletionTokens, Field::MaxOutputTokens] {
                    match fields.get(field).map(|limit| limit.integer()) {
                        None => {}
                        Some(Some(tokens)) if dialect != Dialect::Messages || tokens > 0 => {
                            self.at_most(tokens)
                        }
                        Some(_) => self.guards.insert(Guard::Invalid),
                    }
                }
                let missing = dialect == Dialect::Messages && fields.get(Field::MaxTokens).is_none();
                self.guards.insert_if(missing, Guard::Invalid);
                let sequences = fields.get(Field::StopSequences);
                self.guards.insert_if(sequences.is_some_and(|stop| stop.first() != b'['), Guard::Invalid);
                self.stop(sequences)?;
                self.stop(fields.get(Field::Stop))
            }
        }
    }

    fn at_most(&mut self, tokens: i64) {
        match u64::try_from(tokens) {
            // Ollama takes 0 as no limit, OpenAI as no token at all: let the upstream say.
            Ok(0) => self.guards.insert(Guard::Limit),
            Ok(tokens) => self.limit = Some(self.limit.map_or(tokens, |limit| limit.min(tokens))),
            Err(_) => {}
        }
    }

    fn stop(&mut self, stop: Option<Raw<'b>>) -> Result<(), Unreadable> {
        let Some(stop) = stop else { return Ok(()) };
        let mut add = |stop: Raw<'b>| {
            match stop.string() {
                // The empty string stops every answer before it begins.
                Some(text) if text.len() == 0 => self.guards.insert(Guard::Limit),
                Some(text) => self.stops.push(text.decode()?),
                None => self.guards.insert(Guard::Invalid),
            }
            Ok(())
        };
        if stop.first() == b'[' { stop.cursor().array(|cursor| add(cursor.value()?)) } else { add(stop) }
    }

    /// What `/v1/responses` repeats in its reply.
    fn echo(&mut self, fields: &Fields<'b>) -> Result<(), Unreadable> {
        let instructions = self.string(fields.get(Field::Instructions));
        self.echo.instructions = instructions.map(|text| text.decode()).transpose()?;
        let truncation = self.string(fields.get(Field::Truncation));
        self.echo.truncation = truncation.map(|text| text.decode()).transpose()?;
        self.echo.max_output_tokens = fields.get(Field::MaxOutputTokens).and_then(|limit| limit.integer());
        self.echo.temperature = self.number(fields, Field::Temperature);
        self.echo.top_p = self.number(fields, Field::TopP);
        Ok(())
    }

    fn number(&mut self, fields: &Fields<'b>, field: Field) -> Option<f64> {
        let value = fields.get(field)?;
        value.float().or_else(|| self.invalid())
    }
}

/// `keep_alive` in seconds: a number of them, or a Go duration. None: neither.
fn keep_alive(value: Raw<'_>) -> Result<Option<f64>, Unreadable> {
    Ok(match value.string() {
        Some(text) => duration::seconds(&text.decode()?),
        // Ollama makes whole nanoseconds of it.
        None => value.float().map(|seconds| if seconds.abs() < 1e-9 { 0.0 } else { seconds }),
    })
}
