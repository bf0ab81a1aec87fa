//! The management hostname: a connector's logs and diagnostics, for who shows a token that we have verified ourselves. A stock
//! connector believes whatever comes to it under that name (S55).

use crate::cause::Cause;
use crate::client::Client;
use crate::error::EdgeError;
use crate::limits::Limits;
use crate::tables::{Tables, TunnelEntry};
use crate::tunnels::connection::Connection;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use qanat_http::RequestHead;
use serde::Deserialize;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// The name under which a connector knows its own management, unless it was told another.
const AT_CONNECTOR: &str = "management.argotunnel.com";
/// Who issues tokens: the control API.
const ISSUER: &str = "qanat";
/// The longest that a token may be good for, in seconds.
const MAX_LIFETIME: u64 = 3600;
/// How far ahead the clock of who issued a token may be, in seconds.
const MAX_AHEAD: u64 = 60;
const MAX_TOKEN: usize = 4096;
/// Open requests of one tunnel's management: a connector streams its log to one person.
const MAX_OPEN: usize = 16;

/// Who may ask, and how many of them there are.
pub(crate) struct Management {
    /// Empty: it is served nowhere.
    hostname: Bytes,
    key: Option<ParsedPublicKey>,
    open: Arc<Mutex<HashMap<Uuid, usize>>>,
}

/// What a token says (RFC 7519; the private claims are those that stock clients read).
#[derive(Deserialize)]
struct Claims {
    iss: String,
    iat: u64,
    exp: u64,
    tun: TunnelClaim,
    actor: ActorClaim,
    res: Vec<String>,
}

#[derive(Deserialize)]
struct TunnelClaim {
    id: Uuid,
    account_tag: String,
}

#[derive(Deserialize)]
struct ActorClaim {
    id: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// A request that was let in.
pub(crate) struct Asked {
    pub(crate) tunnel_id: Uuid,
    connector_id: Option<Uuid>,
    /// Path and query, with the token that was verified and no other.
    target: Bytes,
    _place: Place,
}

impl fmt::Debug for Asked {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("tunnel_id", &self.tunnel_id).finish_non_exhaustive()
    }
}

impl Asked {
    /// Whether this connection leads to the connector that is meant, and that one has a management service: to another the
    /// request would be a visitor's.
    pub(crate) fn allows(&self, connection: &Connection) -> bool {
        connection.serves_management && self.connector_id.is_none_or(|id| id == connection.connector_id)
    }

    /// The head as the connector gets it. What a browser keeps for the hostname is not for connectors.
    pub(crate) fn rewrite(&self, head: &mut RequestHead) {
        head.authority = Bytes::from_static(AT_CONNECTOR.as_bytes());
        head.target = self.target.clone();
        head.headers.remove("cookie");
        head.headers.remove("authorization");
    }
}

impl Management {
    /// `key`: a public key on P-256, as SubjectPublicKeyInfo (DER) or as the bare uncompressed point.
    pub(crate) fn new(hostname: &str, key: Option<&[u8]>) -> Result<Self, EdgeError> {
        let parse = |key| {
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).map_err(|_| EdgeError::BadSetting {
                field: "management_key",
                reason: "it is not a valid public key on P-256".to_owned(),
            })
        };
        let hostname = hostname.to_ascii_lowercase().into();
        Ok(Self { hostname, key: key.map(parse).transpose()?, open: Arc::default() })
    }

    /// Whether a Host means the management of connectors: the name that is set, the usual one, that of Cloudflare's FedRAMP
    /// side (`management.fed.argotunnel.com`), and any other between those two labels.
    pub(crate) fn is_meant(&self, hostname: &[u8]) -> bool {
        let is_own = !self.hostname.is_empty() && hostname == self.hostname;
        is_own || hostname.starts_with(b"management.") && hostname.ends_with(b".argotunnel.com")
    }

    /// Whether the request may pass. `hostname`: one that `is_meant`. Only over TLS and under the certificate's own name, or of this
    /// process itself; without a token it is a visitor's, whose Host never reaches a connector.
    pub(crate) fn admit(
        &self,
        tables: &Tables,
        limits: &Limits,
        client: &Client,
        head: &RequestHead,
        hostname: &Bytes,
    ) -> Result<Asked, (Cause, &'static str)> {
        let name = std::str::from_utf8(hostname).unwrap_or_default();
        let is_covered = || client.certificate.as_ref().is_some_and(|certificate| certificate.covers(name));
        let is_served = client.is_own || hostname == &self.hostname && is_covered();
        let (Some(key), true) = (&self.key, is_served) else { return Err((Cause::ManagementHost, "")) };
        let (path, query) = split(&head.target);
        let Some(token) = first(query, "access_token") else { return Err((Cause::ManagementHost, "no token")) };
        if !limits.has_tries(client.address) {
            return Err((Cause::Overloaded, "too many bad management tokens came from this address"));
        }
        let denied = |why| {
            limits.tried(client.address);
            (Cause::ManagementDenied, why)
        };
        let claims = verify(key, &token, now()).map_err(denied)?;
        let is_known = |entry: &TunnelEntry| entry.account_tag.eq_ignore_ascii_case(&claims.tun.account_tag);
        if !tables.tunnel(&claims.tun.id).is_some_and(|entry| is_known(&entry)) {
            return Err(denied("the token is for a tunnel that there isn't"));
        }
        if !may_ask(&claims.res, path) {
            return Err(denied("the token is for another resource"));
        }
        let connector_id = match first(query, "connector_id").map(|id| Uuid::parse_str(&id)) {
            None => None,
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => return Err((Cause::ManagementDenied, "connector_id is not a valid UUID")),
        };
        let place = self.enter(claims.tun.id).ok_or((Cause::Overloaded, "too many management requests are open"))?;
        let target = target(path, query, &token);
        Ok(Asked { tunnel_id: claims.tun.id, connector_id, target, _place: place })
    }

    fn enter(&self, tunnel_id: Uuid) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.entry(tunnel_id).or_default();
        if *own >= MAX_OPEN {
            return None;
        }
        *own += 1;
        Some(Place { open: self.open.clone(), tunnel_id })
    }
}

/// One open request; dropped, its place is free again.
struct Place {
    open: Arc<Mutex<HashMap<Uuid, usize>>>,
    tunnel_id: Uuid,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut own) = open.entry(self.tunnel_id) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What a token says, once it is known to be ours and good at `now`. The algorithm is ours to choose, never the token's.
fn verify(key: &ParsedPublicKey, token: &str, now: u64) -> Result<Claims, &'static str> {
    const NO_TOKEN: &str = "what came as a token is none";
    if token.len() > MAX_TOKEN {
        return Err(NO_TOKEN);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(NO_TOKEN)?;
    let (header, claims) = signed.split_once('.').ok_or(NO_TOKEN)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| NO_TOKEN)?;
    key.verify_sig(signed.as_bytes(), &signature).map_err(|_| "the token was not signed by this edge")?;
    let part = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| NO_TOKEN);
    let header: Header = serde_json::from_slice(&part(header)?).map_err(|_| NO_TOKEN)?;
    let claims: Claims = serde_json::from_slice(&part(claims)?).map_err(|_| "a claim is missing in the token")?;
    if header.alg != "ES256" || claims.iss != ISSUER || claims.actor.id.is_empty() {
        return Err(NO_TOKEN);
    }
    if now >= claims.exp {
        return Err("the token is over");
    }
    if claims.iat > now.saturating_add(MAX_AHEAD) || claims.exp.saturating_sub(claims.iat) > MAX_LIFETIME {
        return Err("the token is not good yet, or for too long");
    }
    Ok(claims)
}

/// Whether a token for these resources is good for a path of the connector's management. A ping tells nothing that the token's
/// owner doesn't know; whatever isn't known here is the connector's inside.
fn may_ask(resources: &[String], path: &[u8]) -> bool {
    let needed = match path {
        b"/ping" => return true,
        b"/logs" => "logs",
        b"/host_details" => "host_details",
        _ => "admin",
    };
    resources.iter().any(|each| each == needed)
}

fn split(target: &[u8]) -> (&[u8], &[u8]) {
    match target.iter().position(|b| *b == b'?') {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, &[]),
    }
}

/// The first value of a query's parameter, as Go reads it.
fn first(query: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(query).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The query is written anew: no spelling of a second token can reach the connector.
fn target(path: &[u8], query: &[u8], token: &str) -> Bytes {
    let others = form_urlencoded::parse(query).filter(|(key, _)| key != "access_token");
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("access_token", token)
        .extend_pairs(others)
        .finish();
    [path, b"?", query.as_bytes()].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const NOW: u64 = 1_800_000_000;

    struct Issuer(EcdsaKeyPair);

    impl Issuer {
        fn new() -> Self {
            Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
        }
        fn public(&self) -> ParsedPublicKey {
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.0.public_key().as_ref()).unwrap()
        }
        fn sign(&self, header: &Value, claims: &Value) -> String {
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let signed = format!("{}.{}", part(header), part(claims));
            let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
        }
    }

    fn header() -> Value {
        json!({"alg": "ES256", "typ": "JWT"})
    }

    fn claims() -> Value {
        json!({
            "iss": ISSUER, "iat": NOW, "exp": NOW + MAX_LIFETIME, "res": ["logs"],
            "tun": {"id": Uuid::from_u128(7), "account_tag": "a"}, "actor": {"id": "someone", "support": false},
        })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[name] = value;
        claims
    }

    /// S55.
    #[test]
    fn a_token_is_good_for_an_hour_from_when_it_was_issued() {
        let issuer = Issuer::new();
        let token = issuer.sign(&header(), &claims());
        let key = issuer.public();
        for (at, is_good) in [
            (NOW - MAX_AHEAD - 1, false),
            (NOW - MAX_AHEAD, true),
            (NOW, true),
            (NOW + MAX_LIFETIME - 1, true),
            (NOW + MAX_LIFETIME, false),
            (NOW + 86_400, false),
            (u64::MAX, false),
        ] {
            assert_eq!(verify(&key, &token, at).is_ok(), is_good, "{at}");
        }
        let found = verify(&key, &token, NOW).ok().unwrap();
        assert_eq!((found.tun.id, found.tun.account_tag.as_str()), (Uuid::from_u128(7), "a"));
    }

    /// S55.
    #[test]
    fn forged_tokens_are_refused() {
        let issuer = Issuer::new();
        let key = issuer.public();
        let good = issuer.sign(&header(), &claims());
        assert!(verify(&key, &good, NOW).is_ok());
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let (head, body) = signed.split_once('.').unwrap();
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut forged = vec![
            Issuer::new().sign(&header(), &claims()),
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
            format!("{signed}."),
            format!("{}.{body}.{signature}", part(json!({"alg": "none"}))),
            format!("{}.{body}.", part(json!({"alg": "none"}))),
            format!("{head}.{}.{signature}", part(with("exp", json!(NOW + 7200)))),
            format!("{good}x"),
            format!("{good}."),
            format!("{good}.{signature}"),
            String::new(),
            "a.b.c".to_owned(),
            "..".to_owned(),
            "x".repeat(MAX_TOKEN + 1),
            // signed by us, and yet none of ours
            issuer.sign(&json!({"alg": "HS256"}), &claims()),
            issuer.sign(&json!({}), &claims()),
            issuer.sign(&header(), &with("exp", json!(NOW + MAX_LIFETIME + 1))),
            issuer.sign(&header(), &with("iat", json!(NOW + MAX_AHEAD + 1))),
            issuer.sign(&header(), &with("iss", json!("else"))),
            issuer.sign(&header(), &with("tun", json!("x"))),
            issuer.sign(&header(), &with("tun", json!({"id": "x", "account_tag": "a"}))),
            issuer.sign(&header(), &with("actor", json!({"id": ""}))),
            issuer.sign(&header(), &with("exp", json!(-1))),
        ];
        for name in ["iss", "iat", "exp", "tun", "actor", "res"] {
            let mut less = claims();
            less.as_object_mut().unwrap().remove(name);
            forged.push(issuer.sign(&header(), &less));
        }
        for token in forged {
            assert!(verify(&key, &token, NOW).is_err(), "{token}");
        }
    }

    #[test]
    fn each_resource_opens_its_own_path() {
        let may = |resource: &str, path: &str| may_ask(&[resource.to_owned()], path.as_bytes());
        for resource in ["logs", "host_details", "admin"] {
            assert!(may(resource, "/ping"));
            assert_eq!(may(resource, "/logs"), resource == "logs");
            assert_eq!(may(resource, "/host_details"), resource == "host_details");
            for path in ["/metrics", "/debug/pprof/heap", "/%6cogs", "//logs", "/logs/", "/"] {
                assert_eq!(may(resource, path), resource == "admin", "{path}");
            }
        }
    }

    #[test]
    fn no_second_token_reaches_the_connector() {
        let rewritten = |asked: &str| {
            let (path, query) = split(asked.as_bytes());
            String::from_utf8(target(path, query, "t.o.k").to_vec()).unwrap()
        };
        assert_eq!(rewritten("/logs?access_token=t.o.k"), "/logs?access_token=t.o.k");
        assert_eq!(
            rewritten("/x?debug=1&access%5Ftoken=evil&access_token=t.o.k&access_token=evil&a;b=c"),
            "/x?access_token=t.o.k&debug=1&a%3Bb=c"
        );
        assert_eq!(first(b"access%5Ftoken=a%2Eb&access_token=c", "access_token").as_deref(), Some("a.b"));
        assert_eq!(first(b"", "access_token"), None);
    }

    #[test]
    fn a_tunnel_has_so_many_places_and_they_come_back() {
        let management = Management::new("", None).unwrap();
        let mut held: Vec<_> = (0..MAX_OPEN).map(|_| management.enter(Uuid::from_u128(1)).unwrap()).collect();
        assert!(management.enter(Uuid::from_u128(1)).is_none());
        assert!(management.enter(Uuid::from_u128(2)).is_some());
        held.pop();
        assert!(management.enter(Uuid::from_u128(1)).is_some());
        drop(held);
        assert!(management.open.lock().unwrap().is_empty());
    }

    #[test]
    fn a_key_is_taken_as_point_and_as_subject_public_key_info_and_nothing_else() {
        let issuer = Issuer::new();
        let point = issuer.0.public_key().as_ref();
        // RFC 5480: id-ecPublicKey, prime256v1, and the point as a bit string
        let info = [&hex("3059301306072a8648ce3d020106082a8648ce3d030107034200")[..], point].concat();
        let token = issuer.sign(&header(), &claims());
        for key in [point, &info] {
            let management = Management::new("m.test", Some(key)).unwrap();
            assert!(verify(management.key.as_ref().unwrap(), &token, NOW).is_ok());
        }
        for bad in [&b""[..], b"nonsense", &point[..64]] {
            assert!(Management::new("m.test", Some(bad)).err().unwrap().to_string().contains("management_key"));
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    proptest! {
        #[test]
        fn any_token_is_survived(token in ".{0,80}|[a-zA-Z0-9_-]{0,40}\\.[a-zA-Z0-9_-]{0,40}\\.[a-zA-Z0-9_-]{0,90}") {
            prop_assert!(verify(&Issuer::new().public(), &token, NOW).is_err());
        }

        #[test]
        fn what_the_connector_reads_is_what_was_verified(query in "[a-z_%=&;.+?#0-9]{0,80}") {
            let written = target(b"/logs", query.as_bytes(), "t.o.k");
            let (_, written) = split(&written);
            let tokens: Vec<_> = form_urlencoded::parse(written).filter(|(key, _)| key == "access_token").collect();
            prop_assert_eq!(tokens.len(), 1);
            prop_assert_eq!(&tokens[0].1, "t.o.k");
        }
    }
}
