//! Configurations pushed by the edge, and told to it (case 51).

#![allow(clippy::unwrap_used)]

use crate::support;

use bytes::Bytes;
use qanat_connector::{ConfigurationPushed, Event};
use qanat_transport::Protocol;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::{Edge, PROTOCOLS, Running, choice, eventually, settings};

fn pushed(version: i32) -> impl Fn(&Event) -> Option<(u64, Bytes)> {
    move |e| match e {
        Event::ConfigurationPushed(ConfigurationPushed { push_id, version: v, configuration, .. }) if *v == version => {
            Some((*push_id, configuration.clone()))
        }
        _ => None,
    }
}

#[tokio::test]
async fn a_push_is_answered_with_what_python_says() {
    for protocol in PROTOCOLS {
        let edge = Edge::start().await;
        let running = Running::start(settings(&edge, choice(protocol), 1));
        let link = edge.link().await;
        let json = Bytes::from_static(br#"{"ingress":[{"service":"http_status:404"}]}"#);
        for (version, error) in [(1, ""), (2, "ingress[0]: bad")] {
            let (push, json) = (link.clone(), json.clone());
            let pushing =
                tokio::spawn(async move { push.push_configuration(version, json, Duration::from_secs(10)).await });
            let (push_id, configuration) = running.event(pushed(version)).await;
            assert_eq!(serde_like(&configuration), serde_like(br#"{"ingress":[{"service":"http_status:404"}]}"#));
            let applied = if error.is_empty() { version } else { version - 1 };
            assert!(running.connector.answer_configuration(push_id, applied, error));
            let answer = pushing.await.unwrap().unwrap();
            assert_eq!((answer.version, answer.error.as_deref().unwrap_or_default()), (applied, error), "{protocol:?}");
        }
        assert_eq!(running.connector.counters()["configuration_pushes"], 2);
    }
}

/// JSON without white space, to compare what one transport may format anew.
fn serde_like(json: &[u8]) -> String {
    json.iter().filter(|b| !b.is_ascii_whitespace()).map(|b| *b as char).collect()
}

#[tokio::test]
async fn a_push_that_python_never_answers_fails_with_the_reason() {
    for protocol in PROTOCOLS {
        let edge = Edge::start().await;
        let mut quick = settings(&edge, choice(protocol), 1);
        quick.rpc_timeout = Duration::from_millis(1000);
        let running = Running::start(quick);
        let answer =
            edge.link().await.push_configuration(3, Bytes::from_static(b"{}"), Duration::from_secs(10)).await.unwrap();
        assert_eq!(answer.version, -1);
        assert!(answer.error.unwrap().contains("did not apply"));
        let (push_id, _) = running.event(pushed(3)).await;
        assert!(!running.connector.answer_configuration(push_id, 3, ""), "too late");
    }
}

#[tokio::test]
async fn a_configuration_above_the_limit_is_refused() {
    let edge = Edge::start().await;
    let running = Running::start(settings(&edge, choice(Protocol::Quic), 1));
    let huge = format!("{{\"x\":\"{}\"}}", "a".repeat(1 << 20));
    let answer = edge.link().await.push_configuration(1, huge.into(), Duration::from_secs(10)).await;
    assert!(answer.map_or(true, |a| a.error.is_some()));
    assert_eq!(running.count(|e| matches!(e, Event::ConfigurationPushed(_))), 0);
}

#[tokio::test]
async fn a_local_configuration_is_told_once_by_connection_0_and_again_when_it_changes() {
    for protocol in PROTOCOLS {
        let edge = Edge::start().await;
        edge.heard.locally_managed.store(true, SeqCst);
        let running = Running::start(settings(&edge, choice(protocol), 3));
        running.connector.send_local_configuration(Bytes::from_static(b"{\"a\":1}"));
        running.ready(3).await;
        eventually(|| (edge.heard.local.lock().unwrap().len() == 1).then_some(())).await;
        running.connector.send_local_configuration(Bytes::from_static(b"{\"a\":2}"));
        eventually(|| (edge.heard.local.lock().unwrap().len() == 2).then_some(())).await;
        assert_eq!(edge.heard.local.lock().unwrap()[1], "{\"a\":2}");
    }
}

#[tokio::test]
async fn a_remotely_managed_tunnel_is_told_nothing() {
    let edge = Edge::start().await;
    let running = Running::start(settings(&edge, choice(Protocol::Quic), 2));
    running.connector.send_local_configuration(Bytes::from_static(b"{}"));
    running.ready(2).await;
    // What would have been sent at registration would be here by the time a push is answered.
    let push = edge.link().await;
    let pushing =
        tokio::spawn(
            async move { push.push_configuration(1, Bytes::from_static(b"{}"), Duration::from_secs(10)).await },
        );
    let (push_id, _) = running.event(pushed(1)).await;
    running.connector.answer_configuration(push_id, 1, "");
    pushing.await.unwrap().unwrap();
    assert!(edge.heard.local.lock().unwrap().is_empty());
}
