//! The upstream: reads every request to its end, then answers. Whatever a gateway makes of a request, the text of its
//! message arrives, so that is where the wish for a stream stands.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};

use crate::now;

const COMPLETION: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Four."},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#;
const TAGS: &str = r#"{"models":[{"name":"m:latest","model":"m:latest"}]}"#;

/// What is kept of a body; the rest is counted only.
const KEPT: usize = 64 << 10;

pub(crate) async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (link, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A client that goes away in the middle is no event here.
            let _ = talk(link).await;
        });
    }
}

async fn talk(mut link: TcpStream) -> io::Result<()> {
    link.set_nodelay(true)?;
    let mut read = Vec::with_capacity(KEPT);
    while let Some((head, body)) = request(&mut link, &mut read).await? {
        if head.contains(" /api/tags ") {
            whole(&mut link, TAGS).await?;
        } else if let Some(wish) = Wish::read(&body) {
            stream(&mut link, &wish).await?;
        } else {
            whole(&mut link, COMPLETION).await?;
        }
    }
    Ok(())
}

// ---- requests ----

/// Reads one request; `read` holds what came beyond the last one. `None`: the connection has ended.
async fn request(link: &mut TcpStream, read: &mut Vec<u8>) -> io::Result<Option<(String, Vec<u8>)>> {
    let end = loop {
        if let Some(at) = memmem::find(read, b"\r\n\r\n") {
            break at + 4;
        }
        if link.read_buf(read).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
    read.drain(..end);
    if head.contains("expect: 100-continue") {
        link.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    if head.contains("transfer-encoding: chunked") {
        // Nobody here sends the next request before the reply, so the last chunk is the end of what came.
        while !read.ends_with(b"0\r\n\r\n") {
            if link.read_buf(read).await? == 0 {
                return Ok(None);
            }
        }
        return Ok(Some((head, std::mem::take(read))));
    }
    let length = head
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|n| n.trim().parse().ok());
    let mut missing: usize = length.unwrap_or(0);
    let mut body = Vec::with_capacity(missing.min(KEPT));
    loop {
        let here = missing.min(read.len());
        let kept = here.min(KEPT - body.len());
        body.extend_from_slice(&read[..kept]);
        read.drain(..here);
        missing -= here;
        if missing == 0 {
            return Ok(Some((head, body)));
        }
        if link.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

/// A stream as the text of a message asks for it.
struct Wish {
    chunks: usize,
    gap: Duration,
    hold: Duration,
}

impl Wish {
    fn read(body: &[u8]) -> Option<Self> {
        let start = memmem::find(body, b"[[n=")?;
        let end = start + memmem::find(&body[start..], b"]]")?;
        let text = std::str::from_utf8(&body[start + 2..end]).ok()?;
        let number = |name: &str| -> Option<u64> {
            text.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        Some(Self {
            chunks: number("n")?.try_into().ok()?,
            gap: Duration::from_millis(number("gap")?),
            hold: Duration::from_secs(number("hold")?),
        })
    }
}

// ---- replies ----

async fn whole(link: &mut TcpStream, body: &str) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
    link.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await
}

/// One event as a chunk of HTTP.
fn event(data: &str) -> String {
    format!("{:x}\r\ndata: {data}\n\n\r\n", data.len() + 8)
}

fn delta(delta: &str, finish: &str) -> String {
    event(&format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#
    ))
}

/// Each chunk says when it was written.
async fn stream(link: &mut TcpStream, wish: &Wish) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
    link.write_all(head.as_bytes()).await?;
    let mut due = Instant::now();
    for at in 0..wish.chunks {
        sleep_until(due).await;
        due += wish.gap;
        let role = if at == 0 { r#""role":"assistant","# } else { "" };
        link.write_all(delta(&format!(r#"{{{role}"content":"@{}@"}}"#, now()), "null").as_bytes()).await?;
    }
    sleep(wish.hold).await;
    let end = delta("{}", r#""stop""#) + &event("[DONE]") + "0\r\n\r\n";
    link.write_all(end.as_bytes()).await
}
