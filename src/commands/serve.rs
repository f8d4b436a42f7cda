//! `brainstem serve`: everything started in order, then Pingora runs until told to stop.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::proxy::http_proxy;
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{Server, ShutdownWatch};
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::listening::Service;

use super::Failure;
use crate::admin::Admin;
use crate::brain::{self, Brain};
use crate::cli::Settings;
use crate::config::{Config, MOST_SERVERS};
use crate::proxy::Proxy;
use crate::proxy::door::{Crowd, Door, Filter};
use crate::proxy::patience::Patience;
use crate::rules;
use crate::tls::Shown;
use crate::watched::{self, Watched};

/// Bytes that a reply gathers before it is sent; a flush sends less.
const WRITE_BUFFER: usize = 4 * 1024;

/// No socket can be there: without `proxy.upgrade_sock` listeners are handed to nobody. Pingora's own default lies
/// in `/tmp`, where anybody may be waiting for them.
const NOWHERE: &str = "/dev/null/upgrade.sock";

/// Runs the proxy. Returns only if it cannot start; Pingora ends the process itself.
///
/// # Errors
/// What is wrong with config or rules, or the address that is taken.
pub fn run(settings: &Settings, upgrade: bool) -> Result<(), Failure> {
    let mut config = settings.load()?;
    crate::log::start(&config.log);
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    if upgrade {
        may_take_over(&config)?;
    } else {
        config.proxy.listen = free(config.proxy.listen, "proxy.listen or --listen")?;
        config.admin = config.admin.map(|at| free(at, "admin.listen or --admin")).transpose()?;
    }
    let brain = Arc::new(Brain::open(config, true)?);
    let _watch = watch_rules(&brain)?;
    let _light_model = watch_light_model(settings, &brain)?;
    let _keys = watch_keys(&brain)?;
    let shown = brain.config.proxy.tls.as_ref().map(|tls| Shown::open(&tls.cert, &tls.key)).transpose();
    let shown = shown.map_err(|problem| vec![problem])?.map(Arc::new);
    let _certificate = shown.as_ref().map(|shown| watch_certificate(&brain, shown)).transpose()?;
    let config = &brain.config;
    let opt = Opt { upgrade, ..Opt::default() };
    let mut server = Server::new_with_opt_and_conf(opt, pingora_conf(config));
    if upgrade {
        tracing::info!("waiting for the listeners: the running brainstem hands them over on SIGQUIT");
    }
    server.bootstrap();
    let limits = &config.limits;
    let crowd =
        Arc::new(Crowd::new(limits.connections, limits.connections_per_address, brain.metrics.clone()));
    let proxy = http_proxy(&server.configuration, Proxy::new(brain.clone()));
    let proxy = Patience::new(proxy, limits.header_timeout, brain.metrics.clone());
    let mut proxy = Service::new("proxy".into(), Door::new(crowd.clone(), proxy));
    proxy.set_connection_filter(Arc::new(Filter(crowd)));
    // Pingora's 1460 bytes would part a local answer's head from its body.
    let mut buffers = L4BufferSettings::default().write(WRITE_BUFFER);
    if shown.is_none() {
        // Heads and bodies have buffers of their own; this one would hold 64 KiB for each connection, and copy. TLS
        // reads record by record and is better off with it.
        buffers = buffers.read(0);
    }
    let mut listener = ListenerConfig::tcp(config.proxy.listen.to_string()).l4_buffer(buffers);
    if let Some(shown) = &shown {
        listener = listener.tls(shown.settings().map_err(|e| Failure::new(e.to_string()))?);
    }
    proxy.add_listener(listener);
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
            traces.settle(Duration::from_secs(2));
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

/// The config file, watched for as long as the result lives: another `light.model` is loaded without a restart.
fn watch_light_model(settings: &Settings, brain: &Brain) -> Result<Option<Watched>, Failure> {
    let Some(file) = settings.file() else { return Ok(None) };
    let (settings, engine) = (settings.clone(), brain.light.clone());
    let mut running = brain.config.light.model.clone();
    let swap = move || match settings.load() {
        Ok(config) if config.light.model != running => {
            running.clone_from(&config.light.model);
            tracing::info!("light.model is {:?} now", running);
            engine.swap(config.light.model);
        }
        Ok(_) => {}
        Err(problems) => {
            problems.iter().for_each(|problem| tracing::warn!("light.model not looked at: {problem}"));
        }
    };
    Ok(Some(watched::watch("config", vec![file], swap)?))
}

/// The keys file, watched for as long as the result lives.
fn watch_keys(brain: &Arc<Brain>) -> Result<Option<Watched>, Failure> {
    let Some(auth) = &brain.auth else { return Ok(None) };
    if auth.names().is_empty() {
        tracing::warn!(
            "{} has no keys: nobody gets in; `brainstem key new NAME` makes one",
            auth.file().display()
        );
    }
    let file = auth.file().to_owned();
    let brain = brain.clone();
    Ok(Some(watched::watch("keys", vec![file], move || brain.reload_keys())?))
}

/// The certificate's files, watched for as long as the result lives.
fn watch_certificate(brain: &Arc<Brain>, shown: &Arc<Shown>) -> Result<Watched, Failure> {
    let (files, shown, metrics) = (shown.files(), shown.clone(), brain.metrics.clone());
    let reload = move || match shown.reload() {
        Ok(false) => {}
        Ok(true) => {
            metrics.certificate_reloads.with_label_values(&["ok"]).inc();
            tracing::info!("another certificate is shown from now on");
        }
        Err(problem) => {
            metrics.certificate_reloads.with_label_values(&["refused"]).inc();
            tracing::warn!("certificate not reloaded: {problem}");
        }
    };
    Ok(watched::watch("certificate", files, reload)?)
}

/// Takes the address for a moment: Pingora would panic on one that is taken, and would not say which port it
/// was given for 0.
fn free(at: SocketAddr, key: &str) -> Result<SocketAddr, Failure> {
    let taken =
        |e: std::io::Error| Failure::new(format!("cannot listen on {at}: {e}; choose another with {key}"));
    TcpListener::bind(at).and_then(|listener| listener.local_addr()).map_err(taken)
}

/// What `--upgrade` needs.
fn may_take_over(config: &Config) -> Result<(), Failure> {
    if !cfg!(target_os = "linux") {
        return Err(Failure::new("--upgrade works on Linux only"));
    }
    if config.proxy.upgrade_sock.is_none() {
        return Err(Failure::new("--upgrade needs proxy.upgrade_sock, the same in both processes"));
    }
    let any_port = [Some(config.proxy.listen), config.admin].into_iter().flatten().any(|at| at.port() == 0);
    if any_port {
        return Err(Failure::new(
            "--upgrade needs the running brainstem's own ports in proxy.listen and admin.listen",
        ));
    }
    Ok(())
}

fn pingora_conf(config: &Config) -> ServerConf {
    ServerConf {
        threads: config.proxy.threads,
        // Between SIGTERM and the end: no new connections, running requests may finish. `Drained` ends it early.
        grace_period_seconds: Some(config.proxy.grace.as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        upstream_keepalive_pool_size: 256,
        // Each server of the largest pool, and one of them twice.
        max_retries: MOST_SERVERS + 1,
        // Whom to trust comes with each upstream (src/tls.rs); Pingora's own store stays empty.
        ca_file: Some("/dev/null".to_owned()),
        upgrade_sock: config.proxy.upgrade_sock.clone().unwrap_or_else(|| NOWHERE.to_owned()),
        ..ServerConf::default()
    }
}

fn announce(config: &Config) {
    let listen = config.proxy.listen;
    let upstream = &config.upstreams[0];
    let scheme = if config.proxy.tls.is_some() { "https" } else { "http" };
    tracing::info!("listening on {scheme}://{listen}, forwarding to {}", upstream.urls());
    if let Some(admin) = config.admin {
        tracing::info!("console, metrics and explain on http://{admin}");
    }
}
