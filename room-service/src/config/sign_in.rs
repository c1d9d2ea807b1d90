//! The settings of sign-in, and which of them go together.

use std::{fmt, fs, str::FromStr, time::Duration};

use clap::Args;
use http::Uri;
use jsonwebtoken::Algorithm;
use runtime::settings::{Origins, duration};

use crate::identity::KeySet;

/// The longest that a provider's clock may be taken to be off, so that a token that has ended is not good for ever.
const MAX_LEEWAY: Duration = Duration::from_mins(10);

/// Who is let in, and how a provider's tokens are checked.
#[derive(Clone, Debug, Args)]
pub struct SignIn {
    /// Who is let in: `guest` (anyone, under a random name), `jwt` (who brings a token that a sign-in provider signed), or
    /// both with a comma. Guests alone by default, so that a first look needs no provider.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_AUTH", default_value = "guest")]
    pub auth: Auth,

    /// A file with the key of the sign-in provider: a public key in PEM, a JWKS, or for HS256 a secret of at least 32
    /// characters. It is read at the start. This or the JWKS URL is needed for `jwt`.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_JWT_KEY_FILE")]
    pub jwt_key_file: Option<KeyFile>,

    /// Where the sign-in provider publishes its keys (a JWKS): an `https://` URL, or `http://` within a network that is
    /// trusted. Redirects are not followed, and of a token's header no address is ever called.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_JWT_JWKS_URL", value_parser = jwks_url)]
    pub jwt_jwks_url: Option<Uri>,

    /// How long the keys of the JWKS URL are used before they are fetched again, like `10m`. A key that the provider has
    /// withdrawn opens nothing after that; while it cannot be reached, the keys of the last time serve on.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_JWT_JWKS_MAX_AGE", default_value = "10m", value_parser = duration)]
    pub jwt_jwks_max_age: Duration,

    /// The least time between two fetches of the JWKS URL, like `10s`. A token with a key that is not known has them
    /// fetched, so that a provider may change its keys at any time; a flood of forged ones must not become a flood there.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_JWT_JWKS_MIN_INTERVAL", default_value = "10s", value_parser = duration)]
    pub jwt_jwks_min_interval: Duration,

    /// Which signatures are taken: RS256, ES256 and `EdDSA` with commas, each only with a key of its kind; or HS256 alone,
    /// whose key is a secret and so must never be one that is public.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_JWT_ALGORITHMS", default_value = "RS256,ES256,EdDSA")]
    pub jwt_algorithms: Algorithms,

    /// What a token's `iss` has to be. Needed with a JWKS URL: its keys may sign for more than one issuer.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_JWT_ISSUER", value_parser = not_blank)]
    pub jwt_issuer: Option<String>,

    /// What a token's `aud` has to be or to have among others; several with commas, of which one is enough. Needed with a
    /// JWKS URL: the provider signs for other programs too, and their tokens are not for this one.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_JWT_AUDIENCE")]
    pub jwt_audience: Option<Audience>,

    /// By how much the provider's clock may differ from ours, like `60s`, at most `10m`: a token holds so much earlier and
    /// longer.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_JWT_LEEWAY", default_value = "60s", value_parser = leeway)]
    pub jwt_leeway: Duration,

    /// Where pictures of those who sign in may be: origins like `https://pictures.example` with commas. A `picture` that
    /// is elsewhere is not taken, since whoever serves it learns who looks; a path on the gateway is. Set
    /// `PARLOR_GATEWAY_ALLOWED_PICTURES` likewise, or the web client will not load them.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_ALLOWED_PICTURES", default_value = "")]
    pub allowed_pictures: Origins,

    /// How long a session whose sign-in has ended may take to `refresh`, like `30s`, before it is closed with 4501. Until
    /// then it may only do that. A page that was asleep has the time to get a new token.
    #[arg(long, env = "PARLOR_ROOM_SERVICE_REFRESH_GRACE", default_value = "30s", value_parser = duration)]
    pub refresh_grace: Duration,
}

/// What is to be held to of a provider, after the settings were found to go together.
#[derive(Clone, Debug)]
pub struct Terms {
    pub(crate) keys: KeySource,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Vec<String>,
    pub(crate) leeway: Duration,
    pub(crate) pictures: Vec<String>,
}

/// Where the keys are.
#[derive(Clone, Debug)]
pub(crate) enum KeySource {
    File(KeySet),
    Jwks { url: Uri, max_age: Duration, min_interval: Duration },
}

impl SignIn {
    /// How sign-ins are checked; nothing where nobody signs in. Otherwise a line for each setting that does not go with
    /// the others.
    pub fn check(&self) -> Result<Option<Terms>, Vec<String>> {
        if !self.auth.jwt {
            return Ok(None);
        }
        let mut faults = Vec::new();
        let keys = self.keys().map_err(|fault| faults.push(fault)).ok();
        if self.jwt_jwks_url.is_some() {
            let needed = |setting, why| format!("{setting}: it is needed with a JWKS URL: {why}");
            if self.jwt_issuer.is_none() {
                let why = "its keys may sign for more than one issuer";
                faults.push(needed("PARLOR_ROOM_SERVICE_JWT_ISSUER", why));
            }
            if self.jwt_audience.is_none() {
                let why = "the provider signs for other programs too";
                faults.push(needed("PARLOR_ROOM_SERVICE_JWT_AUDIENCE", why));
            }
        }
        let Some(keys) = keys.filter(|_| faults.is_empty()) else { return Err(faults) };
        Ok(Some(Terms {
            keys,
            algorithms: self.jwt_algorithms.0.clone(),
            issuer: self.jwt_issuer.clone(),
            audience: self.jwt_audience.clone().unwrap_or_default().0,
            leeway: self.jwt_leeway,
            pictures: self.allowed_pictures.0.clone(),
        }))
    }

    fn keys(&self) -> Result<KeySource, String> {
        match (&self.jwt_key_file, &self.jwt_jwks_url) {
            (Some(file), None) => KeySet::from_file(&file.0, &self.jwt_algorithms.0)
                .map(KeySource::File)
                .map_err(|error| format!("PARLOR_ROOM_SERVICE_JWT_KEY_FILE: {error}")),
            (None, Some(_)) if self.jwt_algorithms.0.contains(&Algorithm::HS256) => {
                Err("PARLOR_ROOM_SERVICE_JWT_ALGORITHMS: HS256 needs a secret in a key file; a JWKS URL has \
                     public keys"
                    .to_owned())
            }
            (None, Some(url)) => Ok(KeySource::Jwks {
                url: url.clone(),
                max_age: self.jwt_jwks_max_age,
                min_interval: self.jwt_jwks_min_interval,
            }),
            (None, None) => Err("PARLOR_ROOM_SERVICE_AUTH: jwt needs PARLOR_ROOM_SERVICE_JWT_KEY_FILE or \
                                 PARLOR_ROOM_SERVICE_JWT_JWKS_URL"
                .to_owned()),
            (Some(_), Some(_)) => {
                Err("PARLOR_ROOM_SERVICE_JWT_KEY_FILE: a JWKS URL is set too; keys come from \
                                       one of them"
                    .to_owned())
            }
        }
    }
}

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Anyone, under a random name.
    pub guests: bool,
    /// Who brings a provider's token.
    pub jwt: bool,
}

impl FromStr for Auth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut auth = Self { guests: false, jwt: false };
        for word in text.split(',').map(str::trim) {
            match word {
                "guest" => auth.guests = true,
                "jwt" => auth.jwt = true,
                _ => return Err("it is guest, jwt, or guest,jwt".to_owned()),
            }
        }
        Ok(auth)
    }
}

/// What is in a key file. It may be a secret.
#[derive(Clone)]
pub struct KeyFile(String);

impl FromStr for KeyFile {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        fs::read_to_string(path).map(Self).map_err(|error| format!("it cannot be read: {error}"))
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFile")
    }
}

/// Which signatures are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms(pub(crate) Vec<Algorithm>);

impl FromStr for Algorithms {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = |word: &str| match word {
            "RS256" => Ok(Algorithm::RS256),
            "ES256" => Ok(Algorithm::ES256),
            "EdDSA" => Ok(Algorithm::EdDSA),
            "HS256" => Ok(Algorithm::HS256),
            _ => Err("they are RS256, ES256, EdDSA, with commas; or HS256".to_owned()),
        };
        let algorithms: Vec<Algorithm> =
            text.split(',').map(str::trim).map(read).collect::<Result<_, _>>()?;
        if algorithms.len() > 1 && algorithms.contains(&Algorithm::HS256) {
            // Or a public key could be taken for a secret.
            return Err("HS256 stands alone".to_owned());
        }
        Ok(Self(algorithms))
    }
}

/// Whom a token has to be for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience(Vec<String>);

impl FromStr for Audience {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|word| not_blank(word.trim())).collect::<Result<_, _>>().map(Self)
    }
}

fn jwks_url(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| "it is not a URL".to_owned())?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
            Err("a user or a password in it would be sent to nobody".to_owned())
        }
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err("it begins with https:// or http://".to_owned()),
    }
}

fn not_blank(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn leeway(text: &str) -> Result<Duration, String> {
    // None at all makes sense too, unlike for other durations.
    let leeway = if text == "0s" { Duration::ZERO } else { duration(text)? };
    if leeway > MAX_LEEWAY { Err("it is at most 10m".to_owned()) } else { Ok(leeway) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::config::Settings;

    fn faults(flags: &[&str]) -> Vec<String> {
        let settings = Settings::parse_from(["room-service", "--auth=jwt"].iter().chain(flags));
        settings.sign_in.check().err().unwrap_or_default()
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let guests_only = Settings::parse_from(["room-service"]).sign_in;
        assert!(matches!(guests_only.check(), Ok(None)), "nobody signs in, so nothing is needed");
        let url = "--jwt-jwks-url=https://id.example/jwks";
        let whole = [url, "--jwt-issuer=https://id.example", "--jwt-audience=parlor"];
        assert_eq!(faults(&whole), [""; 0]);
        let one = |flags: &[&str], setting: &str| {
            let faults = faults(flags);
            assert!(
                matches!(faults.as_slice(), [fault] if fault.starts_with(setting)),
                "{flags:?}: {faults:?}"
            );
        };
        one(&[], "PARLOR_ROOM_SERVICE_AUTH: jwt needs ");
        one(&whole[..2], "PARLOR_ROOM_SERVICE_JWT_AUDIENCE: ");
        one(&[whole[0], whole[2]], "PARLOR_ROOM_SERVICE_JWT_ISSUER: ");
        one(
            &[whole[0], whole[1], whole[2], "--jwt-algorithms=HS256"],
            "PARLOR_ROOM_SERVICE_JWT_ALGORITHMS: ",
        );
        let file = concat!("--jwt-key-file=", env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        one(&[whole[0], whole[1], whole[2], file], "PARLOR_ROOM_SERVICE_JWT_KEY_FILE: ");
        one(&[file], "PARLOR_ROOM_SERVICE_JWT_KEY_FILE: ");
        assert_eq!(faults(&[url]).len(), 2, "both at once");
    }

    #[test]
    fn a_value_that_makes_no_sense_is_refused() {
        for flag in [
            "--auth=",
            "--auth=password",
            "--auth=guest,",
            "--jwt-algorithms=none",
            "--jwt-algorithms=RS256,HS256",
            "--jwt-algorithms=",
            "--jwt-key-file=/nonexistent",
            "--jwt-jwks-url=id.example/jwks",
            "--jwt-jwks-url=file:///etc/passwd",
            "--jwt-jwks-url=https://user:secret@id.example/jwks",
            "--jwt-issuer= ",
            "--jwt-audience=a,,b",
            "--jwt-leeway=11m",
            "--allowed-pictures=*",
            "--allowed-pictures=pictures.example",
            "--allowed-pictures=https://a.example/path",
            "--allowed-pictures=https://user@a.example",
        ] {
            assert!(Settings::try_parse_from(["room-service", flag]).is_err(), "{flag}");
        }
        for flag in
            ["--auth=jwt, guest", "--jwt-leeway=0s", "--allowed-pictures=https://a.example,http://b:81"]
        {
            assert!(Settings::try_parse_from(["room-service", flag]).is_ok(), "{flag}");
        }
    }
}
