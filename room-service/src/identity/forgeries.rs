//! Tokens that a provider did not sign, or not for us, and those that it did: which are taken.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Parser as _;
use jsonwebtoken::{Algorithm, Header};
use runtime::Tasks;
use serde_json::{Value, json};
use testkit::{SigningKey, in_seconds, jwks};

use super::{Identities, Identity, TokenError};
use crate::{config::Settings, ids::RoomId};

const ISSUER: &str = "https://id.example/realms/team";

/// Identities of a house with this key file, where people sign in and guests come too.
fn identities(key_file: &str, flags: &[&str]) -> Identities {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), key_file).unwrap();
    let file = format!("--jwt-key-file={}", file.path().display());
    let issuer = format!("--jwt-issuer={ISSUER}");
    let own = ["room-service", &file, &issuer, "--jwt-audience=parlor,chat"];
    let auth =
        if flags.iter().any(|flag| flag.starts_with("--auth")) { None } else { Some("--auth=guest,jwt") };
    let settings = Settings::try_parse_from(own.iter().chain(flags).chain(auth.iter())).unwrap();
    Identities::new(&settings, "a secret of the tests", &Tasks::default()).unwrap()
}

fn claims() -> Value {
    json!({ "sub": "ada", "name": "Ada Lovelace", "iss": ISSUER, "aud": "parlor", "exp": in_seconds(600) })
}

fn with(changes: Value) -> Value {
    let mut claims = claims();
    let Value::Object(changes) = changes else { panic!("claims are an object") };
    claims.as_object_mut().unwrap().extend(changes);
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// A token with this header and these claims as they stand, and that signature.
fn raw(header: &str, claims: &Value, signature: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{signature}", part(header), part(&claims.to_string()))
}

#[tokio::test]
async fn a_token_that_the_provider_did_not_sign_for_us_is_refused() {
    let (key, other) = (SigningKey::rsa("k1"), SigningKey::other_rsa("k1"));
    let (ec, unknown) = (SigningKey::ec("k2"), SigningKey::rsa("k9"));
    let identities = identities(&jwks(&[&key, &ec]), &[]);
    let good = key.sign(&claims());
    assert!(identities.read(&good).await.is_ok(), "but for what is changed below it would do");
    let parts: Vec<&str> = good.split('.').collect();
    let [header, body, signature] = parts[..] else { panic!("three parts") };
    let kid = Some("k1".to_owned());
    let named = |algorithm| Header { kid: kid.clone(), ..Header::new(algorithm) };
    // The classic: the public key, which everybody knows, as the secret of HS256.
    let public_as_secret = SigningKey::secret(key.public_pem.as_bytes());
    let modulus = key.jwk()["n"].as_str().unwrap().to_owned();
    let modulus_as_secret = SigningKey::secret(&URL_SAFE_NO_PAD.decode(&modulus).unwrap());
    let our_secret = SigningKey::secret(b"a secret of the tests");

    let forged: Vec<(&str, String)> = vec![
        ("nothing", String::new()),
        ("no token", "x".to_owned()),
        ("three dots", "...".to_owned()),
        ("alg none", raw(r#"{"alg":"none","kid":"k1"}"#, &claims(), "")),
        ("alg None", raw(r#"{"alg":"None","kid":"k1"}"#, &claims(), "")),
        ("alg none with a signature", raw(r#"{"alg":"none","kid":"k1"}"#, &claims(), signature)),
        ("no alg", raw(r#"{"kid":"k1"}"#, &claims(), signature)),
        ("no signature", format!("{header}.{body}.")),
        ("no third part", format!("{header}.{body}")),
        ("a part too many", format!("{good}.{signature}")),
        ("cut short", good[..good.len() - 4].to_owned()),
        ("another header", raw(r#"{"alg":"RS256","typ":"x","kid":"k1"}"#, &claims(), signature)),
        (
            "other claims",
            raw(r#"{"typ":"JWT","alg":"RS256","kid":"k1"}"#, &with(json!({"sub":"bob"})), signature),
        ),
        ("the public key as a secret", public_as_secret.sign_with(&named(Algorithm::HS256), &claims())),
        ("the modulus as a secret", modulus_as_secret.sign_with(&named(Algorithm::HS256), &claims())),
        ("our own secret", our_secret.sign_with(&named(Algorithm::HS256), &claims())),
        (
            "our own secret and type",
            our_secret
                .sign_with(&Header { typ: Some("parlor".to_owned()), ..named(Algorithm::HS256) }, &claims()),
        ),
        ("another key under the name", other.sign(&claims())),
        (
            "the name of another key",
            key.sign_with(&Header { kid: Some("k2".to_owned()), ..named(Algorithm::RS256) }, &claims()),
        ),
        ("a name that nobody knows", unknown.sign(&claims())),
        ("RS512 with a key for RS256", key.sign_with(&named(Algorithm::RS512), &claims())),
        ("PS256 with a key for RS256", key.sign_with(&named(Algorithm::PS256), &claims())),
        (
            "a key in the header",
            other.sign_with(
                &Header {
                    jwk: serde_json::from_value(other.jwk()).unwrap(),
                    kid: None,
                    ..named(Algorithm::RS256)
                },
                &claims(),
            ),
        ),
        (
            "the address of keys in the header",
            other.sign_with(
                &Header { jku: Some("https://evil.example/jwks".to_owned()), ..named(Algorithm::RS256) },
                &claims(),
            ),
        ),
        (
            "the address of a certificate in the header",
            other.sign_with(
                &Header { x5u: Some("https://evil.example/x5u".to_owned()), ..named(Algorithm::RS256) },
                &claims(),
            ),
        ),
        (
            "something critical",
            key.sign_with(
                &Header { crit: Some(vec!["b64".to_owned()]), ..named(Algorithm::RS256) },
                &claims(),
            ),
        ),
        ("longer than 8 KiB", key.sign(&with(json!({ "about": "x".repeat(9000) })))),
    ];
    refuses(&identities, forged).await;
}

#[tokio::test]
async fn a_token_that_is_not_for_us_or_not_for_now_is_refused_though_the_provider_signed_it() {
    let key = SigningKey::ec("k1");
    let identities = identities(&jwks(&[&key]), &[]);
    assert!(identities.read(&key.sign(&claims())).await.is_ok(), "but for what is changed below it would do");
    let unfit = vec![
        ("ended", key.sign(&with(json!({ "exp": in_seconds(-61) })))),
        ("ended long ago", key.sign(&with(json!({ "exp": 0 })))),
        ("an end before time", key.sign(&with(json!({ "exp": -1 })))),
        ("an end in words", key.sign(&with(json!({ "exp": "never" })))),
        ("without an end", key.sign(&without("exp"))),
        ("not yet", key.sign(&with(json!({ "nbf": in_seconds(120) })))),
        ("another issuer", key.sign(&with(json!({ "iss": "https://evil.example" })))),
        ("an issuer that begins alike", key.sign(&with(json!({ "iss": format!("{ISSUER}/") })))),
        ("without an issuer", key.sign(&without("iss"))),
        ("another audience", key.sign(&with(json!({ "aud": "wiki" })))),
        ("other audiences", key.sign(&with(json!({ "aud": ["wiki", "parlor2"] })))),
        ("no audience", key.sign(&with(json!({ "aud": [] })))),
        ("without an audience", key.sign(&without("aud"))),
        ("without a subject", key.sign(&without("sub"))),
        ("an empty subject", key.sign(&with(json!({ "sub": "" })))),
        ("a subject that is a number", key.sign(&with(json!({ "sub": 7 })))),
        ("a subject with a space", key.sign(&with(json!({ "sub": "ada x" })))),
        ("a subject with a zero", key.sign(&with(json!({ "sub": "ada\u{0}" })))),
        ("a long subject", key.sign(&with(json!({ "sub": "a".repeat(256) })))),
        ("the id of a guest", key.sign(&with(json!({ "sub": "m_ada" })))),
        ("the name of a session", key.sign(&with(json!({ "sub": "s_ada" })))),
        ("rooms that make no sense", key.sign(&with(json!({ "rooms": "*" })))),
        ("rooms that are nothing", key.sign(&with(json!({ "rooms": null })))),
        ("more rooms than a token may name", key.sign(&with(json!({ "rooms": vec!["r"; 65] })))),
    ];
    refuses(&identities, unfit).await;
}

async fn refuses(identities: &Identities, tokens: Vec<(&str, String)>) {
    for (what, token) in tokens {
        let read = identities.read(&token).await;
        assert!(read.is_err(), "{what}: {read:?}");
    }
}

#[tokio::test]
async fn a_refusal_says_what_is_wrong_with_a_token_that_the_provider_did_sign() {
    let key = SigningKey::ec("k1");
    let identities = identities(&jwks(&[&key]), &[]);
    for (changes, words) in [
        (json!({ "exp": in_seconds(-61) }), "its time is over"),
        (json!({ "nbf": in_seconds(120) }), "it does not hold yet"),
        (json!({ "iss": "https://evil.example" }), "another issuer"),
        (json!({ "aud": "wiki" }), "another audience"),
        (json!({ "sub": "ada x" }), "sub: "),
        (json!({ "rooms": 7 }), "rooms"),
    ] {
        let refused = identities.read(&key.sign(&with(changes))).await.unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
}

#[tokio::test]
async fn a_key_of_each_kind_opens_from_a_set_and_from_a_file() {
    for key in [SigningKey::rsa("k"), SigningKey::ec("k"), SigningKey::ed("k")] {
        let token = key.sign(&claims());
        for file in [jwks(&[&key]), key.public_pem.clone()] {
            let read = identities(&file, &[]).read(&token).await;
            assert!(read.is_ok(), "{:?}: {read:?}", key.algorithm);
            let others = if key.algorithm == Algorithm::EdDSA { "RS256,ES256" } else { "EdDSA" };
            let flags = ["room-service", "--auth=jwt", &format!("--jwt-algorithms={others}")];
            let settings = Settings::parse_from(flags);
            let algorithms = settings.sign_in.jwt_algorithms;
            assert!(super::KeySet::from_file(&file, &algorithms.0).is_err(), "{:?}", key.algorithm);
        }
    }
    let secret = "a secret that is long enough for HS256\n";
    let identities = identities(secret, &["--jwt-algorithms=HS256"]);
    let token = SigningKey::secret(secret.trim().as_bytes()).sign(&claims());
    assert!(identities.read(&token).await.is_ok());
}

#[test]
fn a_file_that_is_no_key_for_its_algorithm_is_named() {
    use super::{KeyError, KeySet};
    let (rsa, public) = ([Algorithm::RS256], SigningKey::rsa("k").public_pem);
    let private = include_str!("../../../testkit/keys/rsa-first.pem");
    let hs = [Algorithm::HS256];
    for (text, algorithms, error) in [
        (public.as_str(), &hs, KeyError::NotASecret),
        (r#"{"keys":[]}"#, &hs, KeyError::NotASecret),
        ("short", &hs, KeyError::ShortSecret),
        (private, &rsa, KeyError::Private),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", &rsa, KeyError::Certificate),
        ("a secret that is long enough for HS256", &rsa, KeyError::NotAKey),
        ("{}", &rsa, KeyError::NotASet),
        (r#"{"keys":[]}"#, &rsa, KeyError::NoKey),
    ] {
        assert_eq!(KeySet::from_file(text, algorithms).err(), Some(error), "{text}");
    }
}

#[tokio::test]
async fn the_claims_make_the_member() {
    let key = SigningKey::ed("k1");
    let identities = identities(&jwks(&[&key]), &["--allowed-pictures=https://pictures.example"]);
    let read =
        async |changes: Value| -> Identity { identities.read(&key.sign(&with(changes))).await.unwrap() };

    let exp = in_seconds(600);
    let ada =
        read(json!({ "exp": exp, "aud": ["wiki", "chat"], "nbf": in_seconds(30), "rooms": ["ops.*"] })).await;
    let member = &ada.member;
    assert_eq!(
        (member.id.as_str(), member.name.as_str(), member.kind.as_str()),
        ("ada", "Ada Lovelace", "user")
    );
    assert_eq!(member.avatar, "/avatars/Ada%20Lovelace.svg");
    assert_eq!(ada.until, Some(u64::try_from(exp).unwrap() + 60), "with the leeway");
    let room = |name| RoomId::parse(name).unwrap();
    assert!(ada.access.may_write(&room("ops.night")) && !ada.access.may_read(&room("lobby")));
    assert!(read(json!({})).await.access.may_write(&room("lobby")), "without rooms all are open");

    for (changes, name) in [
        (json!({ "name": null, "preferred_username": "ada99" }), "ada99"),
        (json!({ "name": "\u{200b}", "preferred_username": " " }), "ada"),
        (json!({ "name": "Ada Lovelace (guest)" }), "Ada Lovelace"),
    ] {
        assert_eq!(read(changes).await.member.name, name);
    }
    let drawn = "/avatars/Ada%20Lovelace.svg";
    for (picture, shown) in [
        ("https://pictures.example/ada.png?size=64", "https://pictures.example/ada.png?size=64"),
        ("/team/ada.png", "/team/ada.png"),
        ("//evil.example/ada.png", drawn),
        ("/\\evil.example/ada.png", drawn),
        ("https://evil.example/ada.png", drawn),
        ("https://pictures.example.evil.example/ada.png", drawn),
        ("https://pictures.example@evil.example/ada.png", drawn),
        ("https://pictures.example", drawn),
        ("http://pictures.example/ada.png", drawn),
        ("javascript:alert(1)", drawn),
        ("data:image/png;base64,AAAA", drawn),
        ("/a b", drawn),
        ("/\"onerror=", drawn),
        (&format!("/{}", "x".repeat(512)), drawn),
    ] {
        assert_eq!(read(json!({ "picture": picture })).await.member.avatar, shown, "{picture}");
    }
    let far = read(json!({ "exp": 1e18 })).await;
    let signed = identities.sign(&far);
    assert!(serde_json::to_string(&signed.expires_at).is_ok(), "an end that cannot be written is none");
}

#[tokio::test]
async fn our_own_token_brings_back_who_signed_in_until_the_sign_in_ends() {
    let key = SigningKey::ec("k1");
    let identities = identities(&jwks(&[&key]), &["--jwt-leeway=0s"]);
    let rooms: Vec<String> = (0..64).map(|n| format!("{n:0>62}.*")).collect();
    let most = with(json!({ "sub": "\"".repeat(255), "name": "é".repeat(64), "rooms": rooms }));
    let ada = identities.read(&key.sign(&most)).await.unwrap();
    let own = identities.sign(&ada);
    assert_eq!(identities.read(&own.token).await.as_ref(), Ok(&ada), "it fits, whatever the provider says");
    let ended = Identity { until: Some(super::now() - 1), ..ada };
    let own = identities.sign(&ended);
    assert_eq!(identities.read(&own.token).await, Err(TokenError::Expired));
    assert_eq!(identities.read_welcomed(&own.token), Ok(ended), "its session has the grace to refresh");
}

#[tokio::test]
async fn a_guest_is_marked_and_where_there_are_none_not_let_in() {
    let file = jwks(&[&SigningKey::ec("k1")]);
    let both = identities(&file, &[]);
    let guest = both.guest("guest").unwrap();
    assert!(guest.member.name.ends_with(" (guest)"), "{}", guest.member.name);
    let token = super::Tokens::new("a secret of the tests", Duration::from_hours(1));
    let unmarked = Identity::guest("guest");
    let back = both.read(&token.sign(&unmarked)).await.unwrap();
    assert_eq!(
        back.member.name,
        format!("{} (guest)", unmarked.member.name),
        "one from before is marked too"
    );
    assert!(back.member.avatar.contains("(guest)"), "{}", back.member.avatar);

    let members_only = identities(&file, &["--auth=jwt"]);
    assert_eq!(members_only.guest("guest").err(), Some(TokenError::NoGuests));
    assert_eq!(members_only.read(&both.sign(&guest).token).await, Err(TokenError::NoGuests));
    assert_eq!(members_only.read_welcomed(&both.sign(&guest).token), Err(TokenError::NoGuests));
}

/// What Keycloak 26 publishes: certificates beside the keys, and a key for encryption among them. The values that are not
/// of our test keys are cut.
#[tokio::test]
async fn the_keys_of_keycloak_are_understood() {
    let (rsa, ec) =
        (SigningKey::rsa("FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE"), SigningKey::ec("ec-generated"));
    let (rsa_jwk, ec_jwk) = (rsa.jwk(), ec.jwk());
    let published = json!({ "keys": [
        {
            "kid": "dYyBhlP0nLBUDM8RdMF0G5VXrnWMVrtfRI9TmLRTIuI", "kty": "RSA", "alg": "RSA-OAEP", "use": "enc",
            "x5c": ["MIICmzCCAYMCBgGV"], "x5t": "r0Ez6yfGlXWMZVqe", "x5t#S256": "dDgkkUbWyf5",
            "n": rsa_jwk["n"], "e": "AQAB"
        },
        {
            "kid": rsa.id, "kty": "RSA", "alg": "RS256", "use": "sig",
            "x5c": ["MIICmzCCAYMCBgGV"], "x5t": "pFAVpaMPpNFr0", "x5t#S256": "u5nYHq7jW",
            "n": rsa_jwk["n"], "e": "AQAB"
        },
        {
            "kid": ec.id, "kty": "EC", "alg": "ES256", "use": "sig",
            "crv": "P-256", "x": ec_jwk["x"], "y": ec_jwk["y"]
        },
        { "kid": "hmac", "kty": "oct", "alg": "HS256", "use": "sig", "k": "c2VjcmV0IHRoYXQgaXMgbG9uZyBlbm91Z2ggZm9yIGl0" },
        { "kid": "future", "kty": "AKP", "alg": "ML-DSA-65", "use": "sig", "pub": "AAAA" },
        { "kid": "curve", "kty": "EC", "crv": "secp256k1", "alg": "ES256K", "use": "sig", "x": "AA", "y": "AA" },
        { "kid": "short", "kty": "RSA", "alg": "RS256", "use": "sig", "n": "AQAB", "e": "AQAB" },
        "not even a key"
    ] });
    let identities = identities(&published.to_string(), &[]);
    // As Keycloak's access tokens are.
    let keycloak = with(json!({
        "iat": in_seconds(0), "auth_time": in_seconds(-9), "jti": "onrtac:7a4c7d5d", "typ": "Bearer", "azp": "parlor",
        "sub": "1f1c2b0e-5a7d-4b39-9c56-2f4f9a8f2b1e", "acr": "1", "scope": "openid profile email",
        "aud": ["parlor", "account"], "preferred_username": "ada", "given_name": "Ada", "family_name": "Lovelace"
    }));
    for key in [&rsa, &ec] {
        let ada = identities.read(&key.sign(&keycloak)).await.unwrap();
        assert_eq!(ada.member.id, "1f1c2b0e-5a7d-4b39-9c56-2f4f9a8f2b1e");
        assert_eq!(ada.member.name, "Ada Lovelace");
    }
    let named = |kid: &str, algorithm| Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
    let for_encryption =
        rsa.sign_with(&named("dYyBhlP0nLBUDM8RdMF0G5VXrnWMVrtfRI9TmLRTIuI", Algorithm::RS256), &keycloak);
    assert_eq!(identities.read(&for_encryption).await, Err(TokenError::Invalid));
    let published_secret = SigningKey::secret(b"secret that is long enough for it");
    let forged = published_secret.sign_with(&named("hmac", Algorithm::HS256), &keycloak);
    assert_eq!(identities.read(&forged).await, Err(TokenError::Invalid));
}
