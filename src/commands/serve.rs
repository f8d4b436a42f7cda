//! `brainstem serve`: everything started in order, then Pingora runs until told to stop.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::proxy::http_proxy_service;
use pingora::server::configuration::ServerConf;
use pingora::server::{Server, ShutdownWatch};
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::listening::Service;

use super::Failure;
use crate::admin::Admin;
use crate::brain::{self, Brain};
use crate::cli::Settings;
use crate::config::Config;
use crate::light;
use crate::proxy::Proxy;
use crate::rules;

/// Bytes that a reply gathers before it is sent; a flush sends less.
const WRITE_BUFFER: usize = 4 * 1024;

/// Runs the proxy. Returns only if it cannot start; Pingora ends the process itself.
///
/// # Errors
/// What is wrong with config or rules, or the address that is taken.
pub fn run(settings: &Settings) -> Result<(), Failure> {
    let mut config = settings.load()?;
    crate::log::start(&config.log);
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    config.proxy.listen = free(config.proxy.listen, "proxy.listen or --listen")?;
    config.admin = config.admin.map(|at| free(at, "admin.listen or --admin")).transpose()?;
    let brain = Arc::new(Brain::open(config, true)?);
    let _watch = watch_rules(&brain)?;
    follow_light_model(settings, &brain)?;
    let config = &brain.config;
    let mut server = Server::new_with_opt_and_conf(None, pingora_conf(config));
    server.bootstrap();
    let mut proxy = http_proxy_service(&server.configuration, Proxy::new(brain.clone()));
    // Pingora's 1460 bytes would part a local answer's head from its body.
    let buffers = L4BufferSettings::default().write(WRITE_BUFFER);
    proxy.add_listener(ListenerConfig::tcp(config.proxy.listen.to_string()).l4_buffer(buffers));
    server.add_service(proxy);
    if let Some(at) = config.admin {
        let admin = Admin::new(brain.clone());
        server.add_service(background_service("live", admin.ticking()));
        let mut admin = Service::new("admin".into(), admin);
        admin.threads = Some(1);
        admin.add_tcp(&at.to_string());
        server.add_service(admin);
    }
    server.add_service(background_service("drain", Drained(brain.clone())));
    announce(config);
    server.run_forever()
}

/// Ends the process after SIGTERM as soon as nothing is being served: Pingora alone would sit out the whole grace.
struct Drained(Arc<Brain>);

#[async_trait]
impl BackgroundService for Drained {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        /// A connection that was just accepted has not been counted yet.
        const SETTLE: Duration = Duration::from_millis(200);
        if shutdown.changed().await.is_err() {
            return;
        }
        tracing::info!("stopping: no new connections, {} requests still run", self.0.metrics.inflight.get());
        tokio::time::sleep(SETTLE).await;
        while self.0.metrics.inflight.get() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if let Some(decisions) = &self.0.decisions {
            decisions.settle(Duration::from_millis(500));
        }
        if let Some(traces) = &self.0.traces {
            traces.settle(Duration::from_millis(500));
        }
        std::process::exit(0);
    }
}

/// The rules directory, watched for as long as the result lives.
fn watch_rules(brain: &Arc<Brain>) -> Result<rules::Watch, Failure> {
    let noting = brain.clone();
    let vocabulary = brain::vocabulary(&brain.config);
    rules::watch(&brain.config.proxy.rules, vocabulary, brain.snapshot.clone(), move |reload| {
        noting.note_reload(&reload)
    })
    .map_err(|e| Failure::new(format!("{}: {e}", brain.config.proxy.rules.display())))
}

/// A change of `light.model` in the config file takes effect while the proxy runs.
fn follow_light_model(settings: &Settings, brain: &Brain) -> Result<(), Failure> {
    let Some(file) = settings.file() else { return Ok(()) };
    let again = settings.clone();
    let read = move || again.load().map(|config| config.light.model);
    light::follow::follow(&file, brain.light.clone(), brain.config.light.model.clone(), read)?;
    Ok(())
}

/// Takes the address for a moment: Pingora would panic on one that is taken, and would not say which port it
/// was given for 0.
fn free(at: SocketAddr, key: &str) -> Result<SocketAddr, Failure> {
    let taken =
        |e: std::io::Error| Failure::new(format!("cannot listen on {at}: {e}; choose another with {key}"));
    TcpListener::bind(at).and_then(|listener| listener.local_addr()).map_err(taken)
}

fn pingora_conf(config: &Config) -> ServerConf {
    ServerConf {
        threads: config.proxy.threads,
        // Between SIGTERM and the end: no new connections, running requests may finish. `Drained` ends it early.
        grace_period_seconds: Some(config.proxy.grace.as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        upstream_keepalive_pool_size: 256,
        ..ServerConf::default()
    }
}

fn announce(config: &Config) {
    let listen = config.proxy.listen;
    let upstream = &config.upstreams[0];
    tracing::info!("listening on http://{listen}, forwarding to {}", upstream.urls());
    if let Some(admin) = config.admin {
        tracing::info!("console, metrics and explain on http://{admin}");
    }
}
