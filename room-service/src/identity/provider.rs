//! Reads the tokens of a sign-in provider (JWT, RFC 7519): who it vouches for, until when, and for which rooms.
//!
//! | claim | is |
//! |---|---|
//! | `sub` | the member's id: 1 to 255 printable ASCII characters without spaces |
//! | `exp` | until when; without it a token is refused |
//! | `nbf`, `iss`, `aud` | checked |
//! | `name`, else `preferred_username`, else `sub` | the member's name, see `names.rs` |
//! | `picture` | their picture, if it is a path on the gateway or at an origin that is allowed |
//! | `rooms` | what may be heard and said, see `access.rs` |

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{DecodingKey, Validation, decode_header, errors::ErrorKind};
use proto::chat::v1::Member;
use runtime::Tasks;
use serde::Deserialize;

use super::{
    Access, END_OF_TIME, Identity, TokenError, avatar,
    jwks::{Jwks, Unheard},
    keys::{Key, KeySet},
    names,
};
use crate::config::{KeySource, Terms};

/// The longest member id, as `OpenID` Connect has it.
const MAX_SUB_BYTES: usize = 255;
/// The longest address of a picture: it is told with each of its member's messages.
const MAX_PICTURE_BYTES: usize = 512;
/// The most rooms and patterns that a token may name, so that our own token for the session is not too long.
const MAX_PATTERNS: usize = 64;

/// A sign-in provider.
pub struct Provider {
    keys: Keys,
    /// With everything but the algorithm, which is the key's.
    validation: Validation,
    leeway: Duration,
    pictures: Vec<String>,
}

enum Keys {
    Fixed(KeySet),
    Published(Jwks),
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    name: Option<String>,
    preferred_username: Option<String>,
    picture: Option<String>,
    #[serde(default)]
    rooms: Access,
}

impl Provider {
    /// One with these terms. If its keys are at a URL, they are fetched from now on.
    pub(crate) fn start(terms: Terms, tasks: &Tasks) -> Self {
        let mut validation =
            Validation { leeway: terms.leeway.as_secs(), validate_nbf: true, ..Validation::default() };
        let mut required = vec!["exp", "sub"];
        if let Some(issuer) = &terms.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if terms.audience.is_empty() {
            validation.validate_aud = false;
        } else {
            validation.set_audience(&terms.audience);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        let keys = match terms.keys {
            KeySource::File(keys) => Keys::Fixed(keys),
            KeySource::Jwks { url, max_age, min_interval } => {
                Keys::Published(Jwks::start(url, max_age, min_interval, terms.algorithms, tasks))
            }
        };
        Self { keys, validation, leeway: terms.leeway, pictures: terms.pictures }
    }

    /// Who brings `token`. It waits for the keys if that one's is not known.
    pub(crate) async fn read(&self, token: &str) -> Result<Identity, TokenError> {
        let read = self.check(token).await.and_then(|claims| self.admit(claims));
        let result = match &read {
            Ok(_) => "welcome",
            Err(TokenError::Expired) => "expired",
            Err(TokenError::NotYet) => "not yet",
            Err(TokenError::Unfit(_)) => "unfit",
            Err(TokenError::ProviderAway) => "provider away",
            Err(_) => "invalid",
        };
        metrics::counter!("parlor_room_service_sign_ins_total", "result" => result).increment(1);
        read
    }

    async fn check(&self, token: &str) -> Result<Claims, TokenError> {
        // Of the header only the algorithm and the key's name are of use: no key in it, and no address of one.
        let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
        if header.crit.is_some() {
            // It says that what we do not know must be understood.
            return Err(TokenError::Invalid);
        }
        let id = header.kid.as_deref();
        let published;
        let keys = match &self.keys {
            Keys::Fixed(keys) => keys,
            Keys::Published(jwks) => {
                let suffice = |keys: &KeySet| !keys.find(id, header.alg).is_empty();
                published = jwks.keys(suffice).await.map_err(|Unheard| TokenError::ProviderAway)?;
                &published
            }
        };
        let mut outcome = Err(TokenError::Invalid);
        for key in keys.find(id, header.alg) {
            outcome = self.verify(token, key);
            if outcome.as_ref().is_err_and(|error| *error == TokenError::Invalid) {
                continue;
            }
            break;
        }
        outcome
    }

    fn verify(&self, token: &str, key: &Key) -> Result<Claims, TokenError> {
        let validation = Validation { algorithms: vec![key.algorithm], ..self.validation.clone() };
        let decoding: &DecodingKey = &key.decoding;
        let checked = jsonwebtoken::decode(token, decoding, &validation);
        checked.map(|token| token.claims).map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => TokenError::Expired,
            ErrorKind::ImmatureSignature => TokenError::NotYet,
            ErrorKind::InvalidIssuer => TokenError::Unfit("it is of another issuer"),
            ErrorKind::InvalidAudience => TokenError::Unfit("it is for another audience"),
            ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) | ErrorKind::Json(_) => {
                TokenError::Unfit("exp, sub, iss, aud or rooms: one is missing or makes no sense")
            }
            _ => TokenError::Invalid,
        })
    }

    /// What the claims of a token come to whose signature and time are right.
    fn admit(&self, claims: Claims) -> Result<Identity, TokenError> {
        let sub = claims.sub;
        let fits =
            (1..=MAX_SUB_BYTES).contains(&sub.len()) && sub.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits {
            return Err(TokenError::Unfit("sub: it has 1 to 255 printable ASCII characters without spaces"));
        }
        if sub.starts_with("m_") || sub.starts_with("s_") {
            // A guest's id, and a session's.
            return Err(TokenError::Unfit("sub: what begins with m_ or s_ is drawn by this server"));
        }
        if claims.rooms.n_patterns() > MAX_PATTERNS {
            return Err(TokenError::Unfit("rooms: there are more than 64"));
        }
        let names = [claims.name, claims.preferred_username, Some(sub.clone())];
        let name = names.into_iter().flatten().find_map(|name| names::of_member(&name));
        let name = name.unwrap_or_else(|| "Somebody".to_owned());
        let picture = claims.picture.filter(|picture| self.allows(picture));
        let until = Duration::try_from_secs_f64(claims.exp).map_or(END_OF_TIME, |exp| exp.as_secs());
        Ok(Identity {
            member: Arc::new(Member {
                avatar: picture.unwrap_or_else(|| avatar(&name)),
                id: sub,
                name,
                kind: "user".to_owned(),
            }),
            access: claims.rooms,
            until: Some(until.saturating_add(self.leeway.as_secs()).min(END_OF_TIME)),
        })
    }

    /// Whether that picture may be shown. What is compared is the text as it stands: nothing in it can be read in two ways.
    fn allows(&self, picture: &str) -> bool {
        let plain =
            |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'\'' | b'<' | b'>' | b'`');
        if picture.len() > MAX_PICTURE_BYTES || !picture.bytes().all(plain) {
            return false;
        }
        let here = picture.starts_with('/') && !picture.starts_with("//");
        let elsewhere =
            |origin: &String| picture.strip_prefix(origin).is_some_and(|path| path.starts_with('/'));
        here || self.pictures.iter().any(elsewhere)
    }
}
