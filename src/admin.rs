//! The operator's address: metrics, health, rules, explain. Never on the proxy's own port.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Response, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use serde::Serialize;

use crate::ask::Guards;
use crate::brain::{Around, Brain};
use crate::decisions::disk;
use crate::dialect::Dialect;
use crate::explain;
use crate::intent::worker::Health;
use crate::metrics::CONTENT_TYPE;
use crate::proxy::origin;

/// A body to explain may be no larger.
const LARGEST: usize = 4 * 1024 * 1024;

/// Serves the admin address.
pub struct Admin {
    brain: Arc<Brain>,
    own_name: String,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    rules: RulesState,
    classifier: ClassifierState,
    upstreams: Vec<UpstreamState>,
}

#[derive(Serialize)]
struct RulesState {
    generation: u64,
    rules: usize,
    answers: usize,
}

#[derive(Serialize)]
struct ClassifierState {
    up: bool,
    state: &'static str,
    detail: String,
}

#[derive(Serialize)]
struct UpstreamState {
    name: String,
    url: String,
    up: bool,
    models: Option<usize>,
    servers: Vec<ServerState>,
}

#[derive(Serialize)]
struct ServerState {
    name: String,
    up: bool,
    cooling: bool,
    inflight: i64,
    models: Option<usize>,
    in_memory: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Rules {
    generation: u64,
    hash: String,
    loaded_at: String,
    files: Vec<String>,
    rules: Vec<RuleLine>,
    answers: Vec<String>,
    last_error: Vec<String>,
}

#[derive(Serialize)]
struct RuleLine {
    name: String,
    category: &'static str,
    priority: i32,
    at: String,
}

impl Admin {
    /// Over this state.
    pub fn new(brain: Arc<Brain>) -> Self {
        Self { brain, own_name: origin::own_name() }
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

    fn ready(&self) -> Response<Vec<u8>> {
        let snapshot = self.brain.snapshot.load();
        let (up, state, detail) = match self.brain.classifier_health() {
            Health::Ready(name) => (true, "ready", name),
            Health::Loading => (false, "loading", String::new()),
            Health::Down(why) => (false, "down", why),
        };
        let upstreams = self.brain.upstreams.iter().map(|upstream| {
            let seen = upstream.seen();
            let servers = upstream.servers.iter().enumerate().map(|(at, server)| {
                let seen = server.seen();
                let (inflight, cooling) = upstream.state(at);
                ServerState {
                    name: server.authority.clone(),
                    up: seen.up,
                    cooling,
                    inflight,
                    models: seen.models.as_ref().map(Vec::len),
                    in_memory: seen.memory.clone(),
                }
            });
            UpstreamState {
                name: upstream.config.name.clone(),
                url: upstream.config.urls(),
                up: seen.up,
                models: seen.models.as_ref().map(Vec::len),
                servers: servers.collect(),
            }
        });
        json(&Ready {
            // Rules are loaded before anything listens; what else is missing only makes asks slower.
            ready: true,
            rules: RulesState {
                generation: snapshot.generation,
                rules: snapshot.rules().len(),
                answers: snapshot.answers().len(),
            },
            classifier: ClassifierState { up, state, detail },
            upstreams: upstreams.collect(),
        })
    }

    fn rules(&self) -> Response<Vec<u8>> {
        let snapshot = self.brain.snapshot.load();
        let rules = snapshot.rules().iter().map(|rule| RuleLine {
            name: rule.name.to_string(),
            category: rule.category.name(),
            priority: rule.priority,
            at: format!("{}:{}", rule.file.display(), rule.line),
        });
        json(&Rules {
            generation: snapshot.generation,
            hash: snapshot.hash.clone(),
            loaded_at: jiff::Timestamp::try_from(snapshot.loaded_at)
                .map(|t| t.to_string())
                .unwrap_or_default(),
            files: snapshot.files.iter().map(|f| f.display().to_string()).collect(),
            rules: rules.collect(),
            answers: snapshot.answers().map(|a| a.name.to_string()).collect(),
            last_error: self.brain.complaints.load().iter().map(ToString::to_string).collect(),
        })
    }

    async fn explain(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let query = session.req_header().uri.query().unwrap_or("").to_owned();
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
        let mut body = Vec::new();
        loop {
            match session.read_request_body().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => break,
                Err(error) => return plain(StatusCode::BAD_REQUEST, &error.to_string()),
            }
            if body.len() > LARGEST {
                session.set_keepalive(None);
                return plain(StatusCode::PAYLOAD_TOO_LARGE, "a body to explain may have 4 MiB");
            }
        }
        let around = Around { hint: hint.as_deref(), guards: Guards::default(), id: None };
        match explain::explain(&self.brain, dialect, &body, around).await {
            Ok(explanation) => json(&explanation),
            Err(error) => plain(StatusCode::BAD_REQUEST, &format!("{error}; it would be forwarded unread")),
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let method = request.method.clone();
        let path = request.uri.path().to_owned();
        let host = request.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
        let on_loopback = self.brain.config.admin.is_some_and(|at| at.ip().is_loopback());
        if on_loopback && !origin::host_allowed(host, &self.own_name) {
            // As on the proxy's port: a web page must not read this through a name of its own.
            return plain(StatusCode::FORBIDDEN, "this host name is not served here");
        }
        let origin = request.headers.get(http::header::ORIGIN).and_then(|origin| origin.to_str().ok());
        if origin::cors(origin, host) == origin::Cors::AskUpstream {
            return plain(StatusCode::FORBIDDEN, "web pages of other origins are not served here");
        }
        let mut response = match (&method, path.as_str()) {
            (&Method::GET | &Method::HEAD, "/metrics") => self.metrics(),
            (&Method::GET | &Method::HEAD, "/healthz") => plain(StatusCode::OK, "ok"),
            (&Method::GET | &Method::HEAD, "/readyz") => self.ready(),
            (&Method::GET | &Method::HEAD, "/rules") => self.rules(),
            (&Method::POST, "/explain") => self.explain(session).await,
            (_, "/metrics" | "/healthz" | "/readyz" | "/rules" | "/explain") => {
                plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
            }
            _ => plain(
                StatusCode::NOT_FOUND,
                "not found: there are /metrics /healthz /readyz /rules and POST /explain",
            ),
        };
        if method == Method::HEAD {
            response.body_mut().clear();
        }
        response
    }
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
    if let Ok(kind) = http::HeaderValue::from_str(content_type) {
        headers.insert(http::header::CONTENT_TYPE, kind);
    }
    headers.insert(http::header::CONTENT_LENGTH, body.len().into());
    *response.body_mut() = body;
    response
}
