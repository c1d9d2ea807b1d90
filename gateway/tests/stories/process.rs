//! The gateway as a process: how it starts, and how it ends.

use std::{
    net::TcpListener,
    process::{Command, Output, Stdio},
};

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
    let mut command = gateway(&["--heartbeat", "0s", "--room-service", "https://a:1"]);
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
    assert_eq!(version.stdout, b"gateway 0.1.0\n");
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
