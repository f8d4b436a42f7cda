//! Traces: one span for each ask, with children for the rules, the classifier and the wait for the upstream, sent to
//! an OpenTelemetry collector (OTLP over HTTP). Off unless the config names an endpoint; then an ask costs a look at
//! an `Option` and nothing else.
//!
//! An ask notes on its way what its spans will need ([`Trace`]); at its end that goes through a bounded channel to
//! a thread of its own, which makes [`spans`] of it and [`export`]s them. What finds the channel full is dropped and
//! counted. No span carries what was asked or answered.

mod export;
mod spans;

use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use http::{HeaderMap, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceId};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use prometheus::{IntCounter, IntCounterVec};

use self::export::Exporter;
use crate::brain::{Consulted, Sight};
use crate::category::Category;
use crate::config;
use crate::decide::{Decision, Forward, To};
use crate::dialect::Dialect;
use crate::intent::worker::Outcome;

/// Asks that may wait to be exported; a few megabytes.
const WAITING: usize = 2048;
/// Asks in one export.
const BATCH: usize = 256;
/// Bytes of a model's name that are kept: it is the client's to choose.
const LONGEST_NAME: usize = 256;
/// The first ask of a batch waits no longer for others.
const GATHER: Duration = Duration::from_secs(1);

/// W3C's header, which is taken from the client and sent to the upstream.
const TRACEPARENT: &str = "traceparent";

/// Where traces begin and where they are handed in. Shared by all requests.
#[derive(Debug)]
pub struct Traces {
    jobs: Sender<Job>,
    dropped: IntCounter,
    /// The share of asks that are traced where the client does not say.
    sample: f64,
}

#[derive(Debug)]
enum Job {
    Export(Box<Trace>),
    /// Answered when all that came before is exported, or has failed to be.
    Settle(Sender<()>),
}

/// One ask, as far as it has come.
#[derive(Debug)]
pub struct Trace {
    id: TraceId,
    /// The ask's own span.
    span: SpanId,
    /// The span of the wait for the upstream: what the upstream sees as its parent.
    wait: SpanId,
    /// The client's span.
    parent: SpanContext,
    at: SystemTime,
    start: Instant,
    dialect: Dialect,
    decided: Option<Decided>,
    end: Option<End>,
}

/// What was decided, and when.
#[derive(Debug)]
struct Decided {
    /// Since the start.
    at: Duration,
    rules: Duration,
    classifier: Option<Asked>,
    route: Duration,
    model: String,
    forwarded_model: Option<String>,
    category: &'static str,
    by: &'static str,
    rule: Option<String>,
    answer: Option<String>,
    guard: Option<&'static str>,
    words: usize,
    language: &'static str,
}

/// A question to the classifier.
#[derive(Debug)]
struct Asked {
    waited: Duration,
    outcome: &'static str,
    label: Option<(&'static str, f32)>,
}

/// How an ask ended.
#[derive(Debug)]
pub struct End {
    /// The status that the client got; 0: none.
    pub code: u16,
    /// `local` or `upstream`.
    pub route: &'static str,
    /// The request's id.
    pub request: String,
    /// To the reply's first byte, since the start.
    pub first_byte: Option<Duration>,
    /// The upstream, if it was turned to.
    pub upstream: Option<Waited>,
    /// When.
    pub at: Instant,
}

/// A wait for an upstream.
#[derive(Debug)]
pub struct Waited {
    /// As the config names it.
    pub name: String,
    /// `host:port`
    pub authority: String,
    /// When it was turned to.
    pub since: Instant,
}

impl Traces {
    /// Starts the thread. `results` counts what becomes of each ask's trace.
    ///
    /// # Errors
    /// If the exporter cannot be made, or the system gives no thread.
    pub fn start(config: &config::Trace, results: &IntCounterVec) -> std::io::Result<Self> {
        let exporter = Exporter::new(config, results)?;
        let (jobs, queue) = bounded(WAITING);
        std::thread::Builder::new().name("traces".into()).spawn(move || run(exporter, &queue))?;
        Ok(Self { jobs, dropped: results.with_label_values(&["dropped"]), sample: config.sample })
    }

    /// Begins an ask's trace, if it is to be traced: the client's word counts, else the configured share.
    pub fn begin(&self, headers: &HeaderMap, dialect: Dialect, start: Instant) -> Option<Box<Trace>> {
        let parent = if headers.contains_key(TRACEPARENT) {
            let extracted = TraceContextPropagator::new()
                .extract_with_context(&Context::new(), &HeaderExtractor(headers));
            extracted.span().span_context().clone()
        } else {
            SpanContext::NONE
        };
        let wanted = if parent.is_valid() { parent.is_sampled() } else { fastrand::f64() < self.sample };
        wanted.then(|| {
            Box::new(Trace {
                id: if parent.is_valid() { parent.trace_id() } else { TraceId::from(fastrand::u128(1..)) },
                span: SpanId::from(fastrand::u64(1..)),
                wait: SpanId::from(fastrand::u64(1..)),
                parent,
                at: SystemTime::now().checked_sub(start.elapsed()).unwrap_or_else(SystemTime::now),
                start,
                dialect,
                decided: None,
                end: None,
            })
        })
    }

    /// Hands an ask in at its end, or drops it. Never waits.
    pub fn finish(&self, mut trace: Box<Trace>, end: End) {
        trace.end = Some(end);
        if self.jobs.try_send(Job::Export(trace)).is_err() {
            self.dropped.inc();
        }
    }

    /// Waits until what was handed in is exported, but no longer than that. For the end of the process.
    pub fn settle(&self, longest: Duration) {
        let (done, settled) = bounded(1);
        if self.jobs.send_timeout(Job::Settle(done), longest).is_ok() {
            let _ = settled.recv_timeout(longest);
        }
    }
}

impl Trace {
    /// Notes what has just been decided.
    pub fn decided(&mut self, sight: &Sight<'_>, decision: &Decision<'_>) {
        let classifier = match sight.consulted {
            Consulted::Asked(outcome, waited) => Some(Asked {
                waited: *waited,
                // Nobody else's category is put to it.
                outcome: outcome.name(Category::GENERAL),
                label: match outcome {
                    Outcome::Verdict(verdict) => Some((verdict.label().name(), verdict.probability())),
                    _ => None,
                },
            }),
            _ => None,
        };
        let (answer, forwarded_model) = match decision.to {
            To::Answer(answer, _) | To::Unsafe(answer) => (Some(answer.name.to_string()), None),
            To::Question(..) => (Some(crate::decide::CLARIFY.to_owned()), None),
            To::Upstream(Forward { model, .. }) | To::Light(_, Forward { model, .. }) => {
                (None, model.map(str::to_owned))
            }
            To::Refusal(_) => (None, None),
        };
        self.decided = Some(Decided {
            at: self.start.elapsed(),
            rules: sight.stages.look + sight.stages.rules,
            classifier,
            route: sight.stages.route,
            model: sight.ask.model
                [..sight.ask.model.floor_char_boundary(LONGEST_NAME.min(sight.ask.model.len()))]
                .to_owned(),
            forwarded_model,
            category: decision.category.name(),
            by: decision.by.name(),
            rule: decision.rule.map(|rule| rule.name.to_string()),
            answer,
            guard: decision.guard.map(crate::ask::Guard::name),
            words: sight.facts.words,
            language: sight.facts.language.code(),
        });
    }

    /// The header that makes the upstream's spans children of ours.
    pub fn traceparent(&self) -> (&'static str, HeaderValue) {
        let value = HeaderValue::from_str(&format!("00-{}-{}-01", self.id, self.wait));
        (TRACEPARENT, value.unwrap_or_else(|_| HeaderValue::from_static("")))
    }
}

fn run(mut exporter: Exporter, queue: &Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        let mut batch = Vec::new();
        let mut settled = Vec::new();
        let until = Instant::now() + GATHER;
        let mut next = Some(job);
        while let Some(job) = next {
            match job {
                Job::Export(trace) => batch.push(trace),
                Job::Settle(done) => settled.push(done),
            }
            let full = batch.len() >= BATCH || !settled.is_empty();
            next = if full { None } else { queue.recv_deadline(until).ok() };
        }
        exporter.export(&batch);
        settled.into_iter().for_each(|done| {
            let _ = done.send(());
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn traces(sample: f64) -> (Traces, Receiver<Job>, Metrics) {
        let metrics = Metrics::new().unwrap();
        let (jobs, queue) = bounded(2);
        let dropped = metrics.traces.with_label_values(&["dropped"]);
        (Traces { jobs, dropped, sample }, queue, metrics)
    }

    fn headers(traceparent: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, traceparent.parse().unwrap());
        headers
    }

    fn begin(traces: &Traces, headers: &HeaderMap) -> Option<Box<Trace>> {
        traces.begin(headers, Dialect::Chat, Instant::now())
    }

    #[test]
    fn the_clients_word_on_tracing_counts_else_the_share() {
        let (all, ..) = traces(1.0);
        let (none, ..) = traces(0.0);
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let yes = headers(&format!("00-{id}-00f067aa0ba902b7-01"));
        let no = headers(&format!("00-{id}-00f067aa0ba902b7-00"));
        for traces in [&all, &none] {
            let trace = begin(traces, &yes).unwrap();
            assert_eq!(
                (trace.id.to_string().as_str(), trace.parent.span_id().to_string().as_str()),
                (id, "00f067aa0ba902b7")
            );
            let (_, sent) = trace.traceparent();
            assert_eq!(sent, format!("00-{id}-{}-01", trace.wait));
            assert!(begin(traces, &no).is_none());
        }
        for junk in ["", "00-xyz", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
            assert!(
                begin(&all, &headers(junk)).is_some() && begin(&none, &headers(junk)).is_none(),
                "{junk}"
            );
        }
        assert!(begin(&all, &HeaderMap::new()).is_some() && begin(&none, &HeaderMap::new()).is_none());
    }

    #[test]
    fn a_full_channel_drops_and_counts_and_never_waits() {
        let (all, queue, metrics) = traces(1.0);
        let end = || End {
            code: 200,
            route: "local",
            request: "a".into(),
            first_byte: None,
            upstream: None,
            at: Instant::now(),
        };
        for _ in 0..5 {
            all.finish(begin(&all, &HeaderMap::new()).unwrap(), end());
        }
        assert_eq!((queue.len(), metrics.traces.with_label_values(&["dropped"]).get()), (2, 3));
    }
}
