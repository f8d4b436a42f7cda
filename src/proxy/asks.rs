//! `request_filter` for asks: read, look, decide; then answer here or say where it goes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, Version, header};
use pingora::prelude::*;

use super::body::{self, Body, Room};
use super::listing::Listing;
use super::origin::Cors;
use super::passage::{Held, Label, Passage};
use super::shown::Shown;
use super::tasks::Ours;
use super::{Proxy, reply};
use crate::answers::{Answer, Live};
use crate::ask::{self, Ask, Guard, Guards};
use crate::brain::{Around, Brain, Sight};
use crate::category::Category;
use crate::config::Route;
use crate::decide::{By, CLARIFY, Decision, Forward, To, UNSAFE, Work, is_auto};
use crate::dialect::{self, Dialect, Reply, Written};
use crate::tasks::Signals;
use crate::upstream::same_model;

/// Paths whose success changes the upstream's list of models.
const CHANGES_MODELS: [&str; 4] = ["/api/pull", "/api/create", "/api/copy", "/api/delete"];

/// Header in which a client names the category.
const HINT: HeaderName = reply::CATEGORY;

/// What was decided, owned, so that the snapshot can be let go.
enum Next {
    Answer(Written),
    Refuse(String),
    Forward { index: usize, model: Option<String>, guard: Option<Guard> },
    Light { work: Work, index: usize, model: Option<String> },
}

impl Proxy {
    /// Takes in a request. `true` if it has been answered.
    pub(super) async fn receive(&self, session: &mut Session, passage: &mut Passage) -> Result<bool> {
        let request = session.req_header();
        let path = request.uri.path();
        if let Some(ours) =
            Ours::of(&request.method, path).filter(|ours| ours.is_on(&self.brain.config.tasks))
        {
            return self.serve_ours(session, passage, ours).await;
        }
        let Some(dialect) = Dialect::of(&request.method, path) else {
            if self.brain.config.proxy.list_auto && request.version >= Version::HTTP_11 {
                passage.listing = Listing::of(&request.method, path);
            }
            let shown = Shown::of(&request.method, path).filter(|_| self.brain.config.proxy.list_auto);
            if let Some(shown) = shown {
                return self.show(session, passage, shown).await;
            }
            passage.changes_models = CHANGES_MODELS.contains(&path);
            return if self.chooses(passage) {
                self.receive_other(session, passage).await
            } else {
                Ok(false)
            };
        };
        passage.dialect = Some(dialect);
        passage.is_ask = true;
        passage.request_id = request_id(&request.headers);
        passage.trace = self.begin_trace(&request.headers, dialect, passage.start);
        passage.verdict = Some(Label::undecided(Route::Upstream));
        passage.bypassed = request.headers.get(reply::BYPASS).is_some_and(|v| v == "1" || v == "true");
        let limits = &self.brain.config.limits;
        session.set_read_timeout(Some(limits.body_timeout));
        // A key that may not use every model has its body read all the same.
        if passage.bypassed && !passage.is_limited() {
            return if self.chooses(passage) { self.peek(session, passage).await } else { Ok(false) };
        }
        let clock = Instant::now();
        let room = Room { max_body: limits.max_body, max_inspect: limits.max_inspect, budget: &self.budget };
        let read = body::read_within(limits.body_deadline, session, room).await;
        passage.body_wait = clock.elapsed();
        match read? {
            Body::TooLarge => {
                self.refuse("body");
                passage.verdict = Some(Label::undecided(Route::Local));
                reply::send_error(session, passage, 413, &self.too_large()).await?;
                Ok(true)
            }
            Body::Partly(_) if passage.is_limited() => self.refuse_unread(session, passage).await,
            Body::Partly(prefix) => {
                passage.body = Held::Prefix(prefix);
                self.forward_unread(passage);
                self.place_unread(passage);
                Ok(false)
            }
            Body::Whole(bytes, share) => {
                if !body::forwardable(session, &bytes) {
                    return self.refuse_dragged(session, passage).await;
                }
                passage.share = Some(share);
                self.consider(session, passage, dialect, bytes).await
            }
        }
    }

    /// The headers have dragged more of the body along than can be forwarded: see [`body::forwardable`].
    pub(super) async fn refuse_dragged(&self, session: &mut Session, passage: &mut Passage) -> Result<bool> {
        self.refuse("headers");
        let message = "request headers too large for a body of this size";
        reply::send_error(session, passage, 431, message).await?;
        Ok(true)
    }

    /// Decides about an ask whose body is here.
    async fn consider(
        &self,
        session: &mut Session,
        passage: &mut Passage,
        dialect: Dialect,
        bytes: Bytes,
    ) -> Result<bool> {
        let encoding = session.req_header().headers.get(header::CONTENT_ENCODING);
        let plain = match passage.share.as_mut() {
            Some(share) => decoded(encoding, dialect, &bytes, self.max_inspect(), |more| share.grow(more)),
            None => None,
        };
        passage.body = Held::Whole(bytes.clone());
        let seen = plain.as_ref().unwrap_or(&bytes);
        let ask = match Ask::parse(dialect, seen) {
            Ok(ask) => ask,
            Err(_) if passage.is_limited() => return self.refuse_unread(session, passage).await,
            Err(_) => {
                self.forward_unread(passage);
                self.place_unread(passage);
                return Ok(false);
            }
        };
        passage.bypassed |= self.brain.config.proxy.bypass_models.iter().any(|m| same_model(m, &ask.model));
        if !passage.may_use(&ask.model) && (passage.bypassed || !is_auto(&ask.model)) {
            return self.refuse_model(session, passage, &ask.model).await;
        }
        if passage.bypassed {
            passage.errand = self.errand(passage.upstream, &ask, None);
            return Ok(false);
        }
        let mut guards = Guards::default();
        if passage.cors == Cors::AskUpstream {
            guards.insert(Guard::Origin);
        }
        let hint = session.get_header(HINT).and_then(|hint| hint.to_str().ok()).map(str::to_owned);
        let around = Around { hint: hint.as_deref(), guards, id: Some(&passage.request_id) };
        let (mut label, mut next) = self
            .brain
            .decide(&ask, around, |sight, decision| {
                if let Some(trace) = &mut passage.trace {
                    trace.decided(sight, decision);
                }
                (Label::of(decision, sight), next(&self.brain, passage.start, sight, decision))
            })
            .await;
        if let Next::Light { work, index, model } = next {
            let said = self.try_light(work, &ask).await;
            next = match said.and_then(|text| write(&ask, &text, passage.start)) {
                Some(written) => {
                    label.light = Some(work.name());
                    Next::Answer(written)
                }
                None => {
                    label.route = Route::Upstream;
                    Next::Forward { index, model, guard: None }
                }
            };
        }
        if let Next::Forward { guard, .. } = &next
            && label.answer.take().is_some()
        {
            (label.route, label.guard) = (Route::Upstream, guard.map(Guard::name));
        }
        passage.verdict = Some(label);
        match next {
            Next::Answer(written) => {
                reply::send(session, passage, 200, written).await?;
                Ok(true)
            }
            Next::Refuse(text) => {
                reply::send_error(session, passage, 403, &text).await?;
                Ok(true)
            }
            Next::Forward { index, model, .. } => {
                passage.upstream = index;
                self.forward_as(session, passage, &ask, model, seen).await
            }
            // It became one of the others above.
            Next::Light { .. } => Ok(false),
        }
    }

    /// Forwards an ask, with another model's name if there is one to put.
    async fn forward_as(
        &self,
        session: &mut Session,
        passage: &mut Passage,
        ask: &Ask<'_>,
        model: Option<String>,
        body: &Bytes,
    ) -> Result<bool> {
        // A front end's background prompt keeps its own model where the key may not use the other.
        let is_chore = passage.verdict.as_ref().is_some_and(|label| label.signals.chore.is_some());
        let model = model.filter(|model| !is_chore || passage.may_use(model));
        let model = match model {
            None if is_auto(&ask.model) => match &self.brain.seen(passage.upstream).models {
                Some(models) if !models.is_empty() => {
                    models.iter().find(|model| passage.may_use(model)).or(models.first()).cloned()
                }
                listed => {
                    let (status, why) = match listed {
                        Some(_) => (404, "the upstream has none"),
                        None => (502, "the upstream does not say which it has"),
                    };
                    self.brain.upstreams.iter().for_each(|pool| pool.look_again());
                    let message =
                        format!("model '{}' not found: its category names no model, and {why}", ask.model);
                    reply::send_error(session, passage, status, &message).await?;
                    return Ok(true);
                }
            },
            model => model,
        };
        if let Some(model) = model.as_deref().filter(|model| !passage.may_use(model)) {
            return self.refuse_model(session, passage, model).await;
        }
        passage.errand = self.errand(passage.upstream, ask, model.as_deref());
        if let (Some(model), Some(span)) = (model, &ask.model_span) {
            passage.decoded = session.get_header(header::CONTENT_ENCODING).is_some();
            passage.body = Held::Whole(ask::with_model(body, span, &model).into());
        }
        Ok(false)
    }

    /// Forwards what could not be read, as general.
    fn forward_unread(&self, passage: &mut Passage) {
        passage.upstream = self.brain.config.policy(Category::GENERAL).upstream;
        passage.verdict =
            Some(Label { guard: Some(Guard::Unread.name()), ..Label::undecided(Route::Upstream) });
    }

    fn max_inspect(&self) -> usize {
        self.brain.config.limits.max_inspect
    }
}

impl Label {
    fn undecided(route: Route) -> Self {
        Self {
            route,
            category: Category::GENERAL.name(),
            by: By::Default.name(),
            rule: None,
            answer: None,
            guard: None,
            arm: None,
            signals: Signals::default(),
            light: None,
        }
    }

    fn of(decision: &Decision<'_>, sight: &Sight<'_>) -> Self {
        let answer = match decision.to {
            To::Answer(answer, _) | To::Unsafe(answer) => Some(answer.name.clone()),
            To::Question(..) => Some(CLARIFY.into()),
            To::Refusal(_) | To::Upstream(_) | To::Light(..) => None,
        };
        Self {
            route: decision.route(),
            category: decision.category.name(),
            by: decision.by.name(),
            rule: decision.rule.map(|rule| rule.name.clone()),
            answer,
            guard: decision.guard.map(Guard::name),
            arm: sight.arm,
            signals: sight.signals,
            light: None,
        }
    }
}

fn next(brain: &Brain, start: Instant, sight: &Sight<'_>, decision: &Decision<'_>) -> Next {
    let forward =
        |to: Forward<'_>, guard| Next::Forward { index: to.index, model: to.model.map(str::to_owned), guard };
    match decision.to {
        To::Refusal(text) => Next::Refuse(text.to_owned()),
        To::Upstream(to) => forward(to, None),
        To::Light(work, to) => Next::Light { work, index: to.index, model: to.model.map(str::to_owned) },
        To::Question(text, otherwise) => {
            write(sight.ask, text, start).map_or_else(|| forward(otherwise, Some(Guard::Limit)), Next::Answer)
        }
        // Limits that leave nothing of the words must not open the door.
        To::Unsafe(answer) => {
            let text = say(brain, sight, answer).unwrap_or_else(|_| UNSAFE.to_owned());
            write(sight.ask, &text, start).map_or(Next::Refuse(text), Next::Answer)
        }
        To::Answer(answer, otherwise) => match say(brain, sight, answer) {
            // The ask's own limits may leave nothing of the answer.
            Ok(text) => write(sight.ask, &text, start)
                .map_or_else(|| forward(otherwise, Some(Guard::Limit)), Next::Answer),
            Err(error) => {
                // The template took a value that the check at load did not foresee: Ollama answers.
                tracing::warn!("{error}");
                forward(otherwise, None)
            }
        },
    }
}

/// The answer's text for this ask.
pub(crate) fn say(
    brain: &Brain,
    sight: &Sight<'_>,
    answer: &Answer,
) -> Result<String, crate::answers::RenderError> {
    let index = brain.config.policy(Category::FAST).upstream;
    let seen = brain.seen(index);
    let model = match brain.config.policy(Category::GENERAL).model.as_deref() {
        _ if !is_auto(&sight.ask.model) => &sight.ask.model,
        Some(model) => model,
        None => seen.models.iter().flatten().next().map_or(&*sight.ask.model, String::as_str),
    };
    let live = Live {
        model,
        models: seen.models.as_deref().unwrap_or_default(),
        upstream_up: seen.up,
        uptime: brain.started.elapsed(),
        version: env!("CARGO_PKG_VERSION"),
        rules: sight.snapshot.rules().len(),
        now: jiff::Zoned::now(),
    };
    answer.render(sight.facts.language, seed(sight.ask), &live).map(|text| text.into_owned())
}

/// Writes the text as the ask's own dialect would. `None` if the ask's own limits leave nothing of it: an
/// empty reply breaks Anthropic's clients.
fn write(ask: &Ask<'_>, text: &str, start: Instant) -> Option<Written> {
    let cut = dialect::cut(text, ask.limit, &ask.stops);
    if cut.text.is_empty() {
        return None;
    }
    let reply = Reply {
        dialect: ask.dialect,
        model: &ask.model,
        text: cut.text,
        length: cut.length,
        stream: ask.stream,
        usage_chunk: ask.usage_chunk,
        prompt_tokens: dialect::prompt_tokens(ask.prompt_bytes),
        completion_tokens: cut.tokens,
        took: start.elapsed(),
        at: SystemTime::now(),
        seed: fastrand::u64(..),
        echo: &ask.echo,
    };
    Some(reply.write())
}

/// Equal asks get equal words: a client's retry repeats itself.
fn seed(ask: &Ask<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&ask.text, &ask.model).hash(&mut hasher);
    hasher.finish()
}

/// The client's own id if it is a sane one, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let sane = |id: &&str| !id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_graphic());
    let kept = headers.get(reply::REQUEST_ID).and_then(|id| id.to_str().ok()).filter(sane);
    kept.map_or_else(|| format!("{:016x}", fastrand::u64(..)), str::to_owned)
}

/// What stands in a `zstd` body, which Ollama takes on `/v1/*` only. `None`: it is plain, or it cannot be
/// read here and will not parse either, or there is no room for it.
fn decoded(
    encoding: Option<&http::HeaderValue>,
    dialect: Dialect,
    body: &Bytes,
    most: usize,
    mut room: impl FnMut(usize) -> bool,
) -> Option<Bytes> {
    /// The largest window that zstd's own command makes without being told to: 16 MiB.
    const WINDOW_LOG: u32 = 24;
    let is_zstd = encoding?.as_bytes().eq_ignore_ascii_case(b"zstd");
    if !is_zstd || !dialect.path().starts_with("/v1/") {
        return None;
    }
    let mut reader = zstd::stream::read::Decoder::new(&body[..]).ok()?;
    reader.window_log_max(WINDOW_LOG).ok()?;
    let mut plain = Vec::new();
    loop {
        let read = reader.by_ref().take(64 * 1024).read_to_end(&mut plain).ok()?;
        if read == 0 {
            return Some(Bytes::from(plain));
        }
        if plain.len() > most || !room(read) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_request_id_is_kept() {
        let mut headers = HeaderMap::new();
        assert_eq!(request_id(&headers).len(), 16);
        headers.insert(reply::REQUEST_ID, http::HeaderValue::from_static("abc-1"));
        assert_eq!(request_id(&headers), "abc-1");
        headers.insert(reply::REQUEST_ID, http::HeaderValue::from_static("a b"));
        assert_ne!(request_id(&headers), "a b");
    }

    #[test]
    fn zstd_is_read_on_v1_only_and_bounded() {
        let zstd_header = http::HeaderValue::from_static("zstd");
        let packed = Bytes::from(zstd::encode_all(&vec![b'x'; 5000][..], 1).unwrap());
        let read =
            |dialect, most| decoded(Some(&zstd_header), dialect, &packed, most, |_| true).map(|b| b.len());
        assert_eq!(read(Dialect::ChatCompletions, 5000), Some(5000));
        assert_eq!(read(Dialect::ChatCompletions, 4999), None);
        assert_eq!(read(Dialect::Chat, 5000), None);
        assert_eq!(decoded(Some(&zstd_header), Dialect::ChatCompletions, &packed, 5000, |n| n < 100), None);
        let junk = Bytes::from_static(b"junk");
        assert_eq!(decoded(Some(&zstd_header), Dialect::ChatCompletions, &junk, 100, |_| true), None);
    }
}
