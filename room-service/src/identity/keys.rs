//! The public keys, or the secret, that a provider's tokens are checked with.
//!
//! **Invariant:** each key is bound to the one algorithm of its kind, whatever a token says. So no public key is ever
//! used as a secret, and nothing is checked with `none`.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;

/// The most keys that are kept of a set. Providers have a handful.
const MAX_KEYS: usize = 64;
/// The shortest secret, in bytes: as long as what HS256 makes of it (RFC 7518, 3.2).
const MIN_SECRET_BYTES: usize = 32;
/// The shortest modulus of an RSA key, in characters of base64url: 2048 bits (RFC 7518, 3.3).
const MIN_MODULUS_CHARS: usize = 342;

/// Why there is no key in a file or in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not JSON, or not a set of keys.
    #[error("it is not a JWKS")]
    NotASet,
    /// A set without a key that could be used.
    #[error("it has no public key for signatures of the algorithms that are set")]
    NoKey,
    /// Not a public key.
    #[error("it is not a public key in PEM of a kind that goes with the algorithms that are set")]
    NotAKey,
    /// Only the provider has it.
    #[error("it has a private key; give the public one")]
    Private,
    /// A certificate.
    #[error("it is a certificate; give its public key, as `openssl x509 -pubkey -noout` prints it")]
    Certificate,
    /// A public key where a secret is needed: anybody could sign with it.
    #[error("HS256 needs a secret, and this is a key that others may know")]
    NotASecret,
    /// Too easily guessed.
    #[error("a secret for HS256 has at least {MIN_SECRET_BYTES} characters")]
    ShortSecret,
}

/// One key.
#[derive(Clone)]
pub(super) struct Key {
    /// What the provider calls it.
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// All keys of a provider.
#[derive(Clone)]
pub struct KeySet(Vec<Key>);

/// Only how many: one may be a secret.
impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeySet of {}", self.0.len())
    }
}

impl KeySet {
    /// What a key file holds, for `algorithms`: a JWKS, a public key in PEM, or for HS256 a secret.
    pub fn from_file(text: &str, algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        let text = text.trim();
        let (is_set, is_pem) = (text.starts_with('{'), text.contains("-----BEGIN "));
        if algorithms == [Algorithm::HS256] {
            return match text.len() {
                _ if is_set || is_pem => Err(KeyError::NotASecret),
                0..MIN_SECRET_BYTES => Err(KeyError::ShortSecret),
                _ => Ok(Self::only(Algorithm::HS256, DecodingKey::from_secret(text.as_bytes()))),
            };
        }
        if is_set { Self::from_jwks(text.as_bytes(), algorithms) } else { Self::from_pem(text, algorithms) }
    }

    /// The keys of a JWKS that are public, for signatures, and for `algorithms`. All others are passed over.
    pub fn from_jwks(json: &[u8], algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        #[derive(Deserialize)]
        struct Jwks {
            // One by one: one that is of no use to us does not spoil the others.
            keys: Vec<serde_json::Value>,
        }
        let jwks: Jwks = serde_json::from_slice(json).map_err(|_| KeyError::NotASet)?;
        let keys = jwks.keys.into_iter().filter_map(|jwk| Key::from_jwk(&serde_json::from_value(jwk).ok()?));
        let keys: Vec<Key> = keys.filter(|key| algorithms.contains(&key.algorithm)).take(MAX_KEYS).collect();
        if keys.is_empty() { Err(KeyError::NoKey) } else { Ok(Self(keys)) }
    }

    fn from_pem(text: &str, algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        if text.contains("-----BEGIN CERTIFICATE-----") {
            return Err(KeyError::Certificate);
        }
        let read = |algorithm| match algorithm {
            Algorithm::RS256 => DecodingKey::from_rsa_pem(text.as_bytes()).ok(),
            Algorithm::ES256 => DecodingKey::from_ec_pem(text.as_bytes()).ok(),
            Algorithm::EdDSA => DecodingKey::from_ed_pem(text.as_bytes()).ok(),
            _ => None,
        };
        let key = algorithms.iter().find_map(|&algorithm| Some(Self::only(algorithm, read(algorithm)?)));
        key.ok_or(KeyError::NotAKey)
    }

    fn only(algorithm: Algorithm, decoding: DecodingKey) -> Self {
        Self(vec![Key { id: None, algorithm, decoding }])
    }

    /// The keys that a token may be signed with that names the key `id` and the algorithm: those of that name, or all if
    /// one of the two has none. A token cannot choose another algorithm for a key than the key's own.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<&Key> {
        let fits = |key: &&Key| {
            key.algorithm == algorithm && (id.is_none() || key.id.is_none() || key.id.as_deref() == id)
        };
        self.0.iter().filter(fits).collect()
    }
}

impl Key {
    /// The key, if it is a public one for signatures.
    fn from_jwk(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        let (algorithm, named) = match &jwk.algorithm {
            AlgorithmParameters::RSA(rsa) if rsa.n.len() >= MIN_MODULUS_CHARS => {
                (Algorithm::RS256, KeyAlgorithm::RS256)
            }
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            // A secret in a set that others can read is none.
            _ => return None,
        };
        let for_signatures =
            common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature);
        let to_verify =
            common.key_operations.as_ref().is_none_or(|uses| uses.contains(&KeyOperations::Verify));
        if !for_signatures || !to_verify || common.key_algorithm.is_some_and(|algorithm| algorithm != named) {
            return None;
        }
        let decoding = DecodingKey::from_jwk(jwk).ok()?;
        Some(Self { id: common.key_id.clone(), algorithm, decoding })
    }
}
