//! An ask's spans, by OpenTelemetry's conventions for generative AI and HTTP; what only brainstem knows is under
//! `brainstem.*`.

use std::time::Duration;

use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::{Asked, Decided, End, Trace, Waited};
use crate::dialect::Dialect;

impl Trace {
    /// The ask's span and its children.
    pub(super) fn spans(&self, scope: &InstrumentationScope) -> Vec<SpanData> {
        let Some(end) = &self.end else { return Vec::new() };
        let ended = end.at.saturating_duration_since(self.start);
        let mut spans = Vec::with_capacity(4);
        if let Some(decided) = &self.decided {
            // The stages follow on each other; the last one ended when the decision was noted.
            let waited = decided.classifier.as_ref().map_or(Duration::ZERO, |asked| asked.waited);
            let asked_until = decided.at.saturating_sub(decided.route);
            let rules_until = asked_until.saturating_sub(waited);
            let rules =
                self.child("brainstem.rules", rules_until.saturating_sub(decided.rules), rules_until, scope);
            spans.push(SpanData { attributes: rules_attributes(decided), ..rules });
            if let Some(asked) = &decided.classifier {
                let child = self.child("brainstem.classifier", rules_until, asked_until, scope);
                spans.push(SpanData { attributes: classifier_attributes(asked), ..child });
            }
        }
        if let Some(waited) = &end.upstream {
            spans.push(self.wait_span(waited, end, ended, scope));
        }
        let operation = operation(self.dialect);
        let model = self.decided.as_ref().map_or("", |decided| &decided.model);
        spans.push(SpanData {
            span_context: self.context(self.span),
            parent_span_id: self.parent.span_id(),
            parent_span_is_remote: self.parent.is_remote(),
            span_kind: SpanKind::Server,
            name: format!("{operation} {model}").trim_end().to_owned().into(),
            attributes: self.attributes(end),
            status: status(end.code),
            ..self.child("", Duration::ZERO, ended, scope)
        });
        spans
    }

    fn wait_span(
        &self,
        waited: &Waited,
        end: &End,
        ended: Duration,
        scope: &InstrumentationScope,
    ) -> SpanData {
        let since = waited.since.saturating_duration_since(self.start);
        let (host, port) = waited.authority.rsplit_once(':').unwrap_or((&waited.authority, ""));
        let mut attributes = vec![
            KeyValue::new("server.address", host.to_owned()),
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("brainstem.upstream", waited.name.clone()),
        ];
        attributes.extend(port.parse().ok().map(|port: i64| KeyValue::new("server.port", port)));
        attributes.extend(code(end.code));
        let decided = self.decided.as_ref();
        if let Some(model) = decided.and_then(|decided| decided.forwarded_model.clone()) {
            attributes.push(KeyValue::new("gen_ai.request.model", model));
        }
        let mut events = SpanEvents::default();
        if let Some(first) = end.first_byte {
            events.events.push(Event::new("first byte", self.at + first, Vec::new(), 0));
        }
        SpanData {
            span_context: self.context(self.wait),
            span_kind: SpanKind::Client,
            attributes,
            events,
            status: status(end.code),
            ..self.child("brainstem.upstream", since, ended, scope)
        }
    }

    fn attributes(&self, end: &End) -> Vec<KeyValue> {
        let local = end.route == "local";
        let mut attributes = vec![
            KeyValue::new("gen_ai.operation.name", operation(self.dialect)),
            KeyValue::new("gen_ai.provider.name", if local { "brainstem" } else { "ollama" }),
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("url.path", self.dialect.path()),
            KeyValue::new("http.route", self.dialect.path()),
            KeyValue::new("brainstem.dialect", self.dialect.name()),
            KeyValue::new("brainstem.route", end.route),
            KeyValue::new("brainstem.request_id", end.request.clone()),
        ];
        attributes.extend(code(end.code));
        if end.code == 0 || end.code >= 500 {
            attributes.push(KeyValue::new("error.type", end.code.to_string()));
        }
        if let Some(first) = end.first_byte {
            attributes.push(KeyValue::new("gen_ai.response.time_to_first_chunk", first.as_secs_f64()));
        }
        let Some(decided) = &self.decided else { return attributes };
        if !decided.model.is_empty() {
            attributes.push(KeyValue::new("gen_ai.request.model", decided.model.clone()));
        }
        attributes.push(KeyValue::new("brainstem.category", decided.category));
        attributes.push(KeyValue::new("brainstem.decided_by", decided.by));
        attributes.push(KeyValue::new("brainstem.language", decided.language));
        attributes.push(KeyValue::new("brainstem.words", whole(decided.words)));
        let texts = [
            ("brainstem.rule", decided.rule.clone()),
            ("brainstem.answer", decided.answer.clone().filter(|_| local)),
            ("brainstem.guard", decided.guard.map(str::to_owned)),
        ];
        attributes.extend(texts.into_iter().filter_map(|(key, value)| Some(KeyValue::new(key, value?))));
        attributes
    }

    /// A span inside the ask's, to be made special.
    fn child(
        &self,
        name: &'static str,
        from: Duration,
        to: Duration,
        scope: &InstrumentationScope,
    ) -> SpanData {
        SpanData {
            span_context: self.context(SpanId::from(fastrand::u64(1..))),
            parent_span_id: self.span,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: self.at + from,
            end_time: self.at + to,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: scope.clone(),
        }
    }

    fn context(&self, span: SpanId) -> SpanContext {
        let state: TraceState = self.parent.trace_state().clone();
        SpanContext::new(self.id, span, TraceFlags::SAMPLED, false, state)
    }
}

/// The name of what is asked for, from the conventions' list.
fn operation(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Chat | Dialect::ChatCompletions | Dialect::Messages | Dialect::Responses => "chat",
        Dialect::Generate | Dialect::Completions => "text_completion",
    }
}

fn rules_attributes(decided: &Decided) -> Vec<KeyValue> {
    let rule = decided.rule.clone().map(|rule| KeyValue::new("brainstem.rule", rule));
    rule.into_iter().collect()
}

fn classifier_attributes(asked: &Asked) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new("brainstem.classifier.outcome", asked.outcome)];
    if let Some((label, probability)) = asked.label {
        attributes.push(KeyValue::new("brainstem.classifier.label", label));
        attributes.push(KeyValue::new("brainstem.classifier.probability", f64::from(probability)));
    }
    attributes
}

fn code(code: u16) -> Option<KeyValue> {
    (code > 0).then(|| KeyValue::new("http.response.status_code", Value::I64(code.into())))
}

/// A client's own fault leaves a server's span as it is.
fn status(code: u16) -> Status {
    if code == 0 || code >= 500 { Status::error("") } else { Status::Unset }
}

fn whole(n: usize) -> Value {
    Value::I64(i64::try_from(n).unwrap_or(i64::MAX))
}
