//! Streams that break off: the client is told in its dialect, and the break stays one.

use bytes::{Bytes, BytesMut};
use http::header;
use pingora::http::ResponseHeader;
use pingora::prelude::*;

use super::Proxy;
use super::passage::Passage;
use crate::dialect::{Ending, Finish};

impl Proxy {
    /// Begins to follow a reply, if it is a stream that could be added to.
    pub(super) fn follow(&self, response: &ResponseHeader, passage: &mut Passage) {
        let Some(dialect) = passage.dialect.filter(|_| response.status == 200 && !passage.bypassed) else {
            return;
        };
        let kind = response.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
        let is_stream = kind.starts_with(b"application/x-ndjson") || kind.starts_with(b"text/event-stream");
        let fixed = [header::CONTENT_LENGTH, header::CONTENT_ENCODING];
        if is_stream && !fixed.iter().any(|name| response.headers.contains_key(name)) {
            passage.ending = Some(Ending::new(dialect));
        }
    }

    /// Looks at what passes. A stream that ends as HTTP wants it, but not as its dialect does, says so: Ollama
    /// swallows its own errors on `/v1/*`.
    pub(super) fn pass_on(&self, body: &mut Option<Bytes>, end: bool, passage: &mut Passage) {
        let Some(ending) = &mut passage.ending else { return };
        if let Some(piece) = body {
            ending.pass(piece);
        }
        if !end || ending.finish() != Finish::Open {
            return;
        }
        let message = self.cut(passage, "unfinished", "ended the reply in the middle");
        if let Some(mark) = mark(passage, &message) {
            let before = body.take().unwrap_or_default();
            let mut both = BytesMut::with_capacity(before.len() + mark.len());
            both.extend_from_slice(&before);
            both.extend_from_slice(&mark);
            *body = Some(both.freeze());
        }
    }

    /// Tells the client of a stream that the upstream has broken off. No last chunk follows: a client that reads
    /// no marks still sees that it was cut.
    pub(super) async fn tell_cut(&self, session: &mut Session, passage: &mut Passage, silent: bool) {
        if passage.ending.as_ref().is_none_or(|ending| ending.finish() == Finish::Ended) {
            return;
        }
        let (how, what) = if silent { ("silent", "fell silent") } else { ("broken", "broke off") };
        let message = self.cut(passage, how, &format!("{what} in the middle of the reply"));
        let Some(mark) = mark(passage, &message) else { return };
        if let Err(error) = session.write_response_body(Some(mark), false).await {
            tracing::debug!("the client was gone before it was told of the cut: {error}");
        }
    }

    /// Counts a cut stream, and says what happened.
    fn cut(&self, passage: &Passage, how: &str, what: &str) -> String {
        let name = self.brain.upstreams.get(passage.upstream).map_or("", |upstream| &upstream.config.name);
        self.brain.metrics.streams_cut.with_label_values(&[name, how]).inc();
        format!("upstream {} {what}", self.server(passage).map_or("", |server| &server.authority))
    }
}

fn mark(passage: &mut Passage, message: &str) -> Option<Bytes> {
    // Taken: a stream is marked once.
    passage.ending.take().map(|ending| ending.mark(message, fastrand::u64(..)))
}
