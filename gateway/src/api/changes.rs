//! Changes of messages over HTTP: a message is edited and deleted by its author, and reacted to. Each is answered by the
//! number of the change, as `sent` does; what became of the message is read where messages are read.

use std::sync::Arc;

use axum::{Json, extract::State};
use http::HeaderMap;
use proto::chat::v1::{
    DeleteRequest, EditRequest, MessageRef, ReactRequest, Sent, client_frame::Body as Ask,
    server_frame::Body as Answer,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    UnderName, ask, name_of,
    request::{Asker, Body, Named, Query},
    unheard_of,
};
use crate::{House, problem::Problem};

/// The message that a path names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only described: `request::Named` reads it")]
pub(crate) struct OfMessage {
    /// The room's name.
    #[param(pattern = "^[a-z0-9._-]{1,64}$")]
    room: String,
    /// The message's seq.
    #[param(format = Int64, minimum = 1, maximum = 4_294_967_295_u32)]
    seq: u32,
}

/// The reaction that a path names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only described: `request::Named` reads it")]
pub(crate) struct OfReaction {
    /// One emoji: 1 to 64 bytes of UTF-8, without spaces and control characters.
    #[param(min_length = 1, max_length = 64)]
    emoji: String,
}

/// What proves that a seq still names that message.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WithId {
    /// The message's id.
    #[param(min_length = 1)]
    id: String,
}

/// What a message is to say from now on.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewText {
    /// As in a new message.
    #[schema(min_length = 1)]
    text: String,
    /// Who is spoken to, by member id.
    #[serde(default)]
    #[schema(max_items = 50)]
    mentions: Vec<String>,
    /// The sender's own name for this change, as in a new message.
    #[serde(alias = "clientId")]
    #[schema(min_length = 1, max_length = 64, pattern = "^[!-~]{1,64}$")]
    client_id: Option<String>,
}

/// Changes the text and the mentions of a message of one's own.
#[utoipa::path(
    patch,
    path = "/rooms/{room}/messages/{seq}",
    operation_id = "editMessage",
    params(
        OfMessage,
        WithId,
        UnderName,
    ),
    request_body = NewText,
    security(("token" = [])),
    responses((status = 200, description = "The change is kept.", body = Sent), Problem)
)]
pub(super) async fn edit_message(
    State(house): State<Arc<House>>,
    asker: Asker,
    Named((room, seq)): Named<(String, u32)>,
    Query(WithId { id }): Query<WithId>,
    headers: HeaderMap,
    Body(NewText { text, mentions, client_id }): Body<NewText>,
) -> Result<Json<Sent>, Problem> {
    let client_id = name_of(&headers, client_id)?;
    let message = Some(MessageRef { seq, id });
    change(&house, asker, Ask::Edit(EditRequest { room, client_id, message, text, mentions })).await
}

/// Deletes a message of one's own. Its place is left, with nothing in it.
#[utoipa::path(
    delete,
    path = "/rooms/{room}/messages/{seq}",
    operation_id = "deleteMessage",
    params(
        OfMessage,
        WithId,
        UnderName,
    ),
    security(("token" = [])),
    responses((status = 200, description = "The change is kept.", body = Sent), Problem)
)]
pub(super) async fn delete_message(
    State(house): State<Arc<House>>,
    asker: Asker,
    Named((room, seq)): Named<(String, u32)>,
    Query(WithId { id }): Query<WithId>,
    headers: HeaderMap,
) -> Result<Json<Sent>, Problem> {
    let (client_id, message) = (name_of(&headers, None)?, Some(MessageRef { seq, id }));
    change(&house, asker, Ask::Delete(DeleteRequest { room, client_id, message })).await
}

/// Puts a reaction to a message. One that is there already stays.
#[utoipa::path(
    put,
    path = "/rooms/{room}/messages/{seq}/reactions/{emoji}",
    operation_id = "putReaction",
    params(
        OfMessage,
        OfReaction,
        WithId,
        UnderName,
    ),
    security(("token" = [])),
    responses((status = 200, description = "The change is kept.", body = Sent), Problem)
)]
pub(super) async fn put_reaction(
    State(house): State<Arc<House>>,
    asker: Asker,
    Named(path): Named<(String, u32, String)>,
    Query(with_id): Query<WithId>,
    headers: HeaderMap,
) -> Result<Json<Sent>, Problem> {
    change(&house, asker, reaction(path, with_id, &headers, false)?).await
}

/// Takes a reaction of one's own back, if it is there.
#[utoipa::path(
    delete,
    path = "/rooms/{room}/messages/{seq}/reactions/{emoji}",
    operation_id = "takeReactionBack",
    params(
        OfMessage,
        OfReaction,
        WithId,
        UnderName,
    ),
    security(("token" = [])),
    responses((status = 200, description = "The change is kept.", body = Sent), Problem)
)]
pub(super) async fn take_reaction_back(
    State(house): State<Arc<House>>,
    asker: Asker,
    Named(path): Named<(String, u32, String)>,
    Query(with_id): Query<WithId>,
    headers: HeaderMap,
) -> Result<Json<Sent>, Problem> {
    change(&house, asker, reaction(path, with_id, &headers, true)?).await
}

fn reaction(
    (room, seq, emoji): (String, u32, String),
    WithId { id }: WithId,
    headers: &HeaderMap,
    remove: bool,
) -> Result<Ask, Problem> {
    let (client_id, message) = (name_of(headers, None)?, Some(MessageRef { seq, id }));
    Ok(Ask::React(ReactRequest { room, client_id, message, emoji, remove }))
}

async fn change(house: &House, asker: Asker, wish: Ask) -> Result<Json<Sent>, Problem> {
    match ask(house, asker, wish).await? {
        Answer::Sent(sent) => Ok(Json(sent)),
        other => Err(unheard_of(&other)),
    }
}
