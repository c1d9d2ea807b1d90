//! The Link breaks, moves and misses something, and no browser is closed for it.

use std::time::Duration;

use proto::{
    chat::v1::{Joined, Left, Position, Presence, Refreshed, Sent, server_frame::Body},
    edge::v1::{
        LinkDrain, Probed, RoomReplay, RosterPlace, link_request::Body as Up, link_response::Body as Down,
    },
};
use serde_json::json;
use tokio::net::TcpListener;

use crate::world::{Browser, Link, World, joined, message, place, soon};

#[tokio::test]
async fn everyone_in_a_room_hears_a_message_and_nobody_else_does() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut ada, _) = world.member(&mut link, "lobby", 0).await;
    let (mut bob, _) = world.member(&mut link, "lobby", 0).await;
    let (mut eve, _) = world.member(&mut link, "attic", 0).await;
    link.message("lobby", 1).await;
    link.message("attic", 1).await;
    ada.hear_messages([1]).await;
    bob.hear_messages([1]).await;
    assert_eq!(eve.hear().await["message"]["room"], "attic");
}

#[tokio::test]
async fn who_joins_late_does_not_hear_what_its_joined_told() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut ada, _) = world.member(&mut link, "lobby", 1).await;
    let (mut bob, _) = world.member(&mut link, "lobby", 3).await;
    for seq in 2..=4 {
        link.message("lobby", seq).await;
    }
    ada.hear_messages(2..=4).await;
    bob.hear_messages([4]).await;
}

#[tokio::test]
async fn who_has_left_a_room_hears_no_more_of_it() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut ada, session) = world.member(&mut link, "lobby", 0).await;
    let (mut bob, _) = world.member(&mut link, "lobby", 0).await;
    ada.say(json!({ "id": 3, "leave": { "room": "lobby" } })).await;
    let (_, leave) = link.frame().await;
    link.message("lobby", 1).await;
    link.reply(session, leave.id, Body::Left(Left { room: "lobby".into() })).await;
    link.message("lobby", 2).await;
    bob.hear_messages([1, 2]).await;
    ada.hear_messages([1]).await;
    assert!(ada.hear().await["left"].is_object());
    link.end(session, 4502, "").await;
    assert!(ada.next().await.is_close(), "nothing came in between");
}

#[tokio::test]
async fn a_link_that_breaks_closes_nobody_and_what_was_missed_arrives_once_and_in_order() {
    let (mut world, mut link) = World::ready(|_| {}).await;
    let (mut ada, ada_number) = world.member(&mut link, "lobby", 7).await;
    let (mut bob, bob_number) = world.guest(&mut link).await;
    let stranger = world.browser().await;
    link.message("lobby", 8).await;
    ada.hear_messages([8]).await;
    bob.say(json!({ "id": 3, "refresh": {} })).await;
    let (_, refresh) = link.frame().await;
    link.reply(
        bob_number,
        refresh.id,
        Body::Refreshed(Refreshed { token: "newer".into(), expires_at: None }),
    )
    .await;
    bob.hear().await;
    ada.say(json!({ "id": 9, "send": { "room": "lobby", "client_id": "c", "text": "hi" } })).await;
    link.frame().await;
    let edge = link.edge.clone();
    drop(link);

    let heard = ada.hear().await;
    assert_eq!(
        (heard["id"].as_u64(), heard["error"]["code"].as_str()),
        (Some(9), Some("UNAVAILABLE")),
        "{heard}"
    );
    assert_eq!(heard["error"]["retryable"], true);

    let mut link = world.link().await;
    assert_eq!(link.edge, edge, "the same gateway");
    link.sessions.sort_by_key(|session| session.session);
    let told: Vec<_> = link
        .sessions
        .iter()
        .map(|session| {
            (session.session, session.token.as_str(), session.name.as_str(), session.rooms.join(","))
        })
        .collect();
    assert_eq!(
        told,
        [(ada_number, "token1", "s_1", "lobby".to_owned()), (bob_number, "newer", "s_2", String::new()),],
        "a session that was never welcome is not told"
    );
    assert_eq!(link.rooms, [replay_from(8)]);
    // The room service does not know exactly what was heard, and says some of it again.
    for seq in [7, 8, 9, 10] {
        link.message("lobby", seq).await;
    }
    ada.hear_messages([9, 10]).await;
    drop(stranger);
}

#[tokio::test]
async fn without_a_link_a_frame_gets_unavailable_at_once_and_the_gateway_says_it_is_not_ready() {
    let (mut world, mut link) =
        World::ready(|settings| settings.link_grace = Duration::from_millis(100)).await;
    let (mut ada, _) = world.member(&mut link, "lobby", 0).await;
    world.unreachable(true);
    drop(link);
    soon("word of it", async {
        while world.health.check().is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert!(world.health.check().unwrap_err().starts_with("link: no room service has answered for"));
    ada.say(json!({ "id": 9, "send": { "room": "lobby", "client_id": "c", "text": "hi" } })).await;
    assert_eq!(ada.hear().await["error"]["code"], "UNAVAILABLE");
    world.unreachable(false);
    let mut link = world.link().await;
    ada.say(json!({ "id": 9, "send": { "room": "lobby", "client_id": "c", "text": "hi" } })).await;
    let (session, send) = link.frame().await;
    link.reply(session, send.id, Body::Sent(Sent { seq: 1, ..Sent::default() })).await;
    assert_eq!(ada.hear().await["sent"]["seq"], 1);
}

/// A gateway whose room service answers probes, a member, and a short patience.
async fn probed_world() -> (World, Link, Browser) {
    let mut world = World::start(|settings| settings.delivery_grace = Duration::from_millis(100)).await;
    world.probes = true;
    let mut link = world.link().await;
    let (ada, _) = world.member(&mut link, "lobby", 0).await;
    (world, link, ada)
}

#[tokio::test]
async fn a_room_service_that_cannot_deliver_makes_the_gateway_unready_and_closes_nobody() {
    let (world, mut link, mut ada) = probed_world().await;
    link.probed("Redis does not answer").await;
    world.until(Err("delivery: the room service cannot deliver: Redis does not answer")).await;
    link.message("lobby", 1).await;
    ada.hear_messages([1]).await;
    link.probed("").await;
    world.until_ready().await;
}

#[tokio::test]
async fn a_link_that_brings_no_answer_makes_the_gateway_unready_until_one_comes() {
    let (world, mut link, mut ada) = probed_world().await;
    assert!(matches!(link.hear().await, Up::Probe(_)));
    world.until(Err("delivery: no answer from the room service for 100ms")).await;
    ada.say(json!({ "id": 9, "typing": { "room": "lobby" } })).await;
    link.frame().await;
    link.say(Down::Probed(Probed::default())).await;
    world.until_ready().await;
    link.probed("").await;
}

#[tokio::test]
async fn a_room_service_that_is_stuck_is_left_for_another() {
    let mut world =
        World::of_many(2, &[], |settings| settings.delivery_grace = Duration::from_millis(100)).await;
    world.probes = true;
    let mut stuck = world.link().await;
    let (mut ada, _) = world.member(&mut stuck, "lobby", 0).await;
    // Its HTTP/2 goes on answering pings, and this is never answered.
    assert!(matches!(stuck.hear().await, Up::Probe(_)));
    let link = world.link().await;
    assert_eq!(link.rooms, [replay_from(0)]);
    link.message("lobby", 1).await;
    ada.hear_messages([1]).await;
}

#[tokio::test]
async fn addresses_that_do_not_answer_hold_up_nobody() {
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    // One after the other would take longer than a test waits for a Link.
    let mut world = World::of_many(1, &silent, |_| {}).await;
    let link = world.link().await;
    // Whoever broke is dialled last.
    drop(link);
    world.link().await;
}

#[tokio::test]
async fn a_gateway_is_not_ready_before_something_was_delivered_and_trouble_outlives_the_link() {
    let mut world = World::start(|settings| settings.link_grace = Duration::from_secs(1)).await;
    world.until(Err("delivery: nothing was delivered yet; link: no room service has answered yet")).await;
    world.probes = true;
    let mut link = world.link().await;
    link.probed("Redis cannot be reached").await;
    let trouble = "delivery: the room service cannot deliver: Redis cannot be reached";
    world.until(Err(trouble)).await;
    world.unreachable(true);
    drop(link);
    world
        .until(Err(&format!("{trouble}; link: no room service has answered for 1s (connection refused)")))
        .await;
    world.unreachable(false);
    world.link().await;
}

#[tokio::test]
async fn a_short_break_does_not_make_the_gateway_unready() {
    let (mut world, link) = World::ready(|_| {}).await;
    drop(link);
    let _link = world.link().await;
    assert_eq!(world.health.check(), Ok(()));
}

#[tokio::test]
async fn a_hole_is_not_handed_on_and_the_room_is_asked_for_again_once() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut ada, _) = world.member(&mut link, "lobby", 5).await;
    for seq in [6, 8, 9] {
        link.message("lobby", seq).await;
    }
    assert_eq!(link.replay().await, replay_from(6));
    for seq in 7..=10 {
        link.message("lobby", seq).await;
    }
    ada.hear_messages(6..=10).await;
    ada.say(json!({ "id": 9, "typing": { "room": "lobby" } })).await;
    link.frame().await;
}

#[tokio::test]
async fn what_was_lost_silently_is_found_by_the_second_beacon() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut ada, _) = world.member(&mut link, "lobby", 5).await;
    link.heads("lobby", 6).await;
    link.heads("lobby", 6).await;
    assert_eq!(link.replay().await, replay_from(5));
    link.message("lobby", 6).await;
    ada.hear_messages([6]).await;
    // A busy room is always a little behind, and nothing is wrong.
    link.heads("lobby", 7).await;
    link.message("lobby", 7).await;
    link.heads("lobby", 8).await;
    link.message("lobby", 8).await;
    link.heads("lobby", 8).await;
    ada.hear_messages([7, 8]).await;
    ada.say(json!({ "id": 9, "typing": { "room": "lobby" } })).await;
    link.frame().await;
}

#[tokio::test]
async fn numbers_that_go_on_in_a_new_epoch_are_not_noticed() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut ada, _) = world.member(&mut link, "lobby", 5).await;
    let mut next = message("lobby", 6);
    next.epoch = "E2".into();
    link.event("lobby", Body::Message(next)).await;
    ada.hear_messages([6]).await;
}

#[tokio::test]
async fn a_room_that_starts_afresh_is_started_afresh_by_everyone_in_it() {
    let (mut world, mut link) = World::ready(|_| {}).await;
    let (mut ada, _) = world.member(&mut link, "lobby", 5).await;
    let afresh = Joined { epoch: "E2".into(), head: 2, ..joined("lobby", 0) };
    let position = Position { epoch: "E2".into(), seq: 2, id: "new2".into() };
    link.event_at("lobby", Body::Joined(afresh), Some(position.clone())).await;
    let heard = ada.hear().await;
    assert!(heard.get("id").is_none() && heard["joined"].get("resumed").is_none(), "{heard}");
    let mut next = message("lobby", 3);
    next.epoch = "E2".into();
    link.event("lobby", Body::Message(next)).await;
    ada.hear_messages([3]).await;
    drop(link);
    let link = world.link().await;
    assert_eq!(link.rooms[0].since, Some(Position { epoch: "E2".into(), seq: 3, id: "id3".into() }));
}

#[tokio::test]
async fn a_new_link_is_told_up_to_where_everyone_was_told_who_left() {
    let (mut world, mut link) = World::ready(|_| {}).await;
    let roster = |version| Some(RosterPlace { epoch: "E1".into(), version });
    let (mut ada, _) = world.guest(&mut link).await;
    ada.say(json!({ "id": 2, "join": { "room": "lobby" } })).await;
    link.reply_to_join(joined("lobby", 0), roster(3)).await;
    ada.hear().await;
    // What bob is told, ada is not.
    let (mut bob, _) = world.guest(&mut link).await;
    bob.say(json!({ "id": 2, "join": { "room": "lobby" } })).await;
    link.reply_to_join(joined("lobby", 0), roster(5)).await;
    bob.hear().await;
    drop(link);
    let link = world.link().await;
    assert_eq!(link.rooms, [RoomReplay { roster: roster(3), ..replay_from(0) }]);

    let presence = Presence { room: "lobby".into(), left: vec!["eve".into()], ..Presence::default() };
    link.presence("lobby", presence, roster(6)).await;
    for browser in [&mut ada, &mut bob] {
        assert_eq!(browser.hear().await["presence"]["left"], json!(["eve"]));
    }
    // Of the roster a message says nothing.
    link.message("lobby", 1).await;
    ada.hear_messages([1]).await;
    drop(link);
    let link = world.link().await;
    assert_eq!(link.rooms, [RoomReplay { roster: roster(6), ..replay_from(1) }]);
}

#[tokio::test]
async fn a_room_service_that_goes_away_is_left_without_a_break() {
    let (mut world, mut old) = World::ready(|_| {}).await;
    let (mut ada, session) = world.member(&mut old, "lobby", 0).await;
    ada.say(json!({ "id": 8, "send": { "room": "lobby", "client_id": "c", "text": "hi" } })).await;
    let (_, send) = old.frame().await;
    ada.say(json!({ "id": 9, "leave": { "room": "lobby" } })).await;
    let (_, leave) = old.frame().await;
    old.say(Down::Drain(LinkDrain { within_seconds: 20 })).await;
    let mut new = world.link().await;
    assert_eq!(new.rooms, [replay_from(0)]);
    new.message("lobby", 1).await;
    ada.hear_messages([1]).await;

    // What the old one was asked, it may still answer; but who is where was told to the new one.
    old.reply(session, send.id, Body::Sent(Sent { seq: 1, ..Sent::default() })).await;
    assert_eq!(ada.hear().await["sent"]["seq"], 1);
    old.reply(session, leave.id, Body::Left(Left { room: "lobby".into() })).await;
    let heard = ada.hear().await;
    assert_eq!(
        (heard["id"].as_u64(), heard["error"]["code"].as_str()),
        (Some(9), Some("UNAVAILABLE")),
        "{heard}"
    );
    // And it has no say about rooms.
    old.message("lobby", 2).await;
    new.message("lobby", 2).await;
    ada.hear_messages([2]).await;
    ada.say(json!({ "id": 10, "typing": { "room": "lobby" } })).await;
    new.frame().await;
}

#[tokio::test]
async fn an_old_link_is_replaced_by_one_that_is_open_before_it_ends() {
    let (hour, minute) = (Duration::from_hours(1), Duration::from_mins(1));
    let (mut world, mut old) = World::ready(|settings| {
        settings.link_age = hour;
        settings.reply_timeout = 20 * minute;
        // Nothing else is to happen in that time.
        settings.heartbeat = 24 * hour;
    })
    .await;
    let (mut ada, session) = world.member(&mut old, "lobby", 0).await;
    later(hour + hour / 2).await;
    // Until the new one is open, the old one is the Link.
    ada.say(json!({ "id": 9, "send": { "room": "lobby", "client_id": "c", "text": "hi" } })).await;
    let (_, send) = old.frame().await;
    let mut new = world.link().await;
    assert_eq!(new.rooms, [replay_from(0)]);
    // The old one still answers what it was asked, and says once more what the new one says.
    old.reply(session, send.id, Body::Sent(Sent { seq: 1, ..Sent::default() })).await;
    assert_eq!(ada.hear().await["sent"]["seq"], 1);
    for link in [&old, &new, &old] {
        link.message("lobby", 1).await;
    }
    new.message("lobby", 2).await;
    ada.hear_messages([1, 2]).await;
    later(20 * minute).await;
    old.ended().await;
    assert_eq!(world.health.check(), Ok(()));
    ada.say(json!({ "id": 10, "typing": { "room": "lobby" } })).await;
    new.frame().await;
}

/// Lets so much time pass at once.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn heartbeats_carry_the_heads_of_the_sessions_rooms() {
    let (world, mut link) = World::ready(|settings| settings.heartbeat = Duration::from_millis(100)).await;
    let (mut ada, _) = world.member(&mut link, "lobby", 4).await;
    let (_bob, _) = world.member(&mut link, "attic", 9).await;
    link.message("lobby", 5).await;
    soon("head", async {
        loop {
            let heard = ada.hear().await;
            if heard["heartbeat"]["heads"] == json!([{ "room": "lobby", "epoch": "E1", "seq": 5 }]) {
                return;
            }
            assert!(heard.get("message").is_some() || heard.get("heartbeat").is_some(), "{heard}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_room_service_that_floods_the_gateway_stalls_nobody() {
    let (world, mut link) = World::ready(|settings| settings.outbox_bytes = 10_000).await;
    let (_deaf, _) = world.member(&mut link, "lobby", 0).await;
    let (mut ada, _) = world.member(&mut link, "attic", 0).await;
    let long = |seq| {
        let mut message = message("lobby", seq);
        message.text = "x".repeat(8000);
        Body::Message(message)
    };
    for seq in 1..=2000 {
        link.event("lobby", long(seq)).await;
    }
    link.message("attic", 1).await;
    ada.hear_messages([1]).await;
}

/// What a new Link is told of the lobby, which was handed on up to `seq`.
fn replay_from(seq: u32) -> RoomReplay {
    RoomReplay { room: "lobby".into(), since: Some(place(seq)), roster: None }
}
