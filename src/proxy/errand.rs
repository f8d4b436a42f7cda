//! A request's place in a pool: which server it goes to, and what happens when that one does not serve it.
//!
//! A request moves on to the next server as long as nothing of a reply has been passed to the client: when a server
//! cannot be reached (nothing was sent yet), and when it says that it is busy (503: it did nothing), if the body is
//! still held. A connection that breaks after the request was sent is no reason to send it again: whatever broke
//! that server may be in the request. The exception is a kept connection that the server had closed meanwhile; a single
//! server gets asks again then, since one more reply written changes nothing there, but no orders.

use std::time::Duration;

use http::StatusCode;
use http::header::HeaderName;
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora::{ErrorSource, ErrorType, RetryType};

use super::passage::{Held, Passage};
use super::{Proxy, answered};
use crate::ask::Ask;
use crate::dialect::Dialect;
use crate::fnv;
use crate::upstream::floor::bit;
use crate::upstream::{Errand, Model, Pool, Server, Target};

/// A connection that the server had closed before shows it within that.
const AT_ONCE: Duration = Duration::from_secs(1);

/// In a request: the server that it must go to. In a reply: the one that gave it.
pub(super) const SERVER: HeaderName = HeaderName::from_static("x-brainstem-server");
pub(super) const SERVED_BY: HeaderName = HeaderName::from_static("x-brainstem-upstream");

/// The server is busy; the request is tried elsewhere.
const BUSY: ErrorType = ErrorType::Custom("Busy");
/// The client named a server that the pool does not have.
pub(super) const NO_SUCH_SERVER: ErrorType = ErrorType::Custom("NoSuchServer");

/// So much of a conversation's first message tells it from others.
const OPENING: usize = 1024;

impl Proxy {
    /// Takes a place for the next attempt.
    pub(super) fn seat(&self, session: &Session, passage: &mut Passage) -> Result<&Server> {
        let Some(pool) = self.brain.upstreams.get(passage.upstream) else {
            return Error::e_explain(ErrorType::InternalError, "no such upstream");
        };
        if pool.several()
            && let Some(named) = session.get_header(&SERVER)
        {
            let index = named.to_str().ok().and_then(|named| pool.server_named(named));
            passage.errand.to = Target::Named(index.ok_or_else(|| Error::new(NO_SUCH_SERVER))?);
        }
        passage.seat = None;
        let taken = pool.seat(&passage.errand, passage.tried);
        let seated = taken.and_then(|(seat, index)| Some((seat, index, pool.servers.get(index)?)));
        let Some((seat, index, server)) = seated else {
            return Error::e_explain(ErrorType::InternalError, "no server is left to try");
        };
        (passage.seat, passage.server, passage.keeps_body) = (Some(seat), index, pool.several());
        passage.tried |= bit(index);
        Ok(server)
    }

    /// The server that a request was last sent to.
    pub(super) fn server(&self, passage: &Passage) -> Option<&Server> {
        self.brain.upstreams.get(passage.upstream)?.servers.get(passage.server)
    }

    /// The server could not be reached: on to the next, if there is one.
    pub(super) fn unreached(&self, passage: &Passage, mut error: Box<Error>) -> Box<Error> {
        let timed_out = *error.etype() == ErrorType::ConnectTimedout;
        let kind = if timed_out { "connect_timeout" } else { "connect" };
        let Some(pool) = self.brain.upstreams.get(passage.upstream) else { return error };
        pool.failed(passage.server, kind);
        if another(pool, passage) {
            self.goes_on(pool, passage, kind, kind);
            error.set_retry(true);
        }
        error
    }

    /// The head of a reply has come: it is passed on, unless the server is busy and another one may not be.
    pub(super) fn heard(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        passage: &mut Passage,
    ) -> Result<()> {
        let Some(pool) = self.brain.upstreams.get(passage.upstream) else { return Ok(()) };
        if pool.several() {
            if response.status == StatusCode::SERVICE_UNAVAILABLE {
                pool.failed(passage.server, "busy");
                if replayable(session, passage) && another(pool, passage) {
                    self.goes_on(pool, passage, "busy", "status");
                    let mut error = Error::new_up(BUSY);
                    error.set_retry(true);
                    return Err(error);
                }
            } else if response.status.is_server_error() {
                pool.spoiled(passage.server, passage.errand.model);
            } else {
                pool.served(passage.server, passage.errand.model);
            }
        }
        if passage.body_sent {
            // From here on nothing can be said again.
            (passage.body, passage.share) = (Held::Nothing, None);
        }
        if (self.is_fleet && passage.is_ask) || pool.several() {
            let server = pool.servers.get(passage.server);
            server.map_or(Ok(()), |server| response.insert_header(SERVED_BY, server.host.clone()))?;
        }
        Ok(())
    }

    /// A connection broke after the request, or a part of it, was sent.
    pub(super) fn broken(
        &self,
        session: &mut Session,
        passage: &mut Passage,
        mut error: Box<Error>,
        reused: bool,
    ) -> Box<Error> {
        if *error.etype() == BUSY {
            return error;
        }
        let pool = self.brain.upstreams.get(passage.upstream);
        if let (Some(pool), ErrorSource::Upstream) = (pool, error.esource()) {
            // Closed before anything of a reply, or before the request was taken: the server has done nothing with it.
            let unread =
                matches!(error.retry, RetryType::ReusedOnly) || *error.etype() == ErrorType::WriteError;
            // A kept connection that the server had closed breaks at once; one that breaks later took the ask along, and
            // what broke that server may be in it.
            let soon = passage.attempted.elapsed() < AT_ONCE;
            if reused
                && (pool.several() || passage.is_ask)
                && unread
                && soon
                && replayable(session, passage)
                && !std::mem::replace(&mut passage.restarted, true)
            {
                self.goes_on(pool, passage, "stale", "reset");
                passage.tried &= !bit(passage.server);
                error.set_retry(true);
                return error;
            }
            if pool.several() {
                let timed_out = *error.etype() == ErrorType::ReadTimedout;
                pool.failed(passage.server, if timed_out { "read_timeout" } else { "reset" });
            }
        }
        // Pingora's own rule.
        if !session.req_header().method.is_idempotent() || session.retry_buffer_truncated() {
            error.set_retry(false);
        } else {
            error.retry.decide_reuse(reused);
        }
        if error.retry() {
            passage.tried &= !bit(passage.server);
        }
        error
    }

    /// The servers that a client may name, for one who named another.
    pub(super) fn servers_named(&self, passage: &Passage) -> String {
        let pool = self.brain.upstreams.get(passage.upstream);
        let names: Vec<&str> =
            pool.iter().flat_map(|pool| &pool.servers).map(|server| server.authority.as_str()).collect();
        format!("{SERVER} names no server of this upstream; there are {}", names.join(", "))
    }

    fn goes_on(&self, pool: &Pool, passage: &Passage, why: &str, error: &'static str) {
        self.upstream_error(passage, error);
        self.brain.metrics.upstream_retries.with_label_values(&[&pool.config.name, why]).inc();
        let server = self.server(passage).map_or("", |server| &server.authority);
        tracing::debug!("upstream {} ({server}): {why}; on to the next", pool.config.name);
    }

    /// Whether there is a choice of servers.
    pub(super) fn chooses(&self, passage: &Passage) -> bool {
        self.brain.upstreams.get(passage.upstream).is_some_and(|pool| pool.several())
    }

    /// Places an ask that could not be read by what there is of it.
    pub(super) fn place_unread(&self, passage: &mut Passage) {
        if let (true, Held::Whole(bytes) | Held::Prefix(bytes)) = (self.chooses(passage), &passage.body) {
            passage.errand = of_model(model_in(bytes));
        }
    }

    /// What a pool has to know of an ask; nothing where there is no choice.
    pub(super) fn errand(&self, upstream: usize, ask: &Ask<'_>, model: Option<&str>) -> Errand {
        match self.brain.upstreams.get(upstream) {
            Some(pool) if pool.several() => of_ask(ask, model),
            _ => Errand::default(),
        }
    }
}

/// What places an ask: its model (or the one put in place of it) and its conversation.
pub(crate) fn of_ask(ask: &Ask<'_>, model: Option<&str>) -> Errand {
    let model = Model::named(model.unwrap_or(&ask.model));
    Errand { model: Some(model), conversation: conversation(ask), to: Target::Best }
}

/// What names a model and is no ask.
pub(super) fn of_model(model: Option<String>) -> Errand {
    Errand { model: model.as_deref().map(Model::named), ..Errand::default() }
}

/// The hash of how a conversation opens, which all its asks have in common: the first human message, as it stands
/// in the body, and the model. Of a prompt only the beginning, since its end is what is new.
fn conversation(ask: &Ask<'_>) -> Option<u64> {
    let opening = ask.opening.get(..OPENING).unwrap_or(ask.opening);
    if opening.is_empty() {
        return None;
    }
    let length = match ask.dialect {
        Dialect::Generate | Dialect::Completions => 0,
        _ => ask.opening.len(),
    };
    let parts = [opening, &length.to_le_bytes(), ask.model.as_bytes()];
    let hash = parts.into_iter().fold(fnv::BASIS, fnv::more);
    // FNV leaves the upper bits of short texts much alike; ties are drawn by them.
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    Some(hash ^ (hash >> 33))
}

/// There is a server that was not tried, and the client insists on none.
fn another(pool: &Pool, passage: &Passage) -> bool {
    pool.order(&passage.errand).iter().any(|placed| passage.tried & bit(placed.server) == 0)
}

/// The client has seen nothing yet, and all that it sent is still at hand.
fn replayable(session: &mut Session, passage: &Passage) -> bool {
    let held = match &passage.body {
        Held::Whole(body) => body.is_empty() || session.get_retry_buffer().is_some(),
        Held::Nothing | Held::Prefix(_) => session.as_mut().is_body_empty(),
    };
    held && answered(session).is_none()
}

/// The model that a body names, if that stands within what there is of it.
pub(super) fn model_in(body: &[u8]) -> Option<String> {
    let mut found = Named::default();
    let mut reader = serde_json::Deserializer::from_slice(body);
    // A body that breaks off, or goes on wrong, is the upstream's to judge; the name may have come before.
    let _ = serde::de::DeserializeSeed::deserialize(&mut found, &mut reader);
    // Go's clients write every field that they know.
    [found.model, found.name, found.source].into_iter().flatten().find(|name| !name.is_empty())
}

/// `model`, or `name` as older clients say, or `source` as a copy says, of an object.
#[derive(Default)]
struct Named {
    model: Option<String>,
    name: Option<String>,
    source: Option<String>,
}

impl<'de> serde::de::DeserializeSeed<'de> for &mut Named {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> serde::de::Visitor<'de> for &mut Named {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<std::borrow::Cow<'de, str>>()? {
            if key.eq_ignore_ascii_case("model") {
                self.model = members.next_value()?;
            } else if key.eq_ignore_ascii_case("name") {
                self.name = members.next_value()?;
            } else if key.eq_ignore_ascii_case("source") {
                self.source = members.next_value()?;
            } else {
                members.next_value::<serde::de::IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(body: &str) -> Option<String> {
        model_in(body.as_bytes())
    }

    #[test]
    fn a_model_is_found_in_what_there_is_of_a_body() {
        assert_eq!(named(r#"{"model":"a","input":["x"]}"#).as_deref(), Some("a"));
        assert_eq!(named(r#"{"name":"old"}"#).as_deref(), Some("old"));
        assert_eq!(named(r#"{"name":"old","Model":"new"}"#).as_deref(), Some("new"));
        assert_eq!(
            named(r#"{"options":{"model":"inner"},"model":"a","messages":[{"ro"#).as_deref(),
            Some("a")
        );
        assert_eq!(named(r#"{"source":"a","destination":"b"}"#).as_deref(), Some("a"));
        assert_eq!(named(r#"{"model":"","name":"old"}"#).as_deref(), Some("old"));
        assert_eq!(named(r#"{"model":7}"#), None);
        assert_eq!(named(r#"["model"]"#), None);
        assert_eq!(named(""), None);
    }

    fn key(dialect: Dialect, body: &str) -> Option<u64> {
        conversation(&Ask::parse(dialect, body.as_bytes()).unwrap())
    }

    #[test]
    fn the_asks_of_a_conversation_have_one_key() {
        let first = key(Dialect::Chat, r#"{"model":"a","messages":[{"role":"user","content":"why?"}]}"#);
        let later = r#"{"model":"a","messages":[{"role":"system","content":"be nice"},
            {"role":"user","content":"why?"},{"role":"assistant","content":"so"},{"role":"user","content":"and?"}]}"#;
        assert_eq!(key(Dialect::Chat, later), first);
        let other = key(Dialect::Chat, r#"{"model":"a","messages":[{"role":"user","content":"why not?"}]}"#);
        let model = key(Dialect::Chat, r#"{"model":"b","messages":[{"role":"user","content":"why?"}]}"#);
        assert!(first.is_some() && other != first && model != first);
        assert_eq!(key(Dialect::Chat, r#"{"model":"a","messages":[]}"#), None);
        let long = "x".repeat(2000);
        let prompt =
            |end: &str| key(Dialect::Generate, &format!(r#"{{"model":"a","prompt":"{long}{end}"}}"#));
        assert_eq!(prompt("1"), prompt("another turn"));
    }
}
