//! The proxy itself: each Pingora phase in a few lines, in the order in which a request meets them.
//!
//! ```text
//! (before them)          how long a header may take             patience.rs
//! request_filter         header size, Host, Origin, key         origin.rs · cors.rs · entry.rs
//!                        read the body, decide, answer here     body.rs · ask.rs · reply.rs
//! upstream_peer          the server that is best placed         errand.rs · crate::upstream
//! upstream_request_filter  its Host, its key, the body's new length
//! request_body_filter    what was read, or what passes          body.rs · passage.rs
//! response_filter        x-brainstem-* headers                  reply.rs
//! response_body_filter   `auto` in the lists of models, streams' ends  listing.rs · stream.rs
//! fail_to_connect, error_while_proxy  on to the next server      errand.rs
//! fail_to_proxy          the dialect's error                    reply.rs · stream.rs
//! logging                metrics
//! ```

mod aside;
mod asks;
mod body;
mod cors;
pub(crate) mod door;
mod entry;
pub(crate) mod errand;
mod fleet;
mod listing;
pub(crate) mod origin;
mod passage;
pub(crate) mod patience;
mod progress;
mod reply;
mod shown;
mod stream;
mod tasks;
mod traced;
mod union;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::*;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyWarnLogContext};
use pingora::{ErrorSource, ErrorType};

pub(crate) use asks::say;
use body::Budget;
use passage::Held;
pub use passage::Passage;

use crate::brain::Brain;
use crate::config::Route;
use crate::metrics::seconds;

/// Our implementation of Pingora's proxy.
pub struct Proxy {
    brain: Arc<Brain>,
    budget: Arc<Budget>,
    /// The machine's own name.
    own_name: String,
    origins: cors::Origins,
    /// Ollama checks `Host` only when it listens on loopback; so do we.
    checks_host: bool,
    /// There is more than one server: replies say which one gave them.
    is_fleet: bool,
    /// For what is asked of several servers at once: one for each upstream, since each trusts its own authorities.
    agents: Vec<ureq::Agent>,
}

impl Proxy {
    /// A proxy over this state.
    pub fn new(brain: Arc<Brain>) -> Self {
        Self {
            budget: Arc::new(Budget::new(brain.config.limits.inflight, brain.metrics.inflight_bytes.clone())),
            own_name: origin::own_name(),
            origins: cors::Origins::new(&brain.config.proxy.origins),
            checks_host: brain.config.proxy.listen.ip().is_loopback(),
            is_fleet: brain.config.upstreams.iter().map(|u| u.servers.len()).sum::<usize>() > 1,
            agents: brain.config.upstreams.iter().map(fleet::agent).collect(),
            brain,
        }
    }

    /// Counts a request that gets an error of ours.
    fn refuse(&self, reason: &str) {
        self.brain.metrics.refused_requests.with_label_values(&[reason]).inc();
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Passage;

    fn new_ctx(&self) -> Passage {
        patience::header_arrived();
        Passage::new(self.brain.metrics.clone())
    }

    async fn request_filter(&self, session: &mut Session, passage: &mut Passage) -> Result<bool> {
        let limits = &self.brain.config.limits;
        // Who sends the next request before the reply gets that reply, then the next.
        session.set_pipelining_enabled(true);
        // Ollama has no other protocol to switch to, and what came after a switch would pass every check by.
        session.req_header_mut().remove_header(&header::UPGRADE);
        session.set_write_timeout(Some(limits.send_timeout));
        let headers = session.as_http1().map_or(0, |http| http.get_headers_raw_bytes().len());
        if headers > limits.max_headers {
            self.refuse("headers");
            let message = format!("request headers of {headers} bytes; the limit is {}", limits.max_headers);
            reply::send_error(session, passage, 431, &message).await?;
            return Ok(true);
        }
        if self.checks_host && !origin::host_allowed(host(session), &self.own_name) {
            self.refuse("host");
            reply::send_bare(session, 403).await?;
            return Ok(true);
        }
        if self.admit(session, passage).await? {
            return Ok(true);
        }
        self.receive(session, passage).await
    }

    async fn upstream_peer(&self, session: &mut Session, passage: &mut Passage) -> Result<Box<HttpPeer>> {
        passage.rearm();
        let server = self.seat(session, passage)?;
        let Some(address) = server.address() else {
            let mut error = Error::explain(ErrorType::ConnectNoRoute, "its name leads nowhere");
            error.as_up();
            return Err(self.unreached(passage, error));
        };
        let Some(upstream) = self.brain.upstreams.get(passage.upstream) else {
            return Error::e_explain(ErrorType::InternalError, "no such upstream");
        };
        let mut peer = match &upstream.config.trust {
            None => HttpPeer::new(address, false, String::new()),
            Some(trust) => {
                let mut peer = HttpPeer::new(address, true, server.name().to_owned());
                peer.options.ca = Some(trust.roots());
                // Pingora keeps connections apart by address and name, not by whom they were checked against.
                peer.group_key = passage.upstream as u64;
                peer
            }
        };
        peer.options.connection_timeout = Some(upstream.config.connect_timeout);
        // A pull may say nothing for as long as it likes; an ask has a bound, if a generous one.
        peer.options.read_timeout = passage.is_ask.then_some(upstream.config.read_timeout);
        peer.options.idle_timeout = Some(Duration::from_secs(60));
        Ok(Box::new(peer))
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        _: std::os::unix::io::RawFd,
        _: Option<&Digest>,
        passage: &mut Passage,
    ) -> Result<()> {
        // The server may be about to close a kept connection: the ask is kept until it says something.
        passage.keeps_body |= reused && passage.is_ask;
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        passage: &mut Passage,
    ) -> Result<()> {
        if let Some(server) = self.server(passage) {
            request.insert_header(header::HOST, server.host.clone())?;
        }
        if let Some(upstream) = self.brain.upstreams.get(passage.upstream) {
            self.dress(request, &upstream.config, passage)?;
        }
        body::say_length_once(request)?;
        if self.chooses(passage) {
            // Said to us.
            request.remove_header(&errand::SERVER);
        }
        if let Held::Whole(body) = &passage.body
            && !body.is_empty()
        {
            let said = request.headers.get(header::CONTENT_LENGTH).and_then(|said| said.to_str().ok());
            let same = said.and_then(|said| said.parse().ok()) == Some(body.len());
            request.remove_header(&header::TRANSFER_ENCODING);
            if !same {
                request.insert_header(header::CONTENT_LENGTH, body.len())?;
            }
        }
        reply::tell_upstream(request, passage)?;
        if passage.decoded {
            request.remove_header(&header::CONTENT_ENCODING);
        }
        if let Some(trace) = &passage.trace {
            let (name, value) = trace.traceparent();
            request.insert_header(name, value)?;
        }
        if passage.listing.is_some() {
            // What is to be added to must come as it is.
            request.remove_header(&header::ACCEPT_ENCODING);
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        passage: &mut Passage,
    ) -> Result<()> {
        if passage.is_ask {
            let before = if let Held::Prefix(prefix) = &passage.body { prefix.len() } else { 0 };
            passage.passed += before + body.as_ref().map_or(0, Bytes::len);
            let limits = &self.brain.config.limits;
            if passage.start.elapsed() > limits.body_deadline && !end {
                self.refuse("slow_body");
                return Error::e_explain(ErrorType::HTTPStatus(408), "limits.body_deadline is over");
            }
            if passage.passed > limits.max_body {
                self.refuse("body");
                return Error::e_explain(ErrorType::HTTPStatus(413), "request body over limits.max_body");
            }
        }
        if std::mem::replace(&mut passage.body_sent, true) {
            return Ok(());
        }
        let held = if passage.keeps_body && matches!(passage.body, Held::Whole(_)) {
            passage.body.clone()
        } else {
            passage.share = None;
            std::mem::take(&mut passage.body)
        };
        match held {
            Held::Nothing => {}
            // The piece that Pingora brings is the tail that it happened to keep; all of it is here.
            Held::Whole(whole) => *body = Some(whole),
            Held::Prefix(prefix) => {
                let rest = body.take().unwrap_or_default();
                let mut both = BytesMut::with_capacity(prefix.len() + rest.len());
                both.extend_from_slice(&prefix);
                both.extend_from_slice(&rest);
                *body = Some(both.freeze());
            }
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        passage: &mut Passage,
    ) -> Result<()> {
        if response.status.is_informational() {
            return Ok(());
        }
        self.heard(session, response, passage)?;
        passage.first_byte.get_or_insert_with(|| passage.start.elapsed());
        let compressed = response.headers.contains_key(header::CONTENT_ENCODING);
        if response.status != 200 || compressed {
            passage.listing = None;
        }
        if session.req_header().version < Version::HTTP_11 {
            // Such a client knows no chunks: the reply ends with the connection.
            response.remove_header(&header::TRANSFER_ENCODING);
        }
        if passage.listing.is_some() {
            response.remove_header(&header::CONTENT_LENGTH);
            response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        if response.status.is_server_error() {
            self.upstream_error(passage, "status");
        }
        self.open_to_page(session, response, passage.cors)?;
        self.follow(response, passage);
        reply::label_headers(response, passage)
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        passage: &mut Passage,
    ) -> Result<Option<Duration>> {
        if let Some(listing) = &mut passage.listing {
            *body = listing.pass(body.take(), end);
        }
        self.pass_on(body, end, passage);
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        passage: &mut Passage,
        error: Box<Error>,
    ) -> Box<Error> {
        self.unreached(passage, error)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        passage: &mut Passage,
        client_reused: bool,
    ) -> Box<Error> {
        self.broken(session, passage, error.more_context(format!("Peer: {peer}")), client_reused)
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Passage, _: &Error, _: ProxyWarnLogContext) -> bool {
        // As for errors: `errand.rs` says and counts it.
        true
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        passage: &mut Passage,
    ) -> FailToProxy {
        let (code, kind, message) = self.verdict_on(error, passage);
        if *error.esource() == ErrorSource::Upstream {
            self.upstream_error(passage, kind);
            self.tell_cut(session, passage, kind == "read_timeout").await;
        }
        session.set_keepalive(None);
        if code > 0
            && answered(session).is_none()
            && let Err(error) = reply::send_error(session, passage, code, &message).await
        {
            tracing::debug!("the client was gone before its error: {error}");
        }
        FailToProxy { error_code: code, can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _: &Session, _: &Passage, _: &Error) -> bool {
        // `logging` says it in our words, at the level that it deserves.
        true
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, passage: &mut Passage) {
        let left = error.is_some_and(|error| *error.esource() == ErrorSource::Downstream);
        let code = answered(session).unwrap_or(if left { 499 } else { 0 });
        self.count(passage, code);
        self.end_trace(passage, code);
        if let Some(error) = error {
            let (method, path) = (&session.req_header().method, session.req_header().uri.path());
            // Not the error's own words: they may quote what was sent.
            let (side, kind) = (error.esource().as_str(), error.etype().as_str());
            tracing::info!("{method} {path}: {code}, {side} {kind}");
        }
        if passage.changes_models && code == 200 {
            self.brain.upstreams[passage.upstream].look_again();
        }
    }
}

impl Proxy {
    /// Status, kind and words for a failed request; status 0 when nobody is left to read them.
    fn verdict_on(&self, error: &Error, passage: &Passage) -> (u16, &'static str, String) {
        let upstream = self.server(passage).map(|server| server.authority.clone());
        let upstream = upstream.unwrap_or_default();
        let at = |what: &str| format!("upstream {upstream} {what}");
        match (error.esource(), error.etype()) {
            (_, ErrorType::HTTPStatus(413)) => (413, "body", self.too_large()),
            (_, ErrorType::HTTPStatus(408)) => (408, "slow", TOO_SLOW.into()),
            (_, etype) if *etype == errand::NO_SUCH_SERVER => (400, "server", self.servers_named(passage)),
            (_, ErrorType::HTTPStatus(code)) => (*code, "status", "request refused".into()),
            (ErrorSource::Upstream, ErrorType::ConnectTimedout) => {
                (502, "connect_timeout", at("does not take connections in time"))
            }
            (ErrorSource::Upstream, ErrorType::ReadTimedout) => {
                (504, "read_timeout", at("does not answer in time"))
            }
            (
                ErrorSource::Upstream,
                ErrorType::ConnectRefused | ErrorType::ConnectError | ErrorType::ConnectNoRoute,
            ) => (502, "connect", at("cannot be reached; is Ollama running?")),
            (ErrorSource::Upstream, ErrorType::InvalidHTTPHeader) => {
                (502, "garbage", at("does not speak HTTP"))
            }
            (
                ErrorSource::Upstream,
                ErrorType::TLSHandshakeFailure | ErrorType::TLSHandshakeTimedout | ErrorType::InvalidCert,
            ) => {
                (502, "certificate", at("does not show a certificate that is trusted here, or speaks no TLS"))
            }
            (ErrorSource::Upstream, _) => (502, "reset", at("broke off")),
            (ErrorSource::Downstream, ErrorType::ReadTimedout) => {
                self.refuse("slow_body");
                (408, "slow", TOO_SLOW.into())
            }
            (ErrorSource::Downstream, ErrorType::WriteTimedout) => {
                self.refuse("slow_reader");
                (0, "slow", String::new())
            }
            (ErrorSource::Downstream, ErrorType::InvalidHTTPHeader) => {
                (400, "framing", "malformed request".into())
            }
            (ErrorSource::Downstream, _) => {
                self.refuse("framing");
                (400, "framing", "malformed request".into())
            }
            _ => (500, "internal", "internal error".into()),
        }
    }

    fn too_large(&self) -> String {
        format!(
            "request body too large; the limit is {} bytes (limits.max_body)",
            self.brain.config.limits.max_body
        )
    }

    fn upstream_error(&self, passage: &Passage, kind: &str) {
        if let Some(upstream) = self.brain.upstreams.get(passage.upstream) {
            self.brain.metrics.upstream_errors.with_label_values(&[&upstream.config.name, kind]).inc();
        }
    }

    fn count(&self, passage: &mut Passage, code: u16) {
        let metrics = &self.brain.metrics;
        let route = passage.route();
        let (category, by) = passage.verdict.as_ref().map_or(("none", "none"), |v| (v.category, v.by));
        let dialect = passage.dialect.map_or("none", |d| d.family().name());
        let code = CODES.iter().find(|(n, _)| *n == code).map_or("other", |(_, name)| name);
        metrics.requests.with_label_values(&[dialect, category, route.name(), by, code]).inc();
        let total = passage.start.elapsed();
        metrics.request_seconds.with_label_values(&[route.name()]).observe(seconds(total));
        if let Some(first) = passage.first_byte {
            let arm = self.brain.arm_of(passage.verdict.as_ref().and_then(|label| label.arm));
            metrics.first_byte_seconds.with_label_values(&[route.name(), arm]).observe(seconds(first));
        }
        if passage.dialect.is_some() {
            let upstream = passage.upstream_since.map_or(Duration::ZERO, |since| since.elapsed());
            let ours = total.saturating_sub(upstream).saturating_sub(passage.body_wait);
            metrics.overhead_seconds.observe(seconds(ours));
        }
        let Some(label) = &passage.verdict else { return };
        label.signals.count(&metrics.signals);
        if let Some(arm) = label.arm {
            metrics.arm_requests.with_label_values(&[arm.name(), category, route.name()]).inc();
        }
        if let Some(rule) = &label.rule {
            metrics.rule_matches.with_label_values(&[rule]).inc();
        }
        if let (Route::Local, Some(answer)) = (route, &label.answer) {
            metrics.local_answers.with_label_values(&[answer]).inc();
        }
        if let Some(guard) = label.guard {
            metrics.guards.with_label_values(&[guard]).inc();
        }
    }
}

/// The status that the client got: not that of a `100 Continue` before it.
fn answered(session: &Session) -> Option<u16> {
    let status = session.response_written()?.status;
    (!status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS).then(|| status.as_u16())
}

/// The `Host` that the client named.
fn host(session: &Session) -> &str {
    let named = session.get_header(header::HOST).and_then(|host| host.to_str().ok());
    named.or_else(|| session.req_header().uri.authority().map(http::uri::Authority::as_str)).unwrap_or("")
}

const TOO_SLOW: &str = "the request's body did not come in time";

/// Status codes as label values: a closed set, whatever an upstream may say.
const CODES: &[(u16, &str)] = &[
    (0, "none"),
    (200, "200"),
    (201, "201"),
    (204, "204"),
    (206, "206"),
    (301, "301"),
    (304, "304"),
    (307, "307"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (411, "411"),
    (413, "413"),
    (429, "429"),
    (431, "431"),
    (499, "499"),
    (500, "500"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
];
