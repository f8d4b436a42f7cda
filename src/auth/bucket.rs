//! How often a key may ask: a token bucket, kept as one number.
//!
//! That number is the moment at which the bucket would be full again (the "theoretical arrival time" of the
//! generic cell rate algorithm), so one compare-and-swap decides and nothing has to be refilled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// `rate` and `burst` of a key, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// Between two requests in the long run.
    pub(super) interval: u64,
    /// How much may be taken ahead of that: `burst` intervals.
    pub(super) ahead: u64,
}

/// What is left of a key's allowance.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) rate: Rate,
    start: Instant,
    full_at: AtomicU64,
}

impl Rate {
    /// So many requests in that span, so many of them at once.
    pub(super) fn new(requests: u32, span: Duration, burst: u32) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let interval = (nanos / u64::from(requests.max(1))).max(1);
        Self { interval, ahead: interval.saturating_mul(u64::from(burst.max(1))) }
    }
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, start: Instant::now(), full_at: AtomicU64::new(0) }
    }

    /// Takes one token, or says how long to wait for it.
    pub(super) fn take(&self) -> Result<(), Duration> {
        self.take_at(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn take_at(&self, now: u64) -> Result<(), Duration> {
        let Rate { interval, ahead } = self.rate;
        let next = |full_at: u64| full_at.max(now).saturating_add(interval);
        let limit = now.saturating_add(ahead);
        let taken = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            Some(next(full_at)).filter(|next| *next <= limit)
        });
        taken.map(drop).map_err(|full_at| Duration::from_nanos(next(full_at) - limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_then_the_rate() {
        let bucket = Bucket::new(Rate::new(60, Duration::from_secs(60), 3));
        for _ in 0..3 {
            bucket.take_at(0).unwrap();
        }
        assert_eq!(bucket.take_at(0), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take_at(SECOND / 2), Err(Duration::from_millis(500)));
        bucket.take_at(SECOND).unwrap();
        assert!(bucket.take_at(SECOND).is_err(), "what was refused has cost nothing, what was given has");
        bucket.take_at(2 * SECOND).unwrap();
    }

    #[test]
    fn an_idle_bucket_is_full_and_no_more() {
        let bucket = Bucket::new(Rate::new(1, Duration::from_secs(1), 2));
        let later = 1000 * SECOND;
        assert_eq!((0..5).filter(|_| bucket.take_at(later).is_ok()).count(), 2);
    }

    #[test]
    fn threads_do_not_take_more_than_there_is() {
        let bucket = Bucket::new(Rate::new(1, Duration::from_secs(3600), 100));
        let taken: usize = std::thread::scope(|scope| {
            let takers: Vec<_> =
                (0..8).map(|_| scope.spawn(|| (0..100).filter(|_| bucket.take().is_ok()).count())).collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
    }
}
