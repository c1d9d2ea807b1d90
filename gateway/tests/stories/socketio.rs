//! Clients of the 2017 sample, byte by byte: what ends them, what does not, and what it costs others. That real ones
//! work is told in `web/e2e/socketio.spec.ts`.

use std::{collections::VecDeque, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _, stream};
use proto::{
    chat::v1::{
        ClientFrame, Error, Joined, Member, Message, Presence, SendRequest, Sent, Welcome,
        client_frame::Body as Said, server_frame::Body,
    },
    edge::v1::{SessionGone, link_request::Body as Up},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite};

use crate::world::{Answer, Link, World, joined, message, place, soon};

const OPEN: &str = "/socket.io/?EIO=4&transport=polling";

#[tokio::test]
async fn an_old_client_is_a_guest_in_the_lobby() {
    let (world, mut link) = World::ready(|_| {}).await;
    let mut client = Poller::open(&world).await;
    client.post("40").await;
    let (session, hello) = link.frame().await;
    assert!(matches!(&hello.body, Some(Said::Hello(hello)) if hello.token.is_empty()), "{hello:?}");
    link.reply(session, hello.id, Body::Welcome(welcome())).await;
    let (_, join) = link.frame().await;
    assert!(matches!(&join.body, Some(Said::Join(join)) if join.room == "lobby" && join.since.is_none()));
    let ada = Member {
        id: "m_ada".into(),
        name: "Ada".into(),
        avatar: "/avatars/Ada.svg".into(),
        ..Member::default()
    };
    let history =
        Joined { messages: vec![message("lobby", 1)], members: vec![ada, me()], ..joined("lobby", 1) };
    link.joined(session, join.id, history, place(1)).await;

    assert_eq!(client.next().await, format!(r#"40{{"sid":"{}"}}"#, client.sid));
    let members = client.event("member_history").await;
    assert_eq!(
        members["m_ada"],
        json!({ "socket": "m_ada", "username": "Ada", "avatar": "/avatars/Ada.svg" })
    );
    assert_eq!(members[&client.sid]["socket"], *client.sid, "it finds itself by its own socket");
    let messages = client.event("message_history").await;
    assert_eq!((messages.as_array().unwrap().len(), &messages[0]["message"]), (1, &json!("word 1")));

    client.post(r#"42["send","hi"]"#).await;
    let (_, send) = link.frame().await;
    assert!(matches!(&send.body, Some(Said::Send(send)) if (&*send.room, &*send.text) == ("lobby", "hi")));
    link.message("lobby", 2).await;
    assert_eq!(client.event("messages").await["message"], "word 2");
    link.presence("lobby", Presence { left: vec!["m_ada".into()], ..Presence::default() }, None).await;
    assert_eq!(client.event("member_delete").await, "m_ada");

    link.reply(session, send.id, Body::Sent(Sent::default())).await;
    client.post("41").await;
    assert_eq!(link.gone().await, SessionGone { session, left: true });
}

#[tokio::test]
async fn what_is_refused_for_now_is_said_again_and_answered_once() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut client, session) = Poller::member(&world, &mut link).await;
    client.post(r#"427["send","hi"]"#).await;
    let (_, first) = link.frame().await;
    let fast = Error { code: "RATE_LIMITED".into(), retryable: true, retry_after_ms: 1, ..Error::default() };
    link.reply(session, first.id, Body::Error(fast)).await;
    let (_, second) = link.frame().await;
    assert_eq!((send_of(&first), first.id == second.id), (send_of(&second), false), "the same, asked anew");
    link.reply(session, second.id, Body::Sent(Sent { seq: 9, ..Sent::default() })).await;
    assert_eq!(client.next().await, r#"437[{"sent":{"seq":9}}]"#);
}

#[tokio::test]
async fn patience_ends_and_the_answer_is_the_refusal() {
    let (world, mut link) = World::ready(|settings| settings.socketio_patience = Duration::ZERO).await;
    let (mut client, session) = Poller::member(&world, &mut link).await;
    client.post(r#"421["send","hi"]"#).await;
    let (_, send) = link.frame().await;
    let error = Error { code: "UNAVAILABLE".into(), retryable: true, ..Error::default() };
    link.reply(session, send.id, Body::Error(error)).await;
    assert_eq!(client.next().await, r#"431[{"error":{"code":"UNAVAILABLE","retryable":true}}]"#);
}

#[tokio::test]
async fn what_was_said_before_going_is_still_said_and_in_order() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (client, session) = Poller::member(&world, &mut link).await;
    client.post("42[\"send\",\"one\"]\u{1e}42[\"send\",\"two\"]\u{1e}41\u{1e}1").await;
    for text in ["one", "two"] {
        let (_, send) = link.frame().await;
        assert_eq!(send_of(&send).text, text);
        link.reply(session, send.id, Body::Sent(Sent::default())).await;
    }
    assert_eq!(link.gone().await, SessionGone { session, left: true });
}

#[tokio::test]
async fn a_flood_is_refused_and_the_client_stays() {
    let (world, mut link) = World::ready(|settings| settings.socketio_inbox_bytes = 1000).await;
    let (mut client, session) = Poller::member(&world, &mut link).await;
    let flood: Vec<_> = (0..100).map(|n| format!("42{n}[\"send\",\"{n}\"]")).collect();
    client.post(&flood.join("\u{1e}")).await;
    let refused = client.next().await;
    assert!(refused.contains("RATE_LIMITED"), "{refused}");
    let (_, first) = link.frame().await;
    assert_eq!(send_of(&first).text, "0", "what came first is not lost");
    link.reply(session, first.id, Body::Sent(Sent::default())).await;
    assert_eq!(client.until(|text| text.starts_with("430")).await, r#"430[{"sent":{}}]"#);
}

#[tokio::test]
async fn garbage_ends_its_sender_and_nobody_else() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut witness, _) = Poller::member(&world, &mut link).await;
    let garbage: [&[u8]; 12] = [
        b"4",
        b"x",
        b"49",
        b"42",
        b"42[",
        b"42{}",
        b"452-[\"send\"",
        b"4\xc3",
        b"\xff\xfe",
        b"0{}",
        b"b!!",
        "4\u{e9}".as_bytes(),
    ];
    for bytes in garbage {
        let (client, session) = Poller::member(&world, &mut link).await;
        client.post_bytes(bytes).await;
        assert_eq!(link.gone().await, SessionGone { session, left: true }, "{bytes:?}");
        assert_eq!(client.poll().await.status, 400, "{bytes:?}: it is not known any more");
    }
    link.message("lobby", 1).await;
    assert_eq!(witness.event("messages").await["message"], "word 1");
}

#[tokio::test]
async fn garbage_on_a_websocket_ends_its_sender_and_nobody_else() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut witness, _) = Poller::member(&world, &mut link).await;
    for text in ["", "x", "4", "49", "42{}", "5", "\u{1f980}probe", "b\u{e9}"] {
        let (mut socket, session) = on_websocket(&world, &mut link).await;
        socket.send(tungstenite::Message::binary(vec![0xff; 9])).await.unwrap();
        socket.send(tungstenite::Message::text(text)).await.unwrap();
        assert_eq!(link.gone().await, SessionGone { session, left: true }, "{text:?}");
    }
    link.message("lobby", 1).await;
    assert_eq!(witness.event("messages").await["message"], "word 1");
}

#[tokio::test]
async fn garbage_in_the_old_framing_ends_its_sender_and_nobody_else() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut witness, _) = Poller::member(&world, &mut link).await;
    for body in ["4", "2:42", "99999999999999999999:x", "-1:x", ":", "1", "3:4\u{e9}2", "5:42[\"\u{1f980}"] {
        let path = "/socket.io/?EIO=3&transport=polling";
        let client = Poller::open_at(&world, path).await;
        let session = enter(&mut link).await;
        client.post_bytes(body.as_bytes()).await;
        assert_eq!(link.gone().await, SessionGone { session, left: true }, "{body:?}");
    }
    link.message("lobby", 1).await;
    assert_eq!(witness.event("messages").await["message"], "word 1");
}

#[tokio::test]
async fn what_opens_nothing_takes_no_place() {
    let (world, _link) = World::ready(|settings| settings.max_sessions = 1).await;
    for (method, query, status) in [
        ("GET", "", 400),
        ("GET", "?EIO=4", 400),
        ("GET", "?EIO=4&transport=grpc", 400),
        ("GET", "?EIO=2&transport=polling", 400),
        ("POST", "?EIO=4&transport=polling", 400),
        ("DELETE", "?EIO=4&transport=polling", 400),
        ("GET", "?EIO=4&transport=polling&sid=", 400),
        ("GET", "?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA", 400),
        ("GET", "?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA&sid=BBBB", 400),
        ("GET", "?EIO=4&transport=websocket", 426),
    ] {
        let answer = world.http(method, &format!("/socket.io/{query}"), "").await;
        assert_eq!(answer.status, status, "{method} {query}: {}", answer.text());
    }
    let one = world.http("GET", OPEN, "").await;
    assert_eq!(one.status, 200);
    let another = world.http("GET", OPEN, "").await;
    assert_eq!(another.status, 503, "{}", another.text());
    assert!(another.header("retry-after").is_some());
}

#[tokio::test]
async fn an_address_that_opens_too_fast_waits() {
    let (world, _link) = World::ready(|settings| {
        (settings.session_rate_per_address, settings.session_burst_per_address) = (1, 3);
    })
    .await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(world.http("GET", OPEN, "").await.status);
    }
    assert_eq!(statuses[..3], [200; 3]);
    assert!(statuses[3..].contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn only_pages_that_may_open_a_session_may_poll() {
    let (world, _link) = World::ready(|settings| {
        settings.allowed_origins = Some("https://old.example".parse().unwrap());
    })
    .await;
    let other = world.http("GET", OPEN, "origin: https://evil.example\r\n").await;
    assert_eq!((other.status, other.header("access-control-allow-origin")), (403, None));
    let old = world.http("GET", OPEN, "origin: https://old.example\r\n").await;
    assert_eq!((old.status, old.header("access-control-allow-origin")), (200, Some("https://old.example")));
    assert_eq!(old.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(old.header("cache-control"), Some("no-store"));
    for (site, status) in [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)] {
        let picture = world.http("GET", OPEN, &format!("sec-fetch-site: {site}\r\n")).await;
        assert_eq!(picture.status, status, "a browser that names no origin loads this from {site}");
    }
    let told = world.http("GET", OPEN, "sec-fetch-site: cross-site\r\norigin: https://old.example\r\n").await;
    assert_eq!(told.status, 200);
}

#[tokio::test]
async fn without_the_door_there_is_none() {
    let (world, _link) = World::ready(|settings| settings.socketio = false).await;
    assert_eq!(world.http("GET", OPEN, "").await.status, 404);
}

#[tokio::test]
async fn who_opens_and_says_nothing_is_closed_and_its_place_is_free() {
    let (world, mut link) = World::ready(|settings| {
        settings.max_sessions = 1;
        settings.hello_timeout = Duration::from_millis(50);
    })
    .await;
    let client = Poller::open(&world).await;
    link.gone().await;
    assert_eq!(client.poll().await.status, 400);
    soon("free place", async { while world.http("GET", OPEN, "").await.status != 200 {} }).await;
}

#[tokio::test]
async fn who_opens_and_never_polls_is_found_by_the_heartbeat() {
    let (world, mut link) = World::ready(|settings| {
        settings.heartbeat = Duration::from_millis(100);
        settings.heartbeat_grace = Duration::from_millis(100);
    })
    .await;
    let (_client, session) = Poller::member(&world, &mut link).await;
    assert_eq!(link.gone().await, SessionGone { session, left: true });
}

#[tokio::test]
async fn a_body_that_is_too_large_or_never_ends_is_refused() {
    let (world, mut link) = World::ready(|settings| {
        settings.max_frame_bytes = 1000;
        settings.heartbeat_grace = Duration::from_millis(100);
    })
    .await;
    let (client, session) = Poller::member(&world, &mut link).await;
    let large = client.post_bytes(&[b'4'; 2000]).await;
    assert_eq!(large.status, 413);
    assert_eq!(link.gone().await, SessionGone { session, left: true });

    let (client, _) = Poller::member(&world, &mut link).await;
    let dribbled = client.request("POST", b"42[\"send\"", 100).await;
    assert_eq!(dribbled.status, 408);
}

#[tokio::test]
async fn a_slow_poller_is_brought_up_to_date_and_misses_nothing() {
    const LAST: u32 = 300;
    let (world, mut link) = World::ready(|settings| {
        (settings.socketio_packets, settings.outbox_bytes) = (4, 20_000);
    })
    .await;
    let (mut client, session) = Poller::member(&world, &mut link).await;
    for seq in 1..=LAST {
        link.message("lobby", seq).await;
    }
    let catching_up = async {
        let (_, frame) = link.frame().await;
        let Some(Said::Join(join)) = frame.body else { panic!("{frame:?}") };
        let since = join.since.unwrap();
        assert!(since.seq < LAST, "it could not keep up");
        let messages = (since.seq + 1..=LAST).map(|seq| message("lobby", seq)).collect();
        let missed = Joined { resumed: true, messages, ..joined("lobby", LAST) };
        link.joined(session, frame.id, missed, place(LAST)).await;
        link.message("lobby", LAST + 1).await;
    };
    let hearing = async {
        for seq in 1..=LAST + 1 {
            let said = client.event("messages").await;
            assert_eq!(said["message"], format!("word {seq}"), "no holes, no doubles");
        }
    };
    tokio::join!(catching_up, hearing);
}

#[tokio::test]
async fn a_websocket_that_is_never_read_is_cut_off() {
    let (world, mut link) = World::ready(|settings| {
        settings.heartbeat = Duration::from_millis(200);
        settings.heartbeat_grace = Duration::from_millis(200);
    })
    .await;
    let (_deaf, session) = on_websocket(&world, &mut link).await;
    for seq in 1..=2000 {
        let long = Message { text: "x".repeat(8000), ..message("lobby", seq) };
        link.event("lobby", Body::Message(long)).await;
    }
    // It may be asked for what it missed before.
    while link.hear().await != Up::Gone(SessionGone { session, left: true }) {}
}

#[tokio::test]
async fn who_is_turned_away_hears_why() {
    let (world, mut link) = World::ready(|_| {}).await;
    for (version, words) in [(4, r#"44{"message":"Members only."}"#), (3, r#"44"Members only.""#)] {
        let url = format!("ws://{}/socket.io/?EIO={version}&transport=websocket", world.address);
        let (mut socket, _) = soon("handshake", client_async(url, world.connect().await)).await.unwrap();
        if version == 4 {
            socket.send(tungstenite::Message::text("40")).await.unwrap();
        }
        let (session, hello) = link.frame().await;
        let error = Error { code: "FORBIDDEN".into(), message: "Members only.".into(), ..Error::default() };
        link.reply(session, hello.id, Body::Error(error)).await;
        soon("words", async {
            while socket.next().await.unwrap().unwrap() != tungstenite::Message::text(words) {}
        })
        .await;
        assert_eq!(link.gone().await, SessionGone { session, left: true });
    }
}

#[tokio::test]
async fn a_drain_sends_old_clients_elsewhere_and_the_gateway_ends() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (_polls, _) = Poller::member(&world, &mut link).await;
    let (mut socket, _) = on_websocket(&world, &mut link).await;
    world.tasks.stopping().cancel();
    // Engine.IO's goodbye, after which its clients come back by themselves.
    soon("goodbye", async {
        while socket.next().await.unwrap().unwrap() != tungstenite::Message::text("1") {}
    })
    .await;
    for _ in 0..2 {
        assert!(link.gone().await.left);
    }
    drop(link);
    soon("end", world.serving).await.unwrap();
}

#[tokio::test]
async fn a_drain_waits_for_what_was_said() {
    let (world, mut link) = World::ready(|_| {}).await;
    let (mut witness, _) = world.member(&mut link, "garden", 0).await;
    let (client, session) = Poller::member(&world, &mut link).await;
    client.post("42[\"send\",\"one\"]\u{1e}42[\"send\",\"two\"]").await;
    let (_, one) = link.frame().await;
    world.tasks.stopping().cancel();
    while witness.hear().await.get("move").is_none() {}
    link.reply(session, one.id, Body::Sent(Sent::default())).await;
    let (_, two) = link.frame().await;
    assert_eq!(send_of(&two).text, "two");
    link.reply(session, two.id, Body::Sent(Sent::default())).await;
    assert_eq!(link.gone().await, SessionGone { session, left: true });
}

#[tokio::test]
async fn who_is_gone_does_not_stay_for_what_nobody_answers() {
    let (world, mut link) = World::ready(|settings| {
        settings.reply_timeout = Duration::from_mins(1);
        settings.socketio_patience = Duration::from_millis(100);
    })
    .await;
    let (client, session) = Poller::member(&world, &mut link).await;
    client.post("42[\"send\",\"one\"]\u{1e}1").await;
    assert_eq!(send_of(&link.frame().await.1).text, "one");
    assert_eq!(link.gone().await, SessionGone { session, left: true });
}

#[tokio::test]
async fn who_asks_and_does_not_read_is_not_answered_for_ever() {
    let (world, mut link) = World::ready(|settings| {
        (settings.socketio_packets, settings.socketio_inbox_bytes) = (4, 1500);
    })
    .await;
    let (mut client, _) = Poller::member(&world, &mut link).await;
    for n in 0..100 {
        client.post(&format!("42{n}[\"unknown\"]")).await;
    }
    let mut answers = 0;
    loop {
        client.post("42999[\"unknown\"]").await;
        if client.until(|packet| packet.starts_with("43")).await.starts_with("43999") {
            break;
        }
        answers += 1;
    }
    assert!((1..50).contains(&answers), "{answers} answers were kept for it");
}

#[tokio::test]
async fn who_sends_pings_and_does_not_read_is_not_read_either() {
    let (world, mut link) = World::ready(|settings| {
        settings.heartbeat = Duration::from_millis(200);
        settings.heartbeat_grace = Duration::from_millis(200);
    })
    .await;
    let tcp = world.connect().await;
    let buffers = socket2::SockRef::from(&tcp);
    buffers.set_recv_buffer_size(4096).unwrap();
    buffers.set_send_buffer_size(4096).unwrap();
    let url = format!("ws://{}/socket.io/?EIO=3&transport=websocket", world.address);
    let (mut deaf, _) = soon("handshake", client_async(url, tcp)).await.unwrap();
    let session = enter(&mut link).await;
    let mut pings = 0;
    let cut = async {
        // With both kinds of them, it counts as alive as long as it is read.
        let ping = || [tungstenite::Message::text("2"), tungstenite::Message::Ping(vec![0; 125].into())];
        while let Ok(()) = deaf.send_all(&mut stream::iter(ping()).map(Ok)).await {
            pings += 1;
            assert!(pings < 80_000, "10 MB of pings were read");
        }
    };
    soon("end of its connection", cut).await;
    assert_eq!(link.gone().await, SessionGone { session, left: true });
}

#[tokio::test]
async fn polls_keep_no_place_for_a_connection() {
    let (world, _link) = World::ready(|settings| settings.max_connections = 4).await;
    for _ in 0..4 {
        assert_eq!(world.http("GET", OPEN, "").await.status, 200);
    }
    assert_eq!(world.http("GET", "/livez", "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_in_its_handshake_gives_its_place_back() {
    let (world, _link) = World::ready(|settings| {
        settings.max_sessions = 1;
        settings.session_burst_per_address = 1000;
    })
    .await;
    let break_in_handshake = async || {
        let mut tcp = world.connect().await;
        let head = "GET /socket.io/?EIO=3&transport=websocket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        tcp.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        tcp.read_exact(&mut status).await.unwrap();
        // It is reset when dropped, instead of a goodbye.
        socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
        &status == b"HTTP/1.1 101"
    };
    for _ in 0..100 {
        // Whoever comes while the one before has not ended is refused.
        soon("free place", async { while !break_in_handshake().await {} }).await;
    }
}

/// A client that polls, one request on each connection.
struct Poller<'a> {
    world: &'a World,
    path: String,
    sid: String,
    heard: VecDeque<String>,
}

impl<'a> Poller<'a> {
    async fn open(world: &'a World) -> Self {
        Self::open_at(world, OPEN).await
    }

    async fn open_at(world: &'a World, path: &str) -> Self {
        let opened = world.http("GET", path, "").await.text();
        let json = &opened[opened.find('{').unwrap()..];
        let sid = serde_json::from_str::<Value>(json).unwrap()["sid"].as_str().unwrap().to_owned();
        Self { world, path: format!("{path}&sid={sid}"), sid, heard: VecDeque::new() }
    }

    /// One who is in the lobby, which stands at 0, and has heard so.
    async fn member(world: &'a World, link: &mut Link) -> (Self, u64) {
        let mut client = Self::open(world).await;
        client.post("40").await;
        let session = enter(link).await;
        client.event("message_history").await;
        (client, session)
    }

    async fn poll(&self) -> Answer {
        self.world.http("GET", &self.path, "").await
    }

    async fn post(&self, packets: &str) {
        assert_eq!(self.post_bytes(packets.as_bytes()).await.text(), "ok");
    }

    async fn post_bytes(&self, body: &[u8]) -> Answer {
        self.request("POST", body, body.len()).await
    }

    /// The answer to a request with a body that is said to be `length` bytes long.
    async fn request(&self, method: &str, body: &[u8], length: usize) -> Answer {
        let mut tcp = self.world.connect().await;
        let head = format!(
            "{method} {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n",
            self.path
        );
        tcp.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        let mut bytes = Vec::new();
        // Whoever sends too much may be hung up on after the answer.
        let _ = soon("answer", tcp.read_to_end(&mut bytes)).await;
        Answer::of(&bytes)
    }

    /// The next packet that is no ping. Whoever stops waiting may lose what a poll brings, so tests wait for it.
    async fn next(&mut self) -> String {
        loop {
            match self.heard.pop_front() {
                Some(ping) if ping == "2" => self.post("3").await,
                Some(packet) => return packet,
                None => {
                    let answer = self.poll().await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    self.heard.extend(answer.text().split('\u{1e}').map(str::to_owned));
                }
            }
        }
    }

    async fn until(&mut self, mut pick: impl FnMut(&str) -> bool) -> String {
        loop {
            let packet = self.next().await;
            if pick(&packet) {
                return packet;
            }
        }
    }

    /// The argument of the next event of that name.
    async fn event(&mut self, name: &str) -> Value {
        let start = format!("42[\"{name}\",");
        let packet = self.until(|packet| packet.starts_with(&start)).await;
        serde_json::from_str::<Value>(&packet[2..]).unwrap()[1].take()
    }
}

/// A client on a WebSocket, who is in the lobby, which stands at 0.
async fn on_websocket(world: &World, link: &mut Link) -> (WebSocketStream<TcpStream>, u64) {
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", world.address);
    let (mut socket, _) = soon("handshake", client_async(url, world.connect().await)).await.unwrap();
    socket.send(tungstenite::Message::text("40")).await.unwrap();
    let session = enter(link).await;
    (socket, session)
}

/// Somebody says hello and joins the lobby, which stands at 0. Their session.
async fn enter(link: &mut Link) -> u64 {
    let (session, hello) = link.frame().await;
    assert!(matches!(hello.body, Some(Said::Hello(_))), "{hello:?}");
    link.reply(session, hello.id, Body::Welcome(welcome())).await;
    let (_, join) = link.frame().await;
    assert!(matches!(join.body, Some(Said::Join(_))), "{join:?}");
    link.joined(session, join.id, joined("lobby", 0), place(0)).await;
    session
}

fn welcome() -> Welcome {
    Welcome { member: Some(me()), ..Welcome::default() }
}

fn me() -> Member {
    Member { id: "m_me".into(), name: "Me".into(), ..Member::default() }
}

fn send_of(frame: &ClientFrame) -> &SendRequest {
    match &frame.body {
        Some(Said::Send(send)) => send,
        other => panic!("not a send: {other:?}"),
    }
}
