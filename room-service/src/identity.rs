//! Who a session speaks as: guests with a random name, and the signed tokens that bring them back.
//!
//! A token is a JWT (HS256). It is a secret: it is never logged, and no URL carries it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use fake::{
    Fake as _,
    faker::name::en::{FirstName, LastName},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use proto::chat::v1::Member;
use serde::{Deserialize, Serialize};

use crate::ids::{RoomId, draw};

/// Longer tokens are refused unread.
const MAX_TOKEN_BYTES: usize = 8192;

/// What a path segment cannot hold as it is (RFC 3986), and what HTML would stumble over.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'`')
    .add(b'\'')
    .add(b'&');

/// A member, and what their token allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Who.
    pub member: Arc<Member>,
    /// The rooms that they may join and speak in; nothing: all.
    pub rooms: Option<Vec<String>>,
}

impl Identity {
    /// A new member with a random first and last name. `kind` is "guest" or "bot".
    pub fn guest(kind: &str) -> Self {
        let (first, last): (String, String) = (FirstName().fake(), LastName().fake());
        Self { member: member(draw("m_"), format!("{first} {last}"), kind.to_owned()), rooms: None }
    }

    /// Whether the token allows this room.
    pub fn may_enter(&self, room: &RoomId) -> bool {
        self.rooms.as_ref().is_none_or(|rooms| rooms.iter().any(|allowed| allowed == room.as_str()))
    }
}

fn member(id: String, name: String, kind: String) -> Arc<Member> {
    let avatar = format!("/avatars/{}.svg", utf8_percent_encode(&name, SEGMENT));
    Arc::new(Member { id, name, avatar, kind })
}

/// Why a token does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It is not one of ours, or was changed.
    #[error("the token is not valid")]
    Invalid,
}

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    name: String,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<Vec<String>>,
    exp: u64,
}

/// Signs and reads tokens.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    /// As the other, whenever the token ended.
    signature_only: Validation,
    ttl: Duration,
}

impl Tokens {
    /// With `secret`, for tokens that last for `ttl`.
    pub fn new(secret: &str, ttl: Duration) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_required_spec_claims(&["exp", "sub"]);
        Self {
            encoding: EncodingKey::from_secret(secret.as_bytes()),
            decoding: DecodingKey::from_secret(secret.as_bytes()),
            signature_only: Validation { validate_exp: false, ..validation.clone() },
            validation,
            ttl,
        }
    }

    /// A token that brings `identity` back.
    pub fn sign(&self, identity: &Identity) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.sign_until(identity, now.saturating_add(self.ttl).as_secs())
    }

    /// `exp`: seconds after 1970 began.
    fn sign_until(&self, identity: &Identity, exp: u64) -> String {
        let Member { id, name, kind, .. } = Member::clone(&identity.member);
        let claims = Claims { sub: id, name, kind, rooms: identity.rooms.clone(), exp };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .expect("our own claims have a JSON form, and the key is for HS256")
    }

    /// Who brings `token`.
    pub fn read(&self, token: &str) -> Result<Identity, TokenError> {
        self.decode(token, &self.validation)
    }

    /// Whose session it is that was welcome with `token`, whose time may be over by now.
    pub fn read_welcomed(&self, token: &str) -> Result<Identity, TokenError> {
        self.decode(token, &self.signature_only)
    }

    fn decode(&self, token: &str, validation: &Validation) -> Result<Identity, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, validation)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => TokenError::Expired,
                _ => TokenError::Invalid,
            })?
            .claims;
        Ok(Identity { member: member(claims.sub, claims.name, claims.kind), rooms: claims.rooms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn a_token_brings_the_same_member_back() {
        let tokens = Tokens::new("secret", DAY);
        let guest = Identity::guest("guest");
        assert!(guest.member.name.contains(' '), "a first and a last name: {}", guest.member.name);
        assert_eq!(tokens.read(&tokens.sign(&guest)), Ok(guest));
    }

    #[test]
    fn a_token_of_another_secret_or_a_changed_one_is_refused() {
        let tokens = Tokens::new("secret", DAY);
        let token = tokens.sign(&Identity::guest("guest"));
        assert_eq!(Tokens::new("other", DAY).read(&token), Err(TokenError::Invalid));
        for forged in ["", "x", "a.b.c", &token[1..], &token[..token.len() - 2], &"x".repeat(9000)] {
            assert_eq!(tokens.read(forged), Err(TokenError::Invalid), "{forged}");
            assert_eq!(tokens.read_welcomed(forged), Err(TokenError::Invalid), "{forged}");
        }
        // {"alg":"none","typ":"JWT"} with the claims as they were and no signature.
        let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", token.split('.').nth(1).unwrap());
        assert_eq!(tokens.read(&unsigned), Err(TokenError::Invalid));
    }

    #[test]
    fn a_token_ends_and_a_session_that_it_began_does_not() {
        let (tokens, guest) = (Tokens::new("secret", DAY), Identity::guest("guest"));
        let ended = tokens.sign_until(&guest, 1);
        assert_eq!(tokens.read(&ended), Err(TokenError::Expired));
        assert_eq!(Tokens::new("other", DAY).read_welcomed(&ended), Err(TokenError::Invalid));
        assert_eq!(tokens.read_welcomed(&ended), Ok(guest));
    }

    #[test]
    fn an_avatar_is_a_path_whatever_the_name() {
        let odd = member("m".into(), "Ada \"/<é&\u{202e}".into(), "guest".into());
        assert_eq!(odd.avatar, "/avatars/Ada%20%22%2F%3C%C3%A9%26%E2%80%AE.svg");
    }

    #[test]
    fn a_token_may_name_the_rooms_that_it_opens() {
        let lobby = RoomId::parse("lobby").unwrap();
        let mut identity = Identity::guest("guest");
        assert!(identity.may_enter(&lobby));
        identity.rooms = Some(vec!["ops".into()]);
        assert!(!identity.may_enter(&lobby));
        let tokens = Tokens::new("secret", DAY);
        assert_eq!(tokens.read(&tokens.sign(&identity)), Ok(identity));
    }
}
