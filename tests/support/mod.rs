//! What the integration tests stand on: a scripted upstream whose bytes are all known, a brainstem started
//! from the built binary, and a client that reads and writes raw HTTP/1.1. Blocking sockets and threads: a
//! test says what happens when, and no runtime stands between it and the wire.
#![allow(dead_code, unused_imports, reason = "each test file uses its own part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

pub(crate) mod asks;
pub(crate) mod http;
pub(crate) mod running;
pub(crate) mod upstream;

use std::hash::{DefaultHasher, Hasher};
use std::time::{Duration, Instant};

pub(crate) use self::http::{Connection, Reply, Request, send};
pub(crate) use self::running::{Options, Running};
pub(crate) use self::upstream::{Received, Step, Upstream};

/// No single exchange may take longer: what hangs is a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A body's bytes, as far as they are to be compared.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Waits until `what` holds.
#[track_caller]
pub(crate) fn eventually(within: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let clock = Instant::now();
    while !holds() {
        assert!(clock.elapsed() < within, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The same bytes every time for a seed.
pub(crate) fn junk(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes
}
