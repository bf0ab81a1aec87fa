//! A connector's management is reached by tokens that the edge has verified, at one name, and by nothing else (S55).
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use qanat_transport::Entrance;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use support::client::{Answer, H1, ask, dial_as, h2_as, plain};
use support::{ACCOUNT, HOST, Lab, on_both_with, tunnel_id};
use uuid::Uuid;

/// Under a wildcard that the certificate has, and that is routed to a tunnel.
const NAME: &str = "management.wild.example.test";
const SERVED: &[&str] = &["qanat_trailers", "qanat_management", "management_logs"];

struct Issuer(EcdsaKeyPair);

impl Issuer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn sign(&self, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "ES256", "typ": "JWT"})), part(claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    fn token(&self, resource: &str) -> String {
        self.sign(&claims(resource, tunnel_id()))
    }
}

fn claims(resource: &str, tunnel: Uuid) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({
        "iss": "qanat", "iat": now, "exp": now + 3600, "res": [resource],
        "tun": {"id": tunnel, "account_tag": ACCOUNT}, "actor": {"id": "someone", "support": false},
    })
}

fn on_both(issuer: &Issuer, test: impl AsyncFn(&Lab)) {
    let key = issuer.0.public_key().as_ref().to_vec();
    let set = |settings: &mut qanat_edge::Settings| {
        settings.management_hostname = NAME.to_owned();
        settings.management_key = Some(key.clone());
    };
    on_both_with(set, test);
}

async fn get(lab: &Lab, server_name: &str, host: &str, target: &str) -> Answer {
    let mut client = H1 { io: dial_as(lab, server_name, &[b"http/1.1"]).await.unwrap(), rest: Vec::new() };
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nCookie: a=b\r\nAuthorization: c\r\n\r\n")).await;
    client.answer().await
}

#[test]
fn a_token_reaches_its_tunnels_connector_under_the_name_that_it_knows() {
    let issuer = Issuer::new();
    on_both(&issuer, async |lab| {
        let connector = lab.connector_with(SERVED, 1).await;
        let token = issuer.token("host_details");
        let target = format!("/host_details?debug=1&access_token={token}");
        assert_eq!(get(lab, NAME, NAME, &target).await.status, 200);
        let request = http::Request::get(format!("https://{NAME}{target}")).body(()).unwrap();
        assert_eq!(ask(&h2_as(lab, NAME).await, request).await.unwrap().status(), 200);
        let seen = connector.requests();
        assert_eq!(seen.len(), 2);
        for request in seen {
            assert_eq!(request.head.authority, "management.argotunnel.com");
            assert_eq!(request.entrance, Entrance::Management);
            assert_eq!(request.head.target, format!("/host_details?access_token={token}&debug=1"));
            assert!(!request.head.headers.contains("cookie") && !request.head.headers.contains("authorization"));
        }
        // A visitor's is marked by nothing that he could send himself.
        let mut visitor = H1 { io: dial_as(lab, HOST, &[b"http/1.1"]).await.unwrap(), rest: Vec::new() };
        let mark = "QanatManagement: verified\r\ncf-cloudflared-qanat-management: verified";
        visitor.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{mark}\r\n\r\n")).await;
        assert_eq!(visitor.answer().await.status, 200);
        assert_eq!(connector.last().entrance, Entrance::Public);
    });
}

/// S55: the same tokens, and nothing but the management.
#[test]
fn this_process_asks_by_a_socket_of_its_own_with_tokens_as_anybody() {
    let issuer = Issuer::new();
    on_both(&issuer, async |lab| {
        let connector = lab.connector_with(SERVED, 1).await;
        let ask = async |host: &str, target: &str| {
            let socket = std::os::unix::net::UnixStream::from(lab.edge.management().unwrap());
            socket.set_nonblocking(true).unwrap();
            let io = tokio::net::UnixStream::from_std(socket).unwrap();
            let mut client = H1 { io, rest: Vec::new() };
            client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            client.answer().await.status
        };
        let good = format!("/host_details?access_token={}", issuer.token("host_details"));
        for host in [NAME, "management.argotunnel.com"] {
            assert_eq!(ask(host, &good).await, 200);
            assert_eq!(connector.last().entrance, Entrance::Management);
        }
        for (target, status) in [
            ("/host_details".to_owned(), 421),
            (format!("/host_details?access_token={}", issuer.token("logs")), 403),
            (format!("/host_details?access_token={}", Issuer::new().token("host_details")), 403),
        ] {
            assert_eq!(ask("management.argotunnel.com", &target).await, status, "{target}");
        }
        assert_eq!(connector.requests().len(), 2);
    });
}

#[test]
fn a_websocket_passes_as_any() {
    let issuer = Issuer::new();
    on_both(&issuer, async |lab| {
        let _connector = lab.connector_with(SERVED, 1).await;
        let mut client = H1 { io: dial_as(lab, NAME, &[b"http/1.1"]).await.unwrap(), rest: Vec::new() };
        let token = issuer.token("admin");
        client
            .send(format!(
                "GET /ws?access_token={token} HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nfirst"
            ))
            .await;
        assert_eq!(client.head().await.0, 101);
        assert_eq!(client.bytes(5).await, b"first");
    });
}

#[test]
fn without_a_good_token_nothing_reaches_a_connector() {
    let issuer = Issuer::new();
    on_both(&issuer, async |lab| {
        let connector = lab.connector_with(SERVED, 1).await;
        let good = issuer.token("host_details");
        let old = {
            let mut claims = claims("host_details", tunnel_id());
            let issued_at = claims["iat"].as_u64().unwrap() - 3600;
            (claims["iat"], claims["exp"]) = (json!(issued_at), json!(issued_at + 3600));
            issuer.sign(&claims)
        };
        let of_another_account = {
            let mut claims = claims("host_details", tunnel_id());
            claims["tun"]["account_tag"] = json!("f".repeat(32));
            issuer.sign(&claims)
        };
        let denied = [
            Issuer::new().token("host_details"),
            format!("{}.{}", good.rsplit_once('.').unwrap().0, URL_SAFE_NO_PAD.encode([0; 64])),
            "e30.e30.AAAA".to_owned(),
            old,
            of_another_account,
            issuer.token("logs"),
            issuer.sign(&claims("host_details", Uuid::from_u128(0xdef))),
        ];
        for token in denied {
            let answer = get(lab, NAME, NAME, &format!("/host_details?access_token={token}")).await;
            assert_eq!(answer.status, 403, "{token}");
            let problem: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!((&problem["success"], &problem["errors"][0]["code"]), (&json!(false), &json!(403)));
            // what the connector would read first counts
            let two = format!("/host_details?access%5ftoken={token}&access_token={good}");
            assert_eq!(get(lab, NAME, NAME, &two).await.status, 403, "{token}");
        }
        let target = format!("/host_details?access_token={good}");
        for (server_name, host, target) in [
            (NAME, NAME, "/host_details"),
            (NAME, NAME, "/host_details?access_tokens=x"),
            (HOST, "management.argotunnel.com", &target),
            (NAME, "management.argotunnel.com", &target),
            (NAME, "Management.Fed.ArgoTunnel.com.:443", &target),
        ] {
            assert_eq!(get(lab, server_name, host, target).await.status, 421, "{server_name} {host} {target}");
        }
        let mut client = plain(lab).await;
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {NAME}\r\n\r\n")).await;
        assert_eq!(client.answer().await.status, 421, "a token in clear text");
        assert!(connector.requests().is_empty());
        // No event for a log has a token in it.
        for event in lab.edge.next_events(1000, std::time::Duration::ZERO) {
            assert!(!format!("{event:?}").contains(good.split('.').next().unwrap()), "{event:?}");
        }
    });
}

#[test]
fn the_connector_that_is_meant_answers_and_one_without_the_service_is_never_asked() {
    let issuer = Issuer::new();
    on_both(&issuer, async |lab| {
        let without = lab.connector_with(&["qanat_trailers"], 1).await;
        let ping = format!("/ping?access_token={}", issuer.token("logs"));
        let answer = get(lab, NAME, NAME, &ping).await;
        assert_eq!(answer.status, 530);
        assert!(serde_json::from_slice::<Value>(&answer.body).unwrap()["errors"][0]["message"].is_string());
        let two = lab.connector_with(SERVED, 2).await;
        let three = lab.connector_with(SERVED, 3).await;
        lab.until(|| lab.count("tunnel_connections_open") == 3).await;
        let mut asked = 0;
        for _ in 0..5 {
            // registered is not ready yet
            while get(lab, NAME, NAME, &format!("{ping}&connector_id={}", three.id)).await.status == 530 {}
            asked += 1;
            assert_eq!(three.requests().len(), asked);
        }
        assert!(two.requests().is_empty());
        assert_eq!(get(lab, NAME, NAME, &format!("{ping}&connector_id={}", without.id)).await.status, 530);
        assert_eq!(get(lab, NAME, NAME, &format!("{ping}&connector_id={}", Uuid::from_u128(9))).await.status, 530);
        assert_eq!(get(lab, NAME, NAME, &format!("{ping}&connector_id=x")).await.status, 403);
        assert!(without.requests().is_empty());
    });
}

#[test]
fn a_tunnels_management_has_few_places_and_leaves_its_visitors_theirs() {
    let issuer = Issuer::new();
    on_both(&issuer, async |lab| {
        let connector = lab.connector_with(SERVED, 1).await;
        let hang = format!("https://{NAME}/hang?access_token={}", issuer.token("admin"));
        let client = h2_as(lab, NAME).await;
        let mut held = Vec::new();
        for _ in 0..16 {
            let request = http::Request::get(&hang).body(()).unwrap();
            held.push(client.clone().ready().await.unwrap().send_request(request, true).unwrap());
        }
        lab.until(|| connector.requests().len() == 16).await;
        let one_more = ask(&client, http::Request::get(&hang).body(()).unwrap()).await.unwrap();
        assert_eq!(one_more.status(), 503);
        assert_eq!(get(lab, HOST, HOST, "/x").await.status, 200);
        drop(held);
        lab.until(|| connector.canceled() == 16).await;
        let ping = format!("/ping?access_token={}", issuer.token("admin"));
        assert_eq!(get(lab, NAME, NAME, &ping).await.status, 200);
    });
}
