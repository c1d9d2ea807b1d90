//! Signing in: who a provider vouches for is who it says, may do what it says, and for as long as it says; at every door.

use std::time::Duration;

use proto::{
    chat::v1::{
        DeleteRequest, EditRequest, HelloRequest, HistoryRequest, JoinRequest, MembersRequest, MessageRef,
        ReactRequest, RefreshRequest, RoomsRequest, SendRequest, TypingRequest, client_frame::Body as Ask,
        server_frame::Body as Heard,
    },
    edge::v1::{SessionReplay, link_request::Body as Up, link_response::Body as Down},
};
use room_service::identity::{Identity, Tokens};
use serde_json::{Value, json};
use testkit::{Answer, Browser, KeyServer, PATIENCE, SigningKey, eventually, in_seconds, jwks};
use tokio::time::timeout;
use tonic::{Code, Request};

use crate::{
    bots::{Bot, client},
    links::PlayedGateway,
    world::World,
};

const ISSUER: &str = "https://id.example/realms/team";

/// A world where people sign in, and their provider.
struct House {
    world: World,
    provider: KeyServer,
    key: SigningKey,
}

macro_rules! stories {
    ($($story:ident)*) => {
        mod one_process { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $story() { super::$story(super::House::small(&["--auth=guest,jwt"]).await).await; }
        )* }
        mod across_tiers { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $story() { super::$story(super::House::large().await).await; }
        )* }
    };
}

stories! {
    who_signs_in_is_who_the_provider_says_and_no_guest_bears_their_name
    a_token_opens_what_it_says_for_every_verb_and_at_every_door
    a_sign_in_that_ends_is_told_and_refreshed_or_closed
    a_newer_token_that_opens_less_ends_the_rest_at_once
    a_provider_changes_its_keys_and_goes_away_and_nobody_notices
    what_a_client_says_about_itself_is_not_believed
}

async fn who_signs_in_is_who_the_provider_says_and_no_guest_bears_their_name(house: House) {
    let (mut guest, welcome) = Browser::guest(house.world.there()).await;
    let name = welcome.member.unwrap().name;
    assert!(name.ends_with(" (guest)"), "{name}");
    guest.join("lobby", None).await;

    let mut ada = Browser::connect(house.world.here()).await;
    // She tries to be the guest.
    let welcome = ada.hello(&house.token("ada", json!({ "name": name }))).await;
    let member = welcome.member.unwrap();
    assert_eq!((member.id.as_str(), member.kind.as_str()), ("ada", "user"));
    assert_eq!(format!("{} (guest)", member.name), name);
    let expires = welcome.expires_at.unwrap().seconds;
    assert!((in_seconds(500)..=in_seconds(600)).contains(&expires), "as the provider's token does");
    ada.join("lobby", None).await;
    let came = guest.find(|event| match event {
        Heard::Presence(presence) => presence.joined.into_iter().find(|member| member.id == "ada"),
        _ => None,
    });
    assert_eq!(came.await, member);

    let mut tab = Browser::connect(house.world.there()).await;
    assert_eq!(tab.hello(&welcome.token).await.member.unwrap(), member, "our own token brings her back");
    house.world.end().await;
}

async fn a_token_opens_what_it_says_for_every_verb_and_at_every_door(house: House) {
    let rooms = json!({ "rooms": { "read": ["news.*"], "write": ["lobby", "ops.*"] } });
    let token = house.token("ada", rooms);
    let mut all = Browser::connect(house.world.here()).await;
    all.hello(&house.token("bob", json!({}))).await;
    let (mut ada, mut bot) = (Browser::connect(house.world.there()).await, Bot::connect(&house.world).await);
    ada.hello(&token).await;
    bot.ask(Ask::Hello(HelloRequest { token: token.clone(), ..HelloRequest::default() })).await;
    for (room, may_read, may_write) in [
        ("lobby", true, true),
        ("ops.night", true, true),
        ("news.world", true, false),
        ("ops", false, false),
        ("secret", false, false),
    ] {
        all.join(room, None).await;
        all.send(room, "c0", "for those who may hear it").await;
        for (what, answers) in [
            ("browser", ask_everything(&mut ada, room).await),
            ("bot", bot_asks_everything(&mut bot, room).await),
        ] {
            let told: Vec<&str> = answers.iter().map(String::as_str).collect();
            let expected = match (may_read, may_write) {
                (true, true) => ["joined", "sent", "history", "members", "typed"],
                (true, false) => ["joined", "FORBIDDEN", "history", "members", "FORBIDDEN"],
                _ => ["FORBIDDEN", "NOT_JOINED", "NOT_JOINED", "NOT_JOINED", "NOT_JOINED"],
            };
            // A change of a message that is not there: it is looked for only if it might be changed.
            let change = match (may_read, may_write) {
                (true, true) => "NOT_FOUND",
                (true, false) => "FORBIDDEN",
                _ => "NOT_JOINED",
            };
            assert_eq!(told, [&expected[..], &[change; 3]].concat(), "a {what} in {room}");
        }
        let calls = call_everything(&house.world, room, &token).await;
        let code = |may: bool| if may { Code::Ok } else { Code::PermissionDenied };
        let change = if may_write { Code::NotFound } else { Code::PermissionDenied };
        let expected = [code(may_write), code(may_read), code(may_read), change, change, change];
        assert_eq!(calls, expected, "calls about {room}");
    }
    let calls =
        call_everything(&house.world, "lobby", &house.token("ada", json!({ "exp": in_seconds(-5) }))).await;
    assert_eq!(calls, [Code::Unauthenticated; 6]);
    house.world.end().await;
}

async fn a_sign_in_that_ends_is_told_and_refreshed_or_closed(house: House) {
    let mut ada = house.browser_for_a_moment("ada").await;
    let mut bot = house.bot_for_a_moment("robot").await;
    let bob = house.browser_for_a_moment("bob").await;

    let told = ada.find(|event| match event {
        Heard::Error(error) => Some(error.code),
        _ => None,
    });
    assert_eq!(told.await, "UNAUTHENTICATED", "though she said nothing");
    assert_eq!(code(&ada.ask(join("lobby")).await), "UNAUTHENTICATED");
    let empty = Ask::Refresh(RefreshRequest::default());
    assert_eq!(code(&ada.ask(empty).await), "UNAUTHENTICATED", "nobody vouches for more time");
    let another = Ask::Refresh(RefreshRequest { token: house.token("bob", json!({})) });
    assert_eq!(code(&ada.ask(another).await), "FORBIDDEN");
    let Heard::Refreshed(refreshed) =
        ada.ask(Ask::Refresh(RefreshRequest { token: house.token("ada", json!({})) })).await
    else {
        panic!("refreshed")
    };
    assert!(refreshed.expires_at.unwrap().seconds > in_seconds(100));
    ada.join("lobby", None).await;

    assert_eq!(bob.closed().await, 4501);
    let status = timeout(PATIENCE, async {
        loop {
            match bot.heard.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended without a word"),
                Err(status) => return status,
            }
        }
    });
    assert_eq!(status.await.unwrap().code(), Code::Unauthenticated);
    assert_eq!(ada.send("lobby", "c1", "still here").await.seq, 1);
    house.world.end().await;
}

async fn a_newer_token_that_opens_less_ends_the_rest_at_once(house: House) {
    let (mut ada, mut bob) =
        (Browser::connect(house.world.here()).await, Browser::connect(house.world.there()).await);
    ada.hello(&house.token("ada", json!({ "rooms": ["lobby", "secret"] }))).await;
    bob.hello(&house.token("bob", json!({}))).await;
    for room in ["lobby", "secret"] {
        ada.join(room, None).await;
        bob.join(room, None).await;
    }
    let less = house.token("ada", json!({ "rooms": ["lobby"] }));
    assert!(matches!(ada.ask(Ask::Refresh(RefreshRequest { token: less })).await, Heard::Refreshed(_)));
    let left = ada.find(|event| match event {
        Heard::Left(left) => Some(left.room),
        _ => None,
    });
    assert_eq!(left.await, "secret");
    bob.find(|event| match event {
        Heard::Presence(presence) if presence.room == "secret" => {
            presence.left.contains(&"ada".to_owned()).then_some(())
        }
        _ => None,
    })
    .await;
    let Heard::Rooms(page) = ada.ask(Ask::Rooms(RoomsRequest {})).await else { panic!("no rooms") };
    assert_eq!(page.rooms.iter().map(|summary| summary.room.as_str()).collect::<Vec<_>>(), ["lobby"]);
    bob.send("secret", "c1", "now that she is gone").await;
    bob.send("lobby", "c2", "hello").await;
    assert_eq!(ada.message().await.room, "lobby", "nothing of the other room came before");
    assert_eq!(code(&ada.ask(history("secret")).await), "NOT_JOINED");
    assert_eq!(code(&ada.ask(join("secret")).await), "FORBIDDEN");
    house.world.end().await;
}

async fn a_provider_changes_its_keys_and_goes_away_and_nobody_notices(house: House) {
    let new = SigningKey::other_rsa("another");
    house.provider.answer(Answer::Keys(jwks(&[&house.key, &new])));
    let by_new = new.sign(&claims("ada", json!({})));
    let mut ada = Browser::connect(house.world.here()).await;
    eventually("the new key is known", async || {
        let hello = Ask::Hello(HelloRequest { token: by_new.clone(), ..HelloRequest::default() });
        matches!(ada.ask(hello).await, Heard::Welcome(_)).then_some(())
    })
    .await;
    house.provider.answer(Answer::Status(503));
    let mut bob = Browser::connect(house.world.here()).await;
    // An unknown key has the provider asked, which fails.
    let unknown = SigningKey::ec("unknown").sign(&claims("bob", json!({})));
    assert_eq!(
        code(&bob.ask(Ask::Hello(HelloRequest { token: unknown, ..HelloRequest::default() })).await),
        "UNAUTHENTICATED"
    );
    bob.hello(&new.sign(&claims("bob", json!({})))).await;
    house.world.end().await;
}

async fn what_a_client_says_about_itself_is_not_believed(house: House) {
    let mut ada = Browser::connect(house.world.here()).await;
    let token =
        house.token("ada", json!({ "kind": "admin", "id": "root", "avatar": "https://evil.example/x.png" }));
    let hello = json!({ "id": 100, "hello": {
        "token": token, "name": "Root", "member": { "id": "root", "name": "Root" }, "kind": "admin",
    }});
    ada.say(hello.to_string()).await;
    let Heard::Welcome(welcome) = ada.reply_to(100).await else { panic!("welcome") };
    let member = welcome.member.unwrap();
    assert_eq!((member.id.as_str(), member.kind.as_str()), ("ada", "user"));
    assert!(member.avatar.starts_with("/avatars/"), "{}", member.avatar);
    ada.join("lobby", None).await;
    let send = json!({ "id": 101, "send": {
        "room": "lobby", "client_id": "c1", "text": "hi", "seq": 77, "id": "mine", "sent_at": "1970-01-01T00:00:00Z",
        "member": { "id": "root", "name": "Root" },
    }});
    ada.say(send.to_string()).await;
    assert!(matches!(ada.reply_to(101).await, Heard::Sent(_)));
    let message = ada.message().await;
    assert_eq!((message.seq, message.member.as_ref()), (1, Some(&member)));
    assert_ne!(message.id, "mine");
    assert_ne!(message.sent_at.unwrap().seconds, 0);
    // A session's name is no secret, and opens nothing.
    let mut eve = Browser::connect(house.world.there()).await;
    for stolen in [welcome.session, member.id] {
        assert_eq!(
            code(&eve.ask(Ask::Hello(HelloRequest { token: stolen, ..HelloRequest::default() })).await),
            "UNAUTHENTICATED"
        );
    }
    house.world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_are_no_guests_nobody_comes_in_without_a_token() {
    let house = House::small(&["--auth=jwt"]).await;
    let mut somebody = Browser::connect(house.world.here()).await;
    let Heard::Error(error) = somebody.ask(Ask::Hello(HelloRequest::default())).await else {
        panic!("refused")
    };
    assert_eq!(error.code, "UNAUTHENTICATED");
    assert!(error.message.contains("Sign in"), "{}", error.message);
    let guests =
        Tokens::new("a secret of the tests", Duration::from_hours(1)).sign(&Identity::guest("guest"));
    let hello = Ask::Hello(HelloRequest { token: guests.clone(), ..HelloRequest::default() });
    assert_eq!(code(&somebody.ask(hello).await), "UNAUTHENTICATED", "one who was here before");
    assert_eq!(call_everything(&house.world, "lobby", &guests).await, [Code::Unauthenticated; 6]);
    let mut bot = Bot::connect(&house.world).await;
    assert_eq!(code(&bot.ask(Ask::Hello(HelloRequest::default())).await), "UNAUTHENTICATED");
    somebody.hello(&house.token("ada", json!({}))).await;
    house.world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_ended_does_not_outlive_its_link() {
    let house = House::small(&["--auth=guest,jwt"]).await;
    let mut gateway = PlayedGateway::link(&house.world.room_services[0].address, "e_played").await;
    let tokens = Tokens::new("a secret of the tests", Duration::from_hours(1));
    let ago = |seconds: i64| Some(u64::try_from(in_seconds(-seconds)).unwrap());
    let replay = |session, until| SessionReplay {
        session,
        token: tokens.sign(&Identity { until, ..Identity::guest("user") }),
        name: format!("s_{session}"),
        rooms: vec!["lobby".into()],
    };
    gateway.say(Up::Session(replay(1, ago(-600)))).await;
    gateway.say(Up::Session(replay(2, ago(60)))).await;
    let end = loop {
        if let Some(Down::End(end)) = gateway.next().await.unwrap().unwrap().body {
            break end;
        }
    };
    assert_eq!((end.session, end.code), (2, 4501), "{end:?}");
    assert!(matches!(gateway.ask(3, Ask::Refresh(RefreshRequest::default())).await, Heard::Refreshed(_)));
    house.world.end().await;
}

impl House {
    /// One process.
    async fn small(flags: &[&str]) -> Self {
        let (provider, key) = Self::provider().await;
        let own = flags_for(&provider);
        let flags: Vec<&str> = own.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        Self { world: World::small_with(&flags, &[]).await, provider, key }
    }

    /// Two gateways, two room services.
    async fn large() -> Self {
        let (provider, key) = Self::provider().await;
        let own = flags_for(&provider);
        let flags: Vec<&str> = own.iter().map(String::as_str).chain(["--auth=guest,jwt"]).collect();
        Self { world: World::large_with(&flags).await, provider, key }
    }

    async fn provider() -> (KeyServer, SigningKey) {
        let key = SigningKey::rsa("current");
        (KeyServer::start(Answer::Keys(jwks(&[&key]))).await, key)
    }

    /// A provider's token for `sub`, with these claims besides the usual ones.
    fn token(&self, sub: &str, changes: Value) -> String {
        self.key.sign(&claims(sub, changes))
    }

    /// A browser that is signed in, and soon not any more.
    async fn browser_for_a_moment(&self, sub: &str) -> Browser {
        let mut browser = Browser::connect(self.world.here()).await;
        let mut seconds = 2;
        // On a machine that stands still for a while, it is over before it begins.
        while !matches!(browser.ask(self.hello_for(sub, seconds)).await, Heard::Welcome(_)) {
            seconds *= 2;
        }
        browser
    }

    async fn bot_for_a_moment(&self, sub: &str) -> Bot {
        let mut bot = Bot::connect(&self.world).await;
        let mut seconds = 2;
        while !matches!(bot.ask(self.hello_for(sub, seconds)).await, Heard::Welcome(_)) {
            seconds *= 2;
        }
        bot
    }

    fn hello_for(&self, sub: &str, seconds: i64) -> Ask {
        Ask::Hello(HelloRequest {
            token: self.token(sub, json!({ "exp": in_seconds(seconds) })),
            ..HelloRequest::default()
        })
    }
}

fn flags_for(provider: &KeyServer) -> Vec<String> {
    vec![
        format!("--jwt-jwks-url={}", provider.url),
        format!("--jwt-issuer={ISSUER}"),
        "--jwt-audience=parlor".to_owned(),
        "--jwt-leeway=0s".to_owned(),
        "--jwt-jwks-min-interval=10ms".to_owned(),
        "--refresh-grace=3s".to_owned(),
    ]
}

fn claims(sub: &str, changes: Value) -> Value {
    let mut claims =
        json!({ "sub": sub, "name": sub, "iss": ISSUER, "aud": "parlor", "exp": in_seconds(600) });
    let Value::Object(changes) = changes else { panic!("claims are an object") };
    claims.as_object_mut().unwrap().extend(changes);
    claims
}

fn everything(room: &str) -> [Ask; 8] {
    let (edit, deletion, reaction) = changes(room);
    [
        join(room),
        Ask::Send(SendRequest::text(room, "c1", "hi")),
        history(room),
        Ask::Members(MembersRequest { room: room.into(), after: String::new(), limit: 0 }),
        Ask::Typing(TypingRequest { room: room.into() }),
        Ask::Edit(edit),
        Ask::Delete(deletion),
        Ask::React(reaction),
    ]
}

/// Each kind of change, of a message that is not there.
fn changes(room: &str) -> (EditRequest, DeleteRequest, ReactRequest) {
    let (room, message) = (room.to_owned(), Some(MessageRef { seq: 99, id: "x".into() }));
    let (client_id, mentions) = ("c2".to_owned(), Vec::new());
    (
        EditRequest {
            room: room.clone(),
            client_id: client_id.clone(),
            message: message.clone(),
            text: "ho".into(),
            mentions,
        },
        DeleteRequest { room: room.clone(), client_id: client_id.clone(), message: message.clone() },
        ReactRequest { room, client_id, message, emoji: "+".into(), remove: false },
    )
}

async fn ask_everything(browser: &mut Browser, room: &str) -> Vec<String> {
    let mut answers = Vec::new();
    for ask in everything(room) {
        answers.push(code(&browser.ask(ask).await));
    }
    answers
}

async fn bot_asks_everything(bot: &mut Bot, room: &str) -> Vec<String> {
    let mut answers = Vec::new();
    for ask in everything(room) {
        answers.push(code(&bot.ask(ask).await));
    }
    answers
}

/// What `Send`, `History`, `Members`, `Edit`, `Delete` and `React` say to who brings `token`.
async fn call_everything(world: &World, room: &str, token: &str) -> [Code; 6] {
    fn with<Asked>(token: &str, asked: Asked) -> Request<Asked> {
        let mut request = Request::new(asked);
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    }
    let mut client = client(world).await;
    let (edit, deletion, reaction) = changes(room);
    let room = room.to_owned();
    let send = SendRequest::text(room.clone(), "unary", "hi");
    let history = HistoryRequest { room: room.clone(), before: 0, limit: 0 };
    let members = MembersRequest { room, after: String::new(), limit: 0 };
    let code = |outcome: Option<tonic::Status>| outcome.map_or(Code::Ok, |status| status.code());
    [
        code(client.send(with(token, send)).await.err()),
        code(client.history(with(token, history)).await.err()),
        code(client.members(with(token, members)).await.err()),
        code(client.edit(with(token, edit)).await.err()),
        code(client.delete(with(token, deletion)).await.err()),
        code(client.react(with(token, reaction)).await.err()),
    ]
}

/// What an answer is: the contract's word for a refusal, else the name of the reply.
fn code(answer: &Heard) -> String {
    match answer {
        Heard::Error(error) => return error.code.clone(),
        Heard::Joined(_) => "joined",
        Heard::Sent(_) => "sent",
        Heard::History(_) => "history",
        Heard::Members(_) => "members",
        Heard::Typed(_) => "typed",
        _ => "something else",
    }
    .to_owned()
}

fn join(room: &str) -> Ask {
    Ask::Join(JoinRequest { room: room.into(), since: None })
}

fn history(room: &str) -> Ask {
    Ask::History(HistoryRequest { room: room.into(), before: 0, limit: 0 })
}
