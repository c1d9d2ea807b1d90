//! The laws about what members have read, and which rooms they were in.

use std::time::Duration;

use proto::chat::v1::{MessageRef, RoomSummary, Typing};
use room_service::{
    ids::{RoomId, SessionName},
    store::{
        Change, ChangeKind, Draft, Forbidden, LOOKED_AT, MAX_UNREAD, Published, ROOMS_KEPT, ReadOn, Reader,
        Standing, StoreError,
    },
};
use testkit::eventually;

use super::{World, draft};
use crate::people::{lobby, member, seat};

const AN_HOUR: Duration = Duration::from_hours(1);

fn reader(member: &str, session: &str) -> Reader {
    let session = (!session.is_empty()).then(|| SessionName(session.into()));
    Reader { member: member.to_owned(), session, keep: AN_HOUR }
}

impl World {
    /// Up to where a member has read the lobby, after they said so.
    async fn read(&self, member: &str, session: &str, seq: u32) -> u32 {
        self.store.read_on(&lobby(), &reader(member, session), seq).await.unwrap().seq
    }

    /// The lobby, seen from outside.
    async fn seen_by(&self, member: &str) -> RoomSummary {
        self.store.summary(&lobby(), member).await.unwrap().expect("it may be seen")
    }

    /// The seq of what they said.
    async fn said_by(&self, who: &str, client_id: &str) -> u32 {
        let draft = Draft { member: member(who).into(), ..draft(client_id, "hi") };
        self.store.append(&draft).await.unwrap().seq
    }
}

pub(crate) async fn what_was_read_never_goes_back_nor_beyond_the_newest_message(world: World) {
    let store = &world.store;
    let nowhere = store.read_on(&lobby(), &reader("ada", ""), 7).await.unwrap();
    assert_eq!((nowhere.room.as_str(), nowhere.epoch.as_str(), nowhere.seq), ("lobby", "", 0));
    assert_eq!(store.summary(&lobby(), "ada").await.unwrap(), None);
    assert_eq!(store.standing(&lobby()).await.unwrap(), Standing::default(), "reading makes no room");
    for n in 1..=3 {
        world.say(&format!("c{n}"), "hi").await;
    }
    let epoch = store.standing(&lobby()).await.unwrap().epoch;
    let read = store.read_on(&lobby(), &reader("ada", ""), 2).await.unwrap();
    assert_eq!((read.epoch, read.seq), (epoch, 2));
    assert_eq!(world.read("ada", "", 1).await, 2, "it does not go back");
    assert_eq!(world.read("ada", "", u32::MAX).await, 3, "there is no more");
    world.say("c4", "hi").await;
    assert_eq!(world.read("ada", "", 0).await, 3, "what came later is not read");
    assert_eq!(store.join(&lobby(), &seat("s1", "ada", "e1")).await.unwrap().read, 3);
    assert_eq!(store.join(&lobby(), &seat("s1", "ada", "e1")).await.unwrap().read, 3, "again");
    assert_eq!(store.join(&lobby(), &seat("s2", "bob", "e1")).await.unwrap().read, 0, "it is ada's own");
    world.end().await;
}

pub(crate) async fn other_sessions_of_who_has_read_hear_it_if_there_are_any(mut world: World) {
    for n in 1..=4 {
        world.say(&format!("c{n}"), "hi").await;
    }
    let epoch = world.store.standing(&lobby()).await.unwrap().epoch;
    world.store.join(&lobby(), &seat("s1", "a\"d/a", "e1")).await.unwrap();
    world.store.join(&lobby(), &seat("s2", "bob", "e1")).await.unwrap();
    world.store.subscribe(&lobby()).await.unwrap();
    world.read("a\"d/a", "s1", 1).await;
    world.read("carol", "", 1).await;
    world.store.join(&lobby(), &seat("s3", "a\"d/a", "e2")).await.unwrap();
    let mut heard = Vec::new();
    for (session, seq) in [("s1", 2), ("s1", 2), ("s1", 1), ("s3", 3), ("", 4)] {
        world.read("a\"d/a", session, seq).await;
    }
    // What is published last.
    world.store.typing(&lobby(), &member("bob")).await.unwrap();
    loop {
        match world.published().await {
            Published::Typing(Typing { .. }) => break,
            Published::Read(read) => heard.push(read),
            other => panic!("nobody reads by {other:?}"),
        }
    }
    let read = |session: &str, seq| ReadOn {
        member: "a\"d/a".to_owned(),
        session: session.to_owned(),
        epoch: epoch.clone(),
        seq,
    };
    assert_eq!(heard, [read("s1", 2), read("s3", 3), read("", 4)], "what is news, and to whom it may be");
    world.end().await;
}

pub(crate) async fn unread_are_messages_of_others_and_no_changes(world: World) {
    world.said_by("bob", "b1").await;
    world.said_by("bob", "b2").await;
    world.said_by("ada", "a1").await;
    world.store.join(&lobby(), &seat("s1", "bob", "e1")).await.unwrap();
    let seen = world.seen_by("ada").await;
    let standing = world.store.standing(&lobby()).await.unwrap();
    let expected = RoomSummary {
        room: "lobby".to_owned(),
        epoch: standing.epoch,
        head: 3,
        read: 0,
        unread: 2,
        mentions: 0,
        member_count: 1,
    };
    assert_eq!(seen, expected);
    assert_eq!(world.seen_by("bob").await.unread, 1);
    world.store.delete(&lobby(), 1, "").await.unwrap().unwrap();
    let seen = world.seen_by("ada").await;
    assert_eq!((seen.head, seen.unread), (4, 1), "neither a deletion nor what was deleted is to be read");
    world.read("ada", "", 1).await;
    let seen = world.seen_by("ada").await;
    assert_eq!((seen.read, seen.unread), (1, 1));
    world.read("ada", "", 4).await;
    assert_eq!(world.seen_by("ada").await.unread, 0);
    for name in ["a\"d/a", "bob|7", "https://x/y"] {
        let seq = world.said_by(name, "x1").await;
        world.read(name, "", seq - 1).await;
        assert_eq!(world.seen_by(name).await.unread, 0, "one's own, whatever one is called: {name}");
        world.store.delete(&lobby(), seq, "").await.unwrap().unwrap();
        assert_eq!(world.seen_by(name).await.unread, 0, "a deleted one too: {name}");
        assert_eq!(world.seen_by("ada").await.unread, 0, "of another: {name}");
        world.read("ada", "", seq).await;
    }
    world.end().await;
}

pub(crate) async fn unread_messages_that_speak_to_a_member_are_counted_as_they_are_now(world: World) {
    let (ada, bob) = ("https://id/ad]a\"", "bob");
    let speak = async |client_id: &str, text: &str, to: &str| {
        let mentions = vec!["carol".to_owned(), to.to_owned()];
        let draft = Draft { member: member(bob).into(), mentions, ..draft(client_id, text) };
        world.store.append(&draft).await.unwrap().seq
    };
    let change = async |who: &str, seq: u32, kind: ChangeKind| {
        let (message, client_id) = (MessageRef { seq, id: String::new() }, format!("{who} changes {seq}"));
        let change = Change { room: lobby(), member: member(who).into(), client_id, message, kind };
        world.store.change(&change).await.unwrap();
    };
    let counts = async |who: &str| {
        let seen = world.seen_by(who).await;
        (seen.unread, seen.mentions)
    };
    let first = speak("b1", "hello", ada).await;
    let second = speak("b2", r#"}","edits":1,"mentions":["https://id/ad]a\""]"#, "dan").await;
    assert_eq!((counts(ada).await, counts("carol").await, counts(bob).await), ((2, 1), (2, 2), (0, 0)));
    change(ada, second, ChangeKind::React { emoji: "+".to_owned(), removed: false }).await;
    assert_eq!(counts(ada).await, (2, 1), "a reaction is no message, nor is what it is put to one's own");
    let mentions = vec![ada.to_owned()];
    change(bob, second, ChangeKind::Edit { text: "hello".to_owned(), mentions }).await;
    assert_eq!((counts(ada).await, counts("carol").await), ((2, 2), (2, 1)));
    change(bob, first, ChangeKind::Delete).await;
    assert_eq!((counts(ada).await, counts("carol").await), ((1, 1), (1, 0)));
    world.read(ada, "", first).await;
    assert_eq!(counts(ada).await, (1, 1));
    world.end().await;
}

pub(crate) async fn who_may_not_be_there_sees_nothing_of_a_room_and_reads_nothing(world: World) {
    let store = &world.store;
    world.said_by("bob", "b1").await;
    store.ban(&lobby(), "ada", None, "").await.unwrap();
    assert_eq!(store.summary(&lobby(), "ada").await.unwrap(), None);
    let read = store.read_on(&lobby(), &reader("ada", ""), 1).await;
    assert!(matches!(read, Err(StoreError::Forbidden(Forbidden::Banned { .. }))), "{read:?}");
    assert_eq!(world.seen_by("bob").await.head, 1);
    store.lift_ban(&lobby(), "ada").await.unwrap();
    assert_eq!(world.seen_by("ada").await.read, 0);
    store.close(&lobby(), "").await.unwrap();
    assert_eq!(store.summary(&lobby(), "bob").await.unwrap(), None);
    let read = store.read_on(&lobby(), &reader("bob", ""), 1).await;
    assert!(matches!(read, Err(StoreError::Forbidden(Forbidden::Closed { .. }))), "{read:?}");
    world.end().await;
}

pub(crate) async fn the_rooms_that_were_joined_last_come_first(world: World) {
    let store = &world.store;
    let room = |n: u32| RoomId::parse(&format!("room-{n}")).unwrap();
    assert_eq!(store.joined_lately("ada").await.unwrap(), []);
    for n in [1, 2, 3, 1] {
        store.note_joined("ada", &room(n), AN_HOUR).await.unwrap();
    }
    assert_eq!(store.joined_lately("ada").await.unwrap(), [1, 3, 2].map(room));
    assert_eq!(store.joined_lately("bob").await.unwrap(), [], "they are ada's own");
    for n in 4..4 + ROOMS_KEPT {
        store.note_joined("ada", &room(n), AN_HOUR).await.unwrap();
    }
    let newest: Vec<RoomId> = (4..4 + ROOMS_KEPT).rev().map(room).collect();
    assert_eq!(store.joined_lately("ada").await.unwrap(), newest);
    world.end().await;
}

pub(crate) async fn what_members_did_is_forgotten_after_its_time(world: World) {
    let store = &world.store;
    let keep = Duration::from_millis(50);
    world.said_by("bob", "b1").await;
    store.read_on(&lobby(), &Reader { keep, ..reader("ada", "") }, 1).await.unwrap();
    store.note_joined("ada", &lobby(), keep).await.unwrap();
    store.note_joined("bob", &lobby(), AN_HOUR).await.unwrap();
    world.read("bob", "", 1).await;
    eventually("the position is forgotten", async || (world.seen_by("ada").await.read == 0).then_some(()))
        .await;
    eventually("the rooms are forgotten", async || {
        store.joined_lately("ada").await.unwrap().is_empty().then_some(())
    })
    .await;
    assert_eq!(world.seen_by("bob").await.read, 1);
    assert_eq!(store.joined_lately("bob").await.unwrap(), [lobby()]);
    world.end().await;
}

/// In a room that keeps more than is counted.
async fn no_more_is_counted_than_is_told(world: World) {
    for n in 0..MAX_UNREAD + 20 {
        world.said_by("bob", &format!("b{n}")).await;
    }
    assert_eq!(world.seen_by("ada").await.unread, MAX_UNREAD);
    world.read("ada", "", 21).await;
    assert_eq!(world.seen_by("ada").await.unread, MAX_UNREAD - 1, "exactly");
    for n in 0..LOOKED_AT - 50 {
        world.said_by("ada", &format!("a{n}")).await;
    }
    assert_eq!(world.seen_by("ada").await.unread, 50, "no more are looked at");
    world.end().await;
}

#[tokio::test]
async fn no_more_is_counted_than_is_told_in_memory() {
    no_more_is_counted_than_is_told(World::in_memory_of(1000)).await;
}

#[tokio::test]
async fn no_more_is_counted_than_is_told_in_redis() {
    no_more_is_counted_than_is_told(World::in_redis_of(1000).await).await;
}

#[tokio::test]
async fn a_new_epoch_keeps_what_was_read_if_the_numbers_went_on_and_only_then() {
    let world = World::in_redis().await;
    let redis = world.redis.as_ref().unwrap();
    // Another run of the server, as far as the room knows.
    let run_again = async |run: &str| {
        let before = world.store.standing(&lobby()).await.unwrap().epoch;
        redis.ask(&["HSET", "chat:{lobby}:meta", "run", run]).await;
        assert_ne!(world.store.standing(&lobby()).await.unwrap().epoch, before);
    };
    for n in 1..=3 {
        world.said_by("carol", &format!("c{n}")).await;
    }
    world.read("ada", "", 3).await;
    world.read("bob", "", 2).await;
    run_again("another").await;
    assert_eq!((world.seen_by("ada").await.read, world.seen_by("bob").await.read), (3, 2));
    assert_eq!(world.store.join(&lobby(), &seat("s1", "ada", "e1")).await.unwrap().read, 3);

    // The newest message is lost, and its number given again.
    redis.ask(&["ZREMRANGEBYSCORE", "chat:{lobby}:messages", "3", "3"]).await;
    run_again("a third").await;
    assert_eq!(world.seen_by("ada").await.read, 0, "beyond the newest message nothing is read");
    world.said_by("carol", "c4").await;
    let (ada, bob) = (world.seen_by("ada").await, world.seen_by("bob").await);
    assert_eq!((ada.head, ada.read, ada.unread), (3, 0, 3), "nobody can tell what the third one was");
    assert_eq!((bob.read, bob.unread), (2, 1));
    assert_eq!(world.store.join(&lobby(), &seat("s2", "ada", "e1")).await.unwrap().read, 0);
    assert_eq!(world.read("ada", "", 1).await, 1, "it begins anew");
    world.end().await;
}
