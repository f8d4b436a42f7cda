//! brainstem: a reverse proxy in front of Ollama that answers life support itself and leaves the thinking to
//! the big models.
//!
//! # The way of a request
//!
//! | step | where |
//! |---|---|
//! | a connection comes in, headers are judged, the body is read | [`proxy`] |
//! | the body becomes an [`ask::Ask`] of one of six [`dialect`]s, with the [`ask::Guards`] that speak against a local answer | [`ask`], [`dialect`] |
//! | its text is folded, its words are counted | [`text`] |
//! | [`rules`] look for a winner in one immutable snapshot | [`rules`] |
//! | the classifier is asked, if nobody knows and the message has 5 to 25 words | [`intent`] |
//! | [`decide`] turns all of that into a decision; [`brain`] is where it happens | [`decide`], [`brain`] |
//! | an [`answers`] text is written in the caller's dialect, or the bytes go on to Ollama | [`answers`], [`dialect`], [`proxy`] |
//! | everything is counted, by [`experiment`] arm if there is one, and perhaps logged or traced | [`metrics`], [`decisions`], [`mod@trace`] |
//!
//! Before any of it: [`auth`] (who gets in), [`tls`] (what is shown and trusted).
//! Beside it: [`light`], a small language model, and [`tasks`], small questions about a text.
//! Around it: [`config`] (typed → checked), [`upstream`] (what is known of the servers), [`hub`] (where
//! models come from), [`admin`] (the
//! operator's address), [`explain`] (a decision laid open), [`commands`] and [`cli`] (the binary).

pub mod admin;
pub mod answers;
pub mod ask;
pub mod auth;
pub mod brain;
pub mod category;
pub mod cli;
pub mod commands;
pub mod config;
pub mod decide;
pub mod decisions;
pub mod dialect;
pub mod experiment;
pub mod explain;
mod fnv;
pub mod hub;
pub mod intent;
mod lane;
pub mod light;
pub mod log;
pub mod metrics;
pub mod problem;
pub mod proxy;
pub mod rules;
pub mod tasks;
pub mod text;
pub mod tls;
pub mod trace;
pub mod upstream;
pub mod watched;
