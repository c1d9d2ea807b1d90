//! Every row of the contract's table of errors that a healthy Parlor gives.

use std::time::Duration;

use proto::chat::v1::{
    HelloRequest, HistoryRequest, JoinRequest, SendRequest, TypingRequest, client_frame::Body as Ask,
    server_frame::Body as Heard,
};
use room_service::identity::{Access, Identity, Tokens};
use testkit::{Browser, Door, Speech};

use crate::world::World;

crate::stories! {
    what_cannot_be_read_gets_a_clear_error_and_the_session_goes_on
}

crate::conformance! {
    bad_input_gets_a_clear_error_and_the_session_goes_on
    nobody_speaks_before_hello_and_a_bad_token_is_refused
    a_token_opens_only_its_rooms
    who_is_not_in_a_room_does_not_speak_in_it
    a_long_text_is_refused
    too_much_at_once_is_slowed
}

async fn bad_input_gets_a_clear_error_and_the_session_goes_on(world: World) {
    let (_, another) = Browser::guest(world.other_door()).await;
    let (mut ada, welcome) = Browser::guest(world.door()).await;
    assert_eq!(ada.hello("").await.member, welcome.member, "a repeated hello changes nobody");
    ada.join("lobby", None).await;
    for (ask, field) in [
        (Ask::Join(JoinRequest { room: "No Such Name".into(), since: None }), "room"),
        (send("lobby", "c", " \n\u{200b}"), "text"),
        (send("lobby", "", "hi"), "client_id"),
        (send("lobby", "tab\there", "hi"), "client_id"),
        (Ask::Hello(HelloRequest { token: another.token, ..HelloRequest::default() }), "hello"),
    ] {
        let (code, words) = refused(ada.ask(ask).await);
        assert_eq!(code, "INVALID");
        assert!(words.starts_with(field), "{words}");
    }
    let (code, words) = refused(ada.ask_nothing().await);
    assert_eq!(code, "INVALID");
    assert!(words.contains("body"), "{words}");
    assert_eq!(ada.send("lobby", "c", "still here").await.seq, 1);
    world.end().await;
}

async fn what_cannot_be_read_gets_a_clear_error_and_the_session_goes_on(world: World) {
    let (mut ada, _) = Browser::guest(world.here()).await;
    ada.join("lobby", None).await;
    for text in ["", "{", "[]", "null x", "\"hello\""] {
        ada.say(text).await;
        let error = refused(ada.reply_to(0).await);
        assert_eq!(error.0, "INVALID", "{text}");
    }
    ada.say(r#"{"id":77,"send":{"room":"lobby","client_id":"c","text":7}}"#).await;
    let (code, words) = refused(ada.reply_to(77).await);
    assert_eq!(code, "INVALID");
    assert!(words.contains("text"), "{words}");
    ada.say(r#"{"id":78,"dance":{}}"#).await;
    assert_eq!(refused(ada.reply_to(78).await).0, "INVALID");
    assert_eq!(ada.send("lobby", "c", "still here").await.seq, 1);

    let mut bob = Browser::connect(Door { speech: Speech::Protobuf, ..world.here().into() }).await;
    bob.hello("").await;
    // Not a field; an id and a body that ends before its end; an id and a body of a later release.
    for (bytes, id) in [(&[0xff][..], 0), (&[8, 77, 0x2a, 5, 10], 77), (&[8, 78, 0xfa, 7, 0], 78)] {
        bob.say(bytes).await;
        assert_eq!(refused(bob.reply_to(id).await).0, "INVALID", "{bytes:?}");
    }
    bob.join("lobby", None).await;
    world.end().await;
}

async fn nobody_speaks_before_hello_and_a_bad_token_is_refused(world: World) {
    let mut nobody = Browser::connect(world.door()).await;
    let join = Ask::Join(JoinRequest { room: "lobby".into(), since: None });
    assert_eq!(refused(nobody.ask(join).await).0, "UNAUTHENTICATED");
    let forged =
        Tokens::new("another secret altogether", Duration::from_hours(1)).sign(&Identity::guest("user"));
    for token in ["x", &forged] {
        let hello = Ask::Hello(HelloRequest { token: token.to_owned(), ..HelloRequest::default() });
        assert_eq!(refused(nobody.ask(hello).await).0, "UNAUTHENTICATED");
    }
    nobody.hello("").await;
    world.end().await;
}

async fn a_token_opens_only_its_rooms(world: World) {
    let mut identity = Identity::guest("user");
    identity.access = Access::to([], ["ops".parse().unwrap()]);
    let token = Tokens::new("a secret of the tests", Duration::from_hours(1)).sign(&identity);
    let mut ada = Browser::connect(world.door()).await;
    ada.hello(&token).await;
    let join = Ask::Join(JoinRequest { room: "lobby".into(), since: None });
    assert_eq!(refused(ada.ask(join).await).0, "FORBIDDEN");
    ada.join("ops", None).await;
    world.end().await;
}

async fn who_is_not_in_a_room_does_not_speak_in_it(world: World) {
    let (mut ada, _) = Browser::guest(world.door()).await;
    for ask in [
        send("lobby", "c", "hi"),
        Ask::History(HistoryRequest { room: "lobby".into(), before: 0, limit: 0 }),
        Ask::Typing(TypingRequest { room: "lobby".into() }),
    ] {
        assert_eq!(refused(ada.ask(ask).await).0, "NOT_JOINED");
    }
    world.end().await;
}

async fn a_long_text_is_refused(world: World) {
    let (mut ada, welcome) = Browser::guest(world.door()).await;
    ada.join("lobby", None).await;
    let most = "x".repeat(welcome.max_text_bytes as usize);
    assert_eq!(refused(ada.ask(send("lobby", "c", &format!("{most}x"))).await).0, "TOO_LARGE");
    assert_eq!(ada.send("lobby", "c", &most).await.seq, 1);
    world.end().await;
}

async fn too_much_at_once_is_slowed(world: World) {
    let (mut ada, _) = Browser::guest(world.door()).await;
    ada.join("lobby", None).await;
    let replies = ada.ask_all((0..400).map(|n| send("lobby", &format!("c{n}"), "hi"))).await;
    let refused: Vec<_> = replies
        .iter()
        .filter_map(|reply| match reply {
            Heard::Error(error) => Some((error.code.as_str(), error.retryable, error.retry_after_ms > 0)),
            _ => None,
        })
        .collect();
    assert!(!refused.is_empty(), "nobody slowed it");
    assert!(refused.iter().all(|error| *error == ("RATE_LIMITED", true, true)), "{refused:?}");
    ada.send("lobby", "later", "after the pause").await;
    world.end().await;
}

fn send(room: &str, client_id: &str, text: &str) -> Ask {
    Ask::Send(SendRequest::text(room, client_id, text))
}

fn refused(heard: Heard) -> (String, String) {
    match heard {
        Heard::Error(error) => (error.code, error.message),
        other => panic!("not refused but {other:?}"),
    }
}
