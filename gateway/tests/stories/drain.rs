//! The gateway ends, and its browsers are elsewhere.

use std::time::Duration;

use proto::edge::v1::SessionGone;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::world::{World, soon};

#[tokio::test]
async fn with_nobody_here_the_gateway_ends_at_once() {
    let (world, mut link) = World::ready(|_| {}).await;
    world.tasks.stopping().cancel();
    link.ended().await;
    drop(link);
    soon("end", world.serving).await.unwrap();
}

#[tokio::test]
async fn browsers_are_told_to_move_and_nobody_new_is_let_in() {
    let (world, mut link) = World::ready(|_| {}).await;
    let mut browsers = Vec::new();
    for _ in 0..3 {
        browsers.push(world.guest(&mut link).await.0);
    }
    world.tasks.stopping().cancel();
    for browser in &mut browsers {
        assert_eq!(browser.hear_news().await["move"]["within_seconds"], 10, "half of the window");
        assert!(world.health.check().is_err());
        let (status, body) = world.browser_with(&[]).await.err().unwrap();
        assert_eq!((status, body["error"]["code"].as_str()), (503, Some("UNAVAILABLE")));
        browser
            .send(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "moved".into() })))
            .await;
        assert_eq!(browser.closed().await.0, 1000);
        assert!(link.gone().await.left);
    }
    link.ended().await;
    drop(link);
    soon("end", world.serving).await.unwrap();
}

#[tokio::test]
async fn whoever_does_not_move_is_closed_with_4001_and_keeps_its_grace() {
    let (world, mut link) = World::ready(|settings| settings.drain = Duration::from_millis(100)).await;
    let (mut browser, session) = world.guest(&mut link).await;
    world.tasks.stopping().cancel();
    assert!(browser.hear_news().await["move"].is_object());
    assert_eq!(browser.closed().await.0, 4001);
    assert_eq!(link.gone().await, SessionGone { session, left: false });
    link.ended().await;
    drop(link);
    soon("end", world.serving).await.unwrap();
}

#[tokio::test]
async fn a_browser_that_does_not_read_does_not_keep_the_gateway_alive() {
    let (world, mut link) = World::ready(|settings| settings.drain = Duration::from_millis(100)).await;
    let (_deaf, session) = world.guest(&mut link).await;
    world.tasks.stopping().cancel();
    assert_eq!(link.gone().await, SessionGone { session, left: false });
    drop(link);
    soon("end", world.serving).await.unwrap();
}
