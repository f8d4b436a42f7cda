//! Spans on their way to the collector: OTLP in protobuf over HTTP, by the project's own `ureq`.

use std::io::Error;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use prometheus::{IntCounter, IntCounterVec};

use super::Trace;
use crate::config;

/// One export, tries included.
const PATIENCE: Duration = Duration::from_secs(10);
/// A collector's reply is a few bytes.
const LARGEST_REPLY: u64 = 1 << 20;

/// The thread's own: makes spans and sends them.
pub(super) struct Exporter {
    spans: SpanExporter,
    scope: InstrumentationScope,
    runtime: tokio::runtime::Runtime,
    exported: IntCounter,
    failed: IntCounter,
    /// The last export failed: said once, not for every batch.
    failing: bool,
}

impl Exporter {
    pub(super) fn new(config: &config::Trace, results: &IntCounterVec) -> std::io::Result<Self> {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build();
        let mut spans = SpanExporter::builder()
            .with_http()
            .with_http_client(Client(agent.into()))
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&config.endpoint)
            .with_timeout(PATIENCE)
            .build()
            .map_err(Error::other)?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        spans.set_resource(
            &Resource::builder().with_service_name("brainstem").with_attribute(version).build(),
        );
        Ok(Self {
            spans,
            scope: InstrumentationScope::builder("brainstem").with_version(env!("CARGO_PKG_VERSION")).build(),
            // The exporter waits between its tries on a runtime's clock.
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build()?,
            exported: results.with_label_values(&["exported"]),
            failed: results.with_label_values(&["failed"]),
            failing: false,
        })
    }

    pub(super) fn export(&mut self, batch: &[Box<Trace>]) {
        if batch.is_empty() {
            return;
        }
        let asks = batch.len() as u64;
        let spans = batch.iter().flat_map(|trace| trace.spans(&self.scope)).collect();
        match self.runtime.block_on(self.spans.export(spans)) {
            Ok(()) => {
                self.exported.inc_by(asks);
                self.failing = false;
            }
            Err(error) => {
                self.failed.inc_by(asks);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!("traces cannot be exported: {error}");
                }
            }
        }
    }
}

/// The crate's own way to HTTP would be a second client library.
#[derive(Debug)]
struct Client(ureq::Agent);

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        // Blocks: the thread has nothing else to do.
        let (head, mut body) = self.0.run(Request::from_parts(head, &body[..]))?.into_parts();
        let bytes = body.with_config().limit(LARGEST_REPLY).read_to_vec()?;
        Ok(Response::from_parts(head, bytes.into()))
    }
}
