//! What operators do is done everywhere, stays done, and is nobody else's to do.

use proto::{
    admin::v1::{
        BanMemberRequest, CloseRoomRequest, DeleteMessageRequest, DisconnectMemberRequest, GetRoomRequest,
        LiftBanRequest, ListKeptOutRequest, OpenRoomRequest, ReadmitMemberRequest,
        admin_service_client::AdminServiceClient,
    },
    chat::v1::{
        HelloRequest, HistoryRequest, JoinRequest, MembersRequest, SendRequest, TypingRequest, Welcome,
        client_frame::Body as Ask, server_frame::Body as Heard,
    },
};
use testkit::{Browser, eventually};
use tonic::{
    Code, Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::{
    bots::{Bot, client},
    world::{OPERATORS_TOKEN, World},
};

crate::stories! {
    a_deleted_message_is_a_tombstone_for_everyone
    who_is_banned_is_removed_and_hears_nothing_more_until_the_ban_is_lifted
    a_closed_room_is_empty_until_it_is_opened
    who_is_disconnected_is_closed_everywhere_and_kept_out_for_a_time
    bots_are_removed_as_browsers_are
    nobody_but_operators_does_what_operators_do
    operators_are_told_what_makes_no_sense
}

async fn a_deleted_message_is_a_tombstone_for_everyone(world: World) {
    let (mut ada, _) = Browser::guest(world.here()).await;
    let (mut bob, _) = Browser::guest(world.there()).await;
    ada.join("lobby", None).await;
    bob.join("lobby", None).await;
    ada.send("lobby", "c1", "kind").await;
    let unkind = ada.send("lobby", "c2", "unkind").await;
    let mut operator = operator(&world).await;
    let asked = DeleteMessageRequest { room: "lobby".into(), seq: unkind.seq, id: unkind.id.clone() };
    let deleted = operator.delete_message(asked.clone()).await.unwrap().into_inner();
    let tombstone = deleted.tombstone.unwrap();
    assert_eq!((tombstone.seq, tombstone.deleted, tombstone.text.as_str()), (2, true, ""));
    for browser in [&mut ada, &mut bob] {
        let heard = [browser.message().await, browser.message().await, browser.message().await];
        assert_eq!(heard.each_ref().map(|message| (message.seq, message.deletes)), [(1, 0), (2, 0), (3, 2)]);
    }
    let again = operator.delete_message(asked).await.unwrap().into_inner();
    assert_eq!(again.tombstone, Some(tombstone.clone()));

    let (mut carol, _) = Browser::guest(world.there()).await;
    let joined = carol.join("lobby", None).await;
    assert_eq!((joined.head, &joined.messages[1]), (3, &tombstone), "whoever comes later never sees it");
    let history = HistoryRequest { room: "lobby".into(), before: 3, limit: 1 };
    let Heard::History(page) = bob.ask(Ask::History(history)).await else { panic!("a page") };
    assert_eq!(page.messages, [tombstone]);
    assert_eq!(ada.send("lobby", "c3", "go on").await.seq, 4, "the numbers are whole");
    for browser in [&mut ada, &mut bob, &mut carol] {
        assert_eq!(browser.message().await.seq, 4);
    }
    world.end().await;
}

async fn who_is_banned_is_removed_and_hears_nothing_more_until_the_ban_is_lifted(world: World) {
    let (mut ada, is_ada) = Browser::guest(world.here()).await;
    let (mut bob, _) = Browser::guest(world.there()).await;
    let mut tab = Browser::connect(world.there()).await;
    tab.hello(&is_ada.token).await;
    for browser in [&mut bob, &mut ada, &mut tab] {
        browser.join("lobby", None).await;
        browser.join("attic", None).await;
    }
    let mut operator = operator(&world).await;
    let ban = BanMemberRequest {
        room: "lobby".into(),
        member: id(&is_ada),
        seconds: 3600,
        reason: "be kind".into(),
    };
    operator.ban_member(ban).await.unwrap();
    for browser in [&mut ada, &mut tab] {
        assert_eq!(
            removal(browser).await,
            ("lobby".into(), "An operator banned you from this room: be kind".into())
        );
    }
    let gone = bob.find(|event| match event {
        Heard::Presence(presence) if presence.room == "lobby" && presence.left == [id(&is_ada)] => Some(()),
        _ => None,
    });
    gone.await;
    bob.send("lobby", "b1", "secret").await;
    bob.send("attic", "b2", "open").await;
    for browser in [&mut ada, &mut tab] {
        assert_eq!(browser.message().await.room, "attic", "and nothing of the other room before");
        assert_eq!(
            refusals(browser, "lobby").await,
            ["FORBIDDEN", "NOT_JOINED", "NOT_JOINED", "NOT_JOINED", "NOT_JOINED"]
        );
    }
    let mut back = Browser::connect(world.here()).await;
    back.hello(&is_ada.token).await;
    assert_eq!(refusals(&mut back, "lobby").await[0], "FORBIDDEN", "another tab changes nothing");
    let mut unary = client(&world).await;
    let with_token = |body| bearer(body, &is_ada.token);
    let history = HistoryRequest { room: "lobby".into(), ..HistoryRequest::default() };
    assert_eq!(code(unary.history(with_token(history)).await), Code::PermissionDenied);
    let members = MembersRequest { room: "lobby".into(), ..MembersRequest::default() };
    assert_eq!(code(unary.members(bearer(members, &is_ada.token)).await), Code::PermissionDenied);
    assert_eq!(code(unary.send(bearer(send("lobby"), &is_ada.token)).await), Code::PermissionDenied);

    let room = operator.get_room(GetRoomRequest { room: "lobby".into() }).await.unwrap().into_inner();
    assert_eq!((room.closed, room.bans.len()), (false, 1));
    assert_eq!((&room.bans[0].member, room.bans[0].until.is_some()), (&id(&is_ada), true));
    operator.lift_ban(LiftBanRequest { room: "lobby".into(), member: id(&is_ada) }).await.unwrap();
    let joined = ada.join("lobby", None).await;
    assert_eq!(joined.messages[0].text, "secret", "the ban is over");
    ada.send("lobby", "a1", "back").await;
    assert_eq!(ada.message().await.text, "back");
    world.end().await;
}

async fn a_closed_room_is_empty_until_it_is_opened(world: World) {
    let (mut ada, _) = Browser::guest(world.here()).await;
    let (mut bob, _) = Browser::guest(world.there()).await;
    for browser in [&mut ada, &mut bob] {
        browser.join("lobby", None).await;
    }
    let said = ada.send("lobby", "c1", "hi").await;
    let mut operator = operator(&world).await;
    let close = CloseRoomRequest { room: "lobby".into(), reason: "until tomorrow".into() };
    operator.close_room(close.clone()).await.unwrap();
    operator.close_room(close).await.unwrap();
    for browser in [&mut ada, &mut bob] {
        assert_eq!(removal(browser).await.1, "An operator closed this room: until tomorrow");
        assert_eq!(
            refusals(browser, "lobby").await,
            ["FORBIDDEN", "NOT_JOINED", "NOT_JOINED", "NOT_JOINED", "NOT_JOINED"]
        );
    }
    let room = operator.get_room(GetRoomRequest { room: "lobby".into() }).await.unwrap().into_inner();
    assert_eq!((room.closed, room.reason.as_str()), (true, "until tomorrow"));
    operator.open_room(OpenRoomRequest { room: "lobby".into() }).await.unwrap();
    let joined = bob.join("lobby", None).await;
    assert_eq!((joined.epoch, joined.head), (said.epoch, 1), "what was said is kept");
    assert_eq!(bob.send("lobby", "c2", "good morning").await.seq, 2);
    world.end().await;
}

async fn who_is_disconnected_is_closed_everywhere_and_kept_out_for_a_time(world: World) {
    let (mut ada, is_ada) = Browser::guest(world.here()).await;
    let (mut bob, _) = Browser::guest(world.there()).await;
    let mut tab = Browser::connect(world.there()).await;
    tab.hello(&is_ada.token).await;
    for browser in [&mut bob, &mut ada, &mut tab] {
        browser.join("lobby", None).await;
    }
    let mut operator = operator(&world).await;
    let disconnect = |seconds| {
        let (member, reason) = (id(&is_ada), "enough".to_owned());
        DisconnectMemberRequest { member, seconds, reason }
    };
    operator.disconnect_member(disconnect(0)).await.unwrap();
    assert_eq!((ada.closed().await, tab.closed().await), (4502, 4502));
    let mut back = Browser::connect(world.here()).await;
    back.hello(&is_ada.token).await;
    back.join("lobby", None).await;

    operator.disconnect_member(disconnect(3600)).await.unwrap();
    assert_eq!(back.closed().await, 4502);
    for gateway in [world.here(), world.there()] {
        let (error, refused) = eventually("its room service has looked", async || {
            let mut refused = Browser::connect(gateway).await;
            match refused.ask(Ask::Hello(hello(&is_ada))).await {
                Heard::Error(error) => Some((error, refused)),
                _ => None,
            }
        })
        .await;
        assert_eq!(
            (error.code.as_str(), error.message.as_str(), error.retryable),
            ("FORBIDDEN", "An operator removed you from this chat: enough", false)
        );
        assert_eq!(refused.closed().await, 4502);
    }
    let mut unary = client(&world).await;
    assert_eq!(code(unary.send(bearer(send("lobby"), &is_ada.token)).await), Code::PermissionDenied);
    let kept_out = operator.list_kept_out(ListKeptOutRequest {}).await.unwrap().into_inner().members;
    assert_eq!(kept_out.iter().map(|out| &out.member).collect::<Vec<_>>(), [&id(&is_ada)]);
    assert_eq!(bob.send("lobby", "b1", "hi").await.seq, 1, "the others go on");

    operator.readmit_member(ReadmitMemberRequest { member: id(&is_ada) }).await.unwrap();
    let welcome = eventually("ada is let in again", async || {
        let mut ada = Browser::connect(world.here()).await;
        match ada.ask(Ask::Hello(hello(&is_ada))).await {
            Heard::Welcome(welcome) => Some(welcome),
            _ => None,
        }
    });
    assert_eq!(welcome.await.member, is_ada.member);
    world.end().await;
}

async fn bots_are_removed_as_browsers_are(world: World) {
    let mut bot = Bot::connect(&world).await;
    let Heard::Welcome(welcome) = bot.ask(Ask::Hello(HelloRequest::default())).await else {
        panic!("welcome")
    };
    bot.ask(join("lobby")).await;
    let mut operator = operator(&world).await;
    let ban = BanMemberRequest { room: "lobby".into(), member: id(&welcome), ..BanMemberRequest::default() };
    operator.ban_member(ban).await.unwrap();
    let removed = loop {
        if let Some(Heard::Removed(removed)) = bot.next().await.body {
            break removed;
        }
    };
    assert_eq!(
        (removed.room.as_str(), removed.reason.as_str()),
        ("lobby", "An operator banned you from this room.")
    );
    let Heard::Error(error) = bot.ask(Ask::Send(send("lobby"))).await else { panic!("refused") };
    assert_eq!(error.code, "NOT_JOINED");
    let member = id(&welcome);
    operator.disconnect_member(DisconnectMemberRequest { member, ..Default::default() }).await.unwrap();
    let end = loop {
        match bot.heard.message().await {
            Ok(Some(_)) => {}
            end => break end.unwrap_err(),
        }
    };
    assert_eq!(end.code(), Code::PermissionDenied);
    world.end().await;
}

async fn nobody_but_operators_does_what_operators_do(world: World) {
    let (_, guest) = Browser::guest(world.here()).await;
    let channel = admin_channel(&world).await;
    let tokens = [
        "",
        &guest.token,
        "a token of the operator",
        "a token of the operators ",
        "A token of the operators",
    ];
    for token in tokens {
        let mut stranger = AdminServiceClient::with_interceptor(channel.clone(), Bearer(token.to_owned()));
        let member = DisconnectMemberRequest { member: id(&guest), ..Default::default() };
        let acts = [
            code(stranger.disconnect_member(member).await),
            code(stranger.readmit_member(ReadmitMemberRequest { member: id(&guest) }).await),
            code(stranger.list_kept_out(ListKeptOutRequest {}).await),
            code(stranger.ban_member(BanMemberRequest::default()).await),
            code(stranger.lift_ban(LiftBanRequest::default()).await),
            code(stranger.delete_message(DeleteMessageRequest::default()).await),
            code(stranger.close_room(CloseRoomRequest::default()).await),
            code(stranger.open_room(OpenRoomRequest::default()).await),
            code(stranger.get_room(GetRoomRequest::default()).await),
        ];
        assert_eq!(acts, [Code::Unauthenticated; 9], "{token}");
    }
    let mut unary = client(&world).await;
    let refused = code(unary.send(bearer(send("lobby"), OPERATORS_TOKEN)).await);
    assert_eq!(refused, Code::Unauthenticated, "an operator is no member");
    world.end().await;
}

async fn operators_are_told_what_makes_no_sense(world: World) {
    let mut operator = operator(&world).await;
    let ban = |room: &str, member: &str, reason: &str| BanMemberRequest {
        room: room.into(),
        member: member.into(),
        seconds: 1,
        reason: reason.into(),
    };
    for (asked, field) in [
        (ban("Lobby!", "m_1", ""), "room:"),
        (ban("", "m_1", ""), "room:"),
        (ban("lobby", "", ""), "member:"),
        (ban("lobby", "m 1", ""), "member:"),
        (ban("lobby", "m_1", "two\nlines"), "reason:"),
        (ban("lobby", "m_1", &"x".repeat(81)), "reason:"),
    ] {
        let refused = operator.ban_member(asked).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(field), "{refused}");
    }
    let nothing = DeleteMessageRequest { room: "lobby".into(), seq: 1, id: String::new() };
    assert_eq!(code(operator.delete_message(nothing).await), Code::NotFound);
    let room = operator.get_room(GetRoomRequest { room: "lobby".into() }).await.unwrap().into_inner();
    assert_eq!((room.closed, room.bans.len()), (false, 0));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_did_outlives_room_services_and_redis() {
    let mut world = World::large().await;
    let (mut ada, is_ada) = Browser::guest(world.here()).await;
    let (bob, is_bob) = Browser::guest(world.there()).await;
    ada.join("lobby", None).await;
    ada.send("lobby", "c1", "unkind").await;
    let mut operator = operator(&world).await;
    let delete = DeleteMessageRequest { room: "lobby".into(), seq: 1, id: String::new() };
    operator.delete_message(delete).await.unwrap();
    let ban = BanMemberRequest { room: "attic".into(), member: id(&is_ada), ..Default::default() };
    operator.ban_member(ban).await.unwrap();
    let close = CloseRoomRequest { room: "cellar".into(), ..Default::default() };
    operator.close_room(close).await.unwrap();
    let out = DisconnectMemberRequest { member: id(&is_bob), seconds: 3600, reason: String::new() };
    operator.disconnect_member(out).await.unwrap();
    assert_eq!(bob.closed().await, 4502);

    let redis = world.redis.as_mut().unwrap();
    redis.kill().await;
    redis.restart().await;
    for which in 0..2 {
        world.restart_room_service(which).await;
    }
    let (mut carol, _) = Browser::guest(world.there()).await;
    let joined = carol.join("lobby", None).await;
    assert_eq!((joined.head, joined.messages[0].deleted, joined.messages[0].text.as_str()), (2, true, ""));
    assert_eq!(join_until_answered(&mut ada, "attic").await, "FORBIDDEN");
    assert_eq!(join_until_answered(&mut carol, "cellar").await, "FORBIDDEN");
    eventually("bob is kept out again, once the room service has looked", async || {
        let mut bob = Browser::connect(world.here()).await;
        let answer = bob.ask(Ask::Hello(hello(&is_bob))).await;
        matches!(answer, Heard::Error(error) if error.code == "FORBIDDEN").then_some(())
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_topic_told_is_done_all_the_same() {
    let world = World::large().await;
    let (mut ada, is_ada) = Browser::guest(world.here()).await;
    let (mut bob, _) = Browser::guest(world.there()).await;
    for browser in [&mut ada, &mut bob] {
        browser.join("lobby", None).await;
    }
    // As an act leaves it whose message was lost on its way to everyone.
    let redis = world.redis.as_ref().unwrap();
    redis.ask(&["HSET", "chat:{lobby}:bans", &id(&is_ada), "0 be kind"]).await;
    redis.ask(&["HINCRBY", "chat:{lobby}:meta", "rules", "1"]).await;
    redis.ask(&["ZADD", "chat:{~operators}:acts", "1", "room lobby"]).await;
    assert_eq!(removal(&mut ada).await.0, "lobby");
    redis.ask(&["HSET", "chat:{lobby}:meta", "closed", ""]).await;
    redis.ask(&["HINCRBY", "chat:{lobby}:meta", "rules", "1"]).await;
    redis.ask(&["ZADD", "chat:{~operators}:acts", "2", "room lobby"]).await;
    assert_eq!(removal(&mut bob).await.1, "An operator closed this room.");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_banned_while_their_room_service_is_away_is_removed_by_the_next() {
    let mut world = World::large().await;
    let (mut ada, is_ada) = Browser::guest(world.here()).await;
    ada.join("lobby", None).await;
    world.end_room_service(0).await;
    let mut operator = operator(&world).await;
    let ban = BanMemberRequest { room: "lobby".into(), member: id(&is_ada), ..Default::default() };
    operator.ban_member(ban).await.unwrap();
    world.start_room_service_again(0).await;
    assert_eq!(removal(&mut ada).await.0, "lobby");
    world.end().await;
}

/// The codes with which a join and everything for members is refused.
async fn refusals(browser: &mut Browser, room: &str) -> Vec<String> {
    let room = || room.to_owned();
    let mut codes = Vec::new();
    for ask in [
        join(&room()),
        Ask::Send(send(&room())),
        Ask::History(HistoryRequest { room: room(), ..HistoryRequest::default() }),
        Ask::Members(MembersRequest { room: room(), ..MembersRequest::default() }),
        Ask::Typing(TypingRequest { room: room() }),
    ] {
        match browser.ask(ask).await {
            Heard::Error(error) => codes.push(error.code),
            other => codes.push(format!("{other:?}")),
        }
    }
    codes
}

/// The code with which a join is refused, once Redis is back.
async fn join_until_answered(browser: &mut Browser, room: &str) -> String {
    eventually("the join is answered", async || match browser.ask(join(room)).await {
        Heard::Error(error) if error.retryable => None,
        Heard::Error(error) => Some(error.code),
        other => panic!("let in: {other:?}"),
    })
    .await
}

/// The next removal: from where, and why.
async fn removal(browser: &mut Browser) -> (String, String) {
    browser
        .find(|event| match event {
            Heard::Removed(removed) => Some((removed.room, removed.reason)),
            _ => None,
        })
        .await
}

fn id(welcome: &Welcome) -> String {
    welcome.member.as_ref().unwrap().id.clone()
}

fn hello(welcome: &Welcome) -> HelloRequest {
    HelloRequest { token: welcome.token.clone(), ..HelloRequest::default() }
}

fn join(room: &str) -> Ask {
    Ask::Join(JoinRequest { room: room.into(), since: None })
}

fn send(room: &str) -> SendRequest {
    SendRequest::text(room, "x", "hi")
}

fn code<Told>(answer: Result<Told, Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}

fn bearer<Body>(body: Body, token: &str) -> Request<Body> {
    show(Request::new(body), token)
}

fn show<Body>(mut request: Request<Body>, token: &str) -> Request<Body> {
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Shows a token with every call.
pub(crate) struct Bearer(String);

impl Interceptor for Bearer {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        Ok(if self.0.is_empty() { request } else { show(request, &self.0) })
    }
}

async fn admin_channel(world: &World) -> Channel {
    let address = &world.room_services.last().unwrap().address;
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

pub(crate) async fn operator(world: &World) -> AdminServiceClient<InterceptedService<Channel, Bearer>> {
    let channel = admin_channel(world).await;
    AdminServiceClient::with_interceptor(channel, Bearer(OPERATORS_TOKEN.to_owned()))
}
