//! The six ways in which clients talk to Ollama, and how a local answer is written in each.
//!
//! Every body is byte for byte what Ollama would write, but for ids, times and counts: clients are built
//! and tested against that, not against a specification.

mod chat_completions;
mod completions;
mod ending;
mod error;
#[cfg(test)]
mod golden;
mod messages;
mod ollama;
mod out;
mod responses;
mod tokens;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;

pub use self::ending::{Ending, Finish};
pub use self::error::error;
pub use self::tokens::{Cut, Deltas, Pieces, cut, deltas, pieces, prompt_tokens};

use self::out::Out;
use crate::ask::Echo;

/// The form of an ask and of its reply: one for each path that takes asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `/api/generate`
    Generate,
    /// `/api/chat`
    Chat,
    /// `/v1/chat/completions`
    ChatCompletions,
    /// `/v1/completions`
    Completions,
    /// `/v1/messages`
    Messages,
    /// `/v1/responses`
    Responses,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 6] = [
        Self::Generate,
        Self::Chat,
        Self::ChatCompletions,
        Self::Completions,
        Self::Messages,
        Self::Responses,
    ];

    /// The dialect of a request; none if it is no ask. Only POST, and only the path as Ollama serves it.
    pub fn of(method: &Method, path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.path() == path).filter(|_| method == Method::POST)
    }

    /// Whose API it is.
    pub fn family(self) -> Family {
        match self {
            Self::Generate | Self::Chat => Family::Ollama,
            Self::ChatCompletions | Self::Completions | Self::Responses => Family::OpenAi,
            Self::Messages => Family::Anthropic,
        }
    }

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Chat => "chat",
            Self::ChatCompletions => "chat_completions",
            Self::Completions => "completions",
            Self::Messages => "messages",
            Self::Responses => "responses",
        }
    }

    /// The path that it is spoken on.
    pub fn path(self) -> &'static str {
        match self {
            Self::Generate => "/api/generate",
            Self::Chat => "/api/chat",
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Messages => "/v1/messages",
            Self::Responses => "/v1/responses",
        }
    }
}

/// Whose API a path belongs to. It tells how errors look there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Ollama's own.
    Ollama,
    /// OpenAI's.
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

impl Family {
    /// The family of any path, asks or not.
    pub fn of_path(path: &str) -> Self {
        match path.strip_prefix("/v1/") {
            Some(rest) if rest.split('/').next() == Some("messages") => Self::Anthropic,
            Some(_) => Self::OpenAi,
            None => Self::Ollama,
        }
    }

    /// The name in `when.dialect` of rules.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}

/// A local answer, ready to be written.
#[derive(Debug, Clone)]
pub struct Reply<'a> {
    /// The caller's dialect.
    pub dialect: Dialect,
    /// The model's name as the request has it.
    pub model: &'a str,
    /// The answer, cut already (see [`cut`]). An empty one is written, but Ollama's own form of it
    /// (`"content":null`) breaks Anthropic's clients: forward instead.
    pub text: &'a str,
    /// The text was cut by the request's limit.
    pub length: bool,
    /// As a stream.
    pub stream: bool,
    /// A streamed OpenAI reply ends with a chunk of its usage.
    pub usage_chunk: bool,
    /// Estimated; at least 1 is written.
    pub prompt_tokens: u64,
    /// Estimated; at least 1 is written.
    pub completion_tokens: u64,
    /// From the request to the reply.
    pub took: Duration,
    /// When the reply was made.
    pub at: SystemTime,
    /// The ids derive from it.
    pub seed: u64,
    /// What `/v1/responses` repeats.
    pub echo: &'a Echo<'a>,
}

/// A whole body, and the headers that go with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Cache-Control: no-cache` and `Connection: keep-alive` go with it.
    pub no_cache: bool,
    /// The body, all events of a stream in it.
    pub body: Bytes,
}

impl Reply<'_> {
    /// Writes the reply in its dialect.
    pub fn write(&self) -> Written {
        let mut out = Out::with_room(self);
        match self.dialect {
            Dialect::Generate | Dialect::Chat => ollama::write(self, &mut out),
            Dialect::ChatCompletions => chat_completions::write(self, &mut out),
            Dialect::Completions => completions::write(self, &mut out),
            Dialect::Messages => messages::write(self, &mut out),
            Dialect::Responses => responses::write(self, &mut out),
        }
        Written {
            content_type: match (self.dialect.family(), self.stream) {
                (Family::Ollama, true) => "application/x-ndjson",
                (Family::Ollama, false) => "application/json; charset=utf-8",
                (_, true) => "text/event-stream",
                (_, false) => "application/json",
            },
            no_cache: self.stream && matches!(self.dialect, Dialect::Messages | Dialect::Responses),
            body: out.into(),
        }
    }

    /// `done_reason` and `finish_reason`.
    fn reason(&self) -> &'static str {
        if self.length { "length" } else { "stop" }
    }

    fn usage(&self) -> (u64, u64) {
        (self.prompt_tokens.max(1), self.completion_tokens.max(1))
    }

    /// Seconds since 1970.
    fn created(&self) -> u64 {
        seconds(self.at)
    }

    /// The same for the end of the reply.
    fn completed(&self) -> u64 {
        self.at.checked_add(self.took).map_or(self.created(), seconds)
    }

    /// A number below `bound`, the same for the same seed and salt.
    fn id(&self, salt: u64, bound: u64) -> u64 {
        mix(self.seed.wrapping_add(salt)) % bound
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// SplitMix64's finish: near seeds, far numbers.
fn mix(seed: u64) -> u64 {
    let x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Anthropic's ids: 24 hexadecimal digits behind a prefix.
fn long_id(prefix: &str, seed: u64) -> String {
    format!("{prefix}_{:016x}{:08x}", mix(seed), mix(!seed) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_are_known_by_method_and_exact_path() {
        for dialect in Dialect::ALL {
            assert_eq!(Dialect::of(&Method::POST, dialect.path()), Some(dialect));
            assert_eq!(Dialect::of(&Method::GET, dialect.path()), None);
            assert_eq!(Family::of_path(dialect.path()), dialect.family());
        }
        for path in
            ["/api/chat/", "/API/chat", "/api/tags", "/v1/messages/count_tokens", "/v1/embeddings", ""]
        {
            assert_eq!(Dialect::of(&Method::POST, path), None, "{path}");
        }
    }

    #[test]
    fn pass_through_paths_have_a_family_too() {
        assert_eq!(Family::of_path("/api/pull"), Family::Ollama);
        assert_eq!(Family::of_path("/"), Family::Ollama);
        assert_eq!(Family::of_path("/v1/models"), Family::OpenAi);
        assert_eq!(Family::of_path("/v1/messages/count_tokens"), Family::Anthropic);
        assert_eq!(Family::of_path("/v1/messagesx"), Family::OpenAi);
    }
}
