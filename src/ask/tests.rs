//! Tests of reading: bodies as clients send them, and what they come to.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::dialect::Dialect::{Chat, ChatCompletions, Completions, Generate, Messages, Responses};

/// The guards of a body, by name.
fn guards(dialect: Dialect, body: &Value) -> String {
    let body = body.to_string();
    let ask = Ask::parse(dialect, body.as_bytes()).unwrap();
    ask.guards.iter().map(Guard::name).collect::<Vec<_>>().join(" ")
}

/// The smallest good ask of a dialect.
fn hello(dialect: Dialect) -> Value {
    match dialect {
        Generate | Completions => json!({ "model": "m", "prompt": "hello" }),
        Chat | ChatCompletions => {
            json!({ "model": "m", "messages": [{ "role": "user", "content": "hello" }] })
        }
        Messages => {
            json!({ "model": "m", "max_tokens": 9, "messages": [{ "role": "user", "content": "hello" }] })
        }
        Responses => json!({ "model": "m", "input": "hello" }),
    }
}

/// The same with more fields.
fn with(dialect: Dialect, more: &Value) -> Value {
    let mut body = hello(dialect);
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn field() -> impl Strategy<Value = (String, Value)> {
    let key = prop::sample::select(vec![
        "model",
        "prompt",
        "messages",
        "input",
        "stream",
        "options",
        "keep_alive",
        "think",
        "reasoning",
        "system",
        "instructions",
        "max_tokens",
        "stop",
        "tools",
        "format",
        "response_format",
        "text",
        "images",
        "n",
        "context",
        "Model",
        "stream_options",
        "modalities",
        "output_config",
        "thinking",
        "logprobs",
        "category",
        "top_p",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zа-я<>/-]{0,12}|user|assistant|text|image_url|0s".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop::sample::select(vec![
            "role",
            "content",
            "type",
            "text",
            "effort",
            "num_predict",
            "stop",
            "format",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.prop_map(str::to_owned), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    (key.prop_map(str::to_owned), value)
}

#[test]
fn a_plain_ask_has_no_guard() {
    for dialect in Dialect::ALL {
        let body = hello(dialect).to_string();
        let ask = Ask::parse(dialect, body.as_bytes()).unwrap();
        assert_eq!(ask.guards, Guards::default(), "{dialect:?}");
        assert_eq!((ask.text.as_ref(), ask.turns, ask.model.as_ref()), ("hello", 1, "m"));
        assert!(matches!(ask.text, Cow::Borrowed(_)));
        assert_eq!(ask.stream, matches!(dialect, Generate | Chat));
        assert_eq!(&body[ask.model_span.unwrap()], "\"m\"");
        assert_eq!(ask.prompt_bytes, 5);
    }
}

#[test]
fn what_changes_nothing_is_no_guard() {
    for dialect in Dialect::ALL {
        let harmless = json!({
            "stream": null, "tools": [], "tool_choice": null, "functions": null, "images": [], "raw": false, "suffix": "",
            "template": "", "context": [], "logprobs": false, "top_logprobs": 0, "n": 1, "best_of": 1, "echo": false,
            "format": "", "response_format": { "type": "text" }, "think": false, "background": false, "seed": 1,
            "previous_response_id": null, "conversation": null, "modalities": ["text"], "_debug_render_only": false,
            "temperature": 0.5, "stop": [], "system": "You are a helpful assistant.", "user": { "any": ["thing"] },
            "text": { "format": { "type": "text" }, "verbosity": "low" }, "options": { "num_ctx": 9, "Stop": 1 },
            "keep_alive": "5m", "stream_options": null, "reasoning_effort": "none",
        });
        assert_eq!(guards(dialect, &with(dialect, &harmless)), "", "{dialect:?}");
    }
}

#[test]
fn fields_guard() {
    let text = |text: &str| json!([{ "role": "user", "content": text }]);
    for (dialect, more, expected) in [
        (Generate, json!({ "prompt": "" }), "load"),
        (Generate, json!({ "prompt": null, "keep_alive": "0m" }), "unload"),
        (Generate, json!({ "keep_alive": 0.0 }), "unload"),
        (Generate, json!({ "keep_alive": -1 }), ""),
        (Generate, json!({ "keep_alive": "soon" }), "invalid"),
        (ChatCompletions, json!({ "keep_alive": 0 }), ""),
        (Chat, json!({ "messages": [] }), "load"),
        (Chat, json!({ "messages": null, "keep_alive": 0 }), "unload"),
        (Chat, json!({ "messages": "hi" }), "invalid"),
        (ChatCompletions, json!({ "messages": [] }), "invalid"),
        (Messages, json!({ "messages": null }), "invalid"),
        (Responses, json!({ "input": "" }), "invalid"),
        (Responses, json!({ "input": {} }), "invalid"),
        (Completions, json!({ "prompt": "" }), "load"),
        (Completions, json!({ "prompt": ["a"] }), "invalid"),
        (Generate, json!({ "prompt": " \n" }), "invalid"),
        (Generate, json!({ "model": "" }), "invalid"),
        (Generate, json!({ "model": 1 }), "invalid"),
        (Chat, json!({ "stream": "yes" }), "invalid"),
        (Chat, json!({ "options": [] }), "invalid"),
        (Chat, json!({ "options": { "num_predict": "9" } }), "invalid"),
        (Chat, json!({ "options": { "stop": "a" } }), "invalid"),
        (Chat, json!({ "options": { "num_predict": 0 } }), "limit"),
        (Chat, json!({ "options": { "stop": [""] } }), "limit"),
        (ChatCompletions, json!({ "max_tokens": 1.5 }), "invalid"),
        (ChatCompletions, json!({ "max_completion_tokens": 0 }), "limit"),
        (ChatCompletions, json!({ "stop": [1] }), "invalid"),
        (Messages, json!({ "max_tokens": 0 }), "invalid"),
        (Messages, json!({ "max_tokens": null }), "invalid"),
        (Messages, json!({ "max_tokens": -1 }), "invalid"),
        (Chat, json!({ "tools": [{}] }), "tools"),
        (ChatCompletions, json!({ "tool_choice": "none" }), "tools"),
        (ChatCompletions, json!({ "functions": [{}], "function_call": {} }), "tools"),
        (ChatCompletions, json!({ "web_search_options": {} }), "tools"),
        (Messages, json!({ "mcp_servers": [{}] }), "tools"),
        (Chat, json!({ "format": "json" }), "format"),
        (Chat, json!({ "format": {} }), "format"),
        (ChatCompletions, json!({ "response_format": { "type": "json_object" } }), "format"),
        (ChatCompletions, json!({ "response_format": "text" }), "invalid format"),
        (Responses, json!({ "text": { "format": { "type": "json_schema" } } }), "format"),
        (Messages, json!({ "output_config": { "format": {} } }), "format"),
        (Messages, json!({ "output_config": { "effort": "low" } }), ""),
        (Generate, json!({ "images": ["aGk="] }), "images"),
        (Generate, json!({ "width": 512 }), "images"),
        (ChatCompletions, json!({ "modalities": ["text", "audio"] }), "audio"),
        (ChatCompletions, json!({ "audio": { "voice": "a" } }), "audio"),
        (Generate, json!({ "raw": true }), "raw"),
        (Generate, json!({ "suffix": "}" }), "suffix"),
        (Generate, json!({ "template": "{{ .Prompt }}" }), "template"),
        (Responses, json!({ "prompt": { "id": "p" } }), "template"),
        (Generate, json!({ "context": [1, 2] }), "context"),
        (Chat, json!({ "logprobs": true }), "logprobs"),
        (Completions, json!({ "logprobs": 0 }), "logprobs"),
        (ChatCompletions, json!({ "top_logprobs": 2 }), "logprobs"),
        (ChatCompletions, json!({ "n": 2 }), "choices"),
        (Completions, json!({ "best_of": 3 }), "choices"),
        (Completions, json!({ "echo": true }), "choices"),
        (Responses, json!({ "background": true }), "background"),
        (Responses, json!({ "previous_response_id": "resp_1" }), "context turns"),
        (Responses, json!({ "conversation": { "id": "c" } }), "context turns"),
        (Responses, json!({ "instructions": "Be a pirate." }), "system"),
        (Responses, json!({ "instructions": 1 }), "invalid"),
        (Responses, json!({ "temperature": "hot" }), "invalid"),
        (Responses, json!({ "reasoning": { "effort": "huge" } }), "invalid"),
        (Chat, json!({ "_debug_render_only": true }), "debug"),
        (Chat, json!({ "think": "loudly" }), "invalid"),
        (Generate, json!({ "system": "Ты пират." }), "system"),
        (Messages, json!({ "system": [{ "type": "text", "text": "You are Claude Code." }] }), "system"),
        (Chat, json!({ "messages": text("### Task:\nGenerate a title") }), "harness"),
        (Chat, json!({ "messages": text("<system-reminder>x</system-reminder>") }), "harness"),
    ] {
        assert_eq!(guards(dialect, &with(dialect, &more)), expected, "{dialect:?} {more}");
    }
}

#[test]
fn messages_guard() {
    let user = json!({ "role": "user", "content": "yes" });
    for (dialect, messages, expected) in [
        (Chat, json!([{ "role": "USER", "content": "hi" }]), ""),
        (Chat, json!([{ "role": "system", "content": "" }, user]), ""),
        (Chat, json!([{ "role": "system", "content": "Be brief." }, user]), "system"),
        (
            ChatCompletions,
            json!([{ "role": "developer", "content": [{ "type": "text", "text": "X" }] }, user]),
            "system",
        ),
        (Chat, json!([user, { "role": "assistant", "content": "no" }, user]), "turns"),
        (Chat, json!([{ "role": "assistant", "content": "Shall I?" }, user]), "turns"),
        (Chat, json!([user, user]), "turns"),
        (Chat, json!([user, { "role": "assistant", "content": "Sure, " }]), "turns last-turn"),
        (Chat, json!([{ "role": "system", "content": "" }]), "last-turn"),
        (Chat, json!([user, { "role": "tool", "content": "4" }]), "tool-result turns last-turn"),
        (Chat, json!([{ "role": "wizard", "content": "hi" }]), "invalid turns last-turn"),
        (Chat, json!([{ "content": "hi" }]), "invalid turns last-turn"),
        (Chat, json!(["hi"]), "invalid turns last-turn"),
        (Chat, json!([{ "role": "user", "content": [{ "type": "text", "text": "hi" }] }]), "invalid"),
        (Chat, json!([{ "role": "user", "content": "" }]), "invalid"),
        (Chat, json!([{ "role": "user", "content": "hi", "images": ["aGk="] }]), "images"),
        (Chat, json!([{ "role": "user", "content": "hi", "images": [] }]), ""),
        (ChatCompletions, json!([{ "role": "user", "content": null }]), "invalid"),
        (ChatCompletions, json!([{ "role": "user", "content": ["hi"] }]), "invalid"),
        (
            ChatCompletions,
            json!([{ "role": "user", "content": [{ "type": "input_text", "text": "a" }] }]),
            "invalid part",
        ),
        (
            ChatCompletions,
            json!([{ "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "image_url" }] }]),
            "images",
        ),
        (
            ChatCompletions,
            json!([{ "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "input_audio" }] }]),
            "audio",
        ),
        (
            ChatCompletions,
            json!([{ "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "file" }] }]),
            "part",
        ),
        (
            Messages,
            json!([{ "role": "user", "content": [{ "type": "image" }, { "type": "text", "text": "a" }] }]),
            "images",
        ),
        (
            Messages,
            json!([user, { "role": "assistant", "content": [{ "type": "tool_use" }] },
            { "role": "user", "content": [{ "type": "tool_result" }] }]),
            "tool-result turns last-turn",
        ),
    ] {
        let body = with(dialect, &json!({ "messages": messages }));
        assert_eq!(guards(dialect, &body), expected, "{dialect:?} {messages}");
    }
}

#[test]
fn items_of_responses_guard() {
    for (input, expected) in [
        (json!([{ "role": "user", "content": "hi" }]), ""),
        (
            json!([{ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "hi" }] }]),
            "",
        ),
        (
            json!([{ "role": "developer", "content": "Be a pirate" }, { "role": "user", "content": "hi" }]),
            "system",
        ),
        (
            json!([{ "role": "user", "content": [{ "type": "input_text", "text": "a" }, { "type": "input_image" }] }]),
            "images",
        ),
        (
            json!([{ "role": "user", "content": [{ "type": "input_text", "text": "a" }, { "type": "input_file" }] }]),
            "part",
        ),
        (
            json!([{ "type": "function_call_output", "call_id": "c", "output": "4" }]),
            "tool-result turns last-turn",
        ),
        (json!([{ "type": "reasoning", "summary": [] }, { "role": "user", "content": "hi" }]), "turns"),
        (
            json!([{ "type": "item_reference", "id": "x" }, { "role": "user", "content": "hi" }]),
            "invalid turns",
        ),
    ] {
        assert_eq!(guards(Responses, &with(Responses, &json!({ "input": input }))), expected, "{input}");
    }
}

#[test]
fn the_last_human_message_is_the_text() {
    let body = json!({
        "stream": true, "stream_options": { "include_usage": true }, "model": "м\"",
        "messages": [
            { "role": "system", "content": "You are a helpful assistant." },
            { "content": "first", "role": "user" },
            { "role": "assistant", "content": [{ "type": "text", "text": "second" }] },
            { "content": [
                { "text": "<system-reminder>\nno\n</system-reminder>", "type": "text" },
                { "text": "при\"вет", "type": "text" }, { "text": "там", "type": "text" },
            ], "role": "user" },
        ],
    })
    .to_string();
    let ask = Ask::parse(ChatCompletions, body.as_bytes()).unwrap();
    assert_eq!(ask.text, "при\"вет\nтам");
    assert_eq!((ask.turns, ask.stream, ask.usage_chunk, ask.model.as_ref()), (2, true, true, "м\""));
    assert_eq!(ask.has.names().collect::<Vec<_>>(), ["system"]);
    assert_eq!(ask.guards.first(), Some(Guard::Turns));
}

#[test]
fn limits_stops_hints_and_echoes_are_read() {
    let body = r#"{"model":"m","prompt":"x","category":"coding","think":"high",
        "options":{"num_predict":24.0,"stop":["\n","END"]}}"#;
    let ask = Ask::parse(Generate, body.as_bytes()).unwrap();
    assert_eq!((ask.limit, ask.hint.as_deref()), (Some(24), Some("coding")));
    assert_eq!(ask.stops, ["\n", "END"]);
    assert_eq!(ask.has.names().collect::<Vec<_>>(), ["think"]);

    let body = r#"{"model":"m","input":"x","category":"coding","max_output_tokens":50,"temperature":0.25,"top_p":1,
        "truncation":"auto","reasoning":{"effort":"low"},"instructions":"You are a helpful assistant."}"#;
    let ask = Ask::parse(Responses, body.as_bytes()).unwrap();
    assert_eq!((ask.limit, ask.hint.as_deref()), (Some(50), None));
    insta::assert_snapshot!(
        format!("{:?}", ask.echo),
        @r#"Echo { instructions: Some("You are a helpful assistant."), temperature: Some(0.25), top_p: Some(1.0), truncation: Some("auto"), max_output_tokens: Some(50), effort: Some("low"), summary: None }"#
    );

    for (more, limit) in [
        (json!({ "max_tokens": -1 }), None),
        (json!({ "max_tokens": 30, "max_completion_tokens": 20 }), Some(20)),
    ] {
        let body = with(ChatCompletions, &more).to_string();
        let ask = Ask::parse(ChatCompletions, body.as_bytes()).unwrap();
        assert_eq!((ask.limit, ask.guards), (limit, Guards::default()));
    }
}

#[test]
fn keys_match_in_any_case_but_only_once() {
    let body = br#"{"Model":"M","Prompt":"Hi","STREAM":false}"#;
    let ask = Ask::parse(Generate, body).unwrap();
    assert_eq!((ask.model.as_ref(), ask.text.as_ref(), ask.stream), ("M", "Hi", false));
    for twice in [
        r#"{"model":"a","model":"b","prompt":"x"}"#,
        r#"{"model":"a","prompt":"x","Prompt":"y"}"#,
        r#"{"model":"a","messages":[],"messages":[]}"#,
        r#"{"model":"a","messages":[{"role":"user","role":"assistant","content":"x"}]}"#,
        r#"{"model":"a","prompt":"x","options":{"num_predict":1,"num_predict":2}}"#,
    ] {
        assert_eq!(Ask::parse(Chat, twice.as_bytes()), Err(Unreadable), "{twice}");
    }
    assert!(Ask::parse(Chat, br#"{"model":"a","messages":[],"unknown":1,"unknown":2}"#).is_ok());
}

#[test]
fn what_is_not_one_object_is_unreadable() {
    for body in [
        "",
        " ",
        "null",
        "[]",
        "\"x\"",
        "{\"model\":",
        "{\"model\":\"m\"} {}",
        "{\"model\":\"m\"}x",
        r#"{"model":"m","prompt":"\ud800"}"#,
    ] {
        assert_eq!(Ask::parse(Generate, body.as_bytes()), Err(Unreadable), "{body}");
    }
    assert_eq!(Ask::parse(Generate, b"{\"model\":\"m\",\"prompt\":\"\xff\"}"), Err(Unreadable));
    assert!(Ask::parse(Generate, b" {\"model\":\"m\"}\r\n").is_ok());
}

#[test]
fn another_model_is_spliced_in() {
    let body = r#"{ "messages":[],  "model" : "старая\n" ,"x":1 }"#;
    let span = Ask::parse(Chat, body.as_bytes()).unwrap().model_span.unwrap();
    let changed = with_model(body.as_bytes(), &span, "new\"one");
    assert_eq!(String::from_utf8(changed).unwrap(), r#"{ "messages":[],  "model" : "new\"one" ,"x":1 }"#);
    assert_eq!(with_model(b"{}", &(5..9), "m"), b"{}");
}

proptest! {
    #[test]
    fn no_bytes_break_it(body: Vec<u8>) {
        for dialect in Dialect::ALL {
            let _ = Ask::parse(dialect, &body);
        }
    }

    #[test]
    fn no_fields_break_it(fields in prop::collection::vec(field(), 0..8), at in 0usize..4000, byte: u8) {
        let mut body = hello(Messages);
        for (key, value) in fields {
            body[key] = value;
        }
        let mut body = body.to_string().into_bytes();
        for dialect in Dialect::ALL {
            let _ = Ask::parse(dialect, &body);
        }
        let at = at % body.len();
        body[at] = byte;
        for dialect in Dialect::ALL {
            let _ = Ask::parse(dialect, &body);
        }
    }

    #[test]
    fn splicing_leaves_all_else(model in "\\PC{0,12}", other in "\\PC{0,12}", text in "\\PC{1,12}") {
        let body = json!({ "a": text, "model": model, "prompt": text, "z": [1, { "model": 2 }] }).to_string();
        let ask = Ask::parse(Generate, body.as_bytes()).unwrap();
        let span = ask.model_span.clone().unwrap();
        let changed = with_model(body.as_bytes(), &span, &other);
        let again = Ask::parse(Generate, &changed).unwrap();
        prop_assert_eq!(again.model.as_ref(), other.as_str());
        prop_assert_eq!(&changed[..span.start], &body.as_bytes()[..span.start]);
        prop_assert!(changed.ends_with(&body.as_bytes()[span.end..]));
        prop_assert_eq!(again.text, ask.text);
    }
}

#[test]
fn of_a_very_long_message_both_ends_are_read() {
    let middle = "line\\n with \\\"quotes\\\" and \\u043a ".repeat(20_000);
    let body = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"the beginning {middle} the end"}}]}}"#
    );
    let ask = Ask::parse(Dialect::Chat, body.as_bytes()).unwrap();
    assert!(ask.text.starts_with("the beginning line\n with \"quotes\" and к"), "{}", &ask.text[..80]);
    assert!(ask.text.ends_with(" the end"));
    assert!(ask.text.len() < 40_000);
    // Without a space to cut at it is read whole.
    let body =
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#, "a\\n".repeat(40_000));
    assert_eq!(Ask::parse(Dialect::Chat, body.as_bytes()).unwrap().text.len(), 80_000);
}
