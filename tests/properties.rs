//! Whatever comes in: no parser panics, and what is forwarded equals what came.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::path::Path;

use brainstem::ask::{self, Ask};
use brainstem::category::Category;
use brainstem::dialect::Dialect;
use brainstem::rules::{Snapshot, VocabularyBuf};
use proptest::prelude::*;
use support::asks::{self, Surface};
use support::running::{ANSWERS, RULES};
use support::{Options, Request, Running, Upstream, hash};

/// JSON of the shapes that asks have, and of shapes that they should not have.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(|n| serde_json::Number::from_f64(n).map_or(0.into(), Into::into)),
        "\\PC{0,12}".prop_map(Into::into),
        prop_oneof![Just("hello"), Just("user"), Just("text"), Just("auto"), Just("0s"), Just("привет")]
            .prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let key = prop_oneof![
            prop::sample::select(&KEYS[..]).prop_map(str::to_owned),
            prop::sample::select(&KEYS[..]).prop_map(str::to_uppercase),
            "\\PC{0,6}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::vec((key, inner), 0..8)
                .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
        ]
    })
}

const KEYS: [&str; 32] = [
    "model",
    "messages",
    "prompt",
    "input",
    "role",
    "content",
    "type",
    "text",
    "stream",
    "options",
    "num_predict",
    "stop",
    "stop_sequences",
    "max_tokens",
    "keep_alive",
    "system",
    "instructions",
    "tools",
    "tool_choice",
    "format",
    "response_format",
    "images",
    "think",
    "reasoning",
    "category",
    "n",
    "stream_options",
    "include_usage",
    "context",
    "modalities",
    "previous_response_id",
    "thinking",
];

/// An ask with something done to its bytes.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let seeds: Vec<Vec<u8>> = asks::ALL
        .into_iter()
        .map(|surface| {
            let more = serde_json::json!({"stream": true, "options": {"num_predict": 3, "stop": ["x"]},
                "keep_alive": "5m", "tools": [], "stop": ["a", "b"], "max_tokens": 7, "think": "low"});
            surface.with("llama3.2", "hello \"you\" \u{1F600} \\ привет", more).to_string().into_bytes()
        })
        .collect();
    let change = (any::<prop::sample::Index>(), 0..4usize, any::<u8>());
    (prop::sample::select(seeds), prop::collection::vec(change, 0..6)).prop_map(|(mut bytes, changes)| {
        for (at, kind, byte) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, byte),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => json().prop_map(|value| value.to_string().into_bytes()),
        3 => mutated(),
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ]
}

/// What holds for an ask whatever it was made of.
fn judge(dialect: Dialect, body: &[u8]) -> Result<(), TestCaseError> {
    let Ok(ask) = Ask::parse(dialect, body) else { return Ok(()) };
    // What can be read here is JSON to others, too. Only its grammar: like Go's decoder, this one does not
    // look into strings and numbers that it has no use for.
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        return Err(TestCaseError::fail(format!("read, though it is no JSON: {error}")));
    }
    prop_assert_eq!(body.trim_ascii_start().first(), Some(&b'{'));
    prop_assert_ne!(ask.limit, Some(0));
    prop_assert!(ask.stops.iter().all(|stop| !stop.is_empty()));
    if let Some(span) = &ask.model_span {
        prop_assert_eq!(serde_json::from_slice::<String>(&body[span.clone()]).unwrap(), ask.model.as_ref());
        let name = "new \"name\"\n\u{1F600}";
        let renamed = ask::with_model(body, span, name);
        let again = Ask::parse(dialect, &renamed).unwrap();
        prop_assert_eq!(again.model.as_ref(), name);
        prop_assert_eq!(again.text, ask.text);
        // A model without a name is invalid, and now it has one; nothing else changes.
        let mut guards = ask.guards;
        if ask.model.is_empty() {
            guards = guards
                .iter()
                .filter(|guard| *guard != ask::Guard::Invalid || again.guards.contains(*guard))
                .collect();
        }
        prop_assert!(guards.iter().all(|guard| again.guards.contains(guard)));
        let added = renamed.len() - (body.len() - span.len());
        prop_assert_eq!(&renamed[..span.start], &body[..span.start]);
        prop_assert_eq!(&renamed[span.start + added..], &body[span.end..]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_body_breaks_the_parser(body in body()) {
        for dialect in Dialect::ALL {
            judge(dialect, &body)?;
        }
    }
}

fn words() -> VocabularyBuf {
    VocabularyBuf { categories: Category::BUILT_IN.to_vec(), upstreams: vec!["default".into()] }
}

/// Loads one rules file beside one file of answers.
fn load(rules: &[u8], answers: &[u8]) -> Result<Snapshot, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("answers")).unwrap();
    std::fs::write(dir.path().join("rules.toml"), rules).unwrap();
    std::fs::write(dir.path().join("answers/answers.toml"), answers).unwrap();
    Snapshot::load(dir.path(), &words().borrow()).map_err(|all| all.iter().map(ToString::to_string).collect())
}

/// A rules file with something done to its text.
fn mutated_toml(seed: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(&TOKENS[..]);
    let change = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4usize, token);
    prop::collection::vec(change, 0..4).prop_map(move |changes| {
        let mut text: Vec<char> = seed.chars().collect();
        for (at, to, kind, token) in changes {
            let (mut at, mut to) = (at.index(text.len().max(1)), to.index(text.len().max(1)));
            (at, to) = (at.min(to), at.max(to));
            match kind {
                0 => drop(text.splice(at..at, token.chars())),
                1 => drop(text.drain(at..to.min(at + 6))),
                2 => drop(text.splice(at..to.min(at + 3), token.chars())),
                _ => text.truncate(to),
            }
        }
        text.into_iter().collect::<String>().into_bytes()
    })
}

const TOKENS: [&str; 24] = [
    "[[rule]]\n",
    "[[answer]]\n",
    "name = \"x\"\n",
    "any = [\"a\"]\n",
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    "{{",
    "}}",
    "{% if",
    "*",
    "(?",
    "\\u{0}",
    "\u{1F600}",
    "ё",
    "\n",
    "= 1\n",
    "priority = 99999999999\n",
    "when = { turns = \"1..\" }\n",
    "..",
    "\u{0}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_rules_break_the_loader(
        rules in prop_oneof![3 => mutated_toml(RULES), 1 => prop::collection::vec(any::<u8>(), 0..200)],
        answers in prop_oneof![3 => mutated_toml(ANSWERS), 1 => prop::collection::vec(any::<u8>(), 0..200)],
    ) {
        // What is refused says why, and where.
        if let Err(problems) = load(&rules, &answers) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|p| p.contains(".toml") && !p.ends_with(": ")), "{:?}", problems);
        }
    }
}

#[test]
fn the_unchanged_files_load() {
    let snapshot = load(RULES.as_bytes(), ANSWERS.as_bytes()).unwrap();
    assert_eq!((snapshot.rules().len(), snapshot.answers().len()), (3, 1));
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    assert!(Snapshot::load(&shipped, &words().borrow()).is_ok());
}

/// Sends a body through a live proxy: answered here, or with the upstream as it was.
fn forwards(running: &Running, upstream: &Upstream, surface: Surface, body: &[u8], chunked: Option<usize>) {
    upstream.forget();
    let mut request = Request::post(surface.path(), body);
    request.chunked = chunked;
    let reply = running.send(&request);
    if reply.route() == "local" {
        assert_eq!((reply.status, upstream.count()), (200, 0), "{surface:?} {body:?}");
        return;
    }
    assert_eq!(reply.status, 200, "{surface:?} {body:?}: {reply:?}");
    let received = upstream.only();
    assert!(received.whole);
    assert_eq!((received.len, received.hash), (body.len(), hash(body)), "{surface:?} {body:?} {received:?}");
}

#[test]
fn what_is_forwarded_equals_what_came() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 120,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let framing = prop_oneof![Just(None), (1..400usize).prop_map(Some)];
    let surface = prop::sample::select(&asks::ALL[..]);
    // Some of them long enough to pass Pingora's buffer.
    let padding = prop_oneof![4 => Just(0), 1 => 60_000..140_000usize];
    let cases = (body(), surface, framing, padding);
    let done = runner.run(&cases, |(mut body, surface, chunked, padding)| {
        body.resize(body.len() + padding, b' ');
        // `auto` is rewritten, as it must be; that is another test's business.
        prop_assume!(!String::from_utf8_lossy(&body).to_lowercase().contains("auto"));
        let chunked = chunked.map(|size| if padding > 0 { size * 50 } else { size });
        forwards(&running, &upstream, surface, &body, chunked);
        Ok(())
    });
    done.unwrap();
}
