//! Appends to a Redis as fast as the store takes it, until it is killed: a room service without doors, sessions and
//! rooms. `make bench` counts what one costs.
//!
//! ```text
//! append redis://127.0.0.1:6379
//! ```

use std::{env, error::Error, sync::Arc, time::Duration};

use proto::chat::v1::Member;
use room_service::{
    ids::RoomId,
    store::{Ack, Draft, RedisOptions, RedisStore, Store as _},
};
use runtime::{Health, Tasks};
use tokio::time::sleep;

/// Appends under way at once. Enough that Redis never waits for the next.
const IN_FLIGHT: u32 = 64;
/// Before the next try, when Redis is away.
const RETRY: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::args().nth(1).ok_or("where is Redis?")?;
    let options = RedisOptions { url, ca: None, ack: Ack::Primary, history_max: 10_000 };
    let tasks = Tasks::default();
    // Nobody listens, so nothing is heard.
    let (store, _feed) = RedisStore::connect(&options, &Health::default(), &tasks)?;
    let store = Arc::new(store);
    for sender in 0..IN_FLIGHT {
        tasks.spawn("sender", append(store.clone(), sender));
    }
    tasks.stopping().cancelled().await;
    Ok(())
}

/// Appends one message after the other, in a room of its own.
async fn append(store: Arc<RedisStore>, sender: u32) {
    let room = RoomId::parse(&format!("append-{sender}")).expect("a good name");
    let member = Arc::new(Member {
        id: format!("m_{sender}"),
        name: "Ada Lovelace".to_owned(),
        avatar: "/avatars/Ada%20Lovelace.svg".to_owned(),
        kind: "guest".to_owned(),
    });
    for n in 0_u64.. {
        let draft = Draft::text(room.clone(), member.clone(), n.to_string(), "x".repeat(100));
        if store.append(&draft).await.is_err() {
            // Refused at once: Redis is not there yet, or not any more.
            sleep(RETRY).await;
        }
    }
}
