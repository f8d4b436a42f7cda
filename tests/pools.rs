//! One proxy before three servers: who gets an ask, what happens when that one fails, what clients see of the three.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::http::End;
use support::upstream::{ok, reply, stream};
use support::{DEADLINE, Options, Reply, Request, Running, Step, Upstream, eventually, junk, send};

/// Three servers with the models of each, nothing in memory.
struct Fleet {
    servers: Vec<Upstream>,
    brain: Running,
}

impl Fleet {
    fn start(models: [&[&str]; 3]) -> Self {
        Self::with(models, |options| options)
    }

    fn with(models: [&[&str]; 3], more: impl FnOnce(Options) -> Options) -> Self {
        let servers: Vec<Upstream> = models
            .into_iter()
            .map(|models| {
                let server = Upstream::start();
                server.models(Some(models));
                server.memory(Some(&[]));
                server
            })
            .collect();
        let urls: Vec<toml::Value> = servers.iter().map(|s| s.url().into()).collect();
        let options = Options::bare().set("upstream.default.urls", urls).anywhere();
        let brain = more(options).start();
        let fleet = Self { servers, brain };
        fleet.until("all three are seen", |states| states.iter().all(|s| s["up"] == true));
        fleet
    }

    fn states(&self) -> Vec<Value> {
        self.brain.ready()["upstreams"][0]["servers"].as_array().unwrap().clone()
    }

    #[track_caller]
    fn until(&self, what: &str, holds: impl Fn(&[Value]) -> bool) {
        eventually(DEADLINE, what, || holds(&self.states()));
    }

    /// Puts models into a server's memory, and waits until that is seen.
    #[track_caller]
    fn loaded(&self, server: usize, models: &[&str]) {
        self.servers[server].memory(Some(models));
        self.until("its memory is seen", |states| states[server]["in_memory"] == json!(models));
    }

    /// Which server gave this reply.
    #[track_caller]
    fn by(&self, reply: &Reply) -> usize {
        let name = reply.header("x-brainstem-upstream").unwrap_or_else(|| panic!("who? {reply:?}"));
        self.servers.iter().position(|s| s.address.to_string() == name).unwrap()
    }

    fn ask(&self, model: &str, text: &str) -> Reply {
        self.brain.send(&support::asks::chat(model, text))
    }

    fn counts(&self) -> Vec<usize> {
        self.servers.iter().map(Upstream::count).collect()
    }

    fn placements(&self, reason: &str) -> f64 {
        self.brain.metric(&format!("placements_total{{reason=\"{reason}\",upstream=\"default\"}}"))
    }
}

fn busy() -> Vec<Step> {
    let error = br#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#;
    vec![Step::Send(reply(503, "application/json; charset=utf-8", error))]
}

#[test]
fn an_ask_goes_where_its_model_is() {
    let fleet = Fleet::start([&["a:1", "b:1"], &["b:1"], &["b:1", "c:1"]]);
    assert_eq!(fleet.by(&fleet.ask("a:1", "explain tides")), 0);
    assert_eq!(fleet.by(&fleet.ask("c:1", "explain tides")), 2);
    fleet.loaded(1, &["b:1"]);
    for n in 0..6 {
        assert_eq!(fleet.by(&fleet.ask("b:1", &format!("explain tides {n}"))), 1);
    }
    assert_eq!(fleet.placements("disk"), 2.0);
    assert!(fleet.placements("memory") >= 5.0);
    // What names a model and is no ask goes by it, too; bytes are left alone.
    let body = r#"{ "model" : "c:1", "input": ["x"] }"#;
    assert_eq!(fleet.by(&fleet.brain.send(&Request::post("/api/embed", body))), 2);
    assert_eq!(fleet.servers[2].last().body, body.as_bytes());
    assert_eq!(fleet.by(&fleet.brain.send(&Request::get("/v1/models/a:1"))), 0);
    // An ask that is forwarded untouched, too.
    let bypassed = support::asks::chat("c:1", "explain tides").header("x-brainstem-bypass", "1");
    assert_eq!(fleet.by(&fleet.brain.send(&bypassed)), 2);
    assert_eq!(Some(&fleet.servers[2].last().body), bypassed.body.as_ref());
    // A model that nobody has gets a server's own 404.
    fleet.servers.iter().for_each(|s| s.steps(vec![Step::Send(reply(404, "application/json", b"{}"))]));
    assert_eq!(fleet.ask("nobody:1", "explain tides").status, 404);
}

#[test]
fn explain_and_readyz_say_where_and_why() {
    let fleet = Fleet::start([&["a:1"], &["a:1", "b:1"], &["a:1"]]);
    fleet.loaded(1, &["a:1"]);
    let explained = send(fleet.brain.admin, &support::asks::chat("a:1", "explain tides").at_path("/explain"));
    let placement = explained.value()["placement"].clone();
    assert_eq!(placement[0]["server"], fleet.servers[1].address.to_string());
    assert_eq!(placement[0]["because"], "memory");
    assert_eq!(placement.as_array().unwrap().len(), 3);
    let states = fleet.states();
    assert_eq!((&states[1]["in_memory"], &states[1]["models"]), (&json!(["a:1"]), &json!(2)));
    assert_eq!((&states[0]["cooling"], &states[0]["inflight"]), (&json!(false), &json!(0)));
    let metric = |server: usize| {
        let server = fleet.servers[server].address;
        fleet.brain.metric(&format!("server_up{{server=\"{server}\",upstream=\"default\"}}"))
    };
    assert_eq!((metric(0), metric(2)), (1.0, 1.0));
}

#[test]
fn asks_for_a_cold_model_wait_where_it_is_loaded() {
    let fleet = Fleet::start([&["a:1"], &["a:1"], &["a:1"]]);
    (0..3).for_each(|server| fleet.loaded(server, &["b:1"]));
    for server in &fleet.servers {
        server.script(|_| [vec![Step::Wait(Duration::from_millis(800))], ok()].concat());
    }
    std::thread::scope(|scope| {
        for n in 0..4 {
            let fleet = &fleet;
            scope.spawn(move || assert_eq!(fleet.ask("a:1", &format!("explain tides {n}")).status, 200));
        }
    });
    let counts = fleet.counts();
    assert_eq!(counts.iter().filter(|n| **n > 0).count(), 1, "{counts:?}");
}

#[test]
fn a_crowded_model_is_loaded_once_more() {
    let fleet = Fleet::with([&["a:1"], &["a:1"], &["a:1"]], |o| o.set("upstream.default.spill", 2));
    (0..3).for_each(|server| fleet.loaded(server, &["b:1"]));
    for server in &fleet.servers {
        server.script(|_| [vec![Step::Wait(Duration::from_millis(1500))], ok()].concat());
    }
    std::thread::scope(|scope| {
        for n in 0..5 {
            let fleet = &fleet;
            scope.spawn(move || assert_eq!(fleet.ask("a:1", &format!("explain tides {n}")).status, 200));
        }
    });
    let mut counts = fleet.counts();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 2]);
    assert!(fleet.placements("spill") >= 2.0);
}

#[test]
fn a_conversation_stays_where_it_began() {
    let fleet = Fleet::start([&["a:1"], &["a:1"], &["a:1"]]);
    (0..3).for_each(|server| fleet.loaded(server, &["a:1"]));
    for talk in 0..6 {
        let mut messages =
            vec![json!({"role": "user", "content": format!("tell me about tides, part {talk}")})];
        let mut homes = Vec::new();
        for turn in 0..4 {
            let body = json!({"model": "a:1", "stream": false, "messages": messages});
            homes.push(fleet.by(&fleet.brain.send(&Request::json("/api/chat", &body))));
            messages.push(json!({"role": "assistant", "content": "they come and go"}));
            messages.push(json!({"role": "user", "content": format!("and then, {turn}?")}));
        }
        assert!(homes.iter().all(|home| *home == homes[0]), "{homes:?}");
    }
    assert_eq!(fleet.placements("home"), 18.0);
    let used = fleet.counts().iter().filter(|n| **n > 0).count();
    assert!(used > 1, "six conversations at one server");
}

#[test]
fn a_dead_server_costs_no_ask() {
    let mut fleet = Fleet::with([&["a:1"], &["a:1"], &["a:1"]], |o| o.set("upstream.default.poll", "1h"));
    // Not seen to be gone: it is found out by an ask, in whose stead another server answers.
    drop(fleet.servers.remove(1));
    for n in 0..12 {
        let reply = fleet.ask("a:1", &format!("explain tides {n}"));
        assert_eq!((reply.status, reply.route()), (200, "upstream"));
        fleet.by(&reply);
    }
    let big = String::from_utf8(vec![b'x'; 300_000]).unwrap();
    for n in 0..4 {
        assert_eq!(fleet.ask("a:1", &format!("{n} {big}")).status, 200);
    }
}

#[test]
fn a_busy_server_is_left_alone_and_nobody_hears_of_it() {
    let fleet = Fleet::with([&["a:1"], &["a:1"], &["a:1"]], |o| o.set("upstream.default.cool_off", "5m"));
    fleet.loaded(0, &["a:1"]);
    fleet.servers[0].steps(busy());
    // Bodies around Pingora's own buffer of 64 KiB, and far above: every byte reaches the second server.
    for (n, size) in [10, 65_300, 65_536, 70_000, 1_000_000].into_iter().enumerate() {
        let text: String = junk(n as u64, size).iter().map(|b| char::from(b'a' + b % 26)).collect();
        let request = support::asks::chat("a:1", &text);
        let sent = request.body.clone().unwrap();
        let reply = fleet.brain.send(&request);
        assert_eq!((reply.status, reply.end), (200, End::Length), "{size}");
        let by = fleet.by(&reply);
        assert_ne!(by, 0);
        let got = fleet.servers[by].last();
        assert!(got.whole && got.body == sent, "{size}: {} of {} bytes", got.len, sent.len());
    }
    assert_eq!(fleet.servers[0].count(), 1, "it was tried once, then left alone");
    let retries = fleet.brain.metric("upstream_retries_total{kind=\"busy\",upstream=\"default\"}");
    assert_eq!(retries, 1.0);
    assert_eq!(fleet.states()[0]["cooling"], true);
    // When all are busy, the last one's own words pass, and nobody is asked twice.
    fleet.servers.iter().for_each(|s| s.steps(busy()));
    fleet.servers.iter().for_each(Upstream::forget);
    let reply = fleet.ask("a:1", "explain tides");
    assert_eq!((reply.status, reply.text().contains("server busy")), (503, true));
    assert!(fleet.counts().iter().all(|n| *n <= 1), "{:?}", fleet.counts());
}

#[test]
fn every_size_of_body_survives_a_busy_server() {
    // A model for each ask, so that the first server alone has it in memory and is tried first.
    let models: Vec<String> = (0..12).map(|n| format!("m{n}:1")).collect();
    let models: Vec<&str> = models.iter().map(String::as_str).collect();
    let fleet = Fleet::with([&models, &models, &models], |o| o.set("upstream.default.cool_off", "0s"));
    fleet.loaded(0, &models);
    fleet.servers[0].steps(busy());
    for (n, size) in [1, 65_400, 65_535, 65_537, 131_072, 3_000_000].into_iter().enumerate() {
        for (m, chunked) in [None, Some(8192)].into_iter().enumerate() {
            let text: String = junk(n as u64, size).iter().map(|b| char::from(b'a' + b % 26)).collect();
            let mut request = support::asks::chat(models[2 * n + m], &text);
            request.chunked = chunked;
            let sent = request.body.clone().unwrap();
            let before = fleet.servers[0].count();
            let reply = fleet.brain.send(&request);
            if chunked.is_some() && sent.len() > 64 * 1024 {
                // It is passed on while it comes, before its model is known: what the busy server says of it stands.
                let expected = if fleet.by(&reply) == 0 { 503 } else { 200 };
                assert_eq!(reply.status, expected, "{size}");
                continue;
            }
            assert_eq!(fleet.servers[0].count(), before + 1, "{size}");
            assert_eq!(reply.status, 200, "{size} {chunked:?}");
            assert_eq!(fleet.servers[fleet.by(&reply)].last().body, sent, "{size} {chunked:?}");
        }
    }
}

#[test]
fn kept_connections_that_were_closed_cost_no_ask() {
    let fleet = Fleet::start([&["a:1"], &["a:1"], &["a:1"]]);
    // Each says that it keeps the connection, and closes it.
    fleet.servers.iter().for_each(|s| s.steps([ok(), vec![Step::Close]].concat()));
    for n in 0..40 {
        assert_eq!(fleet.ask("a:1", &format!("explain tides {n}")).status, 200);
    }
}

#[test]
fn a_server_that_cannot_load_a_model_does_not_draw_its_asks() {
    let fleet = Fleet::start([&["a:1"], &["a:1"], &["a:1"]]);
    fleet.loaded(0, &["a:1"]);
    let error = br#"{"error":"llama runner process has terminated"}"#;
    fleet.servers[0].steps(vec![Step::Send(reply(500, "application/json; charset=utf-8", error))]);
    let codes: Vec<u16> = (0..10).map(|n| fleet.ask("a:1", &format!("explain tides {n}")).status).collect();
    assert_eq!(codes, [500, 500, 200, 200, 200, 200, 200, 200, 200, 200]);
}

#[test]
fn what_was_begun_is_never_begun_again() {
    let fleet = Fleet::start([&["a:1"], &["a:1"], &["a:1"]]);
    fleet.loaded(0, &["a:1"]);
    // It breaks off before a reply: the request may be what broke it.
    fleet.servers[0].steps(vec![Step::Reset]);
    let reply = fleet.ask("a:1", "explain tides");
    assert_eq!((reply.status, fleet.counts()), (502, vec![1, 0, 0]));
    assert_eq!(fleet.states()[0]["cooling"], true);
    // In the middle of a stream.
    fleet.loaded(1, &["b:1"]);
    let lines = [String::from("{\"model\":\"b:1\",\"done\":false}\n")];
    let mut steps = stream("application/x-ndjson", &lines, Duration::ZERO);
    *steps.last_mut().unwrap() = Step::Reset;
    fleet.servers[1].steps(steps);
    let reply = fleet.ask("b:1", "explain tides");
    assert_eq!((reply.status, reply.end), (200, End::Broken));
    assert_eq!(fleet.servers[2].count(), 0);
    fleet.until("nothing is in flight", |states| states.iter().all(|s| s["inflight"] == 0));
}

#[test]
fn a_poisonous_ask_does_not_walk_through_the_pool() {
    let fleet = Fleet::start([&["a:1"], &["a:1"], &["a:1"]]);
    fleet.loaded(0, &["a:1"]);
    // Kept connections to all three.
    for server in &fleet.servers {
        let named = support::asks::chat("a:1", "explain tides");
        let named = named.header("x-brainstem-server", &server.address.to_string());
        assert_eq!(fleet.brain.send(&named).status, 200);
        server.forget();
        // Works on it for a while, then dies of it.
        server.steps(vec![Step::Wait(Duration::from_millis(1500)), Step::Reset]);
    }
    assert_eq!(fleet.ask("a:1", "explain tides").status, 502);
    assert_eq!(fleet.counts().iter().sum::<usize>(), 1, "{:?}", fleet.counts());
}

#[test]
fn lists_are_those_of_all() {
    let fleet = Fleet::start([&["a:1"], &["b:1", "a:1"], &["c:1"]]);
    let names = |path: &str, list: &str, key: &str| -> Vec<String> {
        let value = fleet.brain.send(&Request::get(path)).value();
        value[list].as_array().unwrap().iter().map(|m| m[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("/api/tags", "models", "name"), ["a:1", "b:1", "c:1", "auto"]);
    for (server, model) in fleet.servers.iter().zip(["a:1", "b:1", "a:1"]) {
        let body = json!({"object": "list", "data": [{"id": model}], "models": [{"name": model}]});
        let (openai, native) = (json!({"data": body["data"]}), json!({"models": body["models"]}));
        server.script(move |request| {
            let body = if request.path == "/v1/models" { &openai } else { &native };
            vec![Step::Send(reply(200, "application/json", body.to_string().as_bytes()))]
        });
    }
    assert_eq!(names("/v1/models", "data", "id"), ["a:1", "b:1", "auto"]);
    assert_eq!(names("/api/ps", "models", "name"), ["a:1", "b:1"]);
    // One server's own list is its own, byte for byte.
    let own = Request::get("/api/ps").header("x-brainstem-server", &fleet.servers[1].address.to_string());
    assert_eq!(fleet.brain.send(&own).text(), r#"{"models":[{"name":"b:1"}]}"#);
}

#[test]
fn a_server_can_be_named() {
    let fleet = Fleet::start([&["a:1"], &["a:1"], &["a:1"]]);
    let named =
        |server: &str| support::asks::chat("a:1", "explain tides").header("x-brainstem-server", server);
    for (at, server) in fleet.servers.iter().enumerate() {
        assert_eq!(fleet.by(&fleet.brain.send(&named(&server.address.to_string()))), at);
    }
    // No failover for who insists.
    fleet.servers[2].steps(busy());
    assert_eq!(fleet.brain.send(&named(&fleet.servers[2].address.to_string())).status, 503);
    let reply = fleet.brain.send(&named("elsewhere:1"));
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains(&fleet.servers[0].address.to_string()), "{}", reply.text());
    let pull = Request::post("/api/pull", r#"{"model":"x"}"#);
    assert_eq!(fleet.by(&fleet.brain.send(&pull)), 0);
    let pull = pull.header("x-brainstem-server", &fleet.servers[1].address.to_string());
    assert_eq!(fleet.by(&fleet.brain.send(&pull)), 1);
}

fn pulling(completed: u64) -> Vec<Step> {
    let layer = json!({"status": "pulling x", "digest": "sha256:x", "total": 100, "completed": completed});
    let lines = [
        json!({"status": "pulling manifest"}).to_string() + "\n",
        layer.to_string() + "\n",
        json!({"status": "success"}).to_string() + "\n",
    ];
    stream("application/x-ndjson", &lines, Duration::ZERO)
}

#[test]
fn models_can_be_managed_everywhere_at_once() {
    let fleet =
        Fleet::with([&["a:1"], &["a:1", "b:1"], &["b:1"]], |o| o.set("upstream.default.manage", "all"));
    fleet.servers.iter().for_each(|server| server.steps(pulling(100)));
    let pull = |body: &str| fleet.brain.send(&Request::post("/api/pull", body));
    let reply = pull(r#"{"model":"x"}"#);
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/x-ndjson")));
    let lines: Vec<Value> = reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], json!({"status": "pulling manifest"}));
    let whole = json!({"status": "pulling x", "digest": "sha256:x", "total": 300, "completed": 300});
    assert_eq!(lines[lines.len() - 2], whole);
    assert_eq!(lines[lines.len() - 1], json!({"status": "success"}));
    assert_eq!(fleet.counts(), [1, 1, 1]);
    assert!(fleet.servers.iter().all(|s| s.last().body == br#"{"model":"x"}"#));
    // Not streamed: one object.
    assert_eq!(pull(r#"{"model":"x","stream":false}"#).value(), json!({"status": "success"}));
    // One cannot: the others' progress is told, and the end says who and why.
    fleet.servers[1].steps(vec![Step::Send(reply_json(500, r#"{"error":"no space left"}"#))]);
    let reply = pull(r#"{"model":"x"}"#);
    let last: Value = serde_json::from_str(reply.text().lines().last().unwrap()).unwrap();
    assert_eq!(last["error"], format!("{}: no space left", fleet.servers[1].address));
    let reply = pull(r#"{"model":"x","stream":false}"#);
    assert_eq!((reply.status, reply.text().contains("no space left")), (500, true));
    // A web page that only a server can judge reaches one server, with its origin.
    fleet.servers.iter().for_each(Upstream::forget);
    fleet
        .brain
        .send(&Request::post("/api/pull", r#"{"model":"x"}"#).header("Origin", "https://evil.example"));
    assert_eq!(fleet.counts(), [1, 0, 0]);
    assert_eq!(fleet.servers[0].last().header("origin"), Some("https://evil.example"));
    // A delete is for those that have the model.
    fleet.servers.iter().for_each(|s| s.steps(vec![Step::Send(reply_json(200, ""))]));
    fleet.servers.iter().for_each(Upstream::forget);
    let delete = |model: &str| {
        let body = json!({ "model": model }).to_string();
        fleet.brain.send(&Request::new("DELETE", "/api/delete").body(body))
    };
    let done = delete("b:1");
    assert_eq!((done.status, done.body.len(), fleet.counts()), (200, 0, vec![0, 1, 1]));
    assert_eq!(fleet.servers[2].last().body, br#"{"model":"b:1"}"#);
    let copy = Request::post("/api/copy", r#"{"source":"b:1","destination":"c:1"}"#);
    assert_eq!((fleet.brain.send(&copy).status, fleet.counts()), (200, vec![0, 2, 2]));
    // For none: the first server's own 404.
    fleet.servers[0].steps(vec![Step::Send(reply_json(404, r#"{"error":"model 'z' not found"}"#))]);
    assert_eq!(delete("z:1").status, 404);
    assert_eq!(fleet.counts(), [1, 2, 2]);
}

fn reply_json(status: u16, body: &str) -> Vec<u8> {
    reply(status, "application/json; charset=utf-8", body.as_bytes())
}

#[test]
fn a_category_has_a_pool_of_its_own() {
    let coders = [Upstream::start(), Upstream::start()];
    let urls: Vec<toml::Value> = coders.iter().map(|s| s.url().into()).collect();
    let fleet = Fleet::with([&["llama3.2"], &["llama3.2"], &["llama3.2"]], |options| {
        options
            .set("upstream.coders.urls", urls)
            .set("upstream.coders.poll", "100ms")
            .set("categories.coding.upstream", "coders")
    });
    fleet.brain.sees("coders", true, Some(1));
    let reply = fleet.ask("llama3.2", "please refactor this loop");
    assert_eq!(reply.category(), "coding");
    let by = reply.header("x-brainstem-upstream").unwrap().to_owned();
    assert!(coders.iter().any(|coder| coder.address.to_string() == by));
    fleet.by(&fleet.ask("llama3.2", "explain tides"));
}

#[test]
fn one_server_is_what_it_was() {
    let upstream = Upstream::start();
    let brain = Options::before(&upstream).start();
    // Its own 503, its own list, no header of ours, no choice counted.
    upstream.steps(busy());
    let said = brain.chat("explain tides");
    assert_eq!((said.status, said.header("x-brainstem-upstream")), (503, None));
    let odd = br#"{"models" : [ {"name":"a"} ]}"#;
    upstream.steps(vec![Step::Send(reply(200, "application/json", odd))]);
    assert_eq!(brain.send(&Request::get("/api/ps")).body, odd);
    let named = Request::get("/api/ps").header("x-brainstem-server", "elsewhere:1");
    assert_eq!(brain.send(&named).body, odd);
    assert_eq!(upstream.count(), 3);
    assert!(!brain.admin("/metrics").text().contains("brainstem_placements_total{"));
}
