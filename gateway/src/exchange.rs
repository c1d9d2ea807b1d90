//! One session's conversation with the room service: its frames go up under ids of ours, replies come down under
//! its own, and each frame gets exactly one answer, whatever happens to the Link.
//!
//! How it travels is the doors' affair; what is still to be sent is in the session's outbox.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use proto::chat::v1::{
    ClientFrame, Error, JoinRequest, Message, Presence, ServerFrame, client_frame, server_frame::Body,
};
use runtime::traces::Span;
use tokio::time::Instant;

use crate::{
    House,
    admission::Admitted,
    calls::{Call, Calls},
    close,
    event::Event,
    frame::{self, Encoding},
    hub::Number,
    link::Link,
    meters::Meters,
    outbox::{Item, Missed, Outbox},
};

/// After how long a catch-up that was refused for now is tried again, when the refusal does not say.
const CATCH_UP_RETRY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Exchange {
    number: Number,
    /// Whom its failures count against.
    admitted: Admitted,
    encoding: Encoding,
    outbox: Arc<Outbox>,
    link: Arc<Link>,
    meters: Arc<Meters>,
    web_build: Arc<str>,
    /// Whether this gateway has a place for files.
    takes_files: bool,
    calls: Calls,
    /// Answers of our own, which wait for nobody but the socket.
    answers: VecDeque<ServerFrame>,
    /// Messages of a catch-up, which come before anything that was queued after it.
    missed: VecDeque<Message>,
    welcomed: bool,
    hello_until: Instant,
    hello_timeout: Duration,
    /// No catch-up before this.
    catch_up_from: Option<Instant>,
    max_in_flight: usize,
}

/// Something that the client is to hear.
#[derive(Debug)]
pub(crate) enum Said {
    /// By a room, to all of its sessions: they share its bytes.
    Event(Arc<Event>),
    /// To this one.
    Frame(Box<ServerFrame>),
}

impl Said {
    /// The frame itself.
    pub(crate) fn frame(&self) -> &ServerFrame {
        match self {
            Self::Event(event) => event.frame(),
            Self::Frame(frame) => frame,
        }
    }
}

/// What there is to hear, in bytes unless said otherwise.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<Frame = Bytes> {
    /// One frame.
    Frame(Frame),
    /// Something came that needs no frame.
    Silent,
    /// All was written.
    Nothing,
}

impl Exchange {
    /// The conversation of session `number`, which has just begun.
    pub(crate) fn new(
        number: Number,
        admitted: Admitted,
        encoding: Encoding,
        outbox: Arc<Outbox>,
        house: &House,
    ) -> Self {
        let settings = &house.settings;
        Self {
            number,
            admitted,
            encoding,
            outbox,
            link: house.link.clone(),
            meters: house.meters.clone(),
            web_build: house.web_build.clone(),
            takes_files: house.files.is_some(),
            calls: Calls::new(settings.reply_timeout),
            answers: VecDeque::new(),
            missed: VecDeque::new(),
            welcomed: false,
            hello_until: Instant::now() + settings.hello_timeout,
            hello_timeout: settings.hello_timeout,
            catch_up_from: None,
            max_in_flight: settings.max_in_flight,
        }
    }

    /// Takes a frame of the client's.
    pub(crate) fn say(&mut self, frame: ClientFrame) {
        self.meters.frames_in.increment(1);
        self.pass_up(frame);
    }

    /// Takes what the client wrote.
    pub(crate) fn heard(&mut self, bytes: &Bytes) {
        self.meters.frames_in.increment(1);
        self.meters.bytes_in.increment(bytes.len() as u64);
        match self.encoding.decode(bytes) {
            Ok(frame) => self.pass_up(frame),
            Err(unreadable) => self.answers.push_back(unreadable.answer()),
        }
    }

    /// Whether another frame may be read: those that came are answered, but for a few.
    pub(crate) fn has_room(&self) -> bool {
        self.calls.of_client() + self.answers.len() < self.max_in_flight
    }

    /// Whether the room service has said welcome.
    pub(crate) fn is_welcomed(&self) -> bool {
        self.welcomed
    }

    /// Whether there are answers of our own to take.
    pub(crate) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// The next frame to write.
    pub(crate) fn next(&mut self) -> Next {
        match self.take() {
            Next::Frame(said) => self.write(&said).map_or(Next::Silent, Next::Frame),
            Next::Silent => Next::Silent,
            Next::Nothing => Next::Nothing,
        }
    }

    /// The bytes of `said`, of which nobody else takes care any more. Nothing if it cannot be written.
    pub(crate) fn write(&self, said: &Said) -> Option<Bytes> {
        let bytes = match said {
            Said::Event(event) => event.encoded(self.encoding).cloned(),
            Said::Frame(frame) => self.encoding.encode(frame).or_else(|| {
                // Its asker still gets one answer.
                (frame.id != 0).then(|| self.encoding.encode(&frame::internal(frame.id))).flatten()
            }),
        }?;
        self.meters.bytes_out.increment(bytes.len() as u64);
        Some(bytes)
    }

    /// The next thing to hear.
    pub(crate) fn take(&mut self) -> Next<Said> {
        let next = self.take_uncounted();
        if let Next::Frame(_) = next {
            self.meters.frames_out.increment(1);
        }
        next
    }

    fn take_uncounted(&mut self) -> Next<Said> {
        if let Some(message) = self.missed.pop_front() {
            return told(ServerFrame::event(Body::Message(message)));
        }
        self.missed.shrink_to(0);
        if let Some(answer) = self.answers.pop_front() {
            return told(answer);
        }
        match self.outbox.pop() {
            Some(Item::Event(event)) => Next::Frame(Said::Event(event)),
            Some(Item::Word(frame)) => Next::Frame(Said::Frame(frame)),
            Some(Item::Reply(reply)) => self.pass_down(reply),
            Some(Item::Missed(missed)) => self.make_up(*missed),
            Some(Item::LinkLost(link)) => {
                for call in self.calls.lost_with(link) {
                    self.give_up(&call);
                }
                Next::Silent
            }
            Some(Item::FellBehind) => Next::Silent,
            None => Next::Nothing,
        }
    }

    /// Answers the frames that have waited too long. Only when all else is written: a reply that waits for the
    /// socket has come, and whoever does not read would not read this either.
    pub(crate) fn expire(&mut self, now: Instant) {
        for call in self.calls.expired(now) {
            self.meters.late_replies.increment(1);
            self.give_up(&call);
        }
    }

    /// Whether the session had its time to say hello, and did not.
    pub(crate) fn said_no_hello(&self, now: Instant) -> bool {
        !self.welcomed && self.hello_until <= now && !self.calls.hello()
    }

    /// Asks for what was missed. Only when all else is written.
    pub(crate) fn catch_up(&mut self, now: Instant) {
        if self.catch_up_from.is_some_and(|from| now < from) {
            return;
        }
        self.catch_up_from = None;
        for (room, since) in self.outbox.behind() {
            if self.calls.concern(&room) {
                continue;
            }
            let join = JoinRequest { room: room.to_string(), since: since.as_deref().cloned() };
            let call = Call::CatchUp(room);
            let id = self.calls.next_id(&call);
            let frame = ClientFrame { id, body: Some(client_frame::Body::Join(join)) };
            match self.link.frame(self.number, frame, &Span::NOTHING) {
                Ok(link) => {
                    self.meters.catch_ups.increment(1);
                    self.calls.add(id, call, link, Span::NOTHING);
                }
                Err(_) => self.catch_up_from = Some(now + CATCH_UP_RETRY),
            }
        }
    }

    /// When one of the above has to be called again, if nothing else happens.
    pub(crate) fn next_alarm(&self) -> Option<Instant> {
        // A hello that awaits its answer came in time.
        let hello = (!self.welcomed && !self.calls.hello()).then_some(self.hello_until);
        [hello, self.calls.next_expiry(), self.catch_up_from].into_iter().flatten().min()
    }

    fn pass_up(&mut self, mut frame: ClientFrame) {
        let call = match &frame.body {
            Some(client_frame::Body::Hello(_)) => Call::Hello(frame.id),
            Some(client_frame::Body::Leave(leave)) => Call::Leave(frame.id, leave.room.clone()),
            _ => Call::Client(frame.id),
        };
        frame.id = self.calls.next_id(&call);
        let id = frame.id;
        let span = match &frame.body {
            Some(client_frame::Body::Send(_)) => Span::first("frame", ""),
            _ => Span::NOTHING,
        };
        match self.link.frame(self.number, frame, &span) {
            Ok(link) => self.calls.add(id, call, link, span),
            Err(_) => self.give_up(&call),
        }
    }

    /// Answers `call` by itself, since nobody else will.
    fn give_up(&mut self, call: &Call) {
        match call {
            Call::Client(id) | Call::Leave(id, _) => self.answers.push_back(frame::unavailable(*id)),
            Call::Hello(id) => {
                self.excuse_hello();
                self.answers.push_back(frame::unavailable(*id));
            }
            Call::CatchUp(_) => self.catch_up_from = Some(Instant::now() + CATCH_UP_RETRY),
        }
    }

    fn failed_hello(&mut self, error: &Error) {
        match error.code.as_str() {
            "UNAVAILABLE" => self.excuse_hello(),
            "UNAUTHENTICATED" => {
                metrics::counter!("parlor_gateway_failed_hellos_total").increment(1);
                if !self.admitted.failed_hello() {
                    self.outbox.close(close::TOO_MANY_FAILED_HELLOS);
                }
            }
            _ => {}
        }
    }

    /// It is not the client's fault that it was not welcomed.
    fn excuse_hello(&mut self) {
        self.hello_until = Instant::now() + self.hello_timeout;
    }

    fn pass_down(&mut self, mut reply: Box<ServerFrame>) -> Next<Said> {
        if reply.id == 0 {
            // Not an answer: the room service speaks to this session of its own accord.
            return Next::Frame(Said::Frame(reply));
        }
        let Some(call) = self.calls.answered(reply.id) else { return Next::Silent };
        match call {
            Call::Client(id) | Call::Leave(id, _) => reply.id = id,
            Call::Hello(id) => {
                match &mut reply.body {
                    Some(Body::Welcome(welcome)) => {
                        self.welcomed = true;
                        if !self.takes_files {
                            welcome.max_attachment_bytes = 0;
                        }
                        welcome.web_build = self.web_build.to_string();
                    }
                    Some(Body::Error(error)) => self.failed_hello(error),
                    _ => {}
                }
                reply.id = id;
            }
            // Whoever was removed from the room meanwhile misses nothing there.
            Call::CatchUp(room) if !self.outbox.is_behind(&room) => return Next::Silent,
            Call::CatchUp(_) => {
                if let Some(Body::Error(error)) = reply.body {
                    self.refused_catch_up(error.retryable, error.retry_after_ms);
                }
                return Next::Silent;
            }
        }
        Next::Frame(Said::Frame(reply))
    }

    fn refused_catch_up(&mut self, retryable: bool, retry_after_ms: u32) {
        let wait = Duration::from_millis(retry_after_ms.into()).max(CATCH_UP_RETRY);
        self.catch_up_from = Some(Instant::now() + wait);
        if !retryable {
            // It would be deaf in that room without knowing. When it comes back, it hears the reason itself.
            self.outbox.close(close::NOT_CAUGHT_UP);
        }
    }

    /// Hands on what a catch-up brought: the messages themselves if they are all that was missed, else a fresh start.
    fn make_up(&mut self, Missed { id, joined, mut left }: Missed) -> Next<Said> {
        self.calls.answered(id);
        if !joined.resumed {
            return told(ServerFrame::event(Body::Joined(joined)));
        }
        for member in &joined.members {
            left.remove(&member.id);
        }
        let presence = Presence {
            room: joined.room,
            joined: joined.members,
            left: left.into_iter().collect(),
            member_count: joined.member_count,
        };
        self.missed = joined.messages.into();
        told(ServerFrame::event(Body::Presence(presence)))
    }
}

fn told(frame: ServerFrame) -> Next<Said> {
    Next::Frame(Said::Frame(frame.into()))
}
