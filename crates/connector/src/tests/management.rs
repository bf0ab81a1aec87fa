//! Requests for the management: which they are, and how they reach Python (S55, S43).

use super::{Exchange, World, eventually, request};
use crate::{Event, OriginSettings, ServiceKind};
use qanat_http::BodyLength;
use qanat_transport::{Entrance, RequestKind};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

const NAME: &str = "management.argotunnel.com";

struct Managed(World);

impl Managed {
    fn new() -> Self {
        Self(World::new(ServiceKind::Status, "418", OriginSettings::default()))
    }

    fn ask(&self, host: &'static str, entrance: Entrance) -> Exchange {
        let mut asked = request("GET", "/ping?access_token=t", BodyLength::Absent);
        asked.head.authority = host.into();
        asked.entrance = entrance;
        self.0.send(asked)
    }

    /// Python's end of the next request's socket.
    async fn taken(&self) -> UnixStream {
        let asked = |event| if let Event::ManagementAsked(asked) = event { Some(asked) } else { None };
        let asked = eventually(|| self.0.events().into_iter().find_map(asked)).await;
        UnixStream::from(asked.socket.duplicate().unwrap())
    }
}

/// What came to the server's end, up to the end of the head.
async fn head(mut socket: UnixStream) -> (UnixStream, String) {
    tokio::task::spawn_blocking(move || {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap() == 1 {
            head.push(byte[0]);
        }
        (socket, String::from_utf8(head).unwrap())
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_marked_request_is_answered_by_who_takes_its_event() {
    for host in [NAME, "another.test"] {
        let managed = Managed::new();
        let exchange = managed.ask(host, Entrance::Management);
        let (mut socket, head) = head(managed.taken().await).await;
        assert!(head.starts_with("GET /ping?access_token=t HTTP/1.1\r\n"), "{head}");
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK").unwrap();
        let answer = exchange.end().await;
        assert_eq!((answer.status, answer.text()), (200, "OK".to_owned()));
        // Its target holds a token: no event tells of it, not even in a debug log.
        assert!(managed.0.events().is_empty());
    }
}

#[tokio::test]
async fn no_host_makes_a_visitor_s_request_one_for_the_management() {
    let managed = Managed::new();
    for host in [NAME, "Management.ArgoTunnel.com:443", "management.argotunnel.com."] {
        assert_eq!(managed.ask(host, Entrance::Public).end().await.status, 418);
    }
    assert!(!managed.0.events().iter().any(|event| matches!(event, Event::ManagementAsked(_))));
}

#[tokio::test]
async fn with_a_stock_edge_the_host_tells() {
    let managed = Managed::new();
    assert_eq!(managed.ask("app.example.test", Entrance::Untold).end().await.status, 418);
    for host in [NAME, "Management.ArgoTunnel.com:443", "management.argotunnel.com."] {
        let exchange = managed.ask(host, Entrance::Untold);
        drop(managed.taken().await);
        assert!(exchange.end().await.failed.is_some(), "{host}");
    }
}

#[tokio::test]
async fn so_many_are_open_at_once_and_their_places_come_back() {
    let managed = Managed::new();
    let mut open = Vec::new();
    for _ in 0..32 {
        open.push((managed.ask(NAME, Entrance::Management), managed.taken().await));
    }
    assert_eq!(managed.ask(NAME, Entrance::Management).end().await.status, 503);
    for (exchange, socket) in open {
        drop(socket);
        exchange.end().await;
    }
    let exchange = managed.ask(NAME, Entrance::Management);
    drop(managed.taken().await);
    exchange.end().await;
}

#[tokio::test]
async fn a_websocket_is_carried_and_its_viewer_s_leaving_is_told() {
    let managed = Managed::new();
    let mut asked = super::websocket::upgrade("/logs?access_token=t");
    asked.entrance = Entrance::Management;
    assert_eq!(asked.kind, RequestKind::WebSocket);
    let exchange = managed.0.send(asked);
    let (mut socket, head) = head(managed.taken().await).await;
    assert!(head.contains("\r\nUpgrade: websocket\r\n"), "{head}");
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nlines";
    socket.write_all(switching.as_bytes()).unwrap();
    exchange.until(|answer| answer.body == b"lines").await;
    exchange.cancel();
    let ended = tokio::task::spawn_blocking(move || socket.read(&mut [0]).unwrap_or(0)).await.unwrap();
    assert_eq!(ended, 0);
}
