//! `parlor verify`: whether a chat that runs keeps its promises, seen from outside.
//!
//! Members join rooms through every gateway that is named, speak, repeat themselves, lose their connection and come
//! back. What they saw is a [`History`]; `history.rs` judges it, `session.rs` is one of them, `report.rs` says it.

mod history;
mod report;
mod session;

use std::{
    collections::BTreeMap, env, path::PathBuf, process::ExitCode, str::FromStr, sync::Arc, time::Duration,
};

use clap::Parser;
use futures_util::future::{join_all, try_join_all};
use http::Uri;
use proto::chat::v1::{LeaveRequest, client_frame::Body as Ask};
use runtime::{
    Tasks, asked_to_stop,
    settings::{self, Together},
    tls::{ClientConfig, ClientFiles, Files as _, PemFile},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

use self::{
    history::{History, Record, Send},
    session::Session,
};

/// How long a member may be away before others may be told so. The shortest grace that makes sense for a reload.
const NOTICED_ABSENCE: Duration = Duration::from_secs(3);
/// How many sessions one run may open. A gateway takes 256 from one address.
const MAX_MEMBERS: u32 = 200;
/// Every how many messages of one member are sent again.
const REPEAT_EVERY: usize = 4;
/// How long to wait before a session is opened again that could not be.
const REOPEN: Duration = Duration::from_millis(250);
/// How long goodbyes may take.
const FAREWELL: Duration = Duration::from_secs(3);
/// Something is not as promised.
const EXIT_FAULTS: u8 = 1;
/// It could not be found out: no session, or no room.
const EXIT_UNREACHABLE: u8 = 2;
/// As a shell says it of Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

/// Checks that a chat which runs keeps its promises: members join rooms, send, repeat some of it through another
/// session, lose a connection and come back. Nothing acknowledged may be missing, doubled, out of order or changed,
/// and presence has to tell the truth. It takes seconds, prints a table, and exits with 0 if all is well, 1 if not, 2
/// if the chat cannot be reached, and 64 if it was asked badly.
///
/// The rooms are called verify-1, verify-2, … in every run, so that runs leave no more than the history of that many
/// rooms behind. Guests may join them, as any room. The members are guests and leave in the end.
#[derive(Clone, Debug, Parser)]
#[command(name = "parlor verify", bin_name = "parlor verify")]
struct Settings {
    /// Where gateways are, like `https://chat.example` or `http://127.0.0.1:3000`. Name every gateway of a fleet, with
    /// commas or spaces between them: the members are spread over them, and every message has to cross.
    #[arg(value_delimiter = ',', default_value = "http://127.0.0.1:3000")]
    urls: Vec<Gateway>,

    /// How many rooms to check. 1 to 50: a session may be in 64. Each keeps its history.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=50))]
    rooms: u32,

    /// How many members to be, each with a session that is in every room. 2 to 200: a gateway takes 256 sessions from
    /// one address.
    #[arg(long, default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(2..=i64::from(MAX_MEMBERS)))]
    members: u32,

    /// How many messages each member sends to each room, one after the other. 2 to 10,000. Beyond what the chat takes
    /// from one session at once (200 by default) they are sent as slowly as it asks for.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    messages: u32,

    /// How long a session, a reply, or something that has to be heard may take, like `10s`. Longer than a failover, if one may
    /// come in between.
    #[arg(long, default_value = "10s", value_parser = settings::duration)]
    timeout: Duration,

    /// A PEM file of the certificate authorities that gateways' certificates may come from, for a chat with its own.
    /// Without it, those that the system trusts.
    #[arg(long)]
    ca: Option<PathBuf>,

    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

impl Settings {
    fn trust(&self) -> ClientFiles {
        let ca = self.ca.clone().map(|path| PemFile { setting: "--ca", path });
        ClientFiles { ca, identity: None, protocols: &[] }
    }
}

impl Together for Settings {
    fn conflicts(&self) -> Vec<String> {
        self.trust().load().err().map(|unusable| unusable.to_string()).into_iter().collect()
    }
}

/// The WebSocket of a gateway.
#[derive(Clone, Debug)]
struct Gateway(Uri);

impl FromStr for Gateway {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.trim().parse().map_err(|error| format!("{error}"))?;
        let (scheme, authority) = match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "ws"), Some(authority)) => ("ws", authority),
            (Some("https" | "wss"), Some(authority)) => ("wss", authority),
            _ => return Err("it is like http://host:port, or https://host".to_owned()),
        };
        let path = uri.path().trim_end_matches('/').trim_end_matches("/ws");
        format!("{scheme}://{authority}{path}/ws").parse().map(Self).map_err(|error| format!("{error}"))
    }
}

/// Whether the words of this process ask for it.
pub(crate) fn is_asked_for() -> bool {
    env::args_os().nth(1).is_some_and(|word| word == "verify")
}

/// Verifies as the words after `verify` say.
pub(crate) fn main() -> ExitCode {
    let settings: Settings = settings::parse_words(env::args_os().skip(1));
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(verify(settings)),
        Err(error) => unreachable(&error.to_string()),
    }
}

async fn verify(settings: Settings) -> ExitCode {
    let began = Instant::now();
    let tasks = Tasks::default();
    let asked = asked_to_stop();
    let json = settings.json;
    let trust = match settings.trust().load() {
        Ok(trust) => Arc::new(trust),
        Err(unusable) => return unreachable(&unusable.to_string()),
    };
    let seen = tokio::select! {
        seen = Run::new(settings, trust, tasks.clone()).go() => Some(seen),
        () = asked => None,
    };
    let took = began.elapsed();
    // Every session is dropped by now, and says goodbye.
    tasks.finish(FAREWELL).await;
    let history = match seen {
        None => {
            eprintln!("parlor verify: interrupted");
            return ExitCode::from(EXIT_INTERRUPTED);
        }
        Some(Err(why)) => return unreachable(&why),
        Some(Ok(history)) => history,
    };
    let findings = history.faults();
    if json {
        println!("{}", report::json(&history, &findings, took));
    } else {
        print!("{}", report::table(&history, &findings, took));
    }
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAULTS) }
}

fn unreachable(why: &str) -> ExitCode {
    eprintln!("parlor verify: {why}");
    ExitCode::from(EXIT_UNREACHABLE)
}

/// One verification.
struct Run {
    settings: Settings,
    trust: Arc<ClientConfig>,
    tasks: Tasks,
    /// Unlike any other run's, so that others may be in the rooms.
    name: String,
    history: History,
}

impl Run {
    fn new(settings: Settings, trust: Arc<ClientConfig>, tasks: Tasks) -> Self {
        let rooms = (1..=settings.rooms).map(|n| format!("verify-{n}")).collect();
        let name = format!("{:016x}", rand::random::<u64>());
        Self { settings, trust, tasks, name, history: History { rooms, ..History::default() } }
    }

    /// Plays it to its end, whatever is lost on the way; or says why it cannot begin.
    async fn go(mut self) -> Result<History, String> {
        let n_members = usize::try_from(self.settings.members).expect("a u32 fits");
        let mut members =
            try_join_all((0..n_members).map(|which| self.open(which, "", Arc::default()))).await?;
        self.history.members = members.iter().map(|session| session.member().to_owned()).collect();
        join_all(members.iter().map(|session| self.sees_all(session))).await;

        let messages = usize::try_from(self.settings.messages).expect("a u32 fits");
        let half = messages / 2;
        self.speak(&members, 0, 0..half).await;

        // The first loses its connection, misses what the others say, and comes back through the next gateway.
        let away = members.remove(0);
        let (token, record, id) = (away.welcome.token.clone(), away.record.clone(), away.member().to_owned());
        let lost_at = Instant::now();
        away.lose().await;
        let missed = half + 1;
        self.speak(&members, 1, half..missed).await;
        match self.open(1, &token, record.clone()).await {
            Ok(back) => members.insert(0, back),
            // It is told as what it is: a session that ended.
            Err(why) => record.send_modify(|record| record.broken = Some(why)),
        }
        if lost_at.elapsed() >= NOTICED_ABSENCE {
            self.history.excused.insert(id.clone());
        }
        let first = n_members - members.len();
        if first == 0 {
            self.speak(&members[..1], 0, half..missed).await;
        }
        self.speak(&members, first, missed..messages).await;
        self.repeat(&members[members.len() - 1]).await;

        self.all_is_heard(&members).await;
        self.leave(&members).await;
        let others = members.iter().skip(1 - first);
        let others = others.map(|session| (session.member().to_owned(), session.record.borrow().clone()));
        self.history.records = others.chain([(id, record.borrow().clone())]).collect();
        Ok(self.history)
    }

    /// A session of a member, in every room, through the gateway whose turn it is. Tries again while there is time: a
    /// gateway that cannot deliver right now takes nobody.
    async fn open(
        &self,
        which: usize,
        token: &str,
        record: Arc<watch::Sender<Record>>,
    ) -> Result<Session, String> {
        let end = Instant::now() + self.settings.timeout;
        loop {
            let why = match self.try_open(which, token, record.clone()).await {
                Ok(session) => return Ok(session),
                Err(why) => why,
            };
            timeout_at(end, sleep(REOPEN)).await.map_err(|_| why)?;
            // That was a try, and no session that ended by itself.
            record.send_modify(|record| record.broken = None);
        }
    }

    async fn try_open(
        &self,
        which: usize,
        token: &str,
        record: Arc<watch::Sender<Record>>,
    ) -> Result<Session, String> {
        let Gateway(uri) = &self.settings.urls[which % self.settings.urls.len()];
        let session = Session::open(uri, &self.trust, token, record, self.settings.timeout, &self.tasks)
            .await
            .map_err(|why| format!("no session at {uri}: {why}"))?;
        for room in &self.history.rooms {
            session.join(room).await.map_err(|why| format!("cannot join {room}: {why}"))?;
        }
        Ok(session)
    }

    async fn sees_all(&self, session: &Session) {
        let (rooms, members) = (&self.history.rooms, &self.history.members);
        let in_room =
            |record: &Record, room| record.ears.get(room).is_some_and(|ear| members.is_subset(&ear.seen));
        session.hear(|record| rooms.iter().all(|room| in_room(record, room))).await;
    }

    /// Every member, of whom the first is number `first`, says these of its messages in every room.
    async fn speak(&mut self, members: &[Session], first: usize, which: std::ops::Range<usize>) {
        let (name, rooms) = (&self.name, &self.history.rooms);
        let speeches = members.iter().enumerate().map(|(n, session)| {
            let which = which.clone();
            async move {
                let mut sends = Vec::new();
                for (k, room) in which.flat_map(|k| rooms.iter().map(move |room| (k, room))) {
                    let client_id = format!("{name}-{}-{k}", first + n);
                    let text = format!("verify {client_id} in {room}");
                    let (asked_at, answer) = session.send(room, &client_id, &text).await;
                    // One that is not answered is a fault already; a thousand more would only take a thousand timeouts.
                    let unanswered = answer.is_err();
                    let room = room.clone();
                    sends.push(Send { room, client_id, text, asked_at, answer, repeats: Vec::new() });
                    if unanswered {
                        break;
                    }
                }
                sends
            }
        });
        let sends = join_all(speeches).await;
        self.history.sends.extend(sends.into_iter().flatten());
    }

    /// The last member says a part of what it said again, in another session through the next gateway.
    async fn repeat(&mut self, session: &Session) {
        let member = usize::try_from(self.settings.members).expect("a u32 fits") - 1;
        let again = self.open(member + 1, &session.welcome.token, Arc::default()).await;
        let mine = format!("{}-{member}-", self.name);
        let n_rooms = self.history.rooms.len();
        let sends = self.history.sends.iter_mut().filter(|send| send.client_id.starts_with(&mine));
        // Each message is said in all rooms before the next.
        let picked = sends.enumerate().filter(|(n, _)| (n / n_rooms).is_multiple_of(REPEAT_EVERY));
        for (_, send) in picked.filter(|(_, send)| send.answer.is_ok()) {
            let answer = match &again {
                Ok(again) => again.send(&send.room, &send.client_id, &send.text).await.1,
                Err(why) => Err(why.clone()),
            };
            let unanswered = answer.is_err();
            send.repeats.push(answer);
            if unanswered {
                break;
            }
        }
    }

    /// Waits until every session has heard everything that was acknowledged.
    async fn all_is_heard(&self, members: &[Session]) {
        let mut newest: BTreeMap<&str, u32> = BTreeMap::new();
        for send in &self.history.sends {
            if let Ok(ack) = &send.answer {
                let seq = newest.entry(&send.room).or_default();
                *seq = ack.seq.max(*seq);
            }
        }
        // Rooms are heard in order.
        let heard_by = |record: &Record| {
            newest.iter().all(|(room, seq)| {
                let last = record.ears.get(*room).and_then(|ear| ear.heard.last());
                last.is_some_and(|last| last.seq >= *seq)
            })
        };
        join_all(members.iter().map(|session| session.hear(heard_by))).await;
    }

    /// The last member leaves, and the others wait for word of it.
    async fn leave(&mut self, members: &[Session]) {
        let Some((leaver, others)) = members.split_last() else { return };
        let id = leaver.member().to_owned();
        for room in &self.history.rooms {
            // If it fails, nobody hears of it, which is what counts.
            let _ = leaver.ask(Ask::Leave(LeaveRequest { room: room.clone() })).await;
        }
        let told = |record: &Record| {
            self.history
                .rooms
                .iter()
                .all(|room| record.ears.get(room).is_some_and(|ear| ear.left.contains(&id)))
        };
        join_all(others.iter().map(|session| session.hear(told))).await;
        self.history.leaver = Some(id);
    }
}
