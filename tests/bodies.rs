//! Bodies of every size, framing and kind reach the upstream as they were sent, or are refused in the
//! dialect of their path. Guards the body recipe of `src/proxy/body.rs` against Pingora's internals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use support::asks::{self, Surface};
use support::http::{End, chunk};
use support::upstream::{SAID, reply};
use support::{Options, Request, Step, Upstream, hash, junk};

const MIB: usize = 1024 * 1024;

/// Around every edge that Pingora has.
const SIZES: [usize; 8] = [0, 1, 65_535, 65_536, 65_537, 131_072, MIB, 20 * MIB];

/// A chat of exactly that many bytes, if so few can be one.
fn chat_of(size: usize) -> Option<Vec<u8>> {
    let around = r#"{"model":"llama3.2","messages":[{"role":"user","content":""}]}"#;
    let room = size.checked_sub(around.len())?;
    Some(around.replace("\"\"", &format!("\"{}\"", "x".repeat(room))).into_bytes())
}

#[track_caller]
fn arrives(upstream: &Upstream, body: &[u8], reply: &support::Reply, what: &str) {
    assert_eq!(reply.status, 200, "{what}: {reply:?}");
    assert!(reply.text().contains(SAID), "{what}");
    let received = upstream.only();
    assert!(received.whole, "{what}: broken off");
    assert_eq!((received.len, received.hash), (body.len(), hash(body)), "{what}: other bytes");
    upstream.forget();
}

#[test]
fn every_size_in_both_framings() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    for size in SIZES {
        let kinds = [("json", chat_of(size)), ("junk", Some(junk(size as u64, size)))];
        for (kind, body) in kinds.into_iter().filter_map(|(kind, body)| Some((kind, body?))) {
            for chunked in [None, Some(16 * 1024), Some(300_000)] {
                let what = format!("{size} bytes of {kind}, chunks of {chunked:?}");
                let mut request = Request::post("/api/chat", body.clone());
                request.chunked = chunked;
                let clock = Instant::now();
                let reply = running.send(&request);
                assert!(clock.elapsed() < Duration::from_secs(20), "{what}: {:?}", clock.elapsed());
                arrives(&upstream, &body, &reply, &what);
                assert_eq!(reply.route(), "upstream", "{what}");
                let read = kind == "json" && size <= 16 * MIB && (chunked.is_none() || size <= 65_536);
                let guard = if read { "-" } else { "unread" };
                assert_eq!(reply.guard(), guard, "{what}");
            }
        }
    }
}

#[test]
fn every_size_in_small_pieces() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    for size in [65_535, 65_536, 65_537, 131_072] {
        let body = chat_of(size).unwrap();
        let request = Request::post("/api/chat", body.clone());
        let bytes = request.bytes(running.proxy);
        let mut connection = running.connect();
        for piece in bytes.chunks(7_919) {
            connection.write(piece);
            std::thread::sleep(Duration::from_millis(1));
        }
        let reply = connection.reply("POST");
        arrives(&upstream, &body, &reply, &format!("{size} bytes in pieces"));
    }
}

#[test]
fn an_ask_may_have_64_mib_and_not_one_byte_more() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let body = chat_of(64 * MIB).unwrap();
    let reply = running.send(&Request::post("/api/chat", body.clone()));
    arrives(&upstream, &body, &reply, "64 MiB");

    let body = vec![b'x'; 64 * MIB + 1];
    for surface in asks::ALL {
        let reply = running.send(&Request::post(surface.path(), body.clone()));
        assert_eq!(reply.status, 413, "{surface:?}");
        says_error(surface, &reply);
    }
    assert_eq!(upstream.count(), 0, "nothing of it is forwarded");
}

/// The shape of an error on that surface.
#[track_caller]
fn says_error(surface: Surface, reply: &support::Reply) {
    let error = reply.value();
    let message = match surface {
        Surface::Generate | Surface::Chat => error["error"].as_str(),
        Surface::Messages => {
            assert_eq!(error["type"], "error");
            error["error"]["message"].as_str()
        }
        _ => {
            assert!(error["error"]["type"].is_string() && error["error"]["param"].is_null());
            error["error"]["message"].as_str()
        }
    };
    assert!(message.is_some_and(|m| m.contains("too large")), "{surface:?}: {error}");
}

#[test]
fn a_chunked_ask_over_the_limit_is_refused_too() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("limits.max_body", "1MiB").start();
    let body = chat_of(MIB).unwrap();
    let reply = running.send(&Request::post("/api/chat", body.clone()).chunked(50_000));
    arrives(&upstream, &body, &reply, "exactly the limit");
    for surface in asks::ALL {
        let body = vec![b'x'; MIB + 1];
        let reply = running.send(&Request::post(surface.path(), body).chunked(50_000));
        assert_eq!(reply.status, 413, "{surface:?}: {reply:?}");
        says_error(surface, &reply);
    }
    assert!(upstream.received().iter().all(|r| !r.whole), "no upstream takes it for a whole body");
    // A body under the buffer's 64 KiB is counted, too.
    let small = Options::before(&upstream).set("limits.max_body", "1KiB").start();
    let reply = small.send(&Request::post("/api/chat", vec![b'x'; 1025]).chunked(100));
    assert_eq!(reply.status, 413, "{reply:?}");
}

#[test]
fn over_max_inspect_an_ask_is_forwarded_unread() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("limits.max_inspect", "1KiB").start();
    let greeting = asks::chat("llama3.2", "hello");
    assert_eq!(running.send(&greeting).route(), "local");
    let mut body = greeting.body.unwrap();
    body.resize(1025, b' ');
    let reply = running.send(&Request::post("/api/chat", body.clone()));
    assert_eq!(reply.guard(), "unread");
    arrives(&upstream, &body, &reply, "past max_inspect");
}

#[test]
fn past_the_budget_of_all_bodies_asks_are_forwarded_unread() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("limits.inflight", "100KiB").start();
    let greeting = asks::chat("llama3.2", "hello");
    assert_eq!(running.send(&greeting).route(), "local");
    let mut body = greeting.body.unwrap();
    body.resize(400 * 1024, b' ');
    let reply = running.send(&Request::post("/api/chat", body.clone()));
    assert_eq!(reply.guard(), "unread");
    arrives(&upstream, &body, &reply, "past the budget");
    for _ in 0..3 {
        assert_eq!(
            running.send(&asks::chat("llama3.2", "hello")).route(),
            "local",
            "the budget is given back"
        );
    }
}

#[test]
fn expect_100_continue_is_answered_at_once() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    for (path, size) in [("/api/chat", 200), ("/api/chat", MIB), ("/api/blobs/sha256:0", MIB)] {
        let body = chat_of(size).unwrap();
        let request = Request::post(path, body.clone()).header("Expect", "100-continue");
        let mut connection = running.connect();
        let clock = Instant::now();
        connection.write(&request.head(running.proxy));
        let go_on = connection.reply_head();
        assert_eq!(go_on.status, 100, "{path}");
        assert!(clock.elapsed() < Duration::from_millis(900), "curl would have stopped waiting");
        connection.write(&body);
        let reply = connection.reply("POST");
        arrives(&upstream, &body, &reply, path);
    }
    // A greeting never reaches the upstream; its client waits for a word all the same.
    let request = asks::chat("llama3.2", "hello").header("Expect", "100-continue");
    let mut connection = running.connect();
    connection.write(&request.head(running.proxy));
    assert_eq!(connection.reply_head().status, 100);
    connection.write(request.body.as_ref().unwrap());
    assert_eq!(connection.reply("POST").route(), "local");
}

#[test]
fn one_connection_serves_local_and_forwarded_asks_in_turn() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let mut connection = running.connect();
    let big = chat_of(200_000).unwrap();
    for round in 0..20 {
        let reply = connection.exchange(&asks::chat("llama3.2", "hello"));
        assert_eq!((reply.status, reply.route()), (200, "local"), "round {round}");
        let streamed = json!({"model": "llama3.2", "messages": [{"role": "user", "content": "hi"}]});
        let reply = connection.exchange(&Surface::Chat.request(&streamed));
        assert_eq!(reply.route(), "local", "round {round}");
        assert!(matches!(reply.end, End::Length | End::LastChunk), "round {round}: {reply:?}");
        let mut request = Request::post("/api/chat", big.clone());
        request.chunked = (round % 2 == 1).then_some(9_000);
        let reply = connection.exchange(&request);
        arrives(&upstream, &big, &reply, &format!("round {round}"));
        let reply = connection.exchange(&Request::get("/api/version"));
        assert_eq!(reply.status, 200, "round {round}");
        upstream.forget();
    }
}

#[test]
fn of_two_requests_in_one_write_none_gets_the_others_reply() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let local = asks::chat("llama3.2", "hello");
    let forwarded = asks::chat("llama3.2", "explain the tides");
    for (first, second, route) in [(&local, &forwarded, "local"), (&forwarded, &local, "upstream")] {
        let mut connection = running.connect();
        connection.write(&[first.bytes(running.proxy), second.bytes(running.proxy)].concat());
        assert_eq!(connection.reply("POST").route(), route);
        // Pingora does not pipeline: it may close, and the client asks again. It must not mix things up.
        if !connection.closes() {
            assert_ne!(connection.reply("POST").route(), route);
        }
    }
    let asked = upstream.received();
    assert!(asked.iter().all(|r| r.json()["messages"][0]["content"] == "explain the tides"), "{asked:#?}");
}

/// Bodies whose every byte but the model's must stay: odd spaces, order, escapes, numbers, duplicate keys.
const ODD: &str = "\n{ \"options\" : {\"temperature\":1e-2, \"seed\" : 10000000000000000000 } ,\t\"model\"  :\r\n \"auto\" , \
                   \"messages\":[ {\"content\":\"please refactor \\u0416 \\/ 😀 \\\"auto\\\" and auto\" ,\"role\":\"user\"} ],\
                   \"unknown\":1,\"unknown\":2 }\n ";

#[test]
fn rewriting_the_model_changes_nothing_else() {
    let upstream = Upstream::start();
    upstream.models(Some(&["first:1b", "second:7b"]));
    let big = Options::before(&upstream)
        .set("categories.coding.model", "coder \"32b\"")
        .rules(
            "20-model.toml",
            "[[rule]]\nname = \"deep\"\nmodel = \"deep:70b\"\npriority = 10\nany = [\"deep thought\"]\n",
        )
        .start();
    big.sees("default", true, Some(2));
    let cases = [
        // The category's model takes the place of `auto`.
        (ODD.to_owned(), ODD.replacen("\"auto\"", r#""coder \"32b\"""#, 1)),
        (
            ODD.replace("\"auto\" ,", "\"brainstem/auto:latest\" ,"),
            ODD.replacen("\"auto\"", r#""coder \"32b\"""#, 1),
        ),
        // No model for `general`: the first that the upstream lists.
        (
            ODD.replace("refactor", "discuss"),
            ODD.replace("refactor", "discuss").replacen("\"auto\"", "\"first:1b\"", 1),
        ),
        // A rule's model takes the place of any.
        (
            ODD.replace("refactor", "deep thought").replace("\"auto\" ,", "\"m\\u0069ne\" ,"),
            ODD.replace("refactor", "deep thought").replacen("\"auto\"", "\"deep:70b\"", 1),
        ),
        // No rule and no `auto`: as it is.
        (ODD.replace("\"auto\" ,", "\"mine\" ,"), ODD.replace("\"auto\" ,", "\"mine\" ,")),
    ];
    for (sent, expected) in cases {
        for size in [0, 70_000, 3 * MIB] {
            let pad = " ".repeat(size);
            let reply = big.send(&Request::post("/api/chat", sent.clone() + &pad));
            arrives(&upstream, (expected.clone() + &pad).as_bytes(), &reply, &sent);
        }
        let reply = big.send(&Request::post("/api/chat", sent.clone()).chunked(13));
        arrives(&upstream, expected.as_bytes(), &reply, &sent);
    }
}

#[test]
fn a_zstd_body_is_forwarded_as_it_came_unless_its_model_changes() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("categories.coding.model", "coder:32b").start();
    for size in [10, 300_000] {
        let text = format!("please refactor {}", "ab ".repeat(size));
        for surface in [Surface::ChatCompletions, Surface::Messages, Surface::Responses] {
            let plain = surface.body("auto", &text).to_string();
            let packed = zstd::encode_all(plain.as_bytes(), 1).unwrap();
            let request = Request::post(surface.path(), packed).header("Content-Encoding", "zstd");
            let reply = running.send(&request);
            assert_eq!(upstream.only().header("content-encoding"), None);
            let expected = plain.replacen("\"auto\"", "\"coder:32b\"", 1);
            arrives(&upstream, expected.as_bytes(), &reply, "decoded");

            let packed = zstd::encode_all(surface.body("mine", &text).to_string().as_bytes(), 3).unwrap();
            let request = Request::post(surface.path(), packed.clone()).header("Content-Encoding", "zstd");
            let reply = running.send(&request);
            assert_eq!((reply.category(), reply.guard()), ("coding", "-"), "it was read");
            assert_eq!(upstream.only().header("content-encoding"), Some("zstd"));
            arrives(&upstream, &packed, &reply, "as it came");
        }
    }
    let hello =
        zstd::encode_all(Surface::ChatCompletions.body("llama3.2", "hello").to_string().as_bytes(), 1);
    let request = Request::post("/v1/chat/completions", hello.unwrap()).header("Content-Encoding", "zstd");
    assert_eq!(running.send(&request).route(), "local");
    // Ollama does not read zstd on its native paths, and a broken one is not ours to mend.
    for path in ["/api/chat", "/v1/chat/completions"] {
        let request = Request::post(path, "no zstd at all").header("Content-Encoding", "zstd");
        let reply = running.send(&request);
        assert_eq!(reply.guard(), "unread");
        arrives(&upstream, b"no zstd at all", &reply, path);
    }
}

#[test]
fn what_is_no_ask_passes_with_method_body_query_and_headers() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let cases = [
        Request::new("DELETE", "/api/delete").body(r#"{"model":"old"}"#),
        Request::new("DELETE", "/api/delete").body(r#"{"model":"old"}"#).chunked(4),
        Request::get("/api/ps?x=1&y=%20z&q=a+b"),
        Request::post("/api/chat/", r#"{"model":"llama3.2","messages":[{"role":"user","content":"hello"}]}"#),
        Request::post("/v1/embeddings", r#"{"model":"e","input":"hello"}"#),
        Request::post("/v1/audio/transcriptions", junk(1, 100_000))
            .header("Content-Type", "multipart/form-data"),
        Request::new("PUT", "/what/ever//?a").body(junk(2, 70_000)).chunked(1000),
        Request::new("PATCH", "/x").body("y"),
        Request::get("/nowhere/%D0%BF%D1%83%D1%82%D1%8C"),
        Request::post("/api/pull", r#"{"model":"hello"}"#),
        Request::get("/api/chat"),
        // An origin that only the upstream may know; of others the preflight is answered here (tests/auth.rs).
        Request::new("OPTIONS", "/api/chat")
            .header("Origin", "https://ui.example.org")
            .header("Access-Control-Request-Method", "POST"),
        Request::get("/v1/models/llama3.2"),
        Request::post("/v1/messages/count_tokens", "{}"),
    ];
    for request in cases {
        let request = request.header("X-Mine", "Кириллица is not allowed here").header("Accept", "*/*");
        let request = Request {
            headers: request.headers.into_iter().filter(|(n, _)| n != "X-Mine").collect(),
            ..request
        };
        let request = request.header("X-Mine", "kept as it is");
        let body = request.body.clone().unwrap_or_default();
        let reply = running.send(&request);
        let received = upstream.only();
        let what = format!("{} {}", request.method, request.path);
        assert_eq!((received.method.as_str(), received.path.as_str()), (&*request.method, &*request.path));
        assert_eq!(received.header("x-mine"), Some("kept as it is"), "{what}");
        assert_eq!(received.header("host"), Some(&*upstream.address.to_string()), "{what}");
        assert_eq!(reply.route(), "-", "{what}: nothing was decided");
        arrives(&upstream, &body, &reply, &what);
    }
    let reply = running.send(&Request::new("HEAD", "/"));
    assert_eq!((reply.status, reply.end), (200, End::NoBody));
    assert_eq!((upstream.only().method.as_str(), upstream.only().len), ("HEAD", 0));
}

#[test]
fn head_has_no_body_and_the_connection_goes_on() {
    let upstream = Upstream::start();
    let length = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 17\r\n\r\n";
    upstream.script(move |received| match received.method.as_str() {
        "HEAD" => vec![Step::Send(length.into())],
        _ => vec![Step::Send(reply(200, "text/plain", b"Ollama is running"))],
    });
    let running = Options::before(&upstream).start();
    let mut connection = running.connect();
    for _ in 0..3 {
        let reply = connection.exchange(&Request::new("HEAD", "/"));
        assert_eq!((reply.status, reply.header("content-length")), (200, Some("17")));
        assert_eq!(connection.exchange(&Request::get("/")).text(), "Ollama is running");
    }
}

/// Peak resident memory in KiB.
#[cfg(target_os = "linux")]
fn peak_kib(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn blobs_stream_through_in_little_memory() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let before = peak_kib(running.child.id());
    let body = Arc::new(junk(3, 100 * MIB));
    for (method, chunked) in [("POST", None), ("PUT", Some(MIB))] {
        let path = "/api/blobs/sha256:00000000000000000000000000000000";
        let mut request = Request::new(method, path).body(body.to_vec());
        request.chunked = chunked;
        let reply = running.send(&request);
        arrives(&upstream, &body, &reply, method);
    }
    let grown = peak_kib(running.child.id()) - before;
    assert!(grown < 20 * 1024, "{grown} KiB more for a blob of 100 MiB");
}

#[test]
#[cfg(target_os = "linux")]
fn a_large_reply_streams_through_in_little_memory() {
    let upstream = Upstream::start();
    let body = junk(4, 100 * MIB);
    let sent = reply(200, "application/octet-stream", &body);
    upstream.steps(vec![Step::Send(sent)]);
    let running = Options::before(&upstream).start();
    let before = peak_kib(running.child.id());
    let reply = running.send(&Request::get("/api/blobs/sha256:1"));
    assert_eq!((reply.body.len(), hash(&reply.body)), (body.len(), hash(&body)));
    let grown = peak_kib(running.child.id()) - before;
    assert!(grown < 20 * 1024, "{grown} KiB more for a reply of 100 MiB");
}

#[test]
fn headers_past_the_limit_are_431_in_the_dialect() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let many = |n: usize| {
        let mut request = Request::post("/v1/chat/completions", chat_of(130_000).unwrap());
        for i in 0..n {
            request = request.header(&format!("X-{i}"), &"h".repeat(4_000));
        }
        request
    };
    let reply = running.send(&many(60));
    arrives(&upstream, &chat_of(130_000).unwrap(), &reply, "240 KB of headers");
    let clock = Instant::now();
    let reply = running.send(&many(200));
    assert_eq!(reply.status, 431, "{reply:?}");
    assert!(reply.value()["error"]["message"].is_string());
    assert!(clock.elapsed() < Duration::from_secs(5));
    assert_eq!(upstream.count(), 0);
}

#[test]
fn headers_that_drag_the_body_along_are_431_and_no_hang() {
    let upstream = Upstream::start();
    // With the limit on headers out of the way the body recipe's own guard has to speak.
    let running = Options::before(&upstream).set("limits.max_headers", "10MiB").start();
    for size in [70_000, 130_000, 400_000] {
        let mut request = Request::post("/api/chat", chat_of(size).unwrap());
        for i in 0..200 {
            request = request.header(&format!("X-{i}"), &"h".repeat(4_000));
        }
        let clock = Instant::now();
        let reply = running.send(&request);
        assert!(matches!(reply.status, 200 | 431), "{size}: {reply:?}");
        assert!(clock.elapsed() < Duration::from_secs(10), "{size}: {:?}", clock.elapsed());
        if reply.status == 200 {
            arrives(&upstream, &chat_of(size).unwrap(), &reply, "headers of 800 KB");
        } else {
            assert_eq!(upstream.count(), 0);
        }
    }
}

#[test]
fn a_slow_body_is_closed_and_counted() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("limits.body_timeout", "1s").start();
    for head in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let mut connection = running.connect();
        connection.write(format!("POST /api/chat HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n").as_bytes());
        if head.starts_with('T') {
            connection.write(&chunk(b"{\"model\":"));
        } else {
            connection.write(b"{\"model\":");
        }
        let clock = Instant::now();
        let reply = connection.reply("POST");
        assert_eq!(reply.status, 408, "{head}: {reply:?}");
        assert!(clock.elapsed() < Duration::from_secs(5), "{head}: {:?}", clock.elapsed());
        assert!(connection.closes(), "{head}");
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(running.metric("refused_requests_total{reason=\"slow_body\"}"), 2.0);
}

#[test]
fn a_client_that_breaks_off_its_body_leaves_no_trace_upstream() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let mut connection = running.connect();
    connection.write(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{");
    connection.leave();
    // What comes after is served as ever.
    assert_eq!(running.chat("explain the tides").status, 200);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn broken_framing_is_400_and_reaches_nobody() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    for head in ["Content-Length: -1", "Content-Length: 5\r\nContent-Length: 6", "Content-Length: many"] {
        let mut connection = running.connect();
        connection
            .write(format!("POST /api/chat HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\nhello").as_bytes());
        assert_eq!(connection.reply("POST").status, 400, "{head}");
    }
    let mut connection = running.connect();
    connection.write(
        b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello",
    );
    assert_eq!(connection.reply("POST").status, 400);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_request_with_length_and_chunks_is_told_upstream_with_one_framing() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    for path in ["/api/chat", "/api/pull"] {
        let mut connection = running.connect();
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n");
        connection.write((head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").as_bytes());
        let reply = connection.reply("POST");
        if reply.status == 200 {
            let received = upstream.only();
            assert!(received.header("content-length").is_none() || !received.chunked, "{}", received.head);
            assert_eq!(received.body, b"hello", "{path}");
        } else {
            assert_eq!((reply.status, upstream.count()), (400, 0), "{path}");
        }
        upstream.forget();
    }
}
