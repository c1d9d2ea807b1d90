//! The laws of the store, held by both stores: in memory, and in a private real Redis of each kind, which is one
//! server, one that Sentinels watch, or a cluster. What becomes of them when Redis fails is in `redis_faults.rs`.
#![allow(clippy::unwrap_used)]

mod laws_of_attachments;
mod laws_of_changes;
mod people;
mod reading;

use std::{sync::Arc, time::Duration};

use proto::chat::v1::Position;
use room_service::{
    ids::{EdgeId, RoomId, SessionName},
    store::{
        Ack, Act, Appended, DEPARTURES_KEPT, DEPARTURES_TTL, Draft, Feed, Forbidden, Heard, Lease, MAX_BANS,
        MemoryStore, ProbeError, Published, RedisOptions, RedisStore, RosterChange, Rules, Standing, Store,
        StoreError,
    },
};
use runtime::{Health, Tasks};
use testkit::{PATIENCE, RedisCluster, RedisSentinels, RedisServer, eventually};
use tokio::time::timeout;

use crate::{
    laws_of_attachments::*,
    laws_of_changes::*,
    people::{lobby, member, seat},
    reading::*,
};

const HISTORY_MAX: u32 = 5;

/// A store, and what keeps it alive.
struct World {
    store: Arc<dyn Store>,
    feed: Feed,
    tasks: Tasks,
    redis: Option<RedisServer>,
}

impl World {
    fn in_memory() -> Self {
        Self::in_memory_of(HISTORY_MAX)
    }

    /// Of a room `history_max` messages are kept.
    fn in_memory_of(history_max: u32) -> Self {
        let (store, feed) = MemoryStore::new(history_max);
        Self { store: Arc::new(store), feed, tasks: Tasks::default(), redis: None }
    }

    async fn in_redis() -> Self {
        let redis = RedisServer::durable().await;
        let world = Self::at(redis.url()).await;
        Self { redis: Some(redis), ..world }
    }

    async fn in_redis_of(history_max: u32) -> Self {
        let redis = RedisServer::start().await;
        let (store, feed, tasks) = connect(redis.url(), history_max).await;
        Self { store, feed, tasks, redis: Some(redis) }
    }

    async fn at(url: String) -> Self {
        let (store, feed, tasks) = connect(url, HISTORY_MAX).await;
        Self { store, feed, tasks, redis: None }
    }

    async fn published(&mut self) -> Published {
        loop {
            match timeout(PATIENCE, self.feed.next()).await.expect("something is published") {
                Some(Heard::Published(_, published, _)) => return *published,
                Some(Heard::Gap | Heard::Probed(_)) => {}
                None => panic!("the feed ended"),
            }
        }
    }

    async fn probed(&mut self) -> u64 {
        loop {
            match timeout(PATIENCE, self.feed.next()).await.expect("a probe is heard") {
                Some(Heard::Probed(nonce)) => return nonce,
                Some(Heard::Gap) => {}
                other => panic!("no probe but {other:?}"),
            }
        }
    }

    async fn presence(&mut self) -> RosterChange {
        match self.published().await {
            Published::Presence(change) => change,
            other => panic!("no presence but {other:?}"),
        }
    }

    async fn say(&self, client_id: &str, text: &str) -> Appended {
        self.store.append(&draft(client_id, text)).await.unwrap()
    }

    async fn end(self) {
        assert!(self.tasks.finish(PATIENCE).await);
    }
}

async fn connect(url: String, history_max: u32) -> (Arc<dyn Store>, Feed, Tasks) {
    let (health, tasks) = (Health::default(), Tasks::default());
    let options = RedisOptions { url, ca: None, ack: Ack::Primary, history_max };
    let (store, feed) = RedisStore::connect(&options, &health, &tasks).unwrap();
    eventually("the store is ready", async || health.check().ok()).await;
    (Arc::new(store), feed, tasks)
}

/// Each law becomes two tests; those who need several servers are formed once for all laws.
macro_rules! laws {
    ($($law:ident)*) => {
        mod memory { $(#[tokio::test] async fn $law() { super::$law(super::World::in_memory()).await; })* }
        mod redis { $(#[tokio::test] async fn $law() { super::$law(super::World::in_redis().await).await; })* }

        #[tokio::test]
        async fn every_law_holds_on_a_cluster() {
            let cluster = RedisCluster::start().await;
            $(
                println!("{}", stringify!($law));
                cluster.clear().await;
                $law(World::at(cluster.url()).await).await;
            )*
        }

        #[tokio::test]
        async fn every_law_holds_behind_sentinels() {
            let sentinels = RedisSentinels::start(1).await;
            $(
                println!("{}", stringify!($law));
                sentinels.primary().await.ask(&["FLUSHALL"]).await;
                $law(World::at(sentinels.url()).await).await;
            )*
        }
    };
}

laws! {
    numbers_have_no_holes_even_when_many_append_at_once
    a_repeated_client_id_is_one_message
    what_is_published_is_what_is_kept_in_order
    only_the_newest_are_kept
    a_position_is_honoured_if_it_can_be_proved_and_only_then
    history_pages_backwards_to_the_beginning
    two_sessions_are_one_member
    a_leave_removes_only_what_is_still_its_own
    a_dead_edge_is_reaped_and_a_living_one_is_not
    a_secret_is_made_once
    a_probe_is_heard_once_and_by_nobody_else
    reading_makes_no_room
    an_edge_is_looked_for_where_it_has_sessions_and_nowhere_else
    a_join_beside_a_leave_of_the_same_edge_is_found
    who_left_after_a_version_is_known_until_they_are_back
    of_many_who_left_the_newest_are_known_and_no_more_is_proved
    a_deletion_leaves_a_tombstone_and_the_numbers_whole
    what_is_not_there_is_not_deleted
    who_is_banned_neither_comes_nor_speaks_until_it_is_over
    a_closed_room_takes_nobody_and_nothing_until_it_is_opened
    no_more_are_banned_than_may_be
    an_act_is_seen_once_by_whoever_looks
    who_is_kept_out_is_known_until_they_are_let_in
    an_edit_is_folded_in_and_is_the_next_message
    reactions_are_kept_by_kind_and_taken_back
    the_last_reaction_that_is_taken_back_leaves_nothing
    only_its_author_changes_what_was_said
    nothing_is_done_to_what_is_not_there
    a_deleted_message_leaves_its_place_and_takes_no_changes
    what_was_replaced_or_deleted_is_read_nowhere
    what_an_operator_deleted_takes_no_changes
    a_reply_names_a_message_that_is_kept
    who_is_kept_out_changes_nothing
    a_change_of_the_oldest_message_may_push_it_out_and_leaves_no_ghost
    of_changes_at_once_everyone_sees_the_same
    what_was_read_never_goes_back_nor_beyond_the_newest_message
    other_sessions_of_who_has_read_hear_it_if_there_are_any
    unread_are_messages_of_others_and_no_changes
    unread_messages_that_speak_to_a_member_are_counted_as_they_are_now
    who_may_not_be_there_sees_nothing_of_a_room_and_reads_nothing
    the_rooms_that_were_joined_last_come_first
    what_members_did_is_forgotten_after_its_time
    an_upload_is_one_messages_of_who_brought_it
    what_is_nobodys_is_detached_until_its_file_is_gone
    a_room_with_attachments_is_looked_through_by_one_at_a_time
}

async fn a_deletion_leaves_a_tombstone_and_the_numbers_whole(mut world: World) {
    let (store, lobby) = (world.store.clone(), lobby());
    world.say("c1", "quote \" and \u{1f469}\u{200d}\u{1f4bb} / \\").await;
    let said = world.say("c2", "unkind").await;
    let before = store.history(&lobby, 0, 10).await.unwrap().messages;
    store.subscribe(&lobby).await.unwrap();

    let tombstone = store.delete(&lobby, said.seq, &said.id).await.unwrap().unwrap();
    assert_eq!((tombstone.deleted, tombstone.text.as_str()), (true, ""));
    let expected =
        proto::chat::v1::Message { text: String::new(), deleted: true, changed: 3, ..before[1].clone() };
    assert_eq!(tombstone, expected, "who said it when is left");
    let Published::Message(deletion) = world.published().await else { panic!("a message") };
    assert_eq!((deletion.seq, deletion.deletes, deletion.text.as_str()), (3, 2, ""));
    assert_eq!((deletion.epoch.as_str(), deletion.room.as_str()), (said.epoch.as_str(), "lobby"));
    assert!(deletion.member.is_none() && deletion.sent_at.is_some() && !deletion.id.is_empty());
    assert_eq!(
        store.history(&lobby, 0, 10).await.unwrap().messages,
        [&before[0], &tombstone, &deletion].map(Clone::clone)
    );

    assert_eq!(store.delete(&lobby, said.seq, "").await.unwrap(), Some(tombstone), "again is the same");
    assert_eq!(store.standing(&lobby).await.unwrap().head, 3);
    assert_eq!(world.say("c2", "unkind").await, Appended { repeated: true, ..said.clone() });
    assert_eq!(world.say("c3", "go on").await.seq, 4);
    let since = position("another", said.seq, &said.id);
    let resume = store.resume(&lobby, &since, 10, 10).await.unwrap();
    assert!(resume.resumed, "a position at a tombstone is proved as before");
    assert_eq!(resume.messages.iter().map(|message| message.seq).collect::<Vec<_>>(), [3, 4]);
    world.end().await;
}

async fn what_is_not_there_is_not_deleted(world: World) {
    let store = &world.store;
    let mut said = Vec::new();
    for n in 1..=6 {
        said.push(world.say(&format!("c{n}"), "hi").await);
    }
    store.delete(&lobby(), 6, "").await.unwrap().unwrap();
    for (seq, id) in
        [(1, ""), (2, ""), (7, ""), (8, ""), (0, ""), (5, said[5].id.as_str()), (5, "x"), (u32::MAX, "")]
    {
        assert_eq!(store.delete(&lobby(), seq, id).await.unwrap(), None, "{seq} {id}");
    }
    assert_eq!(store.standing(&lobby()).await.unwrap().head, 7);
    world.end().await;
}

async fn who_is_banned_neither_comes_nor_speaks_until_it_is_over(mut world: World) {
    let (store, lobby) = (world.store.clone(), lobby());
    let first = world.say("c1", "hi").await;
    store.subscribe(&lobby).await.unwrap();
    assert!(store.ban(&lobby, "ada", None, "be \"kind\" é").await.unwrap());
    assert_eq!(world.published().await, Published::Rules(1));
    let banned = |outcome: Result<(), StoreError>| match outcome {
        Err(StoreError::Forbidden(Forbidden::Banned { reason })) => reason,
        other => panic!("not banned but {other:?}"),
    };
    assert_eq!(banned(store.append(&draft("c2", "hi")).await.map(|_| ())), "be \"kind\" é");
    assert_eq!(banned(store.join(&lobby, &seat("s1", "ada", "e1")).await.map(|_| ())), "be \"kind\" é");
    assert_eq!(world.say("c1", "hi").await, Appended { repeated: true, ..first }, "what was said stays said");
    store.append(&Draft { member: member("bob").into(), ..draft("c2", "hi") }).await.unwrap();
    store.join(&lobby, &seat("s2", "bob", "e1")).await.unwrap();
    assert_eq!(members(&world).await, ["bob"]);
    let rules = store.rules(&lobby).await.unwrap();
    assert_eq!((rules.version, rules.closed, rules.bans.len()), (1, None, 1));
    assert_eq!(rules.bans["ada"].until, None);

    assert!(
        store.ban(&lobby, "ada", Some(Duration::from_hours(1)), "").await.unwrap(),
        "another time for it"
    );
    assert!(store.rules(&lobby).await.unwrap().bans["ada"].until.is_some());
    assert_eq!(banned(store.append(&draft("c3", "hi")).await.map(|_| ())), "");
    store.lift_ban(&lobby, "ada").await.unwrap();
    store.lift_ban(&lobby, "ada").await.unwrap();
    assert_eq!(world.say("c3", "back").await.seq, 3);

    assert!(store.ban(&lobby, "ada", Some(Duration::from_millis(50)), "").await.unwrap());
    eventually("it is over by itself", async || store.append(&draft("c4", "back")).await.ok()).await;
    assert!(store.rules(&lobby).await.unwrap().bans.is_empty());
    world.end().await;
}

async fn a_closed_room_takes_nobody_and_nothing_until_it_is_opened(world: World) {
    let (store, lobby) = (&world.store, lobby());
    let said = world.say("c1", "hi").await;
    store.close(&lobby, "").await.unwrap();
    store.close(&lobby, "the day is over").await.unwrap();
    let reason = |error: StoreError| match error {
        StoreError::Forbidden(Forbidden::Closed { reason }) => reason,
        other => panic!("not closed but {other:?}"),
    };
    assert_eq!(reason(store.append(&draft("c2", "hi")).await.unwrap_err()), "the day is over");
    assert_eq!(reason(store.join(&lobby, &seat("s1", "ada", "e1")).await.unwrap_err()), "the day is over");
    let rules = store.rules(&lobby).await.unwrap();
    assert_eq!((rules.version, rules.closed), (2, Some("the day is over".to_owned())));
    assert_eq!(store.standing(&lobby).await.unwrap().rules_version, 2);
    store.delete(&lobby, said.seq, "").await.unwrap().expect("operators clear up all the same");
    store.open(&lobby).await.unwrap();
    let arrival = store.join(&lobby, &seat("s1", "ada", "e1")).await.unwrap();
    assert_eq!((arrival.standing.rules_version, arrival.standing.epoch), (3, said.epoch));
    assert_eq!(world.say("c2", "hi").await.seq, 3);
    world.end().await;
}

async fn no_more_are_banned_than_may_be(world: World) {
    let (store, lobby) = (&world.store, lobby());
    for n in 0..MAX_BANS {
        assert!(store.ban(&lobby, &format!("m{n}"), None, "").await.unwrap());
    }
    assert!(!store.ban(&lobby, "one more", None, "").await.unwrap());
    assert!(
        store.ban(&lobby, "m7", None, "again").await.unwrap(),
        "who is banned may be banned for another time"
    );
    store.lift_ban(&lobby, "m8").await.unwrap();
    assert!(store.ban(&lobby, "one more", None, "").await.unwrap());
    assert_eq!(store.rules(&lobby).await.unwrap().bans.len(), MAX_BANS as usize);
    world.end().await;
}

async fn an_act_is_seen_once_by_whoever_looks(world: World) {
    let store = &world.store;
    let (lobby, attic) = (lobby(), RoomId::parse("attic").unwrap());
    let none = store.acts(None).await.unwrap();
    assert_eq!((none.number, none.acts.len()), (0, 0));
    assert!(none.kept_out.is_some(), "the first look tells who is kept out, whatever was done");
    for room in [&lobby, &attic, &lobby] {
        store.note_act(room).await.unwrap();
    }
    let first = store.acts(Some(none.number)).await.unwrap();
    assert_eq!(first.acts, [Act::Room(attic), Act::Room(lobby.clone())]);
    let again = store.acts(Some(first.number)).await.unwrap();
    assert_eq!((again.number, again.acts.len(), again.kept_out), (first.number, 0, None));
    store.note_act(&lobby).await.unwrap();
    let second = store.acts(Some(first.number)).await.unwrap();
    assert_eq!(second.acts, [Act::Room(lobby)]);
    assert!(second.number > first.number);
    world.end().await;
}

async fn who_is_kept_out_is_known_until_they_are_let_in(world: World) {
    let store = &world.store;
    assert!(store.keep_out("ada", Duration::from_hours(1), "be kind").await.unwrap());
    assert!(store.keep_out("bob", Duration::ZERO, "").await.unwrap());
    let acts = store.acts(None).await.unwrap();
    assert_eq!(acts.acts, [Act::Member("ada".into()), Act::Member("bob".into())]);
    let kept_out = acts.kept_out.unwrap();
    let now = tokio::time::Instant::now();
    let left = |member: &str| kept_out[member].until.unwrap().saturating_duration_since(now);
    assert!(
        left("ada") > Duration::from_mins(59) && left("ada") <= Duration::from_hours(1),
        "{:?}",
        left("ada")
    );
    assert_eq!(kept_out["ada"].reason, "be kind");
    assert_eq!(left("bob"), Duration::ZERO, "only disconnected");
    store.readmit("ada").await.unwrap();
    store.readmit("ada").await.unwrap();
    let after = store.acts(Some(acts.number)).await.unwrap();
    assert_eq!(after.acts, [Act::Member("ada".into())]);
    assert_eq!(after.kept_out.unwrap().into_keys().collect::<Vec<_>>(), ["bob"]);
    world.end().await;
}

async fn numbers_have_no_holes_even_when_many_append_at_once(world: World) {
    let appends = (0..50).map(|n| {
        let store = world.store.clone();
        tokio::spawn(async move { store.append(&draft(&format!("c{n}"), "hi")).await.unwrap() })
    });
    let appends: Vec<_> = appends.collect();
    let mut numbers = Vec::new();
    for append in appends {
        numbers.push(append.await.unwrap().seq);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=50).collect::<Vec<u32>>());
    world.end().await;
}

async fn a_repeated_client_id_is_one_message(world: World) {
    let first = world.say("c1", "hi").await;
    let second = world.say("c2", "hi").await;
    let again = world.say("c1", "another text").await;
    assert_eq!(again, Appended { repeated: true, ..first.clone() });
    assert_eq!((first.seq, second.seq), (1, 2));
    let bobs =
        world.store.append(&Draft { member: member("bob").into(), ..draft("c1", "hi") }).await.unwrap();
    assert_eq!(bobs.seq, 3, "another member's c1 is another message");
    world.end().await;
}

async fn what_is_published_is_what_is_kept_in_order(mut world: World) {
    world.store.subscribe(&lobby()).await.unwrap();
    for (n, text) in
        ["one", "quote \" and \\ and \u{1f469}\u{200d}\u{1f4bb}", "</script>\n"].iter().enumerate()
    {
        world.say(&format!("c{n}"), text).await;
    }
    let kept = world.store.history(&lobby(), 0, 10).await.unwrap().messages;
    assert_eq!(kept.iter().map(|message| message.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(kept[1].text, "quote \" and \\ and \u{1f469}\u{200d}\u{1f4bb}");
    for message in kept {
        assert_eq!(world.published().await, Published::Message(message));
    }
    world.end().await;
}

async fn only_the_newest_are_kept(world: World) {
    for n in 1..=8 {
        world.say(&format!("c{n}"), "hi").await;
    }
    let kept = world.store.history(&lobby(), 0, 100).await.unwrap();
    assert_eq!(kept.messages.iter().map(|message| message.seq).collect::<Vec<_>>(), [4, 5, 6, 7, 8]);
    assert_eq!(kept.standing.head, 8);
    world.end().await;
}

async fn a_position_is_honoured_if_it_can_be_proved_and_only_then(world: World) {
    let mut said = Vec::new();
    for n in 1..=8 {
        said.push(world.say(&format!("c{n}"), "hi").await);
    }
    let epoch = said[0].epoch.as_str();
    let at = |seq: u32| said[seq as usize - 1].id.as_str();
    for (since, limit, expected) in [
        (position(epoch, 5, at(5)), 10, Some(vec![6, 7, 8])),
        (position(epoch, 5, ""), 10, Some(vec![6, 7, 8])),
        (position(epoch, 8, at(8)), 10, Some(vec![])),
        (position(epoch, 3, at(3)), 10, Some(vec![4, 5, 6, 7, 8])),
        (position(epoch, 2, at(2)), 10, None),
        (position(epoch, 0, ""), 10, None),
        (position(epoch, 9, "x"), 10, None),
        (position("other", 6, at(6)), 10, Some(vec![7, 8])),
        (position("other", 6, at(5)), 10, None),
        (position("other", 6, ""), 10, None),
        (position(epoch, 4, at(4)), 3, Some(vec![5, 6, 7])),
    ] {
        let resume = world.store.resume(&lobby(), &since, limit, 2).await.unwrap();
        let seqs: Vec<u32> = resume.messages.iter().map(|message| message.seq).collect();
        assert_eq!(resume.resumed, expected.is_some(), "{since:?}");
        assert_eq!(seqs, expected.unwrap_or_else(|| vec![7, 8]), "{since:?}");
        assert_eq!(resume.standing.head, 8);
    }
    let empty = RoomId::parse("empty").unwrap();
    let nothing_missed = world.store.resume(&empty, &position("", 0, ""), 10, 2).await.unwrap();
    assert!(nothing_missed.resumed, "who has seen nothing of an empty room has missed nothing");
    world.end().await;
}

async fn history_pages_backwards_to_the_beginning(world: World) {
    for n in 1..=5 {
        world.say(&format!("c{n}"), "hi").await;
    }
    let mut pages = Vec::new();
    let mut before = 0;
    loop {
        let page = world.store.history(&lobby(), before, 2).await.unwrap().messages;
        pages.push(page.iter().map(|message| message.seq).collect::<Vec<_>>());
        if page.len() < 2 {
            break;
        }
        before = page[0].seq;
    }
    assert_eq!(pages, [vec![4, 5], vec![2, 3], vec![1]]);
    world.end().await;
}

async fn two_sessions_are_one_member(mut world: World) {
    let (tab1, tab2) = (seat("s1", "ada", "e1"), seat("s2", "ada", "e2"));
    world.store.subscribe(&lobby()).await.unwrap();
    assert!(world.store.join(&lobby(), &tab1).await.unwrap().new_member);
    assert!(!world.store.join(&lobby(), &tab2).await.unwrap().new_member);
    assert!(!world.store.join(&lobby(), &tab2).await.unwrap().new_member, "joining again changes nothing");
    world.store.leave(&lobby(), &tab1.session, &tab1.edge).await.unwrap();
    assert_eq!(members(&world).await, ["ada"]);
    world.store.leave(&lobby(), &tab2.session, &tab2.edge).await.unwrap();
    assert!(members(&world).await.is_empty());
    let came = world.presence().await;
    assert_eq!((came.joined, came.member_count, came.version), (vec![member("ada")], 1, 1));
    let went = world.presence().await;
    assert_eq!((went.left, went.member_count, went.version), (vec!["ada".to_owned()], 0, 2));
    world.end().await;
}

async fn a_leave_removes_only_what_is_still_its_own(world: World) {
    let seat = seat("s1", "ada", "e1");
    world.store.join(&lobby(), &seat).await.unwrap();
    world.store.leave(&lobby(), &seat.session, &EdgeId("e2".into())).await.unwrap();
    world.store.leave(&lobby(), &SessionName("s2".into()), &seat.edge).await.unwrap();
    assert_eq!(members(&world).await, ["ada"]);
    world.store.leave(&lobby(), &seat.session, &seat.edge).await.unwrap();
    world.store.leave(&lobby(), &seat.session, &seat.edge).await.unwrap();
    assert!(members(&world).await.is_empty());
    world.end().await;
}

async fn a_dead_edge_is_reaped_and_a_living_one_is_not(mut world: World) {
    let (dead, living) = (seat("s1", "ada", "e1"), seat("s2", "bob", "e2"));
    let short = Duration::from_millis(50);
    assert_eq!(world.store.renew(&dead.edge, short).await.unwrap(), Lease::Begun);
    assert_eq!(world.store.renew(&living.edge, PATIENCE).await.unwrap(), Lease::Begun);
    assert_eq!(world.store.renew(&living.edge, PATIENCE).await.unwrap(), Lease::Kept);
    for seat in [&dead, &living] {
        world.store.note_room(&seat.edge, &lobby()).await.unwrap();
        world.store.join(&lobby(), seat).await.unwrap();
    }
    assert_eq!(world.store.sessions(&dead.edge).await.unwrap(), [(lobby(), dead.session.clone())]);
    world.store.subscribe(&lobby()).await.unwrap();
    let store = world.store.clone();
    let removed = eventually("the lease lapses", async || {
        let (one, other) = tokio::join!(store.reap(PATIENCE), store.reap(PATIENCE));
        Some(one.unwrap() + other.unwrap()).filter(|removed| *removed > 0)
    })
    .await;
    assert_eq!(removed, 1, "by one of two reapers");
    assert_eq!(world.presence().await.left, ["ada"]);
    assert_eq!(members(&world).await, ["bob"]);
    assert!(world.store.sessions(&dead.edge).await.unwrap().is_empty());
    assert_eq!(world.store.renew(&dead.edge, PATIENCE).await.unwrap(), Lease::Begun, "its sessions are gone");
    world.end().await;
}

async fn a_secret_is_made_once(world: World) {
    assert_eq!(world.store.token_secret("first").await.unwrap(), "first");
    assert_eq!(world.store.token_secret("second").await.unwrap(), "first");
    world.end().await;
}

async fn a_probe_is_heard_once_and_by_nobody_else(mut world: World) {
    let mut other = match &world.redis {
        Some(redis) => Some(connect(redis.url(), HISTORY_MAX).await),
        None => None,
    };
    let store = world.store.clone();
    eventually("the first probe is heard", async || store.probe(1).await.ok()).await;
    world.store.probe(2).await.unwrap();
    assert_eq!(world.probed().await, 1);
    assert_eq!(world.probed().await, 2);
    if let Some((other, feed, tasks)) = &mut other {
        eventually("the other's probe is heard", async || other.probe(3).await.ok()).await;
        loop {
            match timeout(PATIENCE, feed.next()).await.expect("it is heard") {
                Some(Heard::Gap) => {}
                heard => {
                    assert_eq!(heard, Some(Heard::Probed(3)));
                    break;
                }
            }
        }
        assert!(tasks.finish(PATIENCE).await);
    }
    world.end().await;
}

async fn reading_makes_no_room(world: World) {
    let (store, nowhere) = (&world.store, Standing::default());
    for _ in 0..2 {
        assert_eq!(store.standing(&lobby()).await.unwrap(), nowhere);
        assert_eq!(store.rules(&lobby()).await.unwrap(), Rules::default());
        store.open(&lobby()).await.unwrap();
        store.lift_ban(&lobby(), "ada").await.unwrap();
        assert_eq!(store.delete(&lobby(), 1, "").await.unwrap(), None);
        assert_eq!(store.history(&lobby(), 0, 10).await.unwrap().standing, nowhere);
        assert_eq!(store.snapshot(&lobby(), 10).await.unwrap().standing, nowhere);
        assert_eq!(store.resume(&lobby(), &position("x", 3, "y"), 10, 10).await.unwrap().standing, nowhere);
        store.leave(&lobby(), &SessionName("s1".into()), &EdgeId("e1".into())).await.unwrap();
    }
    let arrival = store.join(&lobby(), &seat("s1", "ada", "e1")).await.unwrap();
    assert!(!arrival.standing.epoch.is_empty());
    assert_eq!(store.standing(&lobby()).await.unwrap(), arrival.standing);
    world.end().await;
}

async fn an_edge_is_looked_for_where_it_has_sessions_and_nowhere_else(world: World) {
    let (first, second) = (seat("s1", "ada", "e1"), seat("s2", "bob", "e1"));
    let edge = &first.edge;
    world.store.note_room(edge, &lobby()).await.unwrap();
    for seat in [&first, &second] {
        world.store.join(&lobby(), seat).await.unwrap();
    }
    world.store.leave(&lobby(), &first.session, edge).await.unwrap();
    assert_eq!(world.store.sessions(edge).await.unwrap(), [(lobby(), second.session.clone())]);
    world.store.leave(&lobby(), &second.session, edge).await.unwrap();
    assert!(world.store.sessions(edge).await.unwrap().is_empty());
    // Nobody notes the room again: whoever knew it to be noted may not know that it was forgotten.
    world.store.join(&lobby(), &first).await.unwrap();
    assert_eq!(world.store.sessions(edge).await.unwrap(), [(lobby(), first.session.clone())]);
    world.end().await;
}

async fn a_join_beside_a_leave_of_the_same_edge_is_found(world: World) {
    for n in 0..50 {
        let (goes, comes) = (seat(&format!("s{n}"), "ada", "e1"), seat(&format!("s{}", n + 1), "bob", "e1"));
        world.store.join(&lobby(), &goes).await.unwrap();
        let room = lobby();
        let (left, joined) = tokio::join!(
            world.store.leave(&room, &goes.session, &goes.edge),
            world.store.join(&room, &comes)
        );
        left.and(joined.map(|_| ())).unwrap();
        assert_eq!(world.store.sessions(&comes.edge).await.unwrap(), [(lobby(), comes.session)], "round {n}");
    }
    world.end().await;
}

async fn who_left_after_a_version_is_known_until_they_are_back(world: World) {
    let (store, lobby) = (&world.store, lobby());
    assert_eq!(left_after(world.store.as_ref(), "", 0).await, None, "nobody has been there");
    let (ada, bob, tab) = (seat("s1", "ada", "e1"), seat("s2", "bob", "e1"), seat("s3", "bob", "e2"));
    let epoch = store.join(&lobby, &ada).await.unwrap().standing.epoch;
    for seat in [&bob, &tab] {
        store.join(&lobby, seat).await.unwrap();
    }
    let after = async |version| left_after(world.store.as_ref(), &epoch, version).await;
    assert_eq!(after(1).await, Some(vec![]), "whoever came did not leave");
    store.leave(&lobby, &bob.session, &bob.edge).await.unwrap();
    assert_eq!(after(1).await, Some(vec![]), "nor who has another tab");
    store.leave(&lobby, &tab.session, &tab.edge).await.unwrap();
    store.leave(&lobby, &ada.session, &ada.edge).await.unwrap();
    for (version, left) in [
        (0, Some(vec!["bob", "ada"])),
        (2, Some(vec!["bob", "ada"])),
        (3, Some(vec!["ada"])),
        (4, Some(vec![])),
        (5, None),
    ] {
        let left = left.map(|left| left.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(after(version).await, left, "{version}");
    }
    let of_another_run = store.departures(&lobby, "another", 3).await.unwrap();
    assert!(!of_another_run.proved, "another run has other versions");
    assert_eq!(of_another_run.members.len(), 2, "and then all that are remembered are told");
    store.join(&lobby, &ada).await.unwrap();
    store.join(&lobby, &bob).await.unwrap();
    assert_eq!(after(2).await, Some(vec![]), "both are back");
    world.end().await;
}

async fn of_many_who_left_the_newest_are_known_and_no_more_is_proved(world: World) {
    let (store, lobby) = (&world.store, lobby());
    // Version 1; then each comes with an even version and leaves with an odd one.
    let epoch = store.join(&lobby, &seat("s", "stays", "e1")).await.unwrap().standing.epoch;
    for n in 0..=DEPARTURES_KEPT {
        let seat = seat("s1", &format!("m{n:04}"), "e1");
        store.join(&lobby, &seat).await.unwrap();
        store.leave(&lobby, &seat.session, &seat.edge).await.unwrap();
    }
    let after = async |version| left_after(world.store.as_ref(), &epoch, version).await;
    assert_eq!(after(2).await, None, "the first departure is forgotten");
    let newest: Vec<String> = (1..=DEPARTURES_KEPT).map(|n| format!("m{n:04}")).collect();
    assert_eq!(after(3).await, Some(newest));
    store.join(&lobby, &seat("s1", "m0500", "e1")).await.unwrap();
    assert_eq!(after(2).await, None, "it stays forgotten");
    assert_eq!(after(3).await.map(|left| left.len()), Some(DEPARTURES_KEPT as usize - 1));
    world.end().await;
}

/// Who left is forgotten by `forget`, and then only that nobody left since is proved.
async fn departures_are_forgotten(world: &World, forget: impl AsyncFnOnce()) {
    let (store, lobby, ada) = (&world.store, lobby(), seat("s1", "ada", "e1"));
    let epoch = store.join(&lobby, &ada).await.unwrap().standing.epoch;
    store.leave(&lobby, &ada.session, &ada.edge).await.unwrap();
    forget().await;
    let after = async |version| left_after(world.store.as_ref(), &epoch, version).await;
    assert_eq!((after(1).await, after(2).await), (None, Some(vec![])));
    let bob = seat("s2", "bob", "e1");
    store.join(&lobby, &bob).await.unwrap();
    store.leave(&lobby, &bob.session, &bob.edge).await.unwrap();
    assert_eq!((after(1).await, after(2).await), (None, Some(vec!["bob".to_owned()])));
}

#[tokio::test(start_paused = true)]
async fn memory_forgets_who_left_long_ago() {
    let world = World::in_memory();
    departures_are_forgotten(&world, async || tokio::time::advance(DEPARTURES_TTL).await).await;
    world.end().await;
}

#[tokio::test]
async fn redis_forgets_who_left_long_ago() {
    let world = World::in_redis().await;
    let redis = world.redis.as_ref().unwrap();
    departures_are_forgotten(&world, async || {
        let millis = redis.ask(&["PTTL", "chat:{lobby}:left"]).await;
        let millis: u128 = millis.trim_start_matches(':').trim().parse().unwrap();
        assert!((1..=DEPARTURES_TTL.as_millis()).contains(&millis), "{millis}");
        redis.ask(&["PEXPIRE", "chat:{lobby}:left", "0"]).await;
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn a_foreign_key_in_the_place_of_who_left_takes_nobody_out_half_way() {
    let world = World::in_redis().await;
    let (redis, ada) = (world.redis.as_ref().unwrap(), seat("s1", "ada", "e1"));
    world.store.join(&lobby(), &ada).await.unwrap();
    redis.ask(&["SET", "chat:{lobby}:left", "not a sorted set"]).await;
    assert!(world.store.leave(&lobby(), &ada.session, &ada.edge).await.is_err());
    assert!(world.store.join(&lobby(), &seat("s2", "bob", "e1")).await.is_err());
    assert_eq!(members(&world).await, ["ada"]);
    redis.ask(&["DEL", "chat:{lobby}:left"]).await;
    world.store.leave(&lobby(), &ada.session, &ada.edge).await.unwrap();
    assert!(members(&world).await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_probe_fails_where_a_message_would_and_says_why() {
    let mut world = World::in_redis().await;
    let mut redis = world.redis.take().unwrap();
    let store = world.store.clone();
    eventually("a probe is published", async || store.probe(1).await.ok()).await;
    for (state, word) in [
        (["CONFIG", "SET", "maxmemory", "1"], "OOM"),
        (["CONFIG", "SET", "min-replicas-to-write", "1"], "NOREPLICAS"),
    ] {
        redis.ask(&state).await;
        let refused = world.store.probe(2).await.unwrap_err();
        assert_eq!(refused, ProbeError::Refused(word.to_owned()));
        assert!(world.store.append(&draft("c1", "hi")).await.is_err(), "{word}");
        redis.ask(&[state[0], state[1], state[2], "0"]).await;
        world.store.probe(3).await.unwrap();
    }
    redis.pause().await;
    let silent = world.store.probe(4).await.unwrap_err();
    assert!(matches!(silent, ProbeError::Silent | ProbeError::Away), "{silent}");
    redis.resume().await;
    eventually("it is published again", async || store.probe(5).await.ok()).await;
    redis.kill().await;
    eventually("it is away", async || store.probe(6).await.err().filter(|why| *why == ProbeError::Away))
        .await;
    world.end().await;
}

#[tokio::test]
async fn redis_forgets_a_hundredth_of_a_long_history_at_a_time() {
    let redis = RedisServer::start().await;
    let (store, _feed, tasks) = connect(redis.url(), 300).await;
    for n in 1..=306 {
        store.append(&draft(&format!("c{n}"), "hi")).await.unwrap();
        let kept = redis.ask(&["ZCARD", "chat:{lobby}:messages"]).await;
        let kept: u32 = kept.trim_start_matches(':').trim().parse().unwrap();
        assert!((n.min(300)..300 + 3).contains(&kept), "{kept} of {n}");
    }
    assert!(
        redis.ask(&["ZCOUNT", "chat:{lobby}:messages", "-inf", "6"]).await.contains(":0"),
        "the oldest went"
    );
    assert!(tasks.finish(PATIENCE).await);
}

#[tokio::test]
async fn redis_keeps_no_room_that_was_only_read_and_no_place_of_an_edge_that_left() {
    let world = World::in_redis().await;
    let redis = world.redis.as_ref().unwrap();
    world.store.standing(&lobby()).await.unwrap();
    world.store.history(&lobby(), 0, 10).await.unwrap();
    assert_eq!(redis.ask(&["KEYS", "chat:{*"]).await, "*0\r\n");
    let seat = seat("s1", "ada", "e1");
    world.store.note_room(&seat.edge, &lobby()).await.unwrap();
    world.store.join(&lobby(), &seat).await.unwrap();
    assert_eq!(redis.ask(&["SCARD", "chat:edge:e1:rooms"]).await, ":1\r\n");
    world.store.leave(&lobby(), &seat.session, &seat.edge).await.unwrap();
    assert_eq!(redis.ask(&["EXISTS", "chat:edge:e1:rooms", "chat:{lobby}:edge:e1"]).await, ":0\r\n");
    world.end().await;
}

#[tokio::test]
async fn redis_cli_sees_what_the_contract_says() {
    let world = World::in_redis().await;
    world.say("c1", "hi \"there\"").await;
    world.store.join(&lobby(), &seat("s1", "ada", "e1")).await.unwrap();
    let redis = world.redis.as_ref().unwrap();
    let kept = redis.ask(&["ZRANGE", "chat:{lobby}:messages", "0", "-1", "WITHSCORES"]).await;
    assert!(kept.contains(r#""text":"hi \"there\"""#) && kept.contains("\r\n1\r\n"), "{kept}");
    assert!(redis.ask(&["HGET", "chat:{lobby}:members", "ada"]).await.contains(r#""name":"ada""#));
    assert!(redis.ask(&["HGET", "chat:{lobby}:meta", "seq"]).await.contains("\r\n1\r\n"));
    for key in ["chat:{lobby}:sent:ada:c1"] {
        let millis = redis.ask(&["PTTL", key]).await;
        assert!(millis.trim_start_matches(':').trim().parse::<u64>().unwrap() > 590_000, "{millis}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_restart_of_redis_begins_a_new_epoch_and_old_positions_are_verified() {
    let mut world = World::in_redis().await;
    let before = world.say("c1", "kept").await;
    let mut redis = world.redis.take().unwrap();
    redis.kill().await;
    assert!(world.store.append(&draft("c2", "lost?")).await.is_err(), "never a false ack");
    redis.restart().await;
    let store = world.store.clone();
    let after = eventually("it works again", async || store.append(&draft("c3", "new")).await.ok()).await;
    assert_ne!(after.epoch, before.epoch);
    let resume = store.resume(&lobby(), &position(&before.epoch, 1, &before.id), 10, 10).await.unwrap();
    assert!(resume.resumed, "the message at 1 is the one that was seen");
    assert_eq!(resume.messages.last().unwrap().id, after.id);
    world.end().await;
}

#[tokio::test]
async fn a_redis_that_lost_its_data_never_gives_a_number_twice_in_one_epoch() {
    let mut redis = RedisServer::start().await;
    let (store, _feed, tasks) = connect(redis.url(), HISTORY_MAX).await;
    let before = store.append(&draft("c1", "lost")).await.unwrap();
    redis.kill().await;
    redis.restart().await;
    let after = eventually("it works again", async || store.append(&draft("c2", "new")).await.ok()).await;
    assert_eq!((before.seq, after.seq), (1, 1));
    assert_ne!(before.epoch, after.epoch);
    let resume = store.resume(&lobby(), &position(&before.epoch, 1, &before.id), 10, 10).await.unwrap();
    assert!(!resume.resumed);
    assert!(tasks.finish(PATIENCE).await);
}

#[tokio::test]
async fn the_last_number_is_followed_by_a_new_epoch() {
    let world = World::in_redis().await;
    let first = world.say("c1", "hi").await;
    let redis = world.redis.as_ref().unwrap();
    redis.ask(&["HSET", "chat:{lobby}:meta", "seq", "4294967294"]).await;
    let last = world.say("c2", "the last").await;
    assert_eq!((last.seq, &last.epoch), (u32::MAX, &first.epoch));
    let next = world.say("c3", "the first").await;
    assert_eq!(next.seq, 1);
    assert_ne!(next.epoch, first.epoch);
    let kept = world.store.history(&lobby(), 0, 10).await.unwrap().messages;
    assert_eq!(kept.len(), 1, "the old numbers are forgotten");
    world.end().await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_leaves_the_numbers_whole() {
    let world = World::in_redis().await;
    world.say("c1", "one").await;
    world.say("c2", "two").await;
    let redis = world.redis.as_ref().unwrap();
    redis.ask(&["ZREMRANGEBYSCORE", "chat:{lobby}:messages", "1", "1"]).await;
    redis.ask(&["ZADD", "chat:{lobby}:messages", "1", "not ours"]).await;
    let kept = world.store.history(&lobby(), 0, 10).await.unwrap().messages;
    assert_eq!(
        kept.iter().map(|message| (message.seq, message.text.as_str())).collect::<Vec<_>>(),
        [(1, ""), (2, "two")]
    );
    world.end().await;
}

fn draft(client_id: &str, text: &str) -> Draft {
    Draft::text(lobby(), member("ada").into(), client_id, text)
}

fn position(epoch: &str, seq: u32, id: &str) -> Position {
    Position { epoch: epoch.into(), seq, id: id.into() }
}

async fn members(world: &World) -> Vec<String> {
    let members = world.store.snapshot(&lobby(), 0).await.unwrap().members;
    members.into_iter().map(|member| member.id).collect()
}

/// Who left the lobby after that version, if it is proved that these are all.
async fn left_after(store: &dyn Store, epoch: &str, version: u64) -> Option<Vec<String>> {
    let departures = store.departures(&lobby(), epoch, version).await.unwrap();
    departures.proved.then_some(departures.members)
}
