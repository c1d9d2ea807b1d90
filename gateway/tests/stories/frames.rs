//! What a frame gets: its reply, or a reason.

use std::time::Duration;

use prost::Message as _;
use proto::chat::v1::{
    ClientFrame, HelloRequest, Sent, ServerFrame, Typed, Welcome, client_frame::Body as Said,
    server_frame::Body,
};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::world::World;

#[tokio::test]
async fn a_frame_that_cannot_be_read_is_answered_by_its_id_and_the_session_stays_open() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut browser, session) = world.guest(&mut link).await;
    for (text, id, names) in [
        ("hello", None, ""),
        (r#"{"id":7}"#, Some(7), "body"),
        (r#"{"id":8,"send":{"room":5}}"#, Some(8), "send.room"),
        (r#"{"id":9,"join":{"room":"a","since":{"seq":1.5}}}"#, Some(9), "join.since.seq"),
    ] {
        browser.send(Message::text(text)).await;
        let heard = browser.hear().await;
        assert_eq!(heard["id"].as_u64(), id, "{heard}");
        assert_eq!(heard["error"]["code"], "INVALID");
        assert!(heard["error"].get("retryable").is_none(), "the same frame fails again: {heard}");
        assert!(heard["error"]["message"].as_str().unwrap().contains(names), "{heard}");
    }
    browser.say(json!({ "id": 10, "typing": { "room": "lobby" } })).await;
    assert_eq!(link.frame().await.0, session);
}

#[tokio::test]
async fn each_reply_bears_the_id_of_its_frame_whatever_order_they_come_in() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut browser, session) = world.guest(&mut link).await;
    browser.say(json!({ "id": 4_294_967_295_u32, "typing": { "room": "a" } })).await;
    browser.say(json!({ "id": 3, "send": { "room": "a", "client_id": "c", "text": "hi" } })).await;
    browser.say(json!({ "typing": { "room": "b" } })).await;
    let (first, second, third) = (link.frame().await.1, link.frame().await.1, link.frame().await.1);
    assert!(matches!(&second.body, Some(Said::Send(send)) if send.client_id == "c" && send.text == "hi"));
    link.reply(session, third.id, Body::Typed(Typed { room: "b".into() })).await;
    link.reply(session, second.id, Body::Sent(Sent { seq: 5, ..Sent::default() })).await;
    link.reply(session, first.id, Body::Typed(Typed { room: "a".into() })).await;
    assert_eq!(browser.hear().await, json!({ "typed": { "room": "b" } }), "no id, no id");
    assert_eq!(browser.hear().await, json!({ "id": 3, "sent": { "seq": 5 } }));
    assert_eq!(browser.hear().await["id"], 4_294_967_295_u32);
}

#[tokio::test]
async fn protobuf_sessions_hear_protobuf() {
    let (world, mut link) = World::ready(|_| {}).await;
    let mut bot = world.browser_with(&[("sec-websocket-protocol", "chat.v1.proto")]).await.unwrap();
    let hello = ClientFrame { id: 4, body: Some(Said::Hello(HelloRequest::default())) };
    bot.send(Message::binary(hello.encode_to_vec())).await;
    let (session, hello) = link.frame().await;
    let welcome = Welcome { session: "s_1".into(), ..Welcome::default() };
    link.reply(session, hello.id, Body::Welcome(welcome.clone())).await;
    let Message::Binary(bytes) = bot.next().await else { panic!("a binary frame") };
    assert_eq!(ServerFrame::decode(bytes).unwrap(), ServerFrame::reply(4, Body::Welcome(welcome)));
    bot.send(Message::binary(vec![0x08, 0x05, 0x12])).await;
    let Message::Binary(bytes) = bot.next().await else { panic!("a binary frame") };
    let refused = ServerFrame::decode(bytes).unwrap();
    assert!(
        matches!(refused, ServerFrame { id: 5, body: Some(Body::Error(error)) } if error.code == "INVALID")
    );
}

#[tokio::test]
async fn a_frame_without_a_reply_gets_unavailable_in_time_and_a_late_reply_is_not_heard() {
    let (world, mut link) = World::ready(|settings| settings.reply_timeout = Duration::from_millis(50)).await;
    let (mut browser, session) = world.guest(&mut link).await;
    browser.say(json!({ "id": 3, "send": { "room": "a", "client_id": "c", "text": "hi" } })).await;
    let (_, late) = link.frame().await;
    let heard = browser.hear().await;
    assert_eq!(
        (heard["id"].as_u64(), heard["error"]["code"].as_str()),
        (Some(3), Some("UNAVAILABLE")),
        "{heard}"
    );
    assert_eq!(heard["error"]["retryable"], true);
    link.reply(session, late.id, Body::Sent(Sent::default())).await;
    browser.say(json!({ "id": 4, "typing": { "room": "a" } })).await;
    let (_, typing) = link.frame().await;
    link.reply(session, typing.id, Body::Typed(Typed::default())).await;
    assert_eq!(browser.hear().await["id"], 4);
}

#[tokio::test]
async fn a_socket_with_too_many_frames_in_flight_is_not_read_until_one_is_answered() {
    let (world, mut link) = World::ready(|settings| settings.max_in_flight = 2).await;
    let (mut browser, session) = world.guest(&mut link).await;
    for id in 1..=4 {
        browser.say(json!({ "id": id, "typing": { "room": "a" } })).await;
    }
    let (first, second) = (link.frame().await.1, link.frame().await.1);
    // Whoever is read next on the Link tells that the third was not: another session overtakes it.
    let (_other, other) = world.guest(&mut link).await;
    assert_ne!(other, session);
    for answered in [first, second] {
        link.reply(session, answered.id, Body::Typed(Typed::default())).await;
    }
    assert_eq!((link.frame().await.0, link.frame().await.0), (session, session));
    assert_eq!(
        (browser.hear().await["id"].as_u64(), browser.hear().await["id"].as_u64()),
        (Some(1), Some(2))
    );
}

#[tokio::test]
async fn a_long_reply_arrives_whole() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut browser, session) = world.guest(&mut link).await;
    browser.say(json!({ "id": 3, "typing": { "room": "a" } })).await;
    let (_, asked) = link.frame().await;
    let room = "é".repeat(1_000_000);
    link.reply(session, asked.id, Body::Typed(Typed { room: room.clone() })).await;
    assert_eq!(browser.hear().await["typed"]["room"], room);
}
