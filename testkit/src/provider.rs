//! A sign-in provider: keys that sign tokens, and a server that publishes them, well or badly.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A key that signs tokens.
pub struct SigningKey {
    /// What the provider calls it.
    pub id: String,
    /// The one that it is for.
    pub algorithm: Algorithm,
    /// Its public half. Empty for a secret.
    pub public_pem: String,
    encoding: EncodingKey,
    /// Without its name. Nothing for a secret, which nobody publishes.
    jwk: Value,
}

impl SigningKey {
    /// A key for RS256, the same each time.
    pub fn rsa(id: &str) -> Self {
        Self::from_rsa(
            id,
            include_str!("../keys/rsa-first.pem"),
            include_str!("../keys/rsa-first-public.pem"),
        )
    }

    /// Another key for RS256.
    pub fn other_rsa(id: &str) -> Self {
        Self::from_rsa(
            id,
            include_str!("../keys/rsa-second.pem"),
            include_str!("../keys/rsa-second-public.pem"),
        )
    }

    fn from_rsa(id: &str, private: &str, public: &str) -> Self {
        let encoding = EncodingKey::from_rsa_pem(private.as_bytes()).unwrap();
        let jwk = public_jwk(&encoding, Algorithm::RS256);
        Self { id: id.to_owned(), algorithm: Algorithm::RS256, public_pem: public.to_owned(), encoding, jwk }
    }

    /// A new key for ES256.
    pub fn ec(id: &str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let encoding = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap();
        let (public_pem, jwk) = (key.public_key_pem(), public_jwk(&encoding, Algorithm::ES256));
        Self { id: id.to_owned(), algorithm: Algorithm::ES256, public_pem, encoding, jwk }
    }

    /// A key for `EdDSA`, the same each time.
    pub fn ed(id: &str) -> Self {
        let (private, public) =
            (include_str!("../keys/ed25519.pem"), include_str!("../keys/ed25519-public.pem"));
        let line = public.lines().nth(1).unwrap();
        // The key itself are the last 32 of the 44 bytes.
        let x = URL_SAFE_NO_PAD.encode(&STANDARD.decode(line).unwrap()[12..]);
        Self {
            id: id.to_owned(),
            algorithm: Algorithm::EdDSA,
            public_pem: public.to_owned(),
            encoding: EncodingKey::from_ed_pem(private.as_bytes()).unwrap(),
            jwk: json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": x }),
        }
    }

    /// A secret for HS256.
    pub fn secret(secret: &[u8]) -> Self {
        Self {
            id: String::new(),
            algorithm: Algorithm::HS256,
            public_pem: String::new(),
            encoding: EncodingKey::from_secret(secret),
            jwk: Value::Null,
        }
    }

    /// A token with these claims, and this key's name if it has one.
    pub fn sign(&self, claims: &Value) -> String {
        let kid = Some(self.id.clone()).filter(|id| !id.is_empty());
        self.sign_with(&Header { kid, ..Header::new(self.algorithm) }, claims)
    }

    /// A token with this header.
    pub fn sign_with(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.encoding).unwrap()
    }

    /// As a provider publishes it.
    pub fn jwk(&self) -> Value {
        let mut jwk = self.jwk.clone();
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }
}

fn public_jwk(key: &EncodingKey, algorithm: Algorithm) -> Value {
    serde_json::to_value(Jwk::from_encoding_key(key, algorithm).unwrap()).unwrap()
}

/// A set of these keys (JWKS).
pub fn jwks(keys: &[&SigningKey]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

/// So many seconds from now, as claims have it.
pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + seconds
}

/// What a key server does when it is asked.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It publishes this.
    Keys(String),
    /// It fails with this status.
    Status(u16),
    /// It sends its callers to this URL.
    Redirect(String),
    /// It takes the question and says nothing.
    Silence,
    /// It says more than anybody wants to hear.
    Endless,
}

/// A server of keys, as long as it is kept.
pub struct KeyServer {
    /// Where its keys are.
    pub url: String,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl KeyServer {
    /// Starts one that answers so.
    pub async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/realms/tests/certs", listener.local_addr().unwrap());
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicUsize::new(0)));
        let (current, count) = (answer.clone(), asked.clone());
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let answer = current.lock().unwrap().clone();
                tokio::spawn(serve(socket, answer));
            }
        });
        Self { url, answer, asked, serving }
    }

    /// It answers so from now on.
    pub fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut socket: TcpStream, answer: Answer) {
    let mut question = [0; 4096];
    // A caller that gives up is its own affair, here and below.
    let _ = socket.read(&mut question).await;
    let (status, header, body) = match answer {
        Answer::Keys(keys) => (200, String::new(), keys),
        Answer::Status(status) => (status, String::new(), String::new()),
        Answer::Redirect(url) => (302, format!("location: {url}\r\n"), String::new()),
        Answer::Silence => return tokio::time::sleep(Duration::from_mins(1)).await,
        Answer::Endless => {
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"keys\":[").await;
            while socket.write_all(&[b' '; 4096]).await.is_ok() {}
            return;
        }
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} Said\r\n{header}content-length: {length}\r\nconnection: close\r\n\r\n");
    let _ = socket.write_all((head + &body).as_bytes()).await;
}
