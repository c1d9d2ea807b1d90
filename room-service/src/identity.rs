//! Who a session speaks as: a guest with a random name, or somebody for whom a sign-in provider vouches.
//!
//! What either may do in which room is `access.rs`, how names are kept apart `names.rs`. The tokens that bring a member
//! back are ours (`tokens.rs`); those that a provider signs are read by `provider.rs`, with the keys of `keys.rs` and
//! `jwks.rs`. A token is a secret: it is never logged, and no URL carries it.

mod access;
#[cfg(test)]
mod forgeries;
mod jwks;
mod keys;
mod names;
mod provider;
mod tokens;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use fake::{
    Fake as _,
    faker::name::en::{FirstName, LastName},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use proto::{Timestamp, chat::v1::Member};
use runtime::Tasks;

pub use self::{
    access::{Access, Pattern},
    keys::{KeyError, KeySet},
    provider::Provider,
    tokens::Tokens,
};
use crate::{config::Settings, ids::draw};

/// Longer tokens are refused unread.
const MAX_TOKEN_BYTES: usize = 8192;
/// The last moment that a timestamp can be, in seconds after 1970 began: the end of the year 9999, two days before.
const END_OF_TIME: u64 = 253_402_207_200;

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

/// A member, and what they may do.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Who.
    pub member: Arc<Member>,
    /// The rooms that they may hear and speak in.
    pub access: Access,
    /// Until when somebody vouches for them, in seconds after 1970 began. Nothing: a guest, for whom nobody does.
    pub until: Option<u64>,
}

impl Identity {
    /// A new member with a random first and last name. `kind` is "guest" or "bot".
    pub fn guest(kind: &str) -> Self {
        let (first, last): (String, String) = (FirstName().fake(), LastName().fake());
        let member = Arc::new(member(draw("m_"), format!("{first} {last}"), kind.to_owned()));
        Self { member, access: Access::default(), until: None }
    }

    /// Whether nobody vouches for them any more.
    pub(crate) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= now())
    }
}

fn member(id: String, name: String, kind: String) -> Member {
    let avatar = avatar(&name);
    Member { id, name, avatar, kind }
}

/// The picture that the gateway draws of `name`.
fn avatar(name: &str) -> String {
    format!("/avatars/{}.svg", utf8_percent_encode(name, SEGMENT))
}

/// In seconds after 1970 began.
pub(crate) fn now() -> u64 {
    since_1970().as_secs()
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Why a token does not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its time is over.
    #[error("its time is over. Sign in again, or say hello without it")]
    Expired,
    /// Its time has not come.
    #[error("it does not hold yet")]
    NotYet,
    /// It is neither ours nor the provider's, or was changed.
    #[error("it is not one of ours. Say hello without it")]
    Invalid,
    /// The provider's, and of no use here: it names what is wrong with it.
    #[error("{0}")]
    Unfit(&'static str),
    /// Only those come in who sign in.
    #[error("there are no guests here. Sign in")]
    NoGuests,
    /// Nobody signs in here any more.
    #[error("nobody signs in here")]
    NoSignIn,
    /// It may be the provider's, whose keys were never heard.
    #[error("the provider of sign-ins cannot be reached right now")]
    ProviderAway,
}

/// A token to bring a member back with, and until when it does.
pub(crate) struct Signed {
    pub(crate) token: String,
    pub(crate) expires_at: Timestamp,
}

/// Tells who somebody is: the one place that knows who is let in.
pub(crate) struct Identities {
    tokens: Tokens,
    guests: bool,
    provider: Option<Provider>,
}

impl Identities {
    /// As the settings say. `secret` signs our own tokens; `tasks` own what fetches a provider's keys.
    pub(crate) fn new(settings: &Settings, secret: &str, tasks: &Tasks) -> Result<Self, Vec<String>> {
        let provider = settings.sign_in.check()?.map(|terms| Provider::start(terms, tasks));
        let tokens = Tokens::new(secret, settings.token_ttl);
        Ok(Self { tokens, guests: settings.sign_in.auth.guests, provider })
    }

    /// A new guest. `kind` is "guest" or "bot".
    pub(crate) fn guest(&self, kind: &str) -> Result<Identity, TokenError> {
        self.let_in(Identity::guest(kind))
    }

    /// Who brings `token`.
    pub(crate) async fn read(&self, token: &str) -> Result<Identity, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        match &self.provider {
            Some(provider) if !Tokens::is_ours(token) => provider.read(token).await,
            _ => self.let_in(self.tokens.read(token)?),
        }
    }

    /// Whose session it is that was welcome with `token`, whose time may be over by now.
    pub(crate) fn read_welcomed(&self, token: &str) -> Result<Identity, TokenError> {
        self.let_in(self.tokens.read_welcomed(token)?)
    }

    /// A token that brings `identity` back: a guest for as long as tokens last, others as long as they are vouched for.
    pub(crate) fn sign(&self, identity: &Identity) -> Signed {
        let (token, expires) = self.tokens.sign_with_end(identity);
        let millis =
            i64::try_from(expires.min(END_OF_TIME) * 1000).expect("the end of time is a small number");
        Signed { token, expires_at: Timestamp::from_millis(millis) }
    }

    /// The last word on everyone who was not just vouched for. Where people sign in, a guest's name says that it is a
    /// guest's: it is never that of a member.
    fn let_in(&self, mut identity: Identity) -> Result<Identity, TokenError> {
        match (identity.until, &self.provider) {
            (Some(_), None) => return Err(TokenError::NoSignIn),
            (None, _) if !self.guests => return Err(TokenError::NoGuests),
            (None, Some(_)) => {
                let guest = Arc::make_mut(&mut identity.member);
                guest.name = names::of_guest(&guest.name);
                guest.avatar = avatar(&guest.name);
            }
            _ => {}
        }
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn identities(flags: &[&str]) -> Identities {
        let settings = Settings::parse_from(["room-service"].iter().chain(flags));
        Identities::new(&settings, "a secret of the tests", &Tasks::default()).unwrap()
    }

    #[test]
    fn an_avatar_is_a_path_whatever_the_name() {
        let odd = member("m".into(), "Ada \"/<é&\u{202e}".into(), "guest".into());
        assert_eq!(odd.avatar, "/avatars/Ada%20%22%2F%3C%C3%A9%26%E2%80%AE.svg");
    }

    #[tokio::test]
    async fn a_token_brings_the_same_guest_back_until_it_says() {
        let identities = identities(&["--token-ttl=1h"]);
        let ada = identities.guest("guest").unwrap();
        assert!(ada.member.name.contains(' '), "a first and a last name: {}", ada.member.name);
        let before = now();
        let signed = identities.sign(&ada);
        assert_eq!(identities.read(&signed.token).await, Ok(ada));
        let lasts = u64::try_from(signed.expires_at.seconds).unwrap() - before;
        assert!((3600..3700).contains(&lasts), "{lasts}");
    }

    #[test]
    fn an_end_beyond_all_time_can_be_written() {
        let identities = identities(&["--token-ttl=100000years"]);
        let signed = identities.sign(&Identity::guest("guest"));
        assert!(serde_json::to_string(&signed.expires_at).is_ok(), "{:?}", signed.expires_at);
    }

    #[tokio::test]
    async fn who_signed_in_is_not_let_in_where_nobody_signs_in() {
        let identities = identities(&[]);
        let ada = Identity { until: Some(now() + 3600), ..Identity::guest("user") };
        let token = identities.sign(&ada).token;
        assert_eq!(identities.read(&token).await, Err(TokenError::NoSignIn));
        assert_eq!(identities.read_welcomed(&token), Err(TokenError::NoSignIn));
    }
}
