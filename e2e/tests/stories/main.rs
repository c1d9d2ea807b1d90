//! Stories about Parlor, each told in two worlds; those about frames by every door.
#![allow(clippy::unwrap_used)]

mod attachments;
mod bots;
mod changes;
mod errors;
mod faults;
mod http;
mod limits;
mod links;
mod operators;
mod readiness;
mod reading;
mod sign_in;
mod talk;
mod tls;
mod traces;
mod world;

/// Each story becomes two tests: in one process, and across two gateways, two room services and Redis.
macro_rules! stories {
    ($($story:ident)*) => {
        mod one_process { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $story() { super::$story(crate::world::World::small().await).await; }
        )* }
        mod across_tiers { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $story() { super::$story(crate::world::World::large().await).await; }
        )* }
    };
}
pub(crate) use stories;

/// What frames promise is promised by every door, in every encoding: each story becomes six tests.
macro_rules! conformance {
    ($($story:ident)*) => { $(
        mod $story {
            use testkit::Speech::{Grpc, Json, Protobuf};

            use crate::world::World;

            #[tokio::test(flavor = "multi_thread")]
            async fn json_in_one_process() { super::$story(World::small().await.spoken_to(Json)).await; }
            #[tokio::test(flavor = "multi_thread")]
            async fn protobuf_in_one_process() { super::$story(World::small().await.spoken_to(Protobuf)).await; }
            #[tokio::test(flavor = "multi_thread")]
            async fn grpc_in_one_process() { super::$story(World::small().await.spoken_to(Grpc)).await; }
            #[tokio::test(flavor = "multi_thread")]
            async fn json_across_tiers() { super::$story(World::large_without_a_disk().await.spoken_to(Json)).await; }
            #[tokio::test(flavor = "multi_thread")]
            async fn protobuf_across_tiers() { super::$story(World::large_without_a_disk().await.spoken_to(Protobuf)).await; }
            #[tokio::test(flavor = "multi_thread")]
            async fn grpc_across_tiers() { super::$story(World::large_without_a_disk().await.spoken_to(Grpc)).await; }
        }
    )* }
}
pub(crate) use conformance;
