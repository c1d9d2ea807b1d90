//! What becomes of a message after it was said: it is edited and deleted by its author, reacted to and answered; and
//! whoever reads the room, in whichever way, ends with the same.

use proto::chat::v1::{
    DeleteRequest, EditRequest, HistoryRequest, Message, MessageRef, Position, ReactRequest, Reactions,
    SendRequest, Sent, client_frame::Body as Ask, server_frame::Body as Heard,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use testkit::{Browser, Reading, http};
use tonic::{Code, Request};

use crate::{bots::client, world::World};

crate::stories! {
    whoever_reads_ends_with_what_the_room_keeps
    a_message_is_changed_over_http
    a_message_is_changed_by_calls
}

crate::conformance! {
    an_edit_is_heard_by_all_and_seen_by_who_comes_later
    reactions_are_put_and_taken_back
    a_message_is_deleted_by_its_author_and_nobody_else
    a_reply_says_what_it_answers_and_to_whom_it_speaks
    what_cannot_be_changed_gets_a_clear_error
}

async fn an_edit_is_heard_by_all_and_seen_by_who_comes_later(world: World) {
    let (mut ada, ada_is) = Browser::guest(world.door()).await;
    let (mut bob, bob_is) = Browser::guest(world.other_door()).await;
    ada.join("lobby", None).await;
    bob.join("lobby", None).await;
    let said = ada.send("lobby", "c1", "helo").await;
    let seen = heard_by_both(&mut ada, &mut bob).await;
    let bob_is = bob_is.member.unwrap().id;
    let edit = Ask::Edit(EditRequest {
        room: "lobby".into(),
        client_id: "c2".into(),
        message: Some(named(&said)),
        text: "hello".into(),
        mentions: vec![bob_is.clone(), bob_is.clone()],
    });
    let edited = ada.change(edit.clone()).await;
    assert_eq!((edited.seq, &edited.epoch), (2, &said.epoch));
    let told = heard_by_both(&mut ada, &mut bob).await;
    assert_eq!((told.seq, &told.id, told.sent_at), (2, &edited.id, edited.sent_at));
    assert_eq!((told.edits, told.text.as_str(), &told.mentions), (1, "hello", &vec![bob_is.clone()]));
    assert_eq!(told.member, ada_is.member);
    let mut now = seen.clone();
    assert!(now.apply(&told));
    assert_eq!((now.text.as_str(), now.edited_at, now.changed), ("hello", edited.sent_at, 2));

    let (mut carol, _) = Browser::guest(world.other_door()).await;
    assert_eq!(carol.join("lobby", None).await.messages, [now.clone(), told.clone()]);
    assert_eq!(history(&mut bob, 2).await, [now]);
    let resumed = carol.join("lobby", Some(position(&seen))).await;
    assert_eq!((resumed.resumed, resumed.messages), (true, vec![told]));
    let mut tab = Browser::connect(world.other_door()).await;
    tab.hello(&ada_is.token).await;
    tab.join("lobby", None).await;
    assert_eq!(tab.change(edit).await, edited, "a repeated edit is one change");
    assert_eq!(tab.send("lobby", "c3", "go on").await.seq, 3);
    world.end().await;
}

async fn reactions_are_put_and_taken_back(world: World) {
    let (mut ada, ada_is) = Browser::guest(world.door()).await;
    let (mut bob, bob_is) = Browser::guest(world.other_door()).await;
    let [ada_is, bob_is] = [ada_is, bob_is].map(|welcome| welcome.member.unwrap().id);
    ada.join("lobby", None).await;
    bob.join("lobby", None).await;
    let said = ada.send("lobby", "c1", "hi").await;
    let mut seen = bob.message().await;
    bob.change(react(&said, "b1", "\u{1f44d}", false)).await;
    ada.change(react(&said, "a1", "\u{1f389}", false)).await;
    let last = ada.change(react(&said, "a2", "\u{1f44d}", false)).await;
    for _ in 0..3 {
        assert!(seen.apply(&bob.message().await));
    }
    let kind = |emoji: &str, members: &[&String]| Reactions {
        emoji: emoji.into(),
        members: members.iter().map(|id| (*id).clone()).collect(),
    };
    assert_eq!(seen.reactions, [kind("\u{1f44d}", &[&bob_is, &ada_is]), kind("\u{1f389}", &[&ada_is])]);
    assert_eq!((seen.changed, last.seq), (4, 4));
    assert_eq!(history(&mut ada, 2).await, [seen.clone()]);

    bob.change(react(&said, "b2", "\u{1f44d}", true)).await;
    let nothing_new = bob.change(react(&said, "b3", "\u{1f44d}", true)).await;
    assert_eq!(nothing_new.seq, 6, "what changes nothing is kept all the same");
    assert!(seen.apply(&bob.message().await) && seen.apply(&bob.message().await));
    assert_eq!(seen.reactions, [kind("\u{1f44d}", &[&ada_is]), kind("\u{1f389}", &[&ada_is])]);
    assert_eq!(history(&mut ada, 2).await, [seen]);
    world.end().await;
}

async fn a_message_is_deleted_by_its_author_and_nobody_else(world: World) {
    let (mut ada, _) = Browser::guest(world.door()).await;
    let (mut bob, _) = Browser::guest(world.other_door()).await;
    ada.join("lobby", None).await;
    bob.join("lobby", None).await;
    let said = ada.send("lobby", "c1", "unkind").await;
    let mut seen = bob.message().await;
    bob.change(react(&said, "b1", "+", false)).await;
    for ask in [delete(&said, "b2"), edit(&said, "b2", "kind")] {
        assert_eq!(refused(bob.ask(ask).await).0, "FORBIDDEN");
    }
    ada.change(edit(&said, "c1.5", "unkind still")).await;
    let deleted = ada.change(delete(&said, "c2")).await;
    assert_eq!(deleted.seq, 4);
    for _ in 2..=4 {
        assert!(seen.apply(&bob.message().await));
    }
    assert!(seen.deleted && seen.text.is_empty() && seen.reactions.is_empty());
    assert_eq!(history(&mut ada, 2).await, [seen.clone()]);
    let (mut carol, _) = Browser::guest(world.other_door()).await;
    let page = carol.join("lobby", None).await.messages;
    assert_eq!(page[0], seen);
    let texts: Vec<&str> = page.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts, [""; 4], "whoever comes later never sees it, nor how it was edited");
    for ask in [edit(&said, "c3", "kind"), react(&said, "c3", "+", false)] {
        assert_eq!(refused(ada.ask(ask).await).0, "NOT_FOUND");
    }
    assert_eq!(ada.change(delete(&said, "c2")).await, deleted, "a repeated deletion is one");
    world.end().await;
}

async fn a_reply_says_what_it_answers_and_to_whom_it_speaks(world: World) {
    let (mut ada, ada_is) = Browser::guest(world.door()).await;
    let (mut bob, _) = Browser::guest(world.other_door()).await;
    ada.join("lobby", None).await;
    bob.join("lobby", None).await;
    let asked = ada.send("lobby", "c1", "who?").await;
    assert_eq!(ada.message().await.reply_to, None);
    let mentions = vec![ada_is.member.unwrap().id];
    let reply = SendRequest {
        reply_to: Some(named(&asked)),
        mentions: mentions.clone(),
        ..SendRequest::text("lobby", "c2", "me")
    };
    let Heard::Sent(sent) = bob.ask(Ask::Send(reply.clone())).await else { panic!("sent") };
    let heard = ada.message().await;
    assert_eq!((heard.seq, heard.reply_to.clone()), (sent.seq, Some(named(&asked))));
    assert_eq!(heard.mentions, mentions);
    assert_eq!(history(&mut ada, 0).await[1], heard);
    for (reply_to, code) in [
        (MessageRef { seq: 7, id: asked.id.clone() }, "NOT_FOUND"),
        (MessageRef { seq: 1, id: "x".into() }, "NOT_FOUND"),
        (MessageRef { seq: 1, id: String::new() }, "INVALID"),
    ] {
        let wrong = SendRequest { reply_to: Some(reply_to), client_id: "c3".into(), ..reply.clone() };
        let (told, words) = refused(bob.ask(Ask::Send(wrong)).await);
        assert_eq!(told, code);
        assert!(words.starts_with("reply_to"), "{words}");
    }
    assert_eq!(bob.send("lobby", "c3", "go on").await.seq, 3, "what was refused was not said");
    world.end().await;
}

async fn what_cannot_be_changed_gets_a_clear_error(world: World) {
    let (mut ada, welcome) = Browser::guest(world.door()).await;
    ada.join("lobby", None).await;
    let said = ada.send("lobby", "c1", "hi").await;
    let elsewhere = |seq, id: &str| Sent { seq, id: id.into(), ..said.clone() };
    let many = |mentions| {
        Ask::Edit(EditRequest {
            room: "lobby".into(),
            client_id: "x".into(),
            message: Some(named(&said)),
            text: "hi".into(),
            mentions,
        })
    };
    let in_attic = Ask::Delete(DeleteRequest {
        room: "attic".into(),
        client_id: "x".into(),
        message: Some(named(&said)),
    });
    let nothing = Ask::Delete(DeleteRequest { room: "lobby".into(), client_id: "x".into(), message: None });
    let long = "x".repeat(welcome.max_text_bytes as usize + 1);
    for (ask, code, field) in [
        (in_attic, "NOT_JOINED", ""),
        (nothing, "INVALID", "message"),
        (edit(&elsewhere(0, &said.id), "x", "hi"), "INVALID", "message"),
        (edit(&elsewhere(1, ""), "x", "hi"), "INVALID", "message"),
        (edit(&elsewhere(2, &said.id), "x", "hi"), "NOT_FOUND", "message"),
        (delete(&elsewhere(1, "another"), "x"), "NOT_FOUND", "message"),
        (edit(&said, "", "hi"), "INVALID", "client_id"),
        (edit(&said, "x", " \u{200b}"), "INVALID", "text"),
        (edit(&said, "x", &long), "TOO_LARGE", "text"),
        (many(vec!["m".to_owned(); 51]), "INVALID", "mentions"),
        (many(vec!["two words".to_owned()]), "INVALID", "mentions"),
        (react(&said, "x", "", false), "INVALID", "emoji"),
        (react(&said, "x", "a b", false), "INVALID", "emoji"),
        (react(&said, "x", &"x".repeat(65), true), "INVALID", "emoji"),
    ] {
        let (told, words) = refused(ada.ask(ask).await);
        assert_eq!(told, code, "{words}");
        assert!(words.starts_with(field), "{words}");
    }
    let edited = ada.change(edit(&said, "c2", "ho")).await;
    assert_eq!(edited.seq, 2, "what was refused changed nothing");
    assert_eq!(refused(ada.ask(edit(&edited, "c3", "he")).await).0, "NOT_FOUND", "a change has no changes");
    world.end().await;
}

/// Members say and change whatever comes to their minds; some leave and come back; and each knows in the end, of all that
/// they have been told, what the room keeps.
async fn whoever_reads_ends_with_what_the_room_keeps(world: World) {
    let mut rng = StdRng::seed_from_u64(17);
    let mut readers = Vec::new();
    for door in [world.here(), world.there(), world.here(), world.there()] {
        readers.push(Reader::come(door).await);
    }
    let mut said: Vec<(usize, Sent)> = Vec::new();
    for n in 0..160 {
        let who = rng.random_range(0..readers.len());
        let browser = &mut readers[who].browser;
        let client_id = format!("c{n}");
        if said.len() < 3 || rng.random_range(0..4) == 0 {
            said.push((who, browser.send("lobby", &client_id, "said").await));
        } else {
            let (author, message) = &said[said.len() - 1 - rng.random_range(0..said.len().min(8))];
            let change = match rng.random_range(0..8) {
                0 => delete(message, &client_id),
                1..=2 => edit(message, &client_id, &client_id),
                _ => react(message, &client_id, ["+", "-"][rng.random_range(0..2)], rng.random()),
            };
            let may = *author == who || matches!(change, Ask::React(_));
            match browser.ask(change).await {
                Heard::Sent(_) if may => {}
                Heard::Error(error) => assert!(["NOT_FOUND", "FORBIDDEN"].contains(&error.code.as_str())),
                other => panic!("{other:?}"),
            }
        }
        if n % 9 == 0 {
            let back = rng.random_range(0..readers.len());
            let door = [world.here(), world.there()][rng.random_range(0..2)];
            readers[back].come_back(door).await;
        }
        if n % 7 == 0 {
            let reads = rng.random_range(0..readers.len());
            readers[reads].read_page(rng.random_range(0..60)).await;
        }
    }
    let (mut witness, _) = Browser::guest(world.there()).await;
    let kept = witness.join("lobby", None).await;
    assert!(kept.messages.iter().filter(|message| message.changed > 0).count() > 5, "much was changed");
    for mut reader in readers {
        reader.hear_up_to(kept.head).await;
        for message in &kept.messages {
            assert_eq!(reader.reading.get(message.seq), Some(message));
        }
    }
    world.end().await;
}

/// Someone who knows the room by the rule of `chat.proto` alone.
struct Reader {
    browser: Browser,
    token: String,
    reading: Reading,
    /// The last message that they were told, not counting pages of history.
    heard: Option<Position>,
}

impl Reader {
    async fn come(door: &str) -> Self {
        let (browser, welcome) = Browser::guest(door).await;
        let mut reader = Self { browser, token: welcome.token, reading: Reading::default(), heard: None };
        reader.join().await;
        reader
    }

    /// By another connection, from where they were.
    async fn come_back(&mut self, door: &str) {
        let mut browser = Browser::connect(door).await;
        browser.hello(&self.token).await;
        self.browser = browser;
        self.join().await;
    }

    async fn join(&mut self) {
        let joined = self.browser.join("lobby", self.heard.clone()).await;
        assert_eq!(joined.resumed, self.heard.is_some());
        joined.messages.into_iter().for_each(|message| self.hear(message));
    }

    fn hear(&mut self, message: Message) {
        self.heard = Some(position(&message));
        self.reading.take(message);
    }

    async fn hear_up_to(&mut self, head: u32) {
        while self.heard.as_ref().is_none_or(|heard| heard.seq < head) {
            let message = self.browser.message().await;
            self.hear(message);
        }
    }

    async fn read_page(&mut self, before: u32) {
        let page = history(&mut self.browser, before).await;
        self.reading.take_page(page);
    }
}

async fn a_message_is_changed_over_http(world: World) {
    let (mut ada, welcome) = Browser::guest(world.there()).await;
    ada.join("lobby", None).await;
    let member = welcome.member.unwrap();
    let who = format!("authorization: Bearer {}\r\n", welcome.token);
    let rooms = "/v1/rooms/lobby/messages";
    let question = http::post(world.here(), rooms, &who, r#"{"text":"who?"}"#).await.body;
    let reply_to = json!({ "seq": 1, "id": question["id"] });
    let body = json!({ "text": "me", "reply_to": reply_to, "mentions": [member.id] }).to_string();
    let said = http::post(world.here(), rooms, &who, &body).await.body;
    assert_eq!((&said["reply_to"], &said["mentions"]), (&reply_to, &json!([member.id])), "{said}");
    let id = said["id"].as_str().unwrap();
    let place = format!("{rooms}/2?id={id}");
    let key = format!("{who}idempotency-key: k1\r\n");
    let edit = |text: &str| json!({ "text": text, "mentions": [] }).to_string();
    let edited = http::say(world.here(), &format!("PATCH {place}"), &key, &edit("us")).await;
    assert_eq!((edited.status, &edited.body["seq"]), (200, &json!(3)), "{edited:?}");
    let again = http::say(world.here(), &format!("PATCH {place}"), &key, &edit("them")).await;
    assert_eq!(again.body, edited.body, "a repeated request is one change");
    let reaction = format!("{rooms}/2/reactions/%F0%9F%91%8D?id={id}");
    let put = http::ask(world.here(), &format!("PUT {reaction}"), &who).await;
    assert_eq!((put.status, &put.body["seq"]), (200, &json!(4)), "{put:?}");
    let page = http::ask(world.here(), &format!("GET {rooms}?before=3&limit=1"), &who).await;
    let now = &page.body["messages"][0];
    assert_eq!(now["reactions"], json!([{ "emoji": "\u{1f44d}", "members": [member.id] }]));
    assert_eq!((&now["text"], now.get("mentions"), &now["changed"]), (&json!("us"), None, &json!(4)));
    let back = http::ask(world.here(), &format!("DELETE {reaction}"), &who).await;
    assert_eq!((back.status, &back.body["seq"]), (200, &json!(5)));
    let deleted = http::ask(world.here(), &format!("DELETE {place}"), &who).await;
    assert_eq!((deleted.status, &deleted.body["seq"]), (200, &json!(6)));
    let page = http::ask(world.here(), &format!("GET {rooms}?before=3&limit=1"), &who).await;
    assert_eq!(
        (&page.body["messages"][0]["deleted"], &page.body["messages"][0]["changed"]),
        (&json!(true), &json!(6))
    );
    for seq in 1..=6 {
        assert_eq!(ada.message().await.seq, seq, "everyone hears it");
    }
    for (line, body, status) in [
        (format!("PATCH {place}"), r#"{"text":"back"}"#, 404),
        (format!("PATCH {rooms}/2"), r#"{"text":"back"}"#, 400),
        (format!("PATCH {rooms}/x?id=y"), r#"{"text":"back"}"#, 400),
        (format!("PATCH {rooms}/1?id=y"), r#"{"text":"back"}"#, 404),
        (format!("PATCH {place}"), r#"{"text":" "}"#, 400),
    ] {
        let refused = http::say(world.here(), &line, &who, body).await;
        assert_eq!(refused.status, status, "{line}: {refused:?}");
    }
    let (mut bob, bob_is) = Browser::guest(world.here()).await;
    bob.join("lobby", None).await;
    let bob_is = format!("authorization: Bearer {}\r\n", bob_is.token);
    let first = format!("{rooms}/1?id={}", question["id"].as_str().unwrap());
    assert_eq!(http::ask(world.here(), &format!("DELETE {first}"), &bob_is).await.status, 403);
    world.end().await;
}

async fn a_message_is_changed_by_calls(world: World) {
    let (mut ada, welcome) = Browser::guest(world.here()).await;
    ada.join("lobby", None).await;
    let said = ada.send("lobby", "c1", "hi").await;
    let mut calls = client(&world).await;
    let (room, message) = ("lobby".to_owned(), Some(named(&said)));
    let edit = EditRequest {
        room: room.clone(),
        client_id: "k1".into(),
        message: message.clone(),
        text: "ho".into(),
        mentions: vec![],
    };
    let reaction = ReactRequest {
        room: room.clone(),
        client_id: "k2".into(),
        message: message.clone(),
        emoji: "+".into(),
        remove: false,
    };
    let deletion = DeleteRequest { room, client_id: "k3".into(), message };
    let edited = calls.edit(with(&welcome.token, edit.clone())).await.unwrap().into_inner();
    assert_eq!(calls.edit(with(&welcome.token, edit.clone())).await.unwrap().into_inner(), edited);
    let reacted = calls.react(with(&welcome.token, reaction)).await.unwrap().into_inner();
    let deleted = calls.delete(with(&welcome.token, deletion.clone())).await.unwrap().into_inner();
    assert_eq!([edited.seq, reacted.seq, deleted.seq], [2, 3, 4]);
    for id in [&said.id, &edited.id, &reacted.id, &deleted.id] {
        assert_eq!(ada.message().await.id, *id, "everyone hears it");
    }
    let late = EditRequest { client_id: "k4".into(), ..edit };
    assert_eq!(calls.edit(with(&welcome.token, late)).await.unwrap_err().code(), Code::NotFound);
    let (_, another) = Browser::guest(world.there()).await;
    let theirs = calls.delete(with(&another.token, deletion)).await.unwrap_err();
    assert_eq!(theirs.code(), Code::PermissionDenied);
    world.end().await;
}

async fn heard_by_both(one: &mut Browser, other: &mut Browser) -> Message {
    let message = one.message().await;
    assert_eq!(other.message().await, message);
    message
}

fn with<Asked>(token: &str, asked: Asked) -> Request<Asked> {
    let mut request = Request::new(asked);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn edit(message: &Sent, client_id: &str, text: &str) -> Ask {
    Ask::Edit(EditRequest {
        room: "lobby".into(),
        client_id: client_id.into(),
        message: Some(named(message)),
        text: text.into(),
        mentions: Vec::new(),
    })
}

fn delete(message: &Sent, client_id: &str) -> Ask {
    let (room, client_id) = ("lobby".into(), client_id.into());
    Ask::Delete(DeleteRequest { room, client_id, message: Some(named(message)) })
}

fn react(message: &Sent, client_id: &str, emoji: &str, remove: bool) -> Ask {
    let (room, client_id, emoji) = ("lobby".into(), client_id.into(), emoji.into());
    Ask::React(ReactRequest { room, client_id, message: Some(named(message)), emoji, remove })
}

/// The page of history before `before`.
async fn history(browser: &mut Browser, before: u32) -> Vec<Message> {
    let ask = HistoryRequest { room: "lobby".into(), before, limit: 20 };
    match browser.ask(Ask::History(ask)).await {
        Heard::History(page) => page.messages,
        other => panic!("no page but {other:?}"),
    }
}

fn named(message: &Sent) -> MessageRef {
    MessageRef { seq: message.seq, id: message.id.clone() }
}

fn position(message: &Message) -> Position {
    Position { epoch: message.epoch.clone(), seq: message.seq, id: message.id.clone() }
}

fn refused(heard: Heard) -> (String, String) {
    match heard {
        Heard::Error(error) => (error.code, error.message),
        other => panic!("not refused but {other:?}"),
    }
}
