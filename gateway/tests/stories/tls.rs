//! The gateway as a process that speaks TLS: what browsers see of it, and what operators do to it.

use std::{
    fs,
    process::{Command, Stdio},
};

use proto::{
    chat::v1::{RefreshRequest, Refreshed, Welcome, client_frame::Body as Ask, server_frame::Body},
    edge::v1::{Opened, link_request::Body as Up, link_response::Body as Down},
};
use tempfile::TempDir;
use testkit::{Authority, Browser, PATIENCE, Program, eventually, free_port, http_get};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::world::{Link, RoomService, soon};

#[tokio::test]
async fn a_browser_is_served_over_wss_and_is_told_to_stay_with_tls() {
    let authority = Authority::of("localhost");
    let mut world = World::start(authority.issue(), &[]).await;
    let mut browser = world.browser(&authority).await;
    world.refresh(&mut browser).await;

    let answer = authority.https_get(&world.door, "/avatars/Ada.svg").await.unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(answer.contains("\r\nstrict-transport-security: max-age=31536000\r\n"), "{answer}");
}

#[tokio::test]
async fn a_certificate_of_a_stranger_is_none_that_a_browser_takes() {
    let world = World::start(Authority::of("localhost").issue(), &[]).await;
    let error = Authority::of("localhost").connect(&world.door).await.unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn whoever_speaks_http_to_it_is_told_to_use_tls() {
    let authority = Authority::of("localhost");
    let world = World::start(authority.issue(), &[]).await;
    let (status, words) = http_get(&world.door, "/").await.unwrap();
    assert_eq!((status, words.as_str()), (400, "This port speaks TLS: use https:// or wss://.\n"));
    // A request that does not end is answered and cut, like any that is not read.
    let mut endless = TcpStream::connect(&world.door).await.unwrap();
    endless.write_all(&[b'x'; 4096]).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, endless.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn whoever_takes_too_long_to_shake_hands_is_cut() {
    let authority = Authority::of("localhost");
    let flags = ["--tls-handshake-timeout", "300ms", "--max-tls-handshakes", "1"];
    let world = World::start(authority.issue(), &flags).await;
    let silent = TcpStream::connect(&world.door).await.unwrap();
    let mut halfway = TcpStream::connect(&world.door).await.unwrap();
    // A handshake of 256 bytes, of which none comes.
    halfway.write_all(&[22, 3, 1, 1, 0]).await.unwrap();
    // Its handshake is done, and then it says nothing.
    let shaken = authority.connect(&world.door).await.unwrap().into_inner().0;
    for mut socket in [silent, halfway, shaken] {
        let mut rest = Vec::new();
        // An end, or a reset where something of ours was not read.
        let _ = timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("it is cut");
    }
    // They had one place among them, one after the other, and it is free again.
    assert!(authority.https_get(&world.door, "/livez").await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_one_that_does_not_do_is_not() {
    let (old, new) = (Authority::of("localhost"), Authority::of("localhost"));
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let place = |(cert, key): (String, String)| {
        fs::copy(key, file("key.pem")).unwrap();
        fs::copy(cert, file("cert.pem")).unwrap();
    };
    place(old.issue());
    let mut world = World::start((file("cert.pem"), file("key.pem")), &["--tls-reload", "20ms"]).await;
    let mut browser = world.browser(&old).await;
    let expires = world.expiry().await;
    assert!(expires > 4e9, "rcgen's certificates are for ever: {expires}");

    fs::write(file("cert.pem"), "nothing that is a certificate").unwrap();
    let kept = "the certificate stays as it was";
    eventually("the log says that they do not do", async || world.gateway.log().contains(kept).then_some(()))
        .await;
    place(old.issue_expired());
    let too_old = "the certificate has expired";
    eventually("nor this", async || world.gateway.log().contains(too_old).then_some(())).await;
    assert!(old.https_get(&world.door, "/livez").await.is_some(), "the old one is still shown");
    assert!((world.expiry().await - expires).abs() < 1.0);

    place(new.issue());
    eventually("the new one is shown", async || new.https_get(&world.door, "/livez").await).await;
    assert!(old.connect(&world.door).await.is_err(), "and the old one no more");
    world.refresh(&mut browser).await;
    let log = world.gateway.log();
    assert_eq!(
        log.matches("there is no certificate in it").count(),
        1,
        "once for each state of the files: {log}"
    );
}

#[test]
fn files_that_do_not_do_end_the_start_with_a_line_for_each() {
    let authority = Authority::of("localhost");
    let ((cert, key), (other_cert, other_key)) = (authority.issue(), authority.issue());
    let nothing = "/nonexistent.pem";
    for (flags, lines) in [
        (&["--tls-cert", &cert][..], &["PARLOR_GATEWAY_TLS_KEY: it is needed too"][..]),
        (&["--tls-key", &key], &["PARLOR_GATEWAY_TLS_CERT: it is needed too"]),
        (&["--tls-cert", nothing, "--tls-key", &key], &["PARLOR_GATEWAY_TLS_CERT: /nonexistent.pem: "]),
        (&["--tls-cert", &key, "--tls-key", &key], &["there is no certificate in it"]),
        (&["--tls-cert", &cert, "--tls-key", &cert], &["PARLOR_GATEWAY_TLS_KEY: "]),
        (
            &["--tls-cert", &cert, "--tls-key", &other_key],
            &["not with the certificate of PARLOR_GATEWAY_TLS_CERT"],
        ),
        (
            &["--room-service", "https://a:1", "--room-service-ca", nothing, "--tls-cert", &other_cert],
            &[
                "PARLOR_GATEWAY_TLS_KEY: it is needed too",
                "PARLOR_GATEWAY_ROOM_SERVICE_CA: /nonexistent.pem: ",
            ],
        ),
        (
            &["--room-service-ca", &cert, "--room-service-name", "rooms"],
            &[
                "PARLOR_GATEWAY_ROOM_SERVICE_CA: it is for TLS",
                "PARLOR_GATEWAY_ROOM_SERVICE_NAME: it is for TLS",
            ],
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        let output = command.args(flags).env_clear().stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{flags:?}: {said}");
        assert_eq!(said.lines().count(), lines.len(), "{flags:?}: {said}");
        assert!(lines.iter().all(|line| said.contains(line)), "{flags:?}: {said}");
    }
}

/// A gateway as a process, by TLS; and the Link to it.
struct World {
    gateway: Program,
    door: String,
    admin: String,
    link: Link,
}

impl World {
    async fn start((cert, key): (String, String), flags: &[&str]) -> Self {
        let (upstream, mut links) = RoomService::over_tcp().await;
        let upstream = format!("http://{upstream}");
        let (door, admin) = (format!("localhost:{}", free_port()), format!("127.0.0.1:{}", free_port()));
        let listen = door.replace("localhost", "127.0.0.1");
        let own = ["--listen", &listen, "--admin-listen", &admin, "--room-service", &upstream];
        let tls = ["--tls-cert", &cert, "--tls-key", &key];
        let flags = [&own[..], &tls[..], flags].concat();
        let gateway = Program::start(env!("CARGO_BIN_EXE_gateway"), &flags);
        let link = soon("Link", links.recv()).await.unwrap();
        link.say(Down::Opened(Opened::default())).await;
        eventually("it is ready", async || {
            http_get(&admin, "/readyz").await.filter(|(status, _)| *status == 200)
        })
        .await;
        Self { gateway, door, admin, link }
    }

    /// A browser that is welcome.
    async fn browser(&mut self, authority: &Authority) -> Browser {
        let mut browser = Browser::connect_tls(&self.door, authority).await;
        let welcome = answer(&mut self.link, Body::Welcome(Welcome::default()));
        tokio::join!(browser.hello(""), welcome);
        browser
    }

    /// A frame goes up, and its reply comes down.
    async fn refresh(&mut self, browser: &mut Browser) {
        let replied = answer(&mut self.link, Body::Refreshed(Refreshed::default()));
        let (heard, ()) = tokio::join!(browser.ask(Ask::Refresh(RefreshRequest::default())), replied);
        assert!(matches!(heard, Body::Refreshed(_)), "{heard:?}");
    }

    /// When the certificate expires, as its metric tells.
    async fn expiry(&self) -> f64 {
        let (_, metrics) = http_get(&self.admin, "/metrics").await.unwrap();
        let name = r#"parlor_tls_certificate_expires_timestamp_seconds{setting="PARLOR_GATEWAY_TLS_CERT"} "#;
        metrics.lines().find_map(|line| line.strip_prefix(name)).expect("it is there").parse().unwrap()
    }
}

/// Answers the next frame that comes up.
async fn answer(link: &mut Link, body: Body) {
    loop {
        if let Up::Frame(frame) = link.hear().await {
            return link.reply(frame.session, frame.frame.unwrap().id, body).await;
        }
    }
}
