//! Any text as a local answer in each dialect, cut or not, streamed or not: what is written parses, and says
//! the text.
#![no_main]

use std::time::{Duration, SystemTime};

use brainstem::ask::Echo;
use brainstem::dialect::{self, Dialect, Family, Reply};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let (head, rest) = input.split_at(input.len().min(4));
    let byte = |at: usize| head.get(at).copied().unwrap_or(0);
    let text = String::from_utf8_lossy(rest);
    let (model, text) = text.split_at(text.floor_char_boundary(usize::from(byte(0)) % 32));
    let stops: Vec<String> = text.get(..usize::from(byte(1)) % 4).map(str::to_owned).into_iter().collect();
    let limit = (byte(2) > 0).then_some(u64::from(byte(2)));
    let cut = dialect::cut(text, limit, &stops);
    assert!(text.starts_with(cut.text) && limit.is_none_or(|most| cut.tokens <= most));
    for dialect in Dialect::ALL {
        for stream in [false, true] {
            let written = Reply {
                dialect,
                model,
                text: cut.text,
                length: cut.length,
                stream,
                usage_chunk: byte(3) & 1 == 1,
                prompt_tokens: dialect::prompt_tokens(input.len()),
                completion_tokens: cut.tokens,
                took: Duration::from_micros(u64::from(byte(3))),
                at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
                seed: u64::from(byte(0)),
                echo: &Echo::default(),
            }
            .write();
            let body = std::str::from_utf8(&written.body).unwrap();
            assert_eq!(said(dialect, stream, body), cut.text, "{dialect:?} {stream} {body}");
        }
    }
    for (family, status) in [(Family::Ollama, 502), (Family::OpenAi, 404), (Family::Anthropic, 529)] {
        let error = dialect::error(family, status, text, u64::from(byte(1)));
        let error: Value = serde_json::from_slice(&error.body).unwrap();
        let message = if family == Family::Ollama { &error["error"] } else { &error["error"]["message"] };
        assert_eq!(message, text);
    }
});

fn said(dialect: Dialect, stream: bool, body: &str) -> String {
    let objects: Vec<Value> = match (dialect.family(), stream) {
        (_, false) => vec![serde_json::from_str(body).unwrap()],
        (Family::Ollama, true) => body.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        (_, true) => {
            let data = body.split('\n').filter_map(|line| line.strip_prefix("data: "));
            data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
        }
    };
    let piece = |o: &Value| match (dialect, stream) {
        (Dialect::Generate, _) => o["response"].clone(),
        (Dialect::Chat, _) => o["message"]["content"].clone(),
        (Dialect::ChatCompletions, false) => o["choices"][0]["message"]["content"].clone(),
        (Dialect::ChatCompletions, true) => o["choices"][0]["delta"]["content"].clone(),
        (Dialect::Completions, _) => o["choices"][0]["text"].clone(),
        (Dialect::Messages, false) => o["content"][0]["text"].clone(),
        (Dialect::Messages, true) => o["delta"]["text"].clone(),
        (Dialect::Responses, false) => o["output"][0]["content"][0]["text"].clone(),
        (Dialect::Responses, true) => o["delta"].clone(),
    };
    objects.iter().filter_map(|o| piece(o).as_str().map(str::to_owned)).collect()
}
