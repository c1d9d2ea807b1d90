//! What an operator sees of `parlor verify`: all is well with a chat that is well, and not behind something that is not.
#![allow(clippy::unwrap_used)]

use std::process::{Output, Stdio};

use futures_util::{SinkExt as _, StreamExt as _};
use proto::chat::v1::server_frame::Body as Heard;
use serde_json::Value;
use testkit::{Authority, Browser, Program, free_port};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    process::Command,
    task::JoinSet,
};
use tokio_tungstenite::{accept_async, connect_async, tungstenite::Message};

#[tokio::test]
async fn a_chat_that_is_well_is_found_to_be() {
    let parlor = Parlor::start().await;
    let output = verify(&["--rooms", "2", "--members", "3", &parlor.url()]).await;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let row: Vec<&str> = said.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(row[..5], ["verify-2", "60", "60", "5", "180/180"], "{said}");
    assert!(said.contains("nothing lost, doubled or out of order"), "{said}");
}

#[tokio::test]
async fn it_is_told_to_programs_as_json_and_says_goodbye() {
    let parlor = Parlor::start().await;
    let output = verify(&["--json", "--rooms", "1", "--members", "3", &parlor.url(), &parlor.url()]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["ok"], &told["faults"]), (&Value::Bool(true), &Value::Array(vec![])));
    assert_eq!((&told["rooms"][0]["room"], &told["rooms"][0]["acked"]), (&"verify-1".into(), &60.into()));
    assert!(told["rooms"][0]["latency_ms"]["p99"].is_f64(), "{told}");
    let (mut browser, _) = Browser::guest(&parlor.address).await;
    // Only the one is still here whose connection was lost, as long as the chat allows.
    if browser.join("verify-1", None).await.member_count > 2 {
        members(&mut browser, 2).await;
    }
}

#[tokio::test]
async fn a_chat_with_a_certificate_is_checked_by_whoever_trusts_its_authority() {
    let authority = Authority::of("localhost");
    let (cert, key) = authority.issue();
    let ca = authority.file().display().to_string();
    let (port, listen) = (free_port(), "127.0.0.1:0");
    let door = format!("127.0.0.1:{port}");
    let flags = [
        ["--gateway-listen", &door],
        ["--gateway-admin-listen", listen],
        ["--room-service-listen", listen],
        ["--room-service-admin-listen", listen],
        ["--gateway-tls-cert", &cert],
        ["--gateway-tls-key", &key],
        // That gateways from elsewhere need a certificate is nothing to the one inside.
        ["--room-service-tls-cert", &cert],
        ["--room-service-tls-key", &key],
        ["--room-service-client-ca", &ca],
    ];
    let _parlor = Program::start(env!("CARGO_BIN_EXE_parlor"), flags.as_flattened());
    let address = format!("localhost:{port}");
    Browser::connect_tls(&address, &authority).await.close().await;

    let url = format!("https://{address}");
    let output = verify(&["--ca", &ca, "--rooms", "1", &url]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let output = verify(&["--timeout", "1s", "--rooms", "1", &url]).await;
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let words = "its certificate comes from an authority that is not trusted here";
    assert!(text(&output).contains(words), "{}", text(&output));
    let output = verify(&["--ca", "/nonexistent.pem", &url]).await;
    assert_eq!(output.status.code(), Some(64), "{}", text(&output));
}

#[tokio::test]
async fn a_lost_message_is_a_fault() {
    let said = faults_behind(|message, n| if n == 5 { vec![] } else { vec![message] }).await;
    assert!(said.contains("acknowledged messages were not delivered"), "{said}");
    assert!(said.contains("numbers were skipped"), "{said}");
}

#[tokio::test]
async fn a_doubled_message_is_a_fault() {
    let said =
        faults_behind(|message, n| if n == 5 { vec![message.clone(), message] } else { vec![message] }).await;
    assert!(said.contains("messages were delivered twice"), "{said}");
    assert!(!said.contains("not delivered"), "{said}");
}

#[tokio::test]
async fn messages_in_another_order_are_a_fault() {
    let mut held = None;
    let said = faults_behind(move |message, n| match n {
        5 => {
            held = Some(message);
            vec![]
        }
        6 => vec![message, held.take().unwrap()],
        _ => vec![message],
    })
    .await;
    assert!(said.contains("messages came out of order"), "{said}");
    assert!(!said.contains("not delivered"), "{said}");
}

#[tokio::test]
async fn a_changed_message_is_a_fault() {
    let said = faults_behind(|mut message, n| {
        if n == 5 {
            message["message"]["text"] = "something else".into();
        }
        vec![message]
    })
    .await;
    assert!(said.contains("messages came with another text"), "{said}");
}

#[tokio::test]
async fn a_gateway_that_takes_nobody_right_now_is_asked_again() {
    let parlor = Parlor::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let busy = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    let gateway = format!("ws://{}/ws", parlor.address);
    tasks.spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let no = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n";
        socket.write_all(no).await.unwrap();
        meddle_with(listener, gateway, |message, _| vec![message]).await;
    });
    let output = verify(&["--members", "2", &parlor.url(), &busy]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[tokio::test]
async fn where_nobody_answers_is_one_line() {
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let output = verify(&["--timeout", "1s", &nowhere]).await;
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("parlor verify: no session at ws://127.0.0.1:"), "{said}");
}

#[tokio::test]
async fn whoever_asks_badly_is_told_all_of_it() {
    let output = verify(&["--rooms", "0", "--timeout", "soon", "ftp://chat.example"]).await;
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 3, "{said}");
    for start in ["--rooms: ", "--timeout: ", "[URLS]...: "] {
        assert!(said.lines().any(|line| line.starts_with(start)), "{start}: {said}");
    }
}

#[tokio::test]
async fn ctrl_c_ends_it_with_a_goodbye() {
    let parlor = Parlor::start().await;
    let (mut browser, _) = Browser::guest(&parlor.address).await;
    browser.join("verify-1", None).await;
    let verifying = command(&["--members", "2", "--messages", "10000", &parlor.url()]).spawn().unwrap();
    browser.message().await;
    let pid = verifying.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    let output = verifying.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "parlor verify: interrupted\n");
    members(&mut browser, 1).await;
}

/// Waits until the browser's room has as many members.
async fn members(browser: &mut Browser, count: u32) {
    let counted = browser.find(|event| match event {
        Heard::Presence(presence) => (presence.member_count == count).then_some(()),
        _ => None,
    });
    counted.await;
}

/// A chat in one process.
struct Parlor {
    address: String,
    _program: Program,
}

impl Parlor {
    async fn start() -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let flags = [
            ["--gateway-listen", &address],
            ["--gateway-admin-listen", "127.0.0.1:0"],
            ["--room-service-listen", "127.0.0.1:0"],
            ["--room-service-admin-listen", "127.0.0.1:0"],
            // Whoever is gone here has said goodbye.
            ["--room-service-leave-grace", "1h"],
        ];
        let program = Program::start(env!("CARGO_BIN_EXE_parlor"), flags.as_flattened());
        let parlor = Self { _program: program, address };
        // As soon as it takes sessions.
        Browser::guest(&parlor.address).await.0.close().await;
        parlor
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parlor"));
    command.arg("verify").args(words).env_clear().kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn verify(words: &[&str]) -> Output {
    command(words).output().await.unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What a verification says of a good chat behind something that does `meddle` with the messages of one session: it is
/// given each, and its number from 1 on, and says what comes instead.
async fn faults_behind(meddle: impl FnMut(Value, usize) -> Vec<Value> + Send + 'static) -> String {
    let parlor = Parlor::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let meddler = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(meddle_with(listener, format!("ws://{}/ws", parlor.address), meddle));
    let words = ["--rooms", "1", "--members", "2", &parlor.url(), &meddler];
    let output = verify(&words).await;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("FAULT verify-1: "), "{said}");
    said
}

/// The first session that comes is meddled with. The next, of the member who comes back, is not.
async fn meddle_with(
    listener: TcpListener,
    gateway: String,
    meddle: impl FnMut(Value, usize) -> Vec<Value> + Send + 'static,
) {
    let mut sessions = JoinSet::new();
    let (socket, _) = listener.accept().await.unwrap();
    sessions.spawn(carry(socket, gateway.clone(), meddle));
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        sessions.spawn(carry(socket, gateway.clone(), |message, _| vec![message]));
    }
}

async fn carry(socket: TcpStream, gateway: String, mut meddle: impl FnMut(Value, usize) -> Vec<Value>) {
    let (mut to_client, mut from_client) = accept_async(socket).await.unwrap().split();
    let (mut to_gateway, mut from_gateway) = connect_async(gateway).await.unwrap().0.split();
    let mut n_messages = 0;
    loop {
        tokio::select! {
            Some(Ok(frame)) = from_client.next() => to_gateway.send(frame).await.unwrap(),
            Some(Ok(frame)) = from_gateway.next() => {
                let Message::Text(text) = frame else { continue };
                let frame: Value = serde_json::from_str(&text).unwrap();
                let frames = if frame["message"].is_object() {
                    n_messages += 1;
                    meddle(frame, n_messages)
                } else {
                    vec![frame]
                };
                for frame in frames {
                    to_client.send(Message::text(frame.to_string())).await.unwrap();
                }
            }
            else => return,
        }
    }
}
