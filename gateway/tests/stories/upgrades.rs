//! Who may open a session, and who may not.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{World, soon};

#[tokio::test]
async fn a_page_from_elsewhere_is_refused_with_403() {
    let (world, _link) = World::ready(|_| {}).await;
    let own = format!("http://{}", world.address);
    assert!(world.browser_with(&[("origin", &own)]).await.is_ok());
    for origin in ["https://evil.example", "null"] {
        let (status, body) = world.browser_with(&[("origin", origin)]).await.err().unwrap();
        assert_eq!((status, body["error"]["code"].as_str()), (403, Some("FORBIDDEN")), "{origin}: {body}");
        assert!(body["error"]["message"].is_string());
    }
}

#[tokio::test]
async fn a_listed_page_is_let_in() {
    let (world, _link) =
        World::ready(|settings| settings.allowed_origins = Some("https://a.example".parse().unwrap())).await;
    assert!(world.browser_with(&[("origin", "https://a.example")]).await.is_ok());
    let own = format!("http://{}", world.address);
    assert_eq!(world.browser_with(&[("origin", &own)]).await.err().unwrap().0, 403);
}

#[tokio::test]
async fn before_a_room_service_answers_nobody_is_let_in() {
    let mut world = World::start(|_| {}).await;
    world.unreachable(true);
    let (status, body) = world.browser_with(&[]).await.err().unwrap();
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("UNAVAILABLE")), "{body}");
    assert_eq!(world.http("GET", "/readyz", "").await.status, 503);
    assert_eq!(world.http("GET", "/livez", "").await.status, 200);
    world.unreachable(false);
    let _link = world.link().await;
    assert!(world.browser_with(&[]).await.is_ok());
    assert_eq!(world.http("GET", "/readyz", "").await.status, 200);
}

#[tokio::test]
async fn a_full_gateway_sends_browsers_elsewhere() {
    let (world, _link) = World::ready(|settings| settings.max_sessions = 1).await;
    let _first = world.browser().await;
    let (status, body) = world.browser_with(&[]).await.err().unwrap();
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("UNAVAILABLE")), "{body}");
}

#[tokio::test]
async fn an_address_that_comes_too_fast_is_refused_with_429_and_another_is_not() {
    let (world, _link) = World::ready(|settings| {
        settings.trusted_hops = 1;
        settings.session_rate_per_address = 1;
        settings.session_burst_per_address = 3;
    })
    .await;
    let mut refusals = Vec::new();
    for _ in 0..20 {
        refusals.extend(world.browser_with(&[("x-forwarded-for", "10.0.0.1")]).await.err());
    }
    assert!((1..=17).contains(&refusals.len()), "{refusals:?}");
    for (status, body) in refusals {
        assert_eq!((status, body["error"]["code"].as_str()), (429, Some("RATE_LIMITED")), "{body}");
    }
    assert!(world.browser_with(&[("x-forwarded-for", "10.0.0.2")]).await.is_ok());
}

#[tokio::test]
async fn the_sub_protocol_that_is_offered_and_known_is_selected() {
    let (world, _link) = World::ready(|_| {}).await;
    for (offered, selected) in
        [("chat.v1.json", Some("chat.v1.json")), ("soap, chat.v1.proto, chat.v1.json", Some("chat.v1.proto"))]
    {
        let browser = world.browser_with(&[("sec-websocket-protocol", offered)]).await.unwrap();
        assert_eq!(browser.protocol.as_deref(), selected);
    }
    assert_eq!(world.browser().await.protocol, None);
}

#[tokio::test]
async fn none_is_selected_when_only_unknown_sub_protocols_are_offered() {
    let (world, _link) = World::ready(|_| {}).await;
    let handshake = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: soap\r\n";
    let mut tcp = world.connect().await;
    tcp.write_all(format!("GET /ws HTTP/1.1\r\nhost: x\r\n{handshake}\r\n").as_bytes()).await.unwrap();
    let mut head = vec![0; 1024];
    let read = soon("answer", tcp.read(&mut head)).await.unwrap();
    let head = String::from_utf8(head[..read].to_vec()).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && !head.contains("sec-websocket-protocol"), "{head}");
}

#[tokio::test]
async fn a_request_that_is_no_handshake_is_told_so() {
    let (world, _link) = World::ready(|_| {}).await;
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    assert_eq!(world.http("GET", "/ws", "").await.status, 426);
    assert_eq!(world.http("GET", "/ws", &format!("{upgrade}sec-websocket-version: 8\r\n")).await.status, 426);
    assert_eq!(
        world.http("GET", "/ws", &format!("{upgrade}sec-websocket-version: 13\r\n")).await.status,
        400
    );
    assert_eq!(world.http("POST", "/ws", upgrade).await.status, 405);
}

#[tokio::test]
async fn a_head_that_never_ends_and_a_silent_connection_are_cut() {
    let (world, _link) = World::ready(|settings| settings.head_timeout = Duration::from_millis(100)).await;
    for beginning in [&b""[..], b"GET /ws HTTP/1.1\r\nhost: x\r\n"] {
        let mut tcp = world.connect().await;
        tcp.write_all(beginning).await.unwrap();
        let mut answer = Vec::new();
        let _ = soon("cut", tcp.read_to_end(&mut answer)).await;
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let (world, _link) = World::ready(|_| {}).await;
    let answer = world.http("GET", "/livez", &format!("x: {}\r\n", "y".repeat(100_000))).await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn connections_over_the_limit_wait_and_are_served_later() {
    let (world, _link) = World::ready(|settings| settings.max_connections = 1).await;
    let first = world.browser().await;
    let waiting = world.http("GET", "/livez", "");
    tokio::pin!(waiting);
    tokio::select! {
        answer = &mut waiting => panic!("there was no place, yet {}", answer.status),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    drop(first);
    assert_eq!(waiting.await.status, 200);
}
