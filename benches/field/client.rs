//! The client: many streams at once, each chunk's arrival held against the time that stands in it.

use std::io::Read as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{Streams, now};

/// How many streams are on their way to their first chunk at a time, when they are to be held.
const OPENING: usize = 32;

pub(crate) async fn run(wish: &Streams) -> anyhow::Result<()> {
    let request: Rc<[u8]> = std::fs::read(&wish.request).context("the request cannot be read")?.into();
    LocalSet::new()
        .run_until(async { if wish.hold { hold(wish, &request).await } else { time(wish, &request).await } })
        .await
}

/// What was seen of one stream, in nanoseconds.
#[derive(Default)]
struct Seen {
    sent: i64,
    /// When each chunk was written and when it had come.
    chunks: Vec<(i64, i64)>,
    complete: bool,
}

/// One stream's connection, and what has come of a chunk that is not whole.
struct Stream {
    link: TcpStream,
    rest: Vec<u8>,
    seen: Seen,
}

impl Stream {
    async fn open(to: SocketAddr) -> std::io::Result<Self> {
        let link = TcpStream::connect(to).await?;
        link.set_nodelay(true)?;
        Ok(Self { link, rest: Vec::with_capacity(8 << 10), seen: Seen::default() })
    }

    async fn send(&mut self, request: &[u8]) -> std::io::Result<()> {
        self.seen.sent = now();
        self.link.write_all(request).await
    }

    /// Reads once. False: nothing more will come.
    async fn read(&mut self) -> bool {
        if !matches!(self.link.read_buf(&mut self.rest).await, Ok(1..)) {
            return false;
        }
        let came = now();
        let mut done = 0;
        // @NANOSECONDS@
        while let Some(start) = memchr::memchr(b'@', &self.rest[done..]).map(|at| done + at + 1) {
            let Some(end) = memchr::memchr(b'@', &self.rest[start..]).map(|at| start + at) else { break };
            let written =
                std::str::from_utf8(&self.rest[start..end]).ok().and_then(|digits| digits.parse().ok());
            self.seen.chunks.extend(written.map(|written: i64| (written, came)));
            done = end + 1;
        }
        if memmem::find(&self.rest[done..], b"[DONE]").is_some() {
            self.seen.complete = true;
            return false;
        }
        // A stamp or the end may lie across two reads.
        let kept = memchr::memchr(b'@', &self.rest[done..])
            .map_or(self.rest.len().saturating_sub(8), |at| done + at);
        self.rest.drain(..kept.max(done));
        true
    }
}

// ---- timed ----

async fn time(wish: &Streams, request: &Rc<[u8]>) -> anyhow::Result<()> {
    let mut streams = Vec::with_capacity(wish.count);
    for _ in 0..wish.count {
        streams.push(Stream::open(wish.to).await?);
    }
    let start = Instant::now();
    let end = start + Duration::from_secs(wish.limit);
    let apart = Duration::from_millis(wish.ramp) / wish.count.max(1) as u32;
    let mut tasks = Vec::with_capacity(wish.count);
    for (at, mut stream) in streams.into_iter().enumerate() {
        let request = request.clone();
        tasks.push(tokio::task::spawn_local(async move {
            sleep_until(start + apart * at as u32).await;
            if stream.send(&request).await.is_ok() {
                while timeout_at(end, stream.read()).await.unwrap_or(false) {}
            }
            stream.seen
        }));
    }
    let mut seen = Vec::with_capacity(wish.count);
    for task in tasks {
        seen.push(task.await?);
    }
    println!("{}", told(wish, &seen, start.elapsed()));
    Ok(())
}

fn told(wish: &Streams, seen: &[Seen], took: Duration) -> serde_json::Value {
    let first = seen.iter().filter_map(|seen| Some(seen.chunks.first()?.1 - seen.sent)).collect();
    let delay = seen.iter().flat_map(|seen| &seen.chunks).map(|(written, came)| came - written).collect();
    let jitter = seen.iter().flat_map(|seen| seen.chunks.windows(2));
    let jitter = jitter.filter_map(|pair| match pair {
        [before, after] => Some(((after.1 - before.1) - (after.0 - before.0)).abs()),
        _ => None,
    });
    serde_json::json!({
        "streams": wish.count,
        "complete": seen.iter().filter(|seen| seen.complete && seen.chunks.len() == wish.chunks).count(),
        "chunks": seen.iter().map(|seen| seen.chunks.len()).sum::<usize>(),
        "seconds": took.as_secs_f64(),
        "first_us": quantiles(first),
        "delay_us": quantiles(delay),
        "jitter_us": quantiles(jitter.collect()),
    })
}

/// In microseconds.
fn quantiles(mut nanos: Vec<i64>) -> serde_json::Value {
    nanos.sort_unstable();
    let at = |share: f64| nanos.get((share * nanos.len() as f64) as usize).map(|nanos| *nanos as f64 / 1e3);
    serde_json::json!({"p50": at(0.5), "p99": at(0.99)})
}

// ---- held ----

async fn hold(wish: &Streams, request: &Rc<[u8]>) -> anyhow::Result<()> {
    let start = Instant::now();
    let end = start + Duration::from_secs(wish.limit);
    let (to, turns) = (wish.to, Rc::new(Semaphore::new(OPENING)));
    let tasks: Vec<_> = (0..wish.count)
        .map(|_| {
            let (request, turns) = (request.clone(), turns.clone());
            tokio::task::spawn_local(async move {
                let opened = async {
                    let _turn = turns.acquire().await.ok()?;
                    let mut stream = Stream::open(to).await.ok()?;
                    stream.send(&request).await.ok()?;
                    while stream.seen.chunks.is_empty() {
                        if !stream.read().await {
                            return None;
                        }
                    }
                    Some(stream)
                };
                timeout_at(end, opened).await.ok().flatten()
            })
        })
        .collect();
    let mut open = Vec::with_capacity(wish.count);
    for task in tasks {
        open.extend(task.await?);
    }
    println!("{}", serde_json::json!({"streams": open.len(), "seconds": start.elapsed().as_secs_f64()}));
    // Nothing is read meanwhile: one chunk came, and none will.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(open);
    Ok(())
}
