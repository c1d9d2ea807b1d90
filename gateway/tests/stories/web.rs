//! The web client's files, and the avatars.

use std::{fs, path::PathBuf};

use proto::chat::v1::{Welcome, server_frame::Body};
use serde_json::{Value, json};

use crate::world::World;

const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
     media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types vue";

/// A built web client, and a file beside it that is nobody's business.
struct Build(PathBuf);

impl Build {
    fn new(name: &str) -> Self {
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("dist/assets")).unwrap();
        fs::write(root.join("dist/index.html"), "<!doctype html><title>Parlor</title>").unwrap();
        fs::write(root.join("dist/assets/index-abc.js"), "console.log('hello')".repeat(100)).unwrap();
        fs::write(root.join("dist/favicon.svg"), "<svg xmlns='http://www.w3.org/2000/svg'/>").unwrap();
        fs::write(root.join("secret.txt"), "nobody's business").unwrap();
        Self(root)
    }

    fn dist(&self) -> PathBuf {
        self.0.join("dist")
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn every_room_is_the_page_and_the_page_is_asked_for_each_time() {
    let build = Build::new("page");
    let world = World::start(|settings| settings.web_root = build.dist()).await;
    for path in ["/", "/r/lobby", "/r/%2e%2e"] {
        let page = world.http("GET", path, "").await;
        assert_eq!(page.status, 200, "{path}");
        assert!(page.text().contains("<title>Parlor</title>"));
        assert_eq!(page.header("content-type"), Some("text/html"));
        assert_eq!(page.header("cache-control"), Some("no-cache"));
        assert_eq!(page.header("content-security-policy"), Some(PAGE_POLICY.to_ascii_lowercase().as_str()));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    }
    assert_eq!(world.http("HEAD", "/", "").await.status, 200);
}

#[tokio::test]
async fn who_is_welcome_learns_which_page_is_served_if_it_has_a_name() {
    let long = "x".repeat(65);
    for (case, (text, expected)) in [
        (Some("2f9c1d7\n"), json!("2f9c1d7")),
        (Some("two words"), Value::Null),
        (Some(long.as_str()), Value::Null),
        (Some("\n"), Value::Null),
        (None, Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        let build = Build::new(&format!("named-{case}"));
        if let Some(text) = text {
            fs::write(build.dist().join("build.txt"), text).unwrap();
        }
        let (world, mut link) = World::ready(|settings| settings.web_root = build.dist()).await;
        let mut browser = world.browser().await;
        browser.say(json!({ "id": 1, "hello": {} })).await;
        let (session, hello) = link.frame().await;
        link.reply(session, hello.id, Body::Welcome(Welcome::default())).await;
        assert_eq!(browser.hear().await["welcome"]["web_build"], expected, "over a WebSocket: {text:?}");
        let token = testkit::http::ask(&world.address.to_string(), "POST /v1/tokens", "").await;
        assert_eq!(token.body["web_build"], expected, "over plain HTTP: {text:?}");
    }
}

#[tokio::test]
async fn who_is_welcome_learns_whether_this_gateway_takes_files() {
    let folder = tempfile::tempdir().unwrap();
    let place = format!("file://{}", folder.path().display());
    for (place, expected) in [(Some(place.parse().unwrap()), json!(1024)), (None, Value::Null)] {
        let (world, mut link) = World::ready(|settings| settings.files.place = place).await;
        let mut browser = world.browser().await;
        browser.say(json!({ "id": 1, "hello": {} })).await;
        let (session, hello) = link.frame().await;
        let welcome = Welcome { max_attachment_bytes: 1024, ..Welcome::default() };
        link.reply(session, hello.id, Body::Welcome(welcome)).await;
        assert_eq!(browser.hear().await["welcome"]["max_attachment_bytes"], expected);
    }
}

#[tokio::test]
async fn an_old_client_is_served_to_pages_if_its_file_is_there() {
    let build = Build::new("old-client");
    fs::create_dir(build.dist().join("socket.io")).unwrap();
    fs::write(build.dist().join("socket.io/socket.io.js"), "io = 'there'").unwrap();
    let world = World::start(|settings| settings.web_root = build.dist()).await;
    let file = world.http("GET", "/socket.io/socket.io.js", "").await;
    assert_eq!((file.status, file.text().as_str()), (200, "io = 'there'"));
}

#[tokio::test]
async fn pictures_are_loaded_from_where_they_are_allowed() {
    let build = Build::new("pictures");
    let world = World::start(|settings| {
        settings.web_root = build.dist();
        settings.allowed_pictures = "https://pictures.example,http://b:81".parse().unwrap();
    })
    .await;
    let page = world.http("GET", "/", "").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains(
            "img-src 'self' data: blob: https://pictures.example http://b:81; media-src 'self' blob:;"
        ),
        "{policy}"
    );
}

#[tokio::test]
async fn assets_are_kept_for_a_year_and_a_missing_one_is_not_the_page() {
    let build = Build::new("assets");
    let world = World::start(|settings| settings.web_root = build.dist()).await;
    let script = world.http("GET", "/assets/index-abc.js", "").await;
    assert_eq!(script.status, 200);
    assert_eq!(script.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(script.header("content-type"), Some("text/javascript"));
    let packed = world.http("GET", "/assets/index-abc.js", "accept-encoding: gzip\r\n").await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() < script.body.len());
    let missing = world.http("GET", "/assets/index-old.js", "").await;
    assert_eq!((missing.status, missing.header("cache-control")), (404, None));
    assert_eq!(world.http("GET", "/favicon.svg", "").await.header("cache-control"), Some("no-cache"));
    assert_eq!(world.http("GET", "/nothing", "").await.status, 404);
}

#[tokio::test]
async fn no_path_leads_out_of_the_web_root() {
    let build = Build::new("traversal");
    let world = World::start(|settings| settings.web_root = build.dist()).await;
    for path in [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/assets/%2e%2e/%2e%2e/secret.txt",
        "/..%5csecret.txt",
        "//secret.txt",
        "/assets//../../secret.txt",
        "/avatars/..%2f..%2fsecret.txt",
    ] {
        let answer = world.http("GET", path, "").await;
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        assert!(!String::from_utf8_lossy(&answer.body).contains("business"), "{path}");
    }
}

#[tokio::test]
async fn nothing_here_is_written_to() {
    let build = Build::new("methods");
    let world = World::start(|settings| settings.web_root = build.dist()).await;
    for method in ["POST", "PUT", "DELETE", "TRACE"] {
        for path in ["/", "/r/lobby", "/assets/index-abc.js", "/avatars/Ada.svg", "/livez"] {
            assert_eq!(world.http(method, path, "").await.status, 405, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn without_a_build_the_page_says_how_to_make_one() {
    let world = World::start(|_| {}).await;
    for path in ["/", "/r/lobby"] {
        let page = world.http("GET", path, "").await;
        assert_eq!((page.status, page.header("cache-control")), (503, Some("no-store")));
        assert!(page.text().contains("npm run build"));
    }
    assert_eq!(world.http("GET", "/assets/x.js", "").await.status, 404);
}

#[tokio::test]
async fn a_name_has_a_picture_that_does_nothing_but_be_seen() {
    let world = World::start(|_| {}).await;
    let ada = world.http("GET", "/avatars/Ada%20Lovelace.svg", "").await;
    assert_eq!(ada.status, 200);
    assert_eq!(ada.header("content-type"), Some("image/svg+xml"));
    assert_eq!(ada.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(ada.header("content-security-policy"), Some("default-src 'none'"));
    assert_eq!(ada.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(ada.body, world.http("GET", "/avatars/Ada%20Lovelace.svg", "").await.body);
    assert_ne!(ada.body, world.http("GET", "/avatars/Bob.svg", "").await.body);
}

#[tokio::test]
async fn a_hostile_name_draws_a_harmless_picture_and_a_bad_one_none() {
    let world = World::start(|_| {}).await;
    for name in [
        "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "%22%3E%3Cimg%20src%3Dx%3E",
        "%E2%80%AE",
        "%00",
        "%F0%9F%98%80",
    ] {
        let picture = world.http("GET", &format!("/avatars/{name}.svg"), "").await;
        assert_eq!(picture.status, 200, "{name}");
        assert!(picture.body.is_ascii() && !picture.text().contains("script"), "{name}");
    }
    let long = "x".repeat(128);
    assert_eq!(world.http("GET", &format!("/avatars/{long}.svg"), "").await.status, 200);
    assert_eq!(world.http("GET", &format!("/avatars/{long}x.svg"), "").await.status, 404);
    for name in [".svg", "Ada", "Ada.png"] {
        assert_eq!(world.http("GET", &format!("/avatars/{name}"), "").await.status, 404, "{name}");
    }
    assert_eq!(world.http("GET", "/avatars/%ff.svg", "").await.status, 400);
}
