//! A collector of traces, which takes OTLP over gRPC and lets a test look at it.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// A part of a message's way, as the collector was told.
#[derive(Clone, Debug)]
pub struct Collected {
    /// Which program did it.
    pub program: String,
    /// What it did.
    pub name: String,
    /// The trace, the span and what it is a part of, in hexadecimal; no parent is an empty text.
    pub trace: String,
    /// See `trace`.
    pub id: String,
    /// See `trace`.
    pub parent: String,
    /// All that the collector was told of it, as text.
    pub all: String,
}

/// A running collector, which ends with this.
#[derive(Debug)]
pub struct TraceCollector {
    url: String,
    collected: Arc<Mutex<Vec<Collected>>>,
    serving: JoinHandle<()>,
}

impl TraceCollector {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collected = Arc::<Mutex<Vec<Collected>>>::default();
        let server = Server::builder().add_service(TraceServiceServer::new(Collecting(collected.clone())));
        let serving = tokio::spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { url, collected, serving }
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it was told so far.
    pub fn collected(&self) -> Vec<Collected> {
        self.collected.lock().unwrap().clone()
    }
}

impl Drop for TraceCollector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Collecting(Arc<Mutex<Vec<Collected>>>);

#[tonic::async_trait]
impl TraceService for Collecting {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        for resource in request.into_inner().resource_spans {
            let program = format!("{:?}", resource.resource);
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                self.0.lock().unwrap().push(Collected {
                    all: format!("{program} {span:?}"),
                    program: program.clone(),
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    name: span.name,
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
