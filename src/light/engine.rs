//! The handle to the light model, shared by all requests.

use std::time::Instant;

use tokio::sync::mpsc::Receiver;

use super::prompt::{About, Limits, Piece, Prompt, Refusal, State, Written};

/// The light model, or that there is none. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine(());

impl Engine {
    /// Without a model: refuses everything with [`Refusal::Off`].
    pub fn off() -> Self {
        Self(())
    }

    /// How probable each of these continuations is, among themselves: they sum to 1. A continuation's tokens are
    /// multiplied, and the mean over its length is taken, so that long ones do not lose for being long.
    ///
    /// # Errors
    /// Why there is no answer. Past the deadline the wait ends, and the model stops at its next step.
    pub async fn choose(
        &self,
        _prompt: &Prompt,
        _choices: &[&str],
        _deadline: Instant,
    ) -> Result<Vec<f32>, Refusal> {
        Err(Refusal::Off)
    }

    /// A text, whole.
    ///
    /// # Errors
    /// Why there is none. Past the deadline what was written so far is dropped.
    pub async fn write(
        &self,
        _prompt: &Prompt,
        _limits: &Limits,
        _deadline: Instant,
    ) -> Result<Written, Refusal> {
        Err(Refusal::Off)
    }

    /// A text as it is written. Dropping the receiver stops the model at its next token.
    ///
    /// # Errors
    /// Why there is none; what goes wrong later comes as [`Piece::Broken`].
    pub fn stream(
        &self,
        _prompt: &Prompt,
        _limits: &Limits,
        _deadline: Instant,
    ) -> Result<Receiver<Piece>, Refusal> {
        Err(Refusal::Off)
    }

    /// Waits until the model is loaded, and starts to load it if nobody has. For commands; the proxy never waits.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn ready(&self, _deadline: Instant) -> Result<About, Refusal> {
        Err(Refusal::Off)
    }

    /// What is loaded, if anything is.
    pub fn about(&self) -> Option<About> {
        match self.state() {
            State::Ready(about) => Some(about),
            _ => None,
        }
    }

    /// Whether it can be asked.
    pub fn state(&self) -> State {
        State::Off
    }
}
