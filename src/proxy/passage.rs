//! One request's way through the proxy: what is known of it so far, and what is left to count at its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderName;

use super::body::Share;
use super::listing::Listing;
use super::origin::Cors;
use crate::auth::Key;
use crate::config::Route;
use crate::dialect::{Dialect, Ending};
use crate::experiment::Arm;
use crate::metrics::Metrics;
use crate::tasks::Signals;
use crate::trace::Trace;
use crate::upstream::{Errand, Seat};

/// Per-request state, handed from filter to filter.
pub struct Passage {
    pub(super) start: Instant,
    /// The surface, if this is an ask.
    pub(super) dialect: Option<Dialect>,
    /// What was decided, if this is an ask and it was not bypassed.
    pub(super) verdict: Option<Label>,
    /// Index of the upstream that it goes to.
    pub(super) upstream: usize,
    /// What places it among several servers.
    pub(super) errand: Errand,
    /// Index of the server that it was last sent to.
    pub(super) server: usize,
    /// Its place there.
    pub(super) seat: Option<Seat>,
    /// The servers that were tried, bit by bit.
    pub(super) tried: u64,
    /// A kept connection had been closed by the server, and the request was sent again.
    pub(super) restarted: bool,
    /// The body is kept until a reply comes: another server may have to get it.
    pub(super) keeps_body: bool,
    /// What replaces or precedes the body that Pingora would send; taken when it is sent, unless `keeps_body`. Safe,
    /// since asks are POSTs, which are tried again only before a byte was sent or while this is kept (`errand.rs`).
    pub(super) body: Held,
    pub(super) body_sent: bool,
    /// The body's share of what all requests may hold; given back with it.
    pub(super) share: Option<Share>,
    /// Whether the body was `zstd` and is sent decoded.
    pub(super) decoded: bool,
    /// Bytes of a body that passes through unread, against `limits.max_body`.
    pub(super) passed: usize,
    /// Whether an ask: its read timeout and body limit hold.
    pub(super) is_ask: bool,
    /// The list of models that `auto` is to be added to.
    pub(super) listing: Option<Listing>,
    /// Whether success changes the upstream's list of models.
    pub(super) changes_models: bool,
    /// Whether the client or the config wants it forwarded untouched.
    pub(super) bypassed: bool,
    /// The reply, if it is a stream whose end is waited for.
    pub(super) ending: Option<Ending>,
    pub(super) first_byte: Option<Duration>,
    /// Waiting for the client's body.
    pub(super) body_wait: Duration,
    /// When the latest attempt at the upstream began.
    pub(super) attempted: Instant,
    /// When the upstream was turned to.
    pub(super) upstream_since: Option<Instant>,
    pub(super) request_id: String,
    /// A light task: answered here whatever it is.
    pub(super) ours: bool,
    /// Whose request it is, where keys are asked for.
    pub(super) key: Option<Arc<Key>>,
    /// What its `Origin` asks of the reply.
    pub(super) cors: Cors,
    /// A header that goes with an error of ours.
    pub(super) told: Option<(HeaderName, String)>,
    /// Its spans to be, if it is traced.
    pub(super) trace: Option<Box<Trace>>,
    pub(super) metrics: Arc<Metrics>,
}

/// The outcome of the decision, as headers and metrics show it.
pub(super) struct Label {
    pub(super) route: Route,
    pub(super) category: &'static str,
    pub(super) by: &'static str,
    pub(super) rule: Option<Arc<str>>,
    pub(super) answer: Option<Arc<str>>,
    pub(super) guard: Option<&'static str>,
    /// While an experiment runs.
    pub(super) arm: Option<Arm>,
    /// What the light tasks noticed.
    pub(super) signals: Signals,
    /// What the light model was to do, if it did.
    pub(super) light: Option<&'static str>,
}

/// A body read before forwarding.
#[derive(Default, Clone)]
pub(super) enum Held {
    /// Nothing was read: Pingora streams it.
    #[default]
    Nothing,
    /// All of it, perhaps with another model's name; sent in place of what Pingora replays.
    Whole(Bytes),
    /// Its beginning; the rest follows.
    Prefix(Bytes),
}

impl Passage {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        metrics.inflight.inc();
        Self {
            start: Instant::now(),
            attempted: Instant::now(),
            dialect: None,
            verdict: None,
            upstream: 0,
            errand: Errand::default(),
            server: 0,
            seat: None,
            tried: 0,
            restarted: false,
            keeps_body: false,
            body: Held::Nothing,
            body_sent: false,
            share: None,
            decoded: false,
            passed: 0,
            is_ask: false,
            listing: None,
            changes_models: false,
            bypassed: false,
            ending: None,
            first_byte: None,
            body_wait: Duration::ZERO,
            upstream_since: None,
            request_id: String::new(),
            ours: false,
            key: None,
            cors: Cors::None,
            told: None,
            trace: None,
            metrics,
        }
    }

    /// Before each attempt at the upstream.
    pub(super) fn rearm(&mut self) {
        self.body_sent = false;
        self.passed = 0;
        self.attempted = Instant::now();
        self.upstream_since.get_or_insert_with(Instant::now);
    }

    /// Whether there are models that its key may not use.
    pub(super) fn is_limited(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.is_limited())
    }

    /// Whether its key may use that model.
    pub(super) fn may_use(&self, model: &str) -> bool {
        self.key.as_ref().is_none_or(|key| key.may_use(model))
    }

    pub(super) fn route(&self) -> Route {
        let undecided = if self.ours { Route::Local } else { Route::Upstream };
        self.verdict.as_ref().map_or(undecided, |label| label.route)
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.metrics.inflight.dec();
    }
}
