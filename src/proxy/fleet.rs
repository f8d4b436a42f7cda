//! What is no ask, in front of several servers: lists are the union of theirs, what names a model goes where the
//! model is, what changes models goes to one or to all, everything else to the first that answers.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Version, header};
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora::protocols::http::date::get_cached_date;
use serde::Deserialize;
use tokio::sync::mpsc;
use ureq::RequestBuilder;
use ureq::typestate::WithBody;

use super::body::{self, Body, Room};
use super::cors;
use super::errand::{self, SERVER};
use super::origin::Cors;
use super::passage::{Held, Passage};
use super::progress::Progress;
use super::union::Union;
use super::{Proxy, reply};
use crate::config::{Manage, Secret, Upstream};
use crate::dialect::Written;
use crate::tls::Trust;
use crate::upstream::{Errand, LOOK_TIMEOUT, Model, Pool, Seen, Target};

/// A list or an error of a server is read no further.
const LARGEST: u64 = 8 * 1024 * 1024;

/// Lines of progress that wait for the client; then the servers wait.
const WAITING: usize = 64;

const NDJSON: &str = "application/x-ndjson";

/// What a request that is no ask is about.
#[derive(Debug, PartialEq, Eq)]
enum Matter<'p> {
    /// A list of all servers.
    List(Union),
    /// Changes what servers have; where each server that has the model is meant, `held` says so.
    Change { held: bool },
    /// About the model that its body names.
    Body,
    /// About the model that its path names.
    Model(&'p str),
    /// About nothing that a server has more of than another.
    Other,
}

impl<'p> Matter<'p> {
    fn of(method: &Method, path: &'p str, manage: Manage) -> Self {
        let all = manage == Manage::All;
        match (method.as_str(), path) {
            ("GET", path) if Union::of(path).is_some() => Union::of(path).map_or(Self::Other, Self::List),
            ("POST", "/api/pull" | "/api/create") if all => Self::Change { held: false },
            ("POST", "/api/copy") | ("DELETE", "/api/delete") if all => Self::Change { held: true },
            ("POST", "/api/push" | "/api/show" | "/api/embed" | "/api/embeddings" | "/v1/embeddings") => {
                Self::Body
            }
            ("GET", path) => path.strip_prefix("/v1/models/").map_or(Self::Other, Self::Model),
            _ => Self::Other,
        }
    }
}

/// What a server says of an order.
enum Word {
    Line(Vec<u8>),
    Refused(u16, String),
    Done,
}

/// Whether an order's progress is to be streamed: it is, unless the client says no.
#[derive(Deserialize)]
struct Streams {
    stream: Option<bool>,
}

/// A server's own error.
#[derive(Deserialize)]
struct Failure {
    error: String,
}

impl Proxy {
    /// Takes in what is no ask, for a pool of several servers. `true` if it has been answered.
    pub(super) async fn receive_other(&self, session: &mut Session, passage: &mut Passage) -> Result<bool> {
        let Some(pool) = self.brain.upstreams.get(passage.upstream) else { return Ok(false) };
        let (method, path) =
            (session.req_header().method.clone(), session.req_header().uri.path().to_owned());
        // Who names a server speaks with that server alone; a web page that only a server can judge, too: what is
        // asked of all carries no `Origin`.
        let alone = session.get_header(&SERVER).is_some() || passage.cors == Cors::AskUpstream;
        let manage = if alone { Manage::First } else { pool.config.manage };
        match Matter::of(&method, &path, manage) {
            Matter::List(_) if alone => passage.errand.to = Target::First,
            Matter::List(union) => return self.list(session, passage, union, &path).await,
            Matter::Change { held } => {
                passage.errand.to = Target::First;
                if self.peek(session, passage).await? {
                    return Ok(true);
                }
                return self.order_all(session, passage, held).await;
            }
            Matter::Body => return self.peek(session, passage).await,
            Matter::Model(name) => passage.errand = errand::of_model(Some(name.replace("%3A", ":"))),
            Matter::Other => passage.errand = Errand { to: Target::First, ..Errand::default() },
        }
        Ok(false)
    }

    /// Reads a body for the model that it names; it is sent as it came. `true` if it has been answered.
    pub(super) async fn peek(&self, session: &mut Session, passage: &mut Passage) -> Result<bool> {
        if let Held::Whole(bytes) = &passage.body {
            // Read already, to see whether the key may use its model.
            passage.errand.model = errand::of_model(errand::model_in(bytes)).model;
            return Ok(false);
        }
        if session.as_mut().is_body_empty() {
            return Ok(false);
        }
        let limits = &self.brain.config.limits;
        session.set_read_timeout(Some(limits.body_timeout));
        let room = Room { max_body: usize::MAX, max_inspect: limits.max_inspect, budget: &self.budget };
        match body::read_within(limits.body_deadline, session, room).await? {
            Body::Whole(bytes, share) => {
                if !body::forwardable(session, &bytes) {
                    return self.refuse_dragged(session, passage).await;
                }
                passage.errand.model = errand::of_model(errand::model_in(&bytes)).model;
                (passage.body, passage.share) = (Held::Whole(bytes), Some(share));
            }
            Body::Partly(prefix) => {
                passage.errand.model = errand::of_model(errand::model_in(&prefix)).model;
                passage.body = Held::Prefix(prefix);
            }
            Body::TooLarge => {}
        }
        Ok(false)
    }

    /// For the upstream that a request goes to.
    fn agent(&self, passage: &Passage) -> ureq::Agent {
        self.agents.get(passage.upstream).cloned().unwrap_or_else(ureq::Agent::new_with_defaults)
    }

    /// The list of all servers that answer.
    async fn list(
        &self,
        session: &mut Session,
        passage: &mut Passage,
        union: Union,
        path: &str,
    ) -> Result<bool> {
        let Some(pool) = self.brain.upstreams.get(passage.upstream) else { return Ok(false) };
        let asked = pool.servers.iter().filter(|server| server.seen().up).map(|server| {
            let (agent, url) = (self.agent(passage), format!("{}{path}", server.url()));
            let key = pool.config.key.clone();
            tokio::task::spawn_blocking(move || -> Result<Vec<u8>, ureq::Error> {
                let request = with_key(agent.get(url), key.as_ref());
                let timed = request.config().timeout_global(Some(LOOK_TIMEOUT)).build();
                timed.call()?.body_mut().with_config().limit(LARGEST).read_to_vec()
            })
        });
        let asked: Vec<_> = asked.collect();
        let mut pages = Vec::new();
        for page in asked {
            if let Ok(Ok(page)) = page.await {
                pages.push(page);
            }
        }
        if pages.is_empty() {
            // Whatever a server has to say to it, or the error that none can be reached.
            passage.errand.to = Target::First;
            return Ok(false);
        }
        let mut body = Bytes::from(union.merge(&pages));
        if let Some(mut listing) = passage.listing.take() {
            body = listing.pass(Some(body), true).unwrap_or_default();
        }
        let kind =
            if union == Union::OpenAi { "application/json" } else { "application/json; charset=utf-8" };
        let written = Written { content_type: kind, no_cache: false, body };
        reply::send(session, passage, 200, written).await?;
        Ok(true)
    }

    /// Gives an order to every server that it is for, and tells of it as of one. `false`: it is for none, or was not
    /// read, and goes to the first.
    async fn order_all(&self, session: &mut Session, passage: &mut Passage, held: bool) -> Result<bool> {
        let Some(pool) = self.brain.upstreams.get(passage.upstream) else { return Ok(false) };
        let Held::Whole(body) = &passage.body else { return Ok(false) };
        let (body, meant) = (body.clone(), servers_for(pool, passage.errand.model.filter(|_| held)));
        if meant.is_empty() {
            return Ok(false);
        }
        let names =
            meant.iter().filter_map(|at| pool.servers.get(*at)).map(|s| s.authority.clone()).collect();
        let deletes = session.req_header().method == Method::DELETE;
        let path = session.req_header().uri.path().to_owned();
        let (tell, mut told) = mpsc::channel(WAITING);
        for (at, server) in meant.iter().filter_map(|at| pool.servers.get(*at)).enumerate() {
            let (agent, tell, body) = (self.agent(passage), tell.clone(), body.clone());
            let key = pool.config.key.clone();
            let (url, connect) = (format!("{}{path}", server.url()), pool.config.connect_timeout);
            tokio::task::spawn_blocking(move || {
                let request = if deletes { agent.delete(url).force_send_body() } else { agent.post(url) };
                let word = order_one(with_key(request, key.as_ref()), &body, connect, |line| {
                    tell.blocking_send((at, Word::Line(line))).is_ok()
                });
                // Nobody listens any more: the client has left.
                let _ = tell.blocking_send((at, word));
            });
        }
        drop(tell);
        let streams =
            !held && serde_json::from_slice::<Streams>(&body).is_ok_and(|s| s.stream != Some(false));
        let mut progress = Progress::new(names);
        let (mut refused, mut begun) = (None, false);
        while let Some((at, word)) = told.recv().await {
            let line = match word {
                Word::Line(line) => progress.line(at, &line),
                Word::Refused(status, why) => {
                    refused.get_or_insert(status);
                    progress.failed(at, &why);
                    None
                }
                Word::Done => None,
            };
            if let Some(line) = line.filter(|_| streams) {
                if !std::mem::replace(&mut begun, true) {
                    begin(session, passage).await?;
                }
                session.write_response_body(Some(line.into()), false).await?;
            }
        }
        let (end, failures) = (progress.end(), progress.failures());
        if begun {
            session.write_response_body(Some(end.into()), true).await?;
        } else if !failures.is_empty() {
            reply::send_error(session, passage, refused.unwrap_or(500), &failures).await?;
        } else {
            let body = if held { Bytes::new() } else { end.into() };
            let content_type = if streams { NDJSON } else { "application/json; charset=utf-8" };
            reply::send(session, passage, 200, Written { content_type, no_cache: false, body }).await?;
        }
        Ok(true)
    }
}

/// What asks several servers of an upstream at once.
pub(super) fn agent(upstream: &Upstream) -> ureq::Agent {
    let tls = upstream.trust.as_ref().map(Trust::config).unwrap_or_default();
    ureq::Agent::config_builder().max_redirects(0).proxy(None).tls_config(tls).build().into()
}

/// With our own key for that upstream, if there is one.
fn with_key<B>(request: RequestBuilder<B>, key: Option<&Secret>) -> RequestBuilder<B> {
    match key {
        Some(key) => request.header(header::AUTHORIZATION, key.bearer()),
        None => request,
    }
}

/// The servers that an order is for: all that answer, or those of them that may have the model.
fn servers_for(pool: &Pool, model: Option<Model>) -> Vec<usize> {
    let meant = |seen: &Seen| seen.up && model.is_none_or(|model| seen.has(model) != Some(false));
    let all = pool.servers.iter().enumerate();
    all.filter(|(_, server)| meant(&server.seen())).map(|(at, _)| at).collect()
}

/// The head of a stream of progress.
async fn begin(session: &mut Session, passage: &mut Passage) -> Result<()> {
    let mut head = ResponseHeader::build(200, Some(3))?;
    head.insert_header(header::CONTENT_TYPE, NDJSON)?;
    head.insert_header(header::DATE, get_cached_date())?;
    cors::allow(&mut head, passage.cors, session.get_header(header::ORIGIN))?;
    if session.req_header().version >= Version::HTTP_11 {
        head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    session.write_response_header(Box::new(head), false).await?;
    passage.first_byte = Some(passage.start.elapsed());
    Ok(())
}

/// Sends an order to one server and hands on its lines as long as somebody takes them.
fn order_one(
    request: RequestBuilder<WithBody>,
    body: &[u8],
    connect: Duration,
    mut line_came: impl FnMut(Vec<u8>) -> bool,
) -> Word {
    let request = request.config().http_status_as_error(false).timeout_connect(Some(connect)).build();
    let mut reply = match request.header(header::CONTENT_TYPE, "application/json").send(body) {
        Ok(reply) => reply,
        Err(error) => return Word::Refused(502, error.to_string()),
    };
    let status = reply.status().as_u16();
    if status != 200 {
        let text = reply.body_mut().with_config().limit(LARGEST).read_to_string().unwrap_or_default();
        let why = serde_json::from_str::<Failure>(&text).map_or(text, |failure| failure.error);
        return Word::Refused(status, why.trim().to_owned());
    }
    let lines = BufReader::new(reply.body_mut().as_reader()).split(b'\n');
    for line in lines {
        match line {
            Err(error) => return Word::Refused(502, error.to_string()),
            Ok(line) if line.is_empty() => {}
            Ok(line) => {
                if !line_came(line) {
                    return Word::Done;
                }
            }
        }
    }
    Word::Done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, path: &'static str, manage: Manage) -> Matter<'static> {
        Matter::of(&method.parse().unwrap(), path, manage)
    }

    #[test]
    fn what_is_about_what() {
        for manage in [Manage::First, Manage::All] {
            assert_eq!(of("GET", "/api/tags", manage), Matter::List(Union::Tags));
            assert_eq!(of("HEAD", "/api/tags", manage), Matter::Other);
            assert_eq!(of("GET", "/v1/models/a:1", manage), Matter::Model("a:1"));
            assert_eq!(of("POST", "/api/embed", manage), Matter::Body);
            assert_eq!(of("POST", "/api/push", manage), Matter::Body);
            assert_eq!(of("GET", "/api/version", manage), Matter::Other);
            assert_eq!(of("POST", "/api/blobs/sha256:0", manage), Matter::Other);
        }
        assert_eq!(of("POST", "/api/pull", Manage::First), Matter::Other);
        assert_eq!(of("POST", "/api/pull", Manage::All), Matter::Change { held: false });
        assert_eq!(of("DELETE", "/api/delete", Manage::All), Matter::Change { held: true });
    }
}
