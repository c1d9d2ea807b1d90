//! People come, talk, go and come back.

use proto::chat::v1::{
    HistoryRequest, LeaveRequest, MembersRequest, Message, Position, RefreshRequest, SendRequest,
    TypingRequest, client_frame::Body as Ask, server_frame::Body as Heard,
};
use testkit::Browser;

use crate::world::World;

crate::stories! {
    a_long_absence_is_told_in_parts_and_harms_nobody
}

crate::conformance! {
    a_message_reaches_everyone_once_and_in_order
    who_comes_and_goes_is_seen
    two_tabs_are_one_member_and_a_reload_makes_no_noise
    coming_back_brings_what_was_missed_and_nothing_else
    a_repeated_send_through_another_gateway_is_one_message
    history_pages_to_the_beginning
    a_member_who_writes_is_seen_writing
    a_page_of_members_follows_the_last
    a_token_is_renewed_for_its_own_member_only
    who_left_a_room_neither_hears_it_nor_speaks_in_it
}

async fn a_message_reaches_everyone_once_and_in_order(world: World) {
    let (mut ada, _) = Browser::guest(world.door()).await;
    let (mut bob, _) = Browser::guest(world.other_door()).await;
    ada.join("lobby", None).await;
    bob.join("lobby", None).await;
    let mut sent = Vec::new();
    for n in 0..20 {
        sent.push(ada.send("lobby", &format!("a{n}"), "from ada").await);
        sent.push(bob.send("lobby", &format!("b{n}"), "from bob").await);
    }
    assert_eq!(sent.iter().map(|sent| sent.seq).collect::<Vec<_>>(), (1..=40).collect::<Vec<u32>>());
    for browser in [&mut ada, &mut bob] {
        for sent in &sent {
            let message = browser.message().await;
            assert_eq!((message.seq, &message.id, &message.epoch), (sent.seq, &sent.id, &sent.epoch));
            assert_eq!(message.sent_at, sent.sent_at);
        }
    }
    world.end().await;
}

async fn who_comes_and_goes_is_seen(world: World) {
    let (mut ada, ada_is) = Browser::guest(world.door()).await;
    let joined = ada.join("lobby", None).await;
    assert_eq!(joined.members, [ada_is.member.clone().unwrap()]);

    let (mut bob, bob_is) = Browser::guest(world.other_door()).await;
    let joined = bob.join("lobby", None).await;
    assert_eq!(joined.member_count, 2);
    let bob_is = bob_is.member.unwrap();
    assert!(joined.members.contains(&bob_is) && joined.members.contains(&ada_is.member.unwrap()));
    let came = presence(&mut ada).await;
    assert_eq!((came.joined, came.member_count), (vec![bob_is.clone()], 2));

    let left = bob.ask(Ask::Leave(LeaveRequest { room: "lobby".into() })).await;
    assert!(matches!(left, Heard::Left(_)), "{left:?}");
    let went = presence(&mut ada).await;
    assert_eq!((went.left, went.member_count), (vec![bob_is.id.clone()], 1));

    bob.join("lobby", None).await;
    assert_eq!(presence(&mut ada).await.joined, vec![bob_is.clone()]);
    bob.close().await;
    assert_eq!(presence(&mut ada).await.left, vec![bob_is.id.clone()], "a goodbye is heard");

    let (mut lost, lost_is) = Browser::guest(world.other_door()).await;
    lost.join("lobby", None).await;
    presence(&mut ada).await;
    drop(lost);
    assert_eq!(
        presence(&mut ada).await.left,
        [lost_is.member.unwrap().id],
        "a lost one goes after the grace"
    );
    world.end().await;
}

async fn two_tabs_are_one_member_and_a_reload_makes_no_noise(world: World) {
    let (mut watcher, _) = Browser::guest(world.door()).await;
    watcher.join("lobby", None).await;
    let (mut tab1, welcome) = Browser::guest(world.door()).await;
    tab1.join("lobby", None).await;
    assert_eq!(presence(&mut watcher).await.member_count, 2);

    let mut tab2 = Browser::connect(world.other_door()).await;
    let again = tab2.hello(&welcome.token).await;
    assert_eq!(again.member, welcome.member);
    assert_ne!(again.session, welcome.session);
    assert_eq!(tab2.join("lobby", None).await.member_count, 2);
    // A lost tab, a reloaded tab, a closed tab: the member is still there.
    drop(tab1);
    let mut reloaded = Browser::connect(world.door()).await;
    reloaded.hello(&welcome.token).await;
    reloaded.join("lobby", None).await;
    tab2.close().await;
    let member = welcome.member.unwrap();
    reloaded.send("lobby", "c1", "still here").await;
    let quiet = watcher.find(|event| match event {
        Heard::Message(message) => Some(message.member == Some(member.clone())),
        Heard::Presence(presence) => panic!("noise: {presence:?}"),
        _ => None,
    });
    assert!(quiet.await);
    reloaded.close().await;
    assert_eq!(presence(&mut watcher).await.left, [member.id]);
    world.end().await;
}

async fn coming_back_brings_what_was_missed_and_nothing_else(world: World) {
    let (mut ada, welcome) = Browser::guest(world.door()).await;
    let (mut bob, _) = Browser::guest(world.other_door()).await;
    ada.join("lobby", None).await;
    bob.join("lobby", None).await;
    bob.send("lobby", "b0", "seen").await;
    let seen = ada.message().await;
    drop(ada);
    for n in 1..=3 {
        bob.send("lobby", &format!("b{n}"), "missed").await;
    }
    let mut ada = Browser::connect(world.other_door()).await;
    ada.hello(&welcome.token).await;
    let joined = ada.join("lobby", Some(position(&seen))).await;
    assert!(joined.resumed);
    assert_eq!(joined.messages.iter().map(|message| message.seq).collect::<Vec<_>>(), [2, 3, 4]);
    bob.send("lobby", "b4", "live").await;
    assert_eq!(ada.message().await.seq, 5);

    for beyond in
        [Position { seq: 99, ..position(&seen) }, Position { epoch: "other".into(), id: "x".into(), seq: 1 }]
    {
        let joined = ada.join("lobby", Some(beyond)).await;
        assert!(!joined.resumed);
        assert_eq!(joined.messages.len(), 5, "the newest page");
    }
    world.end().await;
}

async fn a_long_absence_is_told_in_parts_and_harms_nobody(world: World) {
    let (mut ada, welcome) = Browser::guest(world.here()).await;
    ada.join("lobby", None).await;
    let seen = ada.send("lobby", "c0", "seen").await;
    drop(ada);
    // Three times what one frame brings at most, and more than a gateway lets wait for one session.
    let long = "x".repeat(8000);
    let (mut bob, _) = Browser::guest(world.here()).await;
    bob.join("lobby", None).await;
    for n in 1..=400 {
        bob.send("lobby", &format!("b{n}"), &long).await;
    }
    let mut ada = Browser::connect(world.here()).await;
    ada.hello(&welcome.token).await;
    let since = Position { epoch: seen.epoch, seq: seen.seq, id: seen.id };
    let joined = ada.join("lobby", Some(since)).await;
    assert!(joined.resumed);
    assert!(joined.messages.len() < 200, "a part: {}", joined.messages.len());
    assert_eq!(joined.messages.last().unwrap().seq, joined.head);
    for seq in joined.head + 1..=401 {
        assert_eq!(ada.message().await.seq, seq);
    }
    bob.send("lobby", "last", "and on it goes").await;
    assert_eq!(ada.message().await.seq, 402);
    world.end().await;
}

async fn a_repeated_send_through_another_gateway_is_one_message(world: World) {
    let (mut here, welcome) = Browser::guest(world.door()).await;
    here.join("lobby", None).await;
    let first = here.send("lobby", "c1", "once").await;
    let mut there = Browser::connect(world.other_door()).await;
    there.hello(&welcome.token).await;
    there.join("lobby", None).await;
    assert_eq!(there.send("lobby", "c1", "once").await, first);
    assert_eq!(there.send("lobby", "c2", "twice").await.seq, 2);
    assert_eq!((here.message().await.seq, here.message().await.seq), (1, 2));
    world.end().await;
}

async fn history_pages_to_the_beginning(world: World) {
    let (mut ada, _) = Browser::guest(world.door()).await;
    ada.join("lobby", None).await;
    for n in 1..=150 {
        ada.send("lobby", &format!("c{n}"), "hi").await;
    }
    let (mut bob, _) = Browser::guest(world.other_door()).await;
    let joined = bob.join("lobby", None).await;
    assert_eq!((joined.messages.len(), joined.head), (100, 150));
    let ask = HistoryRequest { room: "lobby".into(), before: joined.messages[0].seq, limit: 60 };
    let Heard::History(older) = bob.ask(Ask::History(ask)).await else { panic!("a page") };
    assert_eq!(
        older.messages.iter().map(|message| message.seq).collect::<Vec<_>>(),
        (1..=50).collect::<Vec<u32>>()
    );
    world.end().await;
}

async fn a_member_who_writes_is_seen_writing(world: World) {
    let (mut ada, _) = Browser::guest(world.door()).await;
    let (mut bob, bob_is) = Browser::guest(world.other_door()).await;
    ada.join("lobby", None).await;
    bob.join("lobby", None).await;
    assert!(matches!(bob.ask(Ask::Typing(TypingRequest { room: "lobby".into() })).await, Heard::Typed(_)));
    let typing = ada.find(|event| match event {
        Heard::Typing(typing) => Some(typing),
        _ => None,
    });
    assert_eq!(typing.await.member, bob_is.member);
    world.end().await;
}

async fn a_page_of_members_follows_the_last(world: World) {
    let mut browsers = Vec::new();
    for door in [world.door(), world.other_door(), world.door(), world.other_door()] {
        let (mut browser, _) = Browser::guest(door).await;
        browser.join("lobby", None).await;
        browsers.push(browser);
    }
    let last = browsers.last_mut().unwrap();
    let mut ids = Vec::new();
    loop {
        let after = ids.last().cloned().unwrap_or_default();
        let ask = Ask::Members(MembersRequest { room: "lobby".into(), after, limit: 3 });
        let Heard::Members(page) = last.ask(ask).await else { panic!("a page") };
        ids.extend(page.members.iter().map(|member| member.id.clone()));
        if page.members.len() < 3 {
            break;
        }
    }
    assert_eq!(ids.len(), 4);
    assert!(ids.is_sorted());
    world.end().await;
}

async fn a_token_is_renewed_for_its_own_member_only(world: World) {
    let (mut ada, welcome) = Browser::guest(world.door()).await;
    let (_bob, another) = Browser::guest(world.other_door()).await;
    for token in [String::new(), welcome.token.clone()] {
        let Heard::Refreshed(refreshed) = ada.ask(Ask::Refresh(RefreshRequest { token })).await else {
            panic!("refreshed")
        };
        let mut tab = Browser::connect(world.other_door()).await;
        assert_eq!(tab.hello(&refreshed.token).await.member, welcome.member);
    }
    for (token, code) in [(another.token, "FORBIDDEN"), ("x".to_owned(), "UNAUTHENTICATED")] {
        let refused = ada.ask(Ask::Refresh(RefreshRequest { token })).await;
        assert!(matches!(&refused, Heard::Error(error) if error.code == code), "{refused:?}");
    }
    assert_eq!(ada.hello("").await.member, welcome.member, "nobody else came of it");
    world.end().await;
}

async fn who_left_a_room_neither_hears_it_nor_speaks_in_it(world: World) {
    let (mut ada, _) = Browser::guest(world.door()).await;
    let (mut bob, _) = Browser::guest(world.other_door()).await;
    for room in ["attic", "lobby"] {
        ada.join(room, None).await;
        bob.join(room, None).await;
    }
    let leave = || Ask::Leave(LeaveRequest { room: "attic".into() });
    let left = ada.ask(leave()).await;
    assert!(matches!(&left, Heard::Left(left) if left.room == "attic"), "{left:?}");
    bob.send("attic", "c1", "between us").await;
    bob.send("lobby", "c2", "for all").await;
    assert_eq!(ada.message().await.client_id, "c2");
    let send = SendRequest::text("attic", "c3", "hi");
    for ask in [leave(), Ask::Send(send)] {
        let refused = ada.ask(ask).await;
        assert!(matches!(&refused, Heard::Error(error) if error.code == "NOT_JOINED"), "{refused:?}");
    }
    world.end().await;
}

async fn presence(browser: &mut Browser) -> proto::chat::v1::Presence {
    browser
        .find(|event| match event {
            Heard::Presence(presence) => Some(presence),
            _ => None,
        })
        .await
}

fn position(message: &Message) -> Position {
    Position { epoch: message.epoch.clone(), seq: message.seq, id: message.id.clone() }
}
