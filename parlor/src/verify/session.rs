//! One session of a verification: asks, and takes note of everything that it is told.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use http::Uri;
use proto::chat::v1::{
    ClientFrame, HelloRequest, JoinRequest, SendRequest, ServerFrame, Welcome, client_frame::Body as Ask,
    server_frame::Body as Reply,
};
use runtime::{
    Tasks,
    tls::{self, ClientConfig},
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{
        self,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};
use tokio_util::sync::CancellationToken;

use super::history::{Ack, Record};

/// How many questions may wait to be put; whoever asks waits.
const WAITING_ASKS: usize = 16;
/// Before a `send` that may succeed later is repeated, unless its answer says when.
const RETRY: Duration = Duration::from_millis(100);
/// How long a goodbye may take.
const FAREWELL: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Question = (Ask, oneshot::Sender<Reply>);

/// A welcome session. Dropped, it says goodbye.
pub(super) struct Session {
    pub(super) welcome: Welcome,
    pub(super) record: Arc<watch::Sender<Record>>,
    asks: mpsc::Sender<Question>,
    lost: CancellationToken,
    /// How long a reply may take.
    patience: Duration,
}

impl Session {
    /// Connects to the gateway at `uri` and says hello: with a token as its member, else as a new guest. What it
    /// hears goes into `record`. By TLS, the gateway's certificate has to be one that `trust` accepts.
    pub(super) async fn open(
        uri: &Uri,
        trust: &Arc<ClientConfig>,
        token: &str,
        record: Arc<watch::Sender<Record>>,
        patience: Duration,
        tasks: &Tasks,
    ) -> Result<Self, String> {
        let connector = Some(Connector::Rustls(trust.clone()));
        let connecting = connect_async_tls_with_config(uri.clone(), None, true, connector);
        let connected = timeout(patience, connecting).await.map_err(|_| "no answer in time")?;
        let (socket, _) = connected.map_err(|error| match error {
            // Its own words are only the number.
            tungstenite::Error::Http(response) => format!("HTTP {}", response.status()),
            error => tls::words(&error).map_or_else(|| error.to_string(), str::to_owned),
        })?;
        let (asks, asked) = mpsc::channel(WAITING_ASKS);
        let lost = CancellationToken::new();
        tasks.spawn("session", serve(socket, asked, record.clone(), lost.clone()));
        let mut session = Self { welcome: Welcome::default(), record, asks, lost, patience };
        match session
            .ask(Ask::Hello(HelloRequest { token: token.to_owned(), ..HelloRequest::default() }))
            .await?
        {
            Reply::Welcome(welcome) => session.welcome = welcome,
            other => return Err(format!("no welcome: {}", words(&other))),
        }
        Ok(session)
    }

    /// The member's id.
    pub(super) fn member(&self) -> &str {
        self.welcome.member.as_ref().map_or("", |member| &member.id)
    }

    /// Loses the connection without a word. Nothing comes into the record any more.
    pub(super) async fn lose(self) {
        self.lost.cancel();
        self.asks.closed().await;
    }

    /// Joins `room`, after what was heard of it before.
    pub(super) async fn join(&self, room: &str) -> Result<(), String> {
        let since = self.record.borrow().position(room);
        let end = Instant::now() + self.patience;
        loop {
            let join = JoinRequest { room: room.to_owned(), since: since.clone() };
            match self.ask(Ask::Join(join)).await? {
                Reply::Joined(_) => return Ok(()),
                other => wait_to_retry(&other, end).await?,
            }
        }
    }

    /// Says `text`, again and again while the answer is that it may succeed later. When it was said the last time, and
    /// the answer to that.
    pub(super) async fn send(
        &self,
        room: &str,
        client_id: &str,
        text: &str,
    ) -> (Instant, Result<Ack, String>) {
        let end = Instant::now() + self.patience;
        loop {
            let asked_at = Instant::now();
            let request = SendRequest::text(room, client_id, text);
            let answer = match self.ask(Ask::Send(request)).await {
                Ok(Reply::Sent(sent)) => Ok(Ack { seq: sent.seq, id: sent.id }),
                Ok(other) => match wait_to_retry(&other, end).await {
                    Ok(()) => continue,
                    Err(why) => Err(why),
                },
                Err(why) => Err(why),
            };
            return (asked_at, answer);
        }
    }

    /// The reply to `ask`.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Reply, String> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.asks.send((ask, answer)).await.map_err(|_| "the session has ended")?;
            answered.await.map_err(|_| "the session has ended")
        };
        timeout(self.patience, asked)
            .await
            .map_err(|_| format!("no reply within {:?}", self.patience))?
            .map_err(Into::into)
    }

    /// Waits until the record is `enough`, for as long as a reply may take, or until the session has ended.
    pub(super) async fn hear(&self, enough: impl Fn(&Record) -> bool) {
        let mut record = self.record.subscribe();
        let heard = record.wait_for(|record| record.broken.is_some() || enough(record));
        // What did not come is found in the record.
        let _ = timeout(self.patience, heard).await;
    }
}

/// Waits as `reply` asks for, if there is still time before `end`.
async fn wait_to_retry(reply: &Reply, end: Instant) -> Result<(), String> {
    let Reply::Error(error) = reply else { return Err(words(reply)) };
    if !error.retryable {
        return Err(words(reply));
    }
    let pause = Duration::from_millis(error.retry_after_ms.into()).max(RETRY);
    timeout_at(end, sleep(pause)).await.map_err(|_| words(reply))
}

/// What a reply says that was not hoped for.
fn words(reply: &Reply) -> String {
    match reply {
        Reply::Error(error) => format!("{}: {}", error.code, error.message),
        _ => "another reply than was asked for".to_owned(),
    }
}

/// Carries questions and replies until the session ends, is lost, or nobody asks any more.
async fn serve(
    mut socket: Socket,
    mut asks: mpsc::Receiver<Question>,
    record: Arc<watch::Sender<Record>>,
    lost: CancellationToken,
) {
    let mut waiting = HashMap::new();
    let mut last_id = 0;
    let why = loop {
        tokio::select! {
            biased;
            () = lost.cancelled() => return,
            question = asks.recv() => {
                let Some((body, answer)) = question else { return goodbye(socket).await };
                last_id += 1;
                waiting.insert(last_id, answer);
                let frame = ClientFrame { id: last_id, body: Some(body) };
                let json = serde_json::to_string(&frame).expect("a frame has a JSON form");
                if let Err(error) = socket.send(tungstenite::Message::text(json)).await {
                    break error.to_string();
                }
            }
            next = socket.next() => {
                let text = match next {
                    Some(Ok(tungstenite::Message::Text(text))) => text,
                    Some(Ok(tungstenite::Message::Close(Some(CloseFrame { code, reason })))) => {
                        break format!("closed with {code} {reason}");
                    }
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => break error.to_string(),
                    None => break "the connection is gone".to_owned(),
                };
                let Ok(ServerFrame { id, body }) = serde_json::from_str(&text) else {
                    break "it was sent something that is not chat.v1".to_owned();
                };
                // A newer gateway's word.
                let Some(body) = body else { continue };
                record.send_modify(|record| record.note(&body, Instant::now()));
                if let Some(answer) = waiting.remove(&id) {
                    // Whoever asked may have lost their patience.
                    let _: Result<(), Reply> = answer.send(body);
                }
            }
        }
    };
    record.send_modify(|record| record.broken = Some(why));
}

/// Closes with 1000 and waits for the answer.
async fn goodbye(mut socket: Socket) {
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let said = async {
        // It may be closed already.
        let _ = socket.close(Some(close)).await;
        while let Some(Ok(_)) = socket.next().await {}
    };
    let _ = timeout(FAREWELL, said).await;
}
