//! What a verification saw, and what must be true of it. Nothing here connects, waits or prints.
//!
//! A history is what each session heard, in order, and what was answered to each `send`. [`History::faults`] finds
//! everything in it that a chat which keeps its promises would not have done.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    time::Duration,
};

use proto::chat::v1::{Joined, Message, Position, server_frame::Body};
use tokio::time::Instant;

/// What one session was told of its rooms, in order. A session that came back goes on with the same record.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) ears: BTreeMap<String, Ear>,
    /// Why the connection ended, if it ended by itself.
    pub(super) broken: Option<String>,
}

/// What one session was told of one room.
#[derive(Clone, Debug, Default)]
pub(super) struct Ear {
    /// Where the room stood when it was joined, if it was: what is numbered higher is to be heard.
    pub(super) joined_at: Option<Position>,
    pub(super) heard: Vec<Heard>,
    /// Every member who was ever told to be there, by id.
    pub(super) seen: BTreeSet<String>,
    /// Every member who was told to have left, by id.
    pub(super) left: BTreeSet<String>,
    /// How often the room was started afresh though a position was given, or was there.
    pub(super) afresh: usize,
}

/// A message as it was heard.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) epoch: String,
    pub(super) seq: u32,
    pub(super) id: String,
    pub(super) client_id: String,
    pub(super) text: String,
    /// Nothing if it was told by `joined`, after an absence.
    pub(super) at: Option<Instant>,
}

impl Record {
    /// Takes note of what came, whether it is a reply or an event.
    pub(super) fn note(&mut self, body: &Body, now: Instant) {
        match body {
            Body::Joined(joined) => self.ears.entry(joined.room.clone()).or_default().join(joined),
            Body::Message(message) => {
                let ear = self.ears.entry(message.room.clone()).or_default();
                ear.heard.push(Heard::new(message, Some(now)));
            }
            Body::Presence(presence) => {
                let ear = self.ears.entry(presence.room.clone()).or_default();
                ear.seen.extend(presence.joined.iter().map(|member| member.id.clone()));
                ear.left.extend(presence.left.iter().cloned());
            }
            _ => {}
        }
    }

    /// Where to go on in `room`: at the last message that was heard, or where it was joined.
    pub(super) fn position(&self, room: &str) -> Option<Position> {
        let ear = self.ears.get(room)?;
        let heard = ear.heard.last().map(|last| Position {
            epoch: last.epoch.clone(),
            seq: last.seq,
            id: last.id.clone(),
        });
        heard.or_else(|| ear.joined_at.clone())
    }
}

impl Ear {
    fn join(&mut self, joined: &Joined) {
        self.seen.extend(joined.members.iter().map(|member| member.id.clone()));
        let page = joined.messages.iter().map(|message| Heard::new(message, None));
        if joined.resumed {
            self.heard.extend(page);
        } else {
            self.afresh += usize::from(self.joined_at.is_some());
            self.heard.clear();
            let newest = joined.messages.last().map(|message| message.id.clone());
            self.joined_at = Some(Position {
                epoch: joined.epoch.clone(),
                seq: joined.head,
                id: newest.unwrap_or_default(),
            });
        }
    }

    fn is_to_hear(&self, ack: &Ack) -> bool {
        ack.seq > self.head()
    }

    /// The room's head when it was joined.
    fn head(&self) -> u32 {
        self.joined_at.as_ref().map_or(0, |position| position.seq)
    }
}

impl Heard {
    fn new(message: &Message, at: Option<Instant>) -> Self {
        Self {
            epoch: message.epoch.clone(),
            seq: message.seq,
            id: message.id.clone(),
            client_id: message.client_id.clone(),
            text: message.text.clone(),
            at,
        }
    }
}

/// The number and the id that `sent` gave to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) seq: u32,
    pub(super) id: String,
}

/// One message that a member sent. Its `client_id` is unlike any other's of any run.
#[derive(Clone, Debug)]
pub(super) struct Send {
    pub(super) room: String,
    pub(super) client_id: String,
    pub(super) text: String,
    /// When it was said, the last time if it had to be said again.
    pub(super) asked_at: Instant,
    /// What was answered: an acknowledgement, or why there is none.
    pub(super) answer: Result<Ack, String>,
    /// What was answered when the same was sent again by another session of the member.
    pub(super) repeats: Vec<Result<Ack, String>>,
}

/// All of a verification.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) rooms: Vec<String>,
    /// What each member's session was told.
    pub(super) records: Vec<(String, Record)>,
    pub(super) sends: Vec<Send>,
    /// The members, by id: each is in every room.
    pub(super) members: BTreeSet<String>,
    /// The member who left at the end, if it came so far. Their own session need not hear of it.
    pub(super) leaver: Option<String>,
    /// Who was away for so long that they may have been told to be gone.
    pub(super) excused: BTreeSet<String>,
}

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Broken,
    Unacknowledged,
    Missing,
    Hole,
    Doubled,
    Disordered,
    Renumbered,
    Altered,
    RepeatedAnew,
    Afresh,
    Unseen,
    Noise,
    Unannounced,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken => "sessions ended by themselves",
            Self::Unacknowledged => "sends were not acknowledged",
            Self::Missing => "acknowledged messages were not delivered",
            Self::Hole => "numbers were skipped",
            Self::Doubled => "messages were delivered twice",
            Self::Disordered => "messages came out of order",
            Self::Renumbered => "numbers name two messages, or messages bear two numbers",
            Self::Altered => "messages came with another text",
            Self::RepeatedAnew => "repeated sends were not answered as the first",
            Self::Afresh => "rooms were started afresh instead of resumed",
            Self::Unseen => "members were not seen in the room",
            Self::Noise => "members were told to be gone who were there",
            Self::Unannounced => "sessions were not told that a member left",
        })
    }
}

/// How often a fault was found in a room, and one case of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) room: String,
    pub(super) fault: Fault,
    pub(super) count: usize,
    pub(super) example: String,
}

impl History {
    /// Everything that is wrong, by room and fault; a session's end belongs to no room.
    pub(super) fn faults(&self) -> Vec<Finding> {
        let mut findings = Findings::default();
        for (name, record) in &self.records {
            if let Some(why) = &record.broken {
                findings.add("", Fault::Broken, || format!("{name}: {why}"));
            }
            for room in &self.rooms {
                let nothing = Ear::default();
                self.judge_ear(room, name, record.ears.get(room).unwrap_or(&nothing), &mut findings);
            }
        }
        for send in &self.sends {
            judge_send(send, &mut findings);
        }
        self.judge_numbers(&mut findings);
        findings.0.into_values().collect()
    }

    fn judge_ear(&self, room: &str, name: &str, ear: &Ear, findings: &mut Findings) {
        for _ in 0..ear.afresh {
            findings.add(room, Fault::Afresh, || name.to_owned());
        }
        let mut last = ear.head();
        let mut ids = HashSet::new();
        let mut by_client_id = HashMap::new();
        for heard in &ear.heard {
            by_client_id.entry(heard.client_id.as_str()).or_insert(heard);
            let place = || format!("{name} heard {} after {last}", heard.seq);
            if !ids.insert(&heard.id) {
                findings.add(room, Fault::Doubled, place);
            } else if heard.seq <= last {
                findings.add(room, Fault::Disordered, place);
            } else {
                for _ in last + 1..heard.seq {
                    findings.add(room, Fault::Hole, place);
                }
            }
            last = last.max(heard.seq);
        }
        for send in self.sends.iter().filter(|send| send.room == room) {
            match (by_client_id.get(send.client_id.as_str()), &send.answer) {
                (Some(heard), _) if heard.text != send.text => {
                    findings.add(room, Fault::Altered, || format!("{name} heard {} so", heard.seq));
                }
                (None, Ok(ack)) if ear.is_to_hear(ack) => {
                    findings.add(room, Fault::Missing, || format!("{name} did not hear {}", ack.seq));
                }
                _ => {}
            }
        }
        for member in self.members.difference(&ear.seen) {
            findings.add(room, Fault::Unseen, || format!("{name} did not see {member}"));
        }
        for member in ear.left.intersection(&self.members) {
            if !self.excused.contains(member) && self.leaver.as_ref() != Some(member) {
                findings.add(room, Fault::Noise, || format!("{name} heard it of {member}"));
            }
        }
        if let Some(leaver) = &self.leaver
            && leaver != name
            && !ear.left.contains(leaver)
        {
            findings.add(room, Fault::Unannounced, || format!("{name}, of {leaver}"));
        }
    }

    /// A number names one message, for everyone who heard it or was told it, and a message has one number.
    fn judge_numbers(&self, findings: &mut Findings) {
        let mut ids: HashMap<(&str, u32), &str> = HashMap::new();
        let mut numbers: HashMap<(&str, &str), u32> = HashMap::new();
        // Others may call their messages alike; ours are not.
        let ours: HashSet<&str> = self.sends.iter().map(|send| send.client_id.as_str()).collect();
        let heard = self.records.iter().flat_map(|(name, record)| {
            record.ears.iter().flat_map(move |(room, ear)| {
                ear.heard.iter().map(move |heard| {
                    (room.as_str(), name.as_str(), heard.seq, heard.id.as_str(), &*heard.client_id)
                })
            })
        });
        let told = self.sends.iter().filter_map(|send| {
            let ack = send.answer.as_ref().ok()?;
            Some((send.room.as_str(), "its sender", ack.seq, ack.id.as_str(), send.client_id.as_str()))
        });
        for (room, name, seq, id, client_id) in heard.chain(told) {
            let same_id = *ids.entry((room, seq)).or_insert(id) == id;
            let same_number =
                !ours.contains(client_id) || *numbers.entry((room, client_id)).or_insert(seq) == seq;
            if !same_id || !same_number {
                findings.add(room, Fault::Renumbered, || format!("{seq}, as {name} knows it"));
            }
        }
    }
}

fn judge_send(send: &Send, findings: &mut Findings) {
    let first = match &send.answer {
        Ok(first) => first,
        Err(why) => return findings.add(&send.room, Fault::Unacknowledged, || why.clone()),
    };
    for repeat in &send.repeats {
        match repeat {
            Ok(ack) if ack == first => {}
            Ok(ack) => findings.add(&send.room, Fault::RepeatedAnew, || {
                format!("{} was answered as {}", first.seq, ack.seq)
            }),
            Err(why) => findings.add(&send.room, Fault::Unacknowledged, || why.clone()),
        }
    }
}

#[derive(Default)]
struct Findings(BTreeMap<(String, Fault), Finding>);

impl Findings {
    fn add(&mut self, room: &str, fault: Fault, example: impl FnOnce() -> String) {
        let finding = self.0.entry((room.to_owned(), fault)).or_insert_with(|| Finding {
            room: room.to_owned(),
            fault,
            count: 0,
            example: example(),
        });
        finding.count += 1;
    }
}

/// One room in figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) room: String,
    pub(super) sent: usize,
    pub(super) acknowledged: usize,
    pub(super) repeated: usize,
    /// What all sessions heard of it, of what they were to hear.
    pub(super) delivered: usize,
    pub(super) to_deliver: usize,
    /// From `send` to the message's arrival, over all sessions: the median, 99 in 100, the longest. Nothing if
    /// nothing arrived.
    pub(super) latency: Option<[Duration; 3]>,
}

impl History {
    /// Each room in figures.
    pub(super) fn figures(&self) -> Vec<Figures> {
        self.rooms.iter().map(|room| self.figures_of(room)).collect()
    }

    fn figures_of(&self, room: &str) -> Figures {
        let sends: HashMap<&str, &Send> = self
            .sends
            .iter()
            .filter(|send| send.room == *room)
            .map(|send| (send.client_id.as_str(), send))
            .collect();
        let (mut delivered, mut to_deliver, mut latencies) = (0, 0, Vec::new());
        for (_, record) in &self.records {
            let Some(ear) = record.ears.get(room) else { continue };
            let is_to_hear = |send: &Send| send.answer.as_ref().is_ok_and(|ack| ear.is_to_hear(ack));
            to_deliver += sends.values().filter(|send| is_to_hear(send)).count();
            let heard: HashMap<&str, &Heard> =
                ear.heard.iter().map(|heard| (heard.client_id.as_str(), heard)).collect();
            for (client_id, send) in &sends {
                let Some(heard) = heard.get(client_id) else { continue };
                delivered += usize::from(is_to_hear(send));
                latencies.extend(heard.at.map(|at| at.duration_since(send.asked_at)));
            }
        }
        latencies.sort_unstable();
        let at = |percent: usize| latencies.get((latencies.len() * percent).div_ceil(100).saturating_sub(1));
        Figures {
            room: room.to_owned(),
            sent: sends.len(),
            acknowledged: sends.values().filter(|send| send.answer.is_ok()).count(),
            repeated: sends.values().map(|send| send.repeats.len()).sum(),
            delivered,
            to_deliver,
            latency: at(50).zip(at(99)).zip(at(100)).map(|((p50, p99), max)| [*p50, *p99, *max]),
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::chat::v1::{Member, Presence};

    use super::*;

    const ROOM: &str = "verify-1";

    fn message(seq: u32) -> Message {
        Message {
            room: ROOM.into(),
            epoch: "E1".into(),
            seq,
            id: format!("id{seq}"),
            client_id: format!("c{seq}"),
            text: format!("text {seq}"),
            ..Message::default()
        }
    }

    fn member(id: &str) -> Member {
        Member { id: id.into(), ..Member::default() }
    }

    fn presence(joined: &[&str], left: &[&str]) -> Body {
        Body::Presence(Presence {
            room: ROOM.into(),
            joined: joined.iter().map(|id| member(id)).collect(),
            left: left.iter().map(|id| (*id).to_owned()).collect(),
            member_count: 2,
        })
    }

    fn joined(head: u32, resumed: bool, messages: Vec<Message>) -> Body {
        let members = vec![member("ada")];
        let (room, epoch) = (ROOM.into(), "E1".into());
        Body::Joined(Joined { room, epoch, head, resumed, messages, members, ..Joined::default() })
    }

    /// Ada and Bob in a room that stood at 10; 11 to 14 are said, Bob is away for 13, and leaves in the end.
    fn good() -> History {
        let start = Instant::now();
        let (mut ada, mut bob) = (Record::default(), Record::default());
        for record in [&mut ada, &mut bob] {
            record.note(&joined(10, false, vec![message(10)]), start);
            record.note(&presence(&["bob"], &[]), start);
        }
        for seq in 11..=14 {
            ada.note(&Body::Message(message(seq)), start + Duration::from_millis(u64::from(seq)));
            match seq {
                13 => {}
                14 => bob.note(&joined(14, true, vec![message(13), message(14)]), start),
                _ => bob.note(&Body::Message(message(seq)), start + Duration::from_millis(100)),
            }
        }
        ada.note(&presence(&[], &["bob"]), start);
        let sends = (11..=14).map(|seq| {
            let ack = Ack { seq, id: format!("id{seq}") };
            Send {
                room: ROOM.into(),
                client_id: format!("c{seq}"),
                text: format!("text {seq}"),
                asked_at: start,
                repeats: if seq == 12 { vec![Ok(ack.clone())] } else { vec![] },
                answer: Ok(ack),
            }
        });
        History {
            rooms: vec![ROOM.into()],
            records: vec![("ada".into(), ada), ("bob".into(), bob)],
            sends: sends.collect(),
            members: ["ada".into(), "bob".into()].into(),
            leaver: Some("bob".into()),
            excused: BTreeSet::new(),
        }
    }

    /// The faults of a good history after `spoil`, with their counts.
    fn faults_after(spoil: impl FnOnce(&mut History)) -> Vec<(Fault, usize)> {
        let mut history = good();
        spoil(&mut history);
        history.faults().into_iter().map(|finding| (finding.fault, finding.count)).collect()
    }

    fn adas(history: &mut History) -> &mut Ear {
        history.records[0].1.ears.get_mut(ROOM).unwrap()
    }

    #[test]
    fn a_history_that_keeps_the_promises_has_no_faults() {
        assert_eq!(good().faults(), []);
        let others_speak_too = |history: &mut History| {
            for (_, record) in &mut history.records {
                record.note(
                    &Body::Message(Message { client_id: "other".into(), ..message(15) }),
                    Instant::now(),
                );
                record.note(
                    &Body::Message(Message { client_id: "other".into(), ..message(16) }),
                    Instant::now(),
                );
                record.note(&presence(&["eve"], &["eve"]), Instant::now());
            }
        };
        assert_eq!(faults_after(others_speak_too), []);
    }

    #[test]
    fn a_lost_message_is_missing_and_leaves_a_hole() {
        let lost = faults_after(|history| {
            adas(history).heard.remove(1);
        });
        assert_eq!(lost, [(Fault::Missing, 1), (Fault::Hole, 1)]);
        let at_the_end = faults_after(|history| {
            adas(history).heard.pop();
        });
        assert_eq!(at_the_end, [(Fault::Missing, 1)], "there is no hole to see");
    }

    #[test]
    fn a_doubled_message_is_found() {
        let twice = faults_after(|history| {
            let again = adas(history).heard[1].clone();
            adas(history).heard.insert(2, again);
        });
        assert_eq!(twice, [(Fault::Doubled, 1)]);
        let under_another_number = faults_after(|history| {
            for (_, record) in &mut history.records {
                let again = Message { client_id: "c12".into(), ..message(15) };
                record.note(&Body::Message(again), Instant::now());
            }
        });
        assert_eq!(under_another_number, [(Fault::Renumbered, 2)]);
    }

    #[test]
    fn another_order_is_found() {
        let swapped = faults_after(|history| adas(history).heard.swap(1, 2));
        assert_eq!(swapped, [(Fault::Hole, 1), (Fault::Disordered, 1)]);
    }

    #[test]
    fn a_number_that_names_two_messages_is_found() {
        let heard = faults_after(|history| adas(history).heard[0].id = "another".into());
        assert_eq!(heard, [(Fault::Renumbered, 2)], "bob and the sender know it otherwise");
        let told = faults_after(|history| {
            history.sends[0].answer = Ok(Ack { seq: 12, id: "id12".into() });
        });
        assert_eq!(told, [(Fault::Renumbered, 1)]);
    }

    #[test]
    fn another_text_is_found() {
        assert_eq!(faults_after(|history| adas(history).heard[0].text.clear()), [(Fault::Altered, 1)]);
    }

    #[test]
    fn a_send_without_an_answer_is_found() {
        let unanswered = faults_after(|history| history.sends[0].answer = Err("UNAVAILABLE".into()));
        assert_eq!(unanswered, [(Fault::Unacknowledged, 1)], "that it was heard is no loss");
    }

    #[test]
    fn a_repeat_that_became_another_message_is_found() {
        let anew = faults_after(|history| {
            history.sends[1].repeats[0] = Ok(Ack { seq: 15, id: "id15".into() });
        });
        assert_eq!(anew, [(Fault::RepeatedAnew, 1)]);
        let unanswered = faults_after(|history| history.sends[1].repeats[0] = Err("INTERNAL".into()));
        assert_eq!(unanswered, [(Fault::Unacknowledged, 1)]);
    }

    #[test]
    fn coming_back_to_a_room_that_starts_afresh_is_found() {
        let afresh = faults_after(|history| {
            history.records[1].1.note(&joined(14, false, vec![message(14)]), Instant::now());
        });
        assert_eq!(afresh, [(Fault::Afresh, 1)]);
    }

    #[test]
    fn who_lost_a_connection_before_hearing_anything_goes_on_where_the_room_was_joined() {
        let mut record = Record::default();
        assert_eq!(record.position(ROOM), None);
        let place = |seq, id: &str| Some(Position { epoch: "E1".into(), seq, id: id.into() });
        record.note(&joined(0, false, vec![]), Instant::now());
        assert_eq!(record.position(ROOM), place(0, ""));
        record.note(&joined(10, false, vec![message(9), message(10)]), Instant::now());
        assert_eq!(record.position(ROOM), place(10, "id10"));
        record.note(&Body::Message(message(11)), Instant::now());
        assert_eq!(record.position(ROOM), place(11, "id11"));
    }

    #[test]
    fn what_presence_did_not_tell_is_found() {
        let unseen = faults_after(|history| {
            adas(history).seen.remove("bob");
        });
        assert_eq!(unseen, [(Fault::Unseen, 1)]);
        let unannounced = faults_after(|history| adas(history).left.clear());
        assert_eq!(unannounced, [(Fault::Unannounced, 1)]);
        let noise = faults_after(|history| history.leaver = None);
        assert_eq!(noise, [(Fault::Noise, 1)]);
        let excused = faults_after(|history| {
            history.leaver = None;
            history.excused.insert("bob".into());
        });
        assert_eq!(excused, []);
    }

    #[test]
    fn a_session_that_ended_and_one_that_heard_nothing_are_found() {
        let broken = faults_after(|history| history.records[0].1.broken = Some("closed with 4002".into()));
        assert_eq!(broken, [(Fault::Broken, 1)]);
        let deaf = faults_after(|history| history.records[0].1.ears.clear());
        assert_eq!(deaf, [(Fault::Missing, 4), (Fault::Unseen, 2), (Fault::Unannounced, 1)]);
    }

    #[test]
    fn a_finding_says_where() {
        let mut history = good();
        adas(&mut history).heard.pop();
        let [finding] = history.faults().try_into().unwrap();
        assert_eq!((finding.room.as_str(), finding.example.as_str()), (ROOM, "ada did not hear 14"));
    }

    #[test]
    fn figures_count_what_was_to_be_heard_and_what_was() {
        let mut history = good();
        let [figures] = history.figures().try_into().unwrap();
        assert_eq!((figures.sent, figures.acknowledged, figures.repeated), (4, 4, 1));
        assert_eq!((figures.delivered, figures.to_deliver), (8, 8));
        // Six were heard as they were said, two of them by Bob after 100 ms.
        let [p50, p99, max] = figures.latency.unwrap();
        assert_eq!((p50.as_millis(), p99.as_millis(), max.as_millis()), (13, 100, 100));
        adas(&mut history).heard.clear();
        history.records[1].1.ears.clear();
        let [figures] = history.figures().try_into().unwrap();
        assert_eq!((figures.delivered, figures.to_deliver, figures.latency), (0, 4, None));
    }
}
