//! Why a frame did nothing, in the words of a chat. The doors turn it into an `error` frame or a `Status`.

use std::time::Duration;

use proto::chat::v1::Error as ErrorFrame;

use crate::{
    identity::TokenError,
    ids::draw,
    store::{StoreError, WrongMessage, operators::because},
};

/// Why a frame did nothing.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The frame makes no sense. The text names the field.
    #[error("{0}")]
    Invalid(String),
    /// Nobody knows who is speaking.
    #[error("{0}")]
    Unauthenticated(String),
    /// The token does not allow it.
    #[error("{0}")]
    Forbidden(String),
    /// Something that only those in the room may do.
    #[error("You are not in the room {room}. Join it first.")]
    NotJoined {
        /// The room.
        room: String,
    },
    /// A text or a file over the limit.
    #[error("{what} has {bytes} bytes, and {max} is the most.")]
    TooLarge {
        /// The field, and what it is.
        what: &'static str,
        /// What it has.
        bytes: usize,
        /// What it may have.
        max: u32,
    },
    /// Too much at once.
    #[error("That was too fast. Try again in a moment.")]
    RateLimited {
        /// When it is allowed again.
        retry_after: Duration,
    },
    /// An operator keeps the member out of all rooms.
    #[error("An operator removed you from this chat{}", because(.reason))]
    KeptOut {
        /// An operator's words; may be empty.
        reason: String,
    },
    /// Something that is not there, or not any more.
    #[error("{0}")]
    NotFound(String),
    /// The store cannot be reached.
    #[error("The chat cannot reach its storage right now. Try again in a moment.")]
    Unavailable,
    /// Who somebody is cannot be known right now.
    #[error("token: the provider of sign-ins cannot be reached right now. Try again in a moment.")]
    ProviderAway,
    /// This room service has as many rooms open as it takes.
    #[error("room: too many rooms are open here right now. Try again in a moment.")]
    RoomsFull,
    /// Our fault. The log has the cause under this id.
    #[error("Something went wrong on our side. If you report it, name {incident}.")]
    Internal {
        /// The id.
        incident: String,
    },
}

impl Refusal {
    /// Nobody vouches for who is speaking any more.
    pub(crate) fn sign_in_ended() -> Self {
        Self::Unauthenticated("Your sign-in has ended. Refresh it with a newer token.".to_owned())
    }

    /// A frame without a body, or with one from a newer client.
    pub(crate) fn nothing_known() -> Self {
        Self::Invalid("body: this frame asks for nothing that this server knows.".to_owned())
    }

    /// The contract's word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID",
            Self::Unauthenticated(_) => "UNAUTHENTICATED",
            Self::Forbidden(_) | Self::KeptOut { .. } => "FORBIDDEN",
            Self::NotFound(_) => "NOT_FOUND",
            Self::NotJoined { .. } => "NOT_JOINED",
            Self::TooLarge { .. } => "TOO_LARGE",
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::Unavailable | Self::ProviderAway | Self::RoomsFull => "UNAVAILABLE",
            Self::Internal { .. } => "INTERNAL",
        }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::ProviderAway => Self::ProviderAway,
            TokenError::NoGuests => Self::Unauthenticated(format!("hello: {error}.")),
            _ => Self::Unauthenticated(format!("token: {error}.")),
        }
    }
}

impl From<StoreError> for Refusal {
    /// Logs what went wrong, once, and keeps it from the person.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                tracing::debug!(%error, "the store is away");
                Self::Unavailable
            }
            StoreError::Forbidden(forbidden) => Self::Forbidden(forbidden.to_string()),
            StoreError::WrongMessage(wrong) => match wrong {
                WrongMessage::Gone | WrongMessage::Deleted | WrongMessage::Unanswerable => {
                    Self::NotFound(wrong.to_string())
                }
                WrongMessage::Anothers => Self::Forbidden(wrong.to_string()),
                WrongMessage::Full => Self::Invalid(wrong.to_string()),
            },
            StoreError::NoSuchUpload(none) => Self::NotFound(none.to_string()),
            StoreError::Broken(_) => {
                let incident = draw("i_");
                tracing::error!(%error, incident, "the store is broken");
                Self::Internal { incident }
            }
        }
    }
}

impl From<Refusal> for ErrorFrame {
    fn from(refusal: Refusal) -> Self {
        let retry_after_ms = match &refusal {
            Refusal::RateLimited { retry_after } => {
                // Rounded up: whoever waits exactly so long is let through.
                u32::try_from(retry_after.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX).max(1)
            }
            Refusal::Unavailable => 500,
            Refusal::ProviderAway => 2000,
            // Rooms close when they have been empty for a while.
            Refusal::RoomsFull => 5000,
            _ => 0,
        };
        let code = refusal.code().to_owned();
        Self { code, message: refusal.to_string(), retryable: retry_after_ms > 0, retry_after_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_as_long_as_told_has_waited_enough() {
        let told = |retry_after| ErrorFrame::from(Refusal::RateLimited { retry_after }).retry_after_ms;
        assert_eq!(told(Duration::from_micros(1001)), 2);
        assert_eq!(told(Duration::from_millis(20)), 20);
        assert_eq!(told(Duration::ZERO), 1, "0 would say nothing");
    }
}
