//! Stories about Parlor, each told in two worlds.
#![allow(clippy::unwrap_used)]

mod bots;
mod errors;
mod faults;
mod limits;
mod links;
mod readiness;
mod talk;
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
