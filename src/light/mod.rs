//! The light engine: a small language model on MLX, in this process, on one thread of its own.
//!
//! It is best effort. One request runs, none waits: who comes meanwhile hears "busy" at once and goes on without it.
//!
//! | part | where |
//! |---|---|
//! | what goes in and what comes out | [`prompt`] |
//! | the handle that all requests share | [`engine`] |
//! | the thread that the model lives on | [`worker`] |
//! | the model itself | `model` |
//! | from the config to the engine; a change of the model while it runs | [`load`], [`follow`] |

pub mod engine;
pub mod follow;
pub mod load;
#[cfg(feature = "mlx")]
pub mod model;
pub mod prompt;
#[cfg(feature = "mlx")]
mod stops;
pub mod worker;

pub use engine::Engine;
pub use prompt::{About, Finish, Limits, Piece, Prompt, Refusal, Role, State, Written};
