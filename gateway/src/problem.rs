//! Why a request got nothing, as HTTP says it: the codes of error frames, each with its status.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{RETRY_AFTER, WWW_AUTHENTICATE},
};
use proto::chat::v1::Error;
use serde::Serialize;
use utoipa::{
    IntoResponses, ToSchema,
    openapi::{self, ContentBuilder, Ref, RefOr, ResponseBuilder},
};

use crate::{
    close::{self, Close},
    entrance::Refused,
};

/// Why a request got nothing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    error: Fault,
    #[serde(skip)]
    status: StatusCode,
}

/// The same as an `error` frame.
#[derive(Debug, Serialize, ToSchema)]
struct Fault {
    /// An open set: `INVALID`, `UNAUTHENTICATED`, `FORBIDDEN`, `NOT_FOUND`, `NOT_JOINED`, `TOO_LARGE`,
    /// `RATE_LIMITED`, `UNAVAILABLE`, `INTERNAL`.
    code: String,
    /// Words for a person.
    message: String,
    /// The same request may succeed later.
    retryable: bool,
    /// Not before this, in milliseconds; Retry-After has it in seconds.
    retry_after_ms: u32,
}

impl Problem {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let error =
            Fault { code: code.to_owned(), message: message.into(), retryable: false, retry_after_ms: 0 };
        Self { error, status }
    }

    fn for_now(self, retry_after: Duration) -> Self {
        let retry_after_ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
        Self { error: Fault { retryable: true, retry_after_ms, ..self.error }, ..self }
    }

    /// The request makes no sense, in the way that `status` says.
    pub(crate) fn invalid(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "INVALID", message)
    }

    /// No token came, or one that is not of that kind.
    pub(crate) fn unauthenticated(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)
    }

    /// It may not be done here, or not like that.
    pub(crate) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }

    /// There is nothing of that name.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "There is nothing of that name.")
    }

    /// A body over the limit.
    pub(crate) fn too_large(max_bytes: usize) -> Self {
        let words = format!("A body may have {max_bytes} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", words)
    }

    /// Nobody answered, or too much is asked of this gateway right now.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message).for_now(pause())
    }

    /// Too much at once from one address.
    pub(crate) fn too_fast(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message).for_now(pause())
    }
}

/// Not the same for all, so that they do not come back as one.
fn pause() -> Duration {
    Duration::from_millis(rand::random_range(1000..=5000))
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error.code.as_str() {
            "UNAUTHENTICATED" => StatusCode::UNAUTHORIZED,
            "FORBIDDEN" => StatusCode::FORBIDDEN,
            "NOT_FOUND" => StatusCode::NOT_FOUND,
            "NOT_JOINED" => StatusCode::CONFLICT,
            "TOO_LARGE" => StatusCode::PAYLOAD_TOO_LARGE,
            "RATE_LIMITED" => StatusCode::TOO_MANY_REQUESTS,
            "INTERNAL" => StatusCode::INTERNAL_SERVER_ERROR,
            // A newer room service's word for what passes by itself is one.
            _ if error.retryable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        let problem = Self::new(status, &error.code, error.message);
        if error.retryable {
            problem.for_now(Duration::from_millis(error.retry_after_ms.into()))
        } else {
            problem
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let words = refused.words();
        match refused.status() {
            StatusCode::TOO_MANY_REQUESTS => Self::too_fast(words),
            StatusCode::SERVICE_UNAVAILABLE => Self::unavailable(words),
            status => Self::new(status, "FORBIDDEN", words),
        }
    }
}

impl From<Close> for Problem {
    /// A session that ended before it could begin.
    fn from(end: Close) -> Self {
        let words = end.words().to_owned();
        match end {
            end if end == close::TOO_MANY_FAILED_HELLOS => Self::too_fast(words),
            end if (4000..4500).contains(&end.code()) => Self::unavailable(words),
            _ => Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", words),
        }
    }
}

impl IntoResponses for Problem {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        let all = [
            (400, "INVALID, and the message names the field."),
            (401, "UNAUTHENTICATED: no token, or none that holds."),
            (403, "FORBIDDEN: not with this token, or not from this page."),
            (404, "NOT_FOUND: the message that is named is not kept, or not any more."),
            (408, "INVALID: the body did not come in time."),
            (413, "TOO_LARGE: the text, or the whole body."),
            (415, "INVALID: the body is not JSON."),
            (429, "RATE_LIMITED: too fast, for this member or address. Retry-After says when."),
            (500, "INTERNAL: our fault."),
            (
                503,
                "UNAVAILABLE: nothing was done, or it is safe to ask again with the same `client_id`. Retry-After says \
                when.",
            ),
        ];
        let content = || ContentBuilder::new().schema(Some(Ref::from_schema_name(Self::name()))).build();
        let response = |words| {
            ResponseBuilder::new().description(words).content("application/json", content()).build().into()
        };
        all.into_iter().map(|(status, words): (u16, &str)| (status.to_string(), response(words))).collect()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let seconds = self.error.retry_after_ms.div_ceil(1000).max(1);
        let status = self.status;
        let mut response = (status, Json(self)).into_response();
        match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}
