//! `parlor token`: signs somebody in without a sign-in provider, for development.
//!
//! The room service takes the token if it has the same secret: `--auth jwt --jwt-algorithms HS256 --jwt-key-file FILE`.

use std::{
    env, fs,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use clap::Parser;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use room_service::identity::{Access, KeySet, Pattern};
use runtime::settings::{self, Together};
use serde_json::json;

/// Prints a token (JWT, HS256) that signs somebody in, for development: whoever has the secret is the sign-in provider.
/// Say it in `hello`, or put it into the page's storage; it does not belong into a URL.
#[derive(Clone, Debug, Parser)]
#[command(name = "parlor token", bin_name = "parlor token")]
struct Settings {
    /// A file with a secret of at least 32 characters: the one that `PARLOR_ROOM_SERVICE_JWT_KEY_FILE` names.
    #[arg(long, value_parser = secret)]
    secret_file: Secret,

    /// The member's id: 1 to 255 printable ASCII characters without spaces.
    #[arg(long)]
    sub: String,

    /// The member's name. Unset: the id.
    #[arg(long)]
    name: Option<String>,

    /// The rooms to hear and to speak in, with commas: names, or `prefix.*`. Unset, as `--read`: all of them.
    #[arg(long, value_delimiter = ',')]
    rooms: Option<Vec<Pattern>>,

    /// The rooms to hear, and not to speak in, with commas.
    #[arg(long, value_delimiter = ',')]
    read: Option<Vec<Pattern>>,

    /// What `PARLOR_ROOM_SERVICE_JWT_ISSUER` asks for, if it is set.
    #[arg(long)]
    issuer: Option<String>,

    /// What `PARLOR_ROOM_SERVICE_JWT_AUDIENCE` asks for, if it is set.
    #[arg(long)]
    audience: Option<String>,

    /// How long it holds, like `1h`. A token that leaks is good for as long.
    #[arg(long, default_value = "1h", value_parser = settings::duration)]
    ttl: Duration,
}

/// What is in the file.
#[derive(Clone)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

fn secret(path: &str) -> Result<Secret, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))?;
    KeySet::from_file(&text, &[Algorithm::HS256]).map_err(|error| error.to_string())?;
    Ok(Secret(text.trim().to_owned()))
}

impl Together for Settings {}

/// Whether the words of this process ask for it.
pub(crate) fn is_asked_for() -> bool {
    env::args_os().nth(1).is_some_and(|word| word == "token")
}

/// Prints a token as the words after `token` say.
pub(crate) fn main() -> ExitCode {
    println!("{}", sign(settings::parse_words(env::args_os().skip(1))));
    ExitCode::SUCCESS
}

fn sign(settings: Settings) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut claims = json!({ "sub": settings.sub, "exp": now.saturating_add(settings.ttl).as_secs() });
    for (claim, value) in [("name", settings.name), ("iss", settings.issuer), ("aud", settings.audience)] {
        if let Some(value) = value {
            claims[claim] = value.into();
        }
    }
    if settings.rooms.is_some() || settings.read.is_some() {
        claims["rooms"] =
            json!(Access::to(settings.read.unwrap_or_default(), settings.rooms.unwrap_or_default()));
    }
    let key = EncodingKey::from_secret(settings.secret_file.0.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
        .expect("the claims have a JSON form, and the key is for HS256")
}
