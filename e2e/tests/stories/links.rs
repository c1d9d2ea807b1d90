//! Whoever does not read or has vanished harms nobody, and misses nothing when it is back.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use gateway::Upstream;
use proto::{
    chat::v1::{
        ClientFrame, HelloRequest, JoinRequest, Position, SendRequest, client_frame::Body as Ask,
        server_frame::Body as Heard,
    },
    edge::v1::{
        LinkRequest, LinkResponse, Open, ReplayDone, RoomReplay, SessionFrame, SessionReplay,
        edge_service_client::EdgeServiceClient, link_request::Body as Up, link_response::Body as Down,
    },
};
use runtime::Tasks;
use testkit::{Browser, PATIENCE, Proxy, eventually};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming, transport::Channel};

use crate::{
    bots::{Bot, client},
    world::{World, start_gateway},
};

/// Longer than the network and HTTP/2 hold for a reader who does not read.
const FLOOD: u32 = 160;
/// Flags with which a flood is possible and a queue is soon full.
const FLOODABLE: [&str; 6] = [
    "--send-burst=1000",
    "--member-send-burst=1000",
    "--max-text-bytes=60000",
    "--link-queue-bytes=1000000",
    "--bot-queue-bytes=1000000",
    "--max-bots=1",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_vanished_without_a_word_is_noticed() {
    let world = World::small_with(&["--lease-ttl=3s"], &[]).await;
    let network = Proxy::start(&world.room_services[0].address).await;
    let (mut bob, _) = Browser::guest(world.here()).await;
    bob.join("lobby", None).await;
    let mut gateway = PlayedGateway::link(network.address(), "e_played").await;
    let Heard::Welcome(welcome) = gateway.ask(1, Ask::Hello(HelloRequest::default())).await else {
        panic!("welcome")
    };
    gateway.ask(2, join("lobby", None)).await;
    let ada = welcome.member.unwrap();
    bob.find(|event| match event {
        Heard::Presence(presence) => presence.joined.contains(&ada).then_some(()),
        _ => None,
    })
    .await;
    // As long as a Link stands its lease is renewed, so only its end lets ada go.
    network.hole();
    bob.find(|event| match event {
        Heard::Presence(presence) => presence.left.contains(&ada.id).then_some(()),
        _ => None,
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_loses_everything_is_replaced_and_nobody_misses_a_message() {
    let world = World::small_with(&[], &[]).await;
    let network = Proxy::start(&world.room_services[0].address).await;
    let tasks = Tasks::default();
    let url = format!("http://{}", network.address());
    // No frame is given up because it took long: UNAVAILABLE means that the Link was given up.
    let flags = ["--room-service", &url, "--reply-timeout=1h"];
    let gateway = start_gateway(&flags, None, &tasks).await;
    let (mut ada, _) = Browser::guest(&gateway).await;
    let (mut bob, _) = Browser::guest(world.here()).await;
    ada.join("lobby", None).await;
    bob.join("lobby", None).await;
    network.hole();
    let Heard::Error(error) = ada.ask(send("lost", "hi")).await else { panic!("the Link stands") };
    assert_eq!((error.code.as_str(), error.retryable), ("UNAVAILABLE", true), "{error:?}");
    for n in 0..5 {
        bob.send("lobby", &format!("b{n}"), "in the dark").await;
    }
    network.heal();
    ada.send("lobby", "lost", "hi").await;
    bob.send("lobby", "last", "good night").await;
    let mut told = Vec::new();
    while told.last().is_none_or(|last| last != "last") {
        let message = ada.message().await;
        told.push(message.client_id);
        assert_eq!(usize::try_from(message.seq).unwrap(), told.len(), "each once and in order");
    }
    told.sort_unstable();
    assert_eq!(told, ["b0", "b1", "b2", "b3", "b4", "last", "lost"]);
    assert!(tasks.finish(PATIENCE).await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_replaced_again_and_again_is_not_noticed() {
    const LINKS: u32 = 6;
    let world = World::small_with(&["--send-burst=100000", "--member-send-burst=100000"], &[]).await;
    let (tasks, opened) = (Tasks::default(), Arc::new(AtomicU32::new(0)));
    let upstream = counted(&world.room_services[0].address, &opened);
    let gateway = start_gateway(&["--link-age=500ms"], Some(upstream), &tasks).await;
    let (mut ada, is_ada) = Browser::guest(&gateway).await;
    let (mut bob, is_bob) = Browser::guest(&gateway).await;
    // Elsewhere, to see whether anybody seems to come and go.
    let (mut carol, is_carol) = Browser::guest(world.here()).await;
    let here = [is_ada, is_bob, is_carol].map(|welcome| welcome.member.unwrap());
    for browser in [&mut ada, &mut bob, &mut carol] {
        browser.join("lobby", None).await;
    }
    ada.send("lobby", "first", "hi").await;
    for browser in [&mut bob, &mut carol] {
        assert_eq!(browser.message().await.seq, 1);
    }
    let mut seq = 1;
    while opened.load(Ordering::Relaxed) < LINKS {
        seq += 1;
        assert_eq!(ada.send("lobby", &format!("c{seq}"), "hi").await.seq, seq);
        for browser in [&mut bob, &mut carol] {
            let heard = browser.find(|event| match event {
                Heard::Message(message) => Some(message.seq),
                // A new Link says who is there, which changes nothing.
                Heard::Presence(presence) => {
                    assert!(presence.left.is_empty(), "{presence:?}");
                    assert!(presence.joined.iter().all(|member| here.contains(member)), "{presence:?}");
                    assert_eq!(presence.member_count, 3);
                    None
                }
                Heard::Heartbeat(_) => None,
                other => panic!("noise: {other:?}"),
            });
            assert_eq!(heard.await, seq, "each once and in order");
        }
    }
    assert!(seq > LINKS, "there was talk while they were replaced");
    assert!(tasks.finish(PATIENCE).await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_does_not_read_is_not_closed_and_misses_nothing() {
    let world = World::small_with(&FLOODABLE, &["--outbox-bytes=200000"]).await;
    let (mut deaf, welcome) = Browser::guest(world.here()).await;
    let is_deaf = welcome.member.unwrap();
    deaf.join("lobby", None).await;
    flood(&world).await;
    let mut caught_up = false;
    for seq in 1..=FLOOD {
        let heard = deaf.find(|event| match event {
            Heard::Message(message) => Some(message.seq),
            Heard::Presence(presence) => {
                // Only who catches up is told of themselves.
                caught_up |= presence.joined.contains(&is_deaf);
                None
            }
            Heard::Heartbeat(_) => None,
            other => panic!("not a fresh start, nor anything else: {other:?}"),
        });
        assert_eq!(heard.await, seq, "each once and in order");
    }
    assert!(caught_up, "it could not keep up");
    assert_eq!(deaf.send("lobby", "d", "I am back").await.seq, FLOOD + 1);
    assert_eq!(deaf.message().await.seq, FLOOD + 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_does_not_read_is_let_go_and_comes_back_for_what_it_missed() {
    let world = World::small_with(&FLOODABLE, &[]).await;
    let address = &world.room_services[0].address;
    let mut deaf = PlayedGateway::link(address, "e_deaf").await;
    let Heard::Welcome(welcome) = deaf.ask(1, Ask::Hello(HelloRequest::default())).await else {
        panic!("welcome")
    };
    let Heard::Joined(joined) = deaf.ask(2, join("lobby", None)).await else { panic!("joined") };
    flood(&world).await;

    let mut place = Position { epoch: joined.epoch, seq: 0, id: String::new() };
    let why = loop {
        match deaf.next().await {
            Ok(Some(down)) => place = heard(down, place),
            ended => break ended,
        }
    };
    assert_eq!(why.unwrap_err().code(), Code::Unavailable, "it is told why");
    assert!(place.seq < FLOOD, "it could not keep up");

    // What it missed is more than may wait for it, too, so it comes back more than once, each time from further on.
    while place.seq < FLOOD {
        let before = place.seq;
        let mut back = PlayedGateway::link(address, "e_deaf").await;
        let (token, name) = (welcome.token.clone(), welcome.session.clone());
        let rooms = vec!["lobby".to_owned()];
        back.say(Up::Session(SessionReplay { session: 1, token, name, rooms })).await;
        back.say(Up::Room(RoomReplay { room: "lobby".into(), since: Some(place.clone()), roster: None }))
            .await;
        back.say(Up::Replayed(ReplayDone {})).await;
        while place.seq < FLOOD
            && let Ok(Some(down)) = back.next().await
        {
            place = heard(down, place);
        }
        assert!(place.seq > before, "it comes no further than {before}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_does_not_read_is_let_go_and_comes_back_for_what_it_missed() {
    let world = World::small_with(&FLOODABLE, &[]).await;
    let mut deaf = Bot::connect(&world).await;
    let Heard::Welcome(welcome) = deaf.ask(Ask::Hello(HelloRequest::default())).await else {
        panic!("welcome")
    };
    let Heard::Joined(joined) = deaf.ask(join("lobby", None)).await else { panic!("joined") };
    flood(&world).await;
    let (_say, said) = mpsc::channel(1);
    let full = client(&world).await.connect(ReceiverStream::new(said)).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted, "what waits for it is kept, and so is its place");

    let mut place = Position { epoch: joined.epoch, seq: 0, id: String::new() };
    let why = loop {
        match timeout(PATIENCE, deaf.heard.message()).await.unwrap() {
            Ok(Some(frame)) => place = next_place(frame.body.unwrap(), place),
            ended => break ended,
        }
    };
    assert_eq!(why.unwrap_err().code(), Code::Unavailable, "it is told why");
    assert!(place.seq < FLOOD, "it could not keep up");
    drop(deaf);

    // What it missed is more than may wait for it, too, so it comes back more than once, each time from further on.
    while place.seq < FLOOD {
        let before = place.seq;
        let mut back = eventually("its place is free", async || Bot::try_connect(&world).await).await;
        back.ask(Ask::Hello(HelloRequest { token: welcome.token.clone(), ..HelloRequest::default() })).await;
        let Heard::Joined(joined) = back.ask(join("lobby", Some(place.clone()))).await else {
            panic!("joined")
        };
        assert!(joined.resumed);
        for message in joined.messages {
            place = next_place(Heard::Message(message), place);
        }
        while place.seq < FLOOD
            && let Ok(Some(frame)) = timeout(PATIENCE, back.heard.message()).await.unwrap()
        {
            place = next_place(frame.body.unwrap(), place);
        }
        assert!(place.seq > before, "it comes no further than {before}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_older_than_its_token_outlives_its_link() {
    let world = World::small_with(&["--token-ttl=1s"], &[]).await;
    let address = &world.room_services[0].address;
    let mut gateway = PlayedGateway::link(address, "e_old").await;
    let Heard::Welcome(welcome) = gateway.ask(1, Ask::Hello(HelloRequest::default())).await else {
        panic!("welcome")
    };
    gateway.ask(2, join("lobby", None)).await;
    let token = welcome.token;
    eventually("the token's time is over", async || {
        let mut other = Browser::connect(world.here()).await;
        let answer =
            other.ask(Ask::Hello(HelloRequest { token: token.clone(), ..HelloRequest::default() })).await;
        matches!(answer, Heard::Error(error) if error.code == "UNAUTHENTICATED").then_some(())
    })
    .await;
    drop(gateway);
    let mut back = PlayedGateway::link(address, "e_old").await;
    let (name, rooms) = (welcome.session, vec!["lobby".to_owned()]);
    back.say(Up::Session(SessionReplay { session: 1, token, name, rooms })).await;
    back.say(Up::Room(RoomReplay { room: "lobby".into(), since: None, roster: None })).await;
    back.say(Up::Replayed(ReplayDone {})).await;
    let answer = back.ask(3, send("c1", "still here")).await;
    assert!(matches!(answer, Heard::Sent(_)), "{answer:?}");
    world.end().await;
}

/// The way to the room service at `address`, counting the Links that are dialled.
fn counted(address: &str, dialled: &Arc<AtomicU32>) -> Upstream {
    let (address, dialled) = (address.to_owned(), dialled.clone());
    Upstream::in_process(move || {
        dialled.fetch_add(1, Ordering::Relaxed);
        let (near, mut far) = tokio::io::duplex(256 << 10);
        let address = address.clone();
        tokio::spawn(async move {
            let mut there = TcpStream::connect(address).await.unwrap();
            // It ends with whoever ends first.
            let _ = tokio::io::copy_bidirectional(&mut far, &mut there).await;
        });
        Ok(near)
    })
}

/// Someone says more than a queue holds, and someone hears all of it.
async fn flood(world: &World) {
    let (mut loud, _) = Browser::guest(world.here()).await;
    let (mut listener, _) = Browser::guest(world.here()).await;
    loud.join("lobby", None).await;
    listener.join("lobby", None).await;
    let long = "x".repeat(60_000);
    for seq in 1..=FLOOD {
        loud.send("lobby", &format!("c{seq}"), &long).await;
        assert_eq!(listener.message().await.seq, seq, "nobody else is held up");
    }
}

/// Where it stands after what came down.
fn heard(down: LinkResponse, place: Position) -> Position {
    match down.body {
        Some(Down::Event(event)) => next_place(event.frame.unwrap().body.unwrap(), place),
        _ => place,
    }
}

/// Where it stands after an event: each message is the next.
fn next_place(event: Heard, place: Position) -> Position {
    match event {
        Heard::Message(message) => {
            assert_eq!(message.seq, place.seq + 1, "each once and in order");
            Position { epoch: message.epoch, seq: message.seq, id: message.id }
        }
        _ => place,
    }
}

/// The gateway's end of a Link, with one session.
pub(crate) struct PlayedGateway {
    up: mpsc::Sender<LinkRequest>,
    down: Streaming<LinkResponse>,
}

impl PlayedGateway {
    /// Opens a Link of the gateway `edge`.
    pub(crate) async fn link(address: &str, edge: &str) -> Self {
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let (up, said) = mpsc::channel(8);
        let open = Up::Open(Open { edge: edge.to_owned(), heartbeat_seconds: 25 });
        up.send(LinkRequest { body: Some(open) }).await.unwrap();
        let down = EdgeServiceClient::new(channel).link(ReceiverStream::new(said)).await.unwrap();
        let mut gateway = Self { up, down: down.into_inner() };
        let opened = gateway.next().await.unwrap().unwrap();
        assert!(matches!(opened.body, Some(Down::Opened(_))));
        gateway
    }

    pub(crate) async fn say(&self, body: Up) {
        // A Link that was told too much at once may have ended already, which `next` tells.
        let _ = self.up.send(LinkRequest { body: Some(body) }).await;
    }

    /// Says something for the session, and waits for the reply.
    pub(crate) async fn ask(&mut self, id: u32, body: Ask) -> Heard {
        let frame = Some(ClientFrame { id, body: Some(body) });
        self.say(Up::Frame(SessionFrame { session: 1, frame, ..SessionFrame::default() })).await;
        loop {
            if let Some(Down::Reply(reply)) = self.next().await.unwrap().unwrap().body
                && let Some(frame) = reply.frame
                && frame.id == id
            {
                return frame.body.unwrap();
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<LinkResponse>, tonic::Status> {
        timeout(PATIENCE, self.down.message()).await.expect("a word within our patience")
    }
}

fn join(room: &str, since: Option<Position>) -> Ask {
    Ask::Join(JoinRequest { room: room.into(), since })
}

fn send(client_id: &str, text: &str) -> Ask {
    Ask::Send(SendRequest::text("lobby", client_id, text))
}
