//! Forwarded traffic, byte for byte: a scripted upstream replays what a real Ollama 0.9.3 sent
//! (`tests/fixtures/captures`, INDEX.txt says to which requests), and the client must get the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use std::path::{Path, PathBuf};

use support::http::{End, find};
use support::{Options, Reply, Request, Step, Upstream, hash};

/// A captured exchange.
struct Capture {
    name: String,
    request: Request,
    /// The reply as it went over the wire.
    raw: Vec<u8>,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures")
}

/// Every line of the index: `NAME METHOD PATH rc=0 …`.
fn captures() -> Vec<Capture> {
    let index = std::fs::read_to_string(directory().join("INDEX.txt")).unwrap();
    let capture = |line: &str| {
        let mut words = line.split(' ');
        let (name, method, path) = (words.next()?, words.next()?, words.next()?);
        let mut request =
            Request::new(method, path).header("User-Agent", "capture/1").header("Accept", "*/*");
        if let Ok(body) = std::fs::read(directory().join(format!("{name}.req.json"))) {
            request = request.header("Content-Type", "application/json").body(body);
        }
        let raw = std::fs::read(directory().join(format!("{name}.resp.raw"))).unwrap();
        Some(Capture { name: name.to_owned(), request, raw })
    };
    // Preflights are answered here: tests/auth.rs holds the reply against the captured one.
    index.lines().filter_map(capture).filter(|capture| capture.name != "61_cors_preflight").collect()
}

/// Head and body of a raw reply, without framing; the reference that the proxy is held against.
fn parsed(raw: &[u8]) -> (String, Vec<(String, String)>, Vec<u8>) {
    let end = find(raw, b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&raw[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().to_owned();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut rest = &raw[end + 4..];
    if !headers.iter().any(|(name, _)| name == "transfer-encoding") {
        return (status, headers, rest.to_vec());
    }
    let mut body = Vec::new();
    loop {
        let line = find(rest, b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            return (status, headers, body);
        }
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 2 + size + 2..];
    }
}

/// What a proxy may change: how the connection goes on, and the hour, which Pingora sets anew.
const OURS: [&str; 3] = ["connection", "keep-alive", "date"];

fn kept(headers: &[(String, String)]) -> Vec<(String, String)> {
    let mut kept: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .filter(|(name, _)| !OURS.contains(&name.as_str()))
        .filter(|(name, _)| !name.starts_with("x-brainstem-") && name != "x-request-id")
        .collect();
    kept.sort();
    kept
}

#[track_caller]
fn same(capture: &Capture, reply: &Reply) {
    let (status, headers, body) = parsed(&capture.raw);
    assert_eq!(format!("HTTP/1.1 {} {}", reply.status, reply.reason), status, "{}", capture.name);
    assert_eq!(kept(&reply.headers), kept(&headers), "{}", capture.name);
    assert_eq!(reply.body, body, "{}", capture.name);
    let dates = reply.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("date")).count();
    assert_eq!(dates, 1, "{}", capture.name);
    let chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
    let end = match (&*capture.request.method, reply.status, chunked) {
        ("HEAD", ..) | (_, 204, _) => End::NoBody,
        (.., true) => End::LastChunk,
        (.., false) => End::Length,
    };
    assert_eq!(reply.end, end, "{}", capture.name);
}

/// What the client sent must be what the upstream got.
#[track_caller]
fn got(capture: &Capture, upstream: &Upstream) {
    let received = upstream.only();
    let request = &capture.request;
    assert_eq!((&received.method, &received.path), (&request.method, &request.path), "{}", capture.name);
    let body = request.body.clone().unwrap_or_default();
    assert_eq!((received.len, received.hash), (body.len(), hash(&body)), "{}", capture.name);
    for (name, value) in &request.headers {
        assert_eq!(received.header(name), Some(value.as_str()), "{}: {name}", capture.name);
    }
    // Nothing is added to what the upstream sees but what forwarding needs.
    let names: Vec<_> = received.head.split("\r\n").skip(1).map(|l| l.split(':').next().unwrap()).collect();
    for name in names {
        let sent = request.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let needed = ["host", "content-length", "connection"].iter().any(|n| n.eq_ignore_ascii_case(name));
        assert!(sent || needed, "{}: {name} was added", capture.name);
    }
}

#[test]
fn every_captured_reply_arrives_as_it_was_sent() {
    let upstream = Upstream::start();
    // Nothing is added to the lists of models here: that is the one reply that is changed on purpose.
    let running = Options::before(&upstream).set("proxy.list_auto", false).start();
    let captures = captures();
    assert!(captures.len() >= 40, "{}", captures.len());
    for capture in captures {
        let raw = capture.raw.clone();
        upstream.script(move |_| vec![Step::Send(raw.clone())]);
        // Brainstem itself looks at this list, too: what the upstream got is then more than one request.
        let tags = capture.request.path == "/api/tags";
        upstream.tags_by_script(tags);
        upstream.forget();
        same(&capture, &running.send(&capture.request));
        upstream.tags_by_script(false);
        if !tags {
            got(&capture, &upstream);
        }
    }
}

#[test]
fn one_connection_carries_all_of_them() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("proxy.list_auto", false).start();
    let mut connection = running.connect();
    for capture in captures().into_iter().filter(|c| c.request.path != "/api/tags") {
        let raw = capture.raw.clone();
        upstream.script(move |_| vec![Step::Send(raw.clone())]);
        same(&capture, &connection.exchange(&capture.request));
    }
}

#[test]
fn replies_in_single_bytes_arrive_whole() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    for capture in captures() {
        if !matches!(
            &*capture.name,
            "20_chat_stream" | "31_v1_chat_stream_usage" | "21_chat_nostream" | "58_err_405"
        ) {
            continue;
        }
        let steps: Vec<Step> = capture.raw.iter().map(|byte| Step::Send(vec![*byte])).collect();
        upstream.steps(steps);
        same(&capture, &running.send(&capture.request));
    }
}

#[test]
fn auto_is_added_to_the_captured_lists_and_nothing_else_changes() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    for name in ["04_tags", "35_v1_models"] {
        let capture = captures().into_iter().find(|c| c.name == name).unwrap();
        let raw = capture.raw.clone();
        upstream.script(move |_| vec![Step::Send(raw.clone())]);
        upstream.tags_by_script(true);
        let reply = running.send(&capture.request);
        upstream.tags_by_script(false);
        let (_, _, body) = parsed(&capture.raw);
        let (before, added) = (String::from_utf8(body).unwrap(), reply.text());
        let close = before.rfind(']').unwrap();
        assert!(added.starts_with(&before[..close]) && added.ends_with(&before[close..]), "{added}");
        let entry = &added[close..added.len() - (before.len() - close)];
        let entry: serde_json::Value = serde_json::from_str(entry.strip_prefix(',').unwrap()).unwrap();
        assert_eq!(entry.get("name").or(entry.get("id")).unwrap(), "auto");
    }
}
