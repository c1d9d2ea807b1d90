//! `parlor token`, and a Parlor that lets in whom it signs in.
#![allow(clippy::unwrap_used)]

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use proto::chat::v1::{HelloRequest, JoinRequest, client_frame::Body as Ask, server_frame::Body as Heard};
use testkit::{Browser, Program, free_port};

fn token(flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_parlor")).arg("token").args(flags).env_clear().output().unwrap()
}

fn secret_file(name: &str, secret: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, secret).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_signs_in_and_opens_its_rooms() {
    let file = secret_file("token-secret", "a secret that is long enough for HS256\n");
    let (address, issuer) = (format!("127.0.0.1:{}", free_port()), "https://dev.example");
    let ports: Vec<String> = (0..3).map(|_| format!("127.0.0.1:{}", free_port())).collect();
    let _parlor = Program::start(
        env!("CARGO_BIN_EXE_parlor"),
        &[
            "--gateway-listen",
            &address,
            "--gateway-admin-listen",
            &ports[0],
            "--room-service-listen",
            &ports[1],
            "--room-service-admin-listen",
            &ports[2],
            "--room-service-auth=jwt",
            "--room-service-jwt-algorithms=HS256",
            "--room-service-jwt-key-file",
            &file,
            "--room-service-jwt-issuer",
            issuer,
            "--room-service-jwt-audience=parlor",
        ],
    );
    let own = [
        "--secret-file",
        &file,
        "--sub",
        "alice",
        "--name",
        "Alice",
        "--rooms",
        "lobby,ops.*",
        "--read",
        "news",
    ];
    let mut flags = own.to_vec();
    flags.extend(["--issuer", issuer, "--audience", "parlor"]);
    let printed = token(&flags);
    assert!(printed.status.success(), "{printed:?}");
    let alices = String::from_utf8(printed.stdout).unwrap().trim().to_owned();

    let mut alice = Browser::connect(&address).await;
    let answer = alice.ask(Ask::Hello(HelloRequest::default())).await;
    assert!(
        matches!(&answer, Heard::Error(error) if error.code == "UNAUTHENTICATED"),
        "no guests: {answer:?}"
    );
    let elsewhere = String::from_utf8(token(&own).stdout).unwrap().trim().to_owned();
    let answer = alice.ask(Ask::Hello(HelloRequest { token: elsewhere, ..HelloRequest::default() })).await;
    assert!(
        matches!(&answer, Heard::Error(error) if error.message.contains("issuer") || error.message.contains("iss")),
        "{answer:?}"
    );
    let member = alice.hello(&alices).await.member.unwrap();
    assert_eq!((member.id.as_str(), member.name.as_str(), member.kind.as_str()), ("alice", "Alice", "user"));
    for room in ["lobby", "ops.night", "news"] {
        alice.join(room, None).await;
    }
    let answer = alice.ask(Ask::Join(JoinRequest { room: "secret".into(), since: None })).await;
    assert!(matches!(&answer, Heard::Error(error) if error.code == "FORBIDDEN"), "{answer:?}");
}

#[test]
fn what_it_is_asked_badly_is_named() {
    let short = secret_file("short-secret", "short");
    let public = secret_file("public-key", testkit::SigningKey::rsa("k").public_pem.as_str());
    for (flags, words) in [
        (vec!["--sub", "alice"], "--secret-file"),
        (vec!["--sub", "alice", "--secret-file", "/nonexistent"], "cannot be read"),
        (vec!["--sub", "alice", "--secret-file", &short], "at least 32"),
        (vec!["--sub", "alice", "--secret-file", &public], "HS256 needs a secret"),
        (vec!["--sub", "alice", "--secret-file", &short, "--rooms", "No Such Name"], "--rooms"),
    ] {
        let output = token(&flags);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{told}");
        assert!(told.contains(words), "{told}");
    }
}
