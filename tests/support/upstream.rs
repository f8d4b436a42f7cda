//! An upstream that does what it is told, byte by byte, and writes down what it was sent.

use std::hash::{DefaultHasher, Hasher};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::http::{chunk, find};
use super::{DEADLINE, eventually};

/// What is kept of a body; its hash covers all of it.
const KEPT: usize = 4 * 1024 * 1024;

/// What the upstream does after a request came in.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Writes exactly this.
    Send(Vec<u8>),
    /// Waits, unless the other side leaves before.
    Wait(Duration),
    /// Says nothing more until the other side leaves.
    Hang,
    /// Closes, as HTTP allows.
    Close,
    /// Breaks the connection off with a reset.
    Reset,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// All bytes up to the empty line.
    pub(crate) head: String,
    pub(crate) method: String,
    pub(crate) path: String,
    /// The body without framing, up to [`KEPT`].
    pub(crate) body: Vec<u8>,
    pub(crate) len: usize,
    pub(crate) hash: u64,
    /// It came in chunks.
    pub(crate) chunked: bool,
    /// The body came as its framing promised.
    pub(crate) whole: bool,
    /// When each [`Step::Send`] was begun.
    pub(crate) sent: Vec<Instant>,
    /// When the other side was seen to leave during the script.
    pub(crate) left: Option<Instant>,
    /// Which connection it came on, counted from 1.
    pub(crate) connection: usize,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Script = Arc<dyn Fn(&Received) -> Vec<Step> + Send + Sync>;

struct Shared {
    script: Mutex<Script>,
    /// `None`: `/api/tags` is answered 404, so the list stays unknown.
    models: Mutex<Option<Vec<String>>>,
    /// `None`: looks at `/api/ps` are answered 404, so what is in memory stays unknown.
    memory: Mutex<Option<Vec<String>>>,
    /// The script answers `/api/tags`, too.
    tags_by_script: AtomicBool,
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    stop: AtomicBool,
}

/// A scripted upstream on a port of its own.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Lists the model `llama3.2` and answers every other request with [`ok`].
    pub(crate) fn start() -> Self {
        Self::at("127.0.0.1:0")
    }

    pub(crate) fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let script: Script = Arc::new(|_| ok());
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            models: Mutex::new(Some(vec!["llama3.2:latest".into()])),
            memory: Mutex::new(None),
            tags_by_script: AtomicBool::new(false),
            received: Mutex::default(),
            connections: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = accepting.clone();
                let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
                std::thread::spawn(move || Served { stream, shared, number, buffer: Vec::new() }.run());
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it does from now on.
    pub(crate) fn script(&self, script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    /// The same steps for every request.
    pub(crate) fn steps(&self, steps: Vec<Step>) {
        self.script(move |_| steps.clone());
    }

    pub(crate) fn models(&self, models: Option<&[&str]>) {
        *self.shared.models.lock().unwrap() =
            models.map(|models| models.iter().map(|m| (*m).to_owned()).collect());
    }

    /// What it says it has in memory.
    pub(crate) fn memory(&self, models: Option<&[&str]>) {
        *self.shared.memory.lock().unwrap() =
            models.map(|models| models.iter().map(|m| (*m).to_owned()).collect());
    }

    /// Whether the script answers `/api/tags`, too.
    pub(crate) fn tags_by_script(&self, it_does: bool) {
        self.shared.tags_by_script.store(it_does, Ordering::SeqCst);
    }

    /// All requests so far, looks at the list of models left out.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.received.lock().unwrap().len()
    }

    /// Forgets what came.
    pub(crate) fn forget(&self) {
        self.shared.received.lock().unwrap().clear();
    }

    /// The only request so far.
    #[track_caller]
    pub(crate) fn only(&self) -> Received {
        let all = self.received();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.into_iter().next().unwrap()
    }

    #[track_caller]
    pub(crate) fn last(&self) -> Received {
        self.received().pop().expect("a request")
    }

    /// When the other side left the last request.
    #[track_caller]
    pub(crate) fn left(&self) -> Instant {
        eventually(DEADLINE, "the upstream sees the close", || {
            self.received().last().is_some_and(|r| r.left.is_some())
        });
        self.last().left.unwrap()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_millis(200));
    }
}

/// One connection.
struct Served {
    stream: TcpStream,
    shared: Arc<Shared>,
    number: usize,
    buffer: Vec<u8>,
}

impl Served {
    fn run(mut self) {
        self.stream.set_nodelay(true).unwrap();
        // Errors: the other side is gone, and what it sent is written down.
        while let Ok(Some(received)) = self.request() {
            if self.shared.stop.load(Ordering::SeqCst) {
                return;
            }
            if received.method == "GET" && received.path == "/api/tags" && self.look() {
                continue;
            }
            // The proxy's own look; what a client asks is the script's.
            let looks = received.header("user-agent").is_some_and(|agent| agent.starts_with("brainstem/"));
            if looks && received.path == "/api/ps" {
                let memory = self.shared.memory.lock().unwrap().clone();
                if self.list(memory).is_err() {
                    return;
                }
                continue;
            }
            let script = self.shared.script.lock().unwrap().clone();
            let steps = script(&received);
            let index = {
                let mut all = self.shared.received.lock().unwrap();
                all.push(received.clone());
                all.len() - 1
            };
            if !received.whole || !self.play(index, steps) {
                return;
            }
        }
    }

    /// Answers a look at the list of models; `false` if the script is to answer it, or nobody listens.
    fn look(&mut self) -> bool {
        if self.shared.tags_by_script.load(Ordering::SeqCst) {
            return false;
        }
        let models = self.shared.models.lock().unwrap().clone();
        self.list(models).is_ok()
    }

    /// A list of models; `None` is answered 404.
    fn list(&mut self, models: Option<Vec<String>>) -> std::io::Result<()> {
        let Some(models) = models else {
            return self.stream.write_all(&reply(404, "text/plain", b"404 page not found"));
        };
        let list: Vec<_> = models.iter().map(|m| serde_json::json!({"name": m, "model": m})).collect();
        let body = serde_json::json!({ "models": list }).to_string();
        self.stream.write_all(&reply(200, "application/json; charset=utf-8", body.as_bytes()))
    }

    /// The next request; `None` when the other side has closed.
    fn request(&mut self) -> std::io::Result<Option<Received>> {
        self.stream.set_read_timeout(None)?;
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let mut received = Received {
            method: method.to_owned(),
            path: path.to_owned(),
            head: String::new(),
            body: Vec::new(),
            len: 0,
            hash: 0,
            chunked: false,
            whole: true,
            sent: Vec::new(),
            left: None,
            connection: self.number,
        };
        received.head = head;
        if received.header("expect").is_some() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut hasher = DefaultHasher::new();
        received.chunked = received.header("transfer-encoding").is_some();
        let length = received.header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
        let done = if received.chunked {
            self.chunked(&mut received, &mut hasher)
        } else {
            self.counted(length, &mut received, &mut hasher)
        };
        received.whole = done.is_ok();
        received.hash = hasher.finish();
        Ok(Some(received))
    }

    fn counted(
        &mut self,
        mut left: usize,
        to: &mut Received,
        hash: &mut DefaultHasher,
    ) -> std::io::Result<()> {
        while left > 0 {
            if self.buffer.is_empty() && self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let n = left.min(self.buffer.len());
            take(&mut self.buffer, n, to, hash);
            left -= n;
        }
        Ok(())
    }

    fn chunked(&mut self, to: &mut Received, hash: &mut DefaultHasher) -> std::io::Result<()> {
        loop {
            let line = loop {
                if let Some(at) = find(&self.buffer[..self.buffer.len().min(32)], b"\r\n") {
                    break at;
                }
                if self.fill()? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            };
            let digits = String::from_utf8_lossy(&self.buffer[..line]).into_owned();
            let size = usize::from_str_radix(&digits, 16).map_err(std::io::Error::other)?;
            self.buffer.drain(..line + 2);
            self.counted(size, to, hash)?;
            while self.buffer.len() < 2 {
                if self.fill()? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
            self.buffer.drain(..2);
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn fill(&mut self) -> std::io::Result<usize> {
        let mut piece = [0; 64 * 1024];
        let n = self.stream.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..n]);
        Ok(n)
    }

    /// Plays the script; `false` if the connection is over.
    fn play(&mut self, index: usize, steps: Vec<Step>) -> bool {
        for step in steps {
            match step {
                Step::Send(bytes) => {
                    self.note(index, |received| received.sent.push(Instant::now()));
                    if self.stream.write_all(&bytes).is_err() {
                        self.note(index, |received| received.left = Some(Instant::now()));
                        return false;
                    }
                }
                Step::Wait(time) => {
                    if self.is_left(Some(time)) {
                        self.note(index, |received| received.left = Some(Instant::now()));
                        return false;
                    }
                }
                Step::Hang => {
                    self.is_left(None);
                    self.note(index, |received| received.left = Some(Instant::now()));
                    return false;
                }
                Step::Close => return false,
                Step::Reset => {
                    // Data that was sent and not read would be lost with the reset: let it arrive.
                    std::thread::sleep(Duration::from_millis(20));
                    reset(&self.stream);
                    return false;
                }
            }
        }
        true
    }

    /// Whether the other side leaves within that time.
    fn is_left(&mut self, time: Option<Duration>) -> bool {
        let until = time.map(|time| Instant::now() + time);
        loop {
            let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
            if rest.is_some_and(|rest| rest.is_zero()) {
                return false;
            }
            self.stream.set_read_timeout(rest).unwrap();
            match self.fill() {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
    }

    fn note(&self, index: usize, what: impl FnOnce(&mut Received)) {
        if let Some(received) = self.shared.received.lock().unwrap().get_mut(index) {
            what(received);
        }
    }
}

fn take(buffer: &mut Vec<u8>, n: usize, to: &mut Received, hash: &mut DefaultHasher) {
    hash.write(&buffer[..n]);
    to.len += n;
    let room = KEPT.saturating_sub(to.body.len()).min(n);
    to.body.extend_from_slice(&buffer[..room]);
    buffer.drain(..n);
}

/// Makes the close a reset. The standard library cannot say so yet; tokio can.
fn reset(stream: &TcpStream) {
    let stream = stream.try_clone().unwrap();
    stream.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _inside = runtime.enter();
    tokio::net::TcpStream::from_std(stream).unwrap().set_zero_linger().unwrap();
}

/// A whole reply with Content-Length.
pub(crate) fn reply(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

/// The words of [`ok`]; only the upstream says them.
pub(crate) const SAID: &str = "upstream speaking";

/// A reply that is good enough for every path.
pub(crate) fn ok() -> Vec<Step> {
    let body = format!(
        r#"{{"model":"m","message":{{"role":"assistant","content":"{SAID}"}},"done":true,"done_reason":"stop"}}"#
    );
    vec![Step::Send(reply(200, "application/json; charset=utf-8", body.as_bytes()))]
}

/// The head of a chunked stream.
pub(crate) fn stream_head(content_type: &str) -> Step {
    Step::Send(
        format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n")
            .into_bytes(),
    )
}

/// A chunked stream: each line a chunk, that long after the one before.
pub(crate) fn stream(content_type: &str, lines: &[String], gap: Duration) -> Vec<Step> {
    let mut steps = vec![stream_head(content_type)];
    for line in lines {
        steps.extend([Step::Wait(gap), Step::Send(chunk(line.as_bytes()))]);
    }
    steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
    steps
}
