//! What fails behind the gateway does not close browsers, and loses nothing.

use clap::Parser as _;
use proto::chat::v1::{LeaveRequest, SendRequest, client_frame::Body as Ask, server_frame::Body as Heard};
use room_service::{Service, config::Settings, open_store};
use runtime::{Health, Tasks};
use testkit::{Browser, PATIENCE, RedisServer, eventually};
use tokio::time::Instant;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn redis_goes_away_and_comes_back_and_nobody_is_closed() {
    let mut world = World::large().await;
    let (mut ada, _) = Browser::guest(world.here()).await;
    let (mut bob, _) = Browser::guest(world.there()).await;
    ada.join("lobby", None).await;
    bob.join("lobby", None).await;
    let first = ada.send("lobby", "c1", "before").await;
    assert_eq!(bob.message().await.id, first.id);

    let redis = world.redis.as_mut().unwrap();
    redis.kill().await;
    let asked = Instant::now();
    let send = SendRequest::text("lobby", "c2", "meanwhile");
    let Heard::Error(error) = ada.ask(Ask::Send(send)).await else { panic!("a false ack") };
    assert_eq!((error.code.as_str(), error.retryable), ("UNAVAILABLE", true));
    assert!(asked.elapsed().as_secs_f32() < 5.0, "{:?}", asked.elapsed());
    redis.restart().await;

    let second = ada.send("lobby", "c2", "meanwhile").await;
    assert_eq!(second.seq, 2);
    let heard = bob.message().await;
    assert_eq!((heard.seq, heard.id), (2, second.id));
    assert_eq!(ada.message().await.seq, 1);
    assert_eq!(ada.message().await.seq, 2);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgot_everything_starts_the_room_afresh() {
    let mut world = World::large().await;
    let (mut ada, ada_is) = Browser::guest(world.here()).await;
    ada.join("lobby", None).await;
    let lost = ada.send("lobby", "c1", "lost").await;
    ada.message().await;
    world.redis.as_ref().unwrap().ask(&["FLUSHALL"]).await;
    let redis = world.redis.as_mut().unwrap();
    redis.kill().await;
    redis.restart().await;
    let afresh = ada.find(|event| match event {
        Heard::Joined(joined) => Some(joined),
        _ => None,
    });
    let afresh = afresh.await;
    assert!(!afresh.resumed);
    assert_ne!(afresh.epoch, lost.epoch);
    assert_eq!(ada.send("lobby", "c2", "new").await.seq, 1);
    assert_eq!(ada.message().await.text, "new");
    let redis = world.redis.as_ref().unwrap();
    let id = ada_is.member.unwrap().id;
    eventually("ada is in the roster again", async || {
        redis.ask(&["HGET", "chat:{lobby}:members", &id]).await.contains(&id).then_some(())
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_service_restarts_and_its_browsers_miss_nothing() {
    let mut world = World::large().await;
    let (mut ada, ada_is) = Browser::guest(world.here()).await;
    let (mut bob, _) = Browser::guest(world.there()).await;
    ada.join("lobby", None).await;
    bob.join("lobby", None).await;
    bob.send("lobby", "b1", "before").await;
    assert_eq!(ada.message().await.seq, 1);
    assert_eq!(bob.message().await.seq, 1);

    world.restart_room_service(0).await;
    bob.send("lobby", "b2", "meanwhile").await;
    assert_eq!(ada.message().await.seq, 2, "the missed one, once");
    let mine = ada.send("lobby", "a1", "by the new one").await;
    assert_eq!(mine.seq, 3);
    assert_eq!(ada.message().await.seq, 3);
    let quiet = bob.find(|event| match event {
        Heard::Message(message) if message.seq == 3 => Some(message),
        Heard::Presence(presence) => {
            assert!(!presence.left.contains(&ada_is.member.as_ref().unwrap().id), "noise: {presence:?}");
            None
        }
        _ => None,
    });
    quiet.await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_left_while_a_room_service_restarted_is_told() {
    let mut world = World::large().await;
    let (mut ada, _) = Browser::guest(world.here()).await;
    let (mut bob, welcome) = Browser::guest(world.there()).await;
    let gone_id = welcome.member.unwrap().id;
    ada.join("lobby", None).await;
    bob.join("lobby", None).await;
    ada.find(|event| match event {
        Heard::Presence(presence) => presence.joined.iter().any(|member| member.id == gone_id).then_some(()),
        _ => None,
    })
    .await;
    world.end_room_service(0).await;
    let left = bob.ask(Ask::Leave(LeaveRequest { room: "lobby".into() })).await;
    assert!(matches!(left, Heard::Left(_)), "{left:?}");
    world.start_room_service_again(0).await;
    let gone = ada.find(|event| match event {
        Heard::Presence(presence) if presence.left == [gone_id.as_str()] => Some(presence.member_count),
        _ => None,
    });
    assert_eq!(gone.await, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_holds_something_foreign_is_our_fault_and_says_so() {
    let world = World::large().await;
    let (mut ada, _) = Browser::guest(world.here()).await;
    ada.join("lobby", None).await;
    let redis = world.redis.as_ref().unwrap();
    redis.ask(&["SET", "chat:{lobby}:messages", "not a sorted set"]).await;
    let send = SendRequest::text("lobby", "c1", "hi");
    let Heard::Error(error) = ada.ask(Ask::Send(send)).await else { panic!("a false ack") };
    assert_eq!(error.code, "INTERNAL");
    assert!(error.message.contains("i_"), "it repeats the id that the log has: {}", error.message);
    redis.ask(&["DEL", "chat:{lobby}:messages"]).await;
    assert_eq!(ada.send("lobby", "c2", "the session goes on").await.seq, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_away_at_the_start_is_waited_for() {
    let mut redis = RedisServer::start().await;
    redis.kill().await;
    let (health, tasks) = (Health::default(), Tasks::default());
    let settings = Settings::parse_from(["room-service", "--redis-url", &redis.url()]);
    let (store, feed) = open_store(&settings, &health, &tasks).unwrap();
    let (starting_health, starting_tasks) = (health.clone(), tasks.clone());
    let starting = tokio::spawn(async move {
        Service::start(settings, store, feed, &starting_health, &Tasks::default(), &starting_tasks)
            .await
            .is_some()
    });
    let why = eventually("it says why it is not ready", async || {
        health.check().err().filter(|why| why.contains("no connection"))
    })
    .await;
    assert!(why.starts_with("redis: "), "{why}");
    redis.restart().await;
    assert!(starting.await.unwrap());
    eventually("it is ready", async || health.check().ok()).await;
    assert!(tasks.finish(PATIENCE).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_moves_while_redis_is_away_leaves_no_ghost() {
    let mut world = World::large().await;
    let (mut watcher, _) = Browser::guest(world.there()).await;
    watcher.join("lobby", None).await;
    let mut browsers = Vec::new();
    for _ in 0..3 {
        let (mut browser, welcome) = Browser::guest(world.here()).await;
        browser.join("lobby", None).await;
        browsers.push((browser, welcome.member.unwrap().id));
    }
    // The watcher misses only those whom they knew.
    let mut unknown: Vec<&String> = browsers.iter().map(|(_, id)| id).collect();
    while !unknown.is_empty() {
        let came = watcher.find(|event| match event {
            Heard::Presence(presence) => Some(presence.joined),
            _ => None,
        });
        let came = came.await;
        unknown.retain(|id| !came.iter().any(|member| member.id == **id));
    }
    world.redis.as_mut().unwrap().kill().await;
    world.restart_room_service(0).await;
    world.redis.as_mut().unwrap().restart().await;
    for (browser, _) in &mut browsers {
        browser.send("lobby", "after", "still in the room").await;
    }
    let mut here: Vec<String> = Vec::new();
    for (browser, id) in browsers {
        browser.close().await;
        here.push(id);
    }
    while !here.is_empty() {
        let gone = watcher.find(|event| match event {
            Heard::Presence(presence) if !presence.left.is_empty() => Some(presence.left),
            _ => None,
        });
        let gone = gone.await;
        here.retain(|id| !gone.contains(id));
    }
    let redis = world.redis.as_mut().unwrap();
    // A ghost would be put back with the new epoch.
    redis.kill().await;
    redis.restart().await;
    watcher.send("lobby", "last", "alone").await;
    let redis = world.redis.as_ref().unwrap();
    assert_eq!(redis.ask(&["HLEN", "chat:{lobby}:members"]).await, ":1\r\n");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_service_that_lost_redis_is_left_for_one_that_has_it() {
    let (world, to_redis) = World::with_a_spare_room_service().await;
    let (mut ada, _) = Browser::guest(world.here()).await;
    ada.join("lobby", None).await;
    ada.send("lobby", "before", "before").await;
    assert_eq!(ada.message().await.text, "before");
    to_redis.hole();
    ada.send("lobby", "meanwhile", "said while the hole is there").await;
    assert_eq!(ada.message().await.seq, 2);
    to_redis.heal();
    world.end().await;
}
