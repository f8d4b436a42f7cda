//! The bodies of `reference/ollama-api.md`, section 5, which six real clients have read, as the writers give
//! them. Only what is random or a clock's is made equal before they are compared.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::Value;

use super::{Dialect, Family, Reply};
use crate::ask::Echo;

/// The reply that the documented bodies show.
fn reply(dialect: Dialect, stream: bool, usage_chunk: bool) -> String {
    let reply = Reply {
        dialect,
        model: "llama3.2",
        text: "Hello! How can I help you today?",
        length: false,
        stream,
        usage_chunk,
        prompt_tokens: 26,
        completion_tokens: 9,
        took: Duration::from_nanos(1_250_000),
        at: SystemTime::UNIX_EPOCH + Duration::new(1_795_400_441, 123_456_789),
        seed: 42,
        echo: &Echo::default(),
    };
    let body = String::from_utf8(reply.write().body.to_vec()).unwrap();
    let long = super::long_id("msg", 42);
    let (short, item) = (reply.id(0, 999), reply.id(1, 999_999));
    // The documented body counts a second for the reply, and took its seconds a year earlier.
    body.replace("completed_at\":1795400441", "completed_at\":1763864442")
        .replace("1795400441", "1763864441")
        .replace(&long, "msg_0f3a9c1d2b4e5f6a7b8c9d0e")
        .replace(&format!("chatcmpl-{short}\""), "chatcmpl-637\"")
        .replace(&format!("\"cmpl-{short}\""), "\"cmpl-482\"")
        .replace(&format!("resp_{}\"", reply.id(0, 999_999)), "resp_271828\"")
        .replace(&format!("msg_{item}\""), "msg_314159\"")
}

#[test]
fn generate() {
    assert_eq!(
        reply(Dialect::Generate, false, false),
        r#"{"model":"llama3.2","created_at":"2026-11-23T02:20:41.123456789Z","response":"Hello! How can I help you today?","done":true,"done_reason":"stop","total_duration":1250000,"load_duration":210000,"prompt_eval_count":26,"prompt_eval_duration":430000,"eval_count":9,"eval_duration":610000}"#
    );
}

#[test]
fn generate_streamed() {
    assert_eq!(
        reply(Dialect::Generate, true, false),
        r#"{"model":"llama3.2","created_at":"2026-11-23T02:20:41.123456789Z","response":"Hello!","done":false}
{"model":"llama3.2","created_at":"2026-11-23T02:20:41.123456789Z","response":" How can I help","done":false}
{"model":"llama3.2","created_at":"2026-11-23T02:20:41.123456789Z","response":" you today?","done":false}
{"model":"llama3.2","created_at":"2026-11-23T02:20:41.123456789Z","response":"","done":true,"done_reason":"stop","total_duration":1250000,"load_duration":210000,"prompt_eval_count":26,"prompt_eval_duration":430000,"eval_count":9,"eval_duration":610000}
"#
    );
}

#[test]
fn chat() {
    assert_eq!(
        reply(Dialect::Chat, false, false),
        r#"{"model":"llama3.2","created_at":"2026-11-23T02:20:41.123456789Z","message":{"role":"assistant","content":"Hello! How can I help you today?"},"done":true,"done_reason":"stop","total_duration":1250000,"load_duration":210000,"prompt_eval_count":26,"prompt_eval_duration":430000,"eval_count":9,"eval_duration":610000}"#
    );
}

#[test]
fn chat_streamed() {
    assert_eq!(
        reply(Dialect::Chat, true, false),
        r#"{"model":"llama3.2","created_at":"2026-11-23T02:20:41.123456789Z","message":{"role":"assistant","content":"Hello!"},"done":false}
{"model":"llama3.2","created_at":"2026-11-23T02:20:41.123456789Z","message":{"role":"assistant","content":" How can I help"},"done":false}
{"model":"llama3.2","created_at":"2026-11-23T02:20:41.123456789Z","message":{"role":"assistant","content":" you today?"},"done":false}
{"model":"llama3.2","created_at":"2026-11-23T02:20:41.123456789Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":1250000,"load_duration":210000,"prompt_eval_count":26,"prompt_eval_duration":430000,"eval_count":9,"eval_duration":610000}
"#
    );
}

#[test]
fn chat_completions() {
    assert_eq!(
        reply(Dialect::ChatCompletions, false, false),
        r#"{"id":"chatcmpl-637","object":"chat.completion","created":1763864441,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"message":{"role":"assistant","content":"Hello! How can I help you today?"},"finish_reason":"stop"}],"usage":{"prompt_tokens":26,"completion_tokens":9,"total_tokens":35}}
"#
    );
}

#[test]
fn chat_completions_streamed() {
    assert_eq!(
        reply(Dialect::ChatCompletions, true, false),
        r#"data: {"id":"chatcmpl-637","object":"chat.completion.chunk","created":1763864441,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"Hello!"},"finish_reason":null}]}

data: {"id":"chatcmpl-637","object":"chat.completion.chunk","created":1763864441,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"content":" How can I help"},"finish_reason":null}]}

data: {"id":"chatcmpl-637","object":"chat.completion.chunk","created":1763864441,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"content":" you today?"},"finish_reason":null}]}

data: {"id":"chatcmpl-637","object":"chat.completion.chunk","created":1763864441,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: [DONE]

"#
    );
}

#[test]
fn chat_completions_streamed_with_usage() {
    assert_eq!(
        reply(Dialect::ChatCompletions, true, true),
        r#"data: {"id":"chatcmpl-637","object":"chat.completion.chunk","created":1763864441,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"Hello!"},"finish_reason":null}]}

data: {"id":"chatcmpl-637","object":"chat.completion.chunk","created":1763864441,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"content":" How can I help"},"finish_reason":null}]}

data: {"id":"chatcmpl-637","object":"chat.completion.chunk","created":1763864441,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"content":" you today?"},"finish_reason":null}]}

data: {"id":"chatcmpl-637","object":"chat.completion.chunk","created":1763864441,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: {"id":"chatcmpl-637","object":"chat.completion.chunk","created":1763864441,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[],"usage":{"prompt_tokens":26,"completion_tokens":9,"total_tokens":35}}

data: [DONE]

"#
    );
}

#[test]
fn completions() {
    assert_eq!(
        reply(Dialect::Completions, false, false),
        r#"{"id":"cmpl-482","object":"text_completion","created":1763864441,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"text":"Hello! How can I help you today?","index":0,"finish_reason":"stop"}],"usage":{"prompt_tokens":26,"completion_tokens":9,"total_tokens":35}}
"#
    );
}

#[test]
fn completions_streamed() {
    assert_eq!(
        reply(Dialect::Completions, true, false),
        r#"data: {"id":"cmpl-482","object":"text_completion","created":1763864441,"choices":[{"text":"Hello!","index":0,"finish_reason":null}],"model":"llama3.2","system_fingerprint":"fp_ollama"}

data: {"id":"cmpl-482","object":"text_completion","created":1763864441,"choices":[{"text":" How can I help","index":0,"finish_reason":null}],"model":"llama3.2","system_fingerprint":"fp_ollama"}

data: {"id":"cmpl-482","object":"text_completion","created":1763864441,"choices":[{"text":" you today?","index":0,"finish_reason":null}],"model":"llama3.2","system_fingerprint":"fp_ollama"}

data: {"id":"cmpl-482","object":"text_completion","created":1763864441,"choices":[{"text":"","index":0,"finish_reason":"stop"}],"model":"llama3.2","system_fingerprint":"fp_ollama"}

data: [DONE]

"#
    );
}

#[test]
fn completions_streamed_with_usage() {
    assert_eq!(
        reply(Dialect::Completions, true, true),
        r#"data: {"id":"cmpl-482","object":"text_completion","created":1763864441,"choices":[{"text":"Hello!","index":0,"finish_reason":null}],"model":"llama3.2","system_fingerprint":"fp_ollama","usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}

data: {"id":"cmpl-482","object":"text_completion","created":1763864441,"choices":[{"text":" How can I help","index":0,"finish_reason":null}],"model":"llama3.2","system_fingerprint":"fp_ollama","usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}

data: {"id":"cmpl-482","object":"text_completion","created":1763864441,"choices":[{"text":" you today?","index":0,"finish_reason":null}],"model":"llama3.2","system_fingerprint":"fp_ollama","usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}

data: {"id":"cmpl-482","object":"text_completion","created":1763864441,"choices":[{"text":"","index":0,"finish_reason":"stop"}],"model":"llama3.2","system_fingerprint":"fp_ollama","usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}

data: {"id":"cmpl-482","object":"text_completion","created":1763864441,"choices":[],"model":"llama3.2","system_fingerprint":"fp_ollama","usage":{"prompt_tokens":26,"completion_tokens":9,"total_tokens":35}}

data: [DONE]

"#
    );
}

#[test]
fn messages() {
    assert_eq!(
        reply(Dialect::Messages, false, false),
        r#"{"id":"msg_0f3a9c1d2b4e5f6a7b8c9d0e","type":"message","role":"assistant","model":"llama3.2","content":[{"type":"text","text":"Hello! How can I help you today?"}],"stop_reason":"end_turn","usage":{"input_tokens":26,"output_tokens":9}}
"#
    );
}

#[test]
fn messages_streamed() {
    assert_eq!(
        reply(Dialect::Messages, true, false),
        r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_0f3a9c1d2b4e5f6a7b8c9d0e","type":"message","role":"assistant","model":"llama3.2","content":[],"usage":{"input_tokens":26,"output_tokens":0}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello!"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" How can I help"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" you today?"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":26,"output_tokens":9}}

event: message_stop
data: {"type":"message_stop"}

"#
    );
}

#[test]
fn responses() {
    assert_eq!(
        reply(Dialect::Responses, false, false),
        r#"{"id":"resp_271828","object":"response","created_at":1763864441,"completed_at":1763864442,"status":"completed","incomplete_details":null,"model":"llama3.2","previous_response_id":null,"instructions":null,"output":[{"id":"msg_314159","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hello! How can I help you today?","annotations":[],"logprobs":[]}]}],"error":null,"tools":[],"tool_choice":"auto","truncation":"disabled","parallel_tool_calls":true,"text":{"format":{"type":"text"}},"top_p":1,"presence_penalty":0,"frequency_penalty":0,"top_logprobs":0,"temperature":1,"reasoning":null,"usage":{"input_tokens":26,"output_tokens":9,"total_tokens":35,"input_tokens_details":{"cached_tokens":0},"output_tokens_details":{"reasoning_tokens":0}},"max_output_tokens":null,"max_tool_calls":null,"store":false,"background":false,"service_tier":"default","metadata":{},"safety_identifier":null,"prompt_cache_key":null}
"#
    );
}

#[test]
fn responses_streamed() {
    assert_eq!(
        reply(Dialect::Responses, true, false),
        r#"event: response.created
data: {"response":{"background":false,"completed_at":null,"created_at":1763864441,"error":null,"frequency_penalty":0,"id":"resp_271828","incomplete_details":null,"instructions":null,"max_output_tokens":null,"max_tool_calls":null,"metadata":{},"model":"llama3.2","object":"response","output":[],"parallel_tool_calls":true,"presence_penalty":0,"previous_response_id":null,"prompt_cache_key":null,"reasoning":null,"safety_identifier":null,"service_tier":"default","status":"in_progress","store":false,"temperature":1,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1,"truncation":"disabled","usage":null},"sequence_number":0,"type":"response.created"}

event: response.in_progress
data: {"response":{"background":false,"completed_at":null,"created_at":1763864441,"error":null,"frequency_penalty":0,"id":"resp_271828","incomplete_details":null,"instructions":null,"max_output_tokens":null,"max_tool_calls":null,"metadata":{},"model":"llama3.2","object":"response","output":[],"parallel_tool_calls":true,"presence_penalty":0,"previous_response_id":null,"prompt_cache_key":null,"reasoning":null,"safety_identifier":null,"service_tier":"default","status":"in_progress","store":false,"temperature":1,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1,"truncation":"disabled","usage":null},"sequence_number":1,"type":"response.in_progress"}

event: response.output_item.added
data: {"item":{"content":[],"id":"msg_314159","role":"assistant","status":"in_progress","type":"message"},"output_index":0,"sequence_number":2,"type":"response.output_item.added"}

event: response.content_part.added
data: {"content_index":0,"item_id":"msg_314159","output_index":0,"part":{"annotations":[],"logprobs":[],"text":"","type":"output_text"},"sequence_number":3,"type":"response.content_part.added"}

event: response.output_text.delta
data: {"content_index":0,"delta":"Hello!","item_id":"msg_314159","logprobs":[],"output_index":0,"sequence_number":4,"type":"response.output_text.delta"}

event: response.output_text.delta
data: {"content_index":0,"delta":" How can I help","item_id":"msg_314159","logprobs":[],"output_index":0,"sequence_number":5,"type":"response.output_text.delta"}

event: response.output_text.delta
data: {"content_index":0,"delta":" you today?","item_id":"msg_314159","logprobs":[],"output_index":0,"sequence_number":6,"type":"response.output_text.delta"}

event: response.output_text.done
data: {"content_index":0,"item_id":"msg_314159","logprobs":[],"output_index":0,"sequence_number":7,"text":"Hello! How can I help you today?","type":"response.output_text.done"}

event: response.content_part.done
data: {"content_index":0,"item_id":"msg_314159","output_index":0,"part":{"annotations":[],"logprobs":[],"text":"Hello! How can I help you today?","type":"output_text"},"sequence_number":8,"type":"response.content_part.done"}

event: response.output_item.done
data: {"item":{"content":[{"annotations":[],"logprobs":[],"text":"Hello! How can I help you today?","type":"output_text"}],"id":"msg_314159","role":"assistant","status":"completed","type":"message"},"output_index":0,"sequence_number":9,"type":"response.output_item.done"}

event: response.completed
data: {"response":{"background":false,"completed_at":1763864442,"created_at":1763864441,"error":null,"frequency_penalty":0,"id":"resp_271828","incomplete_details":null,"instructions":null,"max_output_tokens":null,"max_tool_calls":null,"metadata":{},"model":"llama3.2","object":"response","output":[{"content":[{"annotations":[],"logprobs":[],"text":"Hello! How can I help you today?","type":"output_text"}],"id":"msg_314159","role":"assistant","status":"completed","type":"message"}],"parallel_tool_calls":true,"presence_penalty":0,"previous_response_id":null,"prompt_cache_key":null,"reasoning":null,"safety_identifier":null,"service_tier":"default","status":"completed","store":false,"temperature":1,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1,"truncation":"disabled","usage":{"input_tokens":26,"input_tokens_details":{"cached_tokens":0},"output_tokens":9,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":35}},"sequence_number":10,"type":"response.completed"}

"#
    );
}

/// A reply of a few words, cut by its limit.
fn cut_reply(dialect: Dialect, stream: bool, text: &str, echo: &Echo<'_>) -> String {
    let reply = Reply {
        dialect,
        model: "m",
        text,
        length: true,
        stream,
        usage_chunk: false,
        prompt_tokens: 0,
        completion_tokens: 0,
        took: Duration::ZERO,
        at: SystemTime::UNIX_EPOCH,
        seed: 1,
        echo,
    };
    String::from_utf8(reply.write().body.to_vec()).unwrap()
}

#[test]
fn a_cut_reply_says_so() {
    let echo = Echo::default();
    let mut replies = Dialect::ALL.map(|dialect| cut_reply(dialect, false, "<a \"b\">\n", &echo)).to_vec();
    replies.pop();
    insta::assert_snapshot!(replies.join("\n"), @r#"
    {"model":"m","created_at":"1970-01-01T00:00:00.000000000Z","response":"<a \"b\">\n","done":true,"done_reason":"length","total_duration":1000,"load_duration":168,"prompt_eval_count":1,"prompt_eval_duration":344,"eval_count":1,"eval_duration":488}
    {"model":"m","created_at":"1970-01-01T00:00:00.000000000Z","message":{"role":"assistant","content":"<a \"b\">\n"},"done":true,"done_reason":"length","total_duration":1000,"load_duration":168,"prompt_eval_count":1,"prompt_eval_duration":344,"eval_count":1,"eval_duration":488}
    {"id":"chatcmpl-545","object":"chat.completion","created":0,"model":"m","system_fingerprint":"fp_ollama","choices":[{"index":0,"message":{"role":"assistant","content":"<a \"b\">\n"},"finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}

    {"id":"cmpl-545","object":"text_completion","created":0,"model":"m","system_fingerprint":"fp_ollama","choices":[{"text":"<a \"b\">\n","index":0,"finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}

    {"id":"msg_910a2dec89025cc1f3203e90","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"<a \"b\">\n"}],"stop_reason":"max_tokens","usage":{"input_tokens":1,"output_tokens":1}}
    "#);
    for (dialect, reason) in [
        (Dialect::Generate, r#""done_reason":"length""#),
        (Dialect::Chat, r#""done_reason":"length""#),
        (Dialect::ChatCompletions, r#"{},"finish_reason":"length""#),
        (Dialect::Completions, r#""finish_reason":"length""#),
        (Dialect::Messages, r#""stop_reason":"max_tokens""#),
        (Dialect::Responses, r#""status":"completed""#),
    ] {
        assert!(cut_reply(dialect, true, "a", &echo).contains(reason), "{dialect:?}");
    }
}

#[test]
fn an_empty_text_is_still_well_formed() {
    let echo = Echo::default();
    let stream = cut_reply(Dialect::ChatCompletions, true, "", &echo);
    assert!(stream.contains(r#""delta":{"role":"assistant","content":""}"#));
    let whole = cut_reply(Dialect::Messages, false, "", &echo);
    assert!(whole.contains(r#""content":[{"type":"text","text":""}]"#));
}

#[test]
fn responses_repeat_their_request() {
    let echo = Echo {
        instructions: Some("Be \"x\"".into()),
        temperature: Some(0.7),
        top_p: Some(0.0),
        truncation: Some("auto".into()),
        max_output_tokens: Some(50),
        effort: Some("low".into()),
        summary: None,
    };
    let whole = cut_reply(Dialect::Responses, false, "x", &echo);
    for part in [
        r#""instructions":"Be \"x\"","#,
        r#""truncation":"auto","#,
        r#""top_p":0,"#,
        r#""temperature":0.7,"reasoning":{"effort":"low"},"#,
        r#""max_output_tokens":50,"#,
    ] {
        assert!(whole.contains(part), "{part} in {whole}");
    }
    let stream = cut_reply(Dialect::Responses, true, "x", &echo);
    assert_eq!(stream.matches(r#""reasoning":{"effort":"low","summary":null},"#).count(), 3);
    assert_eq!(stream.matches(r#""max_output_tokens":50,"#).count(), 3);
}

proptest! {
    #[test]
    fn every_line_is_json_and_the_deltas_are_the_text(text in "(\\PC|[ \"\n\u{2028}]){1,60}") {
        for dialect in Dialect::ALL {
            let body = cut_reply(dialect, true, &text, &Echo::default());
            let mut joined = String::new();
            for line in body.lines() {
                let data = if dialect.family() == Family::Ollama { Some(line) } else { line.strip_prefix("data: ") };
                let Some(data) = data.filter(|data| *data != "[DONE]") else { continue };
                let data: Value = serde_json::from_str(data).unwrap();
                for path in ["/response", "/message/content", "/choices/0/delta/content", "/choices/0/text", "/delta/text", "/delta"] {
                    joined.push_str(data.pointer(path).and_then(Value::as_str).unwrap_or(""));
                }
            }
            prop_assert_eq!(&joined, &text);
            let whole: Value = serde_json::from_str(&cut_reply(dialect, false, &text, &Echo::default())).unwrap();
            prop_assert!(whole.to_string().contains(&Value::from(text.as_str()).to_string()));
        }
    }
}
