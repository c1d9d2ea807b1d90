//! Both bots, as processes, in a chat of processes: each ping is answered once, whatever is killed.
//!
//! `make bots` sets up the one in Python.
#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use proto::chat::v1::{EditRequest, Message, MessageRef, client_frame::Body as Ask};
use tempfile::TempDir;
use testkit::{Browser, Program, RedisServer, eventually, free_port, http_get};
use tokio::process::{Child, Command};

#[tokio::test]
async fn the_rust_bot_answers_each_ping_once_whatever_is_killed() {
    story(|world| {
        let mut bot = Command::new(env!("CARGO_BIN_EXE_ping-bot"));
        bot.arg(format!("http://{}", world.rooms)).arg(world.state());
        bot
    })
    .await;
}

#[tokio::test]
async fn the_python_bot_answers_each_ping_once_whatever_is_killed() {
    let python = target().join("bots-python/bin/python");
    assert!(python.is_file(), "first: make bots");
    story(|world| {
        let mut bot = Command::new(&python);
        bot.arg(house().join("bots/python/ping_bot.py")).arg(&world.rooms).arg(world.state());
        bot.env("PYTHONPATH", target().join("bots-python/gen"));
        bot
    })
    .await;
}

/// Pings before, while and after the bot is killed, and then the room service.
async fn story(bot: impl Fn(&World) -> Command) {
    let mut world = World::start().await;
    let start = |world: &World| {
        let mut bot = bot(world);
        bot.arg("lobby").stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap()
    };
    let (mut ada, _) = Browser::guest(&world.door).await;
    ada.join("lobby", None).await;
    ada.send("lobby", "before", "!ping").await;
    let mut running: Child = start(&world);
    let is_here = |heard| match heard {
        proto::chat::v1::server_frame::Body::Presence(presence) => {
            presence.joined.into_iter().find(|member| member.kind == "bot")
        }
        _ => None,
    };
    let its_member = ada.find(is_here).await;

    let mut heard = Heard::default();
    let said = ada.send("lobby", "no ping", "pong?").await;
    let becomes_a_ping = EditRequest {
        room: "lobby".into(),
        client_id: "an edit".into(),
        message: Some(MessageRef { seq: said.seq, id: said.id }),
        text: "!ping".into(),
        mentions: Vec::new(),
    };
    ada.change(Ask::Edit(becomes_a_ping)).await;
    heard.ping(&mut ada, 10).await;
    heard.until_answered(&mut ada).await;

    // Some of these are answered before the end, and of some nobody knows.
    heard.ping(&mut ada, 10).await;
    running.kill().await.unwrap();
    heard.ping(&mut ada, 10).await;
    running = start(&world);
    heard.until_answered(&mut ada).await;

    heard.ping(&mut ada, 10).await;
    world.restart_room_service().await;
    heard.ping(&mut ada, 10).await;
    heard.until_answered(&mut ada).await;
    assert!(running.try_wait().unwrap().is_none(), "the bot goes on");
    ada.send("lobby", "last", "that is all").await;
    loop {
        let message = ada.message().await;
        if message.text == "that is all" {
            break;
        }
        heard.note(message);
    }
    heard.each_ping_is_answered_once(&its_member.id);
}

/// What was said in the room, by id.
#[derive(Default)]
struct Heard {
    sent: usize,
    pings: Vec<String>,
    pongs: Vec<Message>,
}

impl Heard {
    async fn ping(&mut self, ada: &mut Browser, times: usize) {
        for _ in 0..times {
            self.sent += 1;
            ada.send("lobby", &format!("ping-{}", self.sent), "!ping").await;
        }
    }

    async fn until_answered(&mut self, ada: &mut Browser) {
        while self.pings.len() < self.sent || self.pongs.len() < self.sent {
            let message = ada.message().await;
            self.note(message);
        }
    }

    fn note(&mut self, message: Message) {
        match message.text.as_str() {
            _ if message.edits > 0 || message.client_id == "no ping" => {}
            // What was said before the bot came is not for it.
            "!ping" if message.client_id == "before" => {}
            "!ping" => self.pings.push(message.id),
            "pong" => self.pongs.push(message),
            other => panic!("nobody says {other}"),
        }
    }

    fn each_ping_is_answered_once(&self, bot: &str) {
        let asked: Vec<String> = self.pings.iter().map(|id| format!("pong-{id}")).collect();
        let answered: Vec<&str> = self.pongs.iter().map(|pong| pong.client_id.as_str()).collect();
        assert_eq!(answered, asked, "in order, each once");
        assert!(
            self.pongs.iter().all(|pong| pong.member.as_ref().unwrap().id == bot),
            "it is the same member"
        );
    }
}

/// A gateway, a room service and a Redis, each a process.
struct World {
    door: String,
    rooms: String,
    folder: TempDir,
    redis: RedisServer,
    room_service: Program,
    _gateway: Program,
}

impl World {
    async fn start() -> Self {
        // Whoever tests this crate alone may not have built the others.
        let cargo = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "-p", "gateway", "-p", "room-service", "--bins"])
            .status();
        assert!(cargo.await.unwrap().success());
        let redis = RedisServer::start().await;
        let (door, rooms) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
        let room_service = Self::room_service(&redis, &rooms).await;
        let flags = [
            "--listen",
            &door,
            "--admin-listen",
            "127.0.0.1:0",
            "--room-service",
            &format!("http://{rooms}"),
        ];
        let gateway = Program::start(&program("gateway"), &flags);
        let folder = TempDir::new().unwrap();
        Self { door, rooms, folder, redis, room_service, _gateway: gateway }
    }

    async fn room_service(redis: &RedisServer, address: &str) -> Program {
        let flags = ["--listen", address, "--admin-listen", "127.0.0.1:0", "--redis-url", &redis.url()];
        let program = Program::start(&program("room-service"), &flags);
        let ready = async || http_get(address, "/readyz").await.filter(|(status, _)| *status == 200);
        eventually("the room service is ready", ready).await;
        program
    }

    /// `kill -9`, and again in the same place.
    async fn restart_room_service(&mut self) {
        self.room_service.kill().await;
        self.room_service = Self::room_service(&self.redis, &self.rooms).await;
    }

    /// Where the bot keeps what it knows.
    fn state(&self) -> PathBuf {
        self.folder.path().join("state.json")
    }
}

fn house() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// Where everything is built.
fn target() -> PathBuf {
    // target/debug/deps/ping-…
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

fn program(name: &str) -> String {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join(name).display().to_string()
}
