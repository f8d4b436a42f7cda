//! The light engine: a small language model on MLX, in this process, on one thread of its own.
//!
//! It is best effort. One request runs, none waits: who comes meanwhile hears "busy" at once and goes on without it.
//!
//! | part | where |
//! |---|---|
//! | what goes in and what comes out | [`prompt`] |
//! | the handle that all requests share | [`engine`] |

pub mod engine;
pub mod prompt;

pub use engine::Engine;
pub use prompt::{About, Finish, Limits, Piece, Prompt, Refusal, Role, State, Written};
