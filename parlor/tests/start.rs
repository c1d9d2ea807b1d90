//! What whoever starts Parlor sees when it cannot start: one clear line for each reason. And how it ends.
#![allow(clippy::unwrap_used)]

use std::{
    net::TcpListener,
    process::{Command, Output},
};

use proto::chat::v1::server_frame::Body as Heard;
use testkit::{Browser, Program, free_port, http_get};

fn parlor(flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_parlor")).args(flags).env_clear().output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8(output.stderr.clone()).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn every_bad_setting_is_named_in_a_line_of_its_own_and_the_exit_code_is_64() {
    let output = parlor(&[
        "--gateway-listen",
        "nowhere",
        "--gateway-outbox-bytes=many",
        "--room-service-leave-grace",
        "0s",
        "--room-service-redis-url",
        "http://user:hunter2@host",
    ]);
    assert_eq!(output.status.code(), Some(64));
    let lines = lines(&output);
    assert_eq!(lines.len(), 4, "{lines:?}");
    for setting in [
        "PARLOR_GATEWAY_LISTEN",
        "PARLOR_GATEWAY_OUTBOX_BYTES",
        "PARLOR_ROOM_SERVICE_LEAVE_GRACE",
        "PARLOR_ROOM_SERVICE_REDIS_URL",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(setting)), "{setting}: {lines:?}");
    }
    assert!(!lines.concat().contains("hunter2"), "a password is not repeated: {lines:?}");
}

#[test]
fn settings_that_do_not_go_together_are_named_and_the_exit_code_is_64() {
    let output =
        parlor(&["--room-service-auth=guest,jwt", "--room-service-jwt-jwks-url=https://id.example/jwks"]);
    assert_eq!(output.status.code(), Some(64));
    let lines = lines(&output);
    assert_eq!(lines.len(), 2, "{lines:?}");
    for setting in ["PARLOR_ROOM_SERVICE_JWT_ISSUER", "PARLOR_ROOM_SERVICE_JWT_AUDIENCE"] {
        assert!(lines.iter().any(|line| line.starts_with(setting)), "{setting}: {lines:?}");
    }
}

#[test]
fn an_unknown_flag_is_named() {
    let output = parlor(&["--sugar"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(lines(&output)[0].contains("--sugar"));
}

#[test]
fn a_port_in_use_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = parlor(&["--gateway-listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let lines = lines(&output);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("PARLOR_GATEWAY_LISTEN") && lines[0].contains(&address), "{lines:?}");
}

#[test]
fn help_names_every_setting_with_its_variable() {
    let help = String::from_utf8(parlor(&["--help"]).stdout).unwrap();
    for name in [
        "parlor verify",
        "--gateway-web-root",
        "PARLOR_GATEWAY_WEB_ROOT",
        "--room-service-redis-url",
        "PARLOR_ROOM_SERVICE_REDIS_URL",
    ] {
        assert!(help.contains(name), "{name}");
    }
}

#[tokio::test]
async fn the_first_signal_drains_and_the_second_ends_it_at_once() {
    let addresses = addresses();
    let [door, admin, ..] = &addresses;
    let flags = [flags(&addresses).as_slice(), &["--gateway-drain", "10m"]].concat();
    let mut parlor = Program::start(env!("CARGO_BIN_EXE_parlor"), &flags);
    let (mut ada, _) = Browser::guest(door).await;
    ada.join("lobby", None).await;

    parlor.terminate().await;
    ada.find(|event| matches!(event, Heard::Move(_)).then_some(())).await;
    let (status, words) = http_get(admin, "/readyz").await.unwrap();
    assert_eq!((status, words.contains("draining")), (503, true), "{words}");
    let (status, words) = http_get(door, "/ws").await.unwrap();
    assert_eq!((status, words.contains("going away")), (503, true), "nobody new is let in: {words}");
    assert_eq!(ada.send("lobby", "c", "who is here is still served").await.seq, 1);
    assert!(parlor.runs());

    parlor.terminate().await;
    assert_eq!(parlor.exit_code().await, Some(130));
}

#[tokio::test]
async fn healthcheck_says_by_its_exit_code_whether_a_message_would_be_heard() {
    let addresses = addresses();
    let flags = flags(&addresses);
    let healthcheck = || parlor(&[&["healthcheck"], flags.as_slice()].concat());
    let nobody = healthcheck();
    assert_eq!(nobody.status.code(), Some(1));
    let admin = &addresses[1];
    assert!(lines(&nobody)[0].starts_with(&format!("nobody answers at {admin}")), "{:?}", lines(&nobody));

    let _parlor = Program::start(env!("CARGO_BIN_EXE_parlor"), &flags);
    testkit::eventually("it is ready", async || healthcheck().status.success().then_some(())).await;
}

#[test]
fn version_says_what_was_built() {
    let version = String::from_utf8(parlor(&["--version"]).stdout).unwrap();
    assert!(version.starts_with(concat!("parlor ", env!("CARGO_PKG_VERSION"), " (")), "{version}");
}

/// Free ones for the gateway's door and admin, and the room service's.
fn addresses() -> [String; 4] {
    std::array::from_fn(|_| format!("127.0.0.1:{}", free_port()))
}

fn flags([door, admin, bots, bots_admin]: &[String; 4]) -> [&str; 8] {
    [
        "--gateway-listen",
        door,
        "--gateway-admin-listen",
        admin,
        "--room-service-listen",
        bots,
        "--room-service-admin-listen",
        bots_admin,
    ]
}
