//! Clients that are slow, broken or hostile: they get a clear status or a close, hold no more than their share, and
//! neither the upstream's connections nor other clients notice.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::asks;
use crate::support::http::{Connection, chunk, find};
use crate::support::upstream::reply;
use crate::support::{DEADLINE, Options, Request, Running, Step, Upstream, eventually, hash};

const BODY: &str =
    r#"{"model":"llama3.2","messages":[{"role":"user","content":"explain the tides"}],"stream":false}"#;

/// What would be smuggled past a proxy that counts otherwise than its upstream.
const SMUGGLED: &str = "DELETE /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

/// A request line and `Host`, these header lines, and whatever follows.
fn post(headers: &str, rest: &str) -> Vec<u8> {
    format!("POST /api/chat HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{rest}").into_bytes()
}

fn chunks(body: &str) -> String {
    String::from_utf8(chunk(body.as_bytes())).unwrap() + "0\r\n\r\n"
}

/// Everything that the other side says until it closes, or says nothing more for a while.
fn hear(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    stream.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    let (mut all, mut piece) = (Vec::new(), [0; 16 * 1024]);
    let clock = Instant::now();
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return (all, true),
            Ok(n) => all.extend_from_slice(&piece[..n]),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                // Nothing yet on a busy machine is not nothing.
                if !all.is_empty() || clock.elapsed() > Duration::from_secs(4) {
                    return (all, false);
                }
            }
            Err(_) => return (all, true),
        }
    }
}

/// The statuses of the replies in what was heard, in order.
fn statuses(heard: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(heard);
    let heads = text.match_indices("HTTP/1.1 ").map(|(at, mark)| &text[at + mark.len()..]);
    heads.filter_map(|rest| rest.get(..3)?.parse().ok()).collect()
}

struct Probe {
    name: &'static str,
    bytes: Vec<u8>,
    /// What the replies must be; empty: closed, or nothing yet.
    statuses: &'static [u16],
}

fn probe(name: &'static str, bytes: Vec<u8>, statuses: &'static [u16]) -> Probe {
    Probe { name, bytes, statuses }
}

/// Ambiguous, broken and unusual framing. 200: it has one meaning, and went on in that one.
fn probes() -> Vec<Probe> {
    let len = BODY.len();
    let counted = |lines: &str| post(&format!("{lines}Content-Length: {len}\r\n"), BODY);
    let chunked = |lines: &str, body: &str| post(&format!("{lines}Transfer-Encoding: chunked\r\n"), body);
    let te = |value: &str| post(&format!("Transfer-Encoding: {value}\r\n"), &chunks(BODY));
    let cl = |value: &str| post(&format!("Content-Length: {value}\r\n"), BODY);
    let hex = format!("{len:x}");
    vec![
        probe("a good one", counted(""), &[200]),
        probe("chunks", chunked("", &chunks(BODY)), &[200]),
        // Both framings: the chunks count, the length is dropped, the connection ends.
        probe("TE and a length within", chunked("Content-Length: 4\r\n", &(chunks(BODY) + SMUGGLED)), &[200]),
        probe(
            "a length and TE",
            post(&format!("Content-Length: {len}\r\nTransfer-Encoding: chunked\r\n"), &chunks(BODY)),
            &[200],
        ),
        probe("two lengths", post(&format!("Content-Length: {len}\r\nContent-Length: 5\r\n"), BODY), &[400]),
        probe("two lengths in one", cl(&format!("{len}, 5")), &[400]),
        probe(
            "the same length twice",
            post(&format!("Content-Length: {len}\r\nContent-Length: {len}\r\n"), BODY),
            &[200],
        ),
        probe("the same length twice in one", cl(&format!("{len}, {len}")), &[200]),
        probe("a signed length", cl(&format!("+{len}")), &[400]),
        probe("a negative length", cl("-1"), &[400]),
        probe("a length in hex", cl(&format!("0x{hex}")), &[400]),
        probe("an endless length", cl("99999999999999999999999"), &[400]),
        probe("an empty length", cl(""), &[400]),
        probe("another coding", te("gzip"), &[400]),
        probe("chunked not last", te("chunked, identity"), &[400]),
        probe("nearly chunked", te("xchunked"), &[400]),
        probe(
            "chunked twice in two lines",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &chunks(BODY)),
            &[400],
        ),
        probe("a space before the colon", post("Transfer-Encoding : chunked\r\n", &chunks(BODY)), &[400]),
        probe(
            "TE in HTTP/1.0",
            format!("POST /api/chat HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunks(BODY))
                .into_bytes(),
            &[400],
        ),
        probe("a folded line", counted("X-Folded: one\r\n two\r\n"), &[400]),
        probe(
            "a folded TE",
            post(&format!("Content-Length: {len}\r\nTransfer-Encoding:\r\n chunked\r\n"), BODY),
            &[400],
        ),
        probe(
            "bare line feeds",
            format!("POST /api/chat HTTP/1.1\nHost: localhost\nContent-Length: {len}\n\n{BODY}").into_bytes(),
            &[200],
        ),
        probe("a bare carriage return", counted("X-A: b\rTransfer-Encoding: chunked\r\n"), &[400]),
        probe("a NUL", counted("X-A: b\0c\r\n"), &[400]),
        probe("a name with a space", counted("X A: b\r\n"), &[400]),
        probe("no name", counted(": b\r\n"), &[400]),
        probe("no colon", counted("Transfer-Encoding\r\n"), &[400]),
        probe(
            "chunk extensions",
            chunked("", &format!("{hex};a=b;c=\"d\"\r\n{BODY}\r\n0;e\r\n\r\n")),
            &[200],
        ),
        probe(
            "trailers",
            chunked("", &format!("{hex}\r\n{BODY}\r\n0\r\nContent-Length: 3\r\nX-A: b\r\n\r\n")),
            &[200],
        ),
        probe("no chunk size", chunked("", "zz\r\n\r\n0\r\n\r\n"), &[400]),
        probe("a negative chunk", chunked("", &format!("-5\r\n{BODY}\r\n0\r\n\r\n")), &[400]),
        probe("an endless chunk", chunked("", &format!("fffffffffffffffff\r\n{BODY}\r\n0\r\n\r\n")), &[400]),
        probe("a chunk size in 0x", chunked("", &format!("0x{hex}\r\n{BODY}\r\n0\r\n\r\n")), &[400]),
        probe("a chunk without its end", chunked("", &format!("5\r\n{BODY}\r\n0\r\n\r\n")), &[400]),
        probe("two hosts", counted("Host: evil.example\r\n"), &[400]),
        probe("no version", b"GET /api/version\r\n\r\n".to_vec(), &[400]),
        probe("a version to come", b"GET /api/version HTTP/3.0\r\nHost: localhost\r\n\r\n".to_vec(), &[400]),
        probe("HTTP/2 without asking", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[400]),
        probe(
            "a tunnel",
            b"CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example:80\r\n\r\n".to_vec(),
            &[405],
        ),
        probe("TLS to a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(40), &[400]),
        probe(
            "header lines without end",
            counted(&"X-Bomb: aaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(3_000)),
            &[400],
        ),
        probe("a header line of 400 KB", counted(&format!("X-Bomb: {}\r\n", "a".repeat(400_000))), &[431]),
        probe("a header line of 3 MB", counted(&format!("X-Bomb: {}\r\n", "a".repeat(3_000_000))), &[400]),
        probe("two requests at once", [counted(""), counted("")].concat(), &[200, 200]),
        probe("a request behind a bad one", [cl("-1"), SMUGGLED.into()].concat(), &[400]),
    ]
}

#[test]
fn framing_has_one_meaning_or_none() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let mut wrong = Vec::new();
    for Probe { name, bytes, statuses: expected } in probes() {
        upstream.forget();
        let mut stream = TcpStream::connect(running.proxy).unwrap();
        let mut writer = stream.try_clone().unwrap();
        // A proxy that has heard enough closes before all is sent.
        let sent = std::thread::spawn(move || writer.write_all(&bytes).is_ok());
        let (heard, closed) = hear(&mut stream);
        let _ = stream.shutdown(Shutdown::Both);
        let _ = sent.join();
        let got = statuses(&heard);
        if got != expected {
            wrong.push(format!("{name}: {got:?} instead of {expected:?}, closed: {closed}"));
        }
        for received in upstream.received() {
            let framings = ["content-length:", "transfer-encoding:"].map(|framing| {
                received
                    .head
                    .to_ascii_lowercase()
                    .split("\r\n")
                    .filter(|line| line.starts_with(framing))
                    .count()
            });
            let plain = received.header("content-length").is_none_or(|said| said.parse::<usize>().is_ok());
            let good = received.path == "/api/chat" && received.method == "POST" && plain;
            if !good
                || !received.whole
                || framings.iter().sum::<usize>() != 1
                || received.body != BODY.as_bytes()
            {
                wrong.push(format!("{name}: the upstream was sent {received:?}"));
            }
        }
        if upstream.count() != expected.iter().filter(|status| **status == 200).count() {
            wrong.push(format!("{name}: the upstream saw {} requests", upstream.count()));
        }
        // The next client gets its own answer.
        upstream.script(|received| {
            let own = received.header("x-own").unwrap_or("none").to_owned();
            vec![Step::Send(reply(200, "application/json", own.as_bytes()))]
        });
        let next = running.send(&asks::chat("llama3.2", "explain the tides").header("x-own", name));
        if (next.status, next.text()) != (200, name) {
            wrong.push(format!("{name}: the next client got {next:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eventually(DEADLINE, "nothing is in flight", || running.metric("inflight_requests") == 0.0);
}

#[test]
fn who_sends_ahead_gets_each_reply_in_turn() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    upstream.script(|received| {
        let said = received.header("x-own").unwrap_or("none").to_owned();
        vec![
            Step::Wait(Duration::from_millis(30)),
            Step::Send(reply(200, "application/json", said.as_bytes())),
        ]
    });
    let ask = |own: &str| asks::chat("llama3.2", "explain the tides").header("x-own", own);
    let big =
        Request::post("/api/chat", json!({"model": "llama3.2", "prompt": "x".repeat(200_000)}).to_string());
    let all = [
        ask("first"),
        asks::chat("llama3.2", "hello"),
        big.header("x-own", "second"),
        Request::get("/api/version").header("x-own", "third"),
        ask("fourth").chunked(10),
    ];
    let bytes: Vec<u8> = all.iter().flat_map(|request| request.bytes(running.proxy)).collect();
    for piece in [bytes.len(), 1000, 77] {
        let mut connection = running.connect();
        let mut writer = connection.stream.try_clone().unwrap();
        let pieces: Vec<Vec<u8>> = bytes.chunks(piece).map(<[u8]>::to_vec).collect();
        let sent =
            std::thread::spawn(move || pieces.iter().for_each(|piece| writer.write_all(piece).unwrap()));
        let heard: Vec<String> = all
            .iter()
            .map(|request| {
                let reply = connection.reply(&request.method);
                assert_eq!(reply.status, 200);
                if reply.route() == "local" { "local".to_owned() } else { reply.text().to_owned() }
            })
            .collect();
        assert_eq!(heard, ["first", "local", "second", "third", "fourth"], "in pieces of {piece}");
        sent.join().unwrap();
    }
}

#[test]
fn slow_headers_end_by_their_deadline() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("limits.header_timeout", "2s").start();
    // A byte now and then, on many connections; and some that say nothing at all.
    let mut slow: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(running.proxy).unwrap()).collect();
    let clock = Instant::now();
    let head = post("X-Slow: ", "");
    let mut at = 0;
    while clock.elapsed() < Duration::from_secs(4) {
        for stream in &mut slow[..40] {
            let _ = stream.write(&head[at % head.len()..=at % head.len()]);
        }
        at = (at + 1).min(head.len() - 5);
        assert_eq!(running.chat("hello").route(), "local");
        std::thread::sleep(Duration::from_millis(50));
    }
    for stream in &mut slow {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "nobody was answered");
    }
    assert!(clock.elapsed() < Duration::from_secs(20), "{:?}", clock.elapsed());
    assert_eq!(running.metric("refused_requests_total{reason=\"slow_headers\"}"), 60.0);
    assert_eq!(upstream.count(), 0);
    // A reply may take longer than a header.
    upstream
        .steps(vec![Step::Wait(Duration::from_secs(3)), Step::Send(reply(200, "application/json", b"{}"))]);
    assert_eq!(running.chat("explain the tides").status, 200);
}

#[test]
fn slow_bodies_end_by_their_deadline() {
    let upstream = Upstream::start();
    let options =
        Options::before(&upstream).set("limits.body_deadline", "1s").set("limits.max_inspect", "1KiB");
    let running = options.start();
    let long = format!("Content-Length: {}\r\n", 100_000);
    let counted = format!("Content-Length: {}\r\n", 1000);
    // Read here; passed on as it comes; in chunks.
    for headers in [&*counted, &*long, "Transfer-Encoding: chunked\r\n"] {
        let mut stream = TcpStream::connect(running.proxy).unwrap();
        stream.write_all(&post(headers, "")).unwrap();
        let clock = Instant::now();
        let mut writer = stream.try_clone().unwrap();
        let is_chunked = headers.starts_with("Transfer");
        let dripping = std::thread::spawn(move || {
            let piece: &[u8] = if is_chunked { b"1\r\nx\r\n" } else { b"x" };
            while writer.write_all(piece).is_ok() && clock.elapsed() < Duration::from_secs(15) {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut heard = [0; 12];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"HTTP/1.1 408", "{headers}");
        assert!(clock.elapsed() < Duration::from_secs(10), "{:?}", clock.elapsed());
        let _ = stream.shutdown(Shutdown::Both);
        dripping.join().unwrap();
    }
    assert_eq!(running.metric("refused_requests_total{reason=\"slow_body\"}"), 3.0);
    eventually(DEADLINE, "nothing is held", || running.metric("inflight_body_bytes") == 0.0);
    assert!(upstream.received().iter().all(|received| !received.whole), "no half a request counts as one");
}

#[test]
fn who_leaves_early_leaves_nothing_behind() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let whole =
        Request::post("/api/chat", BODY.replace("tides", &"tides ".repeat(20_000))).bytes(running.proxy);
    let head = find(&whole, b"\r\n\r\n").unwrap();
    for cut in [3, head / 2, head, head + 4, head + 100, head + 70_000, whole.len() - 1] {
        for half_closed in [false, true] {
            let mut stream = TcpStream::connect(running.proxy).unwrap();
            stream.write_all(&whole[..cut]).unwrap();
            if half_closed {
                stream.shutdown(Shutdown::Write).unwrap();
                let (heard, closed) = hear(&mut stream);
                assert!(closed && statuses(&heard).iter().all(|status| *status == 400), "{cut}: {heard:?}");
            }
        }
    }
    eventually(DEADLINE, "nothing is in flight", || {
        running.metric("inflight_requests") == 0.0 && running.metric("inflight_body_bytes") == 0.0
    });
    assert!(upstream.received().iter().all(|received| !received.whole));
    // The one that goes through is the one that was whole.
    upstream.forget();
    let mut connection = Connection::open(running.proxy);
    connection.write(&whole);
    assert_eq!(connection.reply("POST").status, 200);
    assert!(upstream.only().whole);
}

#[test]
fn a_flood_of_idle_connections_keeps_nobody_out() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let idle: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(running.proxy).unwrap()).collect();
    for surface in asks::ALL {
        assert_eq!(
            running.send(&surface.request(&surface.body("llama3.2", "explain the tides"))).status,
            200
        );
    }
    assert_eq!(running.chat("hello").route(), "local");
    drop(idle);
}

#[cfg(target_os = "linux")]
#[test]
fn bodies_of_100_mb_stay_within_bounds() {
    const LARGE: usize = 100 * 1000 * 1000;
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let body = vec![b'x'; LARGE];
    // An ask: refused by its length, or as soon as there is too much of it.
    let refused = running.send(&Request::post("/api/chat", body.clone()));
    assert_eq!(refused.status, 413);
    let refused = running.send(&Request::post("/api/chat", body.clone()).chunked(64 * 1024));
    assert_eq!(refused.status, 413);
    // What is no ask has no limit.
    upstream.forget();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                assert_eq!(running.send(&Request::post("/api/blobs/sha256:00", body.clone())).status, 200)
            });
        }
    });
    let expected = hash(&body);
    let blobs: Vec<_> =
        upstream.received().into_iter().filter(|r| r.path.starts_with("/api/blobs")).collect();
    let whole = blobs.iter().filter(|r| (r.len, r.hash) == (LARGE, expected)).count();
    assert_eq!((blobs.len(), whole), (2, 2), "as it was sent");
    assert!(most_memory(&running) < 160 * 1024, "{} kB", most_memory(&running));
    assert_eq!(running.metric("inflight_body_bytes"), 0.0);
}

/// The most memory that it ever had, in kB.
fn most_memory(running: &Running) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
