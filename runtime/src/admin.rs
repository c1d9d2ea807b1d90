//! The admin listener: `/livez`, `/readyz` and `/metrics` over HTTP/1.1, apart from what users reach.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{Health, Tasks};

/// How many may ask at once: a few scrapers and probes. More wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How often old samples are folded into their histograms, so that an unscraped process does not grow.
const UPKEEP: Duration = Duration::from_secs(5);

/// Answers on `listener` until the tasks stop.
pub async fn serve(listener: TcpListener, health: Health, metrics: PrometheusHandle, tasks: Tasks) {
    let mut connections = JoinSet::new();
    let mut upkeep = tokio::time::interval(UPKEEP);
    loop {
        let accepted = tokio::select! {
            () = tasks.stopping().cancelled() => break,
            _ = upkeep.tick() => {
                metrics.run_upkeep();
                continue;
            }
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => accepted,
        };
        let Ok((socket, _)) = accepted else {
            // Out of file descriptors, most likely: they come back, and asking at once again would not help.
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        let (health, metrics) = (health.clone(), metrics.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &health, &metrics);
                async move { Ok::<_, Infallible>(response) }
            });
            // A probe that hangs up half-way is its own affair.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

fn answer(request: &Request<Incoming>, health: &Health, metrics: &PrometheusHandle) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let (status, body) = if request.method() != Method::GET && request.method() != Method::HEAD {
        (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned())
    } else if path == "/metrics" {
        (StatusCode::OK, metrics.render())
    } else {
        let unknown = || (StatusCode::NOT_FOUND, "here are /livez, /readyz and /metrics\n".to_owned());
        health.answer(path).unwrap_or_else(unknown)
    };
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
        .body(Full::from(body))
        .expect("a status and a static header make a response")
}
