//! Programs that speak plain HTTP are in the same rooms as browsers.

use proto::chat::v1::server_frame::Body as Heard;
use serde_json::{Value, json};
use testkit::{
    Browser, eventually,
    http::{self, Answer, Events},
};
use tokio::task::JoinSet;

use crate::world::World;

crate::stories! {
    what_is_said_over_http_is_heard_by_all_and_read_again
    a_repeated_request_is_one_message
    who_listens_over_http_is_a_member
    a_listener_comes_back_elsewhere_and_misses_nothing
    a_flood_of_requests_is_told_to_slow_down_and_loses_nobody
    nobody_asks_without_a_token_of_ours
}

pub(crate) async fn token(door: &str) -> Value {
    eventually("the gateway takes calls", async || {
        Some(http::ask(door, "POST /v1/tokens", "").await).filter(|answer| answer.status == 200)
    })
    .await
    .body
}

pub(crate) fn bearer(welcome: &Value) -> String {
    format!("authorization: Bearer {}\r\n", welcome["token"].as_str().unwrap())
}

async fn say(door: &str, who: &str, client_id: &str, text: &str) -> Answer {
    let body = json!({ "client_id": client_id, "text": text }).to_string();
    http::post(door, "/v1/rooms/lobby/messages", who, &body).await
}

async fn what_is_said_over_http_is_heard_by_all_and_read_again(world: World) {
    let (mut ada, ada_is) = Browser::guest(world.there()).await;
    ada.join("lobby", None).await;
    let welcome = token(world.here()).await;
    let who = bearer(&welcome);
    let said = say(world.here(), &who, "c1", "hello from a script").await;
    assert_eq!((said.status, &said.body["seq"], &said.body["member"]), (200, &json!(1), &welcome["member"]));
    let heard = serde_json::to_value(ada.message().await).unwrap();
    assert_eq!(heard, said.body, "what is answered is what everyone hears");

    ada.send("lobby", "a1", "hello script").await;
    let page = http::ask(world.here(), "GET /v1/rooms/lobby/messages?limit=10", &who).await;
    let texts: Vec<_> =
        page.body["messages"].as_array().unwrap().iter().map(|message| &message["text"]).collect();
    assert_eq!(texts, ["hello from a script", "hello script"]);
    let older = http::ask(world.here(), "GET /v1/rooms/lobby/messages?before=2", &who).await;
    assert_eq!(older.body["messages"], json!([heard]));
    let members = http::ask(world.here(), "GET /v1/rooms/lobby/members", &who).await;
    let ada_is = serde_json::to_value(ada_is.member.unwrap()).unwrap();
    assert_eq!(members.body["members"], json!([ada_is]), "who only asks is not in the room");
    world.end().await;
}

async fn a_repeated_request_is_one_message(world: World) {
    let who = bearer(&token(world.here()).await);
    let first = say(world.here(), &who, "c1", "once").await;
    let again = say(world.there(), &who, "c1", "other words").await;
    assert_eq!((again.status, &again.body), (200, &first.body), "the message as it is kept");
    world.end().await;
}

async fn who_listens_over_http_is_a_member(world: World) {
    let (mut ada, _) = Browser::guest(world.there()).await;
    ada.join("lobby", None).await;
    let welcome = token(world.here()).await;
    let mut events =
        Events::open(world.here(), "lobby", welcome["token"].as_str().unwrap(), "").await.unwrap();
    assert_eq!(events.news().await["joined"]["member_count"], 2);
    let came =
        ada.find(|event| if let Heard::Presence(presence) = event { Some(presence) } else { None }).await;
    assert_eq!(json!(came.joined), json!([welcome["member"]]));
    drop(events);
    let went =
        ada.find(|event| if let Heard::Presence(presence) = event { Some(presence) } else { None }).await;
    assert_eq!(json!(went.left), json!([welcome["member"]["id"]]), "after the grace");
    world.end().await;
}

async fn a_listener_comes_back_elsewhere_and_misses_nothing(world: World) {
    let (mut ada, _) = Browser::guest(world.there()).await;
    ada.join("lobby", None).await;
    let welcome = token(world.here()).await;
    let token = welcome["token"].as_str().unwrap();
    let mut events = Events::open(world.here(), "lobby", token, "").await.unwrap();
    for n in 1..=10 {
        ada.send("lobby", &format!("a{n}"), "before").await;
    }
    for n in 1..=10 {
        assert_eq!(events.find("message").await["seq"], n);
    }
    let place = events.last_id.clone();
    drop(events);
    for n in 11..=20 {
        ada.send("lobby", &format!("a{n}"), "meanwhile").await;
    }
    let mut events = Events::open(world.there(), "lobby", token, &place).await.unwrap();
    let joined = events.find("joined").await;
    let seqs = joined["messages"].as_array().unwrap().iter().map(|message| message["seq"].as_u64().unwrap());
    assert_eq!(joined["resumed"], true);
    assert!(seqs.eq(11..=20), "{joined}");
    ada.send("lobby", "a21", "after").await;
    assert_eq!(events.find("message").await["seq"], 21);
    world.end().await;
}

async fn a_flood_of_requests_is_told_to_slow_down_and_loses_nobody(world: World) {
    let (mut ada, _) = Browser::guest(world.there()).await;
    ada.join("lobby", None).await;
    let who = bearer(&token(world.here()).await);
    let refused = eventually("it is too much", async || {
        let mut flood = JoinSet::new();
        for _ in 0..150 {
            let (door, who) = (world.here().to_owned(), who.clone());
            flood.spawn(async move { http::ask(&door, "GET /v1/rooms/lobby/messages", &who).await });
        }
        // Of those that come at once, the gateway lets only so many wait for the room service.
        flood.join_all().await.into_iter().find(|answer| !matches!(answer.status, 200 | 503))
    })
    .await;
    assert_eq!((refused.status, refused.code()), (429, "RATE_LIMITED"), "{refused:?}");
    assert!(
        refused.header("retry-after").is_some() && refused.body["error"]["retry_after_ms"].as_u64() > Some(0)
    );
    ada.send("lobby", "a1", "still here").await;
    world.end().await;
}

async fn nobody_asks_without_a_token_of_ours(world: World) {
    token(world.here()).await;
    for who in ["", "authorization: Bearer x\r\n", "authorization: Bearer e30.e30.e30\r\n"] {
        let refused = say(world.here(), who, "c1", "hi").await;
        assert_eq!((refused.status, refused.code()), (401, "UNAUTHENTICATED"), "{who}");
        let refused = http::ask(world.here(), "GET /v1/rooms/lobby/events", who).await;
        assert_eq!((refused.status, refused.code()), (401, "UNAUTHENTICATED"), "{who}");
    }
    world.end().await;
}
