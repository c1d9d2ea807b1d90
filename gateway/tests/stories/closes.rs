//! Every row of the contract's table of close codes.

use std::{pin::pin, time::Duration};

use proto::{
    chat::v1::{Error, Welcome, server_frame::Body},
    edge::v1::{SessionGone, link_request::Body as Up},
};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{CloseCode, Data, OpCode},
        },
    },
};

use crate::world::{World, raw_close, soon};

#[tokio::test]
async fn a_goodbye_is_answered_and_the_room_service_hears_that_the_session_left() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut browser, session) = world.guest(&mut link).await;
    browser.send(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))).await;
    assert_eq!(browser.closed().await.0, 1000);
    assert_eq!(link.gone().await, SessionGone { session, left: true });
}

#[tokio::test]
async fn a_lost_connection_and_a_page_that_goes_away_leave_the_session_its_grace() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (browser, session) = world.guest(&mut link).await;
    drop(browser);
    assert_eq!(link.gone().await, SessionGone { session, left: false });
    let (mut browser, session) = world.guest(&mut link).await;
    browser.send(Message::Close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() }))).await;
    assert_eq!(link.gone().await, SessionGone { session, left: false });
}

#[tokio::test]
async fn a_text_that_is_not_utf8_closes_with_1007() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut browser, session) = world.guest(&mut link).await;
    browser.send(Message::Frame(Frame::message(vec![b'{', 0xff], OpCode::Data(Data::Text), true))).await;
    assert_eq!(browser.closed().await.0, 1007);
    assert!(!link.gone().await.left);
    assert_eq!(session, 1);
}

#[tokio::test]
async fn a_frame_over_the_limit_closes_with_1009() {
    let (world, mut link) = World::ready(|settings| settings.max_frame_bytes = 1000).await;
    let (mut browser, _) = world.guest(&mut link).await;
    browser.say(json!({ "id": 1, "hello": { "token": "x".repeat(1000) } })).await;
    assert_eq!(browser.closed().await.0, 1009);
    // In parts, each of which is under the limit.
    link.gone().await;
    let (mut browser, _) = world.guest(&mut link).await;
    browser.send(Message::Frame(Frame::message(vec![b' '; 600], OpCode::Data(Data::Text), false))).await;
    browser.send(Message::Frame(Frame::message(vec![b' '; 600], OpCode::Data(Data::Continue), true))).await;
    assert_eq!(browser.closed().await.0, 1009);
}

#[tokio::test]
async fn a_length_that_is_only_declared_closes_with_1009_at_once() {
    let (world, _link) = World::ready(|_| {}).await;
    let mut tcp = world.raw_socket().await;
    let mut head = vec![0x81, 0x80 | 127];
    head.extend_from_slice(&(1_u64 << 40).to_be_bytes());
    head.extend_from_slice(&[0; 4]);
    tcp.write_all(&head).await.unwrap();
    assert_eq!(raw_close(&mut tcp).await, 1009);
}

#[tokio::test]
async fn the_reason_arrives_although_the_peer_goes_on_sending() {
    let (world, _link) = World::ready(|_| {}).await;
    let mut tcp = world.raw_socket().await;
    let mut flood = vec![0x81, 0x80 | 127, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0];
    flood.resize(500_000, b'x');
    tcp.write_all(&flood).await.unwrap();
    assert_eq!(raw_close(&mut tcp).await, 1009);
}

#[tokio::test]
async fn what_rfc_6455_forbids_closes_with_1002() {
    let (world, _link) = World::ready(|_| {}).await;
    for (what, frame) in [
        ("an unmasked frame", &b"\x81\x02{}"[..]),
        ("a reserved bit", &b"\xc1\x80\0\0\0\0"[..]),
        ("a reserved opcode", &b"\x83\x80\0\0\0\0"[..]),
        ("a continuation of nothing", &b"\x80\x80\0\0\0\0"[..]),
        ("a ping in parts", &b"\x09\x80\0\0\0\0"[..]),
    ] {
        let mut tcp = world.raw_socket().await;
        tcp.write_all(frame).await.unwrap();
        assert_eq!(raw_close(&mut tcp).await, 1002, "{what}");
    }
}

#[tokio::test]
async fn silence_for_longer_than_a_heartbeat_closes_with_4002() {
    let (world, mut link) = World::ready(|settings| {
        settings.heartbeat = Duration::from_millis(300);
        settings.heartbeat_grace = Duration::from_millis(300);
    })
    .await;
    let (mut browser, session) = world.guest(&mut link).await;
    // Nobody polls the socket, so no ping is answered.
    assert_eq!(link.gone().await, SessionGone { session, left: false });
    assert_eq!(browser.closed().await.0, 4002);
}

#[tokio::test]
async fn a_browser_that_only_answers_pings_stays() {
    let (world, mut link) = World::ready(|settings| {
        settings.heartbeat = Duration::from_millis(100);
        settings.heartbeat_grace = Duration::from_secs(1);
    })
    .await;
    let (mut browser, _) = world.guest(&mut link).await;
    // For longer than it may be silent.
    for _ in 0..15 {
        assert!(browser.hear().await["heartbeat"].is_object());
    }
}

#[tokio::test]
async fn one_session_too_many_from_an_address_closes_with_4003() {
    let (world, mut link) = World::ready(|settings| settings.max_sessions_per_address = 1).await;
    let (first, _) = world.guest(&mut link).await;
    assert_eq!(world.browser().await.closed().await.0, 4003);
    drop(first);
    link.gone().await;
    soon("place", async {
        loop {
            let mut browser = world.browser().await;
            browser.say(json!({ "id": 1, "hello": {} })).await;
            tokio::select! {
                _ = link.frame() => return,
                (code, _) = browser.closed() => assert_eq!(code, 4003),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn too_many_bad_tokens_close_with_4003_and_keep_the_address_out() {
    let (world, mut link) = World::ready(|settings| {
        settings.trusted_hops = 1;
        settings.failed_hellos_per_address = 2;
    })
    .await;
    let guesser = [("x-forwarded-for", "10.0.0.1")];
    let mut browser = world.browser_with(&guesser).await.unwrap();
    for _ in 0..3 {
        browser.say(json!({ "id": 1, "hello": { "token": "a guess" } })).await;
        let (session, hello) = link.frame().await;
        let refused = Error { code: "UNAUTHENTICATED".into(), ..Error::default() };
        link.reply(session, hello.id, Body::Error(refused)).await;
        assert_eq!(browser.hear().await["error"]["code"], "UNAUTHENTICATED");
    }
    assert_eq!(browser.closed().await.0, 4003);
    let (status, body) = world.browser_with(&guesser).await.err().unwrap();
    assert_eq!((status, body["error"]["code"].as_str()), (429, Some("RATE_LIMITED")), "{body}");
    assert!(world.browser_with(&[("x-forwarded-for", "10.0.0.2")]).await.is_ok());
}

#[tokio::test]
async fn hellos_that_come_too_fast_do_not_buy_time() {
    let (world, mut link) =
        World::ready(|settings| settings.hello_timeout = Duration::from_millis(200)).await;
    let mut browser = world.browser().await;
    soon("end of the session", async {
        loop {
            // The last one meets a socket that is closed.
            let hello = Message::text(json!({ "id": 1, "hello": {} }).to_string());
            let _ = futures_util::SinkExt::send(&mut browser.socket, hello).await;
            let Up::Frame(frame) = link.hear().await else { return };
            let slow = Error { code: "RATE_LIMITED".into(), retryable: true, ..Error::default() };
            link.reply(frame.session, frame.frame.unwrap().id, Body::Error(slow)).await;
        }
    })
    .await;
    assert_eq!(browser.closed().await.0, 4501);
}

#[tokio::test]
async fn the_wrong_kind_of_frame_closes_with_4500() {
    let (world, _link) = World::ready(|_| {}).await;
    let mut json = world.browser().await;
    json.send(Message::binary(vec![8, 1])).await;
    assert_eq!(json.closed().await.0, 4500);
    let mut protobuf = world.browser_with(&[("sec-websocket-protocol", "chat.v1.proto")]).await.unwrap();
    protobuf.send(Message::text("{}")).await;
    assert_eq!(protobuf.closed().await.0, 4500);
}

#[tokio::test]
async fn a_flood_of_pings_closes_with_4500() {
    let (world, mut link) = World::ready(|settings| settings.max_pings_per_second = 5).await;
    let (mut browser, _) = world.guest(&mut link).await;
    for _ in 0..50 {
        // Late ones may meet a socket that is closed already.
        let _ = futures_util::SinkExt::send(&mut browser.socket, Message::Ping("x".into())).await;
    }
    assert_eq!(browser.closed().await.0, 4500);
}

#[tokio::test]
async fn no_hello_in_time_closes_with_4501() {
    let (world, mut link) =
        World::ready(|settings| settings.hello_timeout = Duration::from_millis(100)).await;
    assert_eq!(world.browser().await.closed().await.0, 4501);
    link.gone().await;
    // Nor does one that the room service does not accept.
    let mut browser = world.browser().await;
    browser.say(json!({ "id": 1, "hello": { "token": "forged" } })).await;
    let (session, hello) = link.frame().await;
    let refused = Error { code: "UNAUTHENTICATED".into(), ..Error::default() };
    link.reply(session, hello.id, Body::Error(refused)).await;
    assert_eq!(browser.hear().await["error"]["code"], "UNAUTHENTICATED");
    assert_eq!(browser.closed().await.0, 4501);
}

#[tokio::test]
async fn a_hello_that_no_room_service_takes_is_not_held_against_the_browser() {
    let (mut world, link) =
        World::ready(|settings| settings.hello_timeout = Duration::from_millis(300)).await;
    let mut browser = world.browser().await;
    world.unreachable(true);
    drop(link);
    // Longer than a hello may take, all in all.
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(600) {
        browser.say(json!({ "id": 1, "hello": {} })).await;
        assert_eq!(browser.hear().await["error"]["code"], "UNAVAILABLE");
    }
    world.unreachable(false);
    let mut link = {
        let mut linked = pin!(world.link());
        loop {
            browser.say(json!({ "id": 1, "hello": {} })).await;
            tokio::select! {
                link = &mut linked => break link,
                heard = browser.hear() => assert_eq!(heard["error"]["code"], "UNAVAILABLE"),
            }
        }
    };
    browser.say(json!({ "id": 2, "hello": {} })).await;
    loop {
        tokio::select! {
            (session, hello) = link.frame() => {
                link.reply(session, hello.id, Body::Welcome(Welcome::default())).await;
            }
            heard = browser.hear() => if heard.get("welcome").is_some() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn an_operator_removes_a_session_with_4502() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut browser, session) = world.guest(&mut link).await;
    link.end(session, 4502, "removed by an operator").await;
    assert_eq!(browser.closed().await, (4502, "removed by an operator".to_owned()));
    assert_eq!(link.gone().await, SessionGone { session, left: false });
}
