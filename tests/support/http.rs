//! Raw HTTP/1.1: requests as bytes, replies with nothing smoothed over.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::DEADLINE;

/// A request to be.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Vec<u8>>,
    /// Size of a chunk; `None`: Content-Length.
    pub(crate) chunked: Option<usize>,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self { method: method.into(), path: path.into(), headers: Vec::new(), body: None, chunked: None }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", path).body(body)
    }

    pub(crate) fn json(path: &str, body: &serde_json::Value) -> Self {
        Self::post(path, body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn at_path(mut self, path: &str) -> Self {
        self.path = path.into();
        self
    }

    pub(crate) fn chunked(mut self, size: usize) -> Self {
        self.chunked = Some(size);
        self
    }

    pub(crate) fn head(&self, host: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let named = |name: &str| self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        if !named("host") {
            head += &format!("Host: {host}\r\n");
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        match (&self.body, self.chunked) {
            (Some(_), Some(_)) => head += "Transfer-Encoding: chunked\r\n",
            (Some(body), None) if !named("content-length") => {
                head += &format!("Content-Length: {}\r\n", body.len());
            }
            _ => {}
        }
        (head + "\r\n").into_bytes()
    }

    /// Head and body as they go over the wire.
    pub(crate) fn bytes(&self, host: SocketAddr) -> Vec<u8> {
        let mut bytes = self.head(host);
        let Some(body) = &self.body else { return bytes };
        match self.chunked {
            None => bytes.extend_from_slice(body),
            Some(size) => {
                body.chunks(size).for_each(|piece| bytes.extend_from_slice(&chunk(piece)));
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
        }
        bytes
    }
}

/// One chunk of a chunked body.
pub(crate) fn chunk(piece: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", piece.len()).into_bytes();
    out.extend_from_slice(piece);
    out.extend_from_slice(b"\r\n");
    out
}

/// Where a reply's body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It has none by its status or the request's method.
    NoBody,
    /// After Content-Length bytes.
    Length,
    /// With the last chunk.
    LastChunk,
    /// With the connection, as HTTP/1.0 does.
    Close,
    /// Before its time: reset, or closed inside a body.
    Broken,
}

/// A reply, its body without framing.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn value(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    pub(crate) fn route(&self) -> &str {
        self.header("x-brainstem-route").unwrap_or("-")
    }

    pub(crate) fn guard(&self) -> &str {
        self.header("x-brainstem-guard").unwrap_or("-")
    }

    pub(crate) fn category(&self) -> &str {
        self.header("x-brainstem-category").unwrap_or("-")
    }
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    address: SocketAddr,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { stream, address, buffer: Vec::new() }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a request while its reply is awaited, so that an early reply is no deadlock; a connection
    /// that stops taking the request is no error as long as a reply comes.
    pub(crate) fn exchange(&mut self, request: &Request) -> Reply {
        let bytes = request.bytes(self.address);
        let mut writer = self.stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            let sent = scope.spawn(move || writer.write_all(&bytes));
            let reply = self.reply(&request.method);
            if let (Err(error), End::Broken) = (sent.join().unwrap(), reply.end) {
                panic!("neither sent ({error}) nor answered: {reply:?}");
            }
            reply
        })
    }

    /// A whole reply.
    #[track_caller]
    pub(crate) fn reply(&mut self, method: &str) -> Reply {
        let mut reply = self.reply_head();
        while (100..200).contains(&reply.status) {
            reply = self.reply_head();
        }
        reply.end = self.body_of(&reply, method).map_or(End::Broken, |(body, end)| {
            reply.body = body;
            end
        });
        reply
    }

    /// A reply's head, a 100 Continue too.
    #[track_caller]
    pub(crate) fn reply_head(&mut self) -> Reply {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            match self.fill() {
                Ok(0) => panic!("closed before a reply: {:?}", String::from_utf8_lossy(&self.buffer)),
                Ok(_) => {}
                Err(e) => panic!("no reply: {e}; so far {:?}", String::from_utf8_lossy(&self.buffer)),
            }
        };
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        self.buffer.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap().splitn(3, ' ');
        assert_eq!(first.next(), Some("HTTP/1.1"), "{head}");
        let status = first.next().unwrap().parse().unwrap();
        let reason = first.next().unwrap_or("").to_owned();
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap();
                (name.to_owned(), value.trim().to_owned())
            })
            .collect();
        Reply { status, reason, headers, body: Vec::new(), end: End::NoBody }
    }

    /// The body that belongs to a head.
    fn body_of(&mut self, head: &Reply, method: &str) -> std::io::Result<(Vec<u8>, End)> {
        if method == "HEAD" || head.status == 204 || head.status == 304 {
            return Ok((Vec::new(), End::NoBody));
        }
        let mut body = Vec::new();
        if head.header("transfer-encoding").is_some_and(|t| t.eq_ignore_ascii_case("chunked")) {
            while let Some(piece) = self.next_chunk()? {
                body.extend_from_slice(&piece);
            }
            return Ok((body, End::LastChunk));
        }
        if let Some(length) = head.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length {
                if self.fill()? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
            return Ok((self.buffer.drain(..length).collect(), End::Length));
        }
        while self.fill()? > 0 {}
        Ok((std::mem::take(&mut self.buffer), End::Close))
    }

    /// One chunk's content; `None` for the last one.
    pub(crate) fn next_chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let line = loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                break at;
            }
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        };
        let size =
            std::str::from_utf8(&self.buffer[..line]).ok().and_then(|s| usize::from_str_radix(s, 16).ok());
        let size = size.ok_or_else(|| std::io::Error::other("no chunk size"))?;
        while self.buffer.len() < line + 2 + size + 2 {
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let piece = self.buffer[line + 2..line + 2 + size].to_vec();
        self.buffer.drain(..line + 2 + size + 2);
        Ok((size > 0).then_some(piece))
    }

    /// Reads chunks until the end and says when each came.
    pub(crate) fn chunks_with_times(&mut self) -> Vec<(Instant, Vec<u8>)> {
        let mut all = Vec::new();
        while let Ok(Some(piece)) = self.next_chunk() {
            all.push((Instant::now(), piece));
        }
        all
    }

    fn fill(&mut self) -> std::io::Result<usize> {
        let mut piece = [0; 64 * 1024];
        let n = loop {
            match self.stream.read(&mut piece) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.buffer.extend_from_slice(&piece[..n]);
        Ok(n)
    }

    /// Whether the other side closes, with nothing more to say.
    pub(crate) fn closes(&mut self) -> bool {
        self.buffer.is_empty() && matches!(self.fill(), Ok(0))
    }

    /// Leaves at once.
    pub(crate) fn leave(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// One request on a connection of its own.
#[track_caller]
pub(crate) fn send(address: SocketAddr, request: &Request) -> Reply {
    Connection::open(address).exchange(request)
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
