//! What is known of the Ollama servers without asking them on the request path: whether they answer, and
//! which models they list.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde::Deserialize;

use crate::config::{self, Secret};
use crate::metrics::Metrics;
use crate::tls::Trust;

/// A look at the list of models waits no longer than this.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// One Ollama server.
#[derive(Debug)]
pub struct Upstream {
    /// Name, address, timeouts.
    pub config: config::Upstream,
    seen: Arc<ArcSwap<Seen>>,
    address: Arc<ArcSwapOption<SocketAddr>>,
    refresh: Sender<()>,
}

/// What the last look showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// It answered.
    pub up: bool,
    /// The models that it lists, newest first as it gives them; `None` as long as no look succeeded since
    /// it was last seen down.
    pub models: Option<Vec<String>>,
}

impl Upstream {
    /// Knows nothing yet, looks at once and then every `poll`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn watch(config: config::Upstream, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let seen = Arc::new(ArcSwap::from_pointee(Seen::default()));
        let address = Arc::new(ArcSwapOption::empty());
        let (refresh, asked) = bounded(1);
        let watcher =
            Watcher { config: config.clone(), seen: seen.clone(), address: address.clone(), metrics };
        watcher.resolve();
        std::thread::Builder::new()
            .name(format!("look-{}", config.name))
            .spawn(move || watcher.run(&asked))?;
        Ok(Self { config, seen, address, refresh })
    }

    /// What the last look showed.
    pub fn seen(&self) -> Arc<Seen> {
        self.seen.load_full()
    }

    /// Its address, resolved again at every look; `None` while its name leads nowhere.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address.load().as_deref().copied()
    }

    /// Looks again soon: a request has just changed the list, or found the server gone.
    pub fn look_again(&self) {
        // Full means that a look is due anyway.
        let _ = self.refresh.try_send(());
    }
}

impl Seen {
    /// Whether the server would know that model. An unknown list knows every model.
    pub fn may_have(&self, model: &str) -> bool {
        let Some(models) = &self.models else { return true };
        let wanted = canonical(model);
        models.iter().any(|m| canonical(m) == wanted)
    }
}

/// Whether two names mean one model.
pub fn same_model(one: &str, other: &str) -> bool {
    canonical(one) == canonical(other)
}

/// One spelling for the ways to write a model's name: `Llama3.2`, `llama3.2:latest`,
/// `registry.ollama.ai/library/llama3.2` (Ollama's `types/model/name.go`).
pub(crate) fn canonical(model: &str) -> String {
    let name = model.trim().to_lowercase();
    let name = name.strip_prefix("registry.ollama.ai/").unwrap_or(&name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}

struct Watcher {
    config: config::Upstream,
    seen: Arc<ArcSwap<Seen>>,
    address: Arc<ArcSwapOption<SocketAddr>>,
    metrics: Arc<Metrics>,
}

#[derive(Deserialize)]
struct Tags {
    models: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
}

impl Watcher {
    /// Off the request path: a name server may take seconds.
    fn resolve(&self) {
        let all: Vec<SocketAddr> = self.config.authority.to_socket_addrs().into_iter().flatten().collect();
        // `localhost` is two addresses on most machines, and Ollama listens on one of them.
        let takes = |at: &&SocketAddr| TcpStream::connect_timeout(at, self.config.connect_timeout).is_ok();
        let found = match all.as_slice() {
            [] => None,
            [one] => Some(*one),
            several => several.iter().find(takes).or(several.first()).copied(),
        };
        if found.is_some() || self.address.load().is_none() {
            self.address.store(found.map(Arc::new));
        }
    }

    fn run(&self, asked: &Receiver<()>) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(LOOK_TIMEOUT))
            .max_redirects(0)
            .proxy(None)
            .tls_config(self.config.trust.as_ref().map(Trust::config).unwrap_or_default())
            .build()
            .into();
        let key = self.config.key.as_ref().map(Secret::bearer);
        let url = format!("{}/api/tags", self.config.url());
        loop {
            self.resolve();
            let seen = look(&agent, &url, key.as_deref());
            let before = self.seen.load();
            if before.up != seen.up {
                let state = if seen.up { "answers" } else { "does not answer" };
                tracing::info!("upstream {} ({}) {state}", self.config.name, self.config.authority);
            }
            self.metrics
                .upstream_up
                .with_label_values(&[&self.config.name])
                .set(f64::from(u8::from(seen.up)));
            self.seen.store(Arc::new(seen));
            match asked.recv_timeout(self.config.poll) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

fn look(agent: &ureq::Agent, url: &str, key: Option<&str>) -> Seen {
    let mut request = agent.get(url);
    if let Some(key) = key {
        request = request.header("authorization", key);
    }
    let tags = request.call().and_then(|mut reply| reply.body_mut().read_json::<Tags>());
    match tags {
        Ok(tags) => {
            let names = tags.models.unwrap_or_default().into_iter().map(|t| t.name).collect();
            Seen { up: true, models: Some(names) }
        }
        // It answers, if not as Ollama does: a list that is unknown must not turn asks away.
        Err(ureq::Error::StatusCode(_) | ureq::Error::Json(_)) => Seen { up: true, models: None },
        Err(_) => Seen::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_model_has_many_spellings() {
        let seen = Seen { up: true, models: Some(vec!["llama3.2:latest".into(), "hf.co/Me/Mine:Q4".into()]) };
        for name in ["llama3.2", "LLAMA3.2:latest", "registry.ollama.ai/library/llama3.2", "hf.co/me/mine:q4"]
        {
            assert!(seen.may_have(name), "{name}");
        }
        assert!(!seen.may_have("llama3.2:70b"));
        assert!(!seen.may_have("mine"));
    }

    #[test]
    fn of_several_addresses_one_that_listens_is_taken() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = config::Upstream {
            name: "default".into(),
            authority: format!("localhost:{port}"),
            connect_timeout: Duration::from_secs(1),
            read_timeout: Duration::from_secs(1),
            poll: Duration::from_secs(3600),
            trust: None,
            key: None,
        };
        let upstream = Upstream::watch(config, Arc::new(Metrics::new().unwrap())).unwrap();
        assert_eq!(upstream.address().map(|at| at.ip()), Some(std::net::Ipv4Addr::LOCALHOST.into()));
    }

    #[test]
    fn an_unknown_list_turns_no_model_away() {
        assert!(Seen::default().may_have("anything"));
    }
}
