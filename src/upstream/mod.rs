//! What is known of the Ollama servers without asking them on the request path: whether they answer, which models
//! they have on disk and in memory, and, where a pool has several of them, which one an ask is best placed at.
//!
//! | | |
//! |---|---|
//! | [`Pool`] | an `[upstream.NAME]`: one server or several that stand for each other |
//! | [`server`] | one of them |
//! | [`watch`] | the looks at it |
//! | [`seen`] | what a look showed; models' names |
//! | [`place`] | the order in which the servers are tried: pure |
//! | [`floor`] | what the order depends on: who has which asks, who loads what, who is left alone |

pub mod floor;
pub mod place;
mod seen;
mod server;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

pub use self::floor::{Errand, Target};
pub use self::place::{Placed, Reason};
pub(crate) use self::seen::canonical;
pub use self::seen::{Model, Seen, same_model};
pub use self::server::Server;
pub use self::watch::LOOK_TIMEOUT;

use self::floor::{Floor, Manners};
use crate::config;
use crate::metrics::Metrics;

/// An `[upstream.NAME]`: one server, or several that stand for each other.
#[derive(Debug)]
pub struct Pool {
    /// Name, addresses, timeouts.
    pub config: config::Upstream,
    /// In the config's order; never empty.
    pub servers: Box<[Server]>,
    /// All of them as if they were one.
    seen: ArcSwap<Seen>,
    /// Of several servers only: one needs no choice, so nothing is kept and nothing locked for it.
    floor: Option<Mutex<Floor>>,
    started: Instant,
    metrics: Arc<Metrics>,
}

/// An ask's place at a server, given back when dropped.
#[derive(Debug)]
pub struct Seat {
    pool: Arc<Pool>,
    server: usize,
    model: Option<Model>,
}

impl Pool {
    /// Knows nothing yet; looks at each server at once and then every `poll`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn watch(config: config::Upstream, metrics: Arc<Metrics>) -> std::io::Result<Arc<Self>> {
        let (servers, asked): (Vec<_>, Vec<_>) =
            config.servers.iter().map(|authority| Server::new(&config, authority, &metrics)).unzip();
        let manners = Manners { spill: config.spill, cool_off: config.cool_off, sticky: config.sticky };
        let floor = (servers.len() > 1).then(|| Mutex::new(Floor::new(servers.len(), manners)));
        if floor.is_some() {
            for reason in Reason::ALL {
                metrics.placements.with_label_values(&[config.name.as_str(), reason.name()]);
            }
        }
        let pool = Arc::new(Self {
            servers: servers.into(),
            seen: ArcSwap::default(),
            floor,
            started: Instant::now(),
            metrics,
            config,
        });
        for (index, asked) in asked.into_iter().enumerate() {
            let watched = Arc::downgrade(&pool);
            let server = &pool.servers[index];
            watch::resolve(server, pool.config.connect_timeout);
            std::thread::Builder::new()
                .name(format!("look-{}", server.authority))
                .spawn(move || watch::run(&watched, index, &asked))?;
        }
        Ok(pool)
    }

    /// Whether there is a choice.
    pub fn several(&self) -> bool {
        self.floor.is_some()
    }

    /// What the last looks showed of all servers together.
    pub fn seen(&self) -> Arc<Seen> {
        self.seen.load_full()
    }

    /// Looks at every server again soon.
    pub fn look_again(&self) {
        self.servers.iter().for_each(Server::look_again);
    }

    /// The server of that name (`host:port`).
    pub fn server_named(&self, authority: &str) -> Option<usize> {
        self.servers.iter().position(|server| server.authority == authority)
    }

    /// A place for an errand at a server that is not among the `tried`, and why there.
    pub fn seat(self: &Arc<Self>, errand: &Errand, tried: u64) -> Option<(Seat, usize)> {
        let server = match self.floor() {
            None => Some(0).filter(|_| tried == 0)?,
            Some(mut floor) => {
                let placed = floor.take(errand, tried, self.now())?;
                self.metrics.placements.with_label_values(&[&self.config.name, placed.reason.name()]).inc();
                placed.server
            }
        };
        self.servers.get(server)?.inflight.inc();
        Some((Seat { pool: self.clone(), server, model: errand.model }, server))
    }

    /// The order in which an errand would be placed now; for one server there is none.
    pub fn order(&self, errand: &Errand) -> Vec<Placed> {
        self.floor().map(|floor| floor.order(errand, self.now())).unwrap_or_default()
    }

    /// A server was busy, refused or broke off: in a pool of several it is left alone for a while.
    pub fn failed(&self, server: usize, kind: &'static str) {
        let Some(failed) = self.servers.get(server) else { return };
        failed.look_again();
        let Some(mut floor) = self.floor() else { return };
        if floor.failed(server, self.now()) {
            let labels = [self.config.name.as_str(), failed.authority.as_str(), kind];
            self.metrics.cool_offs.with_label_values(&labels).inc();
            tracing::info!("upstream {} ({}) is left alone: {kind}", self.config.name, failed.authority);
        }
    }

    /// A server answered an errand.
    pub fn served(&self, server: usize, model: Option<Model>) {
        let (Some(mut floor), Some(served)) = (self.floor(), self.servers.get(server)) else { return };
        floor.served(server, model);
        // It has just loaded a model, and perhaps put another out.
        if model.is_some_and(|model| served.seen.load().holds(model) == Some(false)) {
            served.look_again();
        }
    }

    /// A server answered an errand with an error of its own.
    pub fn spoiled(&self, server: usize, model: Option<Model>) {
        if let Some(mut floor) = self.floor() {
            floor.spoiled(server, model, self.now());
        }
    }

    /// Requests that a server has of us, and whether it is left alone now.
    pub fn state(&self, server: usize) -> (i64, bool) {
        let cooling = self.floor().is_some_and(|floor| floor.state(server, self.now()).1);
        (self.servers.get(server).map_or(0, |s| s.inflight.get()), cooling)
    }

    fn floor(&self) -> Option<MutexGuard<'_, Floor>> {
        // A panic elsewhere leaves at worst a count that is off by one.
        self.floor.as_ref().map(|floor| floor.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes in a look.
    fn saw(&self, index: usize, seen: Seen) {
        let Some(server) = self.servers.get(index) else { return };
        let name = &self.config.name;
        if server.seen.load().up != seen.up {
            let state = if seen.up { "answers" } else { "does not answer" };
            tracing::info!("upstream {name} ({}) {state}", server.authority);
        }
        server.up.set(f64::from(u8::from(seen.up)));
        let seen = Arc::new(seen);
        server.seen.store(seen.clone());
        match self.floor() {
            None => self.seen.store(seen),
            Some(mut floor) => {
                floor.saw(index, seen);
                // Under the lock: of two looks that end together, the union is the later one's.
                let all: Vec<Arc<Seen>> = self.servers.iter().map(Server::seen).collect();
                self.seen.store(Arc::new(Seen::union(all.iter().map(Arc::as_ref))));
            }
        }
        let up = self.seen.load().up;
        self.metrics.upstream_up.with_label_values(&[name]).set(f64::from(u8::from(up)));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(server) = self.pool.servers.get(self.server) {
            server.inflight.dec();
        }
        if let Some(mut floor) = self.pool.floor() {
            floor.leave(self.server, self.model, self.pool.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_addresses_one_that_listens_is_taken() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = format!("[upstream.default]\nurl = \"http://localhost:{port}\"\npoll = \"1h\"\n");
        let config = config::Config::of_text(&text).upstreams.remove(0);
        let pool = Pool::watch(config, Arc::new(Metrics::new().unwrap())).unwrap();
        let ip = pool.servers[0].address().map(|at| at.ip());
        assert_eq!(ip, Some(std::net::Ipv4Addr::LOCALHOST.into()));
        assert!(!pool.several());
    }

    #[test]
    fn a_seat_is_counted_until_it_is_given_back() {
        let text = "[upstream.default]\nurls = [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\"]\n";
        let config = config::Config::of_text(text).upstreams.remove(0);
        let pool = Pool::watch(config, Arc::new(Metrics::new().unwrap())).unwrap();
        let (seat, first) = pool.seat(&Errand::default(), 0).unwrap();
        let (other, second) = pool.seat(&Errand::default(), floor::bit(first)).unwrap();
        assert_ne!(first, second);
        assert_eq!((pool.state(0).0, pool.state(1).0), (1, 1));
        drop((seat, other));
        assert_eq!((pool.state(0).0, pool.state(1).0), (0, 0));
    }
}
