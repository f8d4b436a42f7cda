//! What goes into the engine and what comes out of it: plain data, no MLX.

use std::fmt;

use serde::Serialize;

/// Who says a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

/// What the model is to go on from. The model's own chat template makes one text of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prompt {
    /// How it is to behave; templates that know no system prompt get it before the first turn.
    pub system: Option<String>,
    /// Said so far; the reply to the last of them is wanted.
    pub turns: Vec<(Role, String)>,
}

impl Prompt {
    /// One message, without a system prompt.
    pub fn of(text: impl Into<String>) -> Self {
        Self { system: None, turns: vec![(Role::User, text.into())] }
    }

    /// The same under a system prompt.
    #[must_use]
    pub fn under(mut self, system: impl Into<String>) -> Self {
        self.system = Some(system.into());
        self
    }

    /// The same with one turn more.
    #[must_use]
    pub fn then(mut self, role: Role, text: impl Into<String>) -> Self {
        self.turns.push((role, text.into()));
        self
    }
}

/// Where a text has to end, and how much chance there is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Tokens, at most.
    pub max_tokens: usize,
    /// The text ends before the first of these.
    pub stop: Vec<String>,
    /// 0 takes the likeliest token each time.
    pub temperature: f32,
    /// Only the likeliest tokens that together have this probability are drawn from; 1 = all.
    pub top_p: f32,
    /// The same seed draws the same text.
    pub seed: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_tokens: 64, stop: Vec::new(), temperature: 0.0, top_p: 1.0, seed: 0 }
    }
}

/// Why a text ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model said so, or one of the stop strings came.
    Stop,
    /// `max_tokens`, or the model's context, is used up.
    Length,
}

/// A text that the model wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Without the stop string.
    pub text: String,
    /// Tokens of the prompt, its template included.
    pub prompt_tokens: usize,
    /// Tokens made.
    pub tokens: usize,
    /// Why it ends there.
    pub finish: Finish,
}

/// A part of a text as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Some whole characters more.
    Text(String),
    /// The last piece: the text is complete.
    End {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens made.
        tokens: usize,
        /// Why it ends here.
        finish: Finish,
    },
    /// The last piece: it broke off.
    Broken(Refusal),
}

/// Why the engine does not do it. Each is told at once, but the deadline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no model: none is configured, or brainstem was built without MLX.
    #[error("no light model is configured")]
    Off,
    /// The model is being read; ask again later.
    #[error("the light model is being loaded")]
    Loading,
    /// Another request is being served; none waits.
    #[error("the light model is busy")]
    Busy,
    /// It was not done in time.
    #[error("the light model was not done in time")]
    Deadline,
    /// The prompt does not fit.
    #[error("the text is too long: {tokens} tokens, {limit} fit")]
    TooLong {
        /// What it has.
        tokens: usize,
        /// What it may have.
        limit: usize,
    },
    /// The model could not be loaded, or failed.
    #[error("{0}")]
    Failed(String),
}

/// What is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct About {
    /// The directory's name.
    pub name: String,
    /// Architecture and precision: "llama, 4 bit".
    pub kind: String,
    /// Numbers in it, quantised ones counted one by one.
    pub parameters: u64,
    /// Of its files of weights.
    pub bytes: u64,
    /// Tokens that prompt and reply may have together.
    pub context: usize,
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millions = self.parameters as f64 / 1e6;
        let Self { name, kind, context, .. } = self;
        write!(f, "{name}: {kind}, {millions:.1} M parameters, context {context}")
    }
}

/// Whether the engine can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// There is no model.
    Off,
    /// A model is configured and not in memory: not asked for yet, or unloaded after idle time. The next request loads
    /// it, and is told "loading".
    Resting,
    /// It is being read.
    Loading,
    /// It answers.
    Ready(About),
    /// It could not be loaded, or was given up after an error; why.
    Down(String),
}
