//! The gateway as a process: how it starts, and how it ends.

use std::{
    net::TcpListener,
    process::{Command, Output, Stdio},
};

use proto::{
    chat::v1::{Welcome, server_frame::Body},
    edge::v1::{Opened, link_request::Body as Up, link_response::Body as Down},
};
use testkit::{Browser, Program, free_port, http_get};

use crate::world::{RoomService, soon};

fn gateway(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.env_clear().args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn every_bad_setting_is_named_at_once() {
    let mut command = gateway(&["--heartbeat", "0s", "--room-service", "ftp://a:1"]);
    let output = command.env("PARLOR_GATEWAY_ALLOWED_ORIGINS", "chat.example").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = said(&output);
    for name in ["PARLOR_GATEWAY_HEARTBEAT", "PARLOR_GATEWAY_ROOM_SERVICE", "PARLOR_GATEWAY_ALLOWED_ORIGINS"]
    {
        assert_eq!(said.matches(name).count(), 1, "{said}");
    }
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn it_says_its_version_and_every_setting() {
    let version = gateway(&["--version"]).output().unwrap();
    assert!(version.status.success());
    assert!(version.stdout.starts_with(b"gateway 0.1.0 ("), "with the revision: {version:?}");
    let help = String::from_utf8(gateway(&["--help"]).output().unwrap().stdout).unwrap();
    for name in ["PARLOR_GATEWAY_LISTEN", "PARLOR_GATEWAY_OUTBOX_BYTES", "PARLOR_GATEWAY_LOG"] {
        assert!(help.contains(name), "{name}");
    }
}

#[test]
fn a_port_that_is_taken_ends_it_with_one_line_that_names_the_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = gateway(&["--listen", &address, "--admin-listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(said.starts_with("gateway: PARLOR_GATEWAY_LISTEN: cannot listen on "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn sigterm_ends_it_with_success() {
    let arguments =
        ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--room-service", "http://127.0.0.1:9"];
    let mut process = gateway(&arguments).spawn().unwrap();
    // It has come as far as saying so.
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(process.stderr.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains("browsers are served")));
    let pid = process.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    assert!(process.wait().unwrap().success());
}

#[tokio::test]
async fn the_first_signal_drains_and_the_second_ends_it_at_once() {
    let (upstream, mut links) = RoomService::over_tcp().await;
    let upstream = format!("http://{upstream}");
    let (door, admin) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let flags = ["--listen", &door, "--admin-listen", &admin, "--room-service", &upstream, "--drain", "10m"];
    let mut gateway = Program::start(env!("CARGO_BIN_EXE_gateway"), &flags);
    let mut link = soon("Link", links.recv()).await.unwrap();
    link.say(Down::Opened(Opened::default())).await;
    let mut browser = Browser::connect(&door).await;
    let welcome = async {
        loop {
            if let Up::Frame(hello) = link.hear().await {
                link.reply(hello.session, hello.frame.unwrap().id, Body::Welcome(Welcome::default())).await;
                return;
            }
        }
    };
    tokio::join!(browser.hello(""), welcome);

    gateway.terminate().await;
    let told = browser.find(|event| matches!(event, Body::Move(_)).then_some(()));
    soon("word of the move", told).await;
    let (status, words) = http_get(&admin, "/readyz").await.unwrap();
    assert_eq!((status, words.contains("draining")), (503, true), "{words}");
    let (status, words) = http_get(&door, "/ws").await.unwrap();
    assert_eq!((status, words.contains("going away")), (503, true), "nobody new is let in: {words}");
    browser.say(r#"{"id":9,"refresh":{}}"#).await;
    link.frame().await;
    assert!(gateway.runs(), "who is here is still served");

    gateway.terminate().await;
    assert_eq!(gateway.exit_code().await, Some(130));
}
