//! The clients: one thread that speaks over raw sockets, and looks at what it hears only as far as it must.
//!
//! **Invariant:** a message is *in flight* until its last reader has heard it, and its latency counts from when it was
//! due. So a server that falls behind is charged for all that waited meanwhile.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read as _, Write as _},
    net,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use rustix::net::sockopt::set_socket_recv_buffer_size;

use crate::{
    dialect::{Dialect, number_after},
    stop,
    tally::{Ear, Faults},
    wire::{Frames, Kind, client_text},
};

/// How long a server may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// When nothing came for this long, nothing more is on its way,
const QUIET: Duration = Duration::from_millis(500);
/// but that the larger a room is the less often it tells who came: for so long for each member.
const QUIET_PER_MEMBER: Duration = Duration::from_micros(300);
/// The length of a message's text: a sentence or two.
const TEXT_BYTES: usize = 100;
/// What a slow reader reads at once, and how often: 1 KB in a second.
const SIP_BYTES: usize = 256;
const SIP_EVERY: Duration = Duration::from_millis(256);
/// What the kernel may hold for a slow reader: as little as it allows. The rest waits at the server.
const SIP_BUFFER: usize = 2048;
/// And for one that is slow no more.
const GULP_BUFFER: usize = 256 * 1024;
/// What is read at once from a socket.
const READ_BYTES: usize = 256 * 1024;

/// How messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// So many in a second, whatever becomes of them.
    PerSecond(u32),
    /// As many as possible, with so many in flight.
    InFlight(usize),
}

/// What was heard during a [`Load::talk`], by those who are not slow.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) deliveries: u64,
    /// Bytes of the messages' frames, without their heads.
    pub(crate) bytes: u64,
    /// From when each was due to its arrival, in microseconds.
    pub(crate) latencies: Vec<u32>,
    /// From the first send to the last arrival.
    pub(crate) took: Duration,
}

/// What joining brought.
#[derive(Debug, Default)]
pub(crate) struct Entered {
    /// From the first join to the last answer.
    pub(crate) took: Duration,
    /// Bytes that told all clients who came and went.
    pub(crate) presence_bytes: u64,
}

/// All clients, and the rooms that they are in.
#[derive(Debug)]
pub(crate) struct Load {
    dialect: Dialect,
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    rooms: Vec<Room>,
    buffer: Vec<u8>,
    clock: Instant,
    text_bytes: usize,
    /// When slow readers read the next time; nothing while nobody is slow.
    sip_at: Option<Instant>,
    n_sent: u32,
    in_flight: usize,
    heard: Heard,
    joined: usize,
    presence_bytes: u64,
}

#[derive(Debug)]
struct Client {
    socket: TcpStream,
    frames: Frames,
    /// The parts that come are those of a text about presence.
    in_presence: bool,
    room: usize,
    ear: Ear,
    /// It is slow, or was.
    slow: bool,
}

#[derive(Debug)]
struct Room {
    name: String,
    /// How many read.
    members: usize,
    /// Who says something, in turn.
    speakers: Vec<usize>,
    head: u32,
    /// How many readers have yet to hear each message after `complete`.
    waiting: VecDeque<usize>,
    complete: u32,
}

impl Load {
    /// Opens `n_clients` sessions at these addresses in turn, for rooms of equal size, and says hello in each.
    pub(crate) fn connect(
        dialect: Dialect,
        addresses: &[String],
        n_clients: usize,
        n_rooms: usize,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut rooms: Vec<Room> = (0..n_rooms)
            .map(|n| Room {
                name: format!("bench-{n}"),
                members: 0,
                speakers: Vec::new(),
                head: 0,
                waiting: VecDeque::new(),
                complete: 0,
            })
            .collect();
        let mut clients = Vec::new();
        for (n, address) in (0..n_clients).zip(addresses.iter().cycle()) {
            stop::check()?;
            let room = n % n_rooms;
            rooms[room].members += 1;
            rooms[room].speakers.push(n);
            let (socket, frames) = greet(dialect, address)?;
            let mut socket = TcpStream::from_std(socket);
            poll.registry().register(&mut socket, Token(n), Interest::READABLE)?;
            clients.push(Client {
                socket,
                frames,
                in_presence: false,
                room,
                ear: Ear::default(),
                slow: false,
            });
        }
        Ok(Self {
            dialect,
            poll,
            events: Events::with_capacity(1024),
            clients,
            rooms,
            buffer: vec![0; READ_BYTES],
            clock: Instant::now(),
            text_bytes: TEXT_BYTES,
            sip_at: None,
            n_sent: 0,
            in_flight: 0,
            heard: Heard::default(),
            joined: 0,
            presence_bytes: 0,
        })
    }

    /// Lets every client into its room, `at_once` of them without waiting for an answer, and waits until all of them
    /// know of each other.
    pub(crate) fn join(&mut self, at_once: usize) -> io::Result<Entered> {
        self.join_up_to(self.clients.len(), at_once)
    }

    /// The same, until so many are in.
    pub(crate) fn join_up_to(&mut self, up_to: usize, at_once: usize) -> io::Result<Entered> {
        let (start, told_before) = (Instant::now(), self.presence_bytes);
        for n in self.joined..up_to {
            let until = Instant::now() + PATIENCE;
            while n - self.joined >= at_once {
                self.listen(until)?;
            }
            let text = self.dialect.join(&self.rooms[self.clients[n].room].name);
            self.say(n, &text)?;
        }
        let until = Instant::now() + PATIENCE;
        while self.joined < up_to {
            self.listen(until)?;
        }
        let took = start.elapsed();
        let room = u32::try_from(up_to / self.rooms.len()).expect("a room of the bench is small");
        self.until_quiet(QUIET.max(QUIET_PER_MEMBER * room))?;
        Ok(Entered { took, presence_bytes: self.presence_bytes - told_before })
    }

    /// Texts are of `text_bytes` from now on.
    pub(crate) fn speak_at_length(&mut self, text_bytes: usize) {
        self.text_bytes = text_bytes;
    }

    /// The last `n` clients read slowly from now on, and say nothing.
    pub(crate) fn slow_down(&mut self, n: usize) -> io::Result<()> {
        for client in self.clients.iter_mut().rev().take(n) {
            client.slow = true;
            set_socket_recv_buffer_size(&client.socket, SIP_BUFFER)?;
        }
        for room in &mut self.rooms {
            room.speakers.retain(|member| !self.clients[*member].slow);
        }
        self.sip_at = Some(Instant::now());
        Ok(())
    }

    /// Those who were slow read all that waits for them, and everything that comes. What they were sent has no latency.
    pub(crate) fn hurry(&mut self) -> io::Result<()> {
        self.sip_at = None;
        for n in 0..self.clients.len() {
            if self.clients[n].slow {
                set_socket_recv_buffer_size(&self.clients[n].socket, GULP_BUFFER)?;
                self.read(n)?;
            }
        }
        self.until_heard()
    }

    /// Sends at this pace for so long, the members of all rooms in turn, and waits until everyone has heard everything.
    pub(crate) fn talk(&mut self, pace: Pace, time: Duration) -> io::Result<Heard> {
        let start = self.chatter(pace, time)?;
        self.until_heard()?;
        Ok(self.heard_since(start))
    }

    /// The same without the wait: some are slow.
    pub(crate) fn talk_on(&mut self, pace: Pace, time: Duration) -> io::Result<Heard> {
        let start = self.chatter(pace, time)?;
        Ok(self.heard_since(start))
    }

    fn heard_since(&mut self, start: Instant) -> Heard {
        Heard { took: start.elapsed(), ..std::mem::take(&mut self.heard) }
    }

    /// Sends at this pace for so long. When it began.
    fn chatter(&mut self, pace: Pace, time: Duration) -> io::Result<Instant> {
        self.heard = Heard::default();
        let start = Instant::now();
        let until = start + time;
        let mut due = start;
        loop {
            let now = Instant::now();
            if now >= until {
                break;
            }
            match pace {
                Pace::PerSecond(rate) => {
                    while due <= now {
                        self.send(due)?;
                        due += Duration::from_secs(1) / rate;
                    }
                    self.turn(due.min(until))?;
                }
                Pace::InFlight(most) => {
                    while self.in_flight < most {
                        self.send(now)?;
                    }
                    self.turn(until)?;
                }
            }
        }
        Ok(start)
    }

    fn until_heard(&mut self) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.in_flight > 0 && Instant::now() < until {
            self.turn(until)?;
        }
        Ok(())
    }

    /// What went wrong since the beginning.
    pub(crate) fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        for client in &self.clients {
            faults += client.ear.faults(self.rooms[client.room].head);
        }
        faults
    }

    fn send(&mut self, due: Instant) -> io::Result<()> {
        let (turn, n_rooms) = (self.n_sent as usize, self.rooms.len());
        let room = turn % n_rooms;
        let Room { name, members, speakers, head, waiting, .. } = &mut self.rooms[room];
        let member = speakers[turn / n_rooms % speakers.len()];
        let due = due.duration_since(self.clock).as_micros();
        let text =
            self.dialect.send(name, self.n_sent, &format!("{due:016} {:x<1$}", "", self.text_bytes - 17));
        *head += 1;
        waiting.push_back(*members);
        self.n_sent += 1;
        self.in_flight += 1;
        self.say(member, &text)
    }

    fn say(&mut self, client: usize, text: &str) -> io::Result<()> {
        let frame = client_text(text.as_bytes());
        // A client says little, so the kernel always has room for it, unless the server does not read.
        let written = self.clients[client].socket.write(&frame)?;
        if written == frame.len() { Ok(()) } else { Err(io::Error::other("the server does not read")) }
    }

    /// Reads until nothing more has come for so long.
    fn until_quiet(&mut self, quiet: Duration) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.turn(Instant::now() + quiet)? {
            if Instant::now() > end {
                return Err(io::Error::other("it does not come to rest"));
            }
        }
        Ok(())
    }

    /// Like [`turn`](Self::turn), for what has to come.
    fn listen(&mut self, until: Instant) -> io::Result<()> {
        self.turn(until)?;
        if Instant::now() < until { Ok(()) } else { Err(io::Error::other("an answer did not come")) }
    }

    /// Reads what has come, after waiting for it until then at most. Whether something came.
    ///
    /// It never sleeps: a server that writes to who sleeps pays for waking it, and the slower server would pay more
    /// often. Readers across a network cost nothing of the kind.
    fn turn(&mut self, until: Instant) -> io::Result<bool> {
        loop {
            stop::check()?;
            self.sip()?;
            match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
                // The end of an earlier subject's process is told by a signal.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            if !self.events.is_empty() || Instant::now() >= until {
                break;
            }
        }
        let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
        for client in &ready {
            if self.sip_at.is_none() || !self.clients[*client].slow {
                self.read(*client)?;
            }
        }
        Ok(!ready.is_empty())
    }

    /// Lets slow readers read, if it is time.
    fn sip(&mut self) -> io::Result<()> {
        let Some(at) = self.sip_at.filter(|at| *at <= Instant::now()) else { return Ok(()) };
        self.sip_at = Some(at + SIP_EVERY);
        for n in 0..self.clients.len() {
            if self.clients[n].slow {
                self.read_at_most(n, SIP_BYTES)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, n: usize) -> io::Result<()> {
        // A socket that gave less than it might has no more.
        while self.read_at_most(n, READ_BYTES)? == READ_BYTES {}
        Ok(())
    }

    /// Reads up to so many bytes, once. How many came.
    fn read_at_most(&mut self, n: usize, most: usize) -> io::Result<usize> {
        let client = &mut self.clients[n];
        let length = match client.socket.read(&mut self.buffer[..most]) {
            Ok(0) => return Err(io::Error::other("the server hung up")),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        let now = self.clock.elapsed();
        let (room, read) = (&mut self.rooms[client.room], &self.buffer[..length]);
        let (ear, in_presence, slow) = (&mut client.ear, &mut client.in_presence, client.slow);
        let mut wrong = None;
        client.frames.feed(read, |kind, payload| {
            if kind == Kind::Text {
                *in_presence = payload.starts_with(self.dialect.presence());
            }
            if kind == Kind::Text && payload.starts_with(self.dialect.message()) {
                match message(payload) {
                    Some((seq, due)) if ear.hear(seq) => {
                        self.in_flight -= room.heard(seq);
                        if slow {
                            return;
                        }
                        self.heard.deliveries += 1;
                        self.heard.bytes += payload.len() as u64;
                        let late = now.saturating_sub(Duration::from_micros(due)).as_micros();
                        self.heard.latencies.push(u32::try_from(late).unwrap_or(u32::MAX));
                    }
                    Some(_) => {}
                    None => wrong = Some("a message without a number or a time".to_owned()),
                }
            } else if *in_presence && matches!(kind, Kind::Text | Kind::More) {
                self.presence_bytes += payload.len() as u64;
            } else if kind == Kind::Text && payload.starts_with(self.dialect.joined()) {
                self.joined += 1;
            } else if kind == Kind::Close || memchr::memmem::find(payload, br#""error":"#).is_some() {
                wrong = Some(format!("the server said {}", String::from_utf8_lossy(payload)));
            }
        });
        wrong.map_or(Ok(length), |wrong| Err(io::Error::other(wrong)))
    }
}

impl Room {
    /// One more reader has heard `seq`. How many messages are complete by it.
    fn heard(&mut self, seq: u32) -> usize {
        let place = seq.checked_sub(self.complete + 1).and_then(|place| self.waiting.get_mut(place as usize));
        if let Some(waiting) = place {
            *waiting -= 1;
        }
        let before = self.waiting.len();
        while self.waiting.front() == Some(&0) {
            self.waiting.pop_front();
            self.complete += 1;
        }
        before - self.waiting.len()
    }
}

/// The number of a message, and when it was due.
fn message(payload: &[u8]) -> Option<(u32, u64)> {
    let seq = number_after(payload, br#""seq":"#)?.try_into().ok()?;
    Some((seq, number_after(payload, br#""text":"#)?))
}

/// A session that was said hello in, and what came after that.
fn greet(dialect: Dialect, address: &str) -> io::Result<(net::TcpStream, Frames)> {
    let mut socket = net::TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(dialect.upgrade().as_bytes())?;
    let mut head = Vec::new();
    // One byte at a time: what follows the head is not to be lost.
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        return Err(io::Error::other(format!("no WebSocket: {}", String::from_utf8_lossy(&head))));
    }
    socket.write_all(&client_text(dialect.hello().as_bytes()))?;
    let (mut frames, mut greeted, mut buffer) = (Frames::default(), false, [0; 4096]);
    while !greeted {
        let length = match socket.read(&mut buffer) {
            Ok(0) => return Err(io::Error::other("the server hung up")),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        };
        frames.feed(&buffer[..length], |_, payload| greeted |= payload.starts_with(dialect.welcome()));
    }
    socket.set_nonblocking(true)?;
    Ok((socket, frames))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor;

    #[test]
    fn everyone_hears_all_that_the_floor_writes_once_and_in_order() {
        for frames_a_write in [1, 4] {
            let mut load = load_of(6, 2, frames_a_write);
            load.join(2).unwrap();
            let heard = load.talk(Pace::InFlight(8), Duration::from_millis(300)).unwrap();
            assert!(load.faults().none());
            assert_eq!(heard.deliveries, u64::from(load.n_sent) * 3);
            assert_eq!(heard.latencies.len() as u64, heard.deliveries);
            assert!(heard.deliveries > 0);
        }
    }

    #[test]
    fn a_slow_reader_hears_everything_in_the_end_and_is_not_counted() {
        let mut load = load_of(6, 1, 1);
        load.join(6).unwrap();
        load.slow_down(2).unwrap();
        let heard = load.talk_on(Pace::PerSecond(100), Duration::from_millis(300)).unwrap();
        load.hurry().unwrap();
        assert!(load.faults().none());
        assert!(load.n_sent > 0 && heard.deliveries <= u64::from(load.n_sent) * 4);
    }

    /// So many clients of a floor of its own, whose end is that of the tests.
    fn load_of(n_clients: usize, n_rooms: usize, frames_a_write: usize) -> Load {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || floor::serve(listener, frames_a_write));
        Load::connect(Dialect::Parlor, &[address], n_clients, n_rooms).unwrap()
    }

    #[test]
    fn a_message_is_in_flight_until_its_last_reader_has_heard_it() {
        let mut room = Room {
            name: String::new(),
            members: 2,
            speakers: vec![0, 1],
            head: 2,
            waiting: VecDeque::from([2, 2]),
            complete: 0,
        };
        assert_eq!(room.heard(1), 0);
        assert_eq!(room.heard(2), 0);
        assert_eq!(room.heard(2), 0, "it waits for the one before it");
        assert_eq!(room.heard(1), 2);
        assert_eq!(room.heard(3), 0, "nobody has sent this");
    }
}
