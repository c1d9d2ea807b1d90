//! The door for programs without a WebSocket, under `/v1`: say, read, and hear a room over plain HTTP.
//!
//! Each request is one call of the room service, by the rules of frames; those that change a message are `changes.rs`.
//! Who hears a room has a session, which is `events.rs`. What there is is told by `/openapi.json`, made from this file and the vocabulary.

mod attachments;
mod changes;
mod events;
mod reading;
mod request;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{any, get},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use proto::chat::v1::{
    ClientFrame, Error, HelloRequest, HistoryPage, HistoryRequest, MembersPage, MembersRequest, Message,
    MessageRef, SendRequest, Welcome, client_frame::Body as Ask, server_frame::Body as Answer,
};
use runtime::traces::Span;
use serde::Deserialize;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa::{
    IntoParams, Modify, OpenApi, ToSchema,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::request::{Anyone, Asker, Body, Named, Query};
use crate::{House, entrance, http::Caller, problem::Problem};

/// A client's own name for what it sends, in the header that is usual for that.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How long a browser may remember what a page of another site may ask for.
const CORS_MAX_AGE: Duration = Duration::from_hours(1);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Parlor",
        description = "A chat over plain HTTP. Names, rules and errors are those of the frames of `chat.v1`; fields that \
            have their default value may be absent.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    modifiers(&Bearer)
)]
struct Document;

/// The one way to say who asks.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of `POST /v1/tokens`, or of any `welcome`."))
            .build();
        openapi.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The door, and what it says of itself.
pub(crate) fn routes(house: &Arc<House>) -> Router<Arc<House>> {
    let (calls, described) = OpenApiRouter::new()
        .routes(routes!(make_token))
        .routes(routes!(send_message, read_messages))
        .routes(routes!(changes::edit_message, changes::delete_message))
        .routes(routes!(changes::put_reaction, changes::take_reaction_back))
        .routes(routes!(read_members))
        .routes(routes!(reading::list_rooms))
        .routes(routes!(reading::mark_read))
        .routes(routes!(attachments::upload))
        .routes(routes!(attachments::download))
        .routes(routes!(events::hear_room))
        .split_for_parts();
    let calls = calls
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || {
            Problem::invalid(StatusCode::METHOD_NOT_ALLOWED, "That is not done with this method.")
        })
        .layer(middleware::from_fn_with_state(house.clone(), count_address))
        .layer(cross_origin())
        .layer(middleware::from_fn_with_state(house.clone(), check_page));
    let document = Document::openapi().nest("/v1", described);
    let document = Arc::new(document);
    let told = get(async move || ([(CACHE_CONTROL, "no-cache")], Json(&*document).into_response()));
    // The door itself is no room of it.
    let nothing = any(async || Problem::not_found());
    Router::new().nest("/v1", calls).route("/v1/", nothing).route("/openapi.json", told)
}

/// What a page of another site that is allowed may ask for. Which are is looked at before.
fn cross_origin() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, IDEMPOTENCY_KEY, events::LAST_EVENT_ID])
        .expose_headers([RETRY_AFTER])
        .max_age(CORS_MAX_AGE)
}

/// Refuses what a page of another site asks for.
async fn check_page(State(house): State<Arc<House>>, request: Request, next: Next) -> Response {
    match entrance::check_origin(&house, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => Problem::from(refused).into_response(),
    }
}

/// Refuses who asks too fast.
async fn count_address(
    State(house): State<Arc<House>>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let address = entrance::address(&house, &caller, request.headers());
    let mut response = match house.admission.call(address) {
        Ok(()) => next.run(request).await,
        Err(refusal) => Problem::from(entrance::Refused::NoPlace(refusal)).into_response(),
    };
    let status = response.status().as_u16().to_string();
    metrics::counter!("parlor_gateway_calls_total", "status" => status).increment(1);
    // What one member is told is not for others.
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Asks the room service.
async fn ask(house: &House, asker: Asker, body: Ask) -> Result<Answer, Problem> {
    let unavailable = || Problem::unavailable("The chat cannot be reached right now. Try again in a moment.");
    let _place = house.calls.try_acquire().map_err(|_| unavailable())?;
    let span = match &body {
        Ask::Send(_) => Span::first("request", &asker.traceparent),
        _ => Span::NOTHING,
    };
    let frame = ClientFrame { id: 1, body: Some(body) };
    let answer = house.link.call(asker.token.clone(), frame, house.settings.reply_timeout, &span).await;
    match answer.map_err(|_| unavailable())?.body {
        Some(Answer::Error(error)) => Err(refused(house, &asker, error)),
        Some(answer) => Ok(answer),
        None => Err(unavailable()),
    }
}

/// What the room service refused. A bad token counts against who brought it.
fn refused(house: &House, asker: &Asker, error: Error) -> Problem {
    if error.code == "UNAUTHENTICATED" && !asker.token.is_empty() {
        metrics::counter!("parlor_gateway_failed_hellos_total").increment(1);
        house.admission.failed_call(asker.address);
    }
    error.into()
}

/// An answer that no room service gives to this question.
fn unheard_of(answer: &Answer) -> Problem {
    tracing::error!(?answer, "an answer to another question");
    Problem::unavailable("The chat gave no answer. Try again in a moment.")
}

/// The room that a path names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only described: `request::Named` reads it")]
pub(crate) struct InRoom {
    /// A room's name. The first message or session in it makes it.
    #[param(pattern = "^[a-z0-9._-]{1,64}$")]
    room: String,
}

/// The sender's own name for what is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only described: `name_of` reads it")]
pub(crate) struct UnderName {
    /// The `client_id`, unless a body has one.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 64, pattern = "^[!-~]{1,64}$")]
    idempotency_key: Option<String>,
}

/// A message to be sent.
#[derive(Deserialize, ToSchema)]
struct NewMessage {
    /// What is said: data, never markup. At most as many bytes of UTF-8 as `max_text_bytes` says, and not blank; or
    /// empty, if something is attached.
    #[serde(default)]
    text: String,
    /// What it answers, if anything: a message of the room, by its `seq` and its `id`.
    #[serde(default, alias = "replyTo")]
    reply_to: Option<MessageRef>,
    /// Who is spoken to, by member id.
    #[serde(default)]
    #[schema(max_items = 50)]
    mentions: Vec<String>,
    /// The ids of what the same member uploaded to this room and did not send yet.
    #[serde(default)]
    #[schema(max_items = 10)]
    attachments: Vec<String>,
    /// The sender's own name for it, of printable ASCII. The same again within 10 minutes is the same message. Without
    /// one, and without the header, a request that is repeated is said twice.
    #[serde(alias = "clientId")]
    #[schema(min_length = 1, max_length = 64, pattern = "^[!-~]{1,64}$")]
    client_id: Option<String>,
}

/// Which part of a history.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OlderThan {
    /// Exclusive: the seq of the oldest message that is known. 0: from the newest on.
    #[serde(default)]
    #[param(format = Int64, maximum = 4_294_967_295_u32)]
    before: u32,
    /// How many. 0: as many as a join gives. More than 200: 200.
    #[serde(default)]
    #[param(format = Int64, maximum = 4_294_967_295_u32)]
    limit: u32,
}

/// Which part of a roster.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LaterThan {
    /// Exclusive: the last id of the page before.
    #[serde(default)]
    after: String,
    /// How many. 0 or more than 200: 200.
    #[serde(default)]
    #[param(format = Int64, maximum = 4_294_967_295_u32)]
    limit: u32,
}

/// Gives a token: of a new guest, or with a bearer a newer one of the same member.
///
/// It opens no session, so nobody hears of it.
#[utoipa::path(
    post,
    path = "/tokens",
    operation_id = "makeToken",
    security((), ("token" = [])),
    responses((status = 200, description = "A token, and whose it is.", body = Welcome), Problem)
)]
async fn make_token(
    State(house): State<Arc<House>>,
    Anyone(asker): Anyone,
) -> Result<Json<Welcome>, Problem> {
    let hello = HelloRequest { token: asker.token.clone(), ..HelloRequest::default() };
    match ask(&house, asker, Ask::Hello(hello)).await? {
        Answer::Welcome(mut welcome) => {
            if house.files.is_none() {
                welcome.max_attachment_bytes = 0;
            }
            welcome.heartbeat_seconds = house.settings.heartbeat_seconds();
            welcome.web_build = house.web_build.to_string();
            Ok(Json(welcome))
        }
        other => Err(unheard_of(&other)),
    }
}

/// Says something in a room, without joining it. Answers with the message as it is kept.
#[utoipa::path(
    post,
    path = "/rooms/{room}/messages",
    operation_id = "sendMessage",
    params(
        InRoom,
        UnderName,
    ),
    request_body = NewMessage,
    security(("token" = [])),
    responses((status = 200, description = "The message.", body = Message), Problem)
)]
async fn send_message(
    State(house): State<Arc<House>>,
    asker: Asker,
    Named(room): Named<String>,
    headers: HeaderMap,
    Body(message): Body<NewMessage>,
) -> Result<Json<Message>, Problem> {
    let NewMessage { text, attachments, reply_to, mentions, client_id } = message;
    let client_id = name_of(&headers, client_id)?;
    let send = SendRequest { attachments, reply_to, mentions, ..SendRequest::text(room, client_id, text) };
    match ask(&house, asker, Ask::Send(send)).await? {
        Answer::Message(message) => Ok(Json(message)),
        other => Err(unheard_of(&other)),
    }
}

/// The sender's name for a message or a change, or one of ours: then a repeated request is another one.
fn name_of(headers: &HeaderMap, in_body: Option<String>) -> Result<String, Problem> {
    let key = headers.get(IDEMPOTENCY_KEY).map(|key| {
        let key = key.to_str().ok().filter(|key| (1..=64).contains(&key.len()) && !key.contains([' ', '\t']));
        let words = "Idempotency-Key: it has 1 to 64 printable ASCII characters, and no spaces.";
        key.ok_or_else(|| Problem::invalid(StatusCode::BAD_REQUEST, words))
    });
    let key = key.transpose()?.map(str::to_owned);
    Ok(in_body.or(key).unwrap_or_else(|| format!("h_{:032x}", rand::random::<u128>())))
}

/// Reads a page of a room's history, oldest first, without joining it.
#[utoipa::path(
    get,
    path = "/rooms/{room}/messages",
    operation_id = "readMessages",
    params(InRoom, OlderThan),
    security(("token" = [])),
    responses((status = 200, description = "The page. Fewer than the limit: nothing older is kept.",
        body = HistoryPage), Problem)
)]
async fn read_messages(
    State(house): State<Arc<House>>,
    asker: Asker,
    Named(room): Named<String>,
    Query(OlderThan { before, limit }): Query<OlderThan>,
) -> Result<Json<HistoryPage>, Problem> {
    match ask(&house, asker, Ask::History(HistoryRequest { room, before, limit })).await? {
        Answer::History(page) => Ok(Json(page)),
        other => Err(unheard_of(&other)),
    }
}

/// Reads a page of who is in a room, by id, without joining it.
#[utoipa::path(
    get,
    path = "/rooms/{room}/members",
    operation_id = "readMembers",
    params(InRoom, LaterThan),
    security(("token" = [])),
    responses((status = 200, description = "The page. Fewer than the limit: it is the last.",
        body = MembersPage), Problem)
)]
async fn read_members(
    State(house): State<Arc<House>>,
    asker: Asker,
    Named(room): Named<String>,
    Query(LaterThan { after, limit }): Query<LaterThan>,
) -> Result<Json<MembersPage>, Problem> {
    match ask(&house, asker, Ask::Members(MembersRequest { room, after, limit })).await? {
        Answer::Members(page) => Ok(Json(page)),
        other => Err(unheard_of(&other)),
    }
}
