//! Where a request's way through the proxy touches its trace.

use std::time::Instant;

use http::HeaderMap;

use super::Proxy;
use super::passage::Passage;
use crate::dialect::Dialect;
use crate::trace::{End, Trace, Waited};

impl Proxy {
    /// At the ask's head.
    pub(super) fn begin_trace(
        &self,
        headers: &HeaderMap,
        dialect: Dialect,
        start: Instant,
    ) -> Option<Box<Trace>> {
        self.brain.traces.as_ref()?.begin(headers, dialect, start)
    }

    /// At its end: `code` is what the client got.
    pub(super) fn end_trace(&self, passage: &mut Passage, code: u16) {
        let (Some(traces), Some(trace)) = (&self.brain.traces, passage.trace.take()) else { return };
        let upstream = self.brain.upstreams.get(passage.upstream);
        let waited = upstream.zip(self.server(passage)).zip(passage.upstream_since);
        let waited = waited.map(|((upstream, server), since)| Waited {
            name: upstream.config.name.clone(),
            authority: server.authority.clone(),
            since,
        });
        let end = End {
            code,
            route: passage.route().name(),
            request: std::mem::take(&mut passage.request_id),
            first_byte: passage.first_byte,
            upstream: waited,
            at: Instant::now(),
        };
        traces.finish(trace, end);
    }
}
