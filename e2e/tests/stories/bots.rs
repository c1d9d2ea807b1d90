//! Bots and back ends speak gRPC, by the rules of browsers.

use proto::chat::v1::{
    ClientFrame, HelloRequest, HistoryRequest, JoinRequest, MembersRequest, SendRequest, ServerFrame,
    chat_service_client::ChatServiceClient, client_frame::Body as Ask, server_frame::Body as Heard,
};
use testkit::{Browser, PATIENCE, eventually};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Streaming, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::world::World;

crate::stories! {
    a_bot_is_a_browser_without_a_screen
    a_guest_that_says_so_is_a_bot_and_stays_one
    unary_calls_need_a_token_and_no_stream
    metadata_that_is_too_long_is_refused_and_the_next_call_answered
    health_is_served
}

async fn a_bot_is_a_browser_without_a_screen(world: World) {
    let (mut ada, _) = Browser::guest(world.here()).await;
    ada.join("lobby", None).await;
    let mut bot = Bot::connect(&world).await;
    let Heard::Welcome(welcome) = bot.ask(Ask::Hello(HelloRequest::default())).await else {
        panic!("welcome")
    };
    let bot_is = welcome.member.unwrap();
    assert_eq!(bot_is.kind, "bot");
    let Heard::Joined(joined) = bot.ask(join("lobby")).await else { panic!("joined") };
    assert_eq!(joined.member_count, 2);
    let came = ada.find(|event| match event {
        Heard::Presence(presence) => Some(presence.joined),
        _ => None,
    });
    assert_eq!(came.await, [bot_is]);
    ada.send("lobby", "c1", "!ping").await;
    assert_eq!(bot.message().await.text, "!ping");
    let Heard::Sent(sent) = bot.ask(Ask::Send(send("c1", "pong"))).await else { panic!("sent") };
    assert_eq!(sent.seq, 2);
    assert_eq!((ada.message().await.seq, ada.message().await.text.as_str()), (1, "pong"));
    drop(bot);
    ada.find(|event| match event {
        Heard::Presence(presence) if presence.member_count == 1 => Some(()),
        _ => None,
    })
    .await;
    world.end().await;
}

async fn a_guest_that_says_so_is_a_bot_and_stays_one(world: World) {
    let (mut ada, _) = Browser::guest(world.here()).await;
    ada.join("lobby", None).await;
    let mut bot = Browser::connect(world.there()).await;
    let hello = HelloRequest { bot: true, ..HelloRequest::default() };
    let Heard::Welcome(welcome) = bot.ask(Ask::Hello(hello)).await else { panic!("welcome") };
    let member = welcome.member.unwrap();
    assert_eq!(member.kind, "bot");
    bot.join("lobby", None).await;
    ada.find(|event| match event {
        Heard::Presence(presence) => presence.joined.into_iter().find(|came| *came == member),
        _ => None,
    })
    .await;
    // The token says so from now on.
    let mut back = Browser::connect(world.here()).await;
    assert_eq!(back.hello(&welcome.token).await.member, Some(member));
    world.end().await;
}

async fn unary_calls_need_a_token_and_no_stream(world: World) {
    let (mut ada, welcome) = Browser::guest(world.here()).await;
    ada.join("lobby", None).await;
    let mut client = client(&world).await;
    let refused = client.send(send("c1", "hi")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    let with_token = |token: &str| format!("Bearer {token}").parse().unwrap();
    let mut request = Request::new(send("c1", "from a cron job"));
    request.metadata_mut().insert("authorization", with_token(&welcome.token));
    let sent = client.send(request).await.unwrap().into_inner();
    assert_eq!(ada.message().await.id, sent.id);

    let mut request = Request::new(send("c2", " "));
    request.metadata_mut().insert("authorization", with_token(&welcome.token));
    assert_eq!(client.send(request).await.unwrap_err().code(), Code::InvalidArgument);

    let mut request = Request::new(HistoryRequest { room: "lobby".into(), before: 0, limit: 0 });
    request.metadata_mut().insert("authorization", with_token(&welcome.token));
    assert_eq!(client.history(request).await.unwrap().into_inner().messages.len(), 1);

    let mut request = Request::new(MembersRequest { room: "lobby".into(), after: String::new(), limit: 0 });
    request.metadata_mut().insert("authorization", with_token(&welcome.token));
    assert_eq!(client.members(request).await.unwrap().into_inner().members, [welcome.member.unwrap()]);
    world.end().await;
}

async fn metadata_that_is_too_long_is_refused_and_the_next_call_answered(world: World) {
    let (mut ada, welcome) = Browser::guest(world.here()).await;
    ada.join("lobby", None).await;
    let mut client = client(&world).await;
    let call = |long: usize| {
        let mut request = Request::new(send("c1", "hi"));
        let token = format!("Bearer {}", welcome.token).parse().unwrap();
        request.metadata_mut().insert("authorization", token);
        request.metadata_mut().insert("x-long", "x".repeat(long).parse().unwrap());
        request
    };
    for long in [17 << 10, 60 << 10] {
        assert!(client.send(call(long)).await.is_err(), "{long} bytes");
    }
    assert_eq!(client.send(call(100)).await.unwrap().into_inner().seq, 1, "nothing of it was said before");
    assert_eq!(ada.message().await.seq, 1);
    world.end().await;
}

async fn health_is_served(world: World) {
    let health = HealthClient::new(channel(&world).await);
    eventually("it says that it serves", async || {
        let service = "chat.v1.ChatService".to_owned();
        let answer = health.clone().check(HealthCheckRequest { service }).await.ok()?.into_inner();
        (answer.status() == ServingStatus::Serving).then_some(())
    })
    .await;
    world.end().await;
}

pub(crate) struct Bot {
    say: mpsc::Sender<ClientFrame>,
    pub(crate) heard: Streaming<ServerFrame>,
    last_id: u32,
}

impl Bot {
    pub(crate) async fn connect(world: &World) -> Self {
        Self::try_connect(world).await.expect("there is a place")
    }

    pub(crate) async fn try_connect(world: &World) -> Option<Self> {
        let (say, said) = mpsc::channel(8);
        let heard = client(world).await.connect(ReceiverStream::new(said)).await.ok()?.into_inner();
        Some(Self { say, heard, last_id: 0 })
    }

    pub(crate) async fn ask(&mut self, body: Ask) -> Heard {
        self.last_id += 1;
        self.say.send(ClientFrame { id: self.last_id, body: Some(body) }).await.unwrap();
        loop {
            let frame = self.next().await;
            if frame.id == self.last_id {
                return frame.body.unwrap();
            }
        }
    }

    async fn message(&mut self) -> proto::chat::v1::Message {
        loop {
            if let Some(Heard::Message(message)) = self.next().await.body {
                return message;
            }
        }
    }

    pub(crate) async fn next(&mut self) -> ServerFrame {
        timeout(PATIENCE, self.heard.message()).await.expect("a frame within our patience").unwrap().unwrap()
    }
}

pub(crate) async fn client(world: &World) -> ChatServiceClient<Channel> {
    ChatServiceClient::new(channel(world).await)
}

async fn channel(world: &World) -> Channel {
    let address = &world.room_services.last().unwrap().address;
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn join(room: &str) -> Ask {
    Ask::Join(JoinRequest { room: room.into(), since: None })
}

fn send(client_id: &str, text: &str) -> SendRequest {
    SendRequest::text("lobby", client_id, text)
}
