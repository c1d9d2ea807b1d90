//! What a member has read is known on all their devices, and to nobody else.

use proto::chat::v1::{
    ReadRequest, RoomSummary, RoomsRequest, client_frame::Body as Ask, server_frame::Body as Heard,
};
use serde_json::json;
use testkit::{
    Browser, eventually,
    http::{self, Events},
};
use tonic::{Code, Request};

use crate::{bots::client, world::World};

crate::conformance! {
    what_is_read_on_one_device_is_read_on_all_and_nobody_else_hears_it
    rooms_tell_how_much_of_them_is_unread
    who_is_not_in_a_room_does_not_say_there_what_they_read
}

crate::stories! {
    what_is_read_by_http_and_by_calls_is_heard_and_told_like_the_rest
}

async fn what_is_read_on_one_device_is_read_on_all_and_nobody_else_hears_it(world: World) {
    let (mut phone, ada) = Browser::guest(world.door()).await;
    let mut desk = Browser::connect(world.other_door()).await;
    desk.hello(&ada.token).await;
    let (mut bob, _) = Browser::guest(world.other_door()).await;
    for browser in [&mut phone, &mut desk, &mut bob] {
        assert_eq!(browser.join("lobby", None).await.read, 0);
    }
    for n in 1..=3 {
        bob.send("lobby", &format!("b{n}"), "hello").await;
    }
    let epoch = bob.message().await.epoch;
    assert_eq!(read(&mut phone, 2).await, (epoch.clone(), 2));
    let heard = desk.find(|event| match event {
        Heard::Read(read) => Some((read.room, read.epoch, read.seq)),
        _ => None,
    });
    assert_eq!(heard.await, ("lobby".to_owned(), epoch.clone(), 2));
    assert_eq!(read(&mut desk, 1).await, (epoch.clone(), 2), "it does not go back");
    assert_eq!(read(&mut bob, 3).await, (epoch, 3), "to each their own");

    let mut tablet = Browser::connect(world.door()).await;
    tablet.hello(&ada.token).await;
    assert_eq!(tablet.join("lobby", None).await.read, 2, "whoever comes later is told");
    bob.send("lobby", "b4", "the last").await;
    for browser in [&mut phone, &mut desk, &mut bob, &mut tablet] {
        browser
            .find(|event| match event {
                Heard::Message(message) if message.seq == 4 => Some(()),
                Heard::Read(read) => panic!("neither who said so hears it, nor the others: {read:?}"),
                _ => None,
            })
            .await;
    }
    world.end().await;
}

async fn rooms_tell_how_much_of_them_is_unread(world: World) {
    let (mut ada, is_ada) = Browser::guest(world.door()).await;
    let (mut bob, _) = Browser::guest(world.other_door()).await;
    assert_eq!(rooms(&mut ada).await, [], "she was nowhere");
    for room in ["attic", "cellar", "attic", "lobby"] {
        ada.join(room, None).await;
    }
    let mut tab = Browser::connect(world.other_door()).await;
    tab.hello(&is_ada.token).await;
    bob.join("attic", None).await;
    for n in 1..=3 {
        bob.send("attic", &format!("b{n}"), "hello").await;
    }
    let own = ada.send("attic", "a1", "hello bob").await;
    let attic = RoomSummary {
        room: "attic".to_owned(),
        epoch: own.epoch,
        head: 4,
        read: 0,
        unread: 3,
        mentions: 0,
        member_count: 2,
    };
    for browser in [&mut ada, &mut tab] {
        let rooms = rooms(browser).await;
        let names: Vec<&str> = rooms.iter().map(|summary| summary.room.as_str()).collect();
        assert_eq!(names, ["lobby", "attic", "cellar"], "those joined last come first");
        assert_eq!(rooms[1], attic);
        assert_eq!((rooms[2].head, rooms[2].unread, rooms[2].member_count), (0, 0, 1));
    }
    let said = ReadRequest { room: "attic".to_owned(), seq: 2 };
    assert!(matches!(ada.ask(Ask::Read(said)).await, Heard::Read(_)));
    let rooms = rooms(&mut tab).await;
    assert_eq!(rooms[1], RoomSummary { read: 2, unread: 1, ..attic });
    world.end().await;
}

async fn who_is_not_in_a_room_does_not_say_there_what_they_read(world: World) {
    let (mut ada, _) = Browser::guest(world.door()).await;
    let (mut bob, _) = Browser::guest(world.other_door()).await;
    bob.join("lobby", None).await;
    bob.send("lobby", "b1", "hello").await;
    for (room, code) in [("lobby", "NOT_JOINED"), ("nowhere", "NOT_JOINED"), ("No Room", "INVALID")] {
        let Heard::Error(error) = ada.ask(Ask::Read(ReadRequest { room: room.to_owned(), seq: 1 })).await
        else {
            panic!("not refused: {room}")
        };
        assert_eq!(error.code, code, "{room}");
    }
    assert_eq!(ada.join("lobby", None).await.read, 0);
    world.end().await;
}

async fn what_is_read_by_http_and_by_calls_is_heard_and_told_like_the_rest(world: World) {
    let (mut ada, is_ada) = Browser::guest(world.here()).await;
    ada.join("lobby", None).await;
    let mut listener = Events::open(world.there(), "lobby", &is_ada.token, "").await.unwrap();
    let (mut bob, _) = Browser::guest(world.there()).await;
    bob.join("lobby", None).await;
    for n in 1..=3 {
        bob.send("lobby", &format!("b{n}"), "hello").await;
    }
    let heard = async |ada: &mut Browser| {
        ada.find(|event| match event {
            Heard::Read(read) => Some(read.seq),
            _ => None,
        })
        .await
    };
    let who = format!("authorization: Bearer {}\r\n", is_ada.token);
    let put = async |room: &str, body: &str| {
        http::say(world.here(), &format!("PUT /v1/rooms/{room}/read"), &who, body).await
    };
    let answer = put("lobby", r#"{"seq":1}"#).await;
    assert_eq!((answer.status, &answer.body["room"], &answer.body["seq"]), (200, &json!("lobby"), &json!(1)));
    assert_eq!((heard(&mut ada).await, &listener.find("read").await["seq"]), (1, &json!(1)));
    assert_eq!(put("Lobby", r#"{"seq":1}"#).await.status, 400);
    assert_eq!(put("lobby", r#"{"seq":-1}"#).await.status, 400);

    let mut client = client(&world).await;
    let mut request = Request::new(ReadRequest { room: "lobby".to_owned(), seq: 2 });
    assert_eq!(client.read(request).await.unwrap_err().code(), Code::Unauthenticated);
    request = Request::new(ReadRequest { room: "lobby".to_owned(), seq: 2 });
    let token = format!("Bearer {}", is_ada.token);
    request.metadata_mut().insert("authorization", token.parse().unwrap());
    assert_eq!(client.read(request).await.unwrap().into_inner().seq, 2);
    assert_eq!((heard(&mut ada).await, &listener.find("read").await["seq"]), (2, &json!(2)));

    let by_http = http::ask(world.there(), "GET /v1/rooms", &who).await;
    assert_eq!(by_http.status, 200, "{by_http:?}");
    let lobby = &by_http.body["rooms"][0];
    assert_eq!((&lobby["room"], &lobby["read"], &lobby["unread"]), (&json!("lobby"), &json!(2), &json!(1)));
    let mut request = Request::new(RoomsRequest {});
    request.metadata_mut().insert("authorization", token.parse().unwrap());
    let by_call = client.rooms(request).await.unwrap().into_inner();
    assert_eq!(json!(by_call), by_http.body);
    assert_eq!(http::ask(world.here(), "GET /v1/rooms", "").await.status, 401);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_outlives_a_restart_of_redis() {
    let mut world = World::large().await;
    let (mut ada, is_ada) = Browser::guest(world.here()).await;
    let (mut bob, _) = Browser::guest(world.there()).await;
    ada.join("lobby", None).await;
    bob.join("lobby", None).await;
    for n in 1..=3 {
        bob.send("lobby", &format!("b{n}"), "before").await;
    }
    let (before, _) = read(&mut ada, 2).await;
    let redis = world.redis.as_mut().unwrap();
    redis.kill().await;
    redis.restart().await;
    bob.send("lobby", "b4", "after").await;
    let mut tab = Browser::connect(world.there()).await;
    tab.hello(&is_ada.token).await;
    let joined = tab.join("lobby", None).await;
    assert_ne!(joined.epoch, before, "another epoch, in which the numbers go on");
    assert_eq!((joined.head, joined.read), (4, 2));
    let lobby = eventually("the rooms are read", async || {
        // Whatever waited for Redis is answered or not.
        let Heard::Rooms(page) = tab.ask(Ask::Rooms(RoomsRequest {})).await else { return None };
        page.rooms.into_iter().next()
    })
    .await;
    assert_eq!((lobby.read, lobby.unread), (2, 2));
    world.end().await;
}

/// Epoch and seq up to where they have read the lobby.
async fn read(browser: &mut Browser, seq: u32) -> (String, u32) {
    match browser.ask(Ask::Read(ReadRequest { room: "lobby".to_owned(), seq })).await {
        Heard::Read(read) => (read.epoch, read.seq),
        other => panic!("not read but {other:?}"),
    }
}

async fn rooms(browser: &mut Browser) -> Vec<RoomSummary> {
    match browser.ask(Ask::Rooms(RoomsRequest {})).await {
        Heard::Rooms(page) => page.rooms,
        other => panic!("no rooms but {other:?}"),
    }
}
