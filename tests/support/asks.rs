//! The six dialects from a client's side: how an ask is put, and what a reply says.

use serde_json::{Value, json};

use super::http::{Reply, Request};

/// A surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface {
    Generate,
    Chat,
    ChatCompletions,
    Completions,
    Messages,
    Responses,
}

pub(crate) const ALL: [Surface; 6] = [
    Surface::Generate,
    Surface::Chat,
    Surface::ChatCompletions,
    Surface::Completions,
    Surface::Messages,
    Surface::Responses,
];

/// What a client makes of a reply.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    pub(crate) text: String,
    pub(crate) model: String,
    /// `done_reason`, `finish_reason`, `stop_reason`, or the status of a response.
    pub(crate) reason: String,
    /// Tokens of prompt and answer, if the surface told them.
    pub(crate) usage: Option<(u64, u64)>,
}

impl Surface {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Generate => "/api/generate",
            Self::Chat => "/api/chat",
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Messages => "/v1/messages",
            Self::Responses => "/v1/responses",
        }
    }

    pub(crate) fn is_native(self) -> bool {
        matches!(self, Self::Generate | Self::Chat)
    }

    /// The body of an ask.
    pub(crate) fn body(self, model: &str, text: &str) -> Value {
        let messages = json!([{"role": "user", "content": text}]);
        match self {
            Self::Generate | Self::Completions => json!({"model": model, "prompt": text}),
            Self::Chat | Self::ChatCompletions => json!({"model": model, "messages": messages}),
            Self::Messages => json!({"model": model, "max_tokens": 1000, "messages": messages}),
            Self::Responses => json!({"model": model, "input": text}),
        }
    }

    /// The body with more in it.
    pub(crate) fn with(self, model: &str, text: &str, more: Value) -> Value {
        let mut body = self.body(model, text);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    }

    pub(crate) fn request(self, body: &Value) -> Request {
        Request::json(self.path(), body)
    }

    /// Whether it streams when nothing is said about it.
    pub(crate) fn streams_by_default(self) -> bool {
        self.is_native()
    }

    pub(crate) fn content_type(self, streamed: bool) -> &'static str {
        match (self.is_native(), streamed) {
            (true, true) => "application/x-ndjson",
            (true, false) => "application/json; charset=utf-8",
            (false, true) => "text/event-stream",
            (false, false) => "application/json",
        }
    }

    /// Reads a reply as a strict client would.
    #[track_caller]
    pub(crate) fn hear(self, streamed: bool, reply: &Reply) -> Heard {
        match (self, streamed) {
            (Self::Generate | Self::Chat, false) => self.native(&[reply.value()]),
            (Self::Generate | Self::Chat, true) => {
                assert!(reply.text().ends_with('\n'), "{reply:?}");
                let lines: Vec<Value> = reply.text().lines().map(parse).collect();
                assert!(lines.len() >= 2, "{lines:?}");
                self.native(&lines)
            }
            (Self::ChatCompletions | Self::Completions, false) => self.completion(&reply.value()),
            (Self::ChatCompletions | Self::Completions, true) => self.completion_stream(reply.text()),
            (Self::Messages, false) => message(&reply.value()),
            (Self::Messages, true) => message_stream(reply.text()),
            (Self::Responses, false) => response(&reply.value()),
            (Self::Responses, true) => response_stream(reply.text()),
        }
    }

    fn native(self, lines: &[Value]) -> Heard {
        let text = lines.iter().map(|line| {
            assert!(line["created_at"].as_str().unwrap().ends_with('Z'), "{line}");
            match self {
                Self::Generate => line["response"].as_str().unwrap().to_owned(),
                _ => {
                    assert_eq!(line["message"]["role"], "assistant");
                    line["message"]["content"].as_str().unwrap().to_owned()
                }
            }
        });
        let text = text.collect();
        let (last, first) = lines.split_last().unwrap();
        assert!(first.iter().all(|line| line["done"] == false), "{lines:?}");
        assert_eq!(last["done"], true);
        for field in ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"] {
            assert!(last[field].as_u64().is_some_and(|n| n > 0), "{field}: {last}");
        }
        let usage = (last["prompt_eval_count"].as_u64().unwrap(), last["eval_count"].as_u64().unwrap());
        Heard {
            text,
            model: same(lines.iter().map(|line| line["model"].as_str().unwrap())),
            reason: last["done_reason"].as_str().unwrap().to_owned(),
            usage: Some(usage),
        }
    }

    fn completion(self, reply: &Value) -> Heard {
        let choice = &reply["choices"][0];
        let (object, prefix, text) = match self {
            Self::ChatCompletions => ("chat.completion", "chatcmpl-", &choice["message"]["content"]),
            _ => ("text_completion", "cmpl-", &choice["text"]),
        };
        assert_eq!(reply["object"], object);
        assert!(reply["id"].as_str().unwrap().starts_with(prefix));
        assert!(reply["created"].as_u64().unwrap() > 1_700_000_000);
        Heard {
            text: text.as_str().unwrap().to_owned(),
            model: reply["model"].as_str().unwrap().to_owned(),
            reason: choice["finish_reason"].as_str().unwrap().to_owned(),
            usage: Some(totals(&reply["usage"], "prompt_tokens", "completion_tokens")),
        }
    }

    fn completion_stream(self, text: &str) -> Heard {
        let mut events: Vec<&str> = events(text).into_iter().map(|(_, data)| data).collect();
        assert_eq!(events.pop(), Some("[DONE]"));
        let chunks: Vec<Value> = events.into_iter().map(parse).collect();
        let id = same(chunks.iter().map(|c| c["id"].as_str().unwrap()));
        assert!(id.starts_with(if self == Self::Completions { "cmpl-" } else { "chatcmpl-" }));
        let choices = chunks.iter().filter_map(|c| c["choices"].get(0));
        let said = choices.clone().map(|choice| match self {
            Self::ChatCompletions => choice["delta"]["content"].as_str().unwrap_or("").to_owned(),
            _ => choice["text"].as_str().unwrap().to_owned(),
        });
        let text = said.collect();
        if self == Self::ChatCompletions {
            let roles: Vec<_> = choices.clone().map(|choice| choice["delta"]["role"].as_str()).collect();
            assert_eq!(roles[0], Some("assistant"));
            assert!(roles[1..].iter().all(Option::is_none), "{roles:?}");
        }
        let reasons: Vec<_> = choices.map(|choice| choice["finish_reason"].as_str()).collect();
        let (last, before) = reasons.split_last().unwrap();
        assert!(before.iter().all(Option::is_none), "{reasons:?}");
        let extra = chunks.iter().find(|c| c["choices"].as_array().unwrap().is_empty());
        Heard {
            text,
            model: same(chunks.iter().map(|c| c["model"].as_str().unwrap())),
            reason: last.unwrap().to_owned(),
            usage: extra.map(|c| totals(&c["usage"], "prompt_tokens", "completion_tokens")),
        }
    }
}

fn totals(usage: &Value, prompt: &str, answer: &str) -> (u64, u64) {
    let (prompt, answer) = (usage[prompt].as_u64().unwrap(), usage[answer].as_u64().unwrap());
    assert_eq!(usage["total_tokens"], prompt + answer);
    (prompt, answer)
}

fn message(reply: &Value) -> Heard {
    assert_eq!((&reply["type"], &reply["role"]), (&json!("message"), &json!("assistant")));
    assert!(reply["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(reply["content"][0]["type"], "text");
    let usage = &reply["usage"];
    Heard {
        text: reply["content"][0]["text"].as_str().unwrap().to_owned(),
        model: reply["model"].as_str().unwrap().to_owned(),
        reason: reply["stop_reason"].as_str().unwrap().to_owned(),
        usage: Some((usage["input_tokens"].as_u64().unwrap(), usage["output_tokens"].as_u64().unwrap())),
    }
}

fn message_stream(text: &str) -> Heard {
    let events = typed_events(text);
    let names: Vec<&str> = events.iter().map(|(name, _)| *name).collect();
    assert_eq!(names[..2], ["message_start", "content_block_start"]);
    assert_eq!(names[names.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    let deltas = &events[2..events.len() - 3];
    assert!(!deltas.is_empty() && deltas.iter().all(|(name, _)| *name == "content_block_delta"));
    let start = &events[0].1["message"];
    assert_eq!(events[1].1["content_block"]["text"], "");
    let last = &events[events.len() - 2].1;
    Heard {
        text: deltas.iter().map(|(_, d)| d["delta"]["text"].as_str().unwrap()).collect(),
        model: start["model"].as_str().unwrap().to_owned(),
        reason: last["delta"]["stop_reason"].as_str().unwrap().to_owned(),
        usage: Some((
            start["usage"]["input_tokens"].as_u64().unwrap(),
            last["usage"]["output_tokens"].as_u64().unwrap(),
        )),
    }
}

fn response(reply: &Value) -> Heard {
    assert_eq!(reply["object"], "response");
    let item = &reply["output"][0];
    assert_eq!((&item["type"], &item["role"]), (&json!("message"), &json!("assistant")));
    assert_eq!(item["content"][0]["type"], "output_text");
    Heard {
        text: item["content"][0]["text"].as_str().unwrap().to_owned(),
        model: reply["model"].as_str().unwrap().to_owned(),
        reason: reply["status"].as_str().unwrap().to_owned(),
        usage: Some(totals(&reply["usage"], "input_tokens", "output_tokens")),
    }
}

fn response_stream(text: &str) -> Heard {
    let events = typed_events(text);
    for (number, (_, data)) in events.iter().enumerate() {
        assert_eq!(data["sequence_number"], number);
    }
    let said = events.iter().filter(|(name, _)| *name == "response.output_text.delta");
    let said: String = said.map(|(_, d)| d["delta"].as_str().unwrap()).collect();
    let done = events.iter().find(|(name, _)| *name == "response.output_text.done").unwrap();
    assert_eq!(done.1["text"], said.as_str());
    let (first, last) = (&events[0], events.last().unwrap());
    assert_eq!((first.0, last.0), ("response.created", "response.completed"));
    let heard = response(&last.1["response"]);
    assert_eq!(heard.text, said);
    heard
}

/// Server-sent events as name and data.
fn events(text: &str) -> Vec<(&str, &str)> {
    assert!(text.ends_with("\n\n"), "{text}");
    text.trim_end_matches('\n')
        .split("\n\n")
        .map(|event| {
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            (field("event: ").unwrap_or(""), field("data: ").unwrap())
        })
        .collect()
}

/// Events whose data repeat their name.
fn typed_events(text: &str) -> Vec<(&str, Value)> {
    let events = events(text).into_iter().map(|(name, data)| (name, parse(data)));
    let events: Vec<_> = events.collect();
    assert!(events.iter().all(|(name, data)| data["type"] == *name), "{events:?}");
    events
}

#[track_caller]
fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// The one value that all of them have.
#[track_caller]
fn same<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let values: std::collections::BTreeSet<&str> = values.collect();
    assert_eq!(values.len(), 1, "{values:?}");
    values.into_iter().next().unwrap().to_owned()
}

/// A chat with one message, not streamed.
pub(crate) fn chat(model: &str, text: &str) -> Request {
    let body = Surface::Chat.with(model, text, json!({"stream": false}));
    Surface::Chat.request(&body)
}
