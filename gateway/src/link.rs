//! The one stream to a room service: dial, watch, replace, replay.
//!
//! Only this file and `upstream` know tonic's client side. What comes down goes to the hub; what goes up is queued here, bounded in
//! bytes, and a session is told at once when it cannot.

use std::{
    collections::BTreeSet,
    error::Error as _,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use prost::Message as _;
use proto::{
    chat::v1::{ClientFrame, ServerFrame},
    edge::v1::{
        AttachRequest, CallRequest, LinkRequest, LinkResponse, Open, Probe, ReplayDone, RoomReplay,
        SessionFrame, SessionGone, attach_response::Answer, edge_service_client::EdgeServiceClient,
        link_request::Body as Up, link_response::Body as Down,
    },
};
use runtime::{Health, traces::Span};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, Streaming, metadata::MetadataValue, transport::Channel};

use crate::{
    close::Close,
    config::Settings,
    delivery::{Delivery, Due},
    hub::{Hub, Number},
    upstream::{Target, Upstream, why},
};

/// Counts the Links of one gateway.
pub(crate) type Generation = u64;

/// How long it may take from the first packet to `Opened`.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one room service may take before the next is tried too: an address that drops packets must not hold up the
/// others. Longer than opening a Link takes in one region, so that mostly one is tried.
const HEAD_START: Duration = Duration::from_millis(300);
/// How many are tried at once.
const MAX_TRIES: usize = 4;
/// The largest thing that goes up, which is the largest that a room service reads.
const MAX_UP_BYTES: usize = 256 << 10;
/// The largest thing that comes down: a page of history with the longest texts, several times over.
const MAX_DOWN_BYTES: usize = 16 << 20;
/// Before the second round of dialling, see [`Pace`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Before any round of dialling.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often it is looked for another room service while this one cannot deliver, or does not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// A Link that held this long was a good one, and after its end the next is dialled at once.
const GOOD_LINK: Duration = Duration::from_secs(1);
/// How long the last words may take when the gateway ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// What a frame costs in the queue beside its bytes.
const FRAME_COST: usize = 256;

/// The way up, for sessions.
#[derive(Debug)]
pub(crate) struct Link {
    current: Mutex<Option<Current>>,
    /// The bytes that may wait, for all Links together.
    budget: Arc<Semaphore>,
}

#[derive(Debug)]
struct Current {
    generation: Generation,
    queue: mpsc::UnboundedSender<Queued>,
    /// For calls, on the Link's connection.
    client: EdgeServiceClient<Channel>,
}

/// Something on its way up, and its share of the budget until it is taken. What a session must not lose (its end)
/// and what the Link itself says have none; there is one of those for each session.
#[derive(Debug)]
struct Queued {
    body: Up,
    _share: Option<OwnedSemaphorePermit>,
    /// Of its wait.
    _span: Span,
}

impl From<Up> for Queued {
    fn from(body: Up) -> Self {
        Self { body, _share: None, _span: Span::NOTHING }
    }
}

/// There is no Link, or too much waits for it.
#[derive(Debug, thiserror::Error)]
#[error("no room service takes this now")]
pub(crate) struct Unavailable;

impl Link {
    /// Not open yet. At most `queue_bytes` will wait to go up.
    pub(crate) fn new(queue_bytes: u32) -> Self {
        Self { current: Mutex::default(), budget: Arc::new(Semaphore::new(queue_bytes as usize)) }
    }

    /// Sends a session's frame up, which `span` is of. The Link that took it.
    pub(crate) fn frame(
        &self,
        session: Number,
        frame: ClientFrame,
        span: &Span,
    ) -> Result<Generation, Unavailable> {
        let cost = u32::try_from(frame.encoded_len() + FRAME_COST).map_err(|_| Unavailable)?;
        let share = self.budget.clone().try_acquire_many_owned(cost).map_err(|_| Unavailable)?;
        let current = self.lock();
        let current = current.as_ref().ok_or(Unavailable)?;
        let span = span.within("link");
        let body = Up::Frame(SessionFrame { session, frame: Some(frame), traceparent: span.traceparent() });
        let queued = Queued { body, _share: Some(share), _span: span };
        current.queue.send(queued).map_err(|_| Unavailable)?;
        Ok(current.generation)
    }

    /// Asks something for someone without a session, who brings `token`; `span` is of it. The answer comes `within` that
    /// time, or does not.
    pub(crate) async fn call(
        &self,
        token: String,
        frame: ClientFrame,
        within: Duration,
        span: &Span,
    ) -> Result<ServerFrame, Unavailable> {
        let mut client = self.lock().as_ref().ok_or(Unavailable)?.client.clone();
        let mut request = Request::new(CallRequest { token, frame: Some(frame) });
        if let Ok(traceparent) = MetadataValue::try_from(span.traceparent())
            && !span.is_nothing()
        {
            request.metadata_mut().insert("traceparent", traceparent);
        }
        let answer = timeout(within, client.call(request)).await.map_err(|_| Unavailable)?;
        let answer = answer.map_err(|status| {
            tracing::debug!(code = ?status.code(), "a call is not answered");
            Unavailable
        })?;
        answer.into_inner().frame.ok_or(Unavailable)
    }

    /// Asks about a file, like [`Self::call`].
    pub(crate) async fn attach(
        &self,
        request: AttachRequest,
        within: Duration,
    ) -> Result<Answer, Unavailable> {
        let mut client = self.lock().as_ref().ok_or(Unavailable)?.client.clone();
        let answer = timeout(within, client.attach(request)).await.map_err(|_| Unavailable)?;
        let answer = answer.map_err(|status| {
            tracing::debug!(code = ?status.code(), "a question about a file is not answered");
            Unavailable
        })?;
        answer.into_inner().answer.ok_or(Unavailable)
    }

    /// Tells that a session ended; `left` if it said goodbye. Call it after the hub has forgotten the session, or a
    /// replay in between would bring it back. Without a Link it is not needed: the next one is not told of the session.
    pub(crate) fn gone(&self, session: Number, left: bool) {
        if let Some(current) = &*self.lock() {
            let _ = current.queue.send(Up::Gone(SessionGone { session, left }).into());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps one Link, as long as the gateway runs.
#[derive(Debug)]
pub(crate) struct Keeper {
    link: Arc<Link>,
    hub: Arc<Hub>,
    upstream: Upstream,
    health: Health,
    settings: Arc<Settings>,
    /// Names this run of this gateway.
    edge: String,
    generations: AtomicU64,
    refusals: watch::Sender<Refusals>,
}

/// Why room services opened no Link, since there was one.
#[derive(Debug, Default)]
struct Refusals {
    /// In the last round.
    last: BTreeSet<String>,
    /// Those that are in the log. Room services are few, and so are their reasons.
    told: BTreeSet<String>,
}

/// How long to wait before the next round of dialling: a random part of a pause that grows, so that the gateways of a
/// fleet do not come back in step. A room service that opens Links and drops them does not reset it.
#[derive(Clone, Copy)]
struct Pace(Duration);

impl Pace {
    const AT_ONCE: Self = Self(Duration::ZERO);

    async fn wait(&mut self) {
        sleep(self.0.mul_f64(rand::random())).await;
        self.0 = (self.0 * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
    }

    /// After the end of `line`.
    fn after(line: &Line) -> Self {
        if line.opened_at.elapsed() >= GOOD_LINK { Self::AT_ONCE } else { line.pace }
    }
}

/// When it was last looked for another room service than the one of a Link that is open.
#[derive(Default)]
struct Lookout(Option<Instant>);

impl Lookout {
    /// Whether it is time to look, which is then done.
    fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|looked_at| looked_at.elapsed() >= LOOK_AGAIN);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

/// An open stream.
struct Line {
    target: String,
    address: Option<SocketAddr>,
    generation: Generation,
    queue: mpsc::UnboundedSender<Queued>,
    client: EdgeServiceClient<Channel>,
    down: Streaming<LinkResponse>,
    /// Its room service answers probes.
    probes: bool,
    /// Its room service said that it cannot deliver now.
    troubled: bool,
    opened_at: Instant,
    pace: Pace,
}

/// Why a Line is no longer the current one.
enum Outcome {
    /// The gateway ends.
    Ending(Box<Line>),
    /// It broke, for this reason, after it had brought nothing for so long though it was asked.
    Lost { line: Box<Line>, why: String, silence: Duration },
    /// Another is open.
    Replaced { old: Box<Line>, new: Box<Line> },
}

impl Keeper {
    /// A keeper of `link`, with a name of its own for the room service.
    pub(crate) fn new(
        link: Arc<Link>,
        hub: Arc<Hub>,
        upstream: Upstream,
        health: Health,
        settings: Arc<Settings>,
    ) -> Self {
        let edge = format!("e_{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>());
        health.unready("link", "no room service has answered yet");
        Delivery::unknown(&health);
        Self {
            link,
            hub,
            upstream,
            health,
            settings,
            edge,
            generations: AtomicU64::new(0),
            refusals: watch::Sender::default(),
        }
    }

    /// Opens a Link, and another when it breaks, until `ending`.
    pub(crate) async fn keep(self, ending: CancellationToken) {
        let up = metrics::gauge!("parlor_gateway_link_up");
        let mut retiring = None;
        let mut avoid = None;
        let mut pace = Pace::AT_ONCE;
        let mut silence = Duration::ZERO;
        loop {
            up.set(0.0);
            let mut line = tokio::select! {
                () = ending.cancelled() => return,
                line = self.dial(avoid, pace) => line,
                () = self.say_unready_in_time(silence) => unreachable!("it waits for ever"),
            };
            let (lost, why) = loop {
                self.install(&mut line);
                up.set(1.0);
                self.health.ready("link");
                self.refusals.send_replace(Refusals::default());
                tracing::info!(room_service = line.target, generation = line.generation, "the Link is open");
                match self.carry(line, &mut retiring, &ending).await {
                    Outcome::Replaced { old, new } => {
                        tracing::info!(
                            room_service = old.target,
                            generation = old.generation,
                            "the Link is replaced"
                        );
                        retiring = Some(self.retire(old));
                        line = new;
                    }
                    Outcome::Lost { line, why, silence: until_then } => {
                        silence = until_then;
                        break (line, why);
                    }
                    Outcome::Ending(line) => return self.say_goodbye(line).await,
                }
            };
            tracing::warn!(
                room_service = lost.target,
                generation = lost.generation,
                why,
                "the Link broke; sessions stay, and a new one is dialled"
            );
            avoid = lost.address;
            pace = Pace::after(&lost);
        }
    }

    /// Dials until a room service says `Opened`. One that cannot deliver now is taken only if all are so.
    async fn dial(&self, avoid: Option<SocketAddr>, mut pace: Pace) -> Box<Line> {
        loop {
            pace.wait().await;
            if let Some(line) = self.race(self.upstream.targets(avoid).await).await {
                return Box::new(Line { pace, ..line });
            }
        }
    }

    /// Looks once for a room service that can deliver, elsewhere than at `troubled`.
    async fn look_elsewhere(&self, troubled: Option<SocketAddr>) -> Option<Box<Line>> {
        let mut targets = self.upstream.targets(troubled).await;
        targets.retain(|target| target.address() != troubled);
        self.race(targets).await.filter(|line| !line.troubled).map(Box::new)
    }

    /// Tries `targets` in their order: the next when one has failed, or has not answered for a moment. The first that
    /// opens, or one that cannot deliver now if no other opens.
    async fn race(&self, targets: Vec<Target>) -> Option<Line> {
        let mut targets = targets.into_iter();
        let mut tries = FuturesUnordered::new();
        let mut last_resort = None;
        let mut refusals = BTreeSet::new();
        loop {
            if tries.len() < MAX_TRIES
                && let Some(target) = targets.next()
            {
                tries.push(async move { self.try_open(&target).await });
            }
            match timeout(HEAD_START, tries.next()).await {
                Ok(Some(Ok(line))) if line.troubled => last_resort = last_resort.or(Some(line)),
                Ok(Some(Ok(line))) => return Some(line),
                Ok(Some(Err(why))) => {
                    refusals.insert(why);
                }
                Ok(None) => {
                    self.refusals.send_modify(|all| all.last = refusals);
                    return last_resort;
                }
                Err(_) => {}
            }
        }
    }

    /// A Link with it; or why not, which the log says once.
    async fn try_open(&self, target: &Target) -> Result<Line, String> {
        let opened = timeout(OPEN_TIMEOUT, self.open(target)).await;
        let opened = opened.unwrap_or_else(|_| Err("it took too long".to_owned()));
        let result = if opened.is_ok() { "opened" } else { "failed" };
        metrics::counter!("parlor_gateway_link_dials_total", "result" => result).increment(1);
        opened.inspect_err(|why| {
            let is_new = self.refusals.send_if_modified(|all| all.told.insert(why.clone()));
            if is_new {
                tracing::warn!(room_service = %target, why, "a room service opens no Link");
            } else {
                tracing::debug!(room_service = %target, why, "a room service opens no Link");
            }
        })
    }

    async fn open(&self, target: &Target) -> Result<Line, String> {
        let (channel, testimony) = target.connect(self.settings.link_keepalive).await?;
        let opened = self.open_on(channel, target).await;
        opened.map_err(|why| testimony.words().map_or(why, str::to_owned))
    }

    async fn open_on(&self, channel: Channel, target: &Target) -> Result<Line, String> {
        let (queue, queued) = mpsc::unbounded_channel::<Queued>();
        let heartbeat_seconds = self.settings.heartbeat_seconds();
        let open = Up::Open(Open { edge: self.edge.clone(), heartbeat_seconds });
        queue.send(open.into()).map_err(|_| "it is closed")?;
        let requests =
            UnboundedReceiverStream::new(queued).map(|queued| LinkRequest { body: Some(queued.body) });
        let mut client = EdgeServiceClient::new(channel)
            .max_decoding_message_size(MAX_DOWN_BYTES)
            .max_encoding_message_size(MAX_UP_BYTES);
        let mut down = client.link(requests).await.map_err(|status| told(&status))?.into_inner();
        let opened = down.message().await.map_err(|status| told(&status))?;
        let Some(LinkResponse { body: Some(Down::Opened(opened)) }) = opened else {
            return Err("it did not answer Open".to_owned());
        };
        Ok(Line {
            target: target.to_string(),
            address: target.address(),
            generation: 0,
            queue,
            client,
            down,
            probes: opened.probes,
            troubled: !opened.trouble.is_empty(),
            opened_at: Instant::now(),
            pace: Pace::AT_ONCE,
        })
    }

    /// Makes `line` the way up. What this gateway has is told first: whatever sessions say next is queued behind.
    fn install(&self, line: &mut Line) {
        let mut current = self.link.lock();
        line.generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let (sessions, rooms) = self.hub.replay();
        let sessions = sessions.into_iter().map(Up::Session);
        let rooms = rooms.into_iter().map(Up::Room);
        for body in sessions.chain(rooms).chain([Up::Replayed(ReplayDone {})]) {
            // If it broke already, whoever reads it will notice.
            let _ = line.queue.send(body.into());
        }
        let (queue, client) = (line.queue.clone(), line.client.clone());
        *current = Some(Current { generation: line.generation, queue, client });
    }

    /// Hands on what comes down, until there is a reason for another Link.
    async fn carry(
        &self,
        mut line: Box<Line>,
        retiring: &mut Option<BoxFuture<'_, ()>>,
        ending: &CancellationToken,
    ) -> Outcome {
        let age = spread(self.settings.link_age);
        let mut replace_at = Some(line.opened_at + age);
        let mut successor: Option<BoxFuture<'_, Option<Box<Line>>>> = None;
        let mut lookout = Lookout::default();
        let mut delivery = Delivery::new(self.health.clone(), self.settings.delivery_grace, line.probes);
        loop {
            let why = tokio::select! {
                response = line.down.message() => match response {
                    Ok(Some(LinkResponse { body: Some(Down::Drain(_)) })) => {
                        tracing::info!(room_service = line.target, "the room service is going away");
                        replace_at = None;
                        successor =
                            Some(self.dial(line.address, Pace::after(&line)).map(Some).boxed());
                        continue;
                    }
                    Ok(Some(LinkResponse { body: Some(Down::Probed(probed)) })) => {
                        delivery.answered(&probed.trouble);
                        if !probed.trouble.is_empty() && successor.is_none() && lookout.is_due() {
                            successor = Some(self.look_elsewhere(line.address).boxed());
                        }
                        continue;
                    }
                    Ok(Some(response)) => {
                        for room in self.take(response, true) {
                            let _ = line.queue.send(Up::Room(room).into());
                        }
                        continue;
                    }
                    Ok(None) => "the room service ended it".to_owned(),
                    Err(status) => status.message().to_owned(),
                },
                due = delivery.due(), if line.probes => {
                    match due {
                        Due::Probe => {
                            let _ = line.queue.send(Up::Probe(Probe {}).into());
                        }
                        // It may be stuck while its HTTP/2 still answers pings, so that the Link does not break.
                        Due::Another if successor.is_none() && lookout.is_due() => {
                            successor = Some(self.look_elsewhere(line.address).boxed());
                        }
                        Due::Another => {}
                    }
                    continue;
                }
                new = maybe(&mut successor) => {
                    successor = None;
                    let Some(new) = new else { continue };
                    return Outcome::Replaced { old: line, new };
                }
                () = maybe(retiring) => {
                    *retiring = None;
                    continue;
                }
                () = sleep_until(replace_at.unwrap_or(line.opened_at)), if replace_at.is_some() => {
                    replace_at = None;
                    successor = Some(self.dial(None, Pace::AT_ONCE).map(Some).boxed());
                    continue;
                }
                () = ending.cancelled() => return Outcome::Ending(line),
            };
            *self.link.lock() = None;
            self.hub.link_lost(line.generation);
            return Outcome::Lost { line, why, silence: delivery.silence() };
        }
    }

    /// Hands on one thing that came down. What to ask the room service for.
    fn take(&self, response: LinkResponse, current: bool) -> Vec<RoomReplay> {
        match response.body {
            Some(Down::Reply(reply)) => {
                if let Some(frame) = reply.frame {
                    self.hub.reply(reply.session, frame, reply.position, reply.roster, current);
                }
            }
            Some(Down::End(end)) => self.hub.end(end.session, Close::told(end.code, &end.reason)),
            Some(Down::MemberEnd(end)) => {
                self.hub.end_member(&end.member, &Close::told(end.code, &end.reason));
            }
            Some(Down::Removal(removal)) if current => {
                self.hub.removed(&removal.room, &removal.member, &removal.reason);
            }
            Some(Down::Event(event)) if current => {
                if let Some(frame) = event.frame {
                    let _span = Span::after("fan out", &event.traceparent);
                    let again = self.hub.event(&event.room, frame, event.position, event.roster);
                    return again.into_iter().collect();
                }
            }
            Some(Down::MemberEvent(event)) if current => {
                if let Some(frame) = event.frame {
                    self.hub.member_event(&event.room, &event.member, &event.except, frame);
                }
            }
            Some(Down::Heads(heads)) if current => return self.hub.heads(heads.heads),
            // A Link that was replaced has no say about rooms; and a newer room service's word is none of ours.
            _ => {}
        }
        Vec::new()
    }

    /// Lets the frames that went up on `line` have their replies, as long as frames may wait.
    fn retire(&self, mut line: Box<Line>) -> BoxFuture<'_, ()> {
        async move {
            let replies = async {
                while let Ok(Some(response)) = line.down.message().await {
                    self.take(response, false);
                }
            };
            let _ = timeout(self.settings.reply_timeout, replies).await;
            self.hub.link_lost(line.generation);
        }
        .boxed()
    }

    /// Sends what is queued, and ends the stream.
    async fn say_goodbye(&self, mut line: Box<Line>) {
        *self.link.lock() = None;
        // With its last sender the queue ends, and so does our half of the stream.
        drop(line.queue);
        let answered = async { while let Ok(Some(_)) = line.down.message().await {} };
        if timeout(FAREWELL, answered).await.is_err() {
            tracing::debug!("the room service did not end its half of the Link");
        }
        tracing::info!(generation = line.generation, "the Link is closed");
    }

    /// Waits for ever, and after a while, of which `silence` is over, says that there is no Link.
    async fn say_unready_in_time(&self, silence: Duration) {
        sleep(self.settings.link_grace.saturating_sub(silence)).await;
        let mut refusals = self.refusals.subscribe();
        loop {
            let whys: Vec<String> = refusals.borrow_and_update().last.iter().cloned().collect();
            let whys = if whys.is_empty() { String::new() } else { format!(" ({})", whys.join("; ")) };
            let grace = self.settings.link_grace;
            self.health.unready("link", format!("no room service has answered for {grace:?}{whys}"));
            refusals.changed().await.expect("we hold its other half");
        }
    }
}

/// The future's output if there is one, else waits for ever.
async fn maybe<T>(future: &mut Option<BoxFuture<'_, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Half to one and a half of `age`, at random, so that Links that were opened together are not replaced together.
fn spread(age: Duration) -> Duration {
    age.mul_f64(rand::random_range(0.5..1.5))
}

/// What a room service said, or what kept it from saying anything.
fn told(status: &Status) -> String {
    match why(status) {
        _ if status.source().is_none() => status.message().to_owned(),
        why => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_were_opened_together_are_replaced_over_as_long_as_they_live() {
        let mut ages: Vec<u64> = (0..1000).map(|_| spread(Duration::from_hours(1)).as_secs()).collect();
        ages.sort_unstable();
        assert!(ages[0] >= 1800 && ages[999] <= 5400, "{} to {}", ages[0], ages[999]);
        // Were they in step, this would be nothing. That it is by chance is less likely than a broken machine.
        assert!(ages[900] - ages[100] > 1800, "{} and {}", ages[100], ages[900]);
    }
}
