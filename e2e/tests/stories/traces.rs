//! What a collector of traces learns of a message.

use std::collections::HashMap;

use runtime::traces::Traces;
use testkit::{Browser, Collected, TraceCollector, eventually};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_follows_a_message_over_both_tiers_to_every_gateway() {
    let collector = TraceCollector::start().await;
    let all = "1".parse().unwrap();
    let traces = Traces::start("story", Some(&collector.url().parse().unwrap()), all).unwrap();
    let world = World::large_without_a_disk().await;
    let (mut ada, welcome) = Browser::guest(&world.gateways[0]).await;
    let (mut bob, _) = Browser::guest(&world.gateways[1]).await;
    for browser in [&mut ada, &mut bob] {
        browser.join("a-room-of-theirs", None).await;
    }
    ada.send("a-room-of-theirs", "their-first", "between us").await;
    for browser in [&mut ada, &mut bob] {
        assert_eq!(browser.message().await.text, "between us");
    }

    let trace = eventually("the whole way is collected", async || {
        let mut ways: HashMap<String, Vec<Collected>> = HashMap::new();
        for span in collector.collected() {
            ways.entry(span.trace.clone()).or_default().push(span);
        }
        ways.into_values().find(|way| way.len() >= 8)
    })
    .await;
    let [frame] = named(&trace, "frame")[..] else { panic!("{trace:?}") };
    let [link] = named(&trace, "link")[..] else { panic!("{trace:?}") };
    let [decide] = named(&trace, "decide")[..] else { panic!("{trace:?}") };
    let [append] = named(&trace, "append")[..] else { panic!("{trace:?}") };
    let [one, other] = named(&trace, "hear")[..] else { panic!("{trace:?}") };
    assert_eq!(frame.parent, "");
    assert_eq!((&link.parent, &decide.parent, &append.parent), (&frame.id, &link.id, &decide.id));
    assert_eq!((&one.parent, &other.parent), (&append.id, &append.id));
    let mut parents: Vec<_> = named(&trace, "fan out").iter().map(|span| span.parent.clone()).collect();
    let mut heard = vec![one.id.clone(), other.id.clone()];
    parents.sort();
    heard.sort();
    assert_eq!(parents, heard, "each room service tells its gateway");
    assert_eq!(trace.len(), 8, "nothing is traced for each of its readers: {trace:?}");
    let member = welcome.member.unwrap();
    let secrets = [
        "between us",
        "a-room-of-theirs",
        "their-first",
        "127.0.0.1",
        &member.name,
        &member.id,
        &welcome.token,
    ];
    for span in &trace {
        for secret in secrets {
            assert!(!span.all.contains(secret), "{secret}: {}", span.all);
        }
    }
    traces.finish().await;
}

fn named<'a>(trace: &'a [Collected], name: &str) -> Vec<&'a Collected> {
    trace.iter().filter(|span| span.name == name).collect()
}
