//! Files are brought to a room over HTTP, sent by any door, read by who may read the room, and gone with their message.

use std::fs;

use proto::{
    admin::v1::DeleteMessageRequest,
    chat::v1::{SendRequest, client_frame::Body as Ask, server_frame::Body as Heard},
};
use serde_json::json;
use testkit::{
    Browser, eventually,
    http::{self, Answer},
};
use tonic::Request;

use crate::{
    bots::client,
    http::{bearer, token},
    operators::operator,
    world::World,
};

crate::stories! {
    what_is_attached_is_read_by_whoever_may_read_the_room
    every_door_sends_what_was_brought
    a_file_is_sent_once_and_by_who_brought_it
    a_file_is_what_it_is_and_not_what_it_is_called
    a_picture_does_not_tell_where_it_was_taken
    a_part_of_a_file_can_be_read
    a_copy_is_read_again_by_whoever_may_still_read_the_file
    what_is_no_file_is_not_taken
    a_file_goes_with_its_message
    what_breaks_off_leaves_nothing
}

/// Whom a request is from: a guest, and a header that says so.
struct Guest {
    token: String,
    header: String,
}

async fn guest(door: &str) -> Guest {
    let welcome = token(door).await;
    Guest { token: welcome["token"].as_str().unwrap().to_owned(), header: bearer(&welcome) }
}

impl Guest {
    async fn bring(&self, door: &str, room: &str, name: &str, file: &[u8]) -> Answer {
        http::bring(door, &format!("POST /v1/rooms/{room}/attachments?name={name}"), &self.header, file).await
    }

    /// Brings what is taken, and gives its id.
    async fn brings(&self, door: &str, name: &str, file: &[u8]) -> String {
        let brought = self.bring(door, "lobby", name, file).await;
        assert_eq!(brought.status, 200, "{brought:?}");
        brought.body["id"].as_str().unwrap().to_owned()
    }

    async fn sends(&self, door: &str, client_id: &str, attachments: &[&str]) -> Answer {
        let body = json!({ "client_id": client_id, "attachments": attachments }).to_string();
        http::post(door, "/v1/rooms/lobby/messages", &self.header, &body).await
    }

    async fn read(&self, door: &str, room: &str, id: &str) -> Answer {
        http::ask(door, &format!("GET /v1/rooms/{room}/attachments/{id}"), &self.header).await
    }
}

async fn what_is_attached_is_read_by_whoever_may_read_the_room(world: World) {
    let (mut bob, _) = Browser::guest(world.there()).await;
    bob.join("lobby", None).await;
    let ada = guest(world.here()).await;
    let brought = ada.bring(world.here(), "lobby", "notes%20of%20ada.txt", b"hello").await;
    assert_eq!(brought.status, 200, "{brought:?}");
    let id = brought.body["id"].as_str().unwrap();
    let is = json!({ "id": id, "name": "notes of ada.txt", "type": "text/plain", "size": 5 });
    assert_eq!(brought.body, is);
    let early = ada.read(world.here(), "lobby", id).await;
    assert_eq!((early.status, early.code()), (404, "NOT_FOUND"), "it is nobody's to read before it is sent");

    let sent = ada.sends(world.there(), "c1", &[id]).await;
    assert_eq!((sent.status, &sent.body["attachments"]), (200, &json!([is])), "{sent:?}");
    let heard = serde_json::to_value(bob.message().await).unwrap();
    assert_eq!(heard["attachments"], json!([is]));
    let reader = guest(world.there()).await;
    let read = reader.read(world.there(), "lobby", id).await;
    assert_eq!((read.status, &read.bytes[..]), (200, &b"hello"[..]), "{read:?}");
    for (header, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        (
            "content-disposition",
            "attachment; filename=\"notes of ada.txt\"; filename*=utf-8''notes%20of%20ada%2etxt",
        ),
        ("content-length", "5"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "private, no-cache"),
    ] {
        assert_eq!(read.header(header), Some(value), "{}", read.head);
    }
    let line = format!("HEAD /v1/rooms/lobby/attachments/{id}");
    let without_body = http::ask(world.here(), &line, &reader.header).await;
    assert_eq!(
        (without_body.status, without_body.header("content-length"), without_body.bytes.len()),
        (200, Some("5"), 0)
    );
    for (room, id) in
        [("other", id), ("lobby", "f_00000000000000000000"), ("lobby", "..%2f..%2fetc%2fpasswd"), ("..", id)]
    {
        let none = reader.read(world.here(), room, id).await;
        assert_eq!((none.status, none.code()), (404, "NOT_FOUND"), "{room} {id}");
    }
    let stranger = http::ask(world.here(), &format!("GET /v1/rooms/lobby/attachments/{id}"), "").await;
    assert_eq!((stranger.status, stranger.code()), (401, "UNAUTHENTICATED"));
    world.end().await;
}

async fn every_door_sends_what_was_brought(world: World) {
    let ada = guest(world.here()).await;
    let [first, second, third] = [
        ada.brings(world.here(), "1", b"one").await,
        ada.brings(world.there(), "2", b"two").await,
        ada.brings(world.there(), "3", b"three").await,
    ];
    let mut browser = Browser::connect(world.here()).await;
    browser.hello(&ada.token).await;
    browser.join("lobby", None).await;
    let with = |client_id: &str, text: &str, attachments: &[&str]| SendRequest {
        attachments: attachments.iter().map(ToString::to_string).collect(),
        ..SendRequest::text("lobby", client_id, text)
    };
    let sent = browser.ask(Ask::Send(with("c1", "", &[&first, &second]))).await;
    assert!(matches!(sent, Heard::Sent(_)), "{sent:?}");
    let mut call = Request::new(with("c2", "the third", &[&third]));
    call.metadata_mut().insert("authorization", format!("Bearer {}", ada.token).parse().unwrap());
    client(&world).await.send(call).await.unwrap();
    let (without_words, with_words) = (browser.message().await, browser.message().await);
    let names = |of: &[proto::chat::v1::Attachment]| -> Vec<String> {
        of.iter().map(|file| file.name.clone()).collect()
    };
    assert_eq!(
        (without_words.text.as_str(), names(&without_words.attachments)),
        ("", vec!["1".into(), "2".into()])
    );
    assert_eq!((with_words.text.as_str(), names(&with_words.attachments)), ("the third", vec!["3".into()]));
    for (id, file) in [(first, &b"one"[..]), (second, b"two"), (third, b"three")] {
        assert_eq!(ada.read(world.there(), "lobby", &id).await.bytes, file);
    }
    world.end().await;
}

async fn a_file_is_sent_once_and_by_who_brought_it(world: World) {
    let (ada, eve) = (guest(world.here()).await, guest(world.there()).await);
    let id = ada.brings(world.here(), "a", b"a").await;
    let not_hers = eve.sends(world.here(), "e1", &[&id]).await;
    assert_eq!((not_hers.status, not_hers.code()), (404, "NOT_FOUND"));
    let elsewhere = json!({ "attachments": [id] }).to_string();
    let elsewhere = http::post(world.here(), "/v1/rooms/other/messages", &ada.header, &elsewhere).await;
    assert_eq!(elsewhere.status, 404);
    let twice = ada.sends(world.here(), "c0", &[&id, &id]).await;
    assert_eq!((twice.status, twice.code()), (400, "INVALID"));
    let nothing = ada.sends(world.here(), "c0", &[]).await;
    assert_eq!((nothing.status, nothing.code()), (400, "INVALID"), "a message says or shows something");

    let first = ada.sends(world.here(), "c1", &[&id]).await;
    let repeated = ada.sends(world.there(), "c1", &[&id]).await;
    assert_eq!((repeated.status, &repeated.body), (200, &first.body), "a retry is the same message");
    let again = ada.sends(world.here(), "c2", &[&id]).await;
    assert_eq!((again.status, again.code()), (404, "NOT_FOUND"));
    assert_eq!(first.body["seq"], 1, "what was refused took no number");
    world.end().await;
}

async fn a_file_is_what_it_is_and_not_what_it_is_called(world: World) {
    let ada = guest(world.here()).await;
    let png = [
        &b"\x89PNG\r\n\x1a\n"[..],
        &chunk(b"IHDR", b"\0\0\0\x03\0\0\0\x02\x08\0\0\0\0"),
        &chunk(b"tEXt", b"Comment\0secret"),
        &chunk(b"IDAT", b"x"),
        &chunk(b"IEND", b""),
    ]
    .concat();
    let gif = b"GIF89a\x05\0\x04\0\0\0\0,\0\0\0\0\x05\0\x04\0\0\x02\x01x\0;".as_slice();
    let script = b"<script>alert(1)</script>";
    let files: [(&str, &[u8], &str, &str); 6] = [
        ("run.exe", &png, "image/png", "inline"),
        ("page.html", gif, "image/gif", "inline"),
        ("picture.png", script, "text/plain", "attachment"),
        (
            "picture.svg",
            b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>",
            "text/plain",
            "attachment",
        ),
        ("data", b"\0\x01\x02\x03", "application/octet-stream", "attachment"),
        ("a.pdf", b"%PDF-1.7\n%%EOF", "application/pdf", "attachment"),
    ];
    for (n, (name, file, kind, how)) in files.into_iter().enumerate() {
        let id = ada.brings(world.here(), name, file).await;
        ada.sends(world.here(), &format!("c{n}"), &[&id]).await;
        let read = ada.read(world.there(), "lobby", &id).await;
        let told = read.header("content-type").unwrap().split(';').next().unwrap();
        let disposition = read.header("content-disposition").unwrap();
        assert_eq!((told, disposition.split(';').next().unwrap()), (kind, how), "{name}");
        assert_eq!(read.header("x-content-type-options"), Some("nosniff"));
    }
    let two = [&png[..], script].concat();
    let id = ada.brings(world.here(), "both.html", &two).await;
    ada.sends(world.here(), "both", &[&id]).await;
    let read = ada.read(world.here(), "lobby", &id).await;
    assert!(
        !holds(&read.bytes, b"alert") && !holds(&read.bytes, b"secret"),
        "what follows or lies within is gone"
    );

    let program = [&b"\x7fELF\x02\x01\x01\0"[..], &[0; 56]].concat();
    let refused = ada.bring(world.here(), "lobby", "photo.png", &program).await;
    assert_eq!((refused.status, refused.code()), (400, "INVALID"), "{refused:?}");
    let damaged = ada.bring(world.here(), "lobby", "photo.png", &png[..40]).await;
    assert_eq!((damaged.status, damaged.code()), (400, "INVALID"), "{damaged:?}");
    world.end().await;
}

async fn a_picture_does_not_tell_where_it_was_taken(world: World) {
    let ada = guest(world.here()).await;
    let photo = photo();
    assert!(holds(&photo, b"52.5200") && holds(&photo, b"CAMERA 3000"));
    let brought = ada.bring(world.here(), "lobby", "photo.jpg", &photo).await;
    // It is 16 by 8 and lies on its side.
    assert_eq!((&brought.body["width"], &brought.body["height"]), (&json!(8), &json!(16)), "{brought:?}");
    let id = brought.body["id"].as_str().unwrap();
    ada.sends(world.here(), "c1", &[id]).await;
    let read = ada.read(world.there(), "lobby", id).await;
    assert_eq!(brought.body["size"], json!(read.bytes.len()));
    for told in [&b"52.5200"[..], b"CAMERA 3000", b"GPS", b"xap", b"taken by"] {
        assert!(!holds(&read.bytes, told), "{}", told.escape_ascii());
    }
    assert!(
        holds(&read.bytes, b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06"),
        "how it lies stays"
    );
    assert!(holds(&read.bytes, b"the picture itself"));
    world.end().await;
}

async fn a_part_of_a_file_can_be_read(world: World) {
    let ada = guest(world.here()).await;
    let id = ada.brings(world.here(), "a.bin", b"\x00123456789").await;
    ada.sends(world.here(), "c1", &[&id]).await;
    let line = format!("GET /v1/rooms/lobby/attachments/{id}");
    let part = async |range: &str| {
        http::ask(world.there(), &line, &format!("range: {range}\r\n{}", ada.header)).await
    };
    let middle = part("bytes=2-4").await;
    assert_eq!((middle.status, middle.header("content-range")), (206, Some("bytes 2-4/10")), "{middle:?}");
    assert_eq!((middle.header("content-length"), &middle.bytes[..]), (Some("3"), &b"234"[..]));
    assert_eq!(part("bytes=-2").await.bytes, b"89");
    assert_eq!(part("bytes=0-1,3-4").await.status, 200, "several are the whole");
    let beyond = part("bytes=10-").await;
    assert_eq!((beyond.status, beyond.code()), (416, "INVALID"));
    world.end().await;
}

async fn a_copy_is_read_again_by_whoever_may_still_read_the_file(world: World) {
    let ada = guest(world.here()).await;
    let id = ada.brings(world.here(), "a.txt", b"hello").await;
    let sent = ada.sends(world.here(), "c1", &[&id]).await;
    let tag = ada.read(world.here(), "lobby", &id).await.header("etag").unwrap().to_owned();
    let line = format!("GET /v1/rooms/lobby/attachments/{id}");
    let again =
        async |headers: &str| http::ask(world.there(), &line, &format!("{headers}\r\n{}", ada.header)).await;
    // The header as it was sent: an id has letters of both cases.
    let own = format!("\"{id}\"");
    assert_eq!(tag.to_lowercase(), own.to_lowercase());
    for tags in [own.clone(), format!("\"other\", W/{own}"), "*".to_owned()] {
        let copy = again(&format!("if-none-match: {tags}")).await;
        assert_eq!((copy.status, copy.bytes.len()), (304, 0), "{tags}");
        assert_eq!(copy.header("cache-control"), Some("private, no-cache"));
    }
    assert_eq!(again("if-none-match: \"other\"").await.bytes, b"hello");
    assert_eq!(again(&format!("range: bytes=0-0\r\nif-range: {own}")).await.bytes, b"h");
    assert_eq!(again("range: bytes=0-0\r\nif-range: \"other\"").await.bytes, b"hello");

    let deletion = format!("DELETE /v1/rooms/lobby/messages/1?id={}", sent.body["id"].as_str().unwrap());
    assert_eq!(http::ask(world.here(), &deletion, &ada.header).await.status, 200);
    assert_eq!(again(&format!("if-none-match: {own}")).await.status, 404, "a copy is no way around that");
    world.end().await;
}

async fn what_is_no_file_is_not_taken(world: World) {
    let ada = guest(world.here()).await;
    let large = format!("content-length: {}\r\n{}", (25 << 20) + 1, ada.header);
    let line = "POST /v1/rooms/lobby/attachments?name=a";
    let refused = http::ask(world.here(), line, &large).await;
    assert_eq!((refused.status, refused.code()), (413, "TOO_LARGE"), "before any of it is sent");
    let unsaid =
        http::ask(world.here(), line, &format!("transfer-encoding: chunked\r\n{}", ada.header)).await;
    assert_eq!((unsaid.status, unsaid.code()), (411, "INVALID"));
    let empty = http::bring(world.here(), line, &ada.header, b"").await;
    assert_eq!((empty.status, empty.code()), (400, "INVALID"));
    for name in ["", "..", "a%2fb", "..%5Ca", "a%0d%0ab", "%e2%80%aegpj.exe", &"x".repeat(256)] {
        let refused = ada.bring(world.here(), "lobby", name, b"a").await;
        assert_eq!((refused.status, refused.code()), (400, "INVALID"), "{name}");
    }
    let nowhere = ada.bring(world.here(), "No%20Room", "a", b"a").await;
    assert_eq!((nowhere.status, nowhere.code()), (400, "INVALID"));
    let nobody = http::bring(world.here(), line, "", b"a").await;
    assert_eq!((nobody.status, nobody.code()), (401, "UNAUTHENTICATED"));
    assert_eq!(files(&world), 0);
    world.end().await;
}

async fn a_file_goes_with_its_message(world: World) {
    let ada = guest(world.here()).await;
    let [kept, deleted] =
        [ada.brings(world.here(), "1", b"1").await, ada.brings(world.here(), "2", b"2").await];
    ada.sends(world.here(), "c1", &[&kept]).await;
    let sent = ada.sends(world.here(), "c2", &[&deleted]).await;
    let id = sent.body["id"].as_str().unwrap().to_owned();
    let deletion = DeleteMessageRequest { room: "lobby".into(), seq: 2, id };
    let told = operator(&world).await.delete_message(deletion).await.unwrap().into_inner();
    assert_eq!(told.tombstone.unwrap().attachments, []);
    let read = ada.read(world.there(), "lobby", &deleted).await;
    assert_eq!((read.status, read.code()), (404, "NOT_FOUND"), "at once");
    eventually("its file is removed", async || (files(&world) == 1).then_some(())).await;
    assert_eq!(ada.read(world.there(), "lobby", &kept).await.bytes, b"1");
    let page = http::ask(world.here(), "GET /v1/rooms/lobby/messages?limit=10", &ada.header).await;
    let line =
        format!("DELETE /v1/rooms/lobby/messages/1?id={}", page.body["messages"][0]["id"].as_str().unwrap());
    assert_eq!(http::ask(world.there(), &line, &ada.header).await.status, 200);
    assert_eq!(ada.read(world.here(), "lobby", &kept).await.status, 404);
    eventually("no file is left", async || (files(&world) == 0).then_some(())).await;
    world.end().await;
}

async fn what_breaks_off_leaves_nothing(world: World) {
    let ada = guest(world.here()).await;
    let headers = format!("content-length: 1000\r\n{}", ada.header);
    http::break_off(world.here(), "POST /v1/rooms/lobby/attachments?name=a", &headers, b"only this").await;
    // The gateway is done with it when another one has its place.
    ada.brings(world.here(), "b", b"whole").await;
    assert_eq!(files(&world), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sent_in_time_is_removed_though_all_room_services_ended() {
    let flags = ["--attachment-unsent-ttl=1s", "--attachment-sweep=100ms"];
    let mut world = World::large_with(&flags).await;
    let ada = guest(world.here()).await;
    let sent = ada.brings(world.here(), "sent", b"sent").await;
    assert_eq!(ada.sends(world.here(), "c1", &[&sent]).await.status, 200);
    let unsent = ada.brings(world.here(), "unsent", b"unsent").await;
    for which in [0, 1] {
        world.restart_room_service(which).await;
    }
    eventually("it is removed", async || (files(&world) == 1).then_some(())).await;
    let late = eventually("the gateway has a room service again", async || {
        Some(ada.sends(world.here(), "c2", &[&unsent]).await).filter(|answer| answer.status != 503)
    });
    assert_eq!(late.await.status, 404);
    assert_eq!(ada.read(world.here(), "lobby", &sent).await.bytes, b"sent", "what was sent stays");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_forgotten_messages_are_removed() {
    for world in [
        World::small_with(&["--history-max=3", "--attachment-sweep=100ms"], &[]).await,
        World::large_with(&["--history-max=3", "--attachment-sweep=100ms"]).await,
    ] {
        let ada = guest(world.here()).await;
        let ids = [ada.brings(world.here(), "1", b"1").await, ada.brings(world.here(), "2", b"2").await];
        ada.sends(world.here(), "c1", &[&ids[0]]).await;
        ada.sends(world.here(), "c2", &[&ids[1]]).await;
        for n in 3..=4 {
            let body = json!({ "client_id": format!("c{n}"), "text": "hi" }).to_string();
            http::post(world.there(), "/v1/rooms/lobby/messages", &ada.header, &body).await;
        }
        assert_eq!(ada.read(world.here(), "lobby", &ids[0]).await.status, 404, "it is forgotten at once");
        eventually("its file is removed", async || (files(&world) == 1).then_some(())).await;
        assert_eq!(ada.read(world.here(), "lobby", &ids[1]).await.bytes, b"2");
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dribbles_is_cut() {
    let world = World::small_with(&[], &["--transfer-timeout=200ms"]).await;
    let ada = guest(world.here()).await;
    let headers = format!("content-length: 1000\r\n{}", ada.header);
    let late = http::ask(world.here(), "POST /v1/rooms/lobby/attachments?name=a", &headers).await;
    assert_eq!((late.status, late.code()), (408, "INVALID"), "{late:?}");
    assert_eq!(files(&world), 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_does_not_bring_more_than_is_allowed() {
    let flags = ["--max-attachment-bytes=1024", "--member-upload-kib=1", "--member-upload-burst-kib=200"];
    let world = World::small_with(&flags, &["--max-uploads-per-address=1"]).await;
    let ada = guest(world.here()).await;
    let large = ada.bring(world.here(), "lobby", "a", &[b'a'; 1025]).await;
    assert_eq!((large.status, large.code()), (413, "TOO_LARGE"));
    for name in ["1", "2", "3"] {
        ada.brings(world.here(), name, b"a small file counts, too").await;
    }
    let refused = ada.bring(world.here(), "lobby", "4", b"a").await;
    assert_eq!((refused.status, refused.code()), (429, "RATE_LIMITED"));
    assert!(refused.header("retry-after").is_some());
    let bob = guest(world.here()).await;
    bob.brings(world.here(), "5", b"others may").await;
    let (mut browser, welcome) = Browser::guest(world.here()).await;
    assert_eq!(welcome.max_attachment_bytes, 1024, "who asks first knows");
    browser.join("lobby", None).await;
    world.end().await;
}

/// How many files are kept, or on their way there.
fn files(world: &World) -> usize {
    fs::read_dir(world.files.path()).unwrap().count()
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

/// A chunk of a PNG.
fn chunk(kind: &[u8], content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(content.len()).unwrap().to_be_bytes();
    let named = [kind, content].concat();
    [&size[..], &named, &crc(&named).to_be_bytes()].concat()
}

/// The check sum of PNG.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

/// A JPEG that says where, when and with what it was taken in every way that is usual.
fn photo() -> Vec<u8> {
    let segment = |marker: u8, content: &[u8]| {
        let size = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
        [&[0xff, marker][..], &size, content].concat()
    };
    let tiff = [
        // Two entries: that it lies on its side, and where its GPS directory is.
        &b"II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\x25\x88\x04\0\x01\0\0\0\x26\0\0\0\0\0\0\0"
            [..],
        b"GPS 52.5200 13.4050 CAMERA 3000",
    ]
    .concat();
    [
        &[0xff, 0xd8][..],
        &segment(0xe1, &[b"Exif\0\0", &tiff[..]].concat()),
        &segment(0xe1, b"http://ns.adobe.com/xap/1.0/\0<GPSLatitude>52.5200</GPSLatitude>"),
        &segment(0xed, b"Photoshop 3.0\0GPS"),
        &segment(0xfe, b"taken by Ada"),
        &segment(0xc0, b"\x08\0\x08\0\x10\x01\x01\x11\0"),
        &segment(0xda, b"\x01\x01\0\0\x3f\0"),
        b"the picture itself\xff\0",
        &segment(0xfe, b"taken by Ada, once more"),
        &segment(0xda, b"\x01\x01\0\0\x3f\0"),
        b"another scan\xff\xd9",
        b"\xff\xd8 a second picture with GPS 52.5200 of it",
    ]
    .concat()
}
