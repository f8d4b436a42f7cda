//! What Prometheus sees. Label values come from closed sets: config, rules and enums, never from a prompt.

use std::time::Duration;

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Bounds in seconds, for what takes from microseconds (a greeting) to minutes (a 32B model).
const WIDE: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];

/// Bounds in seconds, for what should never be felt.
const NARROW: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.5, 1.0, 8.0,
];

/// Every metric of the process. One a process (or a test).
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// `requests_total{dialect,category,route,decided_by,code}`
    pub requests: IntCounterVec,
    /// `category_changes_total{from,to}`
    pub category_changes: IntCounterVec,
    /// `arm_requests_total{arm,category,route}`
    pub arm_requests: IntCounterVec,
    /// `arm_category_changes_total{arm,from,to}`
    pub arm_category_changes: IntCounterVec,
    /// `decision_log_lines_total{result}`
    pub decision_log_lines: IntCounterVec,
    /// `traces_total{result}`
    pub traces: IntCounterVec,
    /// `decision_log_disk_bytes{kind}`, absent without a log.
    pub decision_log_disk: GaugeVec,
    /// `classifier_requests_total{outcome}`
    pub classifier_requests: IntCounterVec,
    /// `classifier_seconds`
    pub classifier_seconds: Histogram,
    /// `request_seconds{route}`
    pub request_seconds: HistogramVec,
    /// `first_byte_seconds{route,arm}`
    pub first_byte_seconds: HistogramVec,
    /// `overhead_seconds`
    pub overhead_seconds: Histogram,
    /// `upstream_errors_total{upstream,kind}`
    pub upstream_errors: IntCounterVec,
    /// `streams_cut_total{upstream,how}`
    pub streams_cut: IntCounterVec,
    /// `upstream_up{upstream}`
    pub upstream_up: GaugeVec,
    /// `server_up{upstream,server}`
    pub server_up: GaugeVec,
    /// `server_inflight_requests{upstream,server}`
    pub server_inflight: IntGaugeVec,
    /// `placements_total{upstream,reason}`
    pub placements: IntCounterVec,
    /// `cool_offs_total{upstream,server,kind}`
    pub cool_offs: IntCounterVec,
    /// `upstream_retries_total{upstream,kind}`
    pub upstream_retries: IntCounterVec,
    /// `rule_matches_total{rule}`
    pub rule_matches: IntCounterVec,
    /// `local_answers_total{answer}`
    pub local_answers: IntCounterVec,
    /// `guards_total{guard}`
    pub guards: IntCounterVec,
    /// `refused_requests_total{reason}`
    pub refused_requests: IntCounterVec,
    /// `rules_reloads_total{result}`
    pub rules_reloads: IntCounterVec,
    /// `rules_generation`
    pub rules_generation: IntGauge,
    /// `rules_last_success_timestamp_seconds`
    pub rules_last_success: Gauge,
    /// `rules_problems`
    pub rules_problems: IntGauge,
    /// `classifier_up`
    pub classifier_up: IntGauge,
    /// `classifier_enabled`
    pub classifier_enabled: IntGauge,
    /// `classifier_breaker_open`
    pub classifier_breaker_open: IntGauge,
    /// `light_memory_bytes{kind}`
    pub light_memory: GaugeVec,
    /// `light_tasks_total{task,outcome}`
    pub light_tasks: IntCounterVec,
    /// `light_task_seconds{task}`
    pub light_task_seconds: HistogramVec,
    /// `signals_total{signal,value}`
    pub signals: IntCounterVec,
    /// `light_restarts_total`
    pub light_restarts: IntCounter,
    /// `key_requests_total{key,outcome}`
    pub key_requests: IntCounterVec,
    /// `keys_reloads_total{result}`
    pub keys_reloads: IntCounterVec,
    /// `certificate_reloads_total{result}`
    pub certificate_reloads: IntCounterVec,
    /// `connections`
    pub connections: IntGauge,
    /// `refused_connections_total{reason}`
    pub refused_connections: IntCounterVec,
    /// `inflight_requests`
    pub inflight: IntGauge,
    /// `inflight_body_bytes`
    pub inflight_bytes: IntGauge,
}

impl Metrics {
    /// All at zero, `build_info` set.
    ///
    /// # Errors
    /// If two metrics share a name, which a test would find first.
    pub fn new() -> Result<Self, prometheus::Error> {
        let r = Registry::new_custom(Some("brainstem".into()), None)?;
        let build = gauges(&r, "build_info", "What this is.", &["version", "mlx"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), mlx_version()]).set(1.0);
        let metrics = Self {
            requests: counters(
                &r,
                "requests_total",
                "Requests by what was decided.",
                &["dialect", "category", "route", "decided_by", "code"],
            )?,
            category_changes: counters(
                &r,
                "category_changes_total",
                "Asks whose category the classifier changed (in shadow mode: would have).",
                &["from", "to"],
            )?,
            arm_requests: counters(
                &r,
                "arm_requests_total",
                "Decided asks by arm, while an experiment runs.",
                &["arm", "category", "route"],
            )?,
            arm_category_changes: counters(
                &r,
                "arm_category_changes_total",
                "category_changes_total by arm; only those of the arm classifier were made.",
                &["arm", "from", "to"],
            )?,
            decision_log_lines: counters(
                &r,
                "decision_log_lines_total",
                "Lines of the log of decisions.",
                &["result"],
            )?,
            traces: counters(&r, "traces_total", "Asks' traces, by what became of them.", &["result"])?,
            decision_log_disk: gauges(
                &r,
                "decision_log_disk_bytes",
                "The log of decisions: used by its files, free on their disk.",
                &["kind"],
            )?,
            classifier_requests: counters(
                &r,
                "classifier_requests_total",
                "What came of asking the classifier.",
                &["outcome"],
            )?,
            classifier_seconds: histogram(&r, "classifier_seconds", "How long asks waited for it.", NARROW)?,
            request_seconds: histograms(&r, "request_seconds", "From request to last byte.", &["route"])?,
            first_byte_seconds: histograms(
                &r,
                "first_byte_seconds",
                "From request to the reply's first byte.",
                &["route", "arm"],
            )?,
            overhead_seconds: histogram(
                &r,
                "overhead_seconds",
                "An ask's time here: total minus waiting for the upstream and for the client's body.",
                NARROW,
            )?,
            upstream_errors: counters(
                &r,
                "upstream_errors_total",
                "Failures of an upstream, its own error replies included.",
                &["upstream", "kind"],
            )?,
            streams_cut: counters(
                &r,
                "streams_cut_total",
                "Streams that an upstream did not finish; the client was told.",
                &["upstream", "how"],
            )?,
            upstream_up: gauges(&r, "upstream_up", "1 if it answered the last look.", &["upstream"])?,
            server_up: gauges(
                &r,
                "server_up",
                "1 if it answered the last look, by server of an upstream.",
                &["upstream", "server"],
            )?,
            server_inflight: register(
                &r,
                IntGaugeVec::new(
                    Opts::new("server_inflight_requests", "Requests that a server has of us now."),
                    &["upstream", "server"],
                )?,
            )?,
            placements: counters(
                &r,
                "placements_total",
                "Requests placed at one of several servers, by why there.",
                &["upstream", "reason"],
            )?,
            cool_offs: counters(
                &r,
                "cool_offs_total",
                "Times that one of several servers was left alone for a while.",
                &["upstream", "server", "kind"],
            )?,
            upstream_retries: counters(
                &r,
                "upstream_retries_total",
                "Requests that were tried at another server.",
                &["upstream", "kind"],
            )?,
            rule_matches: counters(&r, "rule_matches_total", "Asks that a rule won.", &["rule"])?,
            local_answers: counters(&r, "local_answers_total", "Asks answered here.", &["answer"])?,
            guards: counters(&r, "guards_total", "Asks that a guard kept from being local.", &["guard"])?,
            refused_requests: counters(
                &r,
                "refused_requests_total",
                "Requests answered with an error of ours.",
                &["reason"],
            )?,
            rules_reloads: counters(&r, "rules_reloads_total", "Reloads of rules.", &["result"])?,
            rules_generation: int_gauge(&r, "rules_generation", "Of the running set.")?,
            rules_last_success: gauge(&r, "rules_last_success_timestamp_seconds", "When it was loaded.")?,
            rules_problems: int_gauge(&r, "rules_problems", "Mistakes in files that were not loaded.")?,
            classifier_up: int_gauge(&r, "classifier_up", "1 if the next ask would reach it.")?,
            classifier_enabled: int_gauge(&r, "classifier_enabled", "1 if the config wants one.")?,
            classifier_breaker_open: int_gauge(&r, "classifier_breaker_open", "1 while it is left alone.")?,
            light_memory: gauges(&r, "light_memory_bytes", "MLX's memory.", &["kind"])?,
            light_tasks: counters(
                &r,
                "light_tasks_total",
                "Light tasks by what came of them.",
                &["task", "outcome"],
            )?,
            light_task_seconds: histograms(
                &r,
                "light_task_seconds",
                "How long light tasks took.",
                &["task"],
            )?,
            signals: counters(
                &r,
                "signals_total",
                "What light tasks said of asks on their way.",
                &["signal", "value"],
            )?,
            light_restarts: counter(&r, "light_restarts_total", "Times the engine was made anew.")?,
            key_requests: counters(
                &r,
                "key_requests_total",
                "Requests by the key that they came with.",
                &["key", "outcome"],
            )?,
            keys_reloads: counters(&r, "keys_reloads_total", "Reloads of the keys.", &["result"])?,
            certificate_reloads: counters(
                &r,
                "certificate_reloads_total",
                "Reloads of the certificate.",
                &["result"],
            )?,
            connections: int_gauge(&r, "connections", "Of clients, open now.")?,
            refused_connections: counters(
                &r,
                "refused_connections_total",
                "Connections closed for want of room.",
                &["reason"],
            )?,
            inflight: int_gauge(&r, "inflight_requests", "Being served now.")?,
            inflight_bytes: int_gauge(&r, "inflight_body_bytes", "Bodies held for inspection now.")?,
            registry: r,
        };
        metrics.start_at_zero();
        Ok(metrics)
    }

    /// A counter that appears only with its first event cannot be alerted on.
    fn start_at_zero(&self) {
        for outcome in ["changed", "kept", "timeout", "busy", "error", "open"] {
            self.classifier_requests.with_label_values(&[outcome]);
        }
        for result in ["ok", "refused"] {
            self.rules_reloads.with_label_values(&[result]);
            self.keys_reloads.with_label_values(&[result]);
            self.certificate_reloads.with_label_values(&[result]);
        }
        for result in ["written", "dropped", "failed"] {
            self.decision_log_lines.with_label_values(&[result]);
        }
        for reason in ["total", "address"] {
            self.refused_connections.with_label_values(&[reason]);
        }
        for result in ["exported", "dropped", "failed"] {
            self.traces.with_label_values(&[result]);
        }
        for kind in ["active", "cache", "peak"] {
            self.light_memory.with_label_values(&[kind]);
        }
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// If a metric cannot be written as text.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut out = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }
}

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The MLX that is linked in, or "none".
pub fn mlx_version() -> &'static str {
    // mlx-sys 0.7.0, pinned through mlx-rs `=0.33.0`, is this MLX on both systems.
    if cfg!(feature = "mlx") { "0.32.2" } else { "none" }
}

/// Seconds, for histograms.
pub fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

type Made<T> = Result<T, prometheus::Error>;

fn register<C: prometheus::core::Collector + Clone + 'static>(r: &Registry, metric: C) -> Made<C> {
    r.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counters(r: &Registry, name: &str, help: &str, labels: &[&str]) -> Made<IntCounterVec> {
    register(r, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn counter(r: &Registry, name: &str, help: &str) -> Made<IntCounter> {
    register(r, IntCounter::new(name, help)?)
}

fn gauges(r: &Registry, name: &str, help: &str, labels: &[&str]) -> Made<GaugeVec> {
    register(r, GaugeVec::new(Opts::new(name, help), labels)?)
}

fn gauge(r: &Registry, name: &str, help: &str) -> Made<Gauge> {
    register(r, Gauge::new(name, help)?)
}

fn int_gauge(r: &Registry, name: &str, help: &str) -> Made<IntGauge> {
    register(r, IntGauge::new(name, help)?)
}

fn histogram(r: &Registry, name: &str, help: &str, bounds: &[f64]) -> Made<Histogram> {
    register(r, Histogram::with_opts(HistogramOpts::new(name, help).buckets(bounds.to_vec()))?)
}

fn histograms(r: &Registry, name: &str, help: &str, labels: &[&str]) -> Made<HistogramVec> {
    register(r, HistogramVec::new(HistogramOpts::new(name, help).buckets(WIDE.to_vec()), labels)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_prefix_and_outcomes_start_at_zero() {
        let text = String::from_utf8(Metrics::new().unwrap().text().unwrap()).unwrap();
        assert!(text.contains("brainstem_classifier_requests_total{outcome=\"timeout\"} 0"), "{text}");
        assert!(text.contains("brainstem_build_info{"), "{text}");
        assert!(text.lines().filter(|l| !l.starts_with('#')).all(|l| l.starts_with("brainstem_")), "{text}");
    }
}
