//! The operators' door for curl: `AdminService` as HTTP and JSON, on the admin listener. What operators may do is
//! `operators.rs`.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use proto::{
    admin::v1::{
        BanMemberRequest, CloseRoomRequest, DeleteMessageRequest, DisconnectMemberRequest, GetRoomRequest,
        LiftBanRequest, ListKeptOutRequest, OpenRoomRequest, ReadmitMemberRequest,
    },
    chat::v1::Error as ErrorBody,
};
use runtime::admin::More;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Service, door::bearer, refusal::Refusal};

/// Where the admin listener finds the room service, once it has started. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct OperatorsDoor(Arc<OnceLock<Arc<Service>>>);

impl OperatorsDoor {
    /// From now on requests are answered; before it, the room service is unavailable.
    pub fn open(&self, service: Arc<Service>) {
        // It is opened once; a second service would be another process.
        let _ = self.0.set(service);
    }

    /// What the admin listener answers for operators.
    pub fn routes(&self) -> More {
        let door = self.clone();
        Arc::new(move |request| {
            let door = door.clone();
            async move { answer(door.0.get(), &request).await }.boxed()
        })
    }
}

async fn answer(service: Option<&Arc<Service>>, request: &Request<Bytes>) -> Response<Full<Bytes>> {
    let outcome = match service {
        Some(service) => obey(service, request).await,
        None => Err(Refusal::Unavailable),
    };
    let (status, body) = match outcome {
        Ok(body) => (StatusCode::OK, body),
        Err(refusal) => (status(&refusal), json!({ "error": ErrorBody::from(refusal) })),
    };
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body.to_string() + "\n"))
        .expect("a status and a static header make a response")
}

async fn obey(service: &Service, request: &Request<Bytes>) -> Result<Value, Refusal> {
    service.check_operator(bearer(request.headers()))?;
    let path = request.uri().path().trim_start_matches("/v1/");
    let parts: Vec<String> = path.split('/').map(decode).collect::<Result<_, _>>()?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(match (request.method().as_str(), &parts[..]) {
        ("GET", ["members"]) => told(&service.list_kept_out(ListKeptOutRequest {}).await?),
        ("POST", ["members", member, "disconnect"]) => {
            let asked: DisconnectMemberRequest = read(request.body())?;
            let member = (*member).to_owned();
            told(&service.disconnect_member(DisconnectMemberRequest { member, ..asked }).await?)
        }
        ("DELETE", ["members", member, "disconnect"]) => {
            let member = (*member).to_owned();
            told(&service.readmit_member(ReadmitMemberRequest { member }).await?)
        }
        ("GET", ["rooms", room]) => {
            told(&service.get_room(GetRoomRequest { room: (*room).to_owned() }).await?)
        }
        ("PUT", ["rooms", room, "bans", member]) => {
            let asked: BanMemberRequest = read(request.body())?;
            let (room, member) = ((*room).to_owned(), (*member).to_owned());
            told(&service.ban_member(BanMemberRequest { room, member, ..asked }).await?)
        }
        ("DELETE", ["rooms", room, "bans", member]) => {
            let (room, member) = ((*room).to_owned(), (*member).to_owned());
            told(&service.lift_ban(LiftBanRequest { room, member }).await?)
        }
        ("DELETE", ["rooms", room, "messages", seq]) => {
            let seq = seq.parse().map_err(|_| Refusal::Invalid("seq: it is a number.".to_owned()))?;
            let id = request.uri().query().and_then(|query| query.strip_prefix("id=")).unwrap_or_default();
            let (room, id) = ((*room).to_owned(), decode(id)?);
            told(&service.delete_message(DeleteMessageRequest { room, seq, id }).await?)
        }
        ("PUT", ["rooms", room, "closed"]) => {
            let asked: CloseRoomRequest = read(request.body())?;
            told(&service.close_room(CloseRoomRequest { room: (*room).to_owned(), ..asked }).await?)
        }
        ("DELETE", ["rooms", room, "closed"]) => {
            told(&service.open_room(OpenRoomRequest { room: (*room).to_owned() }).await?)
        }
        _ => {
            let words = "Operators ask for something else: see docs/operators.md.";
            return Err(Refusal::NotFound(words.to_owned()));
        }
    })
}

fn decode(part: &str) -> Result<String, Refusal> {
    let decoded = percent_decode_str(part).decode_utf8().map(Cow::into_owned);
    decoded.map_err(|_| Refusal::Invalid("The path is not UTF-8.".to_owned()))
}

/// The body as JSON; nothing at all asks for the defaults.
fn read<Asked: DeserializeOwned + Default>(body: &Bytes) -> Result<Asked, Refusal> {
    if body.is_empty() {
        return Ok(Asked::default());
    }
    serde_json::from_slice(body).map_err(|error| Refusal::Invalid(format!("The body: {error}.")))
}

fn told(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).expect("our own answers have a JSON form")
}

fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Invalid(_) | Refusal::NotJoined { .. } => StatusCode::BAD_REQUEST,
        Refusal::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
        Refusal::Forbidden(_) | Refusal::KeptOut { .. } => StatusCode::FORBIDDEN,
        Refusal::NotFound(_) => StatusCode::NOT_FOUND,
        Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Unavailable | Refusal::ProviderAway | Refusal::RoomsFull => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
