//! Where log lines go: stderr, as text or JSON, colours only on a terminal.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config;

/// Pingora reports each lost client as an error; ours says it in its own words.
const OTHERS: &str =
    "pingora=error,pingora_core=error,pingora_proxy=error,ureq=warn,ureq_proto=warn,rustls=warn";

/// For `serve`. A second call changes nothing.
pub fn start(log: &config::Log) {
    let filter = EnvFilter::builder().parse_lossy(format!("{OTHERS},{}", log.level));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let _ = if log.json { lines.json().try_init() } else { lines.with_target(false).try_init() };
}

/// For commands whose output is read: warnings only.
pub fn quiet() {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("error"))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let _ = lines.with_target(false).without_time().try_init();
}
