//! Who gets in: keys, what each may do, origins, connections, the admin address. Over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::json;

use support::asks::{self, Surface, chat};
use support::running::brainstem;
use support::{Connection, DEADLINE, Options, Reply, Request, Upstream, eventually, send};

/// A key as `brainstem key new` makes it, and its lines in the file.
struct Made {
    key: String,
    lines: String,
}

fn make(name: &str, more: &[&str]) -> Made {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.toml");
    let output = new_key(&file, name, more);
    assert!(output.status.success(), "{output:?}");
    let key = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
    let lines = std::fs::read_to_string(file).unwrap();
    assert!(key.starts_with("bsk_") && !lines.contains(&key), "{key} {lines}");
    Made { key, lines }
}

fn new_key(file: &std::path::Path, name: &str, more: &[&str]) -> Output {
    brainstem().args(["key", "new", name, "--file"]).arg(file).args(more).output().unwrap()
}

fn with_keys(options: Options, keys: &[&Made]) -> Options {
    let text: String = keys.iter().map(|made| made.lines.as_str()).collect();
    options.file("keys.toml", text).set("auth.keys", "keys.toml")
}

fn bearer(request: Request, key: &str) -> Request {
    request.header("Authorization", &format!("Bearer {key}"))
}

/// Whether an error has the shape that its path's clients read.
#[track_caller]
fn in_dialect(path: &str, reply: &Reply) -> String {
    let body = reply.value();
    let message = match path {
        "/v1/messages" => {
            assert_eq!(body["type"], "error", "{body}");
            let kind = match reply.status {
                401 => "authentication_error",
                403 => "permission_error",
                _ => "rate_limit_error",
            };
            assert_eq!(body["error"]["type"], kind, "{body}");
            &body["error"]["message"]
        }
        path if path.starts_with("/v1/") => &body["error"]["message"],
        _ => &body["error"],
    };
    message.as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}

#[test]
fn without_keys_everything_is_open() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let reply = running.send(&bearer(Request::get("/api/version"), "anything"));
    assert_eq!(reply.status, 200);
    assert_eq!(upstream.last().header("authorization"), Some("Bearer anything"), "passed on, as ever");
    assert_eq!(running.send(&Request::post("/api/pull", "{}")).status, 200);
    assert!(!running.log().iter().any(|line| line.contains("auth.keys")), "{:?}", running.log());
}

#[test]
fn nobody_gets_in_without_a_key_and_the_refusal_is_in_the_dialect() {
    let upstream = Upstream::start();
    let alice = make("alice", &[]);
    let running = with_keys(Options::before(&upstream), &[&alice]).start();
    for surface in asks::ALL {
        for key in [None, Some("ollama"), Some(&alice.key[..60])] {
            let request = surface.request(&surface.body("llama3.2", "hello"));
            let reply = running.send(&key.map_or(request.clone(), |key| bearer(request.clone(), key)));
            assert_eq!(reply.status, 401, "{reply:?}");
            let challenge = reply.header("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer"), "{challenge}");
            assert_eq!(challenge.contains("invalid_token"), key.is_some(), "{challenge}");
            assert!(in_dialect(surface.path(), &reply).contains("API key"));
        }
        let request = bearer(surface.request(&surface.body("llama3.2", "hello")), &alice.key);
        let reply = running.send(&request);
        assert_eq!((reply.status, reply.route()), (200, "local"), "{reply:?}");
    }
    for path in ["/", "/api/tags", "/v1/models", "/nowhere", "/metrics"] {
        assert_eq!(running.send(&Request::get(path)).status, 401, "{path}");
    }
    assert_eq!(upstream.count(), 0, "nothing of all that reached the upstream");
    let tags = running.send(&Request::get("/api/tags").header("x-api-key", &alice.key));
    assert_eq!(tags.status, 200);
    assert_eq!(running.metric("key_requests_total{key=\"alice\",outcome=\"admitted\"}"), 7.0);
    assert_eq!(running.metric("refused_requests_total{reason=\"key\"}"), 23.0);
    let log = running.log().join("\n");
    assert!(!log.contains(&alice.key) && !log.contains("bsk_"), "{log}");
}

#[test]
fn the_clients_key_stays_here_unless_told() {
    let upstream = Upstream::start();
    let alice = make("alice", &[]);
    for (forward, own) in [(false, false), (true, false), (false, true), (true, true)] {
        upstream.forget();
        let mut options = with_keys(Options::before(&upstream), &[&alice]).set("auth.forward", forward);
        if own {
            options =
                options.file("upstream.key", "theirs\n").set("upstream.default.key_file", "upstream.key");
        }
        let running = options.start();
        let request = bearer(chat("llama3.2", "sum up the tides"), &alice.key).header("x-api-key", "also");
        assert_eq!(running.send(&request).status, 200);
        let got = upstream.only();
        let passed = format!("Bearer {}", alice.key);
        let (authorization, api_key) = match (forward, own) {
            (_, true) => (Some("Bearer theirs"), None),
            (true, false) => (Some(passed.as_str()), Some("also")),
            (false, false) => (None, None),
        };
        assert_eq!((got.header("authorization"), got.header("x-api-key")), (authorization, api_key), "{own}");
        assert!(!running.log().join("\n").contains("theirs"), "never logged");
    }
}

#[test]
fn our_own_key_may_come_from_a_variable_and_goes_with_looks_too() {
    let upstream = Upstream::start();
    upstream.tags_by_script(true);
    let running = Options::before(&upstream)
        .anywhere()
        .set("upstream.default.key_env", "SOME_VARIABLE")
        .environment("SOME_VARIABLE", "theirs")
        .start();
    eventually(DEADLINE, "a look", || upstream.count() > 0);
    assert_eq!(upstream.received()[0].header("authorization"), Some("Bearer theirs"));
    // An SDK's dummy key would be refused where a real one is needed.
    running.send(&bearer(Request::get("/api/version"), "dummy"));
    let asked = upstream.received().into_iter().find(|r| r.path == "/api/version").unwrap();
    assert_eq!(asked.header("authorization"), Some("Bearer theirs"));
}

#[test]
fn only_admin_manages_models() {
    let upstream = Upstream::start();
    let (user, operator) = (make("user", &[]), make("operator", &["--as-admin"]));
    let running = with_keys(Options::before(&upstream), &[&user, &operator]).start();
    for (method, path) in [
        ("POST", "/api/pull"),
        ("POST", "/api/push"),
        ("POST", "/api/create"),
        ("POST", "/api/copy"),
        ("DELETE", "/api/delete"),
        ("POST", "/api/blobs/sha256:00"),
        ("HEAD", "/api/blobs/sha256:00"),
        ("POST", "/api/p%75ll"),
        ("POST", "/v1/../api/pull"),
        ("POST", "//api/pull"),
        ("POST", "/api/not-known-yet"),
    ] {
        let request = Request::new(method, path).body("{}");
        let reply = running.send(&bearer(request.clone(), &user.key));
        assert_eq!(reply.status, 403, "{path}: {reply:?}");
        assert_eq!(upstream.count(), 0, "{path}");
        assert_eq!(running.send(&bearer(request, &operator.key)).status, 200, "{path}");
        assert_eq!(upstream.count(), 1, "{path}");
        upstream.forget();
    }
    assert_eq!(running.metric("key_requests_total{key=\"user\",outcome=\"forbidden\"}"), 11.0);
    for path in ["/api/tags", "/api/ps", "/v1/models", "/v1/models/llama3.2", "/api/version"] {
        assert_eq!(running.send(&bearer(Request::get(path), &user.key)).status, 200, "{path}");
    }
}

#[test]
fn a_key_uses_its_own_models_only_however_they_are_asked_for() {
    let upstream = Upstream::start();
    upstream.models(Some(&["secret:70b", "llama3.2:latest", "qwen2.5:7b"]));
    let some = make("some", &["--models", "llama3.2,qwen2.5:*"]);
    let running = with_keys(Options::before(&upstream), &[&some])
        .set("categories.coding.model", "secret:70b")
        .set("proxy.bypass_models", vec!["secret:70b"])
        .set("limits.max_inspect", "128KiB")
        .start();
    running.sees("default", true, Some(3));
    let ask = |request: Request| running.send(&bearer(request, &some.key));
    for surface in asks::ALL {
        for text in ["hello", "sum up the tides"] {
            let reply = ask(surface.request(&surface.body("secret:70b", text)));
            assert_eq!(reply.status, 403, "{reply:?}");
            assert!(in_dialect(surface.path(), &reply).contains("secret:70b"));
        }
        assert_eq!(ask(surface.request(&surface.body("Qwen2.5:7b", "sum up the tides"))).status, 200);
    }
    let vectors = Request::json("/light/v1/embed", &json!({"input": "a"}));
    assert_eq!(ask(vectors).status, 403, "the local encoder is none of its models");
    upstream.forget();
    let secret = json!({"model": "secret:70b", "prompt": "x", "input": "x", "name": "secret:70b"});
    let text = secret.to_string();
    let hidden = [
        // Two models: Go would take one of them, and who knows which.
        r#"{"model":"llama3.2","model":"secret:70b","prompt":"x"}"#.to_owned(),
        r#"{"model":"llama3.2","Model":"secret:70b","prompt":"x"}"#.to_owned(),
        r#"{"model":"llama3.2","prompt":"x"} {"model":"secret:70b"}"#.to_owned(),
        r#"{"prompt":"x"}"#.to_owned(),
        r#"{"model":"","name":"secret:70b"}"#.to_owned(),
        format!("{{\"pad\":\"{}\",{}", "x".repeat(200_000), &text[1..]),
        text.clone(),
    ];
    for path in ["/api/generate", "/api/embed", "/api/embeddings", "/v1/embeddings", "/api/show"] {
        for body in &hidden {
            let reply = ask(Request::post(path, body.clone()));
            assert_eq!(reply.status, 403, "{path} {} {reply:?}", &body[..body.len().min(80)]);
            let reply = ask(Request::post(path, body.clone()).header("x-brainstem-bypass", "1"));
            assert_eq!(reply.status, 403, "{path} bypassed {reply:?}");
        }
        let long = format!("{{\"pad\":\"{}\",{}", "x".repeat(100_000), &text[1..]);
        assert_eq!(ask(Request::post(path, long).chunked(8_000)).status, 403, "{path} in chunks");
        let fine = json!({"model": "llama3.2", "prompt": "sum up the tides", "input": "x"}).to_string();
        let reply = ask(Request::post(path, fine.clone()).header("x-brainstem-bypass", "1"));
        assert_eq!(reply.status, 200, "{path} {reply:?}");
        assert_eq!(upstream.only().body, fine.as_bytes(), "{path}: byte for byte");
        upstream.forget();
    }
    assert_eq!(ask(Request::post("/v1/audio/transcriptions", "multipart")).status, 403);
    // `auto` is as good as what it becomes.
    assert_eq!(ask(chat("auto", "sum up the tides")).status, 200);
    assert_eq!(upstream.only().json()["model"], "llama3.2:latest", "the first listed that the key may use");
    assert_eq!(ask(chat("auto", "refactor this")).status, 403, "the category's model is not the key's");
    let reply = ask(chat("auto", "hello"));
    assert_eq!((reply.status, reply.route()), (200, "local"));
    assert_eq!(ask(Request::get("/api/tags")).status, 200);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn what_was_read_for_the_key_reaches_one_of_several_servers_whole() {
    let servers = [Upstream::start(), Upstream::start()];
    servers[0].models(Some(&["llama3.2"]));
    servers[1].models(Some(&["nomic"]));
    let some = make("some", &["--models", "nomic"]);
    let urls: Vec<toml::Value> = servers.iter().map(|server| server.url().into()).collect();
    let running = with_keys(Options::bare().set("upstream.default.urls", urls), &[&some]).start();
    running.sees("default", true, Some(2));
    for len in [10, 70_000, 300_000] {
        let body = json!({"model": "nomic", "input": "x".repeat(len)}).to_string();
        let reply = running.send(&bearer(Request::post("/api/embed", body.clone()), &some.key));
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(servers[1].last().body == body.as_bytes(), "{len}: {} bytes came", servers[1].last().len);
    }
    assert_eq!(servers[0].count(), 0);
}

#[test]
fn a_rate_is_kept_per_key() {
    let upstream = Upstream::start();
    let (slow, free) = (make("slow", &["--rate", "3/1h"]), make("free", &[]));
    let running = with_keys(Options::before(&upstream), &[&slow, &free]).start();
    let mut statuses = Vec::new();
    for surface in
        [Surface::Chat, Surface::Messages, Surface::ChatCompletions, Surface::Messages, Surface::Generate]
    {
        let reply = running.send(&bearer(surface.request(&surface.body("llama3.2", "hello")), &slow.key));
        statuses.push(reply.status);
        if reply.status == 429 {
            assert!(in_dialect(surface.path(), &reply).contains("rate limit"));
            let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=1200).contains(&wait), "{wait}");
        }
        assert_eq!(running.send(&bearer(chat("llama3.2", "hello"), &free.key)).status, 200);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(running.metric("key_requests_total{key=\"slow\",outcome=\"limited\"}"), 2.0);
    // A saved file is no fresh allowance.
    let file = running.dir.path().join("keys.toml");
    std::fs::write(&file, format!("# saved again\n{}{}", slow.lines, free.lines)).unwrap();
    eventually(DEADLINE, "a reload", || running.metric("keys_reloads_total{result=\"ok\"}") > 0.0);
    assert_eq!(running.send(&bearer(chat("llama3.2", "hello"), &slow.key)).status, 429);
}

#[test]
fn keys_come_and_go_while_it_runs() {
    let upstream = Upstream::start();
    let alice = make("alice", &[]);
    let running = with_keys(Options::before(&upstream), &[&alice]).start();
    let file = running.dir.path().join("keys.toml");
    let output = new_key(&file, "bob", &["--as-admin", "--rate", "100/1s"]);
    let bob = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
    let status = |key: &str| running.send(&bearer(Request::get("/api/version"), key)).status;
    eventually(DEADLINE, "bob gets in", || status(&bob) == 200);
    assert_eq!(status(&alice.key), 200);
    // The same name is not given twice.
    let again = new_key(&file, "bob", &[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("already"), "{again:?}");
    // A broken file changes nothing.
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replacen("sha256 = \"", "sha256 = \"x", 1)).unwrap();
    let line = running.log_line("keys not reloaded");
    assert!(line.contains("keys.toml:4:10: no SHA-256"), "{line}");
    assert_eq!((status(&alice.key), status(&bob)), (200, 200));
    assert_eq!(running.metric("keys_reloads_total{result=\"refused\"}"), 1.0);
    // A key that is taken out is out, also on a connection that is open.
    let mut open = running.connect();
    assert_eq!(open.exchange(&bearer(Request::get("/api/version"), &alice.key)).status, 200);
    let (before, bobs) = good.split_at(alice.lines.len());
    assert_eq!(before, alice.lines);
    std::fs::write(&file, bobs).unwrap();
    eventually(DEADLINE, "alice is out", || status(&alice.key) == 401);
    assert_eq!(open.exchange(&bearer(Request::get("/api/version"), &alice.key)).status, 401);
    assert_eq!(status(&bob), 200);
}

#[test]
fn a_keys_file_that_is_wrong_or_missing_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("rules")).unwrap();
    std::fs::write(dir.path().join("c.toml"), "[auth]\nkeys = \"keys.toml\"\n").unwrap();
    let check = || {
        let output =
            brainstem().args(["check", "--config", "c.toml"]).current_dir(dir.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = check();
    assert!(code == Some(1) && said.contains("keys.toml: the keys cannot be read"), "{said}");
    std::fs::write(dir.path().join("keys.toml"), "[[key]]\nname = 7\n").unwrap();
    let (code, said) = check();
    assert!(code == Some(1) && said.contains("keys.toml:2:8: "), "{said}");
    std::fs::write(dir.path().join("keys.toml"), "").unwrap();
    assert_eq!(check().0, Some(0));
}

#[test]
fn an_open_door_is_warned_about() {
    let warned = |listen: &str| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("rules")).unwrap();
        let output = brainstem()
            .args(["check", "--config", "/dev/null", "--listen", listen, "--admin", listen])
            .current_dir(dir.path())
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let said = warned("0.0.0.0:11440");
    assert!(said.contains("there are no keys") && said.contains("admin.require_key"), "{said}");
    let said = warned("127.0.0.1:11440");
    assert_eq!(said, "");
}

#[test]
fn a_preflight_needs_no_key() {
    let captured = include_str!("fixtures/captures/61_cors_preflight.resp.raw");
    let upstream = Upstream::start();
    let alice = make("alice", &[]);
    let preflight = |origin: &str| {
        Request::new("OPTIONS", "/api/chat")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization,content-type,x-api-key")
    };
    for options in [Options::before_nobody(), with_keys(Options::before(&upstream), &[&alice])] {
        let running = options.start();
        let mut connection = running.connect();
        for _ in 0..2 {
            let reply = connection.exchange(&preflight("http://localhost:3000"));
            assert_eq!(reply.status, 204, "{reply:?}");
            for line in captured.lines().filter(|line| line.starts_with("Access-Control-")) {
                let (name, value) = line.trim_end().split_once(": ").unwrap();
                let ours = reply.header(name).unwrap();
                assert!(ours.starts_with(value), "{name}: {ours} is not {value}");
            }
            let vary: Vec<_> = reply
                .headers
                .iter()
                .filter(|(n, _)| n.eq_ignore_ascii_case("vary"))
                .map(|(_, v)| v)
                .collect();
            assert_eq!(vary, ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"]);
        }
    }
    assert_eq!(upstream.count(), 0);
    let running = with_keys(Options::before(&upstream), &[&alice]).start();
    // The page can read why it is refused.
    let reply = running.send(&chat("llama3.2", "hello").header("Origin", "http://localhost:3000"));
    assert_eq!(
        (reply.status, reply.header("access-control-allow-origin")),
        (401, Some("http://localhost:3000"))
    );
    // No preflight: an OPTIONS of another kind needs a key as all else does.
    assert_eq!(running.send(&Request::new("OPTIONS", "/api/chat")).status, 401);
    let elsewhere = preflight("https://ui.example.org");
    for body in [elsewhere.clone().body("{}"), elsewhere.clone().body("{}").chunked(1)] {
        assert_eq!(running.send(&body).status, 401);
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(
        running.send(&elsewhere).status,
        200,
        "the upstream answers for origins that it alone may know"
    );
}

#[test]
fn origins_that_are_listed_are_ours_to_judge() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("proxy.origins", vec!["https://ui.example.org"]).start();
    let from = |origin: &str, text: &str| running.send(&chat("llama3.2", text).header("Origin", origin));
    let listed = from("https://ui.example.org", "hello");
    assert_eq!(
        (listed.route(), listed.header("access-control-allow-origin")),
        ("local", Some("https://ui.example.org"))
    );
    let forwarded = from("https://ui.example.org", "sum up the tides");
    assert_eq!(forwarded.header("access-control-allow-origin"), Some("https://ui.example.org"));
    assert_eq!(forwarded.header("vary"), Some("Origin"));
    assert_eq!(upstream.only().header("origin"), None, "the upstream would not know it");
    for text in ["hello", "sum up the tides"] {
        let reply = from("https://evil.example", text);
        assert_eq!((reply.status, reply.body.len()), (403, 0), "as Ollama does");
    }
    let reply = running.send(&Request::get("/api/tags").header("Origin", "https://evil.example"));
    assert_eq!(reply.status, 403);
    assert_eq!(upstream.count(), 1);
    assert_eq!(running.metric("refused_requests_total{reason=\"origin\"}"), 3.0);
    assert_eq!(from("http://localhost:1", "sum up the tides").status, 200);
    assert_eq!(
        upstream.last().header("origin"),
        Some("http://localhost:1"),
        "the defaults go on as they came"
    );
}

#[test]
fn connections_are_bounded_in_all_and_come_back() {
    let running = Options::before_nobody().set("limits.connections", 5).start();
    // Served after those of the start were let in, so that they are counted by now.
    assert_eq!(running.chat("hello").status, 200);
    eventually(DEADLINE, "the start's own connections are gone", || running.metric("connections") == 0.0);
    let held: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(running.proxy).unwrap()).collect();
    eventually(DEADLINE, "five are in", || running.metric("connections") == 5.0);
    let mut sixth = TcpStream::connect(running.proxy).unwrap();
    sixth.set_read_timeout(Some(DEADLINE)).unwrap();
    let _ = sixth.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(matches!(sixth.read(&mut [0; 16]), Ok(0) | Err(_)), "closed without a word");
    assert!(running.metric("refused_connections_total{reason=\"total\"}") >= 1.0);
    // Those that are in are served, and places come back.
    drop(held);
    eventually(DEADLINE, "all have left", || running.metric("connections") == 0.0);
    assert_eq!(running.chat("hello").status, 200);
}

#[test]
fn one_address_takes_its_share_only() {
    let running = Options::before_nobody().set("limits.connections_per_address", 2).start();
    assert_eq!(running.chat("hello").status, 200);
    eventually(DEADLINE, "nobody is in", || running.metric("connections") == 0.0);
    let mut first = running.connect();
    let _second = running.connect();
    eventually(DEADLINE, "two are in", || running.metric("connections") == 2.0);
    let mut third = TcpStream::connect(running.proxy).unwrap();
    third.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(matches!(third.read(&mut [0; 16]), Ok(0) | Err(_)));
    assert!(running.metric("refused_connections_total{reason=\"address\"}") >= 1.0);
    assert_eq!(first.exchange(&chat("llama3.2", "hello")).status, 200);
}

#[test]
fn idle_connections_are_closed() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("limits.idle_timeout", "1s").start();
    let idle: Vec<Connection> = (0..100)
        .map(|n| {
            let mut connection = running.connect();
            let text = if n % 2 == 0 { "hello" } else { "sum up the tides" };
            // What the client wishes is not what it gets.
            let request = chat("llama3.2", text).header("Keep-Alive", "timeout=86400");
            assert_eq!(connection.exchange(&request).status, 200);
            connection
        })
        .collect();
    let clock = Instant::now();
    for mut connection in idle {
        assert!(connection.closes(), "after {:?}", clock.elapsed());
    }
    eventually(DEADLINE, "all places are free", || running.metric("connections") == 0.0);
    // One that is used is not idle.
    let mut busy = running.connect();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(busy.exchange(&chat("llama3.2", "hello")).status, 200);
    }
}

#[test]
fn a_connection_that_is_to_close_closes() {
    let running = Options::before_nobody().start();
    let mut connection = running.connect();
    let request = chat("llama3.2", "hello").header("Connection", "close");
    assert_eq!(connection.exchange(&request).header("connection"), Some("close"));
    assert!(connection.closes());
    let mut old = running.connect();
    old.write(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n");
    old.reply("GET");
    assert!(old.closes(), "HTTP/1.0 asks for no more unless it says so");
}

#[test]
fn the_operators_paths_are_on_the_operators_address() {
    let upstream = Upstream::start();
    let (user, operator) = (make("user", &[]), make("operator", &["--as-admin"]));
    let running = with_keys(Options::before(&upstream), &[&user, &operator]).start();
    for path in ["/metrics", "/rules", "/readyz", "/healthz", "/explain"] {
        running.send(&bearer(Request::get(path), &operator.key));
        assert_eq!(upstream.last().path, path, "on the proxy's address it is the upstream's business");
        assert_eq!(running.send(&bearer(Request::get(path), &user.key)).status, 403);
    }
    // Without admin.require_key the admin address asks for none.
    assert_eq!(running.admin("/metrics").status, 200);
}

#[test]
fn the_admin_address_may_ask_for_a_key() {
    let (user, operator) = (make("user", &[]), make("operator", &["--as-admin"]));
    let options = with_keys(Options::before_nobody(), &[&user, &operator]).set("admin.require_key", true);
    let running = options.admin_key(&operator.key).start();
    let get = |path: &str, key: Option<&str>| {
        let request = Request::get(path);
        send(running.admin, &key.map_or(request.clone(), |key| bearer(request.clone(), key)))
    };
    for path in ["/metrics", "/rules", "/nowhere"] {
        for key in [None, Some("wrong"), Some(user.key.as_str())] {
            let reply = get(path, key);
            assert_eq!(reply.status, 401, "{path}");
            assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"));
        }
    }
    assert_eq!(get("/metrics", Some(&operator.key)).status, 200);
    assert_eq!(get("/rules", Some(&operator.key)).status, 200);
    // Probes: alive and ready, and no more.
    assert_eq!((get("/healthz", None).text(), get("/readyz", None).text()), ("ok\n", "ready\n"));
    assert_eq!(get("/readyz", Some(&operator.key)).value()["ready"], true);
}

#[test]
fn a_key_for_the_admin_address_needs_keys() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("rules")).unwrap();
    std::fs::write(dir.path().join("c.toml"), "[admin]\nrequire_key = true\n").unwrap();
    let output = brainstem().args(["check", "--config", "c.toml"]).current_dir(dir.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("c.toml:2:15: admin.require_key: true needs auth.keys"), "{said}");
}
