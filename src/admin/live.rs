//! `GET /live`: the console's numbers as server-sent events. Read once a second, whoever listens; written as JSON
//! once a second if anybody does, and the same bytes go to all of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::reading::{Counts, Point, Reading, counts, pairs};
use super::state::{ClassifierState, ServerState, last_error, loaded_at};
use crate::brain::Brain;
use crate::config::Mode;
use crate::decisions::recent::{KEPT, Kept};
use crate::metrics::mlx_version;

/// So many may listen at one time.
const SEATS: usize = 16;
/// Points that a new listener gets: five minutes.
const PAST: usize = 300;
/// Quantiles are of that many seconds: one second's asks are too few.
const WINDOW: usize = 15;
/// New decisions in one event; a busy proxy has more, and the last ones are those that are shown.
const NEW: usize = 50;
/// A listener that takes nothing for so long has left.
const PATIENCE: Duration = Duration::from_secs(10);

/// The numbers, and who listens to them.
pub struct Live {
    brain: Arc<Brain>,
    told: watch::Sender<Bytes>,
    seats: Arc<Semaphore>,
    past: Mutex<VecDeque<Point>>,
}

/// A listener's place.
pub(super) struct Seat {
    told: watch::Receiver<Bytes>,
    _seat: OwnedSemaphorePermit,
}

/// The first event.
#[derive(Serialize)]
struct Hello<'a> {
    version: &'static str,
    mlx: &'static str,
    categories: Vec<&'static str>,
    rules_dir: String,
    /// Whether decisions carry what was asked.
    text: bool,
    /// Whether the classifier's word counts.
    classifier: &'static str,
    past: &'a VecDeque<Point>,
    decisions: Vec<Kept>,
}

/// Each further event.
#[derive(Serialize)]
struct Now<'a> {
    point: &'a Point,
    uptime: u64,
    inflight: i64,
    asks: &'a BTreeMap<String, Counts>,
    changes: Vec<Change>,
    classifier: ClassifierState,
    outcomes: &'a Counts,
    upstreams: Vec<Server<'a>>,
    memory: BTreeMap<&'static str, usize>,
    rules: RulesNow,
    decisions: Vec<Kept>,
    /// How many there ever were.
    decided: u64,
}

#[derive(Serialize)]
struct Change {
    from: String,
    to: String,
    count: u64,
}

#[derive(Serialize)]
struct Server<'a> {
    name: &'a str,
    up: bool,
    models: Option<Vec<String>>,
    servers: Vec<ServerState>,
}

#[derive(Serialize)]
struct RulesNow {
    generation: u64,
    loaded_at: String,
    rules: usize,
    answers: usize,
    phrases: usize,
    reloads: Counts,
    last_error: Vec<String>,
}

impl Live {
    pub(super) fn new(brain: Arc<Brain>) -> Self {
        Self {
            brain,
            told: watch::Sender::new(Bytes::new()),
            seats: Arc::new(Semaphore::new(SEATS)),
            past: Mutex::new(VecDeque::with_capacity(PAST)),
        }
    }

    /// A place to listen from, as long as there is one.
    pub(super) fn seat(&self) -> Option<Seat> {
        let seat = self.seats.clone().try_acquire_owned().ok()?;
        Some(Seat { told: self.told.subscribe(), _seat: seat })
    }

    /// Writes events until the listener leaves or the process is told to stop.
    pub(super) async fn tell(
        &self,
        session: &mut ServerSession,
        mut seat: Seat,
        shutdown: &ShutdownWatch,
    ) -> pingora::Result<()> {
        let mut head = ResponseHeader::build(200, Some(8))?;
        head.insert_header("content-type", "text/event-stream; charset=utf-8")?;
        head.insert_header("transfer-encoding", "chunked")?;
        for (name, value) in super::HARDENED {
            head.insert_header(name, value)?;
        }
        session.set_keepalive(None);
        session.set_write_timeout(Some(PATIENCE));
        session.write_response_header(Box::new(head)).await?;
        session.write_response_body(self.hello(), false).await?;
        let mut shutdown = shutdown.clone();
        loop {
            tokio::select! {
                changed = seat.told.changed() => if changed.is_err() { break },
                _ = shutdown.changed() => break,
            }
            let event = seat.told.borrow_and_update().clone();
            session.write_response_body(event, false).await?;
        }
        session.write_response_body(Bytes::new(), true).await
    }

    fn hello(&self) -> Bytes {
        let config = &self.brain.config;
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        event(
            "hello",
            &Hello {
                version: env!("CARGO_PKG_VERSION"),
                mlx: mlx_version(),
                categories: config.categories.iter().map(|policy| policy.category.name()).collect(),
                rules_dir: config.proxy.rules.display().to_string(),
                text: config.log.text,
                classifier: match config.classifier.mode {
                    Mode::On => "on",
                    Mode::Shadow => "shadow",
                    Mode::Off => "off",
                },
                past: &past,
                decisions: self.brain.recent.as_ref().map_or(Vec::new(), |recent| recent.after(0, KEPT)),
            },
        )
    }

    fn now(&self, point: &Point, reading: &Reading, told: &mut u64) -> Bytes {
        let brain = &self.brain;
        let snapshot = brain.snapshot.load();
        let seen: Vec<_> = brain.upstreams.iter().map(|upstream| (upstream, upstream.seen())).collect();
        let decisions = brain.recent.as_ref().map_or(Vec::new(), |recent| recent.after(*told, NEW));
        *told = decisions.last().map_or(*told, |kept| kept.number);
        let changes = pairs(&brain.metrics.category_changes, ("from", "to")).into_iter();
        let servers = seen.iter().map(|(upstream, seen)| Server {
            name: &upstream.config.name,
            up: seen.up,
            models: seen.models.clone(),
            servers: ServerState::all(upstream),
        });
        event(
            "now",
            &Now {
                point,
                uptime: brain.started.elapsed().as_secs(),
                inflight: brain.metrics.inflight.get(),
                asks: &reading.asks,
                changes: changes.map(|(from, to, count)| Change { from, to, count }).collect(),
                classifier: ClassifierState::of(brain),
                outcomes: &reading.outcomes,
                upstreams: servers.collect(),
                memory: brain.light_memory().into_iter().collect(),
                rules: RulesNow {
                    generation: snapshot.generation,
                    loaded_at: loaded_at(&snapshot),
                    rules: snapshot.rules().len(),
                    answers: snapshot.answers().len(),
                    phrases: snapshot.phrases(),
                    reloads: counts(&brain.metrics.rules_reloads, "result"),
                    last_error: last_error(brain),
                },
                decisions,
                decided: *told,
            },
        )
    }
}

/// Reads the numbers for as long as the process runs.
pub struct Ticking(pub Arc<Live>);

#[async_trait]
impl BackgroundService for Ticking {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let live = &self.0;
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut readings = VecDeque::with_capacity(WINDOW);
        readings.push_back(Reading::of(&live.brain.metrics));
        let mut told = 0;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = shutdown.changed() => return,
            }
            let reading = Reading::of(&live.brain.metrics);
            let (Some(before), Some(earlier)) = (readings.back(), readings.front()) else { return };
            let point = reading.since(before, earlier);
            {
                let mut past = live.past.lock().unwrap_or_else(PoisonError::into_inner);
                if past.len() == PAST {
                    past.pop_front();
                }
                past.push_back(point.clone());
            }
            if live.told.receiver_count() > 0 {
                live.told.send_replace(live.now(&point, &reading, &mut told));
            } else {
                // Who comes next gets all that is kept first.
                told = live.brain.recent.as_ref().map_or(0, |recent| recent.count());
            }
            if readings.len() == WINDOW {
                readings.pop_front();
            }
            readings.push_back(reading);
        }
    }
}

fn event(name: &str, data: &impl Serialize) -> Bytes {
    // JSON has no line ends of its own: it is one `data` line.
    let data = serde_json::to_string(data).unwrap_or_else(|_| "null".to_owned());
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}
