//! `POST /light/v1/TASK`: the light tasks, and `brainstem/embed` on the upstream's own paths for embeddings.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::{Method, header};
use pingora::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{self, Body, Room};
use super::errand;
use super::origin::Cors;
use super::passage::{Held, Passage};
use super::{Proxy, reply};
use crate::config;
use crate::dialect::Written;
use crate::metrics::seconds;
use crate::tasks::{EMBED_MODEL, Order, Refused, Said, Task};

/// Where the tasks are.
const PREFIX: &str = "/light/v1/";
/// A request for embeddings above this passes through unseen: Pingora keeps so much of a body to send it again.
const MOST_EMBED: usize = 60 * 1024;

/// A request that is not for the upstream, or may not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ours {
    /// A task, by its name.
    Task(String),
    /// Ollama's embeddings.
    Embed,
    /// OpenAI's.
    Embeddings,
}

impl Ours {
    /// By method and path.
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        match path {
            "/api/embed" if method == Method::POST => Some(Self::Embed),
            "/v1/embeddings" if method == Method::POST => Some(Self::Embeddings),
            _ => path.strip_prefix(PREFIX).map(|name| Self::Task(name.to_owned())),
        }
    }

    /// The config has it on.
    pub(super) fn is_on(&self, config: &config::Tasks) -> bool {
        if matches!(self, Self::Task(_)) { config.enabled } else { config.embed }
    }
}

/// A request for embeddings, as both APIs have it.
#[derive(Deserialize)]
struct Wanted {
    model: String,
    input: Value,
    encoding_format: Option<String>,
}

impl Proxy {
    /// Answers what is ours. `false`: it is the upstream's after all, and nothing of it was touched.
    pub(super) async fn serve_ours(
        &self,
        session: &mut Session,
        passage: &mut Passage,
        ours: Ours,
    ) -> Result<bool> {
        match ours {
            Ours::Task(name) => self.task(session, passage, &name).await.map(|()| true),
            Ours::Embed | Ours::Embeddings => self.embed(session, passage, ours).await,
        }
    }

    async fn task(&self, session: &mut Session, passage: &mut Passage, name: &str) -> Result<()> {
        passage.ours = true;
        let Some(task) = Task::of(name) else {
            let known = Task::ALL.map(Task::name);
            let error = json!({"error": format!("there is no task {name:?}"), "tasks": known});
            return say(session, passage, 404, &error).await;
        };
        if session.req_header().method != Method::POST {
            return say(session, passage, 405, &json!({"error": "use POST"})).await;
        }
        // A page that only the upstream can judge, and this is not the upstream's.
        if passage.cors == Cors::AskUpstream {
            return say(
                session,
                passage,
                403,
                &json!({"error": "this origin is not allowed; see proxy.origins"}),
            )
            .await;
        }
        if task == Task::Embed && !passage.may_use(EMBED_MODEL) {
            return self.refuse_model(session, passage, EMBED_MODEL).await.map(drop);
        }
        let limits = &self.brain.config.limits;
        session.set_read_timeout(Some(limits.body_timeout));
        let most = limits.max_inspect.min(limits.max_body);
        let room = Room { max_body: most, max_inspect: most, budget: &self.budget };
        let clock = Instant::now();
        let read = body::read_within(limits.body_deadline, session, room).await;
        passage.body_wait = clock.elapsed();
        let (bytes, _share) = match read? {
            Body::Whole(bytes, share) => (bytes, share),
            Body::Partly(_) | Body::TooLarge => {
                let error = format!("the body must come with its Content-Length, up to {most} bytes");
                return say(session, passage, 413, &json!({"error": error})).await;
            }
        };
        let clock = Instant::now();
        match self.do_task(task, Order::read(task, &bytes)).await {
            Ok(said) => {
                say(session, passage, 200, &said.reply(task, clock.elapsed().as_secs_f64() * 1e3)).await
            }
            Err(refused) => {
                say(session, passage, refused.status(), &json!({"error": refused.to_string()})).await
            }
        }
    }

    /// Does a task, and counts it.
    async fn do_task(&self, task: Task, order: Result<Order, Refused>) -> Result<Said, Refused> {
        let brain = &self.brain;
        let clock = Instant::now();
        let said = match order {
            Ok(order) => brain.desk.serve(order, brain.tools(), brain.config.tasks.timeout).await,
            Err(refused) => Err(refused),
        };
        let outcome = match &said {
            Ok(Said::Result { .. }) => "ok",
            Ok(Said::Nothing(_)) => "none",
            Err(refused) => refused.name(),
        };
        brain.metrics.light_tasks.with_label_values(&[task.name(), outcome]).inc();
        brain.metrics.light_task_seconds.with_label_values(&[task.name()]).observe(seconds(clock.elapsed()));
        said
    }

    /// Embeddings by our own encoder, if that is the model asked for. Else the bytes that were read are in Pingora's
    /// own buffer, from which it sends them as they came.
    async fn embed(&self, session: &mut Session, passage: &mut Passage, ours: Ours) -> Result<bool> {
        // A pool of servers reads it anyway, for the model.
        if self.chooses(passage) && self.peek(session, passage).await? {
            return Ok(true);
        }
        let kept = match &passage.body {
            // Read already: for the pool, or to see whether the key may use its model.
            Held::Whole(whole) => Some(whole.clone()),
            Held::Nothing | Held::Prefix(_) if self.chooses(passage) => None,
            Held::Nothing | Held::Prefix(_) => {
                session.set_read_timeout(Some(self.brain.config.limits.body_timeout));
                until_other(session).await?
            }
        };
        // Of a page's origin that only the upstream can judge, it shall.
        let Some(kept) = kept.filter(|_| passage.cors != Cors::AskUpstream) else { return Ok(false) };
        let Some(wanted) =
            serde_json::from_slice::<Wanted>(&kept).ok().filter(|wanted| wanted.model == EMBED_MODEL)
        else {
            return Ok(false);
        };
        passage.ours = true;
        let clock = Instant::now();
        let request = json!({"input": wanted.input}).to_string();
        let said = self.do_task(Task::Embed, Order::read(Task::Embed, request.as_bytes())).await;
        let refused = match said {
            Ok(Said::Result { value, .. }) => {
                let in_text = wanted.encoding_format.as_deref() == Some("base64");
                let body = written(&ours, &value, in_text, kept.len(), clock);
                return say(session, passage, 200, &body).await.map(|()| true);
            }
            Ok(Said::Nothing(why)) => (503, why),
            Err(refused) => (refused.status(), refused.to_string()),
        };
        reply::send_error(session, passage, refused.0, &refused.1).await.map(|()| true)
    }
}

/// The body, if it is short and may be for our model as far as it tells; nothing more of it is read once it is not.
async fn until_other(session: &mut Session) -> Result<Option<Bytes>> {
    let length = body::content_length(session).filter(|length| (1..=MOST_EMBED).contains(length));
    let plain = session.get_header(header::EXPECT).is_none()
        && session.get_header(header::CONTENT_ENCODING).is_none();
    if length.is_none() || !plain {
        return Ok(None);
    }
    session.enable_retry_buffering();
    let mut kept = BytesMut::new();
    while !session.is_body_done() {
        let Some(chunk) = session.read_request_body().await.map_err(Error::into_down)? else { break };
        kept.extend_from_slice(&chunk);
        if errand::model_in(&kept).is_some_and(|model| model != EMBED_MODEL) {
            return Ok(None);
        }
    }
    Ok(Some(kept.freeze()))
}

/// The vectors in the form of their API.
fn written(ours: &Ours, value: &Value, in_text: bool, bytes: usize, since: Instant) -> Value {
    let empty = Vec::new();
    let vectors = value["embeddings"].as_array().unwrap_or(&empty);
    let tokens = crate::dialect::prompt_tokens(bytes);
    if *ours == Ours::Embed {
        let nanos = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        return json!({
            "model": EMBED_MODEL, "embeddings": vectors, "total_duration": nanos, "load_duration": 0,
            "prompt_eval_count": tokens,
        });
    }
    let one = |(index, vector): (usize, &Value)| {
        let vector = if in_text { json!(packed(vector)) } else { vector.clone() };
        json!({"object": "embedding", "embedding": vector, "index": index})
    };
    let data: Vec<Value> = vectors.iter().enumerate().map(one).collect();
    json!({
        "object": "list", "data": data, "model": EMBED_MODEL,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })
}

/// Four bytes a number, as OpenAI's own clients ask for.
fn packed(vector: &Value) -> String {
    let numbers = vector.as_array().into_iter().flatten().filter_map(Value::as_f64);
    STANDARD.encode(numbers.flat_map(|number| (number as f32).to_le_bytes()).collect::<Vec<u8>>())
}

async fn say(session: &mut Session, passage: &mut Passage, status: u16, body: &Value) -> Result<()> {
    if !session.is_body_done() {
        session.set_keepalive(None);
    }
    let body = Bytes::from(body.to_string());
    let written = Written { content_type: "application/json; charset=utf-8", no_cache: false, body };
    reply::send(session, passage, status, written).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_in_both_forms() {
        let value = json!({"embeddings": [[0.5, -1.0]]});
        let made = written(&Ours::Embeddings, &value, false, 10, Instant::now());
        assert_eq!(made["data"][0], json!({"object": "embedding", "embedding": [0.5, -1.0], "index": 0}));
        let made = written(&Ours::Embeddings, &value, true, 10, Instant::now());
        assert_eq!(made["data"][0]["embedding"], "AAAAPwAAgL8=");
        assert_eq!(
            written(&Ours::Embed, &value, false, 10, Instant::now())["embeddings"],
            value["embeddings"]
        );
    }
}
