//! Every fault that a proxy meets, brought about on purpose: what must hold is that each ends in the dialect's
//! error or the upstream's own bytes, within its time, and that nobody else notices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

#[cfg(all(feature = "mlx", target_os = "linux"))]
#[path = "faults/classifier.rs"]
mod classifier;
#[path = "faults/upstream.rs"]
mod upstream;
