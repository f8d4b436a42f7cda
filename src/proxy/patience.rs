//! How long a request's header may take in all. Pingora bounds each read only: a byte a minute would hold a
//! connection for hours.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::ShutdownWatch;

use crate::metrics::Metrics;

tokio::task_local! {
    /// Whether the header that this task waits for is here.
    static ARRIVED: Arc<AtomicBool>;
}

/// The header is here: its deadline no longer holds.
pub(super) fn header_arrived() {
    // Outside of such a task (a test's) nobody waits.
    let _ = ARRIVED.try_with(|arrived| arrived.store(true, Ordering::Relaxed));
}

/// An application whose clients may take so long for a header, and no longer.
pub(crate) struct Patience<A> {
    inside: Arc<A>,
    deadline: Duration,
    metrics: Arc<Metrics>,
}

impl<A> Patience<A> {
    /// Counted from when a connection is ready for a request: its idle time is part of it.
    pub(crate) fn new(inside: A, deadline: Duration, metrics: Arc<Metrics>) -> Self {
        Self { inside: Arc::new(inside), deadline, metrics }
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> HttpServerApp for Patience<A> {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let served = self.inside.process_new_http(session, shutdown);
        match within(self.deadline, served).await {
            Some(done) => done,
            None => {
                self.metrics.refused_requests.with_label_values(&["slow_headers"]).inc();
                None
            }
        }
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.inside.server_options()
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.inside.h2_options()
    }

    async fn http_cleanup(&self) {
        self.inside.http_cleanup().await;
    }
}

/// What comes of serving a request, unless its header has not arrived by the deadline; then the connection is
/// dropped with it.
async fn within<T>(deadline: Duration, served: impl Future<Output = T>) -> Option<T> {
    let arrived = Arc::new(AtomicBool::new(false));
    let mut served = pin!(ARRIVED.scope(arrived.clone(), served));
    match tokio::time::timeout(deadline, &mut served).await {
        Ok(done) => Some(done),
        Err(_) if arrived.load(Ordering::Relaxed) => Some(served.await),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_header_has_a_deadline() {
        let second = Duration::from_secs(1);
        assert_eq!(within(second, std::future::pending::<()>()).await, None);
        let long = async {
            header_arrived();
            tokio::time::sleep(600 * second).await;
            7
        };
        assert_eq!(within(second, long).await, Some(7));
        header_arrived();
    }
}
