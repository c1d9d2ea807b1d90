//! What a member has read, over plain HTTP: their rooms, and up to where they have read one.

use std::sync::Arc;

use axum::{Json, extract::State};
use proto::chat::v1::{
    Read, ReadRequest, RoomsPage, RoomsRequest, client_frame::Body as Ask, server_frame::Body as Answer,
};
use serde::{Deserialize, Deserializer, de::Error as _};
use utoipa::ToSchema;

use super::{
    InRoom, ask,
    request::{Asker, Body, Named},
    unheard_of,
};
use crate::{House, problem::Problem};

/// A place up to which a room was read.
#[derive(Deserialize, ToSchema)]
pub(super) struct UpTo {
    /// The seq of the last message that was read. It never goes back, nor beyond the newest message.
    #[schema(format = Int64, maximum = 4_294_967_295_u32)]
    #[serde(deserialize_with = "whole")]
    seq: u32,
}

/// Reads 7 and 7.0, between which JSON sees no difference.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is compared before")]
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
        return Ok(number as u32);
    }
    Err(D::Error::custom("a whole number from 0 to 4294967295 is expected"))
}

/// Lists the rooms that the member joined lately and may enter, at most 100, those joined last first.
#[utoipa::path(
    get,
    path = "/rooms",
    operation_id = "listRooms",
    security(("token" = [])),
    responses((status = 200, description = "The rooms, and how much of each is unread.", body = RoomsPage), Problem)
)]
pub(super) async fn list_rooms(
    State(house): State<Arc<House>>,
    asker: Asker,
) -> Result<Json<RoomsPage>, Problem> {
    match ask(&house, asker, Ask::Rooms(RoomsRequest {})).await? {
        Answer::Rooms(page) => Ok(Json(page)),
        other => Err(unheard_of(&other)),
    }
}

/// Says up to where the member has read a room, without joining it. Their sessions in the room hear it.
#[utoipa::path(
    put,
    path = "/rooms/{room}/read",
    operation_id = "markRead",
    params(InRoom),
    request_body = UpTo,
    security(("token" = [])),
    responses((status = 200, description = "Up to where they have read.", body = Read), Problem)
)]
pub(super) async fn mark_read(
    State(house): State<Arc<House>>,
    asker: Asker,
    Named(room): Named<String>,
    Body(UpTo { seq }): Body<UpTo>,
) -> Result<Json<Read>, Problem> {
    match ask(&house, asker, Ask::Read(ReadRequest { room, seq })).await? {
        Answer::Read(read) => Ok(Json(read)),
        other => Err(unheard_of(&other)),
    }
}
