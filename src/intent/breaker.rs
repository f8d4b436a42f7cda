//! Leaves a failing classifier alone: open on the first timeout or the second error in a row, for a
//! cooldown, then one probe decides.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Errors in a row that open it. One timeout is enough: it cost somebody the whole budget.
const ERRORS: u32 = 2;

/// A circuit breaker for one resource.
#[derive(Debug)]
pub struct Breaker {
    state: Mutex<State>,
    cooldown: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Closed { errors: u32 },
    Open { until: Instant },
    Probing,
}

/// How a call went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It did not answer in time.
    Timeout,
    /// It answered with an error.
    Error,
}

/// Leave to make one call. Dropped without a word (busy, or the caller is gone), it counts for nothing.
#[derive(Debug)]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    probe: bool,
    settled: bool,
}

impl Breaker {
    /// Closed, to stay open for `cooldown` once it opens.
    pub fn new(cooldown: Duration) -> Self {
        Self { state: Mutex::new(State::Closed { errors: 0 }), cooldown }
    }

    /// Leave to call, or `None` while it is open or another call is probing.
    pub fn admit(&self) -> Option<Permit<'_>> {
        let mut state = self.lock();
        let probe = match *state {
            State::Closed { .. } => false,
            State::Open { until } if Instant::now() >= until => {
                *state = State::Probing;
                true
            }
            State::Open { .. } | State::Probing => return None,
        };
        Some(Permit { breaker: self, probe, settled: false })
    }

    /// Whether the next call would be turned away.
    pub fn is_open(&self) -> bool {
        match *self.lock() {
            State::Closed { .. } => false,
            // Past its cooldown it waits for a call to try with, perhaps all night.
            State::Open { until } => Instant::now() < until,
            State::Probing => true,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is one value written whole: a panic cannot leave it half-made.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> State {
        State::Open { until: Instant::now() + self.cooldown }
    }
}

impl Permit<'_> {
    /// The call went well.
    pub fn succeeded(mut self) {
        self.settled = true;
        *self.breaker.lock() = State::Closed { errors: 0 };
    }

    /// The call went wrong.
    pub fn failed(mut self, how: Failure) {
        self.settled = true;
        let mut state = self.breaker.lock();
        *state = match (*state, how) {
            (State::Closed { errors }, Failure::Error) if errors + 1 < ERRORS => {
                State::Closed { errors: errors + 1 }
            }
            (State::Open { until }, _) => State::Open { until },
            _ => self.breaker.open(),
        };
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe && !self.settled {
            // The probe never happened: the next caller may try at once.
            *self.breaker.lock() = State::Open { until: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn one_timeout_opens_it() {
        let breaker = Breaker::new(LONG);
        breaker.admit().unwrap().failed(Failure::Timeout);
        assert!(breaker.is_open());
        assert!(breaker.admit().is_none());
    }

    #[test]
    fn two_errors_in_a_row_open_it_one_does_not() {
        let breaker = Breaker::new(LONG);
        breaker.admit().unwrap().failed(Failure::Error);
        breaker.admit().unwrap().succeeded();
        breaker.admit().unwrap().failed(Failure::Error);
        assert!(!breaker.is_open());
        breaker.admit().unwrap().failed(Failure::Error);
        assert!(breaker.admit().is_none());
    }

    #[test]
    fn after_the_cooldown_one_probe_decides() {
        let breaker = Breaker::new(SHORT);
        breaker.admit().unwrap().failed(Failure::Timeout);
        std::thread::sleep(SHORT * 2);
        assert!(!breaker.is_open(), "the next call would be let through");
        let probe = breaker.admit().unwrap();
        assert!(breaker.admit().is_none(), "one probe at a time");
        probe.failed(Failure::Error);
        assert!(breaker.admit().is_none(), "a failed probe opens it again");
        std::thread::sleep(SHORT * 2);
        breaker.admit().unwrap().succeeded();
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_probe_that_was_given_up_lets_the_next_one_try() {
        let breaker = Breaker::new(SHORT);
        breaker.admit().unwrap().failed(Failure::Timeout);
        std::thread::sleep(SHORT * 2);
        drop(breaker.admit().unwrap());
        assert!(breaker.admit().is_some());
    }
}
