//! Programs without a WebSocket ask over HTTP.

use std::time::Duration;

use serde_json::json;
use testkit::{eventually, http};
use tokio::io::AsyncWriteExt as _;

use crate::world::World;

const ADA: &str = "authorization: Bearer ada\r\n";
const LOBBY: &str = "/v1/rooms/lobby/messages";

#[tokio::test]
async fn a_request_is_a_call_and_its_answer_is_the_reply() {
    let (world, _link) = World::ready(|_| {}).await;
    let door = world.address.to_string();
    let said = http::post(&door, LOBBY, ADA, r#"{"text":"hi","client_id":"c1","mood":"good"}"#).await;
    assert_eq!((said.status, &said.body["text"], &said.body["client_id"]), (200, &json!("hi"), &json!("c1")));
    assert_eq!(said.header("cache-control"), Some("no-store"));
    let page = http::ask(&door, &format!("GET {LOBBY}?before=7&limit=3"), ADA).await;
    assert_eq!((page.status, &page.body["epoch"]), (200, &json!("7/3")), "{page:?}");
    let page = http::ask(&door, "GET /v1/rooms/lobby/members?after=m_1&limit=2", ADA).await;
    assert_eq!(page.body, json!({ "room": "lobby/m_1", "member_count": 2 }));
    let token = http::ask(&door, "POST /v1/tokens", "").await;
    assert_eq!(
        (&token.body["token"], &token.body["heartbeat_seconds"]),
        (&json!("of "), &json!(25)),
        "a guest's"
    );
    assert_eq!(http::ask(&door, "POST /v1/tokens", ADA).await.body["token"], "of adaada");
}

#[tokio::test]
async fn the_usual_header_names_a_message_too() {
    let (world, _link) = World::ready(|_| {}).await;
    let door = world.address.to_string();
    let say = async |key: &str, body: &str| {
        let key = if key.is_empty() { String::new() } else { format!("idempotency-key: {key}\r\n") };
        http::post(&door, LOBBY, &format!("{ADA}{key}"), body).await
    };
    assert_eq!(say("k1", r#"{"text":"hi"}"#).await.body["client_id"], "k1");
    assert_eq!(say("k1", r#"{"text":"hi","client_id":"k2"}"#).await.body["client_id"], "k2");
    for bad in ["two words", &"x".repeat(65)] {
        assert_eq!(say(bad, r#"{"text":"hi","client_id":"k2"}"#).await.code(), "INVALID", "{bad}");
    }
    let names = [say("", r#"{"text":"hi"}"#).await, say("", r#"{"text":"hi"}"#).await];
    assert_ne!(names[0].body["client_id"], names[1].body["client_id"], "without a name each is a message");
}

#[tokio::test]
async fn an_error_frame_is_a_status_with_the_same_words() {
    let (world, _link) = World::ready(|_| {}).await;
    let door = world.address.to_string();
    for (code, status, retry_after) in [
        ("INVALID", 400, None),
        ("UNAUTHENTICATED", 401, None),
        ("FORBIDDEN", 403, None),
        ("TOO_LARGE", 413, None),
        ("RATE_LIMITED", 429, Some("2")),
        ("INTERNAL", 500, None),
        ("UNAVAILABLE", 503, Some("1")),
        ("A_NEWER_WORD", 400, None),
    ] {
        let body = json!({ "text": format!("error {code}") }).to_string();
        let answer = http::post(&door, LOBBY, ADA, &body).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
        assert_eq!(answer.body["error"]["message"], "Words.");
        assert_eq!(answer.body["error"]["retryable"], retry_after.is_some());
        assert_eq!(answer.header("retry-after"), retry_after);
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_a_request_is_said_in_json() {
    let (world, _link) = World::ready(|_| {}).await;
    let door = world.address.to_string();
    for (line, headers, status, code) in [
        (format!("GET {LOBBY}"), "", 401, "UNAUTHENTICATED"),
        (format!("GET {LOBBY}"), "authorization: Basic YTpi\r\n", 401, "UNAUTHENTICATED"),
        (format!("GET {LOBBY}"), "authorization: Bearer bad\r\n", 401, "UNAUTHENTICATED"),
        (format!("GET {LOBBY}?before=-1"), ADA, 400, "INVALID"),
        (format!("GET {LOBBY}?limit=x"), ADA, 400, "INVALID"),
        ("GET /v1/rooms/%ff/messages".to_owned(), ADA, 400, "INVALID"),
        (format!("DELETE {LOBBY}"), ADA, 405, "INVALID"),
        ("GET /v1/tokens".to_owned(), ADA, 405, "INVALID"),
        ("GET /v1/rooms/lobby".to_owned(), ADA, 404, "NOT_FOUND"),
        ("GET /v1/".to_owned(), ADA, 404, "NOT_FOUND"),
        (format!("POST {LOBBY}"), ADA, 415, "INVALID"),
    ] {
        let answer = http::ask(&door, &line, headers).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{line}: {answer:?}");
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
    }
    for (body, words) in [("", ""), ("[1]", ""), (r#"{"text":5}"#, "text: "), (r#"{"text":"a"} x"#, "")] {
        let answer = http::post(&door, LOBBY, ADA, body).await;
        assert_eq!((answer.status, answer.code()), (400, "INVALID"), "{body}: {answer:?}");
        assert!(answer.body["error"]["message"].as_str().unwrap().contains(words), "{answer:?}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_half_of_one_is_not_waited_for() {
    let (world, _link) = World::ready(|settings| settings.head_timeout = Duration::from_millis(200)).await;
    let door = world.address.to_string();
    let body = json!({ "text": "x".repeat(70_000) }).to_string();
    let answer = http::post(&door, LOBBY, ADA, &body).await;
    assert_eq!((answer.status, answer.code()), (413, "TOO_LARGE"), "{answer:?}");

    let headers = format!("{ADA}content-type: application/json\r\ncontent-length: 100\r\n");
    let answer = http::ask(&door, &format!("POST {LOBBY}"), &headers).await;
    assert_eq!((answer.status, answer.code()), (408, "INVALID"), "{answer:?}");
}

#[tokio::test]
async fn a_page_of_another_site_asks_only_if_it_is_listed() {
    let (world, _link) =
        World::ready(|settings| settings.allowed_origins = Some("https://a.example".parse().unwrap())).await;
    let door = world.address.to_string();
    for (line, headers) in [
        (format!("GET {LOBBY}"), ADA),
        ("POST /v1/tokens".to_owned(), ""),
        (format!("OPTIONS {LOBBY}"), "access-control-request-method: POST\r\n"),
    ] {
        let evil = http::ask(&door, &line, &format!("{headers}origin: https://evil.example\r\n")).await;
        assert_eq!((evil.status, evil.code()), (403, "FORBIDDEN"), "{line}");
        assert_eq!(evil.header("access-control-allow-origin"), None);
        let listed = http::ask(&door, &line, &format!("{headers}origin: https://a.example\r\n")).await;
        assert_eq!(listed.status, 200, "{line}");
        assert_eq!(listed.header("access-control-allow-origin"), Some("https://a.example"));
        assert_eq!(listed.header("access-control-allow-credentials"), None, "a cookie speaks for nobody");
    }
    let preflight = "access-control-request-method: POST\r\norigin: https://a.example\r\n";
    let preflight = http::ask(&door, &format!("OPTIONS {LOBBY}"), preflight).await;
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("authorization"));
}

#[tokio::test]
async fn an_address_that_asks_too_fast_waits_and_others_do_not() {
    let (world, _link) = World::ready(|settings| {
        settings.trusted_hops = 1;
        settings.call_rate_per_address = 1;
        settings.call_burst_per_address = 3;
    })
    .await;
    let door = world.address.to_string();
    let ask = async |from: &str| {
        http::ask(&door, &format!("GET {LOBBY}"), &format!("{ADA}x-forwarded-for: {from}\r\n")).await
    };
    let refused = eventually("it is too fast", async || {
        Some(ask("10.0.0.1").await).filter(|answer| answer.status == 429)
    })
    .await;
    assert_eq!((refused.code(), refused.header("retry-after").is_some()), ("RATE_LIMITED", true));
    assert_eq!(ask("10.0.0.2").await.status, 200);
}

#[tokio::test]
async fn too_many_bad_tokens_keep_an_address_out_of_every_door() {
    let (world, _link) = World::ready(|settings| settings.failed_hellos_per_address = 2).await;
    let door = world.address.to_string();
    for status in [401, 401, 429] {
        let answer = http::ask(&door, &format!("GET {LOBBY}"), "authorization: Bearer bad\r\n").await;
        assert_eq!(answer.status, status);
    }
    assert_eq!(world.browser_with(&[]).await.err().unwrap().0, 429);
}

#[tokio::test]
async fn a_call_without_an_answer_gets_unavailable_and_so_does_one_too_many() {
    let (world, _link) = World::ready(|settings| {
        settings.max_calls = 1;
        settings.reply_timeout = Duration::from_secs(2);
    })
    .await;
    let door = world.address.to_string();
    let mut waits = world.connect().await;
    let head = format!("GET {LOBBY} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer silent\r\n\r\n");
    waits.write_all(head.as_bytes()).await.unwrap();
    let refused = eventually("the only place is taken", async || {
        Some(http::ask(&door, &format!("GET {LOBBY}"), ADA).await).filter(|answer| answer.status == 503)
    })
    .await;
    assert_eq!(refused.code(), "UNAVAILABLE");
    eventually("who waited is answered", async || {
        Some(http::ask(&door, &format!("GET {LOBBY}"), ADA).await).filter(|answer| answer.status == 200)
    })
    .await;
}

#[tokio::test]
async fn without_a_room_service_nothing_is_promised() {
    let mut world = World::start(|_| {}).await;
    world.unreachable(true);
    let door = world.address.to_string();
    let answer = http::post(&door, LOBBY, ADA, r#"{"text":"hi"}"#).await;
    assert_eq!((answer.status, answer.code()), (503, "UNAVAILABLE"), "{answer:?}");
    world.unreachable(false);
    let _link = world.link().await;
    assert_eq!(http::post(&door, LOBBY, ADA, r#"{"text":"hi"}"#).await.status, 200);
}

#[tokio::test]
async fn the_door_says_what_it_does() {
    let (world, _link) = World::ready(|_| {}).await;
    let answer = http::ask(&world.address.to_string(), "GET /openapi.json", "").await;
    assert_eq!((answer.status, &answer.body["openapi"]), (200, &json!("3.1.0")));
    let paths: Vec<&String> = answer.body["paths"].as_object().unwrap().keys().collect();
    assert_eq!(
        paths,
        [
            "/v1/rooms",
            "/v1/rooms/{room}/attachments",
            "/v1/rooms/{room}/attachments/{id}",
            "/v1/rooms/{room}/events",
            "/v1/rooms/{room}/members",
            "/v1/rooms/{room}/messages",
            "/v1/rooms/{room}/messages/{seq}",
            "/v1/rooms/{room}/messages/{seq}/reactions/{emoji}",
            "/v1/rooms/{room}/read",
            "/v1/tokens"
        ]
    );
    let text = &answer.body["components"]["schemas"]["Message"]["properties"]["seq"];
    assert_eq!(text["description"], "1, 2, 3, … without holes.", "the vocabulary's own words: {answer:?}");
}
