//! Traces: what became of one message, from the door where it came in to all that hand it out. They go to a collector, by
//! OTLP over gRPC.
//!
//! Off unless told where to: then a span is nothing, and costs a look at an empty place. What goes from one process to
//! another is a `traceparent` (W3C Trace Context), an empty text for what is not traced. No span holds what was said, by
//! whom, where, or any address. Its children are begun [within](Span::within) it, in its [scope](Span::scope), or elsewhere
//! [after](Span::after) it.

use std::{collections::HashMap, fmt, str::FromStr, sync::OnceLock, time::Duration};

use opentelemetry::{
    Context, ContextGuard,
    propagation::TextMapPropagator as _,
    trace::{
        FutureExt as _, Span as _, SpanContext, SpanKind, TraceContextExt as _, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_otlp::{WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span as SdkSpan,
        SpanData, SpanExporter,
    },
};
use tonic::transport::{Channel, Endpoint};

use crate::Fatal;

/// How many spans may wait for the collector. More are dropped: a trace is worth less than a message.
const MAX_WAITING_SPANS: usize = 2048;
/// How long the collector may take for what it is sent at once.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a span may wait for others to go with.
const EXPORT_EVERY: Duration = Duration::from_secs(1);
/// How long the last spans may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// The length of version 00, in bytes; later versions are longer (W3C Trace Context, 3.2).
const MIN_TRACEPARENT: usize = 55;
/// The longest `traceparent` that is read; those of today have 55 bytes.
const MAX_TRACEPARENT: usize = 128;

static TRACING: OnceLock<Tracing> = OnceLock::new();

/// What spans are made by.
struct Tracing {
    tracer: SdkTracer,
    ratio: f64,
}

/// Where traces go: a collector that takes OTLP over gRPC.
#[derive(Clone, Debug)]
pub struct Collector(Endpoint);

impl FromStr for Collector {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.starts_with("http://") {
            return Err("it begins with http://, as of a collector beside this program");
        }
        let endpoint =
            Endpoint::from_shared(text.to_owned()).map_err(|_| "it is a URL like http://127.0.0.1:4317")?;
        Ok(Self(endpoint))
    }
}

/// A share of all, from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct Ratio(f64);

impl FromStr for Ratio {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.map(Self).ok_or("it is a number from 0 to 1")
    }
}

/// What takes spans to the collector, and has to be ended for the last of them.
#[derive(Debug)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Traces this `ratio` of what comes in, as `program`, and sends it to `collector`. Without one nothing is traced. Once
    /// per process, on its runtime.
    pub fn start(
        program: &'static str,
        collector: Option<&Collector>,
        Ratio(ratio): Ratio,
    ) -> Result<Self, Fatal> {
        let Some(Collector(endpoint)) = collector else { return Ok(Self(None)) };
        let channel = endpoint.clone().connect_timeout(EXPORT_TIMEOUT).connect_lazy();
        let exporter = Counted::new(channel)?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_WAITING_SPANS)
            .with_scheduled_delay(EXPORT_EVERY)
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            // What is begun at all is kept: see `Span::first`.
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(Resource::builder_empty().with_service_name(program).build())
            .build();
        let tracing = Tracing { tracer: provider.tracer("parlor"), ratio };
        TRACING.set(tracing).map_err(|_| Fatal::new("traces are started once per process"))?;
        Ok(Self(Some(provider)))
    }

    /// Sends what waits, for a short while.
    pub async fn finish(self) {
        let Some(provider) = self.0 else { return };
        let sent = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FAREWELL)).await;
        if !matches!(sent, Ok(Ok(()))) {
            tracing::warn!("the last traces did not reach their collector");
        }
    }
}

/// The exporter, and how many spans it sent and could not send. The library would say so in logs, with addresses.
#[derive(Debug)]
struct Counted(opentelemetry_otlp::SpanExporter);

impl Counted {
    fn new(channel: Channel) -> Result<Self, Fatal> {
        metrics::describe_counter!(
            "parlor_trace_spans_total",
            "Spans for the collector of traces: sent, or failed to be."
        );
        for result in ["sent", "failed"] {
            let _ = metrics::counter!("parlor_trace_spans_total", "result" => result);
        }
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_channel(channel)
            .with_timeout(EXPORT_TIMEOUT)
            .build();
        exporter.map(Self).map_err(|error| Fatal::new(format_args!("traces: {error}")))
    }
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let outcome = self.0.export(batch).await;
        let result = if outcome.is_ok() { "sent" } else { "failed" };
        metrics::counter!("parlor_trace_spans_total", "result" => result).increment(spans);
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// A part of a message's way, until it is dropped. Nothing, if the message is not traced.
#[must_use = "it ends when it is dropped"]
pub struct Span(Option<Box<SdkSpan>>);

impl Span {
    /// A span of nothing.
    pub const NOTHING: Self = Self(None);

    /// The first of ours for something that came in: for as many as the ratio says, whatever a stranger says. It goes on in
    /// the trace of `asker`, the `traceparent` that came with it, and is nothing if that says that it is not traced.
    pub fn first(name: &'static str, asker: &str) -> Self {
        let Some(tracing) = TRACING.get() else { return Self::NOTHING };
        if rand::random::<f64>() >= tracing.ratio {
            return Self::NOTHING;
        }
        match parse(asker) {
            Some(parent) if !parent.is_sampled() => Self::NOTHING,
            parent => tracing.begin(name, SpanKind::Server, parent),
        }
    }

    /// What follows on the span that `traceparent` names. Nothing, if that is empty.
    pub fn after(name: &'static str, traceparent: &str) -> Self {
        match TRACING.get() {
            Some(tracing) if !traceparent.is_empty() => match parse(traceparent) {
                Some(parent) => tracing.begin(name, SpanKind::Consumer, Some(parent)),
                None => Self::NOTHING,
            },
            _ => Self::NOTHING,
        }
    }

    /// A part of this one.
    pub fn within(&self, name: &'static str) -> Self {
        match (TRACING.get(), &self.0) {
            (Some(tracing), Some(span)) => {
                tracing.begin(name, SpanKind::Internal, Some(span.span_context().clone()))
            }
            _ => Self::NOTHING,
        }
    }

    /// A part of the one in whose scope this is.
    pub fn here(name: &'static str) -> Self {
        match (TRACING.get(), enclosing()) {
            (Some(tracing), Some(parent)) => tracing.begin(name, SpanKind::Internal, Some(parent)),
            _ => Self::NOTHING,
        }
    }

    /// Whether it is of nothing.
    pub fn is_nothing(&self) -> bool {
        self.0.is_none()
    }

    /// Its name for other processes; empty for nothing.
    pub fn traceparent(&self) -> String {
        self.0.as_ref().map(|span| write(span.span_context())).unwrap_or_default()
    }

    /// Does `task` in its scope. A boxed one, so that who is not traced holds no second place for it.
    pub async fn scope<T>(&self, task: impl Future<Output = T> + Unpin) -> T {
        match self.context() {
            Some(context) => task.with_context(context).await,
            None => task.await,
        }
    }

    /// This thread is in its scope until what this returns is dropped.
    pub fn enter(&self) -> Option<ContextGuard> {
        self.context().map(Context::attach)
    }

    fn context(&self) -> Option<Context> {
        let span = self.0.as_ref()?;
        Some(Context::new().with_remote_span_context(span.span_context().clone()))
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_nothing() { "Span::NOTHING" } else { "Span" })
    }
}

/// The `traceparent` of the span in whose scope this is; empty outside of any.
pub fn traceparent() -> String {
    match TRACING.get() {
        Some(_) => enclosing().as_ref().map(write).unwrap_or_default(),
        None => String::new(),
    }
}

impl Tracing {
    fn begin(&self, name: &'static str, kind: SpanKind, parent: Option<SpanContext>) -> Span {
        let context =
            parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        let builder = self.tracer.span_builder(name).with_kind(kind);
        Span(Some(Box::new(self.tracer.build_with_context(builder, &context))))
    }
}

fn enclosing() -> Option<SpanContext> {
    Context::map_current(|context| context.has_active_span().then(|| context.span().span_context().clone()))
}

fn write(context: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags())
}

/// Nothing for what is no `traceparent`: strangers write them too.
fn parse(traceparent: &str) -> Option<SpanContext> {
    if !(MIN_TRACEPARENT..=MAX_TRACEPARENT).contains(&traceparent.len()) {
        return None;
    }
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    Some(context.span().span_context().clone()).filter(SpanContext::is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_as_it_is_written_and_nothing_else_is() {
        assert_eq!(write(&parse(ASKER).unwrap()), ASKER);
        let long = format!("{ASKER}-{}", "0".repeat(100));
        for other in ["", "00", "hello", &ASKER[..54], &ASKER.replace('4', "g"), &long] {
            assert!(parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn what_is_not_started_traces_nothing() {
        assert!(Span::first("frame", ASKER).is_nothing());
        assert!(Span::after("decide", ASKER).is_nothing());
        assert_eq!(traceparent(), "");
    }

    #[test]
    fn settings_are_checked() {
        assert!("http://127.0.0.1:4317".parse::<Collector>().is_ok());
        assert!("https://collector:4317".parse::<Collector>().is_err());
        assert!("1e-3".parse::<Ratio>().is_ok() && "1".parse::<Ratio>().is_ok());
        for wrong in ["2", "-1", "NaN", "all"] {
            assert!(wrong.parse::<Ratio>().is_err(), "{wrong}");
        }
    }
}
