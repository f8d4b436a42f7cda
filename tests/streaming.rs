//! What the upstream says is on the client's socket at once, a client that leaves is told to the upstream at
//! once, and an upstream that fails is told to the client in its dialect.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::asks::{self, Surface};
use support::http::{End, chunk};
use support::upstream::{self, stream, stream_head};
use support::{Connection, Options, Request, Running, Step, Upstream, eventually};

const GAP: Duration = Duration::from_millis(50);

/// A line that is on its way no longer than this counts as passed on at once.
const AT_ONCE: Duration = Duration::from_millis(10);

/// How often a run may be spoilt by whatever else the machine does. A proxy that buffers spoils all of them.
const RUNS: usize = 8;

fn question(surface: Surface) -> Request {
    surface.request(&surface.with("llama3.2", "explain the tides", json!({"stream": true})))
}

/// Ten pieces, each long on its way from when the upstream sent it.
fn delays(running: &Running, upstream: &Upstream, surface: Surface) -> Vec<Duration> {
    upstream.forget();
    let lines: Vec<String> = (0..10).map(|i| format!("data: {{\"line\":{i}}}\n\n")).collect();
    upstream.steps(stream(surface.content_type(true), &lines, GAP));
    let mut connection = running.connect();
    connection.write(&question(surface).bytes(running.proxy));
    assert_eq!(connection.reply_head().status, 200);
    let came = connection.chunks_with_times();
    let received = upstream.only();
    // The head was sent first; each chunk comes as one, for there is nothing to join it with.
    let sent = &received.sent[1..11];
    let text: Vec<String> = came.iter().map(|(_, c)| String::from_utf8(c.clone()).unwrap()).collect();
    assert_eq!(text, lines, "each line by itself");
    came.iter().zip(sent).map(|((came, _), sent)| came.saturating_duration_since(*sent)).collect()
}

#[test]
fn every_line_is_on_the_clients_socket_at_once() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    for surface in [Surface::Chat, Surface::ChatCompletions, Surface::Messages] {
        let mut runs = Vec::new();
        let good = (0..RUNS).any(|_| {
            runs.push(delays(&running, &upstream, surface));
            runs.last().unwrap().iter().all(|delay| *delay < AT_ONCE)
        });
        assert!(good, "{surface:?}: {runs:?}");
    }
}

#[test]
fn the_head_does_not_wait_for_the_first_line() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    upstream.steps(vec![stream_head("application/x-ndjson"), Step::Hang]);
    let mut connection = running.connect();
    connection.write(&question(Surface::Chat).bytes(running.proxy));
    assert_eq!(connection.reply_head().header("content-type"), Some("application/x-ndjson"));
}

#[test]
fn a_pull_that_says_little_streams_too() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("upstream.default.read_timeout", "1s").start();
    let lines = ["{\"status\":\"pulling manifest\"}\n".to_owned(), "{\"status\":\"success\"}\n".to_owned()];
    // Longer than what an ask may take: a pull may be silent.
    upstream.steps(stream("application/x-ndjson", &lines, Duration::from_millis(1500)));
    let reply = running.send(&Request::post("/api/pull", r#"{"model":"x"}"#));
    assert_eq!((reply.text(), reply.end), (lines.concat().as_str(), End::LastChunk));
}

/// How long after a client left the upstream saw it.
fn seen_after(left: Instant, upstream: &Upstream) -> Duration {
    upstream.left().saturating_duration_since(left)
}

/// Lets a client leave while the upstream is busy with those steps. Several tries: a machine that stands still
/// for 100 ms proves nothing, and a proxy that does not pass the close on fails all of them.
fn leaves(steps: &[Step], before: impl Fn(&mut Connection, &Upstream)) {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let mut after = Vec::new();
    for _ in 0..RUNS {
        upstream.forget();
        upstream.steps(steps.to_vec());
        let mut connection = running.connect();
        connection.write(&question(Surface::Chat).bytes(running.proxy));
        eventually(support::DEADLINE, "the upstream has the ask", || upstream.count() == 1);
        before(&mut connection, &upstream);
        let left = Instant::now();
        connection.leave();
        after.push(seen_after(left, &upstream));
        if after.last().unwrap() < &Duration::from_millis(100) {
            return;
        }
    }
    panic!("the upstream sees the close only after {after:?}");
}

#[test]
fn a_client_that_leaves_mid_stream_ends_the_upstreams_work() {
    let line = Step::Send(chunk(b"{\"done\":false}\n"));
    let mut steps = vec![stream_head("application/x-ndjson"), line.clone()];
    for _ in 0..100 {
        steps.extend([Step::Wait(GAP), line.clone()]);
    }
    leaves(&steps, |connection, _| {
        connection.reply_head();
        connection.next_chunk().unwrap();
    });
}

#[test]
fn a_client_that_leaves_a_silent_stream_ends_it_too() {
    let steps = [stream_head("application/x-ndjson"), Step::Send(chunk(b"{}\n")), Step::Hang];
    leaves(&steps, |connection, _| {
        connection.reply_head();
        connection.next_chunk().unwrap();
    });
}

#[test]
fn a_client_that_leaves_before_any_answer_ends_the_upstreams_work() {
    // The prompt is being evaluated, or the model loaded: nothing was said yet.
    leaves(&[Step::Hang], |_, _| std::thread::sleep(Duration::from_millis(30)));
}

#[test]
fn who_left_is_no_error_of_the_upstream() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    upstream.steps(vec![Step::Hang]);
    let mut connection = running.connect();
    connection.write(&question(Surface::Chat).bytes(running.proxy));
    eventually(support::DEADLINE, "the upstream has the ask", || upstream.count() == 1);
    connection.leave();
    upstream.left();
    eventually(support::DEADLINE, "nothing is in flight", || running.metric("inflight_requests") == 0.0);
    let metrics = running.admin("/metrics");
    let blamed = metrics.text().lines().find(|line| line.starts_with("brainstem_upstream_errors_total{"));
    assert_eq!(blamed, None);
}

/// The message of an error in that surface's shape.
#[track_caller]
fn complaint(surface: Surface, reply: &support::Reply) -> String {
    assert_eq!(reply.header("content-type"), Some(surface.content_type(false)), "{reply:?}");
    let error = reply.value();
    let message = if surface.is_native() { &error["error"] } else { &error["error"]["message"] };
    assert_eq!(error["type"] == "error", surface == Surface::Messages, "{error}");
    message.as_str().unwrap().to_owned()
}

#[test]
fn an_upstream_that_dies_before_its_answer_is_502() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    for steps in [
        vec![Step::Reset],
        vec![Step::Close],
        vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-".to_vec()), Step::Close],
    ] {
        for surface in asks::ALL {
            upstream.forget();
            upstream.steps(steps.clone());
            let reply = running.send(&question(surface));
            assert_eq!(reply.status, 502, "{steps:?}");
            assert!(complaint(surface, &reply).contains(&upstream.address.to_string()), "{reply:?}");
            assert_eq!(upstream.count(), 1, "an ask is not sent twice");
        }
    }
    let blamed = running.metric("upstream_errors_total{kind=\"reset\",upstream=\"default\"}");
    assert_eq!(blamed, 18.0);
}

#[test]
fn an_upstream_that_dies_mid_stream_leaves_no_clean_end() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    for last in [Step::Reset, Step::Close] {
        upstream.steps(vec![
            stream_head("application/x-ndjson"),
            Step::Send(chunk(b"{\"done\":false}\n")),
            last,
        ]);
        let mut connection = running.connect();
        connection.write(&question(Surface::Chat).bytes(running.proxy));
        assert_eq!(connection.reply_head().status, 200);
        assert_eq!(connection.next_chunk().unwrap().unwrap(), b"{\"done\":false}\n");
        // The client must be able to tell it from a whole answer: by the last line, and by the end that is none.
        assert!(connection.next_chunk().unwrap().unwrap().starts_with(b"{\"error\":"));
        assert!(connection.next_chunk().is_err());
    }
    let half = upstream::reply(200, "application/json", b"{\"model\":\"m\"}");
    upstream.steps(vec![Step::Send(half[..half.len() - 3].to_vec()), Step::Close]);
    assert_eq!(running.send(&asks::chat("llama3.2", "explain the tides")).end, End::Broken);
}

#[test]
fn an_upstream_that_hangs_is_504_after_its_timeout() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("upstream.default.read_timeout", "1s").start();
    upstream.steps(vec![Step::Hang]);
    for surface in [Surface::Chat, Surface::ChatCompletions, Surface::Messages] {
        let clock = Instant::now();
        let reply = running.send(&question(surface));
        let took = clock.elapsed();
        assert_eq!(reply.status, 504);
        assert!(!complaint(surface, &reply).is_empty());
        assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&took), "{took:?}");
    }
    assert_eq!(running.metric("upstream_errors_total{kind=\"read_timeout\",upstream=\"default\"}"), 3.0);
}

#[test]
fn a_stream_that_goes_silent_is_broken_off_after_the_timeout() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("upstream.default.read_timeout", "1s").start();
    upstream.steps(vec![stream_head("application/x-ndjson"), Step::Send(chunk(b"{}\n")), Step::Hang]);
    let mut connection = running.connect();
    connection.write(&question(Surface::Chat).bytes(running.proxy));
    connection.reply_head();
    connection.next_chunk().unwrap();
    let clock = Instant::now();
    assert!(connection.next_chunk().unwrap().unwrap().starts_with(b"{\"error\":"));
    assert!(connection.next_chunk().is_err());
    assert!(clock.elapsed() < Duration::from_secs(5));
    upstream.left();
}

#[test]
fn an_upstream_that_refuses_is_502_and_asked_again_when_it_is_back() {
    let upstream = Upstream::start();
    let address = support::running::nobody();
    let running = Options::before(&upstream).set("upstream.default.url", format!("http://{address}"));
    let running = running.anywhere().start();
    for surface in asks::ALL {
        let reply = running.send(&question(surface));
        assert_eq!(reply.status, 502);
        assert!(complaint(surface, &reply).contains("is Ollama running?"), "{reply:?}");
    }
    let reply = running.send(&Request::post("/api/pull", "{}"));
    assert_eq!((reply.status, reply.value()["error"].is_string()), (502, true));
    assert!(running.metric("upstream_errors_total{kind=\"connect\",upstream=\"default\"}") >= 7.0);

    let back = Upstream::at(&address.to_string());
    running.sees("default", true, Some(1));
    assert_eq!(running.chat("explain the tides").status, 200);
    assert_eq!(back.count(), 1);
}

#[test]
fn an_upstream_that_speaks_no_http_is_502() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    for garbage in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "\0\0\0\0\r\n\r\n", "HTTP/1.1 banana\r\n\r\n"] {
        upstream.steps(vec![Step::Send(garbage.into()), Step::Close]);
        let reply = running.send(&question(Surface::Chat));
        assert_eq!(reply.status, 502, "{garbage:?}: {reply:?}");
        assert!(!complaint(Surface::Chat, &reply).is_empty());
    }
}

#[test]
fn an_upstreams_own_errors_pass_unchanged() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let busy = r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#;
    for status in [400, 401, 404, 429, 500, 503] {
        let head =
            format!("HTTP/1.1 {status} Its Own Words\r\nContent-Type: application/json; charset=utf-8\r\n");
        let head = head + &format!("Retry-After: 7\r\nContent-Length: {}\r\n\r\n{busy}", busy.len());
        upstream.steps(vec![Step::Send(head.into_bytes())]);
        for surface in asks::ALL {
            let reply = running.send(&question(surface));
            assert_eq!((reply.status, reply.text()), (status, busy));
            assert_eq!(reply.header("retry-after"), Some("7"));
            assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
            assert_eq!(reply.route(), "upstream");
        }
    }
    assert_eq!(running.metric("upstream_errors_total{kind=\"status\",upstream=\"default\"}"), 12.0);
}

#[test]
fn a_reply_without_framing_ends_with_the_connection() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let old = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold, but whole";
    upstream.steps(vec![Step::Send(old.to_vec()), Step::Close]);
    let reply = running.send(&question(Surface::Chat));
    assert_eq!((reply.status, reply.text()), (200, "old, but whole"));
}

#[test]
fn many_streams_at_once_do_not_wait_for_one_another() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let lines: Vec<String> = (0..10).map(|i| format!("{{\"line\":{i}}}\n")).collect();
    upstream.steps(stream("application/x-ndjson", &lines, GAP));
    let clock = Instant::now();
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            (0..40).map(|_| scope.spawn(|| running.send(&question(Surface::Chat)).body)).collect();
        // A greeting in the midst of it is answered all the same.
        assert_eq!(running.chat("hello").route(), "local");
        for body in asked {
            assert_eq!(body.join().unwrap(), lines.concat().into_bytes());
        }
    });
    // One after the other they would take 20 s.
    assert!(clock.elapsed() < Duration::from_secs(10), "{:?}", clock.elapsed());
}
