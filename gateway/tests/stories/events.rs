//! Programs without a WebSocket hear a room as Server-Sent Events.

use std::time::Duration;

use proto::{
    chat::v1::{Error, Joined, Position, Welcome, client_frame::Body as Said, server_frame::Body},
    edge::v1::link_request::Body as Up,
};
use serde_json::json;
use testkit::http::{Answer, Events};

use crate::world::{Link, World, joined, message, place, soon};

/// Someone who hears the lobby, which stands at `head`, from `since` on; the number on the Link, and their place.
async fn listener(
    world: &World,
    link: &mut Link,
    since: &str,
    joined: Joined,
) -> (Events, u64, Option<Position>) {
    let door = world.address.to_string();
    let head = joined.head;
    let answered = async {
        let (session, hello) = link.frame().await;
        let Some(Said::Hello(said)) = hello.body else { panic!("{hello:?}") };
        assert_eq!(said.token, "ada");
        link.reply(session, hello.id, Body::Welcome(Welcome { token: "ada2".into(), ..Welcome::default() }))
            .await;
        let (_, join) = link.frame().await;
        let Some(Said::Join(said)) = join.body else { panic!("{join:?}") };
        link.joined(session, join.id, joined, place(head)).await;
        (session, said.since)
    };
    let (events, (session, since)) = tokio::join!(Events::open(&door, "lobby", "ada", since), answered);
    (events.unwrap(), session, since)
}

#[tokio::test]
async fn a_room_is_heard_as_frames_and_each_message_bears_its_place() {
    let (world, mut link) = World::ready(|_| {}).await;
    let first = Joined { messages: vec![message("lobby", 3)], ..joined("lobby", 3) };
    let (mut events, ..) = listener(&world, &mut link, "", first).await;
    let reply = events.news().await;
    assert_eq!(reply["joined"]["head"], 3, "{reply}");
    assert_eq!(events.last_id, "E1:3:id3");
    for seq in 4..=20 {
        link.event("lobby", Body::Message(message("lobby", seq))).await;
    }
    for seq in 4..=20 {
        assert_eq!(events.news().await["message"]["seq"], seq);
        assert_eq!(events.last_id, format!("E1:{seq}:id{seq}"));
    }
}

#[tokio::test]
async fn the_last_id_is_where_a_listener_comes_back_to() {
    let (world, mut link) = World::ready(|_| {}).await;
    let missed = Joined { resumed: true, messages: vec![message("lobby", 8)], ..joined("lobby", 8) };
    let (mut events, _, since) = listener(&world, &mut link, "E1:7:id7", missed).await;
    assert_eq!(since, Some(place(7)));
    assert_eq!(events.news().await["joined"]["resumed"], true);
    assert_eq!(events.last_id, "E1:8:id8");
}

#[tokio::test]
async fn a_listener_that_hangs_up_is_lost_and_has_said_no_goodbye() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (events, session, _) = listener(&world, &mut link, "", joined("lobby", 0)).await;
    drop(events);
    let gone = link.gone().await;
    assert_eq!((gone.session, gone.left), (session, false));
}

#[tokio::test]
async fn a_listener_that_does_not_read_is_brought_up_to_date_and_misses_nothing() {
    const LAST: u32 = 2000;
    let (world, mut link) = World::ready(|settings| settings.outbox_bytes = 2_000_000).await;
    let (mut events, session, _) = listener(&world, &mut link, "", joined("lobby", 0)).await;
    for seq in 1..=LAST {
        let long = proto::chat::v1::Message { text: "x".repeat(8000), ..message("lobby", seq) };
        link.event("lobby", Body::Message(long)).await;
    }
    let mut last = 0;
    // It hears what was queued; then what it missed is asked for, from where it stopped.
    let (asker, id, since) = loop {
        tokio::select! {
            event = events.news() => {
                let Some(seq) = event["message"]["seq"].as_u64() else { continue };
                assert_eq!(seq, last + 1, "no holes");
                last = seq;
            }
            (session, frame) = link.frame() => {
                let Some(Said::Join(join)) = frame.body else { panic!("{frame:?}") };
                break (session, frame.id, join.since.unwrap());
            }
        }
    };
    assert_eq!((asker, u64::from(since.seq) >= last), (session, true));
    let messages = (since.seq + 1..=LAST).map(|seq| message("lobby", seq)).collect();
    let missed = Joined { resumed: true, messages, ..joined("lobby", LAST) };
    link.joined(session, id, missed, place(LAST)).await;
    while last < u64::from(LAST) {
        let event = events.news().await;
        let Some(seq) = event["message"]["seq"].as_u64() else { continue };
        assert_eq!(seq, last + 1, "no holes");
        last = seq;
    }
    assert_eq!(events.last_id, format!("E1:{LAST}:id{LAST}"));
}

#[tokio::test]
async fn who_takes_nothing_for_longer_than_a_heartbeat_is_let_go() {
    let (world, mut link) = World::ready(|settings| {
        settings.heartbeat = Duration::from_millis(300);
        settings.heartbeat_grace = Duration::from_millis(200);
    })
    .await;
    let (_events, session, _) = listener(&world, &mut link, "", joined("lobby", 0)).await;
    for seq in 1..=2000 {
        let long = proto::chat::v1::Message { text: "x".repeat(8000), ..message("lobby", seq) };
        link.event("lobby", Body::Message(long)).await;
    }
    loop {
        match link.hear().await {
            Up::Gone(gone) => return assert_eq!((gone.session, gone.left), (session, false)),
            // Meanwhile it is asked for what it missed.
            Up::Frame(_) | Up::Probe(_) => {}
            other => panic!("not an end: {other:?}"),
        }
    }
}

#[tokio::test]
async fn heartbeats_come_as_events() {
    let (world, mut link) = World::ready(|settings| settings.heartbeat = Duration::from_millis(100)).await;
    let (mut events, ..) = listener(&world, &mut link, "", joined("lobby", 5)).await;
    let heads = events.find("heartbeat").await["heads"].clone();
    assert_eq!(heads, json!([{ "room": "lobby", "epoch": "E1", "seq": 5 }]));
}

#[tokio::test]
async fn a_gateway_that_drains_tells_its_listeners_and_ends_their_streams() {
    let (world, mut link) = World::ready(|settings| settings.drain = Duration::from_millis(300)).await;
    let (mut events, ..) = listener(&world, &mut link, "", joined("lobby", 0)).await;
    world.tasks.stopping().cancel();
    assert!(events.find("move").await.is_object());
    assert_eq!(events.find("close").await["code"], 4001);
    assert_eq!(events.next().await, None, "the stream ends");
    soon("end", world.serving).await.unwrap();
}

#[tokio::test]
async fn what_a_session_is_refused_is_a_status() {
    let (world, mut link) = World::ready(|settings| settings.max_sessions = 1).await;
    let door = world.address.to_string();
    let refused =
        |events: Result<Events, Answer>| events.err().map(|answer| (answer.status, answer.code().to_owned()));

    let bad_place = Events::open(&door, "lobby", "ada", "yesterday").await;
    assert_eq!(refused(bad_place), Some((400, "INVALID".into())));
    for (code, status) in [("UNAUTHENTICATED", 401), ("UNAVAILABLE", 503)] {
        let answered = async {
            let (session, hello) = link.frame().await;
            let error = Error { code: code.into(), retryable: status == 503, ..Error::default() };
            link.reply(session, hello.id, Body::Error(error)).await;
            link.gone().await;
        };
        let (events, ()) = tokio::join!(Events::open(&door, "lobby", "ada", ""), answered);
        assert_eq!(refused(events), Some((status, code.into())));
    }
    let _only = world.browser().await;
    let full = Events::open(&door, "lobby", "ada", "").await;
    assert_eq!(refused(full), Some((503, "UNAVAILABLE".into())));
}
