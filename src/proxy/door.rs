//! How many connections there may be, in all and from one address.
//!
//! Pingora tells of a connection twice: a filter sees it accepted, the application gets it when TLS has shaken
//! hands. In between it is *knocking*; a place is taken with the first and kept until the connection ends, so
//! that handshakes that never end fill no memory either.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::listeners::ConnectionFilter;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;

use crate::metrics::Metrics;

/// Pingora gives a handshake so long; what has knocked for longer is gone.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// Who is in, and who knocks.
#[derive(Debug)]
pub(crate) struct Crowd {
    total: usize,
    per_address: usize,
    metrics: Arc<Metrics>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    knocking: HashMap<SocketAddr, Instant>,
    /// Those that knock count, too.
    all: usize,
    by_address: HashMap<IpAddr, usize>,
    /// When those that are gone were last looked for.
    swept: Option<Instant>,
}

/// A place, given back when dropped.
#[derive(Debug)]
struct Place {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

/// An application behind the door.
pub(crate) struct Door<A> {
    crowd: Arc<Crowd>,
    inside: Arc<A>,
}

impl Crowd {
    /// Nobody yet.
    pub(crate) fn new(total: usize, per_address: usize, metrics: Arc<Metrics>) -> Self {
        Self { total, per_address, metrics, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for who knocks, if there is one.
    fn knock(&self, peer: SocketAddr, now: Instant) -> bool {
        let mut seen = self.seen();
        let full = seen.all >= self.total || seen.from(peer) >= self.per_address;
        let long_ago = seen.swept.is_none_or(|swept| now.saturating_duration_since(swept) > HANDSHAKE);
        if full || long_ago {
            seen.forget_the_gone(now);
        }
        let reason = if seen.all >= self.total {
            "total"
        } else if seen.from(peer) >= self.per_address {
            "address"
        } else {
            if seen.knocking.insert(peer, now).is_none() {
                seen.add(home(peer));
            }
            self.metrics.connections.set(seen.all as i64);
            return true;
        };
        self.metrics.refused_connections.with_label_values(&[reason]).inc();
        false
    }

    /// The place of who has knocked, now kept for as long as the result lives.
    fn enter(self: &Arc<Self>, peer: SocketAddr) -> Place {
        let mut seen = self.seen();
        if seen.knocking.remove(&peer).is_none() {
            seen.add(home(peer));
        }
        Place { crowd: self.clone(), address: home(peer) }
    }
}

impl Seen {
    fn from(&self, peer: SocketAddr) -> usize {
        self.by_address.get(&home(peer)).copied().unwrap_or(0)
    }

    fn add(&mut self, address: IpAddr) {
        self.all += 1;
        *self.by_address.entry(address).or_default() += 1;
    }

    fn remove(&mut self, address: IpAddr) {
        self.all = self.all.saturating_sub(1);
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }

    fn forget_the_gone(&mut self, now: Instant) {
        self.swept = Some(now);
        let is_gone = |since: &Instant| now.saturating_duration_since(*since) > HANDSHAKE;
        let gone: Vec<SocketAddr> =
            self.knocking.iter().filter(|(_, since)| is_gone(since)).map(|(peer, _)| *peer).collect();
        for peer in gone {
            self.knocking.remove(&peer);
            self.remove(home(peer));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut seen = self.crowd.seen();
        seen.remove(self.address);
        self.crowd.metrics.connections.set(seen.all as i64);
    }
}

/// What counts as one address: of IPv6 the first 64 bits, since whoever has one has them all.
fn home(peer: SocketAddr) -> IpAddr {
    match peer.ip().to_canonical() {
        IpAddr::V6(ip) => {
            let mut octets = ip.octets();
            octets[8..].fill(0);
            IpAddr::V6(octets.into())
        }
        ip => ip,
    }
}

/// Closes what there is no room for as soon as it is accepted.
#[derive(Debug)]
pub(crate) struct Filter(pub(crate) Arc<Crowd>);

#[async_trait]
impl ConnectionFilter for Filter {
    async fn should_accept(&self, peer: Option<&SocketAddr>) -> bool {
        peer.is_none_or(|peer| self.0.knock(*peer, Instant::now()))
    }
}

impl<A> Door<A> {
    /// Before that application.
    pub(crate) fn new(crowd: Arc<Crowd>, inside: A) -> Self {
        Self { crowd, inside: Arc::new(inside) }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Door<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let digest = stream.get_socket_digest();
        let peer = digest.as_ref().and_then(|digest| digest.peer_addr()?.as_inet().copied());
        let _place = peer.map(|peer| self.crowd.enter(peer));
        self.inside.process_new(stream, shutdown).await
    }

    async fn cleanup(&self) {
        self.inside.cleanup().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(total: usize, per_address: usize) -> Arc<Crowd> {
        Arc::new(Crowd::new(total, per_address, Arc::new(Metrics::new().unwrap())))
    }

    fn peer(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], port))
    }

    #[test]
    fn one_address_does_not_take_every_place() {
        let crowd = crowd(3, 2);
        let now = Instant::now();
        let came =
            [peer(1, 1), peer(1, 2), peer(1, 3), peer(2, 1), peer(3, 1)].map(|peer| crowd.knock(peer, now));
        assert_eq!(came, [true, true, false, true, false]);
        let refused = |reason: &str| crowd.metrics.refused_connections.with_label_values(&[reason]).get();
        assert_eq!((refused("address"), refused("total")), (1, 1));
        drop(crowd.enter(peer(1, 1)));
        assert_eq!(crowd.metrics.connections.get(), 2);
        assert!(crowd.knock(peer(3, 1), now));
    }

    #[test]
    fn a_handshake_that_never_ends_gives_its_place_back() {
        let crowd = crowd(2, 2);
        let now = Instant::now();
        assert!(crowd.knock(peer(1, 1), now));
        let place = crowd.enter(peer(1, 1));
        assert!(crowd.knock(peer(1, 2), now));
        assert!(!crowd.knock(peer(2, 1), now + HANDSHAKE));
        assert!(crowd.knock(peer(2, 1), now + HANDSHAKE + Duration::from_secs(1)));
        drop(place);
        assert_eq!(crowd.seen().all, 1);
    }

    #[test]
    fn ipv6_counts_by_network_and_mapped_ipv4_as_itself() {
        let home = |text: &str| home(text.parse().unwrap());
        assert_eq!(home("[2001:db8::1]:1"), home("[2001:db8::ffff:2]:9"));
        assert_ne!(home("[2001:db8::1]:1"), home("[2001:db8:0:1::1]:1"));
        assert_eq!(home("[::ffff:10.0.0.1]:1"), home("10.0.0.1:5"));
    }
}
