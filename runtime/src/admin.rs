//! The admin listener: `/livez`, `/readyz`, `/metrics`, and what a program adds under `/v1/`, over HTTP/1.1, apart from
//! what users reach.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use metrics_process::Collector;
use tokio::{net::TcpListener, task::JoinSet, time::timeout};

use crate::{Health, Tasks, build};

/// How many may ask at once: a few scrapers and probes. More wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request's body may take, and how long it may be, in bytes.
const BODY: (Duration, usize) = (Duration::from_secs(5), 16 << 10);
/// How long to wait after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How often old samples are folded into their histograms, so that an unscraped process does not grow.
const UPKEEP: Duration = Duration::from_secs(5);

/// What a program answers under `/v1/`.
pub type More = Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Response<Full<Bytes>>> + Send + Sync>;

/// Answers on `listener` until the tasks stop.
pub async fn serve(listener: TcpListener, health: Health, metrics: PrometheusHandle, tasks: Tasks) {
    serve_with(listener, health, metrics, tasks, None).await;
}

/// The same, with what the program adds.
pub async fn serve_with(
    listener: TcpListener,
    health: Health,
    metrics: PrometheusHandle,
    tasks: Tasks,
    more: Option<More>,
) {
    metrics::describe_gauge!("parlor_ready", "1 while /readyz answers 200, else 0.");
    Collector::default().describe();
    metrics::describe_gauge!("parlor_build_info", "Always 1; its labels say what was built.");
    metrics::gauge!("parlor_build_info", "version" => build::VERSION, "revision" => build::REVISION).set(1.0);
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
        let (health, metrics, more) = (health.clone(), metrics.clone(), more.clone());
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let (health, metrics) = (health.clone(), metrics.clone());
                let more = more.clone().filter(|_| request.uri().path().starts_with("/v1/"));
                async move {
                    Ok::<_, Infallible>(match more {
                        Some(more) => pass_on(request, &more).await,
                        None => answer(&request, &health, &metrics),
                    })
                }
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

async fn pass_on(request: Request<Incoming>, more: &More) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let (time, bytes) = BODY;
    match timeout(time, Limited::new(body, bytes).collect()).await {
        Ok(Ok(body)) => more(Request::from_parts(head, body.to_bytes())).await,
        Ok(Err(_)) => respond(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {bytes} bytes\n")),
        Err(_) => respond(StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n".to_owned()),
    }
}

fn answer(request: &Request<Incoming>, health: &Health, metrics: &PrometheusHandle) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let (status, body) = if request.method() != Method::GET && request.method() != Method::HEAD {
        (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned())
    } else if path == "/metrics" {
        // Said when somebody asks, so that it is never older than the answer.
        metrics::gauge!("parlor_ready").set(if health.check().is_ok() { 1.0 } else { 0.0 });
        Collector::default().collect();
        (StatusCode::OK, metrics.render())
    } else {
        let unknown = || (StatusCode::NOT_FOUND, "here are /livez, /readyz and /metrics\n".to_owned());
        health.answer(path).unwrap_or_else(unknown)
    };
    respond(status, body)
}

fn respond(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
        .body(Full::from(body))
        .expect("a status and a static header make a response")
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    #[tokio::test]
    async fn metrics_say_whether_the_process_is_ready() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let (health, tasks, metrics) = (Health::default(), Tasks::default(), recorder.handle());
        let _guard = metrics::set_default_local_recorder(&recorder);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn("admin", serve(listener, health.clone(), metrics, tasks.clone()));

        health.unready("redis", "it is away");
        assert!(scrape(address).await.contains("\nparlor_ready 0\n"));
        health.ready("redis");
        let scraped = scrape(address).await;
        assert!(scraped.contains("\nparlor_ready 1\n"), "{scraped}");
        assert!(scraped.contains(&format!("version=\"{}\"", build::VERSION)), "{scraped}");
    }

    async fn scrape(address: std::net::SocketAddr) -> String {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        connection.write_all(request).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    }
}
