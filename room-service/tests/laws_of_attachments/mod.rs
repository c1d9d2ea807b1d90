//! The laws of attachments: whose they are, from being brought until their file is gone.

use std::time::Duration;

use proto::chat::v1::{Attachment, MessageRef};
use room_service::store::{Change, ChangeKind, Draft, Forbidden, Found, NoSuchUpload, Published, StoreError};

use crate::{HISTORY_MAX, World, draft, lobby, member};

/// Longer than any test.
const LONG: Duration = Duration::from_hours(1);

pub(crate) async fn an_upload_is_one_messages_of_who_brought_it(mut world: World) {
    world.store.subscribe(&lobby()).await.unwrap();
    let (first, second) = (bring(&world, "f_1").await, bring(&world, "f_2").await);
    assert_eq!(find(&world, "f_1").await, None, "it is nobody's to read before it is sent");
    let not_theirs = Draft { member: member("bob").into(), ..with("c1", &["f_1"]) };
    for refused in [not_theirs, with("c1", &["f_1", "f_3"]), with("c1", &["f_3"])] {
        let refused = world.store.append(&refused).await;
        assert!(matches!(refused, Err(StoreError::NoSuchUpload(NoSuchUpload))), "{refused:?}");
    }
    let sent = world.store.append(&with("c1", &["f_2", "f_1"])).await.unwrap();
    assert_eq!(sent.seq, 1, "what was refused took no number");
    let Published::Message(told) = world.published().await else { panic!("a message") };
    assert_eq!(told.attachments, [second, first.clone()], "in the order of the sender");
    assert_eq!(world.store.history(&lobby(), 0, 1).await.unwrap().messages, [told]);
    assert_eq!(find(&world, "f_1").await, Some(first));
    assert!(
        world.store.append(&with("c1", &["f_2", "f_1"])).await.unwrap().repeated,
        "a retry is that message"
    );
    assert!(world.store.append(&with("c2", &["f_1"])).await.is_err(), "and another message cannot have it");

    world.store.close(&lobby(), "").await.unwrap();
    let forbidden = world.store.keep_upload(&lobby(), "ada", &attachment("f_4"), LONG).await;
    assert!(matches!(forbidden, Err(StoreError::Forbidden(Forbidden::Closed { .. }))), "{forbidden:?}");
    assert!(world.store.attachment(&lobby(), "f_1").await.unwrap().rules_version > 0);
    world.end().await;
}

pub(crate) async fn what_is_nobodys_is_detached_until_its_file_is_gone(world: World) {
    for id in ["f_kept", "f_deleted", "f_by_operator", "f_forgotten"] {
        bring(&world, id).await;
    }
    world.store.keep_upload(&lobby(), "ada", &attachment("f_late"), Duration::from_millis(1)).await.unwrap();
    world.store.append(&with("c1", &["f_forgotten"])).await.unwrap();
    let deleted = world.store.append(&with("c2", &["f_deleted"])).await.unwrap();
    let by_operator = world.store.append(&with("c3", &["f_by_operator"])).await.unwrap();
    let deletion = Change {
        room: lobby(),
        member: member("ada").into(),
        client_id: "c4".into(),
        message: MessageRef { seq: deleted.seq, id: deleted.id },
        kind: ChangeKind::Delete,
    };
    assert_eq!(world.store.change(&deletion).await.unwrap().detached, ["f_deleted"]);
    world.store.delete(&lobby(), by_operator.seq, &by_operator.id).await.unwrap().unwrap();
    world.store.append(&with("c6", &["f_kept"])).await.unwrap();
    assert_eq!(HISTORY_MAX, 5, "so the first is forgotten now");
    for id in ["f_deleted", "f_by_operator", "f_forgotten"] {
        assert_eq!(find(&world, id).await, None, "{id}");
    }

    let detached = testkit::eventually("one is late", async || {
        let mut detached = world.store.detached(&lobby(), &[]).await.unwrap();
        detached.sort_unstable();
        (detached.len() == 4).then_some(detached)
    });
    let detached = detached.await;
    assert_eq!(detached, ["f_by_operator", "f_deleted", "f_forgotten", "f_late"]);
    assert!(world.store.append(&with("c7", &["f_late"])).await.is_err());
    let mut left = world.store.detached(&lobby(), &detached[..3]).await.unwrap();
    assert_eq!(left, ["f_late"], "it is kept until its file is gone");
    left = world.store.detached(&lobby(), &left).await.unwrap();
    assert!(left.is_empty());
    assert!(find(&world, "f_kept").await.is_some());
    world.end().await;
}

pub(crate) async fn a_room_with_attachments_is_looked_through_by_one_at_a_time(world: World) {
    let due = async || world.store.due_room(LONG).await.unwrap();
    assert_eq!(due().await, None);
    bring(&world, "f_1").await;
    assert_eq!(due().await, Some(lobby()));
    assert_eq!(due().await, None, "it is somebody's");
    world.store.looked_through(&lobby(), LONG).await.unwrap();
    assert_eq!(due().await, None, "and is not due again so soon");
    world.store.note_detached(&lobby()).await.unwrap();
    assert_eq!(due().await, Some(lobby()));
    world.store.note_detached(&lobby()).await.unwrap();
    world.store.looked_through(&lobby(), LONG).await.unwrap();
    assert_eq!(due().await, Some(lobby()), "what was detached meanwhile is not forgotten");
    world.store.note_detached(&lobby()).await.unwrap();
    assert_eq!(world.store.due_room(Duration::from_millis(1)).await.unwrap(), Some(lobby()));
    testkit::eventually("whoever had it is taken to be gone", due).await;

    let sent = world.store.append(&with("c1", &["f_1"])).await.unwrap();
    world.store.delete(&lobby(), sent.seq, "").await.unwrap();
    let detached = world.store.detached(&lobby(), &[]).await.unwrap();
    assert_eq!(detached, ["f_1"]);
    world.store.detached(&lobby(), &detached).await.unwrap();
    world.store.looked_through(&lobby(), Duration::ZERO).await.unwrap();
    assert_eq!(due().await, None, "nothing is left to look for");
    world.end().await;
}

fn attachment(id: &str) -> Attachment {
    let (name, kind) = (format!("{id} \"\u{1f469}\u{200d}\u{1f4bb}\" /.png"), "image/png".into());
    Attachment { id: id.into(), name, r#type: kind, size: 7, width: 3, height: 0 }
}

async fn bring(world: &World, id: &str) -> Attachment {
    world.store.keep_upload(&lobby(), "ada", &attachment(id), LONG).await.unwrap();
    attachment(id)
}

async fn find(world: &World, id: &str) -> Option<Attachment> {
    let Found { attachment, .. } = world.store.attachment(&lobby(), id).await.unwrap();
    attachment
}

fn with(client_id: &str, attachments: &[&str]) -> Draft {
    Draft { attachments: attachments.iter().map(ToString::to_string).collect(), ..draft(client_id, "") }
}
