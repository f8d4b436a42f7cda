//! Who decides what about a running brainstem's asks: hints, bypasses, rules, the classifier, the config.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::asks::{self, Surface};
use support::running::shipped_model;
use support::{Options, Request, Running, Upstream, eventually, hash, junk};

/// Asks that no rule of ours knows and that nobody would take for anything else.
const CODING: &str = "write a python function that sorts a list of numbers";
const PLAIN: &str = "tell me something nice about the old town of Prague";

fn decided_by(reply: &support::Reply) -> &str {
    reply.header("x-brainstem-decided-by").unwrap_or("-")
}

/// How often the classifier was asked, whatever came of it.
fn asked(running: &Running) -> f64 {
    let outcomes = ["changed", "kept", "timeout", "busy", "error", "open"];
    let count = |outcome| running.metric(&format!("classifier_requests_total{{outcome=\"{outcome}\"}}"));
    outcomes.into_iter().map(count).sum()
}

#[test]
fn a_hint_is_taken_as_it_is() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("categories.legal.model", "law:7b").start();
    let by_header = |text: &str, hint: &str| {
        running.send(&asks::chat("llama3.2", text).header("x-brainstem-category", hint))
    };
    for category in ["data_question", "coding", "reasoning", "general", "legal"] {
        let reply = by_header("hello", category);
        let seen = (reply.category(), decided_by(&reply), reply.route());
        assert_eq!(seen, (category, "hint", "upstream"));
        assert_eq!(reply.header("x-brainstem-rule"), None);
    }
    // Fast by hint: the answer that fits by its examples, or the upstream.
    assert_eq!(by_header("good evening", "fast").route(), "local");
    assert_eq!(by_header("explain the tides", "fast").route(), "upstream");
    // No category of ours: as if nothing had been said.
    for odd in ["cooking", "", "FAST"] {
        let reply = by_header("please refactor this", odd);
        assert_eq!((reply.category(), decided_by(&reply)), ("coding", "rule"), "{odd}");
    }

    upstream.forget();
    let body = json!({"category": "reasoning", "model": "llama3.2", "stream": false,
                      "messages": [{"role": "user", "content": "hello"}]});
    let request = Request::json("/api/chat", &body);
    assert_eq!(running.send(&request).category(), "reasoning");
    assert_eq!(upstream.only().hash, hash(request.body.as_ref().unwrap()));
    assert_eq!(running.send(&request.header("x-brainstem-category", "coding")).category(), "coding");
    // On /v1 the body's fields are OpenAI's own.
    assert_eq!(running.send(&Request::json("/v1/chat/completions", &body)).category(), "fast");
}

#[test]
fn a_bypass_is_not_looked_at() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream)
        .set("proxy.bypass_models", vec!["persona".to_owned()])
        .set("categories.fast.model", "other")
        .start();
    let bypassed = [
        asks::chat("llama3.2", "hello").header("x-brainstem-bypass", "1"),
        asks::chat("auto", "hello").header("x-brainstem-bypass", "1"),
        asks::chat("llama3.2", "a forbidden topic").header("x-brainstem-bypass", "1"),
        asks::chat("persona", "hello"),
        asks::chat("Persona:latest", "hello"),
        Request::post("/v1/messages", junk(1, 200_000)).header("x-brainstem-bypass", "1"),
        Request::post("/v1/messages", junk(1, 200_000)).header("x-brainstem-bypass", "1").chunked(7_000),
    ];
    for request in bypassed {
        let reply = running.send(&request);
        assert_eq!(
            (reply.status, reply.route(), reply.category()),
            (200, "upstream", "general"),
            "{reply:?}"
        );
        assert_eq!(reply.header("x-brainstem-rule"), None);
        let body = request.body.unwrap();
        assert_eq!((upstream.only().len, upstream.only().hash), (body.len(), hash(&body)));
        upstream.forget();
    }
    assert_eq!(
        running.send(&asks::chat("llama3.2", "hello").header("x-brainstem-bypass", "0")).route(),
        "local"
    );
}

#[test]
fn a_rule_that_refuses_turns_away_in_the_dialect() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    for surface in asks::ALL {
        let reply =
            running.send(&surface.request(&surface.body("llama3.2", "refactor the FORBIDDEN  topic")));
        assert_eq!((reply.status, reply.route()), (403, "local"), "{surface:?}: {reply:?}");
        assert_eq!(reply.header("x-brainstem-rule"), Some("forbidden"));
        assert_eq!(reply.header("content-type"), Some(surface.content_type(false)));
        let error = reply.value();
        let message = if surface.is_native() { &error["error"] } else { &error["error"]["message"] };
        assert_eq!(message, "that is not talked about here");
        assert_eq!(error["type"] == "error", surface == Surface::Messages);
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn the_highest_priority_wins_and_names_itself() {
    let upstream = Upstream::start();
    let rules = r#"
[[rule]]
name = "low"
category = "reasoning"
priority = 1
any = ["tides"]

[[rule]]
name = "high"
category = "data_question"
priority = 99
any = ["tide*"]
all = ["moon"]
"#;
    let running = Options::before(&upstream).rules("rules.toml", rules).start();
    let reply = running.chat("explain the tides");
    assert_eq!((reply.category(), reply.header("x-brainstem-rule")), ("reasoning", Some("low")));
    let reply = running.chat("explain the tides and the moon");
    assert_eq!((reply.category(), reply.header("x-brainstem-rule")), ("data_question", Some("high")));
    assert_eq!(running.metric("rule_matches_total{rule=\"low\"}"), 1.0);
}

#[test]
fn a_rule_or_a_category_may_name_another_server_and_model() {
    let (near, big) = (Upstream::start(), Upstream::start());
    let rules = r#"
[[rule]]
name = "to-big"
upstream = "big"
model = "deep:70b"
priority = 60
any = ["deep thought"]
"#;
    let running = Options::before(&near)
        .set("upstream.big.url", big.url())
        .set("upstream.big.poll", "100ms")
        .set("categories.reasoning.upstream", "big")
        .set("categories.reasoning.model", "thinker")
        .rules("20.toml", rules)
        .start();
    running.sees("big", true, Some(1));
    let reply = running.chat("a deep thought about tides");
    assert_eq!((reply.header("x-brainstem-rule"), reply.category()), (Some("to-big"), "general"));
    assert_eq!((big.only().json()["model"].as_str(), near.count()), (Some("deep:70b"), 0));
    assert_eq!(big.only().header("host"), Some(&*big.address.to_string()));
    big.forget();

    let hint = |model| asks::chat(model, "the tides").header("x-brainstem-category", "reasoning");
    running.send(&hint("auto"));
    assert_eq!(big.only().json()["model"], "thinker");
    running.send(&hint("mine"));
    assert_eq!(big.last().json()["model"], "mine");
    assert_eq!(near.count(), 0);
    running.chat("the tides");
    assert_eq!((near.count(), big.count()), (1, 2));
}

#[test]
fn a_fast_category_may_be_sent_upstream_by_config() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("categories.fast.route", "upstream").start();
    let reply = running.chat("hello");
    assert_eq!((reply.category(), reply.route(), reply.guard()), ("fast", "upstream", "-"));
}

#[test]
fn auto_with_nobody_to_name_a_model_is_502_in_the_dialect() {
    let running = Options::before_nobody().start();
    let reply = running.send(&asks::chat("auto", "explain the tides"));
    assert_eq!(reply.status, 502);
    assert!(reply.value()["error"].as_str().unwrap().contains("model 'auto' not found"), "{reply:?}");
    assert_eq!(running.send(&asks::chat("auto", "hello")).route(), "local");
}

#[test]
fn a_request_id_is_kept_or_made() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    for text in ["hello", "explain the tides"] {
        let reply = running.send(&asks::chat("llama3.2", text).header("x-request-id", "mine-42"));
        assert_eq!(reply.header("x-request-id"), Some("mine-42"));
        let mut made: Vec<String> = Vec::new();
        for _ in 0..5 {
            made.push(running.chat(text).header("x-request-id").unwrap().to_owned());
        }
        made.sort();
        made.dedup();
        assert_eq!(made.len(), 5, "{made:?}");
        let long = "x".repeat(500);
        let reply = running.send(&asks::chat("llama3.2", text).header("x-request-id", &long));
        assert_ne!(reply.header("x-request-id"), Some(long.as_str()));
    }
}

#[test]
fn the_classifier_is_asked_about_general_messages_of_5_to_25_words() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).classifier("on").start();
    assert_eq!(running.ready()["classifier"]["state"], "ready", "{:?}", running.log());
    assert_eq!(running.metric("classifier_up"), 1.0);

    let words = |n: usize| vec!["tides"; n].join(" ");
    for n in [1, 4, 5, 25, 26, 200] {
        let before = asked(&running);
        let reply = running.chat(&words(n));
        assert_eq!(reply.status, 200);
        let expected = if (5..=25).contains(&n) { 1.0 } else { 0.0 };
        assert_eq!(asked(&running) - before, expected, "{n} words");
    }

    let before = asked(&running);
    running.chat("please refactor this ugly little function of mine");
    running.chat("let us speak about a forbidden topic right now");
    running.send(&asks::chat("llama3.2", PLAIN).header("x-brainstem-category", "general"));
    running.send(&asks::chat("llama3.2", PLAIN).header("x-brainstem-bypass", "1"));
    running.send(&Request::post("/api/embed", asks::chat("llama3.2", PLAIN).body.unwrap()));
    running.chat(&format!("### Task:\n{PLAIN}"));
    assert_eq!(
        asked(&running),
        before,
        "a rule, a hint, a bypass, another path and a harness need no classifier"
    );
    assert_eq!(running.metric("classifier_up"), 1.0);
}

#[test]
fn the_classifiers_word_counts_and_is_logged_to_the_letter() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).classifier("on").set("categories.coding.model", "coder").start();
    let reply = running.send(&asks::chat("auto", CODING));
    assert_eq!((reply.category(), decided_by(&reply)), ("coding", "classifier"), "{:?}", running.log());
    assert_eq!(upstream.only().json()["model"], "coder");
    assert_eq!(running.metric("classifier_requests_total{outcome=\"changed\"}"), 1.0);
    assert_eq!(running.metric("category_changes_total{from=\"general\",to=\"coding\"}"), 1.0);
    assert_eq!(running.metric("classifier_seconds_count"), 1.0);

    let line = running.log_line("[MLX_LIGHT_CLASSIFY]");
    let said = line.split_once("[MLX_LIGHT_CLASSIFY] ").unwrap().1;
    let (said, ms) = said.rsplit_once('=').unwrap();
    assert_eq!(said, "general -> coding goal_len=10 duration_ms", "{line}");
    assert!(ms.parse::<u64>().unwrap() < 8_000, "{line}");

    let reply = running.chat(&["zxqv"; 7].join(" "));
    assert_eq!(reply.status, 200);
    if reply.category() == "general" {
        running.log_line("[MLX_LIGHT_CLASSIFY] general -> general goal_len=7 duration_ms=");
        assert_eq!(running.metric("classifier_requests_total{outcome=\"kept\"}"), 1.0);
    }
}

#[test]
fn prompts_are_never_logged() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).classifier("on").start();
    running.chat("my secret word is xylophonist and nobody may know it");
    running.chat("hello");
    running.log_line("[MLX_LIGHT_CLASSIFY]");
    drop(upstream);
    running.chat("my secret word is xylophonist and the server is gone");
    running.log_line("POST /api/chat");
    assert!(!running.log().join("\n").contains("xylophonist"), "{:?}", running.log());
}

#[test]
fn many_asks_at_once_never_fail_for_the_classifier() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).classifier("on").set("classifier.queue", 1).start();
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let reply = running.chat(CODING);
                    assert_eq!(reply.status, 200);
                    assert!(matches!(reply.category(), "coding" | "general"), "{reply:?}");
                }
            });
        }
    });
    assert_eq!(asked(&running), 120.0, "each is counted with what came of it");
    assert_eq!(running.metric("classifier_requests_total{outcome=\"error\"}"), 0.0);
}

#[test]
fn a_shadow_counts_and_changes_nothing() {
    let upstream = Upstream::start();
    let off = Options::before(&upstream).start();
    let shadow = Options::before(&upstream).classifier("shadow").start();
    for text in [CODING, PLAIN, "hello", "please refactor this ugly little function of mine"] {
        let (with, without) = (shadow.chat(text), off.chat(text));
        for name in ["route", "category", "decided-by", "rule", "answer", "guard"] {
            let name = format!("x-brainstem-{name}");
            assert_eq!(with.header(&name), without.header(&name), "{text}: {name}");
        }
    }
    eventually(support::DEADLINE, "both are counted", || asked(&shadow) == 2.0);
    assert_eq!(shadow.metric("category_changes_total{from=\"general\",to=\"coding\"}"), 1.0);
    shadow.log_line("[MLX_LIGHT_CLASSIFY] general -> coding goal_len=10 duration_ms=");
    assert_eq!(asked(&off), 0.0);
    assert!(!off.log().join("\n").contains("MLX_LIGHT_CLASSIFY"));
    let arms = shadow.admin("/metrics").text().contains("arm=\"shadow\"");
    assert!(arms, "the comparison has its arm");
}

#[test]
fn the_older_systems_variable_switches_it() {
    let upstream = Upstream::start();
    for (value, mode) in [("off", "down"), ("on", "ready")] {
        let mut options = Options::before(&upstream).environment("VICTORIA_MLX_LIGHT_CLASSIFY", value);
        options = options.classifier(if value == "on" { "off" } else { "on" });
        assert_eq!(options.start().ready()["classifier"]["state"], mode, "{value}");
    }
}

#[test]
fn switched_off_is_said_so() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let state = &running.ready()["classifier"];
    assert_eq!((&state["up"], &state["state"]), (&json!(false), &json!("down")));
    assert!(state["detail"].as_str().unwrap().contains("classifier.mode"), "{state}");
    assert_eq!(running.metric("classifier_up"), 0.0);
    assert_eq!((running.chat(CODING).category(), asked(&running)), ("general", 0.0));
}

#[test]
fn without_its_model_brainstem_runs_and_says_why() {
    let upstream = Upstream::start();
    let files = tempfile::tempdir().unwrap();
    let shipped = std::fs::read(shipped_model().join("model.safetensors")).unwrap();
    let mut damaged = shipped.clone();
    damaged[..200].copy_from_slice(&junk(5, 200));
    let contents: [(&str, Option<&[u8]>); 5] = [
        ("missing", None),
        ("empty", Some(&[])),
        ("truncated", Some(&shipped[..shipped.len() / 2])),
        ("damaged", Some(&damaged)),
        ("cut-head", Some(&shipped[..100])),
    ];
    for (name, content) in contents {
        let file = files.path().join(name);
        std::fs::create_dir(&file).unwrap();
        for beside in ["config.json", "tokenizer.json"] {
            std::fs::copy(shipped_model().join(beside), file.join(beside)).unwrap();
        }
        if let Some(content) = content {
            std::fs::write(file.join("model.safetensors"), content).unwrap();
        }
        let running = Options::before(&upstream)
            .set("classifier.mode", "on")
            .set("classifier.model", file.display().to_string())
            .start();
        let ready = running.ready();
        assert_eq!(ready["ready"], true, "{name}");
        let state = &ready["classifier"];
        assert_eq!((&state["up"], &state["state"]), (&json!(false), &json!("down")), "{name}: {state}");
        let why = state["detail"].as_str().unwrap();
        assert!(why.contains(&format!("{name}/model.safetensors")), "{name}: {why}");
        assert_eq!(running.metric("classifier_up"), 0.0, "{name}");
        running.log_line(&format!("{name}/model.safetensors"));
        for _ in 0..4 {
            let clock = Instant::now();
            let reply = running.chat(CODING);
            assert_eq!(
                (reply.status, reply.category(), decided_by(&reply)),
                (200, "general", "default"),
                "{name}"
            );
            assert!(clock.elapsed() < Duration::from_secs(2), "{name}: nobody waits for what is not there");
        }
        assert_eq!(running.chat("hello").route(), "local", "{name}");
    }
}

#[test]
fn weights_that_are_not_light_are_refused() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).classifier("on").set("light.max_bytes", "1KiB").start();
    let why = running.ready()["classifier"]["detail"].as_str().unwrap().to_owned();
    assert!(why.contains("light.max_bytes") && why.contains("light.only_light"), "{why}");
    let running = Options::before(&upstream)
        .classifier("on")
        .set("light.max_bytes", "1KiB")
        .environment("MLX_ONLY_LIGHT", "false")
        .start();
    assert_eq!(running.ready()["classifier"]["up"], true);
}
