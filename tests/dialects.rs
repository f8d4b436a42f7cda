//! The six dialects over real sockets: greetings answered as their clients expect, and what must never be
//! answered here goes upstream with every byte as it was.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use serde_json::{Value, json};
use support::asks::{self, Surface};
use support::http::End;
use support::upstream::{SAID, reply};
use support::{Options, Reply, Request, Running, Step, Upstream, eventually, hash};

/// What `support::running::ANSWERS` says to "hello".
const HELLO: &str = "Hello! How can I help you today?";
const PRIVET: &str = "Привет! Чем могу помочь сегодня?";

#[test]
fn a_greeting_is_answered_in_every_dialect_with_the_upstream_down() {
    let running = Options::before_nobody().start();
    for surface in asks::ALL {
        for (stream, more) in [
            (surface.streams_by_default(), json!({})),
            (true, json!({"stream": true})),
            (false, json!({"stream": false})),
        ] {
            for (text, answer) in [("Hello!!", HELLO), ("  привет :)", PRIVET)] {
                let reply =
                    running.send(&surface.request(&surface.with("Some-Model:7b", text, more.clone())));
                let what = format!("{surface:?} {more} {text}: {reply:?}");
                assert_eq!((reply.status, reply.route()), (200, "local"), "{what}");
                assert_eq!(reply.header("content-type"), Some(surface.content_type(stream)), "{what}");
                assert_eq!(reply.header("x-brainstem-category"), Some("fast"), "{what}");
                assert_eq!(reply.header("x-brainstem-decided-by"), Some("rule"), "{what}");
                assert_eq!(reply.header("x-brainstem-answer"), Some("greeting"), "{what}");
                assert!(reply.header("x-brainstem-rule").is_some(), "{what}");
                assert!(reply.header("x-request-id").is_some(), "{what}");
                assert!(reply.header("date").is_some(), "{what}");
                assert_eq!(reply.guard(), "-", "{what}");
                // Either framing tells the client where it ends, so that the connection goes on.
                assert!(matches!(reply.end, End::Length | End::LastChunk), "{what}");
                let heard = surface.hear(stream, &reply);
                assert_eq!(heard.text, answer, "{what}");
                assert_eq!(heard.model, "Some-Model:7b", "{what}");
                assert_eq!(heard.reason, whole(surface), "{what}");
                let silent = stream && matches!(surface, Surface::ChatCompletions | Surface::Completions);
                assert_eq!(heard.usage.is_none(), silent, "{what}");
                assert!(heard.usage.is_none_or(|(prompt, answer)| prompt > 0 && answer > 0), "{what}");
            }
        }
    }
}

/// How a surface says that an answer is whole.
fn whole(surface: Surface) -> &'static str {
    match surface {
        Surface::Messages => "end_turn",
        Surface::Responses => "completed",
        _ => "stop",
    }
}

#[test]
fn a_stream_tells_its_usage_when_asked() {
    let running = Options::before_nobody().start();
    for surface in [Surface::ChatCompletions, Surface::Completions] {
        let more = json!({"stream": true, "stream_options": {"include_usage": true}});
        let reply = running.send(&surface.request(&surface.with("m", "hi", more)));
        let (prompt, answer) = surface.hear(true, &reply).usage.unwrap();
        assert!(prompt > 0 && answer > 0, "{surface:?}: {prompt} {answer}");
    }
}

#[test]
fn every_way_to_write_a_message_is_read() {
    let running = Options::before_nobody().start();
    let parts = json!([{"type": "text", "text": "hello"}, {"type": "text", "text": "please"}]);
    let cases = [
        (Surface::ChatCompletions, json!({"model": "m", "messages": [{"role": "user", "content": parts}]})),
        (
            Surface::Messages,
            json!({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": parts}]}),
        ),
        (Surface::Responses, json!({"model": "m", "input": [{"role": "user", "content": "hello"}]})),
        (
            Surface::Responses,
            json!({"model": "m", "input": [{"type": "message", "role": "user",
                   "content": [{"type": "input_text", "text": "hello"}]}]}),
        ),
        (
            Surface::Chat,
            json!({"Model": "m", "MESSAGES": [{"Role": "USER", "Content": "hello"}], "stream": false}),
        ),
        (
            Surface::Chat,
            json!({"model": "m", "stream": false, "messages": [
                {"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "hello"}]}),
        ),
        (
            Surface::Chat,
            json!({"model": "m", "stream": false, "messages": [{"role": "user",
                   "content": "<system-reminder>\nTools may be used: refactor.\n</system-reminder>\nhello"}]}),
        ),
    ];
    for (surface, body) in cases {
        let reply = running.send(&surface.request(&body));
        assert_eq!(reply.route(), "local", "{surface:?} {body}: {reply:?}");
        assert_eq!(surface.hear(false, &reply).text, HELLO, "{body}");
    }
    // No content type, or curl's own, is as good as any.
    for kind in ["application/x-www-form-urlencoded", "text/plain", "application/json"] {
        let request = asks::chat("m", "hello").header("Content-Type", kind);
        assert_eq!(running.send(&request).route(), "local", "{kind}");
    }
}

/// A running pair whose upstream says who it is.
fn pair(options: impl FnOnce(Options) -> Options) -> (Upstream, Running) {
    let upstream = Upstream::start();
    let running = options(Options::before(&upstream)).start();
    (upstream, running)
}

/// The ask went upstream, byte for byte, and the answer is the upstream's.
#[track_caller]
fn forwarded(upstream: &Upstream, request: &Request, reply: &Reply) {
    assert_eq!((reply.status, reply.route()), (200, "upstream"), "{request:?}: {reply:?}");
    assert!(reply.text().contains(SAID), "{reply:?}");
    let received = upstream.only();
    let body = request.body.as_ref().unwrap();
    assert_eq!((received.len, received.hash), (body.len(), hash(body)), "{:?}", received.body);
    assert_eq!(received.path, request.path);
    upstream.forget();
}

fn last_message(surface: Surface, message: Value) -> Value {
    surface.with("llama3.2", "", json!({"messages": [message]}))
}

/// Asks that would be greetings but for one thing, and the guard that sees it.
fn guarded() -> Vec<(&'static str, Surface, Value)> {
    use Surface::*;
    let mut all = Vec::new();
    let mut more = |guard, surfaces: &[Surface], more: Value| {
        for surface in surfaces {
            all.push((guard, *surface, surface.with("llama3.2", "hello", more.clone())));
        }
    };
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    more("unload", &[Generate, Chat], json!({"keep_alive": 0}));
    more("unload", &[Generate, Chat], json!({"keep_alive": "0s"}));
    more("tools", &[Chat, ChatCompletions, Messages, Responses], json!({"tools": [tool]}));
    more("tools", &[ChatCompletions, Messages, Responses], json!({"tool_choice": "auto"}));
    more("format", &[Generate, Chat], json!({"format": "json"}));
    more("format", &[Generate, Chat], json!({"format": {"type": "object"}}));
    more("format", &[ChatCompletions, Completions], json!({"response_format": {"type": "json_object"}}));
    more(
        "format",
        &[Responses],
        json!({"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}}),
    );
    more("images", &[Generate], json!({"images": ["aGVsbG8="]}));
    more("audio", &[ChatCompletions], json!({"modalities": ["text", "audio"], "audio": {"voice": "alloy"}}));
    more("raw", &[Generate], json!({"raw": true}));
    more("suffix", &[Generate, Completions], json!({"suffix": "}"}));
    more("template", &[Generate], json!({"template": "{{ .Prompt }}"}));
    more("context", &[Generate], json!({"context": [1, 2, 3]}));
    more("logprobs", &[ChatCompletions], json!({"logprobs": true}));
    more("logprobs", &[ChatCompletions], json!({"top_logprobs": 3}));
    more("logprobs", &[Completions], json!({"logprobs": 0}));
    more("choices", &[ChatCompletions, Completions], json!({"n": 2}));
    more("choices", &[Completions], json!({"best_of": 3}));
    more("choices", &[Completions], json!({"echo": true}));
    more("limit", &[Generate, Chat], json!({"options": {"num_predict": 0}}));
    more("limit", &[ChatCompletions, Completions], json!({"max_tokens": 0}));
    more("limit", &[ChatCompletions], json!({"stop": [""]}));
    more("invalid", &[Messages], json!({"max_tokens": 0}));
    more("invalid", &[Chat, Responses], json!({"stream": "yes"}));
    more("background", &[Responses], json!({"background": true}));
    more("context", &[Responses], json!({"previous_response_id": "resp_1"}));
    more("debug", &[Generate, Chat], json!({"_debug_render_only": true}));
    more("system", &[Generate, Messages], json!({"system": "You are a pirate."}));
    more("system", &[Responses], json!({"instructions": "Talk like a pirate."}));

    let talk = |messages: Value| json!({"messages": messages});
    let pirate = talk(json!([
        {"role": "system", "content": "You are a pirate."}, {"role": "user", "content": "hello"}]));
    let turns = talk(json!([
        {"role": "user", "content": "write a poem"}, {"role": "assistant", "content": "La"},
        {"role": "user", "content": "hello"}]));
    for surface in [Chat, ChatCompletions] {
        all.push(("system", surface, surface.with("llama3.2", "", pirate.clone())));
    }
    for surface in [Chat, ChatCompletions, Messages] {
        all.push(("turns", surface, surface.with("llama3.2", "", turns.clone())));
    }
    all.push(("turns", Responses, Responses.with("llama3.2", "", json!({"input": turns["messages"]}))));
    all.push((
        "images",
        Chat,
        last_message(Chat, json!({"role": "user", "content": "hello", "images": ["aGk="]})),
    ));
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}});
    let source = json!({"type": "base64", "media_type": "image/png", "data": "aGk="});
    let sound = json!({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}});
    let file = json!({"type": "file", "file": {"file_id": "x"}});
    let hello = json!({"type": "text", "text": "hello"});
    for (guard, surface, part) in [
        ("images", ChatCompletions, picture),
        ("images", Messages, json!({"type": "image", "source": source})),
        ("audio", ChatCompletions, sound),
        ("part", ChatCompletions, file),
    ] {
        let message = json!({"role": "user", "content": [hello, part]});
        all.push((guard, surface, last_message(surface, message)));
    }
    let input = json!([{"role": "user", "content": [{"type": "input_text", "text": "hello"},
                        {"type": "input_image", "image_url": "data:image/png;base64,aGk="}]}]);
    all.push(("images", Responses, Responses.with("llama3.2", "", json!({"input": input}))));
    all
}

#[test]
fn each_guard_sends_a_greeting_upstream() {
    let (upstream, running) = pair(|options| options);
    for (guard, surface, body) in guarded() {
        for pretty in [false, true] {
            let text = if pretty { serde_json::to_string_pretty(&body).unwrap() } else { body.to_string() };
            let request = Request::post(surface.path(), text);
            let reply = running.send(&request);
            assert_eq!(reply.guard(), guard, "{surface:?} {body}");
            assert_eq!(reply.category(), "fast", "it keeps its category: {body}");
            forwarded(&upstream, &request, &reply);
        }
    }
    for guard in ["tools", "format", "system", "turns"] {
        assert!(running.metric(&format!("guards_total{{guard=\"{guard}\"}}")) > 0.0, "{guard}");
    }
}

#[test]
fn what_asks_nothing_goes_upstream() {
    let (upstream, running) = pair(|options| options);
    let nothing = [
        (Surface::Generate, json!({"model": "llama3.2"})),
        (Surface::Generate, json!({"model": "llama3.2", "prompt": ""})),
        (Surface::Generate, json!({"model": "llama3.2", "prompt": "", "keep_alive": 0})),
        (Surface::Generate, json!({"model": "llama3.2", "keep_alive": -1})),
        (Surface::Chat, json!({"model": "llama3.2"})),
        (Surface::Chat, json!({"model": "llama3.2", "messages": []})),
        (Surface::Chat, json!({"model": "llama3.2", "messages": [], "keep_alive": 0})),
        (Surface::Chat, json!({"model": "llama3.2", "messages": [{"role": "system", "content": "hello"}]})),
        (Surface::Completions, json!({"model": "llama3.2", "prompt": ""})),
        (Surface::Messages, json!({"model": "llama3.2", "max_tokens": 5, "messages": []})),
        (Surface::Responses, json!({"model": "llama3.2", "input": ""})),
        (Surface::Chat, json!({})),
    ];
    for (surface, body) in nothing {
        let request = surface.request(&body);
        let reply = running.send(&request);
        forwarded(&upstream, &request, &reply);
    }
    // A client that names the category of such a call gets no answer either.
    let load = json!({"model": "llama3.2", "category": "fast"});
    let request = Surface::Generate.request(&load);
    forwarded(&upstream, &request, &running.send(&request));
}

#[test]
fn what_a_human_did_not_say_last_goes_upstream() {
    let (upstream, running) = pair(|options| options.set("proxy.multi_turn", true));
    let call = json!({"function": {"name": "f", "arguments": {}}});
    let talks = [
        json!([{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Hel"}]),
        json!([{"role": "user", "content": "hello"}, {"role": "assistant", "content": "", "tool_calls": [call]},
               {"role": "tool", "content": "42"}]),
    ];
    for messages in talks {
        for surface in [Surface::Chat, Surface::ChatCompletions] {
            let request = surface.request(&json!({"model": "llama3.2", "messages": messages}));
            let reply = running.send(&request);
            forwarded(&upstream, &request, &reply);
        }
    }
    let result = json!([{"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "42"}]}]);
    let request =
        Surface::Messages.request(&json!({"model": "llama3.2", "max_tokens": 9, "messages": result}));
    forwarded(&upstream, &request, &running.send(&request));
}

#[test]
fn harness_prompts_go_upstream() {
    let (upstream, running) = pair(|options| options);
    for text in [
        "### Task:\nGenerate a concise, 3-5 word title for: hello",
        "<system-reminder>hello</system-reminder>",
        "<system-reminder>never closed\nhello",
        "Create a concise, 3-5 word phrase with an emoji as a title for: hello",
    ] {
        for hint in [None, Some("fast")] {
            let mut request = asks::chat("llama3.2", text);
            if let Some(hint) = hint {
                request = request.header("x-brainstem-category", hint);
            }
            let reply = running.send(&request);
            forwarded(&upstream, &request, &reply);
        }
    }
}

#[test]
fn config_lifts_two_guards() {
    let (upstream, running) =
        pair(|options| options.set("proxy.multi_turn", true).set("proxy.allow_system", true));
    for (guard, surface, body) in guarded() {
        let lifted = matches!(guard, "turns" | "system") && body.get("previous_response_id").is_none();
        let reply = running.send(&surface.request(&body));
        let expected = if lifted { ("local", "-") } else { ("upstream", guard) };
        // What the server keeps of a conversation is not in the body, whatever the config says.
        let expected =
            if body.get("previous_response_id").is_some() { ("upstream", "context") } else { expected };
        assert_eq!((reply.route(), reply.guard()), expected, "{surface:?} {body}");
    }
    assert!(upstream.count() > 0);
}

#[test]
fn a_model_that_the_upstream_lacks_stays_its_404() {
    let (upstream, running) = pair(|options| options);
    upstream.script(|received| {
        let body: Value = serde_json::from_slice(&received.body).unwrap();
        let error = format!(r#"{{"error":"model '{}' not found"}}"#, body["model"].as_str().unwrap());
        vec![Step::Send(reply(404, "application/json; charset=utf-8", error.as_bytes()))]
    });
    for surface in asks::ALL {
        let reply = running.send(&surface.request(&surface.body("nope", "hello")));
        assert_eq!((reply.status, reply.guard()), (404, "unknown-model"), "{surface:?}");
        assert_eq!(reply.text(), r#"{"error":"model 'nope' not found"}"#);
        for model in ["llama3.2", "LLAMA3.2:latest", "auto", "brainstem/auto"] {
            let reply = running.send(&surface.request(&surface.body(model, "hello")));
            assert_eq!((reply.status, reply.route()), (200, "local"), "{surface:?} {model}");
        }
    }
    // The upstream keeps its list to itself: nobody can say that it lacks the model.
    upstream.models(None);
    running.sees("default", true, None);
    assert_eq!(running.send(&asks::chat("nope", "hello")).route(), "local");
    upstream.models(Some(&["other"]));
    running.sees("default", true, Some(1));
    eventually(support::DEADLINE, "the new list counts", || running.chat("hello").guard() == "unknown-model");
    drop(upstream);
}

#[test]
fn an_upstream_that_goes_down_takes_its_list_with_it() {
    let running;
    {
        let upstream = Upstream::start();
        running = Options::before(&upstream).start();
        assert_eq!(running.send(&asks::chat("nope", "hello")).guard(), "unknown-model");
    }
    running.sees("default", false, None);
    for surface in asks::ALL {
        let reply = running.send(&surface.request(&surface.body("nope", "hello")));
        assert_eq!((reply.status, reply.route()), (200, "local"), "{surface:?}");
        let reply = running.send(&surface.request(&surface.body("nope", "explain the tides")));
        assert_eq!(reply.status, 502, "{surface:?}");
    }
}

#[test]
fn errors_of_ours_speak_the_paths_dialect() {
    let running = Options::before_nobody().start();
    for surface in asks::ALL {
        for stream in [true, false] {
            let body = surface.with("m", "explain the tides", json!({"stream": stream}));
            let reply = running.send(&surface.request(&body));
            assert_eq!((reply.status, reply.route()), (502, "upstream"), "{surface:?}");
            assert_eq!(reply.header("content-type"), Some(surface.content_type(false)));
            let error = reply.value();
            match surface {
                Surface::Generate | Surface::Chat => {
                    assert!(error["error"].as_str().unwrap().contains("cannot be reached"), "{error}");
                    assert!(!reply.text().ends_with('\n'));
                }
                Surface::Messages => {
                    assert_eq!(
                        (&error["type"], &error["error"]["type"]),
                        (&json!("error"), &json!("api_error"))
                    );
                    assert!(error["request_id"].as_str().unwrap().starts_with("req_"));
                }
                _ => {
                    assert_eq!(error["error"]["type"], "api_error");
                    assert_eq!(error["error"]["code"], Value::Null);
                    assert!(reply.text().ends_with("}\n"));
                }
            }
        }
    }
}

#[test]
fn limits_cut_the_answer_as_the_model_would_be_cut() {
    let running = Options::before_nobody().start();
    // Surface, what limits it, what is left, why.
    let cases = [
        (Surface::Generate, json!({"options": {"num_predict": 2}}), "length"),
        (Surface::Chat, json!({"options": {"num_predict": 2}}), "length"),
        (Surface::ChatCompletions, json!({"max_tokens": 2}), "length"),
        (Surface::ChatCompletions, json!({"max_completion_tokens": 2}), "length"),
        (Surface::Completions, json!({"max_tokens": 2}), "length"),
        (Surface::Messages, json!({"max_tokens": 2}), "max_tokens"),
        (Surface::Responses, json!({"max_output_tokens": 2}), "completed"),
    ];
    for (surface, limit, reason) in cases {
        for stream in [true, false] {
            let mut body = surface.with("m", "hello", limit.clone());
            body["stream"] = json!(stream);
            let reply = running.send(&surface.request(&body));
            assert_eq!(reply.route(), "local", "{body}");
            let heard = surface.hear(stream, &reply);
            assert_eq!(heard.reason, reason, "{body}");
            assert!(
                !heard.text.is_empty() && heard.text.len() < 12 && HELLO.starts_with(&heard.text),
                "{heard:?}"
            );
            assert!(heard.usage.is_none_or(|(_, answer)| answer == 2), "{heard:?}");
        }
    }
    for (surface, stop) in [
        (Surface::Generate, json!({"options": {"stop": ["can", "How"]}})),
        (Surface::Chat, json!({"options": {"stop": ["How"]}})),
        (Surface::ChatCompletions, json!({"stop": "How"})),
        (Surface::ChatCompletions, json!({"stop": ["nowhere", "How"]})),
        (Surface::Completions, json!({"stop": "How"})),
        (Surface::Messages, json!({"stop_sequences": ["How"]})),
    ] {
        for stream in [true, false] {
            let mut body = surface.with("m", "hello", stop.clone());
            body["stream"] = json!(stream);
            let heard = surface.hear(stream, &running.send(&surface.request(&body)));
            assert_eq!((heard.text.as_str(), heard.reason.as_str()), ("Hello! ", whole(surface)), "{body}");
        }
    }
    // Limits that the answer stays within change nothing.
    for (surface, limit) in [
        (Surface::Chat, json!({"options": {"num_predict": 500, "stop": ["zzz"]}})),
        (Surface::Chat, json!({"options": {"num_predict": -1}})),
        (Surface::ChatCompletions, json!({"max_tokens": 500, "stop": null})),
    ] {
        let mut body = surface.with("m", "hello", limit);
        body["stream"] = json!(false);
        let heard = surface.hear(false, &running.send(&surface.request(&body)));
        assert_eq!((heard.text.as_str(), heard.reason.as_str()), (HELLO, "stop"), "{body}");
    }
}

#[test]
fn a_stop_string_at_the_very_beginning_leaves_no_empty_answer() {
    let (upstream, running) = pair(|options| options);
    for surface in [Surface::Chat, Surface::Messages, Surface::ChatCompletions] {
        let stop = match surface {
            Surface::Chat => json!({"options": {"stop": ["Hello"]}}),
            Surface::Messages => json!({"stop_sequences": ["Hello"]}),
            _ => json!({"stop": ["Hello"]}),
        };
        let request = surface.request(&surface.with("llama3.2", "hello", stop));
        let reply = running.send(&request);
        assert_eq!(reply.route(), "upstream", "an empty text has no place in these dialects: {reply:?}");
        forwarded(&upstream, &request, &reply);
    }
}

#[test]
fn broken_json_is_forwarded_as_it_is() {
    let (upstream, running) = pair(|options| options);
    for body in [
        "{\"model\":{\"model\":",
        "",
        "[]",
        "null",
        "\"hello\"",
        "{\"model\":\"llama3.2\",}",
        "\u{feff}{}",
        "{}{}",
        "{\"messages\":\"hello\"}",
        "{\"messages\":[1,2]}",
        "{\"messages\":[{\"content\":\"hello\"}]}",
        "NaN",
        "{\"model\":\"llama3.2\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}],\"model\":\"x\"}",
        "{\"model\":\"llama3.2\",\"messages\":[{\"role\":\"user\",\"content\":\"hel\\ud800lo\"}]}",
    ] {
        for surface in asks::ALL {
            let request = Request::post(surface.path(), body);
            let reply = running.send(&request);
            forwarded(&upstream, &request, &reply);
        }
    }
    let request = Request::post("/api/chat", b"{\"model\":\"\xff\xfe\"}".to_vec());
    forwarded(&upstream, &request, &running.send(&request));
    let deep = format!("{{\"model\":\"llama3.2\",\"x\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let request = Request::post("/api/chat", deep);
    forwarded(&upstream, &request, &running.send(&request));
}

#[test]
fn a_browser_is_told_what_ollama_would_tell_it() {
    let (upstream, running) = pair(|options| options);
    let hello = asks::chat("llama3.2", "hello");
    for origin in ["http://localhost:3000", "https://127.0.0.1", "app://obsidian.md"] {
        let reply = running.send(&hello.clone().header("Origin", origin));
        assert_eq!(reply.route(), "local", "{origin}");
        assert_eq!(reply.header("access-control-allow-origin"), Some(origin));
    }
    assert_eq!(running.send(&hello).header("access-control-allow-origin"), None);
    // Whether that page may ask depends on the upstream's own OLLAMA_ORIGINS.
    let request = hello.clone().header("Origin", "https://evil.example");
    let reply = running.send(&request);
    assert_eq!((reply.guard(), reply.header("access-control-allow-origin")), ("origin", None));
    forwarded(&upstream, &request, &reply);
    // A rebound name reaches nobody.
    for path in ["/api/chat", "/api/tags"] {
        let reply =
            running.send(&Request::post(path, hello.body.clone().unwrap()).header("Host", "evil.example"));
        assert_eq!((reply.status, reply.body.len()), (403, 0), "{path}");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn auto_is_listed_with_the_upstreams_models() {
    let (upstream, running) = pair(|options| options);
    let list = running.send(&Request::get("/api/tags")).value();
    let names: Vec<_> =
        list["models"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["llama3.2:latest", "auto"]);
    upstream.steps(vec![Step::Send(reply(
        200,
        "application/json",
        b"{\"object\":\"list\",\"data\":null}\n",
    ))]);
    let list = running.send(&Request::get("/v1/models")).value();
    assert_eq!(list["data"][0]["id"], "auto");
    let unlisted = Options::before(&upstream).set("proxy.list_auto", false).start();
    assert_eq!(unlisted.send(&Request::get("/v1/models")).text(), "{\"object\":\"list\",\"data\":null}\n");
}

#[test]
fn a_look_at_auto_shows_the_model_that_stands_for_it() {
    let (upstream, running) = pair(|options| options);
    // As Ollama's own command line asks, and as older ones did.
    for body in [r#"{"model":"auto","verbose":true}"#, r#"{"model":"","name":"auto:latest","verbose":true}"#]
    {
        running.send(&Request::post("/api/show", body));
        let shown: Value = serde_json::from_slice(&upstream.last().body).unwrap();
        assert_eq!(shown, json!({"model": "llama3.2:latest", "verbose": true}), "{body}");
    }
    for body in [r#"{ "name" : "smol" }"#, "no json", ""] {
        running.send(&Request::post("/api/show", body));
        assert_eq!(upstream.last().body, body.as_bytes(), "{body}");
    }
    let before = upstream.count();
    let entry = running.send(&Request::get("/v1/models/auto")).value();
    assert_eq!((&entry["id"], &entry["object"], upstream.count()), (&"auto".into(), &"model".into(), before));
    running.send(&Request::get("/v1/models/smol"));
    assert_eq!(upstream.count(), before + 1);
    let unlisted = Options::before(&upstream).set("proxy.list_auto", false).start();
    unlisted.send(&Request::post("/api/show", r#"{"model":"auto"}"#));
    assert_eq!(upstream.last().body, br#"{"model":"auto"}"#);
}
