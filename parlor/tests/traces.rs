//! Traces of a program as it is run.
#![allow(clippy::unwrap_used)]

use testkit::{Program, TraceCollector, eventually, free_port, http::post, http_get};

const ASKER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNTRACED: &str = "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

#[tokio::test]
async fn a_request_goes_on_in_the_trace_of_its_asker_and_the_last_spans_are_sent_at_the_end() {
    let collector = TraceCollector::start().await;
    let web = format!("127.0.0.1:{}", free_port());
    let mut parlor = Program::start(
        env!("CARGO_BIN_EXE_parlor"),
        &[
            &format!("--gateway-listen={web}"),
            &format!("--gateway-admin-listen=127.0.0.1:{}", free_port()),
            &format!("--room-service-listen=127.0.0.1:{}", free_port()),
            &format!("--room-service-admin-listen=127.0.0.1:{}", free_port()),
            &format!("--gateway-otlp-endpoint={}", collector.url()),
            "--gateway-trace-ratio=1",
            "--gateway-drain=100ms",
            "--room-service-drain=100ms",
        ],
    );
    eventually("it is ready", async || http_get(&web, "/readyz").await.filter(|(status, _)| *status == 200))
        .await;
    let token = post(&web, "/v1/tokens", "", "").await.body["token"].as_str().unwrap().to_owned();
    for traceparent in [UNTRACED, ASKER] {
        let headers = format!("authorization: Bearer {token}\r\ntraceparent: {traceparent}\r\n");
        let said = post(&web, "/v1/rooms/lobby/messages", &headers, r#"{"text":"hello"}"#).await;
        assert_eq!(said.status, 200, "{said:?}");
    }
    parlor.terminate().await;
    assert_eq!(parlor.exit_code().await, Some(0));

    let spans = collector.collected();
    let (_, asked) = ASKER.split_once('-').unwrap();
    let (trace, asked) = asked.split_once('-').unwrap();
    assert!(spans.iter().all(|span| span.trace == trace), "{spans:?}");
    assert!(spans.iter().all(|span| span.program.contains("parlor")), "{spans:?}");
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    assert_eq!(named("request").parent, asked.split('-').next().unwrap());
    assert_eq!(named("decide").parent, named("request").id);
    assert_eq!(named("append").parent, named("decide").id);
}
