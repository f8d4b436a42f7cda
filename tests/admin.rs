//! The operator's address of a running brainstem.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use support::asks::{self, Surface};
use support::upstream::reply;
use support::{Options, Request, Running, Step, Upstream, eventually, send};

/// Every metric that dashboards may rely on, and its type.
const PROMISED: [(&str, &str); 23] = [
    ("requests_total", "counter"),
    ("category_changes_total", "counter"),
    ("arm_category_changes_total", "counter"),
    ("decision_log_lines_total", "counter"),
    ("classifier_requests_total", "counter"),
    ("classifier_seconds", "histogram"),
    ("request_seconds", "histogram"),
    ("first_byte_seconds", "histogram"),
    ("overhead_seconds", "histogram"),
    ("upstream_errors_total", "counter"),
    ("rule_matches_total", "counter"),
    ("local_answers_total", "counter"),
    ("rules_reloads_total", "counter"),
    ("rules_generation", "gauge"),
    ("rules_problems", "gauge"),
    ("classifier_enabled", "gauge"),
    ("classifier_breaker_open", "gauge"),
    ("rules_last_success_timestamp_seconds", "gauge"),
    ("classifier_up", "gauge"),
    ("light_memory_bytes", "gauge"),
    ("light_restarts_total", "counter"),
    ("inflight_requests", "gauge"),
    ("build_info", "gauge"),
];

const CODING: &str = "write a python function that sorts a list of numbers";

/// Some of everything: local, forwarded, classified, refused, failed, passed through.
fn traffic(running: &Running, upstream: &Upstream) {
    for surface in asks::ALL {
        for text in ["hello", "please refactor this", "a forbidden topic", CODING] {
            running.send(&surface.request(&surface.body("llama3.2", text)));
        }
    }
    running.send(&Request::get("/api/version"));
    running.send(&Request::new("BREW", "/coffee"));
    upstream.script(|_| vec![Step::Send(reply(503, "application/json", b"{\"error\":\"busy\"}"))]);
    running.chat("explain the tides");
    upstream.script(|_| vec![Step::Close]);
    running.chat("explain the tides");
}

#[test]
fn every_promised_metric_is_there_after_some_traffic() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).classifier("on").start();
    traffic(&running, &upstream);
    let scrape = running.admin("/metrics");
    assert_eq!(scrape.status, 200);
    assert!(scrape.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"), "{scrape:?}");
    let text = scrape.text();
    for (name, kind) in PROMISED {
        let name = format!("brainstem_{name}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} is no {kind}");
        let sample =
            text.lines().find(|l| l.strip_prefix(&*name).is_some_and(|r| r.starts_with(['{', ' ', '_'])));
        assert!(sample.is_some(), "{name} has no sample:\n{text}");
    }
}

/// The labels of each sample of a metric.
fn labels(text: &str, name: &str) -> Vec<BTreeMap<String, String>> {
    let samples = text.lines().filter_map(|line| line.strip_prefix(&format!("brainstem_{name}{{")));
    samples
        .map(|rest| {
            let (labels, _) = rest.rsplit_once('}').unwrap();
            let pair = |pair: &str| {
                let (name, value) = pair.split_once("=\"").unwrap();
                (name.to_owned(), value.trim_end_matches('"').to_owned())
            };
            labels.split("\",").map(pair).collect()
        })
        .collect()
}

#[test]
fn labels_are_as_promised_and_never_from_prompts() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).classifier("on").start();
    traffic(&running, &upstream);
    for text in ["xylophonist", "xylophonist please refactor"] {
        running.send(
            &asks::chat("xylophonist", text)
                .header("x-brainstem-category", "xylophonist")
                .header("x-request-id", "xylophonist"),
        );
    }
    running.send(&Request::get("/xylophonist"));
    let scrape = running.admin("/metrics");
    let text = scrape.text();
    assert!(!text.contains("xylophonist"), "{text}");
    let promised: [(&str, &[&str]); 8] = [
        ("requests_total", &["category", "code", "decided_by", "dialect", "route"]),
        ("category_changes_total", &["from", "to"]),
        ("classifier_requests_total", &["outcome"]),
        ("upstream_errors_total", &["kind", "upstream"]),
        ("rule_matches_total", &["rule"]),
        ("local_answers_total", &["answer"]),
        ("rules_reloads_total", &["result"]),
        ("build_info", &["mlx", "version"]),
    ];
    for (name, expected) in promised {
        let found = labels(text, name);
        assert!(!found.is_empty(), "{name}");
        for labels in found {
            assert_eq!(labels.keys().map(String::as_str).collect::<Vec<_>>(), expected, "{name}");
        }
    }
    let seen = |label: &str| -> BTreeSet<String> {
        labels(text, "requests_total").into_iter().map(|mut l| l.remove(label).unwrap()).collect()
    };
    for dialect in ["ollama", "openai", "anthropic"] {
        assert!(seen("dialect").contains(dialect), "{:?}", seen("dialect"));
    }
    for code in ["200", "403", "502", "503"] {
        assert!(seen("code").contains(code), "{:?}", seen("code"));
    }
    for by in ["rule", "classifier", "default"] {
        assert!(seen("decided_by").contains(by), "{:?}", seen("decided_by"));
    }
    // What Prometheus would refuse: a series twice, a number that is none.
    let mut series = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(series.insert(name.to_owned()), "{name} twice");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn requests_are_counted_by_what_was_decided() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let counted = |labels: &str| running.metric(&format!("requests_total{{{labels}}}"));
    for _ in 0..3 {
        running.chat("hello");
    }
    running.send(&Surface::Messages.request(&Surface::Messages.body("llama3.2", "please refactor this")));
    let local = r#"category="fast",code="200",decided_by="rule",dialect="ollama",route="local""#;
    eventually(support::DEADLINE, "three greetings are counted", || counted(local) == 3.0);
    let forwarded = r#"category="coding",code="200",decided_by="rule",dialect="anthropic",route="upstream""#;
    eventually(support::DEADLINE, "one forwarded", || counted(forwarded) == 1.0);
    assert_eq!(running.metric("local_answers_total{answer=\"greeting\"}"), 3.0);
    assert_eq!(running.metric("request_seconds_count{route=\"local\"}"), 3.0);
    assert_eq!(running.metric("inflight_requests"), 0.0);
}

#[test]
fn overhead_leaves_out_the_upstreams_time() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let wait = std::time::Duration::from_secs(1);
    upstream.script(move |_| [vec![Step::Wait(wait)], support::upstream::ok()].concat());
    running.chat("explain the tides");
    eventually(support::DEADLINE, "it is counted", || running.metric("overhead_seconds_count") == 1.0);
    assert!(running.metric("request_seconds_sum{route=\"upstream\"}") >= 1.0);
    assert!(running.metric("overhead_seconds_sum") < 0.5, "{}", running.metric("overhead_seconds_sum"));
}

#[test]
fn in_flight_is_what_is_being_served_now() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    upstream.steps(vec![Step::Hang]);
    let mut connections: Vec<_> = (0..3).map(|_| running.connect()).collect();
    for connection in &mut connections {
        connection.write(&asks::chat("llama3.2", "explain the tides").bytes(running.proxy));
    }
    let inflight = || running.metric("inflight_requests");
    eventually(support::DEADLINE, "three are in flight", || inflight() == 3.0);
    connections.into_iter().for_each(support::Connection::leave);
    eventually(support::DEADLINE, "none is", || inflight() == 0.0);
}

#[test]
fn health_says_that_the_process_lives() {
    let running = Options::before_nobody().start();
    let reply = running.admin("/healthz");
    assert_eq!((reply.status, reply.text()), (200, "ok\n"));
    let reply = send(running.admin, &Request::new("HEAD", "/healthz"));
    assert_eq!((reply.status, reply.body.len()), (200, 0));
}

#[test]
fn readiness_tells_of_rules_upstreams_and_classifier() {
    let upstream = Upstream::start();
    let gone = support::running::nobody();
    let running = Options::before(&upstream)
        .set("upstream.gone.url", format!("http://{gone}"))
        .classifier("on")
        .start();
    let ready = running.ready();
    assert_eq!(ready["ready"], true);
    assert_eq!(ready["rules"], json!({"generation": 1, "rules": 3, "answers": 1}));
    assert_eq!(ready["classifier"]["up"], true);
    assert!(ready["classifier"]["detail"].as_str().unwrap().contains("models/intent"), "{ready}");
    let server = |name: &str, url: String, up: bool, models: Option<usize>| {
        let only = json!({
            "name": url.trim_start_matches("http://"), "up": up, "cooling": false, "inflight": 0,
            "models": models, "in_memory": null,
        });
        json!({"name": name, "url": url, "up": up, "models": models, "servers": [only]})
    };
    assert_eq!(ready["upstreams"][0], server("default", upstream.url(), true, Some(1)));
    assert_eq!(ready["upstreams"][1], server("gone", format!("http://{gone}"), false, None));
    assert_eq!(running.metric("upstream_up{upstream=\"default\"}"), 1.0);
    assert_eq!(running.metric("upstream_up{upstream=\"gone\"}"), 0.0);
}

#[test]
fn rules_tells_what_is_loaded_from_where() {
    let running = Options::before_nobody().start();
    let rules = running.admin("/rules").value();
    assert_eq!(rules["generation"], 1);
    assert_eq!(rules["files"], json!(["rules/rules.toml", "rules/answers/answers.toml"]));
    assert!(rules["hash"].as_str().unwrap().len() >= 8);
    assert_eq!(rules["answers"], json!(["greeting"]));
    assert_eq!(rules["last_error"], json!([]));
    let first =
        json!({"name": "forbidden", "category": "general", "priority": 90, "at": "rules/rules.toml:8"});
    assert_eq!(rules["rules"][0], first, "{rules}");
}

#[test]
fn explain_is_the_decision_that_a_request_gets() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).classifier("on").start();
    for surface in asks::ALL {
        for text in ["hello", "please refactor this", "explain the tides", CODING, "a forbidden topic"] {
            let body = surface.body("llama3.2", text);
            let query = format!("/explain?path={}", surface.path());
            let told = send(running.admin, &Request::json(&query, &body));
            assert_eq!(told.status, 200, "{told:?}");
            let told = told.value();
            let real = running.send(&surface.request(&body));
            for (key, header) in [
                ("route", "route"),
                ("category", "category"),
                ("decided_by", "decided-by"),
                ("rule", "rule"),
                ("answer", "answer"),
                ("guard", "guard"),
            ] {
                assert_eq!(
                    told[key].as_str(),
                    real.header(&format!("x-brainstem-{header}")),
                    "{told} {real:?}"
                );
            }
        }
    }
    let told =
        send(running.admin, &Request::json("/explain", &Surface::Chat.body("llama3.2", CODING))).value();
    assert_eq!(
        (&told["classifier"]["asked"], &told["classifier"]["label"]),
        (&json!(true), &json!("coding"))
    );
    assert!(told["classifier"]["probability"].as_f64().unwrap() > 0.3);
    for stage in ["parse", "look", "rules", "classifier", "route"] {
        assert!(told["micros"][stage].is_u64(), "{told}");
    }
    let asked = upstream.count();
    let hinted = Request::json("/explain", &Surface::Chat.body("llama3.2", "hello"))
        .header("x-brainstem-category", "coding");
    let told = send(running.admin, &hinted).value();
    assert_eq!((&told["category"], &told["decided_by"]), (&json!("coding"), &json!("hint")));
    assert_eq!(told["rules"][0]["name"], "answers/greeting", "rules that matched are shown all the same");
    assert_eq!(upstream.count(), asked, "no upstream is asked");
}

#[test]
fn explain_says_what_it_cannot_explain() {
    let running = Options::before_nobody().start();
    for request in [
        Request::post("/explain", "{broken"),
        Request::post("/explain?path=/api/pull", "{}"),
        Request::post("/explain?path=/api/nowhere", "{}"),
    ] {
        let reply = send(running.admin, &request);
        assert_eq!(reply.status, 400, "{reply:?}");
        assert!(reply.text().len() > 10, "{reply:?}");
    }
    let large = vec![b' '; 5 * 1024 * 1024];
    let reply = send(running.admin, &Request::post("/explain", large));
    assert_eq!(reply.status, 413);
}

#[test]
fn other_paths_and_methods_are_told_apart() {
    let running = Options::before_nobody().start();
    assert_eq!(running.admin("/nowhere").status, 404);
    assert!(running.admin("/nowhere").text().contains("/metrics"));
    for path in ["/metrics", "/healthz", "/readyz", "/rules"] {
        assert_eq!(send(running.admin, &Request::post(path, "x")).status, 405, "{path}");
    }
    assert_eq!(running.admin("/explain").status, 405);
    // The operator's paths are not the clients'.
    assert_eq!(running.send(&Request::get("/metrics")).status, 502);
}

#[test]
fn one_connection_takes_many_scrapes() {
    let running = Options::before_nobody().start();
    let mut connection = support::Connection::open(running.admin);
    for path in ["/metrics", "/healthz", "/readyz", "/rules", "/metrics"] {
        assert_eq!(connection.exchange(&Request::get(path)).status, 200, "{path}");
    }
}

/// `POST /try` with rules and perhaps lines.
fn attempt(running: &Running, body: &serde_json::Value) -> support::Reply {
    send(running.admin, &Request::json("/try", body).header("content-type", "application/json"))
}

const SKY: &str =
    "[[rule]]\nname = \"sky\"\ncategory = \"reasoning\"\npriority = 60\nany = [\"tides\", \"refactor\"]\n";

#[test]
fn the_console_is_served_from_the_binary_and_locked_down() {
    let running = Options::before_nobody().start();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/console.js", "text/javascript; charset=utf-8"),
        ("/console.css", "text/css; charset=utf-8"),
        ("/console.svg", "image/svg+xml"),
    ] {
        let reply = running.admin(path);
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(kind)), "{path}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        let policy = reply.header("content-security-policy").unwrap();
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let tag = reply.header("etag").unwrap();
        let again = send(running.admin, &Request::get(path).header("if-none-match", tag));
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag)), "{path}");
        assert_eq!(send(running.admin, &Request::post(path, "x")).status, 405, "{path}");
    }
    let page = running.admin("/");
    let page = page.text();
    for inline in ["<script>", "<style", " style=", " onclick", " onload", "http://", "https://", "//cdn"] {
        assert!(!page.contains(inline), "{inline}");
    }
}

#[test]
fn a_page_of_another_name_or_origin_gets_nothing() {
    let running = Options::before_nobody().start();
    let json = |request: Request| request.header("content-type", "application/json");
    for path in ["/", "/live", "/readyz", "/rules", "/metrics"] {
        let rebound = Request::get(path).header("host", "evil.com");
        assert_eq!(send(running.admin, &rebound).status, 403, "{path}");
        let foreign = Request::get(path).header("origin", "https://evil.com");
        assert_eq!(send(running.admin, &foreign).status, 403, "{path}");
    }
    let rules = json!({"rules": SKY, "lines": ["hello"]});
    for request in [
        json(Request::json("/try", &rules)).header("host", "evil.com"),
        json(Request::json("/try", &rules)).header("origin", "https://evil.com"),
        json(Request::json("/explain", &Surface::Chat.body("m", "hello"))).header("origin", "null"),
    ] {
        assert_eq!(send(running.admin, &request).status, 403, "{request:?}");
    }
    // What a form can post, whatever it calls itself.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let form = |path| Request::json(path, &rules).header("content-type", kind);
        assert_eq!(send(running.admin, &form("/try")).status, 415, "{kind}");
        let same_site = form("/explain").header("origin", "http://localhost:8080");
        assert_eq!(send(running.admin, &same_site).status, 415, "{kind}");
        // curl -d, as the README has it.
        let curl = Request::json("/explain", &Surface::Chat.body("m", "hello")).header("content-type", kind);
        assert_eq!(send(running.admin, &curl).status, 200, "{kind}");
    }
    assert_eq!(send(running.admin, &Request::json("/try", &rules)).status, 415, "no type at all");
}

/// The next event of a stream, by name.
fn next_event(connection: &mut support::Connection) -> (String, serde_json::Value) {
    let mut text = String::new();
    while !text.ends_with("\n\n") {
        let piece = connection.next_chunk().unwrap().expect("the stream goes on");
        text += std::str::from_utf8(&piece).unwrap();
    }
    let (name, data) = text.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
    (name.to_owned(), serde_json::from_str(data.trim_end()).unwrap())
}

fn listen(running: &Running) -> (support::Connection, serde_json::Value) {
    let mut connection = support::Connection::open(running.admin);
    connection.write(&Request::get("/live").bytes(running.admin));
    let head = connection.reply_head();
    assert_eq!(head.status, 200, "{head:?}");
    assert_eq!(head.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(head.header("cache-control"), Some("no-store"));
    let (name, hello) = next_event(&mut connection);
    assert_eq!(name, "hello");
    (connection, hello)
}

/// Reads events until one holds.
fn until(
    connection: &mut support::Connection,
    holds: impl Fn(&serde_json::Value) -> bool,
) -> serde_json::Value {
    let clock = std::time::Instant::now();
    loop {
        let (name, now) = next_event(connection);
        assert_eq!(name, "now");
        if holds(&now) {
            return now;
        }
        assert!(clock.elapsed() < support::DEADLINE, "not in any event: {now}");
    }
}

#[test]
fn live_tells_what_was_and_what_is() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("log.decisions_text", true).start();
    running.chat("hello");
    let (mut connection, hello) = listen(&running);
    assert_eq!(hello["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(hello["categories"], json!(["fast", "data_question", "coding", "reasoning", "general"]));
    assert_eq!((&hello["text"], &hello["classifier"]), (&json!(true), &json!("off")));
    let first = &hello["decisions"][0];
    assert_eq!(
        (&first["number"], &first["text"], &first["rule"]),
        (&json!(1), &json!("hello"), &json!("answers/greeting"))
    );
    for _ in 0..3 {
        running.chat("please refactor this");
    }
    let now = until(&mut connection, |now| now["asks"]["coding"]["upstream"] == 3);
    assert_eq!(now["asks"]["fast"], json!({"local": 1}));
    assert_eq!(now["upstreams"][0]["models"], json!(["llama3.2:latest"]), "{now}");
    assert_eq!(now["rules"]["generation"], 1);
    assert_eq!(now["decided"], 4);
    // Everybody hears the same.
    let (mut other, hello) = listen(&running);
    assert_eq!(hello["decisions"].as_array().unwrap().len(), 4);
    assert!(!hello["past"].as_array().unwrap().is_empty());
    let at = |now: &serde_json::Value| now["point"]["at"].as_i64().unwrap();
    let here = next_event(&mut other).1;
    let there = until(&mut connection, |now| at(now) >= at(&here));
    assert_eq!(there, here);
}

#[test]
fn without_the_key_no_text_is_kept_or_told() {
    let running = Options::before_nobody().start();
    running.chat("hello");
    let (_connection, hello) = listen(&running);
    let entry = &hello["decisions"][0];
    assert_eq!((&hello["text"], &entry["words"], entry.get("text")), (&json!(false), &json!(1), None));
    let found = attempt(&running, &json!({"rules": SKY})).value();
    assert_eq!((&found["of"], &found["without_text"]), (&json!(0), &json!(1)), "{found}");
}

#[test]
fn only_so_many_may_listen() {
    let running = Options::before_nobody().start();
    let all: Vec<_> = (0..16).map(|_| listen(&running).0).collect();
    let one_more = running.admin("/live");
    assert_eq!((one_more.status, one_more.text()), (503, "too many listen already\n"));
    all.into_iter().for_each(support::Connection::leave);
    // Who has left is noticed when he is told something.
    eventually(support::DEADLINE, "their places are free again", || {
        let mut connection = support::Connection::open(running.admin);
        connection.write(&Request::get("/live").bytes(running.admin));
        connection.reply_head().status == 200
    });
    assert_eq!(send(running.admin, &Request::post("/live", "")).status, 405);
}

#[test]
fn listening_ends_with_the_process() {
    let mut running = Options::before_nobody().start();
    let (_connection, _) = listen(&running);
    running.signal("TERM");
    assert!(running.ended(support::DEADLINE).success());
}

#[test]
fn rules_are_tried_on_the_last_decisions_and_not_swapped_in() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("log.decisions_text", true).start();
    for text in ["hello", "explain the tides", "please refactor this", "explain the tides"] {
        running.chat(text);
    }
    let found = attempt(&running, &json!({"rules": SKY})).value();
    assert_eq!(
        (&found["ok"], &found["of"], &found["without_text"]),
        (&json!(true), &json!(4), &json!(0)),
        "{found}"
    );
    let moved = found["moved"].as_array().unwrap();
    assert_eq!(moved.len(), 3, "{found}");
    assert_eq!((&moved[0]["text"], &moved[0]["number"]), (&json!("explain the tides"), &json!(2)));
    assert_eq!(
        (&moved[0]["before"]["category"], &moved[0]["before"]["decided_by"]),
        (&json!("general"), &json!("default"))
    );
    assert_eq!(
        (&moved[0]["after"]["category"], &moved[0]["after"]["rule"]),
        (&json!("reasoning"), &json!("sky"))
    );
    assert_eq!(moved[1]["before"]["category"], "coding");
    // In place of a file: without it, nobody knows what to refactor is.
    let found = attempt(&running, &json!({"rules": "", "file": "rules.toml"})).value();
    assert_eq!(found["moved"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["moved"][0]["after"]["category"], "general");
    // A rule that only takes over what another one says moves nothing.
    let same = "[[rule]]\nname = \"mine\"\ncategory = \"coding\"\npriority = 70\nany = [\"refactor\"]\n";
    let found = attempt(&running, &json!({"rules": same})).value();
    assert_eq!((found["moved"].as_array().unwrap().len(), &found["same_way"]), (0, &json!(1)), "{found}");
    assert_eq!(running.admin("/rules").value()["generation"], 1);
    assert_eq!(running.chat("explain the tides").category(), "general");
    assert_eq!(running.metric("rules_reloads_total{result=\"ok\"}"), 0.0);
}

#[test]
fn rules_are_tried_on_lines_and_faults_are_told_with_their_place() {
    let running = Options::before_nobody().classifier("on").start();
    let lines = json!({"rules": SKY, "lines": ["hello", "the tides", "", CODING]});
    let found = attempt(&running, &lines).value();
    assert_eq!((&found["of"], &found["unasked"]), (&json!(3), &json!(0)), "{found}");
    assert_eq!(found["moved"].as_array().unwrap().len(), 1, "{found}");
    let asked = running.metric("classifier_requests_total{outcome=\"changed\"}");
    assert_eq!(asked, 0.0, "a trial is no traffic");
    let broken =
        json!({"rules": "[[rule]]\nname = \"x\"\ncategory = \"codng\"\nany = [\"a\"]\n", "lines": ["hello"]});
    let found = attempt(&running, &broken).value();
    let fault = &found["problems"][0];
    assert_eq!(
        (&found["ok"], &fault["line"], &fault["here"]),
        (&json!(false), &json!(3), &json!(true)),
        "{found}"
    );
    assert!(fault["message"].as_str().unwrap().contains("\"coding\""), "{fault}");
    for (body, status) in [
        (json!({"rules": "", "file": "../x.toml"}), 400),
        (json!({"rules": "", "lines": vec!["a"; 1001]}), 400),
        (json!({"rule": ""}), 400),
        (json!({"rules": "x".repeat(5 << 20)}), 413),
    ] {
        assert_eq!(attempt(&running, &body).status, status);
    }
}
