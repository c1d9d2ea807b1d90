//! The floor: a server that does nothing but what every server must, which is to write one ready frame to each socket
//! of a room. What it costs is the price of the kernel, here and now.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read as _, Write as _},
    net,
    time::Duration,
};

use memchr::memmem::find;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use proto::chat::v1::{ClientFrame, client_frame::Body};

use crate::wire::{Frames, Kind, server_text};

const LISTENER: Token = Token(usize::MAX);
/// How long frames wait for others at the end of a run, when no more come.
const LINGER: Duration = Duration::from_millis(20);
/// As long as one of Parlor's with the same text, about.
const MESSAGE_BYTES: usize = 384;

#[derive(Debug, Default)]
struct Room {
    members: Vec<usize>,
    n_messages: u32,
    /// Frames that wait for others, to be written together.
    ready: Vec<u8>,
    n_ready: usize,
}

#[derive(Debug)]
struct Client {
    socket: TcpStream,
    upgraded: bool,
    frames: Frames,
}

/// Serves whoever comes to `listener`, for ever, with so many frames in each write.
pub(crate) fn serve(listener: net::TcpListener, frames_a_write: usize) -> io::Result<()> {
    let mut poll = Poll::new()?;
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut clients, mut rooms) = (Vec::<Client>::new(), HashMap::<String, Room>::new());
    let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; 64 * 1024]);
    loop {
        let some_wait = rooms.values().any(|room| room.n_ready > 0);
        poll.poll(&mut events, some_wait.then_some(LINGER))?;
        if events.is_empty() {
            for room in rooms.values_mut() {
                room.write(&mut clients)?;
            }
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut socket, _)) = listener.accept() {
                    socket.set_nodelay(true)?;
                    poll.registry().register(&mut socket, Token(clients.len()), Interest::READABLE)?;
                    clients.push(Client { socket, upgraded: false, frames: Frames::default() });
                }
                continue;
            }
            let n = event.token().0;
            for frame in read(&mut clients[n], &mut buffer)? {
                match frame.body {
                    Some(Body::Hello(_)) => {
                        clients[n].socket.write_all(&server_text(br#"{"id":1,"welcome":{}}"#))?;
                    }
                    Some(Body::Join(join)) => {
                        rooms.entry(join.room).or_default().members.push(n);
                        clients[n].socket.write_all(&server_text(br#"{"id":2,"joined":{}}"#))?;
                    }
                    Some(Body::Send(send)) => {
                        let room = rooms.entry(send.room).or_default();
                        room.say(&send.text);
                        if room.n_ready == frames_a_write {
                            room.write(&mut clients)?;
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

impl Room {
    fn say(&mut self, text: &str) {
        self.n_messages += 1;
        let message = format!(r#"{{"message":{{"seq":{},"text":"{text}"#, self.n_messages);
        let padding = MESSAGE_BYTES.saturating_sub(message.len() + 3);
        self.ready.extend(server_text(format!(r#"{message}{:x<padding$}"}}}}"#, "").as_bytes()));
        self.n_ready += 1;
    }

    fn write(&mut self, clients: &mut [Client]) -> io::Result<()> {
        for member in &self.members {
            // The kernel has room for what may be in flight.
            clients[*member].socket.write_all(&self.ready)?;
        }
        self.ready.clear();
        self.n_ready = 0;
        Ok(())
    }
}

/// What a client has said. One that has hung up says nothing any more.
fn read(client: &mut Client, buffer: &mut [u8]) -> io::Result<Vec<ClientFrame>> {
    let mut said = Vec::new();
    loop {
        let length = match client.socket.read(buffer) {
            Ok(0) => return Ok(said),
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionReset) => {
                return Ok(said);
            }
            Err(error) => return Err(error),
        };
        let mut bytes = &buffer[..length];
        if !client.upgraded
            && let Some(end) = find(bytes, b"\r\n\r\n")
        {
            client.socket.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")?;
            client.upgraded = true;
            bytes = &bytes[end + 4..];
        }
        client.frames.feed(bytes, |kind, payload| {
            if kind == Kind::Text {
                said.extend(serde_json::from_slice::<ClientFrame>(payload));
            }
        });
    }
}
