//! Nobody is trusted to be slow: what is asked for too fast is refused for now, and is done when it is asked again.
//!
//! Told in one process, since each room service counts by itself.

use proto::chat::v1::{
    HistoryRequest, JoinRequest, LeaveRequest, MembersRequest, SendRequest, TypingRequest,
    client_frame::Body as Ask, server_frame::Body as Heard,
};
use testkit::{Browser, eventually};
use tonic::{Code, Request};

use crate::{bots::client, world::World};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_one_message_when_it_is_sent_again() {
    let world = World::small_with(&["--send-rate=50", "--send-burst=5"], &[]).await;
    let (mut ada, _) = Browser::guest(world.here()).await;
    ada.join("lobby", None).await;
    let ids: Vec<String> = (0..40).map(|n| format!("c{n}")).collect();
    let replies = ada.ask_all(ids.iter().map(|id| send(id))).await;
    assert!(refused(&replies) > 0, "nobody slowed it");
    for id in &ids {
        ada.send("lobby", id, "hi").await;
    }
    let history = Ask::History(HistoryRequest { room: "lobby".into(), before: 0, limit: 0 });
    let Heard::History(page) = ada.ask(history).await else { panic!("a page") };
    let mut told: Vec<String> = page.messages.into_iter().map(|message| message.client_id).collect();
    told.sort_unstable();
    let mut once = ids;
    once.sort_unstable();
    assert_eq!(told, once);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_tabs_do_not_make_a_member_louder() {
    let world = World::small_with(&["--member-send-rate=1", "--member-send-burst=20"], &[]).await;
    let (mut ada, welcome) = Browser::guest(world.here()).await;
    let mut tab = Browser::connect(world.here()).await;
    tab.hello(&welcome.token).await;
    for tab in [&mut ada, &mut tab] {
        tab.join("lobby", None).await;
    }
    let first = ada.ask_all((0..15).map(|n| send(&format!("a{n}")))).await;
    assert_eq!(refused(&first), 0);
    let second = tab.ask_all((0..30).map(|n| send(&format!("b{n}")))).await;
    assert!(refused(&second) > 0);
    let calls = client(&world).await;
    let call = || {
        let mut request = Request::new(SendRequest::text("lobby", "c", "hi"));
        request.metadata_mut().insert("authorization", format!("Bearer {}", welcome.token).parse().unwrap());
        let mut calls = calls.clone();
        async move { calls.send(request).await }
    };
    // A slow machine may have let one come back meanwhile.
    let status = match call().await {
        Ok(_) => call().await.unwrap_err(),
        Err(status) => status,
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    let pause: u32 =
        status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
    assert!((1..=1000).contains(&pause), "{pause} ms");
    // Others are not punished.
    let (mut bob, _) = Browser::guest(world.here()).await;
    bob.join("lobby", None).await;
    assert!(matches!(bob.ask(send("c")).await, Heard::Sent(_)));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_does_not_make_rooms_faster_than_a_person_opens_them() {
    let world = World::small_with(&["--join-rate=1", "--join-burst=3"], &[]).await;
    let (mut ada, _) = Browser::guest(world.here()).await;
    let replies = ada.ask_all((0..30).map(|n| join(&format!("room-{n}")))).await;
    assert!(refused(&replies) > 0);
    let joined = replies.iter().filter(|reply| matches!(reply, Heard::Joined(_))).count();
    assert!((3..15).contains(&joined), "{joined} of 30");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_service_opens_so_many_rooms_and_says_when_it_is_full() {
    let world = World::small_with(&["--max-open-rooms=2"], &[]).await;
    let (mut ada, _) = Browser::guest(world.here()).await;
    for room in ["attic", "cellar"] {
        ada.join(room, None).await;
    }
    let Heard::Error(error) = ada.ask(join("garden")).await else { panic!("refused") };
    assert_eq!((error.code.as_str(), error.retryable), ("UNAVAILABLE", true), "{error:?}");
    assert!(error.message.starts_with("room: too many rooms"), "{error:?}");
    let (mut bob, _) = Browser::guest(world.here()).await;
    bob.join("attic", None).await;
    let left = ada.ask(Ask::Leave(LeaveRequest { room: "cellar".into() })).await;
    assert!(matches!(left, Heard::Left(_)), "{left:?}");
    eventually("a room that everyone left makes room", async || {
        matches!(bob.ask(join("garden")).await, Heard::Joined(_)).then_some(())
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_asked_for_no_faster_than_a_person_scrolls() {
    let world = World::small_with(&["--frame-rate=1", "--frame-burst=10"], &[]).await;
    let (mut ada, welcome) = Browser::guest(world.here()).await;
    ada.join("lobby", None).await;
    let page = |n: u32| match n % 2 {
        0 => Ask::History(HistoryRequest { room: "lobby".into(), before: 0, limit: 0 }),
        _ => Ask::Members(MembersRequest { room: "lobby".into(), after: String::new(), limit: 0 }),
    };
    let replies = ada.ask_all((0..40).map(page)).await;
    assert!(refused(&replies) > 0);
    // What else it may do is counted apart.
    assert!(matches!(ada.ask(send("c")).await, Heard::Sent(_)));

    let mut calls = client(&world).await;
    let mut codes = Vec::new();
    for _ in 0..40 {
        let mut request = Request::new(HistoryRequest { room: "lobby".into(), before: 0, limit: 0 });
        request.metadata_mut().insert("authorization", format!("Bearer {}", welcome.token).parse().unwrap());
        codes.push(calls.history(request).await.map_or_else(|status| status.code(), |_| Code::Ok));
    }
    assert!(codes[..5].iter().all(|code| *code == Code::Ok), "{codes:?}");
    assert!(codes.contains(&Code::ResourceExhausted), "{codes:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_always_writing_is_told_of_now_and_then() {
    let world = World::small_with(&["--typing-rate=1", "--typing-burst=2"], &[]).await;
    let (mut ada, _) = Browser::guest(world.here()).await;
    let (mut bob, _) = Browser::guest(world.here()).await;
    ada.join("lobby", None).await;
    bob.join("lobby", None).await;
    let writing = Ask::Typing(TypingRequest { room: "lobby".into() });
    let replies = ada.ask_all(vec![writing; 40]).await;
    assert!(replies.iter().all(|reply| matches!(reply, Heard::Typed(_))), "each is answered: {replies:?}");
    ada.send("lobby", "c", "done").await;
    let mut told = 0;
    bob.find(|event| match event {
        Heard::Typing(_) => {
            told += 1;
            None
        }
        Heard::Message(_) => Some(()),
        _ => None,
    })
    .await;
    assert!((1..20).contains(&told), "told {told} times");
    world.end().await;
}

fn send(client_id: &str) -> Ask {
    Ask::Send(SendRequest::text("lobby", client_id, "hi"))
}

fn join(room: &str) -> Ask {
    Ask::Join(JoinRequest { room: room.into(), since: None })
}

/// How many were refused for now; each says when to come back.
fn refused(replies: &[Heard]) -> usize {
    let errors = replies.iter().filter_map(|reply| match reply {
        Heard::Error(error) => Some(error),
        _ => None,
    });
    errors
        .inspect(|error| {
            assert_eq!((error.code.as_str(), error.retryable), ("RATE_LIMITED", true), "{error:?}");
            assert!(error.retry_after_ms > 0, "{error:?}");
        })
        .count()
}
