//! Stopped and replaced under load: no stream is cut, no request lost.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::asks::Surface;
use crate::support::http::{Connection, End};
use crate::support::upstream::stream;
use crate::support::{DEADLINE, Options, Request, Running, Upstream, eventually};

fn streams() -> usize {
    std::env::var("FAULTS_STREAMS").map_or(100, |n| n.parse().unwrap())
}

fn question() -> Request {
    Surface::Chat.request(&Surface::Chat.with("llama3.2", "explain the tides", json!({"stream": true})))
}

/// A stream that takes that long in all.
fn long(upstream: &Upstream, lasting: Duration) -> String {
    let mut lines: Vec<String> = (0..19).map(|i| format!("{{\"line\":{i},\"done\":false}}\n")).collect();
    lines.push("{\"done\":true}\n".to_owned());
    upstream.steps(stream("application/x-ndjson", &lines, lasting / 20));
    lines.concat()
}

/// Runs that many streams at a proxy and `meanwhile` beside them once all have begun; every one must end whole.
fn whole_through(proxy: SocketAddr, upstream: &Upstream, expected: &str, meanwhile: impl FnOnce()) {
    let begun = AtomicUsize::new(0);
    let count = streams();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(proxy);
                    connection.write(&question().bytes(proxy));
                    connection.reply_head();
                    begun.fetch_add(1, Ordering::SeqCst);
                    let mut text = Vec::new();
                    while let Some(piece) = connection.next_chunk().unwrap() {
                        text.extend_from_slice(&piece);
                    }
                    String::from_utf8(text).unwrap()
                })
            })
            .collect();
        eventually(DEADLINE, "all streams run", || begun.load(Ordering::SeqCst) == count);
        assert!(upstream.count() >= count);
        meanwhile();
        for stream in running {
            assert_eq!(stream.join().unwrap(), expected);
        }
    });
}

#[test]
fn a_stop_lets_streams_finish() {
    let upstream = Upstream::start();
    let mut running = Options::before(&upstream).set("proxy.grace", "60s").start();
    let expected = long(&upstream, Duration::from_secs(8));
    let (proxy, pid) = (running.proxy, running.child.id());
    whole_through(proxy, &upstream, &expected, || {
        crate::signal(pid, "TERM");
        eventually(DEADLINE, "nobody new is let in", || std::net::TcpStream::connect(proxy).is_err());
    });
    let clock = Instant::now();
    assert!(running.ended(DEADLINE).success());
    assert!(clock.elapsed() < Duration::from_secs(20), "it does not sit out its grace");
}

#[test]
fn a_stop_waits_no_longer_than_it_may() {
    let upstream = Upstream::start();
    let mut running = Options::before(&upstream).set("proxy.grace", "1s").start();
    long(&upstream, Duration::from_secs(600));
    let mut connection = running.connect();
    connection.write(&question().bytes(running.proxy));
    connection.reply_head();
    let clock = Instant::now();
    running.signal("TERM");
    running.ended(DEADLINE);
    assert!(clock.elapsed() < Duration::from_secs(20), "{:?}", clock.elapsed());
}

/// An address that is free now and named in both configs.
fn port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn an_upgrade_cuts_no_stream_and_refuses_no_request() {
    let upstream = Upstream::start();
    let dir = tempfile::tempdir().unwrap();
    let sock = dir.path().join("upgrade.sock").display().to_string();
    let (proxy, admin) = (port(), port());
    let options = || {
        let options =
            Options::before(&upstream).set("proxy.grace", "60s").set("proxy.upgrade_sock", sock.as_str());
        options.at(proxy, admin)
    };
    let mut old = options().start();
    let pid = old.child.id();
    let expected = long(&upstream, Duration::from_secs(16));
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let new: std::sync::Mutex<Option<Running>> = std::sync::Mutex::default();
    std::thread::scope(|scope| {
        whole_through(proxy, &upstream, &expected, || {
            // Others come and go all the while, each on a connection of its own.
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::SeqCst) {
                        let reply =
                            crate::support::send(proxy, &crate::support::asks::chat("llama3.2", "hello"));
                        assert_eq!((reply.status, reply.route(), reply.end), (200, "local", End::Length));
                        served.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(3));
                    }
                });
            }
            let taking = scope.spawn(|| options().upgrading().start());
            eventually(DEADLINE, "the new one waits", || std::path::Path::new(&sock).exists());
            crate::signal(pid, "QUIT");
            *new.lock().unwrap() = Some(taking.join().unwrap());
        });
        let ended = old.ended(Duration::from_secs(60));
        assert!(ended.success(), "{ended}");
        let before = served.load(Ordering::SeqCst);
        eventually(DEADLINE, "the new one serves alone", || served.load(Ordering::SeqCst) > before + 20);
        stop.store(true, Ordering::SeqCst);
    });
    assert!(new.lock().unwrap().as_ref().unwrap().metric("requests_total{category=\"fast\",code=\"200\",decided_by=\"rule\",dialect=\"ollama\",route=\"local\"}") > 20.0);
}
