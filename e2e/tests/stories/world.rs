//! The two worlds in which a story is told: one process with a store in memory; and two gateways, two room services
//! and a Redis, where every message crosses both tiers.

use std::time::Duration;

use clap::Parser as _;
use gateway::{Gateway, Upstream};
use room_service::{Service, open_store, serve, serve_in_process};
use runtime::{Health, Tasks, objects::Place};
use tempfile::TempDir;
use testkit::{Door, Proxy, RedisServer, Speech, eventually, free_port};
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;

/// Longer than any part takes to stop.
const GRACE: Duration = Duration::from_secs(20);

/// What operators show.
pub(crate) const OPERATORS_TOKEN: &str = "a token of the operators";

/// A running Parlor.
pub(crate) struct World {
    /// Where browsers connect: one gateway, or two.
    pub(crate) gateways: Vec<String>,
    /// Where bots connect, one for each gateway.
    pub(crate) room_services: Vec<Part>,
    pub(crate) redis: Option<RedisServer>,
    /// How members speak, where a story is told by several doors.
    speech: Speech,
    /// How room services reach Redis.
    redis_url: Option<String>,
    /// Where attachments are, for all.
    pub(crate) files: TempDir,
    /// What else room services are told.
    room_service_flags: Vec<String>,
    gateway_tasks: Vec<Tasks>,
}

/// A room service that can be stopped and started again in the same place.
pub(crate) struct Part {
    pub(crate) address: String,
    health: Health,
    doors: Tasks,
    tasks: Tasks,
}

impl Part {
    async fn end(&self) {
        assert!(self.doors.finish(GRACE).await, "the doors close");
        assert!(self.tasks.finish(GRACE).await, "the room service ends");
    }
}

impl World {
    /// One process, no Redis.
    pub(crate) async fn small() -> Self {
        Self::small_with(&[], &[]).await
    }

    /// One process, no Redis, with these flags too.
    pub(crate) async fn small_with(room_service_flags: &[&str], gateway_flags: &[&str]) -> Self {
        let (health, back, front) = (Health::default(), Tasks::default(), Tasks::default());
        let doors = Tasks::default();
        let files = tempfile::tempdir().unwrap();
        let mut settings = room_service_settings(None);
        settings.attachments.place = Some(Place::Folder(files.path().to_owned()));
        settings.update_from(["room-service"].iter().chain(room_service_flags));
        let (store, feed) = open_store(&settings, &health, &back).unwrap();
        let service = Service::start(settings, store, feed, &health, &doors, &back).await.unwrap();
        let (dialled, links) = tokio::sync::mpsc::channel(4);
        let bots = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = bots.local_addr().unwrap().to_string();
        let (in_process, over_tcp) = (service.clone(), service);
        let (links_health, bots_health) = (health.clone(), health.clone());
        back.spawn("links", async move {
            serve_in_process(in_process, ReceiverStream::new(links), links_health).await.unwrap();
        });
        back.spawn("bots", async move {
            serve(over_tcp, bots, bots_health).await.unwrap();
        });
        let upstream = Upstream::in_process(move || {
            let (near, far) = tokio::io::duplex(256 << 10);
            dialled
                .try_send(Ok(far))
                .map_err(|_| std::io::Error::from(std::io::ErrorKind::ConnectionRefused))?;
            Ok(near)
        });
        let files_flag = attachments_flag(&files);
        let flags: Vec<&str> = gateway_flags.iter().copied().chain([files_flag.as_str()]).collect();
        let gateway = start_gateway(&flags, Some(upstream), &front).await;
        Self {
            gateways: vec![gateway],
            room_services: vec![Part { address, health, doors, tasks: back }],
            redis: None,
            speech: Speech::Json,
            redis_url: None,
            files,
            room_service_flags: vec![],
            gateway_tasks: vec![front],
        }
    }

    /// Two gateways, each with a room service of its own, one Redis.
    pub(crate) async fn large() -> Self {
        Self::large_with(&[]).await
    }

    /// The same, with these flags for the room services.
    pub(crate) async fn large_with(room_service_flags: &[&str]) -> Self {
        Self::two_of_each(RedisServer::durable().await, room_service_flags).await
    }

    /// The same, for stories in which Redis never ends: it writes nothing to a disk, which takes most of the time.
    pub(crate) async fn large_without_a_disk() -> Self {
        Self::two_of_each(RedisServer::start().await, &[]).await
    }

    async fn two_of_each(redis: RedisServer, room_service_flags: &[&str]) -> Self {
        let url = redis.url();
        let mut world = Self::with_redis(redis, url);
        world.room_service_flags = room_service_flags.iter().map(ToString::to_string).collect();
        for _ in 0..2 {
            let address = world.add_room_service().await;
            world.add_gateway(&address).await;
        }
        world
    }

    /// One gateway, one room service and a Redis, and the networks between them: the Link's, and that to Redis.
    pub(crate) async fn over_networks() -> (Self, Proxy, Proxy) {
        let redis = RedisServer::durable().await;
        let to_redis = Proxy::start(&redis.address()).await;
        let mut world = Self::with_redis(redis, format!("redis://{}", to_redis.address()));
        let link = Proxy::start(&world.add_room_service().await).await;
        world.add_gateway(link.address()).await;
        (world, link, to_redis)
    }

    /// A gateway whose Link is at the first of two room services, and the network between that one and Redis.
    pub(crate) async fn with_a_spare_room_service() -> (Self, Proxy) {
        let redis = RedisServer::durable().await;
        let url = redis.url();
        let to_redis = Proxy::start(&redis.address()).await;
        let mut world = Self::with_redis(redis, format!("redis://{}", to_redis.address()));
        let first = world.add_room_service().await;
        let spare = format!("127.0.0.1:{}", free_port());
        world.add_gateway(&format!("{first},http://{spare}")).await;
        world.redis_url = Some(url);
        let listener = TcpListener::bind(&spare).await.unwrap();
        let part = world.start_room_service(listener).await;
        eventually("the spare one is ready", async || part.health.check().ok()).await;
        world.room_services.push(part);
        (world, to_redis)
    }

    fn with_redis(redis: RedisServer, redis_url: String) -> Self {
        let (redis, redis_url) = (Some(redis), Some(redis_url));
        Self {
            gateways: vec![],
            room_services: vec![],
            speech: Speech::Json,
            redis,
            redis_url,
            files: tempfile::tempdir().unwrap(),
            room_service_flags: vec![],
            gateway_tasks: vec![],
        }
    }

    async fn add_room_service(&mut self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let part = self.start_room_service(listener).await;
        eventually("the room service is ready", async || part.health.check().ok()).await;
        let address = part.address.clone();
        self.room_services.push(part);
        address
    }

    async fn add_gateway(&mut self, room_service: &str) {
        let tasks = Tasks::default();
        let url = format!("http://{room_service}");
        self.gateways.push(
            start_gateway(&["--room-service", &url, &attachments_flag(&self.files)], None, &tasks).await,
        );
        self.gateway_tasks.push(tasks);
    }

    async fn start_room_service(&self, listener: TcpListener) -> Part {
        let (health, doors, tasks) = (Health::default(), Tasks::default(), Tasks::default());
        let mut settings = room_service_settings(self.redis_url.clone());
        settings.attachments.place = Some(Place::Folder(self.files.path().to_owned()));
        settings.update_from(
            ["room-service"].into_iter().chain(self.room_service_flags.iter().map(String::as_str)),
        );
        let address = listener.local_addr().unwrap().to_string();
        let (store, feed) = open_store(&settings, &health, &tasks).unwrap();
        let service = Service::start(settings, store, feed, &health, &doors, &tasks).await.unwrap();
        let serving_health = health.clone();
        tasks.spawn("room service", async move {
            serve(service, listener, serving_health).await.unwrap();
        });
        Part { address, health, doors, tasks }
    }

    /// Ends a room service and starts it again where it was, whether its Redis is there or not.
    pub(crate) async fn restart_room_service(&mut self, which: usize) {
        self.end_room_service(which).await;
        self.start_room_service_again(which).await;
    }

    /// Ends a room service, which can be started again.
    pub(crate) async fn end_room_service(&self, which: usize) {
        self.room_services[which].end().await;
    }

    /// Starts a room service that was ended again where it was.
    pub(crate) async fn start_room_service_again(&mut self, which: usize) {
        let address = self.room_services[which].address.clone();
        let listener = eventually("the port is free", async || TcpListener::bind(&address).await.ok()).await;
        self.room_services[which] = self.start_room_service(listener).await;
    }

    /// The first gateway.
    pub(crate) fn here(&self) -> &str {
        &self.gateways[0]
    }

    /// Another gateway, where there is one.
    pub(crate) fn there(&self) -> &str {
        self.gateways.last().unwrap()
    }

    /// The same chat, where members speak so.
    pub(crate) fn spoken_to(self, speech: Speech) -> Self {
        Self { speech, ..self }
    }

    /// The door by which a story goes in.
    pub(crate) fn door(&self) -> Door {
        self.doors().remove(0)
    }

    /// Another one, where there are two.
    pub(crate) fn other_door(&self) -> Door {
        self.doors().remove(self.gateways.len() - 1)
    }

    fn doors(&self) -> Vec<Door> {
        let room_services = self.room_services.iter().map(|part| &part.address);
        let addresses = match self.speech {
            Speech::Json | Speech::Protobuf => self.gateways.iter().collect(),
            Speech::Grpc => room_services.collect::<Vec<_>>(),
        };
        let door = |address: &String| Door { address: address.clone(), speech: self.speech };
        addresses.into_iter().map(door).collect()
    }

    pub(crate) async fn end(self) {
        for tasks in &self.gateway_tasks {
            assert!(tasks.finish(GRACE).await, "the gateway ends");
        }
        for part in &self.room_services {
            part.end().await;
        }
    }
}

fn attachments_flag(files: &TempDir) -> String {
    format!("--attachments={}", Place::Folder(files.path().to_owned()))
}

pub(crate) async fn start_gateway(flags: &[&str], upstream: Option<Upstream>, tasks: &Tasks) -> String {
    let flags = ["gateway", "--drain", "200ms", "--web-root", "/nonexistent"].iter().chain(flags);
    let settings = gateway::config::Settings::parse_from(flags);
    let upstream = upstream.unwrap_or_else(|| Upstream::from_settings(&settings));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (health, mine) = (Health::default(), tasks.clone());
    let watched = health.clone();
    tasks.spawn("gateway", async move {
        Gateway::serve(settings, upstream, listener, health, mine).await.unwrap();
    });
    // Before it has begun it says nothing; `Browser::connect` waits until it takes sessions.
    eventually("the gateway is ready", async || watched.check().ok()).await;
    address
}

pub(crate) fn room_service_settings(redis_url: Option<String>) -> room_service::config::Settings {
    let mut settings = room_service::config::Settings::parse_from([
        "room-service",
        "--leave-grace",
        "300ms",
        "--drain",
        "1s",
    ]);
    settings.redis_url = redis_url;
    settings.token_secret = Some("a secret of the tests".to_owned());
    settings.admin_token = Some(OPERATORS_TOKEN.to_owned());
    settings
}
