//! The recorded bytes of stock peers, decoded and written again.
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use qanat_wire::connect::{self, ConnectionType, Metadata, Pair};
use qanat_wire::{configuration, preamble, response_headers};
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let path = format!("{}/../../tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn bytes(hex: &Value) -> Bytes {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect::<Vec<u8>>().into()
}

fn pairs(metadata: &Metadata) -> Vec<Pair<'_>> {
    metadata.iter().map(|(name, value)| Pair { prefix: b"", name, value }).collect()
}

fn value<'a>(metadata: &'a Metadata, key: &str) -> Option<&'a [u8]> {
    metadata.iter().find(|(k, _)| k == key).map(|(_, v)| &v[..])
}

#[test]
fn data_streams_decode_and_encode_to_the_same_bytes() {
    let vectors = vectors("quic");
    let streams = vectors["quic"]["data_streams"].as_array().unwrap();
    assert_eq!(streams.len(), 8);
    for stream in streams {
        let told = stream["result"].as_str().unwrap();
        for frame in stream["frames"].as_array().unwrap() {
            let all = bytes(&frame["hex"]);
            let (kind, head) = preamble::decode(&all).unwrap().unwrap();
            assert_eq!((kind, head), (preamble::StreamKind::Data, 8));
            let message = all.slice(head..);
            let mut again = BytesMut::from(&preamble::DATA[..]);
            if frame["dir"] == "e2c" {
                let (request, used) = connect::decode_request(&message, 65536).unwrap().unwrap();
                assert!(told.contains(std::str::from_utf8(&request.dest).unwrap()), "{told}");
                assert_eq!(value(&request.metadata, "HttpMethod").is_some(), request.kind != ConnectionType::Tcp);
                connect::encode_request(&mut again, &[&request.dest], request.kind, &pairs(&request.metadata)).unwrap();
                assert_eq!(again, all.slice(..head + used), "{told}");
            } else {
                let (response, used) = connect::decode_response(&message, 65536).unwrap().unwrap();
                assert_eq!(response.error.is_empty(), told.contains(r#"error="""#), "{told}");
                for (key, value) in &response.metadata {
                    let line =
                        format!("{{{} {}}}", std::str::from_utf8(key).unwrap(), std::str::from_utf8(value).unwrap());
                    assert!(told.contains(&line), "{line} in {told}");
                }
                connect::encode_response(&mut again, &response.error, &pairs(&response.metadata)).unwrap();
                // Go's writer leaves the metadata pointer of an error null; ours is an empty list. Both read the same.
                if response.error.is_empty() && !response.metadata.is_empty() {
                    assert_eq!(again, all.slice(..head + used), "{told}");
                } else {
                    assert_eq!(
                        connect::decode_response(&again.freeze().slice(head..), 65536).unwrap().unwrap().0,
                        response
                    );
                }
            }
        }
    }
}

#[test]
fn a_cut_head_asks_for_more_at_every_byte() {
    let vectors = vectors("quic");
    let all = bytes(&vectors["quic"]["data_streams"][0]["frames"][0]["hex"]).slice(8..);
    for n in 0..all.len() {
        assert_eq!(connect::decode_request(&all.slice(..n), 65536).unwrap(), None, "{n} bytes");
    }
    assert!(connect::decode_request(&all, 65536).unwrap().is_some());
    assert!(matches!(
        connect::decode_request(&all.slice(..8), 100),
        Err(connect::HeadError::TooLarge { limit: 100, .. })
    ));
}

#[test]
fn rpc_streams_begin_with_their_signature() {
    for stream in vectors("quic")["quic"]["update_configuration_streams"].as_array().unwrap() {
        let first = bytes(&stream["frames"][0]["hex"]);
        assert_eq!(preamble::decode(&first), Ok(Some((preamble::StreamKind::Rpc, 6))));
    }
}

#[test]
fn http2_answers_decode() {
    let vectors = vectors("http2");
    let mut seen = 0;
    for exchange in vectors["exchanges"].as_array().unwrap() {
        let header = |name: &str| exchange["headers"][name].as_str();
        if exchange["request"] == "config" {
            let (version, error) = configuration::decode_answer(exchange["body"].as_str().unwrap().as_bytes()).unwrap();
            assert_eq!((version, error.is_some()), (1, exchange["body"].as_str().unwrap().contains("{}")));
        }
        if let Some(meta) = header("cf-cloudflared-response-meta") {
            let meta = response_headers::Meta::decode(meta.as_bytes()).unwrap();
            assert_eq!(meta.is_connector(), exchange["status"] == 502);
        }
        if let Some(serialised) = header("cf-cloudflared-response-headers") {
            let lines = response_headers::decode(serialised.as_bytes(), 64).unwrap();
            assert_eq!(response_headers::encode(lines.iter().map(|(n, v)| (&n[..], &v[..]))), serialised);
            if exchange["request"] == "http://app.example.com/hello?x=1" {
                let cookies: Vec<_> = lines.iter().filter(|(n, _)| n == "Set-Cookie").map(|(_, v)| v.clone()).collect();
                assert_eq!(cookies, ["a=1", "b=2"]);
            }
            seen += 1;
        }
    }
    assert!(seen >= 5);
}
