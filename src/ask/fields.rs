//! The top-level fields of a body that decide anything, over all dialects.

use std::borrow::Cow;

use super::Unreadable;
use super::json::{Raw, Text};

macro_rules! fields {
    ($($field:ident $name:literal,)*) => {
        /// A field that is read. What is not here is skipped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Field { $($field,)* }

        const COUNT: usize = [$($name),*].len();

        fn exactly(name: &str) -> Option<Field> {
            match name {
                $($name => Some(Field::$field),)*
                _ => None,
            }
        }
    };
}

fields! {
    Model "model",
    Prompt "prompt",
    Messages "messages",
    Input "input",
    Category "category",
    Stream "stream",
    StreamOptions "stream_options",
    Options "options",
    KeepAlive "keep_alive",
    Think "think",
    Thinking "thinking",
    Reasoning "reasoning",
    ReasoningEffort "reasoning_effort",
    System "system",
    Instructions "instructions",
    MaxTokens "max_tokens",
    MaxCompletionTokens "max_completion_tokens",
    MaxOutputTokens "max_output_tokens",
    Stop "stop",
    StopSequences "stop_sequences",
    Temperature "temperature",
    TopP "top_p",
    Truncation "truncation",
    Tools "tools",
    ToolChoice "tool_choice",
    Functions "functions",
    FunctionCall "function_call",
    WebSearchOptions "web_search_options",
    McpServers "mcp_servers",
    Container "container",
    Format "format",
    ResponseFormat "response_format",
    OutputFormat "output_format",
    OutputConfig "output_config",
    Text "text",
    Images "images",
    Width "width",
    Height "height",
    Steps "steps",
    Modalities "modalities",
    Audio "audio",
    Raw "raw",
    Suffix "suffix",
    Template "template",
    Context "context",
    Logprobs "logprobs",
    TopLogprobs "top_logprobs",
    N "n",
    BestOf "best_of",
    Echo "echo",
    Background "background",
    PreviousResponseId "previous_response_id",
    Conversation "conversation",
    DebugRenderOnly "_debug_render_only",
}

impl Field {
    /// The field that Go's `encoding/json` would put a key's value into: it does not look at case.
    pub(super) fn of(key: &Text<'_>) -> Result<Option<Self>, Unreadable> {
        let name = key.decode()?;
        Ok(exactly(&name).or_else(|| exactly(&go_folded(&name)?)))
    }
}

/// The key in lower case, if that is another one. Go also folds the Kelvin sign to k and the long s to s.
pub(super) fn go_folded(key: &str) -> Option<Cow<'_, str>> {
    if key.is_ascii() {
        return key.bytes().any(|b| b.is_ascii_uppercase()).then(|| key.to_ascii_lowercase().into());
    }
    Some(key.replace('\u{212a}', "k").replace('\u{17f}', "s").to_ascii_lowercase().into())
}

/// The fields found in a body.
pub(super) struct Fields<'b> {
    values: [Option<Raw<'b>>; COUNT],
    seen: u64,
}

const _: () = assert!(COUNT <= 64);

impl<'b> Fields<'b> {
    pub(super) fn new() -> Self {
        Self { values: [None; COUNT], seen: 0 }
    }

    /// Notes that a field was met. Which of two Ollama would take depends on their types, so a second one
    /// makes the body unreadable.
    pub(super) fn meet(&mut self, field: Field) -> Result<(), Unreadable> {
        let bit = 1u64 << field as u8;
        if self.seen & bit != 0 {
            return Err(Unreadable);
        }
        self.seen |= bit;
        Ok(())
    }

    pub(super) fn set(&mut self, field: Field, value: Raw<'b>) -> Result<(), Unreadable> {
        self.meet(field)?;
        self.values[field as usize] = Some(value);
        Ok(())
    }

    /// The field's value; null is as good as absent, in Go too.
    pub(super) fn get(&self, field: Field) -> Option<Raw<'b>> {
        self.values[field as usize].filter(|value| !value.is_null())
    }

    /// The field holds more than its type's zero value.
    pub(super) fn is_set(&self, field: Field) -> bool {
        self.get(field).is_some_and(|value| !value.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::json::Cursor;

    #[test]
    fn keys_match_as_go_matches_them() {
        let field = |json: &str| Field::of(&Cursor::new(json.as_bytes()).string().unwrap()).unwrap();
        assert_eq!(field(r#""keep_alive""#), Some(Field::KeepAlive));
        assert_eq!(field(r#""Keep_Alive""#), Some(Field::KeepAlive));
        assert_eq!(field("\"\u{212a}eep_alive\""), Some(Field::KeepAlive));
        assert_eq!(field(r#""\u006dodel""#), Some(Field::Model));
        assert_eq!(field(r#""keepalive""#), None);
        assert_eq!(field(r#""мodel""#), None);
    }
}
