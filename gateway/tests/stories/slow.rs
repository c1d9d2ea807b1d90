//! A slow reader harms nobody and loses nothing.

use std::time::Duration;

use proto::{
    chat::v1::{
        Error, HistoryPage, Joined, Member, Message, Position, Presence, Sent, client_frame::Body as Said,
        server_frame::Body,
    },
    edge::v1::SessionGone,
};
use serde_json::json;
use tokio_tungstenite::tungstenite::{
    self,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::world::{Browser, Link, World, joined, message, place};

/// Enough of it fills any socket's buffers.
fn long(seq: u32) -> Message {
    Message { text: "x".repeat(8000), ..message("lobby", seq) }
}

/// Says so much that `deaf`, who does not read, falls behind. The last seq.
async fn overwhelm(link: &Link) -> u32 {
    const LAST: u32 = 2000;
    for seq in 1..=LAST {
        link.event("lobby", Body::Message(long(seq))).await;
    }
    LAST
}

/// A world with someone in the lobby who does not read.
async fn deaf() -> (World, Link, Browser) {
    // More than comes in one turn, so that it is the socket that is full first.
    let (world, mut link) = World::ready(|settings| settings.outbox_bytes = 2_000_000).await;
    let (deaf, _) = world.member(&mut link, "lobby", 0).await;
    (world, link, deaf)
}

/// The seqs that `browser` hears until the gateway asks for the rest; and the question.
async fn hear_until_asked(browser: &mut Browser, link: &mut Link) -> (u32, u64, u32, Position) {
    let mut last = 0;
    loop {
        tokio::select! {
            frame = browser.hear() => {
                let seq = u32::try_from(frame["message"]["seq"].as_u64().unwrap()).unwrap();
                assert_eq!(seq, last + 1, "no holes");
                last = seq;
            }
            (session, frame) = link.frame() => {
                let Some(Said::Join(join)) = frame.body else { panic!("{frame:?}") };
                assert_eq!(join.room, "lobby");
                return (last, session, frame.id, join.since.unwrap());
            }
        }
    }
}

#[tokio::test]
async fn a_slow_reader_is_brought_up_to_date_and_misses_nothing() {
    let (_world, mut link, mut deaf) = deaf().await;
    let last = overwhelm(&link).await;
    let (heard, session, id, since) = hear_until_asked(&mut deaf, &mut link).await;
    assert!(since.seq < last, "it could not keep up");
    assert_eq!(since, place(since.seq), "the question proves its place");
    let missed: Vec<Message> = (since.seq + 1..=last).map(|seq| message("lobby", seq)).collect();
    let ada = Member { id: "m_ada".into(), ..Member::default() };
    let answer = Joined {
        resumed: true,
        messages: missed,
        members: vec![ada],
        member_count: 1,
        ..joined("lobby", last)
    };
    link.joined(session, id, answer, place(last)).await;
    link.message("lobby", last + 1).await;
    deaf.hear_messages(heard + 1..=since.seq).await;
    let presence = deaf.hear_news().await;
    assert_eq!(presence["presence"]["joined"][0]["id"], "m_ada", "{presence}");
    deaf.hear_messages(since.seq + 1..=last + 1).await;
}

#[tokio::test]
async fn a_reader_that_is_dead_is_found_by_the_heartbeat_though_much_waits_for_it() {
    let (world, mut link) = World::ready(|settings| {
        settings.heartbeat = Duration::from_millis(200);
        settings.heartbeat_grace = Duration::from_millis(300);
    })
    .await;
    let (_dead, session) = world.member(&mut link, "lobby", 0).await;
    overwhelm(&link).await;
    assert_eq!(link.gone().await, SessionGone { session, left: false });
}

#[tokio::test]
async fn who_left_meanwhile_is_told_too() {
    let (_world, mut link, mut deaf) = deaf().await;
    let last = overwhelm(&link).await;
    let gone = Presence { room: "lobby".into(), left: vec!["m_bob".into()], ..Presence::default() };
    link.event("lobby", Body::Presence(gone)).await;
    let (_, session, id, since) = hear_until_asked(&mut deaf, &mut link).await;
    let missed: Vec<Message> = (since.seq + 1..=last).map(|seq| message("lobby", seq)).collect();
    link.joined(
        session,
        id,
        Joined { resumed: true, messages: missed, ..joined("lobby", last) },
        place(last),
    )
    .await;
    loop {
        let heard = deaf.hear_news().await;
        if heard.get("presence").is_some() {
            assert_eq!(heard["presence"]["left"], json!(["m_bob"]));
            return;
        }
    }
}

#[tokio::test]
async fn when_too_many_left_meanwhile_the_room_starts_afresh() {
    let (world, mut link, mut deaf) = deaf().await;
    let (mut ada, _) = world.member(&mut link, "attic", 0).await;
    let last = overwhelm(&link).await;
    let left = (0..1001).map(|n| format!("m_{n}")).collect();
    let gone = Presence { room: "lobby".into(), left, ..Presence::default() };
    link.event("lobby", Body::Presence(gone)).await;
    link.message("attic", 1).await;
    // By then all of it was said.
    ada.hear_messages([1]).await;
    let (session, frame) = loop {
        tokio::select! {
            _ = deaf.hear_news() => {}
            asked = link.frame() => break asked,
        }
    };
    let Some(Said::Join(join)) = frame.body else { panic!("{frame:?}") };
    assert_eq!(join.since, None);
    link.joined(session, frame.id, joined("lobby", last), place(last)).await;
    let afresh = loop {
        let heard = deaf.hear_news().await;
        if heard.get("joined").is_some() {
            break heard;
        }
    };
    assert!(afresh.get("id").is_none(), "nobody asked: {afresh}");
}

#[tokio::test]
async fn what_cannot_be_proved_is_a_fresh_start() {
    let (_world, mut link, mut deaf) = deaf().await;
    let last = overwhelm(&link).await;
    let (heard, session, id, since) = hear_until_asked(&mut deaf, &mut link).await;
    link.joined(session, id, joined("lobby", last), place(last)).await;
    deaf.hear_messages(heard + 1..=since.seq).await;
    let afresh = deaf.hear_news().await;
    assert!(afresh.get("id").is_none(), "nobody asked: {afresh}");
    assert_eq!(afresh["joined"]["head"], last);
    link.message("lobby", last + 1).await;
    deaf.hear_messages([last + 1]).await;
}

#[tokio::test]
async fn a_catch_up_that_is_refused_for_now_is_asked_for_again() {
    let (_world, mut link, mut deaf) = deaf().await;
    let last = overwhelm(&link).await;
    let (heard, session, id, since) = hear_until_asked(&mut deaf, &mut link).await;
    let busy = Error { code: "RATE_LIMITED".into(), retryable: true, ..Error::default() };
    link.reply(session, id, Body::Error(busy)).await;
    deaf.hear_messages(heard + 1..=since.seq).await;
    let (session, frame) = link.frame().await;
    let Some(Said::Join(join)) = frame.body else { panic!("{frame:?}") };
    let again = frame.id;
    assert_ne!(again, id);
    assert_eq!(join.since, Some(since.clone()));
    let missed: Vec<Message> = (since.seq + 1..=last).map(|seq| message("lobby", seq)).collect();
    link.joined(
        session,
        again,
        Joined { resumed: true, messages: missed, ..joined("lobby", last) },
        place(last),
    )
    .await;
    assert!(deaf.hear_news().await["presence"].is_object(), "and no error");
    deaf.hear_messages(since.seq + 1..=last).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_the_kernel_holds_for_a_slow_reader_is_little() {
    let (world, mut link) = World::ready(|settings| settings.outbox_bytes = 100_000).await;
    let (mut deaf, _) = narrow(&world, &mut link).await;
    let (mut ada, _) = world.member(&mut link, "attic", 0).await;
    for seq in 1..=1000 {
        link.event("lobby", Body::Message(long(seq))).await;
    }
    link.message("attic", 1).await;
    // By then all of it was said, and nobody has read it.
    ada.hear_messages([1]).await;
    let (_, _, _, since) = hear_until_asked(&mut deaf, &mut link).await;
    let taken = since.seq * 8000;
    assert!(taken < 500_000, "{taken} bytes were taken before the outbox was full");
}

#[tokio::test]
async fn who_cannot_be_brought_up_to_date_is_closed_and_comes_back() {
    let (_world, mut link, mut deaf) = deaf().await;
    overwhelm(&link).await;
    let (heard, session, id, since) = hear_until_asked(&mut deaf, &mut link).await;
    link.reply(session, id, Body::Error(Error { code: "INTERNAL".into(), ..Error::default() })).await;
    deaf.hear_messages(heard + 1..=since.seq).await;
    assert_eq!(deaf.closed().await.0, 4004);
    assert_eq!(link.gone().await, SessionGone { session, left: false });
}

#[tokio::test]
async fn a_slow_reader_still_gets_the_reply_to_what_it_says() {
    let (_world, mut link, mut deaf) = deaf().await;
    deaf.say(json!({ "id": 9, "send": { "room": "lobby", "client_id": "c", "text": "hi" } })).await;
    let (session, send) = link.frame().await;
    overwhelm(&link).await;
    link.reply(session, send.id, Body::Sent(Sent { seq: 2001, ..Sent::default() })).await;
    loop {
        let heard = deaf.hear_news().await;
        if heard["id"] == 9 {
            assert_eq!(heard["sent"]["seq"], 2001);
            return;
        }
    }
}

/// A member of the lobby whose own side takes in little unread, so that it is the gateway that keeps the rest.
async fn narrow(world: &World, link: &mut Link) -> (Browser, u64) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let tcp = socket.connect(world.address).await.unwrap();
    let browser = world.browser_on(tcp, &[]).await.expect("a browser is let in");
    world.enter(browser, link, "lobby", 0).await
}

#[tokio::test]
async fn a_goodbye_is_answered_between_two_frames_though_one_was_half_written() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut deaf, session) = narrow(&world, &mut link).await;
    for seq in 1..=100 {
        link.event("lobby", Body::Message(long(seq))).await;
    }
    let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    deaf.send(tungstenite::Message::Close(Some(goodbye))).await;
    assert_eq!(link.gone().await, SessionGone { session, left: true });
    // Were the answer within a frame, this would not be read as one.
    assert_eq!(deaf.closed().await.0, 1000);
}

#[tokio::test]
async fn a_ping_comes_between_the_parts_of_a_long_frame() {
    let (world, mut link) = World::ready(|settings| {
        settings.heartbeat = Duration::from_millis(300);
        settings.heartbeat_grace = Duration::from_mins(1);
    })
    .await;
    let (mut deaf, session) = narrow(&world, &mut link).await;
    deaf.say(json!({ "id": 3, "history": { "room": "lobby" } })).await;
    let (_, asked) = link.frame().await;
    let page = HistoryPage { messages: (1..=200).map(long).collect(), ..HistoryPage::default() };
    link.reply(session, asked.id, Body::History(page)).await;
    // Its heartbeat was due before the second of someone who came later.
    let (mut ada, _) = world.guest(&mut link).await;
    for _ in 0..2 {
        while ada.hear().await.get("heartbeat").is_none() {}
    }
    let mut pinged = false;
    loop {
        match futures_util::StreamExt::next(&mut deaf.socket).await.unwrap().unwrap() {
            tungstenite::Message::Ping(_) => pinged = true,
            tungstenite::Message::Text(text) if text.contains(r#""history""#) => break,
            _ => {}
        }
    }
    assert!(pinged, "before the frame was whole");
}
