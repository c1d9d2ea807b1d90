//! Our own tokens, which bring a member back: signed with a secret that all room services share.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode_header, errors::ErrorKind,
};
use proto::chat::v1::Member;
use serde::{Deserialize, Serialize};

use super::{Access, Identity, MAX_TOKEN_BYTES, TokenError, avatar, member, since_1970};

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    name: String,
    kind: String,
    /// Absent for the picture that is drawn of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    picture: Option<String>,
    #[serde(default, skip_serializing_if = "Access::is_everything")]
    rooms: Access,
    /// Somebody vouches for the member until `exp`. Otherwise a guest, who can be brought back until then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    vouched: bool,
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
    /// What the header of our tokens says that they are, so that none of a provider's is taken for one.
    pub const TYPE: &str = "parlor";

    /// With `secret`, for tokens of guests that last for `ttl`.
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

    /// Whether `token` says that it is one of ours.
    pub(super) fn is_ours(token: &str) -> bool {
        decode_header(token).is_ok_and(|header| header.typ.as_deref() == Some(Self::TYPE))
    }

    /// A token that brings `identity` back.
    pub fn sign(&self, identity: &Identity) -> String {
        self.sign_with_end(identity).0
    }

    /// The same, and when it ends, in seconds after 1970 began.
    pub(super) fn sign_with_end(&self, identity: &Identity) -> (String, u64) {
        let exp = identity.until.unwrap_or_else(|| since_1970().saturating_add(self.ttl).as_secs());
        (self.sign_until(identity, exp), exp)
    }

    fn sign_until(&self, identity: &Identity, exp: u64) -> String {
        let Member { id, name, avatar: picture, kind } = Member::clone(&identity.member);
        let picture = Some(picture).filter(|picture| *picture != avatar(&name));
        let rooms = identity.access.clone();
        let claims = Claims { sub: id, name, kind, picture, rooms, vouched: identity.until.is_some(), exp };
        let header = Header { typ: Some(Self::TYPE.to_owned()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims, &self.encoding)
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
        if token.len() > MAX_TOKEN_BYTES || !Self::is_ours(token) {
            return Err(TokenError::Invalid);
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, validation)
            .map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => TokenError::Expired,
                _ => TokenError::Invalid,
            })?
            .claims;
        let mut member = member(claims.sub, claims.name, claims.kind);
        if let Some(picture) = claims.picture {
            member.avatar = picture;
        }
        Ok(Identity {
            member: Arc::new(member),
            access: claims.rooms,
            until: claims.vouched.then_some(claims.exp),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::now;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn a_token_brings_the_same_member_back() {
        let tokens = Tokens::new("secret", DAY);
        let guest = Identity::guest("guest");
        assert_eq!(tokens.read(&tokens.sign(&guest)), Ok(guest));
        let mut member = Identity::guest("user");
        Arc::make_mut(&mut member.member).avatar = "https://pictures.example/ada.png".to_owned();
        member.access = Access::to(["news.*".parse().unwrap()], ["ops".parse().unwrap()]);
        member.until = Some(now() + 60);
        assert_eq!(tokens.read(&tokens.sign(&member)), Ok(member));
    }

    #[test]
    fn a_token_of_another_secret_or_a_changed_one_is_refused() {
        let tokens = Tokens::new("secret", DAY);
        let token = tokens.sign(&Identity::guest("guest"));
        assert_eq!(Tokens::new("other", DAY).read(&token), Err(TokenError::Invalid));
        let other_type = jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            &serde_json::json!({ "sub": "m", "name": "Ada", "kind": "guest", "exp": now() + 60 }),
            &tokens.encoding,
        )
        .unwrap();
        // {"alg":"none","typ":"parlor"} with the claims as they were and no signature.
        let unsigned =
            format!("eyJhbGciOiJub25lIiwidHlwIjoicGFybG9yIn0.{}.", token.split('.').nth(1).unwrap());
        let long = "x".repeat(9000);
        for forged in
            ["", "x", "a.b.c", &token[1..], &token[..token.len() - 2], &long, &unsigned, &other_type]
        {
            assert_eq!(tokens.read(forged), Err(TokenError::Invalid), "{forged}");
            assert_eq!(tokens.read_welcomed(forged), Err(TokenError::Invalid), "{forged}");
        }
    }

    #[test]
    fn a_token_ends_and_a_session_that_it_began_is_still_known() {
        let (tokens, guest) = (Tokens::new("secret", DAY), Identity::guest("guest"));
        let ended = tokens.sign_until(&guest, 1);
        assert_eq!(tokens.read(&ended), Err(TokenError::Expired));
        assert_eq!(Tokens::new("other", DAY).read_welcomed(&ended), Err(TokenError::Invalid));
        assert_eq!(tokens.read_welcomed(&ended), Ok(guest));
    }
}
