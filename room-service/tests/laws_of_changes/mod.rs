//! The laws of changes of messages: edits, deletions by their authors, reactions, and what a message may answer.

mod readers;

use proto::{
    Timestamp,
    chat::v1::{Message, MessageRef, Reaction, Reactions},
};
use room_service::store::{
    Appended, Change, ChangeKind, Changed, Draft, Forbidden, MAX_KINDS, MAX_REACTIONS, Published, StoreError,
    WrongMessage,
};

use crate::{HISTORY_MAX, World, draft, lobby, member, position};

pub(crate) async fn an_edit_is_folded_in_and_is_the_next_message(mut world: World) {
    let first = world.say("c1", "quote \" and \u{1f469}\u{200d}\u{1f4bb} / \\ \u{7f}").await;
    let second = world.say("c2", "second").await;
    let before = kept(&world).await;
    world.store.subscribe(&lobby()).await.unwrap();

    let text = "\"new\" \u{1f469}\u{200d}\u{1f4bb} / \\ \u{7f}\n";
    let edit = |mentions: &[&str]| ChangeKind::Edit { text: text.into(), mentions: ids(mentions) };
    let edited = change(&world, "ada", "c3", &first, edit(&["bob", "auth0|\u{e9}"])).await.unwrap();
    assert_eq!((edited.change.seq, edited.change.repeated, edited.detached.len()), (3, false, 0));
    assert_eq!(edited.change.epoch, first.epoch);
    let told = published(&mut world).await;
    let expected = Message {
        room: "lobby".into(),
        epoch: edited.change.epoch.clone(),
        seq: 3,
        id: edited.change.id.clone(),
        client_id: "c3".into(),
        text: text.into(),
        sent_at: Some(edited.change.sent_at),
        member: Some(member("ada")),
        edits: 1,
        mentions: ids(&["bob", "auth0|\u{e9}"]),
        ..Message::default()
    };
    assert_eq!(told, expected);
    let folded = Message {
        text: text.into(),
        mentions: told.mentions.clone(),
        edited_at: told.sent_at,
        changed: 3,
        ..before[0].clone()
    };
    assert_eq!(kept(&world).await, [folded, before[1].clone(), told]);

    let again = change(&world, "ada", "c3", &second, edit(&[])).await.unwrap();
    let repeat = Changed { change: Appended { repeated: true, ..edited.change.clone() }, detached: vec![] };
    assert_eq!(again, repeat, "the same client_id is the same change");
    change(&world, "ada", "c4", &first, edit(&[])).await.unwrap();
    let folded = &kept(&world).await[0];
    assert_eq!((folded.changed, folded.mentions.len(), folded.text.as_str()), (4, 0, text));
    assert_eq!(published(&mut world).await.seq, 4, "and the repeated one was not told");
    let since = position("another", 2, &second.id);
    let missed = world.store.resume(&lobby(), &since, 10, 10).await.unwrap();
    assert_eq!((missed.resumed, missed.messages.len()), (true, 2));
    world.end().await;
}

pub(crate) async fn reactions_are_kept_by_kind_and_taken_back(mut world: World) {
    let said = world.say("c1", "hi").await;
    world.store.subscribe(&lobby()).await.unwrap();
    let kinds = async |world: &World| kept(world).await[0].reactions.clone();
    let kind = |emoji: &str, members: &[&str]| Reactions { emoji: emoji.into(), members: ids(members) };
    let put = |emoji: &str| react(emoji, false);
    change(&world, "bob", "b1", &said, put("\u{1f44d}")).await.unwrap();
    change(&world, "ada", "a1", &said, put("\"")).await.unwrap();
    change(&world, "ada", "a2", &said, put("\u{1f44d}")).await.unwrap();
    assert_eq!(kinds(&world).await, [kind("\u{1f44d}", &["bob", "ada"]), kind("\"", &["ada"])]);
    let told = published(&mut world).await;
    let reaction = Reaction { seq: 1, emoji: "\u{1f44d}".into(), removed: false };
    assert_eq!((told.reaction, told.member, told.text.as_str()), (Some(reaction), Some(member("bob")), ""));

    let nothing_new = change(&world, "bob", "b2", &said, put("\u{1f44d}")).await.unwrap();
    assert_eq!(nothing_new.change.seq, 5, "what changes nothing is a change like any other");
    assert_eq!(kinds(&world).await, [kind("\u{1f44d}", &["bob", "ada"]), kind("\"", &["ada"])]);
    world.end().await;
}

pub(crate) async fn the_last_reaction_that_is_taken_back_leaves_nothing(world: World) {
    let said = world.say("c1", "hi").await;
    let before = kept(&world).await;
    change(&world, "bob", "b1", &said, react("+", false)).await.unwrap();
    change(&world, "ada", "a1", &said, react("+", true)).await.unwrap();
    assert_eq!(kept(&world).await[0].reactions.len(), 1, "each takes back their own");
    change(&world, "bob", "b2", &said, react("+", true)).await.unwrap();
    assert_eq!(kept(&world).await[0], Message { changed: 4, ..before[0].clone() });
    world.end().await;
}

pub(crate) async fn only_its_author_changes_what_was_said(world: World) {
    let said = world.say("c1", "hi").await;
    let before = kept(&world).await;
    for kind in [edit("ho"), ChangeKind::Delete] {
        let refused = change(&world, "bob", "b1", &said, kind).await;
        assert_eq!(wrong(refused), WrongMessage::Anothers);
    }
    assert_eq!(kept(&world).await, before);
    assert_eq!(change(&world, "ada", "a1", &said, edit("ho")).await.unwrap().change.seq, 2);
    world.end().await;
}

pub(crate) async fn nothing_is_done_to_what_is_not_there(world: World) {
    let (epoch, id, sent_at) = (String::new(), String::new(), Timestamp::default());
    let nowhere = Appended { epoch, seq: 1, id, sent_at, repeated: false };
    assert_eq!(wrong(change(&world, "ada", "x0", &nowhere, edit("ho")).await), WrongMessage::Gone);
    assert_eq!(world.store.standing(&lobby()).await.unwrap().epoch, "", "and no room is made for it");
    let mut said = Vec::new();
    for n in 1..=HISTORY_MAX {
        said.push(world.say(&format!("c{n}"), "hi").await);
    }
    let edited = change(&world, "ada", "e1", &said[1], edit("ho")).await.unwrap().change;
    let another = Appended { id: said[3].id.clone(), ..said[2].clone() };
    let later = Appended { seq: 7, ..said[2].clone() };
    for (n, named) in [&said[0], &edited, &another, &later, &nowhere].into_iter().enumerate() {
        for kind in [edit("ho"), ChangeKind::Delete, react("+", false), react("+", true)] {
            let refused = change(&world, "ada", "x", named, kind).await;
            assert_eq!(wrong(refused), WrongMessage::Gone, "{n}");
        }
    }
    assert_eq!(world.store.standing(&lobby()).await.unwrap().head, 6);
    world.end().await;
}

pub(crate) async fn a_deleted_message_leaves_its_place_and_takes_no_changes(mut world: World) {
    let asked = world.say("c1", "who?").await;
    let reply = Draft { reply_to: Some(named(&asked)), mentions: ids(&["bob"]), ..draft("c2", "unkind") };
    let said = world.store.append(&reply).await.unwrap();
    let before = kept(&world).await;
    change(&world, "bob", "b1", &said, react("+", false)).await.unwrap();
    change(&world, "ada", "a1", &said, edit("unkinder")).await.unwrap();
    world.store.subscribe(&lobby()).await.unwrap();
    let deleted = change(&world, "ada", "a2", &said, ChangeKind::Delete).await.unwrap();
    assert_eq!((deleted.change.seq, deleted.detached), (5, vec![]));
    let told = published(&mut world).await;
    assert_eq!((told.deletes, told.member, told.text.as_str()), (2, Some(member("ada")), ""));
    let tombstone =
        Message { text: String::new(), mentions: vec![], deleted: true, changed: 5, ..before[1].clone() };
    assert_eq!(kept(&world).await[1], tombstone);

    for kind in [edit("back"), react("+", false), react("+", true)] {
        assert_eq!(wrong(change(&world, "ada", "a3", &said, kind).await), WrongMessage::Deleted);
    }
    let by_operator = world.store.delete(&lobby(), said.seq, &said.id).await.unwrap().unwrap();
    assert_eq!(by_operator, tombstone, "an operator has nothing left to do");
    assert_eq!(change(&world, "ada", "a4", &said, ChangeKind::Delete).await.unwrap().change.seq, 6);
    world.end().await;
}

pub(crate) async fn what_was_replaced_or_deleted_is_read_nowhere(world: World) {
    let said = world.say("c1", "secret").await;
    change(&world, "ada", "a1", &said, edit("secret too")).await.unwrap();
    change(&world, "bob", "b1", &said, react("+", false)).await.unwrap();
    let before = kept(&world).await;
    change(&world, "ada", "a2", &said, edit("said")).await.unwrap();
    let after = kept(&world).await;
    let folded_away = Message { text: String::new(), deleted: true, changed: 4, ..before[1].clone() };
    assert_eq!((after[0].text.as_str(), &after[1], after[3].text.as_str()), ("said", &folded_away, "said"));
    world.store.delete(&lobby(), 1, "").await.unwrap().unwrap();
    let texts: Vec<String> = kept(&world).await.into_iter().map(|message| message.text).collect();
    assert_eq!(texts, [""; 5]);
    let still_there = change(&world, "ada", "a2", &said, edit("x")).await.unwrap().change;
    assert_eq!((still_there.seq, still_there.repeated), (4, true), "a repeat is answered as before");
    world.end().await;
}

pub(crate) async fn what_an_operator_deleted_takes_no_changes(world: World) {
    let said = world.say("c1", "unkind").await;
    change(&world, "bob", "b1", &said, react("+", false)).await.unwrap();
    let tombstone = world.store.delete(&lobby(), said.seq, "").await.unwrap().unwrap();
    assert_eq!((tombstone.changed, tombstone.reactions.len()), (3, 0));
    assert_eq!(wrong(change(&world, "ada", "a1", &said, edit("kind")).await), WrongMessage::Deleted);
    assert_eq!(kept(&world).await[0], tombstone);
    world.end().await;
}

pub(crate) async fn a_reply_names_a_message_that_is_kept(world: World) {
    let asked = world.say("c1", "who?").await;
    let reply = |n: u32, named: MessageRef| Draft { reply_to: Some(named), ..draft(&format!("r{n}"), "I") };
    let said = world.store.append(&reply(1, named(&asked))).await.unwrap();
    assert_eq!(kept(&world).await[1].reply_to, Some(named(&asked)));
    let edited = change(&world, "ada", "e1", &said, edit("me")).await.unwrap().change;
    change(&world, "ada", "d1", &asked, ChangeKind::Delete).await.unwrap();
    let wrong_id = MessageRef { seq: 1, id: said.id.clone() };
    for bad in [named(&edited), wrong_id, MessageRef { seq: 9, id: "x".into() }] {
        let refused = world.store.append(&reply(2, bad)).await.unwrap_err();
        assert!(matches!(refused, StoreError::WrongMessage(WrongMessage::Unanswerable)), "{refused}");
    }
    let late = world.store.append(&reply(2, named(&asked))).await.unwrap();
    assert_eq!(late.seq, 5, "what was deleted may be answered");
    world.say("c2", "and it goes").await;
    let again = world.store.append(&reply(2, named(&asked))).await.unwrap();
    assert_eq!(again, Appended { repeated: true, ..late }, "though what it answers is forgotten by now");
    assert!(world.store.append(&reply(3, named(&asked))).await.is_err());
    world.end().await;
}

pub(crate) async fn who_is_kept_out_changes_nothing(world: World) {
    let (store, lobby) = (&world.store, lobby());
    let said = world.say("c1", "hi").await;
    let first = change(&world, "ada", "a1", &said, edit("ho")).await.unwrap().change;
    store.ban(&lobby, "ada", None, "").await.unwrap();
    for kind in [edit("he"), ChangeKind::Delete, react("+", false)] {
        let refused = change(&world, "ada", "a2", &said, kind).await.unwrap_err();
        assert!(matches!(refused, StoreError::Forbidden(Forbidden::Banned { .. })), "{refused}");
    }
    let again = change(&world, "ada", "a1", &said, edit("ho")).await.unwrap().change;
    assert_eq!(again, Appended { repeated: true, ..first }, "what was changed stays changed");
    change(&world, "bob", "b1", &said, react("+", false)).await.unwrap();
    store.close(&lobby, "").await.unwrap();
    let refused = change(&world, "bob", "b2", &said, react("+", true)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Forbidden(Forbidden::Closed { .. })), "{refused}");
    assert_eq!(store.standing(&lobby).await.unwrap().head, 3);
    world.end().await;
}

pub(crate) async fn a_change_of_the_oldest_message_may_push_it_out_and_leaves_no_ghost(world: World) {
    let mut said = Vec::new();
    for n in 1..=HISTORY_MAX {
        said.push(world.say(&format!("c{n}"), "hi").await);
    }
    change(&world, "ada", "e1", &said[0], edit("ho")).await.unwrap();
    world.store.delete(&lobby(), said[1].seq, "").await.unwrap().unwrap();
    let seqs: Vec<u32> = kept(&world).await.iter().map(|message| message.seq).collect();
    assert_eq!(seqs, [3, 4, 5, 6, 7]);
    world.end().await;
}

pub(crate) async fn of_changes_at_once_everyone_sees_the_same(mut world: World) {
    world.store.subscribe(&lobby()).await.unwrap();
    let said = world.say("c1", "hi").await;
    let mut state = published(&mut world).await;
    let kinds = [edit("one"), edit("two"), react("+", false), ChangeKind::Delete];
    let done = kinds.into_iter().enumerate().map(|(n, kind)| {
        let (store, said) = (world.store.clone(), said.clone());
        tokio::spawn(async move { store.change(&asked("ada", &format!("k{n}"), &said, kind)).await })
    });
    let mut numbers = Vec::new();
    for done in done.collect::<Vec<_>>() {
        match done.await.unwrap() {
            Ok(done) => numbers.push(done.change.seq),
            Err(error) => {
                let late = matches!(error, StoreError::WrongMessage(WrongMessage::Deleted));
                assert!(late, "only what came after the deletion is refused: {error}");
            }
        }
    }
    numbers.sort_unstable();
    let expected: Vec<u32> = (2..).take(numbers.len()).collect();
    assert_eq!(numbers, expected, "each has a number of its own, and there is no hole");
    for seq in numbers {
        let change = published(&mut world).await;
        assert_eq!(change.seq, seq);
        assert!(state.apply(&change), "each change is one of what was there: {change:?}");
    }
    assert!(state.deleted && state.text.is_empty());
    assert_eq!(kept(&world).await[0], state);
    world.end().await;
}

#[tokio::test]
async fn a_message_bears_so_many_reactions_and_no_more() {
    for world in [World::in_memory_of(1000), World::in_redis_of(1000).await] {
        let said = world.say("c1", "hi").await;
        for n in 0..MAX_KINDS {
            change(&world, "ada", &format!("k{n}"), &said, react(&format!("e{n}"), false)).await.unwrap();
        }
        let another_kind = change(&world, "ada", "k", &said, react("another", false)).await;
        assert_eq!(wrong(another_kind), WrongMessage::Full);
        change(&world, "bob", "k", &said, react("e0", false)).await.unwrap();

        let said = world.say("c2", "hi").await;
        for n in 0..MAX_REACTIONS {
            let (who, emoji) = (format!("m{}", n / 2), if n % 2 == 0 { "+" } else { "-" });
            change(&world, &who, &format!("c{n}"), &said, react(emoji, false)).await.unwrap();
        }
        let full = change(&world, "one more", "c", &said, react("+", false)).await;
        assert_eq!(wrong(full), WrongMessage::Full);
        change(&world, "m0", "again", &said, react("+", false)).await.unwrap();
        change(&world, "m0", "back", &said, react("+", true)).await.unwrap();
        change(&world, "one more", "c", &said, react("+", false)).await.unwrap();
        world.end().await;
    }
}

#[tokio::test]
async fn what_nobody_can_read_is_changed_by_nobody_but_operators() {
    let world = World::in_redis().await;
    for foreign in ["not ours", "7", "null", "[]"] {
        world.redis.as_ref().unwrap().ask(&["FLUSHALL"]).await;
        let said = world.say("c1", "one").await;
        let redis = world.redis.as_ref().unwrap();
        redis.ask(&["ZREMRANGEBYSCORE", "chat:{lobby}:messages", "1", "1"]).await;
        redis.ask(&["ZADD", "chat:{lobby}:messages", "1", foreign]).await;
        assert_eq!(wrong(change(&world, "ada", "a1", &said, edit("ho")).await), WrongMessage::Gone);
        let tombstone = world.store.delete(&lobby(), 1, "").await.unwrap().unwrap();
        assert_eq!((tombstone.seq, tombstone.deleted, tombstone.changed), (1, true, 2), "{foreign}");
    }
    world.end().await;
}

fn asked(who: &str, client_id: &str, message: &Appended, kind: ChangeKind) -> Change {
    Change {
        room: lobby(),
        member: member(who).into(),
        client_id: client_id.into(),
        message: named(message),
        kind,
    }
}

async fn change(
    world: &World,
    who: &str,
    client_id: &str,
    message: &Appended,
    kind: ChangeKind,
) -> Result<Changed, StoreError> {
    world.store.change(&asked(who, client_id, message, kind)).await
}

fn edit(text: &str) -> ChangeKind {
    ChangeKind::Edit { text: text.into(), mentions: Vec::new() }
}

fn react(emoji: &str, removed: bool) -> ChangeKind {
    ChangeKind::React { emoji: emoji.into(), removed }
}

fn named(message: &Appended) -> MessageRef {
    MessageRef { seq: message.seq, id: message.id.clone() }
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn wrong(outcome: Result<Changed, StoreError>) -> WrongMessage {
    match outcome {
        Err(StoreError::WrongMessage(wrong)) => wrong,
        other => panic!("no wrong message but {other:?}"),
    }
}

async fn published(world: &mut World) -> Message {
    match world.published().await {
        Published::Message(message) => message,
        other => panic!("no message but {other:?}"),
    }
}

async fn kept(world: &World) -> Vec<Message> {
    world.store.history(&lobby(), 0, 100).await.unwrap().messages
}
