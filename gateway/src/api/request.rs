//! What a request of the HTTP door brings: who asks, where, and what. Whatever is wrong with it is a `Problem`.

use std::{error::Error as _, sync::Arc};

use axum::extract::{self, FromRequest, FromRequestParts, Path, rejection::PathRejection};
use http::{
    HeaderMap, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
    request::Parts,
};
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{House, admission::Address, entrance, frame::read_json, http::Caller, problem::Problem};

/// Who asks.
pub(crate) struct Asker {
    /// The bearer.
    pub(crate) token: String,
    /// Whom it counts against.
    pub(crate) address: Address,
    /// The trace that the request is a part of; empty if it says nothing of one.
    pub(crate) traceparent: String,
}

impl FromRequestParts<Arc<House>> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, house: &Arc<House>) -> Result<Self, Problem> {
        let Anyone(asker) = Anyone::from_request_parts(parts, house).await?;
        if asker.token.is_empty() {
            return Err(Problem::unauthenticated("A token is needed: `Authorization: Bearer …`."));
        }
        Ok(asker)
    }
}

/// Who asks, if they say so: else the token is empty.
pub(crate) struct Anyone(pub(crate) Asker);

impl FromRequestParts<Arc<House>> for Anyone {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, house: &Arc<House>) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>().expect("our listener names each caller");
        let address = entrance::address(house, caller, &parts.headers);
        let traceparent = parts.headers.get("traceparent").and_then(|value| value.to_str().ok());
        let traceparent = traceparent.unwrap_or_default().to_owned();
        Ok(Self(Asker { token: bearer(&parts.headers)?, address, traceparent }))
    }
}

/// The token that comes with a request; empty without one.
fn bearer(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(String::new()) };
    let (scheme, token) = value.to_str().ok().and_then(|value| value.split_once(' ')).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(Problem::unauthenticated("Authorization has to be `Bearer` and a token."));
    }
    Ok(token.trim().to_owned())
}

/// What the path names, in its order.
pub(crate) struct Named<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<House>> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, house: &Arc<House>) -> Result<Self, Problem> {
        let named: Result<_, PathRejection> = Path::from_request_parts(parts, house).await;
        let Path(named) =
            named.map_err(|rejection| Problem::invalid(StatusCode::BAD_REQUEST, rejection.body_text()))?;
        Ok(Self(named))
    }
}

/// What stands after the `?`.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<House>> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, house: &Arc<House>) -> Result<Self, Problem> {
        let query = extract::Query::from_request_parts(parts, house).await;
        let extract::Query(query) =
            query.map_err(|rejection| Problem::invalid(StatusCode::BAD_REQUEST, rejection.body_text()))?;
        Ok(Self(query))
    }
}

/// A body of JSON, within the limits of a frame and the time of a head.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<House>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: extract::Request, house: &Arc<House>) -> Result<Self, Problem> {
        let kind =
            request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            let words = "The body has to be JSON, and Content-Type to say `application/json`.";
            return Err(Problem::invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, words));
        }
        let max_bytes = house.settings.max_frame_bytes;
        let body = axum::body::to_bytes(request.into_body(), max_bytes);
        let body = timeout(house.settings.head_timeout, body)
            .await
            .map_err(|_| Problem::invalid(StatusCode::REQUEST_TIMEOUT, "The body did not come in time."))?;
        let body = body.map_err(|error| {
            if error.source().is_some_and(<dyn std::error::Error>::is::<LengthLimitError>) {
                Problem::too_large(max_bytes)
            } else {
                Problem::invalid(StatusCode::BAD_REQUEST, "The body broke off.")
            }
        })?;
        read_json(&body).map(Self).map_err(|why| {
            Problem::invalid(StatusCode::BAD_REQUEST, format!("This body could not be read: {why}."))
        })
    }
}
