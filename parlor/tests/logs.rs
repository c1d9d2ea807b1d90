//! What must never be in a log, at its finest: what members say, their tokens, and where they are.
#![allow(clippy::unwrap_used)]

use proto::chat::v1::{HelloRequest, SendRequest, client_frame::Body as Ask};
use serde_json::Value;
use testkit::{Browser, Door, Program, RedisServer, Speech, eventually, free_port, http, http_ask, http_get};

/// Where browsers are, as the proxy in front says.
const ADDRESS: &str = "203.0.113.77";
const ROOM: &str = "lobby";

#[tokio::test]
async fn no_log_holds_what_is_said_by_any_door_or_a_token_or_an_address() {
    let redis = RedisServer::start().await;
    let (web, bots) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let mut parlor = Program::start(
        env!("CARGO_BIN_EXE_parlor"),
        &[
            &format!("--gateway-listen={web}"),
            &format!("--gateway-admin-listen=127.0.0.1:{}", free_port()),
            &format!("--room-service-listen={bots}"),
            &format!("--room-service-admin-listen=127.0.0.1:{}", free_port()),
            &format!("--room-service-redis-url={}", redis.url()),
            "--gateway-log=trace",
            "--gateway-log-format=json",
            "--gateway-trusted-hops=1",
            "--gateway-drain=100ms",
            "--room-service-drain=100ms",
        ],
    );
    eventually("it is ready", async || http_get(&web, "/readyz").await.filter(|(status, _)| *status == 200))
        .await;
    let mut secrets = vec![ADDRESS.to_owned()];

    for (n, (address, speech)) in
        [(&web, Speech::Json), (&web, Speech::Protobuf), (&bots, Speech::Grpc)].into_iter().enumerate()
    {
        let (mut browser, welcome) = Browser::guest(&Door { address: address.clone(), speech }).await;
        browser.join(ROOM, None).await;
        browser.send(ROOM, &format!("c{n}"), &format!("spoken-{n}")).await;
        assert_eq!(browser.message().await.text, format!("spoken-{n}"));
        // Too long, refused; and a token that is none.
        browser.ask(send(&format!("unsaid-{n}").repeat(2000))).await;
        let forged = HelloRequest { token: format!("forged-{n}"), ..HelloRequest::default() };
        browser.ask(Ask::Hello(forged)).await;
        secrets.extend([format!("spoken-{n}"), format!("unsaid-{n}"), format!("forged-{n}"), welcome.token]);
    }
    // No frame at all.
    let mut browser = Browser::connect(&web).await;
    browser.say(r#"{"id":1,"send":{"text":"unreadable-1""#).await;
    browser.reply_to(1).await;

    let old = "/socket.io/?EIO=4&transport=polling";
    let (_, opened) = http_get(&web, old).await.unwrap();
    let opened: Value = serde_json::from_str(&opened[opened.find('{').unwrap()..]).unwrap();
    let old = format!("{old}&sid={}", opened["sid"].as_str().unwrap());
    for (said, heard) in [("40", "message_history"), (r#"42["send","spoken-4"]"#, "spoken-4")] {
        http_ask(&web, "POST", &old, "", said).await.unwrap();
        eventually(heard, async || {
            let (_, packets) = http_get(&web, &old).await?;
            packets.contains(heard).then_some(())
        })
        .await;
    }
    secrets.push("spoken-4".to_owned());

    let from = format!("x-forwarded-for: {ADDRESS}\r\n");
    let token = http::post(&web, "/v1/tokens", &from, "").await.body["token"].as_str().unwrap().to_owned();
    let headers = format!("{from}authorization: Bearer {token}\r\n");
    let path = format!("/v1/rooms/{ROOM}/messages");
    for (body, status) in [(r#"{"text":"spoken-3"}"#, 200), (r#"{"text":"unreadable-2""#, 400)] {
        assert_eq!(http::post(&web, &path, &headers, body).await.status, status);
    }
    let forged = format!("{from}authorization: Bearer forged-3\r\n");
    assert_eq!(http::post(&web, &path, &forged, r#"{"text":"unsaid-3"}"#).await.status, 401);
    secrets.extend(["unreadable-", "spoken-3", "unsaid-3", "forged-3"].map(str::to_owned));
    secrets.push(token);

    parlor.terminate().await;
    assert_eq!(parlor.exit_code().await, Some(0));
    let log = parlor.log();
    for (n, line) in log.lines().enumerate().filter(|(_, line)| line.starts_with('{')) {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "line {n} is no JSON: {line}");
    }
    assert!(log.contains(r#""level":"TRACE""#), "it is at its finest");
    for secret in &secrets {
        let told = log.lines().find(|line| line.contains(secret.as_str()));
        assert!(told.is_none(), "{secret}: {}", told.unwrap());
    }
}

fn send(text: &str) -> Ask {
    Ask::Send(SendRequest::text(ROOM, "too-long", text))
}
