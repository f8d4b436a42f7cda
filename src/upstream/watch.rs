//! Looks at one server, now and then: whether it answers, what it has on disk, what it has in memory.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Weak;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde::Deserialize;

use super::Pool;
use super::seen::Seen;
use super::server::Server;
use crate::config::Secret;
use crate::tls::Trust;

/// A look waits no longer than this for each of its two questions.
pub const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// What looks call themselves, so that a server's log tells them from what is forwarded.
const AGENT: &str = concat!("brainstem/", env!("CARGO_PKG_VERSION"));

/// The reply of `/api/tags` and `/api/ps`, as far as it is looked at.
#[derive(Deserialize)]
struct List {
    models: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
}

/// Finds the server's address. Off the request path: a name server may take seconds.
pub(super) fn resolve(server: &Server, connect_timeout: Duration) {
    let all: Vec<SocketAddr> = server.authority.to_socket_addrs().into_iter().flatten().collect();
    // `localhost` is two addresses on most machines, and Ollama listens on one of them.
    let takes = |at: &&SocketAddr| TcpStream::connect_timeout(at, connect_timeout).is_ok();
    let found = match all.as_slice() {
        [] => None,
        [one] => Some(*one),
        several => several.iter().find(takes).or(several.first()).copied(),
    };
    if found.is_some() || server.address.load().is_none() {
        server.address.store(found.map(std::sync::Arc::new));
    }
}

/// Looks at once, then every `poll` or when asked, as long as the pool lives.
pub(super) fn run(pool: &Weak<Pool>, index: usize, asked: &Receiver<()>) {
    let Some((tls, key)) = pool.upgrade().map(|pool| {
        let tls = pool.config.trust.as_ref().map(Trust::config).unwrap_or_default();
        (tls, pool.config.key.as_ref().map(Secret::bearer))
    }) else {
        return;
    };
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(LOOK_TIMEOUT))
        .max_redirects(0)
        .user_agent(AGENT)
        .proxy(None)
        .tls_config(tls)
        .build()
        .into();
    while let Some(pool) = pool.upgrade() {
        let Some(server) = pool.servers.get(index) else { return };
        resolve(server, pool.config.connect_timeout);
        let began = pool.now();
        let seen = look(&agent, &server.url(), key.as_deref()).begun(began);
        pool.saw(index, seen);
        let poll = pool.config.poll;
        drop(pool);
        match asked.recv_timeout(poll) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn look(agent: &ureq::Agent, url: &str, key: Option<&str>) -> Seen {
    let ask = |path: &str| {
        let request = agent.get(format!("{url}{path}"));
        let request = match key {
            Some(key) => request.header("authorization", key),
            None => request,
        };
        request.call().and_then(|mut reply| reply.body_mut().read_json::<List>())
    };
    let names = |list: List| list.models.unwrap_or_default().into_iter().map(|entry| entry.name).collect();
    let models = match ask("/api/tags") {
        Ok(tags) => Some(names(tags)),
        // It answers, if not as Ollama does: a list that is unknown must not turn asks away.
        Err(ureq::Error::StatusCode(_) | ureq::Error::Json(_)) => None,
        Err(_) => return Seen::default(),
    };
    Seen::answered(models, ask("/api/ps").ok().map(names))
}
