//! The doors by which frames go in and out of a chat, and one connection through one of them.
//!
//! What a frame means, and which reply belongs to it, is `browser.rs`'s.

use futures_util::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use proto::chat::v1::{ClientFrame, ServerFrame, chat_service_client::ChatServiceClient};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async, connect_async_tls_with_config,
    tungstenite::{self, client::IntoClientRequest as _},
};
use tonic::{Streaming, transport::Channel};

use crate::{Authority, PATIENCE};

/// In which words a door is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// Text frames of JSON, over a gateway's WebSocket.
    Json,
    /// Binary frames of protobuf, over a gateway's WebSocket.
    Protobuf,
    /// `ChatService.Connect` of a room service.
    Grpc,
}

/// A way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// Host and port, of a gateway or of a room service.
    pub address: String,
    /// How it is spoken to.
    pub speech: Speech,
}

/// A gateway's, for JSON.
impl From<&str> for Door {
    fn from(address: &str) -> Self {
        Self { address: address.to_owned(), speech: Speech::Json }
    }
}

impl From<&String> for Door {
    fn from(address: &String) -> Self {
        address.as_str().into()
    }
}

impl From<&Door> for Door {
    fn from(door: &Door) -> Self {
        door.clone()
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Line {
    Json(Socket),
    Protobuf(Socket),
    Grpc { say: mpsc::Sender<ClientFrame>, heard: Streaming<ServerFrame> },
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Line {
    /// Nothing if nobody is let in there right now.
    pub(crate) async fn open(door: &Door) -> Option<Self> {
        let Door { address, speech } = door;
        Some(match speech {
            Speech::Json => Self::Json(socket(address, "chat.v1.json").await?),
            Speech::Protobuf => Self::Protobuf(socket(address, "chat.v1.proto").await?),
            Speech::Grpc => {
                let channel = Channel::from_shared(format!("http://{address}")).ok()?.connect().await.ok()?;
                let (say, said) = mpsc::channel(8);
                let call = ChatServiceClient::new(channel).connect(ReceiverStream::new(said)).await;
                Self::Grpc { say, heard: call.ok()?.into_inner() }
            }
        })
    }

    /// By TLS to a gateway with a certificate of `authority`, for JSON.
    pub(crate) async fn open_tls(address: &str, authority: &Authority) -> Option<Self> {
        let (url, connector) = (format!("wss://{address}/ws"), Connector::Rustls(authority.client()));
        let opened = connect_async_tls_with_config(url, None, true, Some(connector)).await.ok()?;
        Some(Self::Json(opened.0))
    }

    pub(crate) async fn say(&mut self, frame: ClientFrame) {
        match self {
            Self::Json(_) => {
                self.say_bytes(serde_json::to_vec(&frame).expect("a frame has a JSON form")).await;
            }
            Self::Protobuf(_) => self.say_bytes(frame.encode_to_vec()).await,
            Self::Grpc { say, .. } => say.send(frame).await.expect("the connection stands"),
        }
    }

    /// Sends a WebSocket frame that may be no frame of ours.
    pub(crate) async fn say_bytes(&mut self, bytes: Vec<u8>) {
        let (socket, message) = match self {
            Self::Json(socket) => {
                let text = String::from_utf8(bytes).expect("a text");
                (socket, tungstenite::Message::text(text))
            }
            Self::Protobuf(socket) => (socket, tungstenite::Message::binary(bytes)),
            Self::Grpc { .. } => panic!("gRPC carries frames, not bytes"),
        };
        socket.send(message).await.expect("the connection stands");
    }

    /// The next frame.
    pub(crate) async fn hear(&mut self) -> ServerFrame {
        let next = async {
            match self {
                Self::Json(socket) => {
                    let text = next(socket).await.into_text().expect("a text");
                    serde_json::from_str(&text).expect("a server frame")
                }
                Self::Protobuf(socket) => match next(socket).await {
                    tungstenite::Message::Binary(bytes) => {
                        ServerFrame::decode(bytes).expect("a server frame")
                    }
                    other => panic!("not binary: {other:?}"),
                },
                Self::Grpc { heard, .. } => {
                    heard.message().await.expect("the connection stands").expect("the connection stays open")
                }
            }
        };
        timeout(PATIENCE, next).await.expect("a frame within our patience")
    }

    /// Waits until the other side closes a WebSocket, and gives its code.
    pub(crate) async fn closed(self) -> u16 {
        let (Self::Json(mut socket) | Self::Protobuf(mut socket)) = self else {
            panic!("gRPC has no close codes");
        };
        loop {
            match timeout(PATIENCE, socket.next()).await.expect("a close within our patience") {
                Some(Ok(tungstenite::Message::Close(Some(close)))) => return close.code.into(),
                Some(Ok(_)) => {}
                other => panic!("the connection is lost: {other:?}"),
            }
        }
    }

    /// Says goodbye and waits until the other side has done so too.
    pub(crate) async fn close(self) {
        match self {
            Self::Json(mut socket) | Self::Protobuf(mut socket) => {
                let code = tungstenite::protocol::frame::coding::CloseCode::Normal;
                let close = tungstenite::protocol::CloseFrame { code, reason: "".into() };
                // The gateway may have closed first.
                let _ = socket.close(Some(close)).await;
                while let Ok(Some(Ok(_))) = timeout(PATIENCE, socket.next()).await {}
            }
            Self::Grpc { say, mut heard } => {
                drop(say);
                while let Ok(Ok(Some(_))) = timeout(PATIENCE, heard.message()).await {}
            }
        }
    }
}

async fn socket(address: &str, protocol: &'static str) -> Option<Socket> {
    let mut request = format!("ws://{address}/ws").into_client_request().ok()?;
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse().ok()?);
    Some(connect_async(request).await.ok()?.0)
}

/// What comes next that is not about the connection.
async fn next(socket: &mut Socket) -> tungstenite::Message {
    loop {
        match socket.next().await.expect("the connection stays open").expect("the connection stands") {
            tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_) => {}
            tungstenite::Message::Close(close) => panic!("the gateway closed: {close:?}"),
            message => return message,
        }
    }
}
