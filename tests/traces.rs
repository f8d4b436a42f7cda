//! Traces as a collector receives them: OTLP over HTTP, decoded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where it is wrong")]

mod support;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use support::asks::{Surface, chat};
use support::upstream::reply;
use support::{DEADLINE, Options, Running, Step, Upstream, eventually};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const CODING: &str = "write a python function that sorts a list of numbers";

/// Takes what is exported.
fn collector() -> Upstream {
    let collector = Upstream::start();
    collector.script(|_| vec![Step::Send(reply(200, "application/x-protobuf", b""))]);
    collector
}

fn traced(upstream: &Upstream, collector: &Upstream) -> Options {
    Options::before(upstream).set("trace.endpoint", collector.url())
}

/// All spans that came, once there are that many.
#[track_caller]
fn spans(collector: &Upstream, wanted: usize) -> Vec<Span> {
    let all = || -> Vec<Span> {
        let exports = collector.received().into_iter().map(|export| {
            assert_eq!((export.method.as_str(), export.path.as_str()), ("POST", "/v1/traces"));
            assert_eq!(export.header("content-type"), Some("application/x-protobuf"));
            ExportTraceServiceRequest::decode(&export.body[..]).unwrap()
        });
        let scopes = exports.flat_map(|export| export.resource_spans).flat_map(|resource| {
            let named = resource.resource.unwrap().attributes;
            assert_eq!(text(&named, "service.name"), "brainstem");
            resource.scope_spans
        });
        scopes.flat_map(|scope| scope.spans).collect()
    };
    eventually(DEADLINE, &format!("{wanted} spans are exported"), || all().len() >= wanted);
    let all = all();
    assert_eq!(all.len(), wanted, "{all:#?}");
    all
}

fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name} in {spans:#?}"))
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|pair| pair.key == key)?.value.as_ref()?.value.as_ref()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    match value(attributes, key) {
        Some(Value::StringValue(text)) => text,
        _ => "-",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn an_ask_is_one_span_with_children_inside_it() {
    let (upstream, collector) = (Upstream::start(), collector());
    let running = traced(&upstream, &collector).classifier("on").start();
    let wait = std::time::Duration::from_millis(300);
    upstream.script(move |_| [vec![Step::Wait(wait)], support::upstream::ok()].concat());
    let answered =
        running.send(&chat("llama3.2", CODING).header("traceparent", &format!("00-{TRACE}-{PARENT}-01")));
    let spans = spans(&collector, 4);
    let ask = named(&spans, "chat llama3.2");
    assert_eq!((hex(&ask.trace_id), hex(&ask.parent_span_id)), (TRACE.into(), PARENT.into()));
    assert_eq!(ask.kind, SpanKind::Server as i32);
    for (key, expected) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "ollama"),
        ("gen_ai.request.model", "llama3.2"),
        ("url.path", "/api/chat"),
        ("brainstem.route", "upstream"),
        ("brainstem.category", "coding"),
        ("brainstem.decided_by", "classifier"),
        ("brainstem.language", "en"),
        ("brainstem.request_id", answered.header("x-request-id").unwrap()),
    ] {
        assert_eq!(text(&ask.attributes, key), expected, "{key}");
    }
    assert_eq!(value(&ask.attributes, "http.response.status_code"), Some(&Value::IntValue(200)));
    for child in ["brainstem.rules", "brainstem.classifier", "brainstem.upstream"] {
        let child = named(&spans, child);
        assert_eq!((&child.trace_id, &child.parent_span_id), (&ask.trace_id, &ask.span_id));
        assert!(ask.start_time_unix_nano <= child.start_time_unix_nano, "{child:?} {ask:?}");
        assert!(
            child.start_time_unix_nano <= child.end_time_unix_nano
                && child.end_time_unix_nano <= ask.end_time_unix_nano
        );
    }
    let classifier = named(&spans, "brainstem.classifier");
    assert_eq!(text(&classifier.attributes, "brainstem.classifier.label"), "coding");
    assert_eq!(text(&classifier.attributes, "brainstem.classifier.outcome"), "changed");
    let wait = named(&spans, "brainstem.upstream");
    assert_eq!((wait.kind, text(&wait.attributes, "server.address")), (SpanKind::Client as i32, "127.0.0.1"));
    assert_eq!(
        value(&wait.attributes, "server.port"),
        Some(&Value::IntValue(upstream.address.port().into()))
    );
    assert!(wait.end_time_unix_nano - wait.start_time_unix_nano >= 300_000_000, "{wait:?}");
    assert_eq!(wait.events[0].name, "first byte");
    // The upstream's spans become children of the wait.
    let sent = format!("00-{TRACE}-{}-01", hex(&wait.span_id));
    assert_eq!(upstream.only().header("traceparent"), Some(&*sent));
    assert_eq!(running.metric("traces_total{result=\"exported\"}"), 1.0);
}

#[test]
fn what_is_answered_here_and_what_fails_is_told_and_no_words_of_it() {
    let (upstream, collector) = (Upstream::start(), collector());
    let running = traced(&upstream, &collector).start();
    running.chat("hello");
    let local = spans(&collector, 2);
    let ask = named(&local, "chat llama3.2");
    assert_eq!(text(&ask.attributes, "gen_ai.provider.name"), "brainstem");
    assert_eq!(
        (text(&ask.attributes, "brainstem.rule"), text(&ask.attributes, "brainstem.answer")),
        ("answers/greeting", "greeting")
    );
    assert!(ask.parent_span_id.is_empty());
    collector.forget();
    upstream.script(|_| vec![Step::Close]);
    let body = Surface::Completions.body("llama3.2", "xylophonist explain the tides");
    running.send(&Surface::Completions.request(&body).header("tracestate", "vendor=1"));
    let failed = spans(&collector, 3);
    let ask = named(&failed, "text_completion llama3.2");
    assert_eq!((ask.status.as_ref().unwrap().code, text(&ask.attributes, "error.type")), (2, "502"));
    let exported = collector.received();
    assert!(exported.iter().all(|export| support::http::find(&export.body, b"xylophonist").is_none()));
}

#[test]
fn a_client_that_does_not_want_to_be_traced_is_not_and_its_header_goes_on() {
    let (upstream, collector) = (Upstream::start(), collector());
    let running = traced(&upstream, &collector).start();
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    running.send(
        &chat("llama3.2", "explain the tides").header("traceparent", &unsampled).header("tracestate", "a=1"),
    );
    assert_eq!(upstream.only().header("traceparent"), Some(&*unsampled));
    assert_eq!(upstream.only().header("tracestate"), Some("a=1"));
    running.chat("hello");
    spans(&collector, 2);
}

/// Asks something that goes upstream, with a traceparent; what the upstream got of it.
fn passed_on(running: &Running, upstream: &Upstream) -> Option<String> {
    let sampled = format!("00-{TRACE}-{PARENT}-01");
    running.send(&chat("llama3.2", "explain the tides").header("traceparent", &sampled));
    upstream.last().header("traceparent").map(str::to_owned)
}

#[test]
fn off_by_default_and_then_the_header_is_not_touched() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream).start();
    assert_eq!(passed_on(&running, &upstream), Some(format!("00-{TRACE}-{PARENT}-01")));
    running.chat("explain the tides");
    assert_eq!(upstream.last().header("traceparent"), None);
    assert_eq!(running.metric("traces_total{result=\"exported\"}"), 0.0);
}

#[test]
fn nobody_waits_for_a_collector_that_is_gone() {
    let upstream = Upstream::start();
    let running = Options::before(&upstream)
        .set("trace.endpoint", format!("http://{}", support::running::nobody()))
        .start();
    for _ in 0..20 {
        assert_eq!(running.chat("hello").status, 200);
    }
    eventually(DEADLINE, "it is counted", || running.metric("traces_total{result=\"failed\"}") >= 20.0);
    running.log_line("traces cannot be exported");
}

#[test]
fn what_is_waiting_is_exported_when_the_process_ends() {
    let (upstream, collector) = (Upstream::start(), collector());
    let mut running = traced(&upstream, &collector).start();
    running.chat("hello");
    running.signal("TERM");
    assert!(running.ended(DEADLINE).success());
    spans(&collector, 2);
}
