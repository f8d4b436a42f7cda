//! Somebody who would get past the gate, or hold what belongs to others.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::asks;
use crate::support::http::chunk;
use crate::support::upstream::{reply, stream_head};
use crate::support::{DEADLINE, Options, Request, Step, Upstream, eventually};

/// What a server says that has another protocol to switch to.
const SWITCHED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn nobody_switches_to_a_protocol_that_is_not_checked() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    let switching = |request: Request, protocol: &str| {
        request.header("Connection", "Upgrade").header("Upgrade", protocol)
    };
    let preflight = Request::new("OPTIONS", "/api/chat")
        .header("Origin", "https://evil.example")
        .header("Access-Control-Request-Method", "POST");
    let requests = [asks::chat("llama3.2", "explain the tides"), Request::get("/api/version"), preflight];
    for protocol in ["websocket", "h2c", "anything"] {
        for request in &requests {
            upstream.forget();
            upstream.script(|received| match received.header("upgrade") {
                Some(_) => vec![Step::Send(SWITCHED.to_vec()), Step::Hang],
                None => vec![Step::Send(reply(200, "application/json", b"{}"))],
            });
            let mut stream = TcpStream::connect(running.proxy).unwrap();
            let mut bytes = switching(request.clone(), protocol).bytes(running.proxy);
            bytes.extend_from_slice(b"DELETE /smuggled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(&bytes).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard);
            let heard = String::from_utf8_lossy(&heard).into_owned();
            assert!(heard.starts_with("HTTP/1.1 200 "), "{protocol} {}: {heard}", request.path);
            // What comes behind is a request like any other, not a stranger's bytes on that connection.
            for received in upstream.received() {
                assert_eq!(received.header("upgrade"), None, "{protocol}: {}", received.head);
                assert!(["/smuggled", &request.path].contains(&&*received.path), "{}", received.head);
            }
        }
    }
}

#[test]
fn who_takes_nothing_of_a_reply_is_left() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).set("limits.send_timeout", "1s").start();
    let line = "{\"model\":\"m\",\"response\":\"The moon\",\"done\":false}\n".repeat(20_000);
    let mut steps = vec![stream_head("application/x-ndjson")];
    steps.extend(std::iter::repeat_n(Step::Send(chunk(line.as_bytes())), 40));
    upstream.steps(steps);
    let mut silent = running.connect();
    silent.write(&asks::chat("llama3.2", "explain the tides").bytes(running.proxy));
    eventually(DEADLINE, "it is left", || {
        running.metric("refused_requests_total{reason=\"slow_reader\"}") == 1.0
            && running.metric("inflight_requests") == 0.0
    });
    // The upstream is free again for others, and saw it.
    upstream.left();
    // An upstream that thinks for longer than that is no fault of the reader's.
    upstream.steps(vec![
        Step::Wait(Duration::from_secs(2)),
        stream_head("application/x-ndjson"),
        Step::Send(chunk(b"{\"done\":false}\n")),
        Step::Wait(Duration::from_secs(2)),
        Step::Send([chunk(b"{\"done\":true}\n"), b"0\r\n\r\n".to_vec()].concat()),
    ]);
    let reply = running.chat("explain the tides");
    assert_eq!((reply.status, reply.text().lines().count()), (200, 2));
}
