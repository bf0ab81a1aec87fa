//! `access`: a request must carry a token of an issuer (`Cf-Access-Jwt-Assertion`), signed with one of the keys that Python has
//! fetched. A request never waits for a key set: without one it is refused, and Python is asked to look.

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use qanat_http::Headers;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::settings::AccessSettings;

const ASSERTION: &str = "cf-access-jwt-assertion";
const COOKIE: &[u8] = b"CF_Authorization=";
/// A token may be used so long before its time, as with the stock connector: clocks differ.
const LEEWAY: Duration = Duration::from_secs(300);
/// An issuer's keys are asked for at most so often, whatever tokens come.
const ASKING: Duration = Duration::from_secs(10);
/// Of one key set.
const MAX_KEYS: usize = 64;

/// Why a request isn't let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// Its token, or that there is none: 403.
    Token(String),
    /// The issuer's keys are not known: 503.
    NoKeySet(String),
}

/// An issuer's public keys.
pub(crate) struct KeySet(Vec<Key>);

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl KeySet {
    /// Reads a JWK set (RFC 7517): keys for RS256 and ES256; others are left out. The error says what is wrong with it.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        let document: Document = serde_json::from_slice(json).map_err(|error| format!("is not a key set: {error}"))?;
        let keys: Vec<Key> = document.keys.into_iter().take(MAX_KEYS).filter_map(Key::read).collect();
        if keys.is_empty() { Err("has no key for RS256 or ES256".into()) } else { Ok(Self(keys)) }
    }

    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        let fits = move |key: &&Key| {
            key.algorithm == algorithm && id.is_none_or(|id| key.id.as_deref().is_none_or(|known| known == id))
        };
        self.0.iter().filter(fits)
    }
}

impl Key {
    fn read(value: serde_json::Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(_) => Algorithm::ES256,
            _ => return None,
        };
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { id: jwk.common.key_id, algorithm, key })
    }
}

/// The key sets that were fetched, by issuer.
#[derive(Default)]
pub(crate) struct KeySets {
    sets: ArcSwap<HashMap<String, Arc<KeySet>>>,
    asked: Mutex<HashMap<String, Instant>>,
}

impl KeySets {
    /// From now on tokens of `issuer` are checked with these.
    pub(crate) fn put(&self, issuer: &str, set: KeySet) {
        let set = Arc::new(set);
        self.sets.rcu(|sets| {
            let mut sets = HashMap::clone(sets);
            sets.insert(issuer.to_owned(), set.clone());
            sets
        });
    }

    fn of(&self, issuer: &str) -> Option<Arc<KeySet>> {
        self.sets.load().get(issuer).cloned()
    }

    /// Whether it is time to ask for an issuer's keys once more.
    fn may_ask(&self, issuer: &str, now: Instant) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.get(issuer).is_some_and(|last| now.duration_since(*last) < ASKING) {
            return false;
        }
        asked.insert(issuer.to_owned(), now);
        true
    }
}

#[derive(Deserialize)]
struct Claims {
    nbf: Option<f64>,
}

/// What the edge says who it is, else the cookie that browsers carry after a login: an edge that drops what clients claim (S17) leaves
/// it, and the signature is what counts.
fn token_of(headers: &Headers) -> Result<&str, &'static str> {
    let mut assertions = headers.get_all(ASSERTION);
    let assertion = assertions.next().map(|value| &value[..]);
    if assertions.next().is_some() {
        return Err("more than one access token in request");
    }
    let cookies = || headers.get_all("cookie").flat_map(|line| line.split(|byte| *byte == b';'));
    let cookie = || cookies().find_map(|pair| pair.trim_ascii().strip_prefix(COOKIE));
    let token = assertion.or_else(cookie).filter(|token| !token.is_empty());
    std::str::from_utf8(token.ok_or("no access token in request")?).map_err(|_| "the token is not text")
}

/// Whom a rule lets in.
pub(crate) struct Access {
    settings: AccessSettings,
}

impl Access {
    pub(crate) fn new(settings: AccessSettings) -> Self {
        Self { settings }
    }

    /// Checks a request's token. `wanted` is called with the issuer when its keys should be fetched (again).
    pub(crate) fn check(&self, headers: &Headers, sets: &KeySets, wanted: impl FnOnce(&str)) -> Result<(), Denial> {
        let issuer = &self.settings.issuer;
        let denied = |reason: &str| Denial::Token(reason.to_owned());
        let token = token_of(headers).map_err(denied)?;
        let head = decode_header(token).map_err(|error| denied(&format!("the token can't be read: {error}")))?;
        if !matches!(head.alg, Algorithm::RS256 | Algorithm::ES256) {
            return Err(denied("the token is signed with an algorithm other than RS256 and ES256"));
        }
        let Some(set) = sets.of(issuer) else {
            if sets.may_ask(issuer, Instant::now()) {
                wanted(issuer);
            }
            return Err(Denial::NoKeySet(format!("the keys of {issuer} have not been fetched yet")));
        };
        let mut refused = None;
        for key in set.find(head.kid.as_deref(), head.alg) {
            match self.verify(token, key) {
                Ok(()) => return Ok(()),
                Err(reason) => refused = Some(reason),
            }
        }
        Err(Denial::Token(refused.unwrap_or_else(|| {
            if sets.may_ask(issuer, Instant::now()) {
                wanted(issuer);
            }
            format!("the token's key is none of those of {issuer}")
        })))
    }

    fn verify(&self, token: &str, key: &Key) -> Result<(), String> {
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = 0;
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_audience(&self.settings.audiences);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let claims = decode::<Claims>(token, &key.key, &validation).map_err(|error| format!("the token: {error}"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + LEEWAY;
        if claims.claims.nbf.is_some_and(|begins| begins > now.as_secs_f64()) {
            return Err("the token: it is not valid yet".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use rcgen::KeyPair;
    use serde_json::{Value, json};

    const ISSUER: &str = "https://team.cloudflareaccess.com";

    /// A key of an issuer: an ES256 one, as `rcgen` makes them.
    struct Signer {
        id: &'static str,
        key: KeyPair,
    }

    impl Signer {
        fn new(id: &'static str) -> Self {
            Self { id, key: KeyPair::generate().unwrap() }
        }

        fn jwk(&self) -> Value {
            let point = self.key.public_key_raw();
            let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id,
                   "x": part(&point[1..33]), "y": part(&point[33..])})
        }

        fn sign(&self, claims: &Value) -> String {
            let mut header = Header::new(Algorithm::ES256);
            header.kid = Some(self.id.into());
            encode(&header, claims, &EncodingKey::from_ec_der(&self.key.serialize_der())).unwrap()
        }
    }

    fn sets(signers: &[&Signer]) -> KeySets {
        let mut keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
        // What nobody here can use is left out.
        keys.extend([json!({"kty": "oct", "k": "AAAA"}), json!({"kty": "new"})]);
        let document = json!({"keys": keys, "public_certs": []});
        let all = KeySets::default();
        all.put(ISSUER, KeySet::parse(document.to_string().as_bytes()).unwrap());
        all
    }

    fn access(audiences: &[&str]) -> Access {
        let audiences = audiences.iter().map(|tag| (*tag).to_owned()).collect();
        Access::new(AccessSettings { issuer: ISSUER.into(), audiences })
    }

    fn now() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
    }

    fn good() -> Value {
        json!({"iss": ISSUER, "aud": ["other", "tag"], "exp": now() + 60, "nbf": now() + 200})
    }

    fn check(access: &Access, sets: &KeySets, token: Option<String>) -> (Result<(), Denial>, usize) {
        let mut headers = Headers::new();
        if let Some(token) = token {
            headers.push("Cf-Access-Jwt-Assertion", token);
        }
        let mut asked = 0;
        let verdict = access.check(&headers, sets, |_| asked += 1);
        (verdict, asked)
    }

    fn with(mut claims: Value, name: &str, value: Value) -> Value {
        claims[name] = value;
        claims
    }

    #[test]
    fn a_good_token_lets_in_and_each_bad_one_is_refused_with_its_reason() {
        let signer = Signer::new("k1");
        let (sets, access) = (sets(&[&Signer::new("k0"), &signer]), access(&["tag"]));
        assert_eq!(check(&access, &sets, Some(signer.sign(&good()))), (Ok(()), 0));
        let alone = with(good(), "aud", json!("tag"));
        assert_eq!(check(&access, &sets, Some(signer.sign(&alone))), (Ok(()), 0));
        let forged = Signer::new("k1");
        let mut cut = signer.sign(&good());
        cut.truncate(cut.len() - 3);
        for (token, reason) in [
            (None, "no access token in request"),
            (Some(String::new()), "no access token in request"),
            (Some("x.y.z".into()), "can't be read"),
            (Some(cut), "the token: "),
            (Some(forged.sign(&good())), "InvalidSignature"),
            (Some(signer.sign(&with(good(), "iss", json!("https://other.example")))), "InvalidIssuer"),
            (Some(signer.sign(&with(good(), "aud", json!(["other"])))), "InvalidAudience"),
            (Some(signer.sign(&with(good(), "exp", json!(now() - 1)))), "ExpiredSignature"),
            (Some(signer.sign(&with(good(), "nbf", json!(now() + 400)))), "not valid yet"),
            (Some(signer.sign(&json!({"iss": ISSUER, "aud": "tag"}))), "exp"),
            (Some(encode(&Header::default(), &good(), &EncodingKey::from_secret(b"x")).unwrap()), "other than RS256"),
        ] {
            match check(&access, &sets, token) {
                (Err(Denial::Token(told)), 0) => assert!(told.contains(reason), "{reason}: {told}"),
                other => panic!("{reason}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_browsers_cookie_is_as_good_and_two_tokens_are_none() {
        let signer = Signer::new("k1");
        let (sets, access) = (sets(&[&signer]), access(&["tag"]));
        let ask = |fields: &[(&'static str, String)]| {
            let mut headers = Headers::new();
            fields.iter().for_each(|(name, value)| headers.push(*name, value.clone()));
            access.check(&headers, &sets, |_| {})
        };
        let token = signer.sign(&good());
        assert_eq!(ask(&[("Cookie", format!("a=b; CF_Authorization={token}; c=d"))]), Ok(()));
        assert!(ask(&[("Cookie", format!("XCF_Authorization={token}"))]).is_err());
        let twice = ask(&[("Cf-Access-Jwt-Assertion", token.clone()), ("cf-access-jwt-assertion", token.clone())]);
        assert_eq!(twice, Err(Denial::Token("more than one access token in request".into())));
        let edge_first =
            ask(&[("Cf-Access-Jwt-Assertion", "x".into()), ("Cookie", format!("CF_Authorization={token}"))]);
        assert!(edge_first.is_err());
    }

    #[test]
    fn without_an_audience_nobody_gets_in() {
        let signer = Signer::new("k1");
        let (verdict, _) = check(&access(&[]), &sets(&[&signer]), Some(signer.sign(&good())));
        assert!(matches!(verdict, Err(Denial::Token(_))), "{verdict:?}");
    }

    #[test]
    fn keys_that_are_not_known_are_asked_for_once_in_a_while() {
        let (signer, sets) = (Signer::new("new"), sets(&[&Signer::new("k1")]));
        let token = || Some(signer.sign(&good()));
        let access = access(&["tag"]);
        assert!(matches!(check(&access, &sets, token()), (Err(Denial::Token(_)), 1)));
        assert!(matches!(check(&access, &sets, token()), (Err(Denial::Token(_)), 0)));
        let none = KeySets::default();
        assert!(matches!(check(&access, &none, token()), (Err(Denial::NoKeySet(_)), 1)));
        assert!(matches!(check(&access, &none, token()), (Err(Denial::NoKeySet(_)), 0)));
        assert!(none.may_ask(ISSUER, Instant::now() + ASKING));
    }

    #[test]
    fn a_document_without_keys_is_no_key_set() {
        for bad in [&b"<html>"[..], b"{}", b"{\"keys\":[]}", b"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}"] {
            assert!(KeySet::parse(bad).is_err());
        }
    }
}
