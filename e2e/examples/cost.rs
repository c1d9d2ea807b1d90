//! What a message costs, in instructions: a whole chat in one process and on one thread, in which one of so many members
//! says a fixed number of messages.
//!
//! `tools/guard` runs it under callgrind, which counts what [`talk`] does and nothing else. So that it counts the same
//! each time, the clock stands still meanwhile, members are bare sockets that are read afterwards, and the kernel hands
//! over on the spot what one of them is sent.
//!
//! ```text
//! cost MEMBERS
//! ```
#![allow(clippy::unwrap_used, reason = "a stage that cannot be set is no measurement")]

use std::{
    env,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use clap::Parser as _;
use gateway::{Gateway, Upstream};
use memchr::memmem::find;
use room_service::{Service, open_store, serve_in_process};
use runtime::{Health, Tasks};
use serde_json::{Value, json};
use tokio::{io::DuplexStream, net::TcpListener, runtime::Runtime, sync::mpsc, task::yield_now};
use tokio_stream::wrappers::ReceiverStream;

/// What is counted. So few that nobody's socket is full though nobody reads.
const MESSAGES: usize = 40;
/// Before it, so that buffers have grown.
const WARM_UP: usize = 20;
/// How often all tasks get a turn after a message, so that everyone has it before the next.
const TURNS: usize = 8;

fn main() {
    let n_members: usize = env::args().nth(1).expect("how many members?").parse().unwrap();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let tasks = Tasks::default();
    let address = runtime.block_on(start(&tasks));
    let mut members: Vec<Member> = (0..n_members).map(|_| Member::connect(&address)).collect();
    runtime.block_on(async {
        for member in &mut members {
            member.until_heard(r#""joined":{"room""#, Clock::Goes).await;
        }
        // The last news of who is there; after it nothing is said until somebody says something.
        members[0].until_heard(&format!(r#""member_count":{n_members}"#), Clock::Goes).await;
    });
    let frames: Vec<Vec<u8>> = (0..WARM_UP + MESSAGES).map(send).collect();
    let (warm_up, counted) = frames.split_at(WARM_UP);
    talk_before(&runtime, &mut members[0], warm_up);
    talk(&runtime, &mut members[0], counted);
    runtime.block_on(async {
        for member in &mut members {
            member.until_heard(&client_id(WARM_UP + MESSAGES - 1), Clock::Stands).await;
        }
    });
}

/// What is counted: under a name of its own, so that callgrind finds it.
#[inline(never)]
fn talk(runtime: &Runtime, sender: &mut Member, frames: &[Vec<u8>]) {
    say_all(runtime, sender, frames, WARM_UP);
}

fn talk_before(runtime: &Runtime, sender: &mut Member, frames: &[Vec<u8>]) {
    say_all(runtime, sender, frames, 0);
}

fn say_all(runtime: &Runtime, sender: &mut Member, frames: &[Vec<u8>], first: usize) {
    runtime.block_on(async {
        for (n, frame) in frames.iter().enumerate() {
            sender.say(frame);
            sender.until_heard(&client_id(first + n), Clock::Stands).await;
            for _ in 0..TURNS {
                yield_now().await;
            }
        }
    });
}

/// A chat without limits and with a store in memory. Where browsers connect.
async fn start(tasks: &Tasks) -> String {
    let health = Health::default();
    let many = "1000000";
    let rates =
        ["--send-rate", many, "--send-burst", many, "--member-send-rate", many, "--member-send-burst", many];
    let settings = room_service::config::Settings::parse_from(["room-service"].iter().chain(&rates));
    let (store, feed) = open_store(&settings, &health, tasks).unwrap();
    let service = Service::start(settings, store, feed, &health, tasks, tasks).await.unwrap();
    let (dialled, links) = mpsc::channel::<std::io::Result<DuplexStream>>(1);
    tasks.spawn("room service", {
        let health = health.clone();
        async move { serve_in_process(service, ReceiverStream::new(links), health).await.unwrap() }
    });
    let upstream = Upstream::in_process(move || {
        let (near, far) = tokio::io::duplex(256 << 10);
        dialled.try_send(Ok(far)).map_err(|_| std::io::Error::from(ErrorKind::ConnectionRefused))?;
        Ok(near)
    });
    let settings =
        gateway::config::Settings::parse_from(["gateway", "--web-root", "/nonexistent", "--heartbeat", "1h"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (own, watched) = (tasks.clone(), health.clone());
    tasks.spawn("gateway", async move {
        Gateway::serve(settings, upstream, listener, health, own).await.unwrap();
    });
    while watched.check().is_err() {
        Clock::Goes.turn().await;
    }
    address
}

/// Time passes only here: under callgrind everything takes fifty times as long, and no timer is to notice.
#[derive(Clone, Copy)]
enum Clock {
    Goes,
    Stands,
}

impl Clock {
    /// Lets all tasks have a turn.
    async fn turn(self) {
        match self {
            Self::Goes => tokio::time::advance(Duration::from_millis(1)).await,
            Self::Stands => yield_now().await,
        }
    }
}

/// A socket of someone in the room.
struct Member {
    socket: TcpStream,
    heard: Vec<u8>,
}

impl Member {
    /// Connects, says hello and joins, and waits for nothing: nobody else has had a turn.
    fn connect(address: &str) -> Self {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        let upgrade = "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let hello = json!({ "id": 1, "hello": {} });
        let join = json!({ "id": 2, "join": { "room": "lobby" } });
        socket.write_all(&[upgrade.as_bytes(), &text(&hello), &text(&join)].concat()).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, heard: Vec::new() }
    }

    fn say(&mut self, frame: &[u8]) {
        self.socket.write_all(frame).unwrap();
    }

    /// Lets all tasks have their turns until `words` came here. What came before them is forgotten.
    async fn until_heard(&mut self, words: &str, clock: Clock) {
        let mut buffer = [0; 4096];
        loop {
            if let Some(at) = find(&self.heard, words.as_bytes()) {
                self.heard.drain(..at);
                return;
            }
            let length = loop {
                match self.socket.read(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => clock.turn().await,
                    outcome => break outcome.unwrap(),
                }
            };
            assert!(length > 0, "the gateway hung up");
            self.heard.extend_from_slice(&buffer[..length]);
        }
    }
}

/// Frame `n` of the sender.
fn send(n: usize) -> Vec<u8> {
    let send = json!({ "room": "lobby", "client_id": format!("c{n}"), "text": "x".repeat(100) });
    text(&json!({ "id": n + 3, "send": send }))
}

/// What everyone hears of it.
fn client_id(n: usize) -> String {
    format!(r#""client_id":"c{n}""#)
}

/// A text of a client, with a mask of zero.
fn text(frame: &Value) -> Vec<u8> {
    let frame = frame.to_string();
    let length = u16::try_from(frame.len()).unwrap().to_be_bytes();
    [&[0x81, 0xfe], &length[..], &[0; 4], frame.as_bytes()].concat()
}
