//! One Ollama server of a pool.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::{Receiver, Sender, bounded};
use http::HeaderValue;
use prometheus::{Gauge, IntGauge};

use super::seen::Seen;
use crate::config;
use crate::metrics::Metrics;

/// One Ollama server.
#[derive(Debug)]
pub struct Server {
    /// `host:port`: its name, and what it sees as `Host`.
    pub authority: String,
    /// The same as a header's value.
    pub host: HeaderValue,
    /// Requests of ours that it has now.
    pub inflight: IntGauge,
    scheme: &'static str,
    pub(super) up: Gauge,
    pub(super) seen: ArcSwap<Seen>,
    pub(super) address: ArcSwapOption<SocketAddr>,
    refresh: Sender<()>,
}

impl Server {
    /// Nothing is known of it yet. Who receives from the channel is to look at it.
    pub(super) fn new(pool: &config::Upstream, authority: &str, metrics: &Metrics) -> (Self, Receiver<()>) {
        let (refresh, asked) = bounded(1);
        let labels = [pool.name.as_str(), authority];
        let server = Self {
            authority: authority.to_owned(),
            scheme: pool.scheme(),
            // An authority that was read as a URI's is visible ASCII.
            host: HeaderValue::from_str(authority).unwrap_or_else(|_| HeaderValue::from_static("ollama")),
            inflight: metrics.server_inflight.with_label_values(&labels),
            up: metrics.server_up.with_label_values(&labels),
            seen: ArcSwap::default(),
            address: ArcSwapOption::empty(),
            refresh,
        };
        (server, asked)
    }

    /// `http://host:port`
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// The name or address that its certificate is for.
    pub fn name(&self) -> &str {
        let host = self.authority.rsplit_once(':').map_or(&*self.authority, |(host, _)| host);
        host.trim_matches(['[', ']'])
    }

    /// What the last look showed.
    pub fn seen(&self) -> Arc<Seen> {
        self.seen.load_full()
    }

    /// Its address, resolved again at every look; `None` while its name leads nowhere.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address.load().as_deref().copied()
    }

    /// Looks again soon: a request has just changed what it has, or found it gone.
    pub fn look_again(&self) {
        // Full means that a look is due anyway.
        let _ = self.refresh.try_send(());
    }
}
