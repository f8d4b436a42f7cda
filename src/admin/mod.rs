//! The operator's address: the console, metrics, health, rules, explain. Never on the proxy's own port.
//!
//! ```text
//! /           the page, from the binary                 console.rs
//! /live       its numbers, as server-sent events        live.rs · reading.rs
//! /try        rules that are not saved yet              trial.rs
//! /explain    the decision that an ask would get
//! /metrics    what Prometheus scrapes
//! /healthz /readyz /rules                               state.rs
//! ```

mod console;
mod live;
mod reading;
mod state;
mod trial;

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use serde::Serialize;
use tokio::sync::Semaphore;

pub use self::live::{Live, Ticking};

use self::state::{Ready, Rules};
use self::trial::Trial;
use crate::ask::Guards;
use crate::brain::{Around, Brain};
use crate::decisions::disk;
use crate::dialect::Dialect;
use crate::explain;
use crate::intent::worker::Health;
use crate::metrics::CONTENT_TYPE;
use crate::proxy::origin;

/// A body to explain or to try may be no larger.
const LARGEST: usize = 4 * 1024 * 1024;

/// A connection between two requests is kept so long, in seconds.
const KEEPALIVE: u64 = 60;

/// What the page may do: load its own files, ask its own server. Nothing inline, no frame around it, no HTML made
/// of strings.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// What a browser is told about everything from here.
const HARDENED: [(&str, &str); 5] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];

/// Serves the admin address.
pub struct Admin {
    brain: Arc<Brain>,
    live: Arc<Live>,
    own_name: String,
    /// One set of rules is tried at a time.
    trying: Semaphore,
}

impl Admin {
    /// Over this state.
    pub fn new(brain: Arc<Brain>) -> Self {
        let live = Arc::new(Live::new(brain.clone()));
        Self { brain, live, own_name: origin::own_name(), trying: Semaphore::new(1) }
    }

    /// What reads the numbers that `/live` tells, to be run beside it.
    pub fn ticking(&self) -> Ticking {
        Ticking(self.live.clone())
    }

    /// Whether this client may ask at all.
    fn admit(&self, request: &RequestHeader) -> Result<(), Refusal> {
        let host = value(&request.headers, header::HOST).unwrap_or("");
        let on_loopback = self.brain.config.admin.is_some_and(|at| at.ip().is_loopback());
        if on_loopback && !origin::host_allowed(host, &self.own_name) {
            // As on the proxy's port: a web page must not read this through a name of its own.
            return Err(Refusal(StatusCode::FORBIDDEN, "this host name is not served here".into()));
        }
        if origin::cors(value(&request.headers, header::ORIGIN), host) == origin::Cors::AskUpstream {
            return Err(Refusal(
                StatusCode::FORBIDDEN,
                "web pages of other origins are not served here".into(),
            ));
        }
        Ok(())
    }

    /// Whether these headers carry a key with `admin = true`.
    fn knows(&self, headers: &HeaderMap) -> bool {
        self.brain.auth.as_ref().is_some_and(|auth| auth.recognise(headers).is_ok_and(|key| key.admin))
    }

    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let (method, path) = (request.method.clone(), request.uri.path().to_owned());
        let has = value(&request.headers, header::IF_NONE_MATCH);
        let reads = matches!(method, Method::GET | Method::HEAD);
        match path.as_str() {
            path if reads && console::is_file(path) => console::file(path, has).unwrap_or_else(nowhere),
            "/metrics" if reads => self.metrics(),
            "/healthz" if reads => plain(StatusCode::OK, "ok"),
            "/readyz" if reads => json(&Ready::of(&self.brain)),
            "/rules" if reads => json(&Rules::of(&self.brain)),
            "/explain" if method == Method::POST => self.explain(session).await,
            "/try" if method == Method::POST => self.attempt(session).await,
            "/metrics" | "/healthz" | "/readyz" | "/rules" | "/explain" | "/try" | "/live" => {
                plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
            }
            path if console::is_file(path) => plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
            _ => nowhere(),
        }
    }

    fn metrics(&self) -> Response<Vec<u8>> {
        let metrics = &self.brain.metrics;
        let up = matches!(self.brain.classifier_health(), Health::Ready(_));
        metrics.classifier_up.set(i64::from(up));
        metrics.classifier_enabled.set(i64::from(self.brain.intent.is_some()));
        let open = self.brain.intent.as_ref().is_some_and(|intent| intent.is_left_alone());
        metrics.classifier_breaker_open.set(i64::from(open));
        if let Some(log) = &self.brain.config.log.decisions {
            for (kind, bytes) in disk::of(&log.file) {
                metrics.decision_log_disk.with_label_values(&[kind]).set(bytes as f64);
            }
        }
        for (kind, bytes) in self.brain.light_memory() {
            metrics.light_memory.with_label_values(&[kind]).set(bytes as f64);
        }
        match metrics.text() {
            Ok(text) => reply(StatusCode::OK, CONTENT_TYPE, text),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }

    async fn explain(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        // `curl -d` names a form's type, too; a form in a browser comes with one of these headers.
        let by_a_page = ["origin", "sec-fetch-site"].iter().any(|name| request.headers.contains_key(*name));
        if by_a_page && !is_json(request) {
            return no_json();
        }
        let query = request.uri.query().unwrap_or("").to_owned();
        let named = query.split('&').find_map(|pair| pair.strip_prefix("path="));
        let path =
            named.map_or_else(|| "/api/chat".to_owned(), |path| path.replace("%2F", "/").replace("%2f", "/"));
        let Some(dialect) = Dialect::of(&Method::POST, &path) else {
            return plain(
                StatusCode::BAD_REQUEST,
                &format!("{path} is no path of an ask; try ?path=/api/chat"),
            );
        };
        let hint =
            session.get_header("x-brainstem-category").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let body = match body(session).await {
            Ok(body) => body,
            Err(refusal) => return refusal.response(),
        };
        let around = Around { hint: hint.as_deref(), guards: Guards::default(), id: None };
        match explain::explain(&self.brain, dialect, &body, around).await {
            Ok(explanation) => json(&explanation),
            Err(error) => plain(StatusCode::BAD_REQUEST, &format!("{error}; it would be forwarded unread")),
        }
    }

    async fn attempt(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        if !is_json(session.req_header()) {
            return no_json();
        }
        let body = match body(session).await {
            Ok(body) => body,
            Err(refusal) => return refusal.response(),
        };
        let trial: Trial = match serde_json::from_slice(&body) {
            Ok(trial) => trial,
            Err(error) => return plain(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        let Ok(_turn) = self.trying.try_acquire() else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "another set of rules is being tried");
        };
        match trial.run(&self.brain).await {
            Ok(found) => json(&found),
            Err(error) => plain(StatusCode::BAD_REQUEST, &error.to_string()),
        }
    }
}

#[async_trait]
impl HttpServerApp for Admin {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !matches!(session.read_request().await, Ok(true)) {
            return None;
        }
        session.set_keepalive(if *shutdown.borrow() { None } else { Some(KEEPALIVE) });
        let request = session.req_header();
        let listens = request.method == Method::GET && request.uri.path() == "/live";
        let response = match self.admit(request) {
            Err(refusal) => refusal.response(),
            Ok(()) if self.brain.config.admin_key && !self.knows(&request.headers) => {
                unknown(request.uri.path())
            }
            Ok(()) if listens => match self.live.seat() {
                Some(seat) => {
                    if let Err(error) = self.live.tell(&mut session, seat, shutdown).await {
                        tracing::debug!("a listener of /live left: {error}");
                    }
                    return None;
                }
                None => plain(StatusCode::SERVICE_UNAVAILABLE, "too many listen already"),
            },
            Ok(()) => self.response(&mut session).await,
        };
        if let Err(error) = send(&mut session, response).await {
            tracing::debug!("the admin address could not answer: {error}");
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}

async fn send(session: &mut ServerSession, response: Response<Vec<u8>>) -> pingora::Result<()> {
    let (parts, body) = response.into_parts();
    let silent = session.req_header().method == Method::HEAD || body.is_empty();
    session.write_response_header(Box::new(ResponseHeader::from(parts))).await?;
    if silent { Ok(()) } else { session.write_response_body(body.into(), true).await }
}

/// Why a request is turned away.
struct Refusal(StatusCode, String);

impl Refusal {
    fn response(&self) -> Response<Vec<u8>> {
        plain(self.0, &self.1)
    }
}

/// The request's body.
async fn body(session: &mut ServerSession) -> Result<Vec<u8>, Refusal> {
    let mut body = Vec::new();
    loop {
        match session.read_request_body().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => return Ok(body),
            Err(error) => return Err(Refusal(StatusCode::BAD_REQUEST, error.to_string())),
        }
        if body.len() > LARGEST {
            session.set_keepalive(None);
            return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, "a body here may have 4 MiB".into()));
        }
    }
}

fn value(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A form in a web page can send no such type, and a script of another origin is not let in.
fn is_json(request: &RequestHeader) -> bool {
    let kind = value(&request.headers, header::CONTENT_TYPE).unwrap_or("");
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn no_json() -> Response<Vec<u8>> {
    plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send content-type: application/json")
}

/// What a client without a key hears. Probes carry none; they learn that it lives, and nothing of what it knows.
fn unknown(path: &str) -> Response<Vec<u8>> {
    match path {
        "/healthz" => return plain(StatusCode::OK, "ok"),
        "/readyz" => return plain(StatusCode::OK, "ready"),
        _ => {}
    }
    let mut response = plain(StatusCode::UNAUTHORIZED, "a key with admin = true is required");
    let challenge = HeaderValue::from_static("Bearer realm=\"brainstem admin\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn nowhere() -> Response<Vec<u8>> {
    let there = "not found: there are / /live /metrics /healthz /readyz /rules, POST /explain and POST /try";
    plain(StatusCode::NOT_FOUND, there)
}

fn json(value: &impl Serialize) -> Response<Vec<u8>> {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            reply(StatusCode::OK, "application/json; charset=utf-8", body)
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Vec<u8>> {
    reply(status, "text/plain; charset=utf-8", format!("{text}\n").into_bytes())
}

fn reply(status: StatusCode, content_type: &str, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(Vec::new());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    harden(headers);
    if let Ok(kind) = HeaderValue::from_str(content_type) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    *response.body_mut() = body;
    response
}

fn harden(headers: &mut HeaderMap) {
    for (name, value) in HARDENED {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}
