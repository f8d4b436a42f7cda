//! The upstream refuses, hangs, resets, dies in the middle, sends garbage, is busy.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::asks::{self, Surface};
use crate::support::http::{End, chunk};
use crate::support::upstream::{reply, stream_head};
use crate::support::{Options, Reply, Request, Running, Step, Upstream};

fn question(surface: Surface) -> Request {
    surface.request(&surface.with("llama3.2", "explain the tides", json!({"stream": true})))
}

/// The beginning of a stream, and its proper end.
fn script(surface: Surface) -> (&'static str, &'static str) {
    match surface {
        Surface::Generate => (
            "{\"model\":\"m\",\"response\":\"The moon\",\"done\":false}\n",
            "{\"model\":\"m\",\"response\":\"\",\"done\":true,\"done_reason\":\"stop\",\"context\":[1,2]}\n",
        ),
        Surface::Chat => (
            "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"The moon\"},\"done\":false}\n",
            "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true}\n",
        ),
        Surface::ChatCompletions => (
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"The moon\"},\"finish_reason\":null}]}\n\n",
            "data: [DONE]\n\n",
        ),
        Surface::Completions => (
            "data: {\"choices\":[{\"text\":\"The moon\",\"index\":0,\"finish_reason\":null}]}\n\n",
            "data: [DONE]\n\n",
        ),
        Surface::Messages => (
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0}\n\n",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ),
        Surface::Responses => (
            "event: response.output_text.delta\ndata: {\"delta\":\"The moon\",\"sequence_number\":4,\"type\":\"response.output_text.delta\"}\n\n",
            "event: response.completed\ndata: {\"response\":{},\"sequence_number\":5,\"type\":\"response.completed\"}\n\n",
        ),
    }
}

/// What a client of that surface finds of an error at the end of a stream.
#[track_caller]
fn told(surface: Surface, text: &str) -> String {
    let value = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert!(text.ends_with('\n'), "{text}");
    let last = text.trim_end().lines().last().unwrap_or("");
    let message = match surface {
        Surface::Generate | Surface::Chat => value(last)["error"].clone(),
        _ => {
            assert!(text.ends_with("\n\n"), "{text}");
            let event = value(last.strip_prefix("data: ").unwrap_or_else(|| panic!("{text}")));
            match surface {
                Surface::Messages | Surface::Responses => {
                    assert_eq!(event["type"], "error");
                    assert!(text.contains("\n\nevent: error\ndata: "), "{text}");
                }
                _ => assert_eq!(event["error"]["type"], "api_error"),
            }
            if surface == Surface::Responses {
                assert_eq!(event["message"], event["error"]["message"]);
            }
            event["error"]["message"].clone()
        }
    };
    message.as_str().unwrap_or_else(|| panic!("{text}")).to_owned()
}

fn stream_of(surface: Surface, pieces: &[&str], last: Step) -> Vec<Step> {
    let mut steps = vec![stream_head(surface.content_type(true))];
    steps.extend(pieces.iter().map(|piece| Step::Send(chunk(piece.as_bytes()))));
    steps.push(last);
    steps
}

/// A stream to the end of the connection, framing or not.
fn all(running: &Running, request: &Request) -> (String, bool) {
    let mut connection = running.connect();
    connection.write(&request.bytes(running.proxy));
    assert_eq!(connection.reply_head().status, 200);
    let mut text = Vec::new();
    let whole = loop {
        match connection.next_chunk() {
            Ok(Some(piece)) => text.extend_from_slice(&piece),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    (String::from_utf8(text).unwrap(), whole)
}

fn cut(running: &Running, how: &str) -> f64 {
    running.metric(&format!("streams_cut_total{{how=\"{how}\",upstream=\"default\"}}"))
}

#[test]
fn a_stream_that_dies_is_marked_in_its_dialect_and_stays_cut() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let mut deaths = 0.0;
    for surface in asks::ALL {
        let (begin, end) = script(surface);
        let halves = (&end[..end.len() / 2], &begin[..begin.len() - 1]);
        for pieces in [&[begin][..], &[begin, begin], &[begin, halves.0], &[halves.1]] {
            for last in [Step::Reset, Step::Close, Step::Send(b"zz\r\n".to_vec())] {
                upstream.steps(stream_of(surface, pieces, last));
                let (text, whole) = all(&running, &question(surface));
                let passed = pieces.concat();
                assert!(text.starts_with(&passed), "what came stays: {text}");
                assert!(!whole, "{surface:?}: a cut stream has no last chunk");
                assert!(told(surface, &text).contains("broke off in the middle"), "{text}");
                // Nothing but line ends between what came and the mark.
                let mark = text[passed.len()..].trim_start_matches('\n');
                assert!(mark.starts_with('{') || mark.starts_with("data: ") || mark.starts_with("event: "));
                deaths += 1.0;
            }
        }
    }
    assert_eq!(cut(&running, "broken"), deaths);
    assert_eq!(running.chat("hello").route(), "local");
}

#[test]
fn a_stream_that_says_its_end_and_then_dies_is_not_marked() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    for surface in asks::ALL {
        let (begin, end) = script(surface);
        upstream.steps(stream_of(surface, &[begin, end], Step::Close));
        let (text, whole) = all(&running, &question(surface));
        assert_eq!((text, whole), (format!("{begin}{end}"), false));
    }
    assert_eq!(cut(&running, "broken"), 0.0);
}

#[test]
fn a_stream_that_ends_without_its_dialects_end_is_told_so() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let last_chunk = || Step::Send(b"0\r\n\r\n".to_vec());
    for surface in asks::ALL {
        let (begin, end) = script(surface);
        upstream.steps(stream_of(surface, &[begin], last_chunk()));
        let (text, whole) = all(&running, &question(surface));
        assert!(whole && text.starts_with(begin));
        assert!(told(surface, &text).contains("in the middle"), "{text}");
        // The upstream's own error, and a whole stream, are let be.
        let error = match surface {
            Surface::Generate | Surface::Chat => "{\"error\":\"out of memory\"}\n",
            Surface::Messages => "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"x\"}}\n\n",
            _ => "data: {\"error\":{\"message\":\"out of memory\"}}\n\n",
        };
        for last in [error, end] {
            upstream.steps(stream_of(surface, &[begin, last], last_chunk()));
            let reply = running.send(&question(surface));
            assert_eq!((reply.text(), reply.end), (&*format!("{begin}{last}"), End::LastChunk));
        }
    }
    assert_eq!(cut(&running, "unfinished"), 6.0);
}

#[test]
fn who_wants_it_untouched_gets_no_mark() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("proxy.bypass_models", vec!["persona".to_owned()]).start();
    let (begin, _) = script(Surface::Chat);
    upstream.steps(stream_of(Surface::Chat, &[begin], Step::Close));
    let plain = question(Surface::Chat).header("x-brainstem-bypass", "1");
    assert_eq!(all(&running, &plain), (begin.to_owned(), false));
    let persona = Surface::Chat.request(&Surface::Chat.body("persona", "explain the tides"));
    assert_eq!(all(&running, &persona), (begin.to_owned(), false));
    // What is no ask is never looked at.
    assert_eq!(all(&running, &Request::post("/api/pull", "{}")), (begin.to_owned(), false));
}

#[test]
fn what_has_a_length_just_ends() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    for surface in asks::ALL {
        for kind in [surface.content_type(true), surface.content_type(false)] {
            let (begin, _) = script(surface);
            let whole = reply(200, kind, begin.repeat(3).as_bytes());
            let short = whole.len() - 7;
            for last in [Step::Close, Step::Reset] {
                upstream.steps(vec![Step::Send(whole[..short].to_vec()), last]);
                let mut connection = running.connect();
                connection.write(&question(surface).bytes(running.proxy));
                let head = connection.reply_head();
                assert_eq!(head.header("content-length"), Some(&*(begin.len() * 3).to_string()));
                let mut body = Vec::new();
                let _ = std::io::Read::read_to_end(&mut connection.stream, &mut body);
                assert!(!String::from_utf8_lossy(&body).contains("broke off"));
            }
        }
    }
}

/// The error of a reply, in its surface's shape.
#[track_caller]
fn complaint(surface: Surface, reply: &Reply) -> String {
    let value = reply.value();
    let message = if surface.is_native() { &value["error"] } else { &value["error"]["message"] };
    message.as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned()
}

#[test]
fn before_the_head_every_fault_is_an_error_in_the_dialect() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let faults: [(&str, Vec<Step>, &str); 9] = [
        ("reset at once", vec![Step::Reset], "broke off"),
        ("closed at once", vec![Step::Close], "broke off"),
        (
            "dead in the head",
            vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-".to_vec()), Step::Close],
            "broke off",
        ),
        ("reset in the head", vec![Step::Send(b"HTTP/1.1 200 O".to_vec()), Step::Reset], "broke off"),
        ("another protocol", vec![Step::Send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()), Step::Close], "HTTP"),
        ("noise", vec![Step::Send(vec![0xff; 4096]), Step::Close], "HTTP"),
        ("a head that never ends", vec![Step::Send(endless_head()), Step::Close], "HTTP"),
        (
            "two lengths",
            vec![
                Step::Send(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
                ),
                Step::Close,
            ],
            "HTTP",
        ),
        (
            "a broken length",
            vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello".to_vec()), Step::Close],
            "HTTP",
        ),
    ];
    for (name, steps, words) in faults {
        for surface in asks::ALL {
            upstream.forget();
            upstream.steps(steps.clone());
            let reply = running.send(&question(surface));
            assert_eq!(reply.status, 502, "{name} on {surface:?}: {reply:?}");
            assert!(complaint(surface, &reply).contains(words), "{name}: {reply:?}");
            assert_eq!(upstream.count(), 1, "{name}: an ask is not sent twice");
        }
    }
    assert_eq!(running.chat("hello").route(), "local");
}

fn endless_head() -> Vec<u8> {
    let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
    (0..40_000).for_each(|i| {
        head.extend_from_slice(format!("x-line-{i}: and on and on and on it goes\r\n").as_bytes())
    });
    head
}

#[test]
fn a_busy_upstreams_own_words_pass_in_every_dialect() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let busy = br#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#;
    upstream.steps(vec![Step::Send(reply(503, "application/json; charset=utf-8", busy))]);
    for surface in asks::ALL {
        let reply = running.send(&question(surface));
        assert_eq!((reply.status, reply.body.as_slice()), (503, &busy[..]));
    }
}

#[test]
fn nothing_hangs_longer_than_it_may() {
    let upstream = Upstream::start();
    let options = Options::before(&upstream);
    let running = options.set("upstream.default.read_timeout", "1s").start();
    let bound = Duration::from_secs(10);
    for surface in asks::ALL {
        // Takes the ask and says nothing.
        upstream.steps(vec![Step::Hang]);
        let clock = Instant::now();
        let reply = running.send(&question(surface));
        assert_eq!(reply.status, 504);
        assert!(clock.elapsed() < bound && !complaint(surface, &reply).is_empty());
        // Begins and falls silent.
        let (begin, _) = script(surface);
        upstream.steps(stream_of(surface, &[begin], Step::Hang));
        let clock = Instant::now();
        let (text, whole) = all(&running, &question(surface));
        assert!(clock.elapsed() < bound && !whole);
        assert!(told(surface, &text).contains("fell silent"), "{text}");
    }
    assert_eq!(cut(&running, "silent"), 6.0);
}

/// Keeps each connection for one reply, and closes it in the very moment in which the next request comes.
fn closes_kept_connections(upstream: &Upstream) {
    let used = Mutex::new(HashSet::new());
    upstream.script(move |received| match used.lock().unwrap().insert(received.connection) {
        true => vec![Step::Send(reply(200, "application/json", b"{}"))],
        false => vec![Step::Reset],
    });
}

#[test]
fn an_ask_is_not_lost_with_a_kept_connection_but_no_order_is_given_twice() {
    for surface in asks::ALL {
        let upstream = Upstream::start();
        closes_kept_connections(&upstream);
        let running = Options::before(&upstream).set("categories.coding.model", "coder:7b").start();
        for (n, words) in [1, 8_000, 60_000].into_iter().enumerate() {
            let text = format!("explain the tides {}", "and waves ".repeat(words));
            let request = surface.request(&surface.body("llama3.2", &text));
            assert_eq!(running.send(&request).status, 200, "{surface:?} {words}");
            // The connection of the ask before was closed.
            assert_eq!(upstream.count(), 2 * n + 1, "{surface:?} {words}");
            assert_eq!(upstream.last().body, request.body.unwrap(), "{surface:?} {words}");
        }
        let other = surface.request(&surface.body("auto", "refactor this function"));
        assert_eq!(running.send(&other).status, 200, "{surface:?}");
        assert_eq!(upstream.last().json()["model"], "coder:7b", "{surface:?}: as it was sent the first time");
        assert_eq!(running.metric("upstream_retries_total{kind=\"stale\",upstream=\"default\"}"), 3.0);
        // Closed again after it was sent again: not a third time.
        upstream.forget();
        upstream.steps(vec![Step::Reset]);
        assert_eq!(running.send(&question(surface)).status, 502, "{surface:?}");
        assert_eq!(upstream.count(), 2, "{surface:?}");
        assert_eq!(running.metric("inflight_body_bytes"), 0.0);
    }
    let upstream = Upstream::start();
    closes_kept_connections(&upstream);
    let running = Options::before(&upstream).start();
    for path in ["/api/pull", "/api/create", "/api/copy", "/api/blobs/sha256:00"] {
        upstream.forget();
        assert_eq!(running.send(&Request::post("/api/chat", "{}")).status, 200, "a fresh connection");
        let before = upstream.count();
        assert_eq!(running.send(&Request::post(path, "{}")).status, 502, "{path}");
        assert_eq!(upstream.count(), before + 1, "{path}");
    }
}
