//! `/readyz` of a gateway tells the truth: whatever keeps it from delivering is said there within ten seconds, with the
//! reason, and unsaid when it is over. Browsers stay where they are meanwhile.

use std::time::Duration;

use testkit::{Browser, eventually, http_get};
use tokio::time::{interval, timeout};

use crate::world::World;

/// Within this, trouble is known: the ten seconds that are promised, and some for a machine that is busy with other tests.
const PROMISE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_frozen_is_said_and_unsaid() {
    let (world, _link, _to_redis) = World::over_networks().await;
    let mut ada = ready(&world).await;
    world.redis.as_ref().unwrap().pause().await;
    unready(&world, "the room service cannot deliver: Redis").await;
    world.redis.as_ref().unwrap().resume().await;
    ready_again(&world, &mut ada).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_killed_is_said_and_unsaid() {
    let (mut world, _link, _to_redis) = World::over_networks().await;
    let mut ada = ready(&world).await;
    world.redis.as_mut().unwrap().kill().await;
    unready(&world, "the room service cannot deliver: Redis").await;
    world.redis.as_mut().unwrap().restart().await;
    ready_again(&world, &mut ada).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_full_is_said_and_unsaid() {
    let (world, _link, _to_redis) = World::over_networks().await;
    let mut ada = ready(&world).await;
    world.redis.as_ref().unwrap().ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    unready(&world, "the room service cannot deliver: Redis takes no writes (OOM)").await;
    world.redis.as_ref().unwrap().ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    ready_again(&world, &mut ada).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_became_a_replica_is_said_and_unsaid() {
    let (world, _link, _to_redis) = World::over_networks().await;
    let mut ada = ready(&world).await;
    world.redis.as_ref().unwrap().ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    unready(&world, "the room service cannot deliver: Redis takes no writes (READONLY)").await;
    world.redis.as_ref().unwrap().ask(&["REPLICAOF", "NO", "ONE"]).await;
    ready_again(&world, &mut ada).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_cut_while_commands_live_are_said_and_unsaid() {
    let (world, _link, _to_redis) = World::over_networks().await;
    let mut ada = ready(&world).await;
    let cutting = async {
        let mut beat = interval(Duration::from_millis(20));
        loop {
            beat.tick().await;
            world.redis.as_ref().unwrap().ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        }
    };
    tokio::select! {
        () = unready(&world, "the room service cannot deliver: ") => {}
        () = cutting => {}
    }
    ready_again(&world, &mut ada).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_to_redis_that_loses_everything_is_said_and_unsaid() {
    let (world, _link, to_redis) = World::over_networks().await;
    let mut ada = ready(&world).await;
    to_redis.hole();
    unready(&world, "the room service cannot deliver: Redis").await;
    to_redis.heal();
    ready_again(&world, &mut ada).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_loses_everything_is_said_and_unsaid() {
    let (world, link, _to_redis) = World::over_networks().await;
    let mut ada = ready(&world).await;
    link.hole();
    // Either the Link is found dead, or its probes are not answered.
    unready(&world, "room service").await;
    link.heal();
    ready_again(&world, &mut ada).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_loses_one_way_is_said_and_unsaid() {
    let (world, link, _to_redis) = World::over_networks().await;
    let mut ada = ready(&world).await;
    link.hole_down();
    // Either the Link is found dead, or its probes are not answered.
    unready(&world, "room service").await;
    link.heal();
    ready_again(&world, &mut ada).await;
    world.end().await;
}

/// The gateway is ready, and a browser is in the lobby.
async fn ready(world: &World) -> Browser {
    let (mut ada, _) = Browser::guest(world.here()).await;
    assert_eq!(readyz(world.here()).await, (200, "ready\n".to_owned()));
    ada.join("lobby", None).await;
    ada.send("lobby", "before", "before").await;
    assert_eq!(ada.message().await.seq, 1);
    ada
}

/// The gateway says as promised that it is not ready, and why.
async fn unready(world: &World, reason: &str) {
    let said = eventually("it is not ready", async || {
        let (status, words) = readyz(world.here()).await;
        (status == 503).then_some(words)
    });
    let said = timeout(PROMISE, said).await.expect("in time");
    assert!(said.contains(reason), "{said}");
    assert!(!said.contains("127.0.0.1"), "no address is told to strangers: {said}");
}

/// It is ready by itself, and who was there all along goes on.
async fn ready_again(world: &World, ada: &mut Browser) {
    eventually("it is ready again", async || (readyz(world.here()).await.0 == 200).then_some(())).await;
    ada.send("lobby", "after", "after").await;
    assert_eq!(ada.message().await.text, "after");
}

/// Status and words.
async fn readyz(gateway: &str) -> (u16, String) {
    http_get(gateway, "/readyz").await.expect("the gateway answers")
}
