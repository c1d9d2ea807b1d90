//! Which topics are subscribed, on a connection of its own: one task owns the set, so that no unsubscribe can
//! overtake a subscribe; another hands on what is heard.
//!
//! fred is not asked to manage subscriptions: it gives up half-way when one of its sets is empty, and
//! `subscribe` returns before Redis has it. So the set is kept here, a PING on the same connection confirms it,
//! and after each reconnect everything is subscribed again and every room told of a gap.
//!
//! On a cluster topics are sharded: each is heard from the node of its room's slot. A slot that moves to another node
//! ends its subscriptions, and fred keeps the node's word about it to itself; so all are asked for again every few
//! seconds, which changes nothing for those that stand. What was missed meanwhile shows in the heads of the beacon.

use std::{collections::HashMap, time::Duration};

use fred::{
    clients::Client,
    interfaces::{ClientLike, ClusterInterface, EventInterface, PubsubInterface},
    types::{Message as Received, Value},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use runtime::Tasks;
use tokio::{
    sync::{broadcast::error::RecvError, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use super::{connection::COMMAND_TIMEOUT, topic, translate};
use crate::{
    ids::RoomId,
    store::{FeedSender, Heard, StoreError, Traceparent},
};

/// How many requests may wait; callers wait for a place.
const WAITING_REQUESTS: usize = 1024;
/// How many topics one SUBSCRIBE names at most.
const CHUNK: usize = 256;
/// How many sharded topics are asked for at once. Each is a command of its own, since each has its own slot.
const SHARDED_AT_ONCE: usize = 64;
/// How often all sharded topics are asked for again. With the beacon, a room is whole again within ten seconds of a
/// move of its slot.
const AGAIN: Duration = Duration::from_secs(3);
/// How long to wait before subscribing again when it failed though the connection stands.
const RETRY: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Subscriptions {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
enum Request {
    Add(RoomId, oneshot::Sender<Result<(), StoreError>>),
    Remove(RoomId),
    /// Subscribe to everything again.
    Renew,
}

impl Subscriptions {
    /// Hears `probes` from the first connection on, and the rooms that are added.
    pub(super) fn start(client: Client, feed: FeedSender, probes: String, tasks: &Tasks) -> Self {
        let (sender, requests) = mpsc::channel(WAITING_REQUESTS);
        tasks.spawn("redis feed", hand_on(client.clone(), feed.clone(), probes.clone(), tasks.clone()));
        tasks.spawn("redis subscriptions", keep(client, feed, probes, requests, tasks.clone()));
        Self { requests: sender }
    }

    pub(super) async fn add(&self, room: &RoomId) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        let stopped = |()| StoreError::Unavailable("stopping".to_owned());
        self.requests.send(Request::Add(room.clone(), answer)).await.map_err(|_| stopped(()))?;
        answered.await.map_err(|_| stopped(()))?
    }

    pub(super) async fn remove(&self, room: &RoomId) {
        // A task that has ended has no subscriptions any more.
        let _ = self.requests.send(Request::Remove(room.clone())).await;
    }

    /// Subscribes to everything again, soon.
    pub(super) async fn renew(&self) {
        let _ = self.requests.send(Request::Renew).await;
    }
}

async fn keep(
    client: Client,
    feed: FeedSender,
    probes: String,
    mut requests: mpsc::Receiver<Request>,
    tasks: Tasks,
) {
    let mut reconnected = client.reconnect_rx();
    let mut counts: HashMap<RoomId, usize> = HashMap::new();
    let mut batch = Vec::new();
    // When everything is to be subscribed again.
    let mut renewal = None;
    let mut again = interval(AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let renew = tokio::select! {
            () = tasks.stopping().cancelled() => return,
            event = reconnected.recv() => {
                // Several reconnects may have been counted together; once is enough for all.
                if matches!(event, Err(RecvError::Closed)) {
                    return;
                }
                true
            }
            () = sleep_until(renewal.unwrap_or_else(Instant::now)), if renewal.is_some() => true,
            _ = again.tick(), if client.is_clustered() && client.is_connected() => {
                // Learning the new owners once is cheaper than being redirected for each room. If it fails, or if this
                // takes too long, the next time is soon.
                let _ = timeout(COMMAND_TIMEOUT, client.sync_cluster()).await;
                if let Err(error) = subscribe(&client, &topics(&counts, &probes)).await {
                    tracing::debug!(%error, "cannot ask for sharded topics again yet");
                }
                false
            }
            taken = requests.recv_many(&mut batch, CHUNK) => {
                if taken == 0 {
                    return;
                }
                settle(&client, &mut counts, batch.drain(..)).await
            }
        };
        if !renew {
            continue;
        }
        renewal = None;
        match subscribe(&client, &topics(&counts, &probes)).await {
            Ok(()) => feed.put(Heard::Gap),
            Err(error) => {
                tracing::debug!(%error, "cannot subscribe again yet");
                // Without a connection, the next one begins with it.
                renewal = client.is_connected().then(|| Instant::now() + RETRY);
            }
        }
    }
}

/// All that is to be heard.
fn topics(counts: &HashMap<RoomId, usize>, probes: &str) -> Vec<String> {
    counts.keys().map(topic).chain([probes.to_owned()]).collect()
}

/// Does what a batch of requests asks for, in as few commands as keep their order. Whether everything is to be
/// subscribed again.
async fn settle(
    client: &Client,
    counts: &mut HashMap<RoomId, usize>,
    batch: impl Iterator<Item = Request>,
) -> bool {
    let mut renew = false;
    let mut added = Vec::new();
    let mut answers = Vec::new();
    for request in batch {
        match request {
            Request::Renew => renew = true,
            Request::Add(room, answer) => {
                let count = counts.entry(room.clone()).or_default();
                *count += 1;
                // Also asked for if someone else holds it: their own request may have failed.
                added.push(room.clone());
                answers.push((room, answer));
            }
            Request::Remove(room) => {
                let Some(count) = counts.get_mut(&room) else { continue };
                *count -= 1;
                if *count == 0 {
                    counts.remove(&room);
                    added.retain(|other| *other != room);
                    // If the connection is gone, so is the subscription.
                    let _ = if client.is_clustered() {
                        client.sunsubscribe(topic(&room)).await
                    } else {
                        client.unsubscribe(topic(&room)).await
                    };
                }
            }
        }
    }
    let topics: Vec<String> = added.iter().map(topic).collect();
    let outcome = subscribe(client, &topics).await;
    for (room, answer) in answers {
        let outcome = match &outcome {
            Ok(()) => Ok(()),
            Err(error) => {
                if let Some(count) = counts.get_mut(&room) {
                    *count -= 1;
                    if *count == 0 {
                        counts.remove(&room);
                    }
                }
                Err(StoreError::Unavailable(error.to_string()))
            }
        };
        // Whoever asked waits for the answer, unless the whole process is stopping.
        let _ = answer.send(outcome);
    }
    renew
}

async fn subscribe(client: &Client, topics: &[String]) -> Result<(), StoreError> {
    if client.is_clustered() {
        // Each returns when its node has it.
        return stream::iter(topics.to_vec())
            .map(|topic| async move { client.ssubscribe(topic).await.map_err(|error| translate(&error)) })
            .buffer_unordered(SHARDED_AT_ONCE)
            .try_collect()
            .await;
    }
    for chunk in topics.chunks(CHUNK) {
        client.subscribe(chunk.to_vec()).await.map_err(|error| translate(&error))?;
    }
    if !topics.is_empty() {
        // `subscribe` returns when it is written; Redis answers a PING after it has subscribed.
        client.ping::<Value>(None).await.map_err(|error| translate(&error))?;
    }
    Ok(())
}

async fn hand_on(client: Client, feed: FeedSender, probes: String, tasks: Tasks) {
    let mut heard = client.message_rx();
    loop {
        let message = tokio::select! {
            () = tasks.stopping().cancelled() => return,
            message = heard.recv() => message,
        };
        match message {
            Ok(message) => match read(&message, &probes) {
                Some(heard) => feed.put(heard),
                // Somebody else's. If it was ours after all, the head beacon finds what is missing.
                None => metrics::counter!("parlor_room_service_unreadable_events_total").increment(1),
            },
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "events came faster than they were read");
                feed.put(Heard::Gap);
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// What a topic of ours says.
fn read(message: &Received, probes: &str) -> Option<Heard> {
    if *message.channel == *probes {
        return Some(Heard::Probed(message.value.as_u64()?));
    }
    let room = message.channel.strip_prefix("chat:{")?.strip_suffix("}:events")?;
    let json = message.value.as_bytes()?;
    let published = serde_json::from_slice(json).ok()?;
    Some(Heard::Published(RoomId::parse(room)?, Box::new(published), traceparent(json).unwrap_or_default()))
}

/// What `log.lua` writes at the end of a message that is traced. A text of a member's cannot look so: its quotes are
/// escaped.
fn traceparent(json: &[u8]) -> Option<Traceparent> {
    let value = json.strip_suffix(br#""}}"#)?;
    let begins = value.iter().rposition(|byte| *byte == b'"')? + 1;
    let (before, value) = value.split_at(begins);
    before.strip_suffix(br#","traceparent":""#)?;
    str::from_utf8(value).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_script_wrote_is_a_traceparent() {
        let value = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let traced = format!(r#"{{"message":{{"seq":1,"text":"hi","traceparent":"{value}"}}}}"#);
        assert_eq!(traceparent(traced.as_bytes()).as_deref(), Some(value));
        for other in [
            r#"{"message":{"seq":1,"text":"hi"}}"#,
            r#"{"message":{"seq":1,"text":"\",\"traceparent\":\"00"}}"#,
            r#"{"typing":{"room":"lobby"}}"#,
            r#"{"rules":3}"#,
            "",
        ] {
            assert_eq!(traceparent(other.as_bytes()), None, "{other}");
        }
    }
}
