//! One visitor's bodies that nobody takes, and another visitor of the same tunnel, on both transports.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use bytes::Bytes;
use h2::client::SendRequest;
use qanat_edge::Event;
use std::time::{Duration, Instant};
use support::client::{ask, h1, h2, post, request};
use support::{HOST, Lab, on_both, on_both_with};

/// Streams of one attacker: as many as one HTTP/2 connection may have, nearly.
const STREAMS: usize = 90;

/// Asks for large answers and takes none of them. Kept by the caller.
async fn unread(client: &SendRequest<Bytes>, streams: usize) -> Vec<h2::RecvStream> {
    let mut answers = Vec::new();
    for _ in 0..streams {
        let mut client = client.clone().ready().await.unwrap();
        let (response, _) = client.send_request(request("GET", "/large").body(()).unwrap(), true).unwrap();
        answers.push(response.await.unwrap().into_body());
    }
    answers
}

/// Another visitor: what is asked comes at once.
async fn is_served(lab: &Lab) {
    let start = Instant::now();
    let mut client = h1(lab).await;
    assert_eq!(client.get("/").await.status, 200);
    let client = h2(lab).await;
    let body = vec![b'x'; 300_000];
    let answer = post(&client, request("POST", "/echo").body(()).unwrap(), body.clone(), None).await.unwrap();
    assert!(answer.status() == 200 && answer.body == body);
    let answer = ask(&client, request("GET", "/large").body(()).unwrap()).await.unwrap();
    assert_eq!(answer.body.len(), 8 << 20);
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
}

#[test]
fn answers_that_one_visitor_does_not_read_stop_nobody_else() {
    on_both(async |lab| {
        lab.connector().await;
        let attacker = h2(lab).await;
        let held = unread(&attacker, STREAMS).await;
        // What the windows let through is under way: the second tick of the edge's clock has counted it.
        lab.until(|| lab.count("unread_bytes") >= STREAMS as u64 * 512 * 1024).await;
        is_served(lab).await;
        drop(held);
        lab.until(|| lab.count("unread_bytes") == 0).await;
    });
}

#[test]
fn where_room_is_short_what_stands_longest_is_cut_and_others_stay() {
    on_both_with(
        |settings| settings.max_unread_bytes = 32 << 20,
        async |lab| {
            lab.connector().await;
            let attacker = h2(lab).await;
            let _held = unread(&attacker, 40).await;
            let cut = |e: &Event| matches!(e, Event::RequestFailed(f) if f.cause == "client_too_slow").then_some(());
            lab.event(cut).await;
            lab.until(|| lab.count("unread_bytes") <= 8 << 20).await;
            is_served(lab).await;
        },
    );
}

#[test]
fn bodies_that_an_origin_does_not_read_stop_nobody_else() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut attackers = Vec::new();
        for _ in 0..60 {
            let mut client = h1(lab).await;
            client.send(format!("POST /hang HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 104857600\r\n\r\n")).await;
            attackers.push(tokio::spawn(async move { client.send(vec![b'x'; 6 << 20]).await }));
        }
        lab.until(|| connector.requests().len() == 60).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        is_served(lab).await;
        let left = Instant::now();
        for attacker in attackers {
            attacker.abort();
        }
        lab.until(|| connector.canceled() == 60).await;
        assert!(left.elapsed() < Duration::from_secs(10), "{:?}", left.elapsed());
    });
}

#[test]
fn a_client_that_leaves_while_nobody_reads_its_body_ends_the_call() {
    on_both(async |lab| {
        let connector = lab.connector().await;
        let mut client = h1(lab).await;
        client.send(format!("POST /hang HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 104857600\r\n\r\n")).await;
        let sending = tokio::spawn(async move { client.send(vec![b'x'; 50 << 20]).await });
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!sending.is_finished(), "the windows are full");
        sending.abort();
        let left = Instant::now();
        lab.until(|| connector.canceled() == 1).await;
        eprintln!("noticed after {:?}", left.elapsed());
        assert!(left.elapsed() < Duration::from_secs(10), "{:?}", left.elapsed());
    });
}
