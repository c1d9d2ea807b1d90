//! Operators by HTTP, as with curl: what is answered to whom. What their acts do is told in the stories of e2e.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use testkit::{Program, eventually, free_port, http_ask, http_get};

const TOKEN: &str = "a token of the operators";

/// Everything that operators may ask for.
const ROUTES: [(&str, &str); 9] = [
    ("GET", "/v1/members"),
    ("POST", "/v1/members/m_1/disconnect"),
    ("DELETE", "/v1/members/m_1/disconnect"),
    ("GET", "/v1/rooms/lobby"),
    ("PUT", "/v1/rooms/lobby/bans/m_1"),
    ("DELETE", "/v1/rooms/lobby/bans/m_1"),
    ("DELETE", "/v1/rooms/lobby/messages/1"),
    ("PUT", "/v1/rooms/lobby/closed"),
    ("DELETE", "/v1/rooms/lobby/closed"),
];

/// A room service with these flags too, and its admin listener.
async fn start(flags: &[&str]) -> (Program, String) {
    let (door, admin) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let addresses = ["--listen", &door, "--admin-listen", &admin];
    let program = Program::start(env!("CARGO_BIN_EXE_room-service"), &[&addresses[..], flags].concat());
    eventually("it is ready", async || {
        http_get(&admin, "/readyz").await.filter(|(status, _)| *status == 200)
    })
    .await;
    (program, admin)
}

async fn ask(admin: &str, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
    let (status, body) = http_ask(admin, method, path, token, body).await.unwrap();
    (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{method} {path}: {body}")))
}

#[tokio::test]
async fn without_the_operators_token_nothing_is_done() {
    let (_with, admin) = start(&["--admin-token", TOKEN]).await;
    let (_without, closed) = start(&[]).await;
    for (method, path) in ROUTES {
        for token in ["", "another token of somebody", "a token of the operator"] {
            let (status, answer) = ask(&admin, method, path, token, "").await;
            assert_eq!(
                (status, &answer["error"]["code"]),
                (401, &json!("UNAUTHENTICATED")),
                "{method} {path}"
            );
        }
        let (status, answer) = ask(&closed, method, path, TOKEN, "").await;
        assert_eq!((status, &answer["error"]["code"]), (403, &json!("FORBIDDEN")), "{method} {path}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("PARLOR_ROOM_SERVICE_ADMIN_TOKEN"));
        let (status, _) = ask(&admin, method, path, TOKEN, "").await;
        assert_eq!(status, if path.contains("messages") { 404 } else { 200 }, "{method} {path}");
    }
}

#[tokio::test]
async fn what_was_forbidden_is_read_back_as_json() {
    let (_program, admin) = start(&["--admin-token", TOKEN]).await;
    let ban = json!({ "seconds": 3600, "reason": "be kind" }).to_string();
    // A member's id may be of a sign-in elsewhere, and a path may be encoded.
    assert_eq!(
        ask(&admin, "PUT", "/v1/rooms/lobby/bans/auth0%7C%C3%A9", TOKEN, &ban).await,
        (200, json!({}))
    );
    let close = json!({ "reason": "closed" }).to_string();
    assert_eq!(ask(&admin, "PUT", "/v1/rooms/lobby/closed", TOKEN, &close).await, (200, json!({})));
    let (status, mut room) = ask(&admin, "GET", "/v1/rooms/lobby", TOKEN, "").await;
    let until = room["bans"][0]["until"].take();
    assert!(until.as_str().unwrap().ends_with('Z'), "{until}");
    let bans = json!([{ "member": "auth0|é", "until": null, "reason": "be kind" }]);
    assert_eq!(
        (status, room),
        (200, json!({ "room": "lobby", "closed": true, "reason": "closed", "bans": bans }))
    );
    ask(&admin, "DELETE", "/v1/rooms/lobby/bans/auth0%7C%C3%A9", TOKEN, "").await;
    ask(&admin, "DELETE", "/v1/rooms/lobby/closed", TOKEN, "").await;
    assert_eq!(ask(&admin, "GET", "/v1/rooms/lobby", TOKEN, "").await, (200, json!({ "room": "lobby" })));

    let out = json!({ "seconds": 60 }).to_string();
    ask(&admin, "POST", "/v1/members/m_1/disconnect", TOKEN, &out).await;
    ask(&admin, "POST", "/v1/members/m_2/disconnect", TOKEN, "").await;
    let (_, kept_out) = ask(&admin, "GET", "/v1/members", TOKEN, "").await;
    assert_eq!(kept_out["members"].as_array().unwrap().len(), 1, "who may come back at once is not kept out");
    assert_eq!(kept_out["members"][0]["member"], "m_1");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_words() {
    let (_program, admin) = start(&["--admin-token", TOKEN]).await;
    let long = json!({ "reason": "x".repeat(81) }).to_string();
    for (method, path, body, status, code, words) in [
        ("GET", "/v1/rooms/Lobby!", "", 400, "INVALID", "room:"),
        ("PUT", "/v1/rooms/lobby/bans/a%20b", "", 400, "INVALID", "member:"),
        ("PUT", "/v1/rooms/lobby/bans/%ff", "", 400, "INVALID", "UTF-8"),
        ("PUT", "/v1/rooms/lobby/closed", &long, 400, "INVALID", "reason:"),
        ("PUT", "/v1/rooms/lobby/closed", "{\"reason\":7}", 400, "INVALID", "The body:"),
        ("PUT", "/v1/rooms/lobby/closed", "nonsense", 400, "INVALID", "The body:"),
        ("POST", "/v1/members/m_1/disconnect", "{\"seconds\":-1}", 400, "INVALID", "The body:"),
        ("DELETE", "/v1/rooms/lobby/messages/one", "", 400, "INVALID", "seq:"),
        ("DELETE", "/v1/rooms/lobby/messages/4294967296", "", 400, "INVALID", "seq:"),
        ("DELETE", "/v1/rooms/lobby/messages/9?id=x", "", 404, "NOT_FOUND", "seq:"),
        ("POST", "/v1/rooms/lobby", "", 404, "NOT_FOUND", "docs/operators.md"),
        ("GET", "/v1/", "", 404, "NOT_FOUND", "docs/operators.md"),
    ] {
        let (told, answer) = ask(&admin, method, path, TOKEN, body).await;
        assert_eq!((told, &answer["error"]["code"]), (status, &json!(code)), "{method} {path}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{method} {path}: {message}");
    }
    let huge = "x".repeat(20 << 10);
    let (status, _) = http_ask(&admin, "PUT", "/v1/rooms/lobby/closed", TOKEN, &huge).await.unwrap();
    assert_eq!(status, 413);
}
