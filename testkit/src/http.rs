//! A program that speaks plain HTTP: one request on a connection of its own, or a stream of events.

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::PATIENCE;

/// What a request got.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, in lower case.
    pub head: String,
    /// Its body as JSON; null if it is none.
    pub body: Value,
    /// Its body as it came.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The value of the header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The code of the error that it is.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

/// A connection on which a request was written: `headers` end with `\r\n`, each.
async fn request(address: &str, line: &str, headers: &str, body: &[u8]) -> BufReader<TcpStream> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!("{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    // Who refuses a request does not wait for its body.
    let _ = socket.write_all(body).await;
    BufReader::new(socket)
}

async fn read_head(socket: &mut BufReader<TcpStream>) -> (u16, String) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let read = timeout(PATIENCE, socket.read_line(&mut head)).await.expect("an answer in time").unwrap();
        assert!(read > 0, "the answer broke off: {head}");
    }
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_ascii_lowercase())
}

/// Asks `line` (method and path) of `address`, with `headers`, each of which ends with `\r\n`.
pub async fn ask(address: &str, line: &str, headers: &str) -> Answer {
    read_answer(request(address, line, headers, b"").await).await
}

/// Like [`ask`], with a body of JSON.
pub async fn say(address: &str, line: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let headers = format!("content-type: application/json\r\ncontent-length: {length}\r\n{headers}");
    read_answer(request(address, line, &headers, body.as_bytes()).await).await
}

/// Like [`say`], by `POST`.
pub async fn post(address: &str, path: &str, headers: &str, body: &str) -> Answer {
    say(address, &format!("POST {path}"), headers, body).await
}

/// Like [`ask`], with a body of bytes.
pub async fn bring(address: &str, line: &str, headers: &str, body: &[u8]) -> Answer {
    let headers = format!("content-length: {}\r\n{headers}", body.len());
    read_answer(request(address, line, &headers, body).await).await
}

/// Begins a request, and hangs up after `body`, which is not all of it; returns when the other side has noticed.
pub async fn break_off(address: &str, line: &str, headers: &str, body: &[u8]) {
    let mut socket = request(address, line, headers, body).await;
    socket.get_mut().shutdown().await.unwrap();
    let mut rest = Vec::new();
    // However it ends.
    let _ = timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("the other side ends, too");
}

async fn read_answer(mut socket: BufReader<TcpStream>) -> Answer {
    let (status, head) = read_head(&mut socket).await;
    let mut body = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut body)).await.expect("the whole answer in time").unwrap();
    Answer { status, head, body: serde_json::from_slice(&body).unwrap_or_default(), bytes: body }
}

/// A room that is heard as Server-Sent Events.
#[derive(Debug)]
pub struct Events {
    socket: BufReader<TcpStream>,
    /// What came and was not read.
    waiting: String,
    /// The id of the last event that had one.
    pub last_id: String,
}

impl Events {
    /// Hears `room` by `token`, from the place with the id `since` on, if any.
    pub async fn open(address: &str, room: &str, token: &str, since: &str) -> Result<Self, Answer> {
        let since = if since.is_empty() { String::new() } else { format!("last-event-id: {since}\r\n") };
        let headers = format!("authorization: Bearer {token}\r\n{since}");
        let mut socket = request(address, &format!("GET /v1/rooms/{room}/events"), &headers, b"").await;
        let (status, head) = read_head(&mut socket).await;
        if status != 200 {
            let mut body = Vec::new();
            timeout(PATIENCE, socket.read_to_end(&mut body)).await.expect("a whole answer in time").unwrap();
            let json = serde_json::from_slice(&body).unwrap_or_default();
            return Err(Answer { status, head, body: json, bytes: body });
        }
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        Ok(Self { socket, waiting: String::new(), last_id: since_of(&since) })
    }

    /// The data of the next event; nothing at the end of the stream.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some((event, rest)) = self.waiting.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.waiting = rest;
                for line in event.lines() {
                    if let Some(id) = line.strip_prefix("id: ").or(line.strip_prefix("id:")) {
                        id.clone_into(&mut self.last_id);
                    }
                }
                if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) {
                    return Some(serde_json::from_str(data).unwrap());
                }
            }
            let chunk = timeout(PATIENCE, self.chunk()).await.expect("an event in time")?;
            self.waiting.push_str(&chunk);
        }
    }

    /// The next event that is no heartbeat.
    pub async fn news(&mut self) -> Value {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.get("heartbeat").is_none() {
                return event;
            }
        }
    }

    /// The next event of that kind; others are passed over.
    pub async fn find(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if let Some(found) = event.get(kind) {
                return found.clone();
            }
        }
    }

    async fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        self.socket.read_line(&mut size).await.unwrap();
        let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0)?;
        let mut chunk = vec![0; size + 2];
        self.socket.read_exact(&mut chunk).await.unwrap();
        chunk.truncate(size);
        Some(String::from_utf8(chunk).unwrap())
    }
}

fn since_of(header: &str) -> String {
    header.trim().strip_prefix("last-event-id: ").unwrap_or_default().to_owned()
}
