//! What an acknowledged message has survived, where the primary's own word is not enough.
//!
//! WAIT and WAITAOF hold up the connection on which they are sent, and count for what was written on it. So they have
//! connections of their own, and follow their script in one pipeline that is never sent a second time: on another
//! connection a WAIT would speak for nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use clap::ValueEnum;
use fred::{
    clients::Client,
    error::Error,
    interfaces::{ClientLike, ClusterInterface},
    types::{ClusterHash, CustomCommand, FromValue, Value, config::Options, scripts::Script},
    util::redis_keyslot,
};

use super::trouble::{translate, words};
use crate::store::StoreError;

/// How many connections wait for replicas or disks. Each does so for one message at a time.
pub(super) const CONNECTIONS: usize = 16;
/// How long a replica or a disk may take, in milliseconds. With the script it fits the deadline of one command.
const WAIT_MILLIS: i64 = 1000;
/// The first version with WAITAOF.
pub(super) const WAITAOF_SINCE: (u64, u64) = (7, 2);

/// What a message that was acknowledged has survived. README says what each is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Ack {
    /// The primary has it, as safe as its `appendfsync` makes it.
    #[default]
    Primary,
    /// A replica has it too.
    Replica,
    /// It is on the primary's disk. Needs Redis 7.2 with `appendonly yes`.
    Aof,
}

/// The connections on which messages are appended and waited for.
#[derive(Debug)]
pub(super) struct Acknowledged {
    ack: Ack,
    clients: Vec<Client>,
    next: AtomicUsize,
}

impl Acknowledged {
    pub(super) fn new(ack: Ack, clients: Vec<Client>) -> Self {
        Self { ack, clients, next: AtomicUsize::new(0) }
    }

    /// Runs the script, and waits until what it and its predecessors wrote is as safe as it has to be.
    pub(super) async fn run<Reply: FromValue>(
        &self,
        script: &Script,
        keys: &[String],
        args: &[Value],
    ) -> Result<Reply, StoreError> {
        let client = &self.clients[self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len()];
        if self.ack == Ack::Aof
            && client.server_version().is_some_and(|version| (version.major, version.minor) < WAITAOF_SINCE)
        {
            return Err(StoreError::Unavailable("it is older than 7.2, which ACK=aof needs".to_owned()));
        }
        let outcome = match self.pipeline(client, "EVALSHA", script.sha1(), keys, args).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                let lua = script.lua().expect("our scripts are made from their text");
                self.pipeline(client, "EVAL", lua, keys, args).await
            }
            outcome => outcome,
        };
        let (reply, safe) = outcome.map_err(|error| translate(&error))?;
        let safe = safe.map_err(|error| StoreError::Unavailable(words(&error)))?;
        if !self.is_enough(&safe) {
            return Err(StoreError::Unavailable(
                match self.ack {
                    Ack::Replica => "no replica had the message in time",
                    _ => "the message was not on disk in time",
                }
                .to_owned(),
            ));
        }
        reply.convert().map_err(|error| translate(&error))
    }

    /// What the script answered, and what the wait after it did.
    async fn pipeline(
        &self,
        client: &Client,
        verb: &'static str,
        script: &str,
        keys: &[String],
        args: &[Value],
    ) -> Result<(Value, Result<Value, Error>), Error> {
        let mut words: Vec<Value> = vec![script.into(), i64::try_from(keys.len()).unwrap_or(i64::MAX).into()];
        words.extend(keys.iter().map(Value::from));
        words.extend_from_slice(args);
        let slot = keys.first().map(|key| redis_keyslot(key.as_bytes()));
        // On a cluster both go to the node of the room's slot, by name: a WAIT has no key to follow.
        let cluster_node = client
            .is_clustered()
            .then(|| client.cached_cluster_state()?.get_server(slot?).cloned())
            .flatten();
        let options = Options { max_attempts: Some(1), cluster_node, ..Options::default() };
        let pipeline = client.pipeline().with_options(&options);
        let command = |name| CustomCommand::new_static(name, ClusterHash::Random, false);
        // These return at once: both are sent together below.
        let () = pipeline.custom(command(verb), words).await?;
        let () = match self.ack {
            Ack::Aof => pipeline.custom(command("WAITAOF"), vec![1, 0, WAIT_MILLIS]).await?,
            _ => pipeline.custom(command("WAIT"), vec![1, WAIT_MILLIS]).await?,
        };
        let mut answers = pipeline.try_all::<Value>().await.into_iter();
        let missing = || Error::new(fred::error::ErrorKind::Timeout, "no answer");
        let reply = answers.next().unwrap_or_else(|| Err(missing()))?;
        Ok((reply, answers.next().unwrap_or_else(|| Err(missing()))))
    }

    fn is_enough(&self, safe: &Value) -> bool {
        match self.ack {
            Ack::Primary => true,
            Ack::Replica => safe.as_i64().is_some_and(|replicas| replicas >= 1),
            Ack::Aof => safe.clone().convert::<(i64, i64)>().is_ok_and(|(local, _)| local >= 1),
        }
    }
}
