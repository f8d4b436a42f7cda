//! Reads an ask's body before the upstream is chosen, and hands it on.
//!
//! Pingora 0.9.1 forwards a body that was read early only if its own retry buffer (64 KiB) still holds all of
//! what it saw. The buffer's content does not matter, since `request_body_filter` may replace it; so it is
//! switched on for the last 64 KiB only, and the filter sends what was kept here. [`forwardable`] is
//! the invariant behind that. `tests/bodies.rs` sweeps sizes and framings against it; upstream issue
//! cloudflare/pingora#816 would make this file unnecessary.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT, HeaderValue};
use pingora::ErrorType;
use pingora::http::RequestHeader;
use pingora::prelude::*;
use prometheus::IntGauge;

/// Pingora's `BODY_BUF_LIMIT`.
const RETRY_BUFFER: usize = 64 * 1024;

/// A request's body as far as it was read.
#[derive(Debug)]
pub(super) enum Body {
    /// All of it.
    Whole(Bytes, Share),
    /// Its beginning, or nothing: too large, or too much is held already. The rest is still to come.
    Partly(Bytes),
    /// Larger than what an ask may have.
    TooLarge,
}

/// How much may be read, of this body and of all at one time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room<'a> {
    /// Above this the ask is refused.
    pub(super) max_body: usize,
    /// Above this it is forwarded unread.
    pub(super) max_inspect: usize,
    /// What all requests hold.
    pub(super) budget: &'a Arc<Budget>,
}

/// The bytes of all bodies that are held for inspection at one time.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    limit: usize,
    gauge: IntGauge,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// An empty one, shown by the gauge.
    pub(super) fn new(limit: usize, gauge: IntGauge) -> Self {
        Self { used: AtomicUsize::new(0), limit, gauge }
    }

    /// A share of nothing yet.
    fn share(self: &Arc<Self>) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

impl Share {
    /// Takes more, if there is so much left.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let budget = &self.budget;
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= budget.limit);
        let taken = budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if taken {
            self.bytes += bytes;
            budget.gauge.add(bytes as i64);
        }
        taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.budget.gauge.sub(self.bytes as i64);
    }
}

/// Reads the body as [`read`] does, if it comes within that time: a byte now and then must not hold it forever.
///
/// # Errors
/// If it does not, and what [`read`] says.
pub(super) async fn read_within(deadline: Duration, session: &mut Session, room: Room<'_>) -> Result<Body> {
    tokio::time::timeout(deadline, read(session, room)).await.unwrap_or_else(|_| {
        let late = Error::explain(ErrorType::ReadTimedout, "limits.body_deadline is over");
        Err(late.into_down())
    })
}

/// Reads the body, whole if it may and can be.
///
/// # Errors
/// If the client breaks off, is too slow, or breaks the framing.
async fn read(session: &mut Session, room: Room<'_>) -> Result<Body> {
    let length = content_length(session);
    if length.is_some_and(|n| n > room.max_body) {
        return Ok(Body::TooLarge);
    }
    if length.is_some_and(|n| n > room.max_inspect) {
        return Ok(Body::Partly(Bytes::new()));
    }
    // What has come counts, not what is announced: a client that announces much and sends nothing must not
    // take the room of others.
    let mut share = room.budget.share();
    if session.get_header(EXPECT).is_some() {
        session.write_continue_response().await.map_err(Error::into_down)?;
        session.req_header_mut().remove_header(&EXPECT);
    }
    let bytes = match length {
        Some(length) => read_counted(session, length, &mut share).await?,
        None => read_chunked(session, &mut share).await?,
    };
    if bytes.len() > room.max_body {
        return Ok(Body::TooLarge);
    }
    Ok(if session.is_body_done() { Body::Whole(bytes, share) } else { Body::Partly(bytes) })
}

async fn read_counted(session: &mut Session, length: usize, share: &mut Share) -> Result<Bytes> {
    let mut kept = BytesMut::new();
    while !session.is_body_done() {
        let near_the_end = length - kept.len().min(length) <= RETRY_BUFFER;
        // Once Pingora keeps a copy of its own, all must be read; before, what came can be sent ahead.
        if !near_the_end && !kept.is_empty() && !share.grow(kept.len() - share.bytes) {
            break;
        }
        if near_the_end {
            session.enable_retry_buffering();
        }
        let Some(chunk) = session.read_request_body().await.map_err(Error::into_down)? else { break };
        if kept.is_empty() && chunk.len() == length {
            return Ok(chunk);
        }
        if kept.capacity() == 0 {
            kept.reserve(length);
        }
        kept.extend_from_slice(&chunk);
    }
    Ok(kept.freeze())
}

async fn read_chunked(session: &mut Session, share: &mut Share) -> Result<Bytes> {
    let mut kept = BytesMut::new();
    session.enable_retry_buffering();
    while !session.is_body_done() {
        let Some(chunk) = session.read_request_body().await.map_err(Error::into_down)? else { break };
        kept.extend_from_slice(&chunk);
        share.grow(chunk.len());
        if session.retry_buffer_truncated() {
            break;
        }
    }
    Ok(kept.freeze())
}

/// Whether Pingora would forward a whole body. False after headers of some 800 KB, which drag more than
/// 64 KiB of body into the first read; without this check such a request would hang.
pub(super) fn forwardable(session: &Session, whole: &Bytes) -> bool {
    // The buffer is on from the first byte of what fits into it; to ask for it would copy it.
    let fits = whole.len() <= RETRY_BUFFER && !session.retry_buffer_truncated();
    whole.is_empty() || fits || session.get_retry_buffer().is_some()
}

/// Pingora lets a length through that is said twice alike; to the upstream it is said once.
pub(super) fn say_length_once(request: &mut RequestHeader) -> Result<()> {
    let said = request.headers.get_all(CONTENT_LENGTH);
    let plain = |value: &HeaderValue| value.as_bytes().iter().all(u8::is_ascii_digit);
    if said.iter().count() < 2 && said.iter().all(plain) {
        return Ok(());
    }
    let first = said.iter().next().and_then(|value| value.as_bytes().split(|b| *b == b',').next());
    let first = first.and_then(|first| HeaderValue::from_bytes(first.trim_ascii()).ok());
    first.map_or(Ok(()), |first| request.insert_header(CONTENT_LENGTH, first))
}

/// As the client announces it.
pub(super) fn content_length(session: &Session) -> Option<usize> {
    session.get_header(CONTENT_LENGTH)?.to_str().ok()?.split(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_said_once() {
        for (given, sent) in [(&["7"][..], "7"), (&["7", "7"], "7"), (&["7, 7"], "7"), (&[], "")] {
            let mut request = RequestHeader::build("POST", b"/", None).unwrap();
            given.iter().for_each(|value| {
                request.append_header(CONTENT_LENGTH, *value).unwrap();
            });
            say_length_once(&mut request).unwrap();
            let all: Vec<_> = request.headers.get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(all, if sent.is_empty() { vec![] } else { vec![sent] });
        }
    }

    #[test]
    fn the_budget_is_given_back() {
        let budget = Arc::new(Budget::new(100, IntGauge::new("held", "held").unwrap()));
        let (mut first, mut second) = (budget.share(), budget.share());
        assert!(first.grow(60) && !second.grow(50) && second.grow(40));
        assert!(!second.grow(usize::MAX));
        drop(first);
        assert!(second.grow(60));
        drop(second);
        assert_eq!((budget.used.load(Ordering::Relaxed), budget.gauge.get()), (0, 0));
    }
}
