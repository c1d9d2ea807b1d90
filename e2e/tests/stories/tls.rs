//! Links and bots by TLS: who trusts whom, what is said when they do not, and certificates that are replaced meanwhile.

use std::{fs, time::Duration};

use gateway::{Gateway, Upstream};
use proto::chat::v1::{
    ClientFrame, HelloRequest, chat_service_client::ChatServiceClient, client_frame::Body as Ask,
    server_frame::Body as Heard,
};
use room_service::{Service, open_store, serve};
use runtime::{Health, Tasks};
use testkit::{Authority, Browser, PATIENCE, Proxy, eventually, free_port};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};

use crate::world::room_service_settings;

const GRACE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_opened_by_two_who_show_each_other_certificates() {
    let (rooms, gateways) = (Authority::of("localhost"), Authority::of("gateway"));
    let room_service = RoomService::start(rooms.issue(), Some(&gateways)).await;
    let gateway =
        Running::start(&room_service.url("localhost"), &trusting(&rooms, Some(gateways.issue()))).await;
    gateway.until_ready().await;
    let (mut ada, _) = Browser::guest(&gateway.address).await;
    ada.join("lobby", None).await;
    assert_eq!(ada.send("lobby", "c1", "over TLS").await.seq, 1);
    assert_eq!(ada.message().await.text, "over TLS");

    // A bot has no certificate, and needs none.
    assert_eq!(bot_is(&room_service, &rooms).await, "bot");
    gateway.end().await;
    room_service.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_the_urls_may_be_expected() {
    let rooms = Authority::of("rooms.internal");
    let room_service = RoomService::start(rooms.issue(), None).await;
    let mut flags = trusting(&rooms, None);
    flags.extend(["--room-service-name".to_owned(), "rooms.internal".to_owned()]);
    let gateway = Running::start(&room_service.url("127.0.0.1"), &flags).await;
    gateway.until_ready().await;
    gateway.end().await;
    room_service.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_trusted_gets_no_link_and_readyz_says_why() {
    let (rooms, gateways) = (Authority::of("localhost"), Authority::of("gateway"));
    let (stranger, another) = (Authority::of("localhost"), Authority::of("localhost"));
    let strict = RoomService::start(rooms.issue(), Some(&gateways)).await;
    let expired = RoomService::start(rooms.issue_expired(), None).await;
    let renamed = RoomService::start(another.issue(), None).await;
    let plain = RoomService::plain().await;
    let us = || Some(gateways.issue());
    for (url, flags, why) in [
        (
            strict.url("localhost"),
            trusting(&stranger, us()),
            "its certificate comes from an authority that is not trusted",
        ),
        (
            renamed.url("localhost"),
            trusting(&rooms, None),
            "its certificate comes from an authority that is not trusted",
        ),
        (strict.url("127.0.0.1"), trusting(&rooms, us()), "its certificate is for another name"),
        (expired.url("localhost"), trusting(&rooms, None), "its certificate has expired"),
        (strict.url("localhost"), trusting(&rooms, None), "a Link needs a client certificate here"),
        (
            strict.url("localhost"),
            trusting(&rooms, Some(stranger.issue())),
            "our certificate comes from an authority that it does not trust",
        ),
        (
            strict.url("localhost"),
            trusting(&rooms, Some(gateways.issue_expired())),
            "our certificate has expired",
        ),
        (strict.url("localhost").replace("https", "http"), vec![], "this port speaks TLS: use https://"),
        (plain.url("localhost"), trusting(&rooms, None), "it does not speak TLS"),
    ] {
        let gateway = Running::start(&url, &flags).await;
        let reason =
            eventually(why, async || gateway.health.check().unwrap_err().contains(why).then_some(()));
        reason.await;
        gateway.end().await;
    }
    for room_service in [strict, expired, renamed, plain] {
        room_service.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_both_ends_are_replaced_and_the_link_stays() {
    let (rooms, gateways) = (Authority::of("localhost"), Authority::of("gateway"));
    let ((cert, key), (client_cert, client_key)) = (rooms.issue(), gateways.issue());
    let room_service = RoomService::start((cert.clone(), key.clone()), Some(&gateways)).await;
    let network = Proxy::start(&room_service.address).await;
    let url = format!("https://localhost:{}", network.address().rsplit_once(':').unwrap().1);
    let flags = trusting(&rooms, Some((client_cert.clone(), client_key.clone())));
    let gateway = Running::start(&url, &flags).await;
    gateway.until_ready().await;
    let (mut ada, _) = Browser::guest(&gateway.address).await;
    ada.join("lobby", None).await;

    // Everything is of other authorities from now on.
    let (new_rooms, new_gateways) = (Authority::of("localhost"), Authority::of("gateway"));
    for (old, new) in [
        (rooms.file().display().to_string(), new_rooms.file().display().to_string()),
        (gateways.file().display().to_string(), new_gateways.file().display().to_string()),
    ] {
        fs::copy(new, old).unwrap();
    }
    for ((old_cert, old_key), (new_cert, new_key)) in
        [((cert, key), new_rooms.issue()), ((client_cert, client_key), new_gateways.issue())]
    {
        fs::copy(new_key, old_key).unwrap();
        fs::copy(new_cert, old_cert).unwrap();
    }
    eventually("the room service shows the new one", async || {
        new_rooms.connect(&room_service.name).await.ok()
    })
    .await;
    assert_eq!(ada.send("lobby", "c1", "the old Link stays").await.seq, 1);
    network.cut();
    assert_eq!(ada.send("lobby", "c2", "and the next is by the new ones").await.seq, 2);
    gateway.end().await;
    room_service.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_connects_and_says_nothing_is_cut_with_and_without_tls() {
    let rooms = Authority::of("localhost");
    for room_service in [RoomService::start(rooms.issue(), None).await, RoomService::plain().await] {
        let mut silent = tokio::net::TcpStream::connect(&room_service.address).await.unwrap();
        let end = timeout(PATIENCE, tokio::io::AsyncReadExt::read(&mut silent, &mut [0])).await.unwrap();
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        room_service.end().await;
    }
}

/// Who a bot is that comes by TLS and shows no certificate.
async fn bot_is(room_service: &RoomService, rooms: &Authority) -> String {
    let ca = Certificate::from_pem(fs::read(rooms.file()).unwrap());
    let endpoint = Channel::from_shared(room_service.url("localhost")).unwrap();
    let endpoint = endpoint.tls_config(ClientTlsConfig::new().ca_certificate(ca)).unwrap();
    let mut client = ChatServiceClient::new(endpoint.connect().await.unwrap());
    let (say, said) = mpsc::channel(1);
    say.send(ClientFrame { id: 1, body: Some(Ask::Hello(HelloRequest::default())) }).await.unwrap();
    let mut heard = client.connect(ReceiverStream::new(said)).await.unwrap().into_inner();
    let frame = timeout(PATIENCE, heard.message()).await.unwrap().unwrap().unwrap();
    let Some(Heard::Welcome(welcome)) = frame.body else { panic!("welcome") };
    welcome.member.unwrap().kind
}

/// The flags of a gateway that trusts room services of `rooms`, and shows this certificate.
fn trusting(rooms: &Authority, shown: Option<(String, String)>) -> Vec<String> {
    let mut flags = vec!["--room-service-ca".to_owned(), rooms.file().display().to_string()];
    if let Some((cert, key)) = shown {
        flags.extend(["--client-cert".to_owned(), cert, "--client-key".to_owned(), key]);
    }
    flags
}

/// A room service with a store in memory.
struct RoomService {
    address: String,
    /// The same by name.
    name: String,
    doors: Tasks,
    tasks: Tasks,
}

impl RoomService {
    async fn start((cert, key): (String, String), gateways: Option<&Authority>) -> Self {
        let mut flags = vec!["--tls-cert".to_owned(), cert, "--tls-key".to_owned(), key];
        if let Some(gateways) = gateways {
            flags.extend(["--client-ca".to_owned(), gateways.file().display().to_string()]);
        }
        Self::with(&flags).await
    }

    async fn plain() -> Self {
        Self::with(&[]).await
    }

    async fn with(flags: &[String]) -> Self {
        let mut settings = room_service_settings(None);
        let common = ["room-service", "--tls-reload", "20ms", "--handshake-timeout", "1s"].map(str::to_owned);
        clap::Parser::update_from(&mut settings, common.iter().chain(flags));
        let (health, doors, tasks) = (Health::default(), Tasks::default(), Tasks::default());
        let (store, feed) = open_store(&settings, &health, &tasks).unwrap();
        let service = Service::start(settings, store, feed, &health, &doors, &tasks).await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", free_port())).await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn("room service", async move { serve(service, listener, health).await.unwrap() });
        let (address, name) = (address.to_string(), format!("localhost:{}", address.port()));
        Self { address, name, doors, tasks }
    }

    fn url(&self, host: &str) -> String {
        let (_, port) = self.address.rsplit_once(':').unwrap();
        format!("https://{host}:{port}")
    }

    async fn end(self) {
        assert!(self.doors.finish(GRACE).await && self.tasks.finish(GRACE).await, "the room service ends");
    }
}

/// A gateway, whether it has a Link or not.
struct Running {
    address: String,
    health: Health,
    tasks: Tasks,
}

impl Running {
    async fn start(room_service: &str, more: &[String]) -> Self {
        let common = [
            "gateway",
            "--drain",
            "200ms",
            "--web-root",
            "/nonexistent",
            "--tls-reload",
            "20ms",
            "--link-grace",
            "100ms",
            "--room-service",
            room_service,
        ];
        let flags = common.map(str::to_owned);
        let settings = <gateway::config::Settings as clap::Parser>::parse_from(flags.iter().chain(more));
        let upstream = Upstream::from_settings(&settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (health, tasks) = (Health::default(), Tasks::default());
        let (its_health, its_tasks) = (health.clone(), tasks.clone());
        // Before it has begun it says nothing.
        health.unready("link", "it has not begun");
        tasks.spawn("gateway", async move {
            Gateway::serve(settings, upstream, listener, its_health, its_tasks).await.unwrap();
        });
        Self { address, health, tasks }
    }

    async fn until_ready(&self) {
        eventually("the gateway is ready", async || self.health.check().ok()).await;
    }

    async fn end(self) {
        assert!(self.tasks.finish(GRACE).await, "the gateway ends");
    }
}
