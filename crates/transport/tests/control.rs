//! Registration, configuration and the end of a connection.
#![allow(clippy::unwrap_used)]

use crate::support;

use bytes::Bytes;
use qanat_transport::*;
use std::time::Duration;
use support::*;

const CONFIGURATION: &[u8] = br#"{"ingress":[{"service":"http_status:404"}],"n":1.0}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_arrives_whole_and_its_answer_too() {
    for protocol in BOTH {
        let edge = Edge::start();
        let connector = edge.dial(protocol).await;
        let wanted = registration(true);
        let details = connector.register(wanted.clone()).await.unwrap();
        assert_eq!((details.location.as_str(), details.remotely_managed), ("lab01", true));
        assert_eq!(details.connection_id.as_u128(), 7);
        let (link, Heard::Registered(heard)) = edge.next().await else { panic!("not registered") };
        assert_eq!(format!("{heard:?}"), format!("{wanted:?}"));
        assert_eq!((link.protocol(), connector.protocol()), (protocol, protocol));
        assert!(!link.is_closed());
        assert!(matches!(connector.register(wanted).await, Err(RegisterError::Lost(_))), "a second registration");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_why_and_when_to_come_back() {
    for protocol in BOTH {
        let refuse: Decide = |_| {
            let retry_after = Duration::from_secs(30);
            Some(RegistrationRefusal { cause: "Unauthorized: no such tunnel".into(), retry_after, should_retry: true })
        };
        let edge = Edge::with(refuse, |_| {});
        let connector = edge.dial(protocol).await;
        match connector.register(registration(false)).await {
            Err(RegisterError::Refused(refusal)) => {
                assert_eq!(refusal.cause, "Unauthorized: no such tunnel");
                assert_eq!((refusal.retry_after, refusal.should_retry), (Duration::from_secs(30), true));
            }
            other => panic!("{other:?}"),
        }
        connector.close();
        assert!(matches!(edge.next().await.1, Heard::Lost(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_register_is_closed() {
    for protocol in BOTH {
        let edge = Edge::with(|_| None, |settings| settings.registration_timeout = Duration::from_millis(200));
        let connector = edge.dial(protocol).await;
        within(connector.closed()).await;
        assert!(matches!(edge.next().await.1, Heard::Lost(reason) if reason == "closed"));
        assert!(within(connector.accept()).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unregistering_stops_new_requests_and_lets_open_ones_finish() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, true).await;
        let mut open = link.open(&get("/slow")).await.unwrap();
        let incoming = accept(&connector).await;
        connector.unregister().await.unwrap();
        assert!(matches!(edge.next().await.1, Heard::Unregistered));
        assert!(matches!(link.open(&get("/new")).await, Err(OpenError::Closed(_))));
        let length = qanat_http::BodyLength::Exact(4);
        let mut sink = incoming.responder.respond(response(200, &[]), length, AnsweredBy::Origin).unwrap();
        send(&mut sink, "done").await.unwrap();
        finish(&mut sink, None).await.unwrap();
        assert_eq!(read(&mut answer(&mut open).await.body).await.unwrap().0, "done");
        connector.close();
        assert!(matches!(edge.next().await.1, Heard::Lost(reason) if reason == "unregistered"));
        assert!(link.is_closed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_connection_is_closed_by_the_edge_once_the_connector_has_its_answer() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, false).await;
        connector.unregister().await.unwrap();
        assert!(matches!(edge.next().await.1, Heard::Unregistered));
        assert!(!link.is_closed(), "something is open");
        link.drained();
        let reason = within(connector.closed()).await;
        assert!(reason.starts_with("closed by the edge"), "{reason}");
        assert_eq!(connector.farewell(), None);
        assert!(matches!(edge.next().await.1, Heard::Lost(reason) if reason == "unregistered"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_restarts_tells_connectors_of_ours_within_which_time_to_return() {
    for protocol in BOTH {
        for qanat in [true, false] {
            let edge = Edge::start();
            let (link, connector) = edge.connect(protocol, qanat).await;
            link.close_to_return(Duration::from_millis(1234));
            while within(connector.accept()).await.is_some() {}
            let reason = within(connector.closed()).await;
            assert!(reason.starts_with("closed by the edge"), "{reason}");
            // A stock connector has no use for the request, and shows the reason of QUIC's end in its log.
            let told = (qanat || protocol == Protocol::Quic).then_some(Duration::from_millis(1234));
            assert_eq!(connector.farewell(), told);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_of_a_closed_port_ends_at_once() {
    let edge = Edge::start();
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for protocol in BOTH {
        let patient = DialSettings { timeout: Duration::from_secs(600), ..edge.dial_settings() };
        let refused = within(EdgeLink::dial(protocol, closed, &patient)).await.err().unwrap();
        assert!(matches!(refused, DialError::Connect(..)), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_applied_refused_or_unanswered() {
    for protocol in BOTH {
        for qanat in [true, false] {
            let edge = Edge::start();
            let (link, connector) = edge.connect(protocol, qanat).await;
            let answers = [
                Some(Applied { version: 5, error: None }),
                Some(Applied { version: 5, error: Some("rule 1: no service".into()) }),
                None,
            ];
            for wanted in answers {
                let push = link.push_configuration(6, CONFIGURATION.into(), Duration::from_secs(10));
                let take = async {
                    let Some(Incoming::Configuration(push)) = within(connector.accept()).await else { panic!("none") };
                    assert_eq!((push.version, &push.configuration[..]), (6, CONFIGURATION));
                    if let Some(applied) = wanted.clone() {
                        push.answer.send(applied).unwrap();
                    }
                };
                let (applied, ()) = tokio::join!(push, take);
                match wanted {
                    None => assert!(matches!(applied, Err(ResponseError::Malformed(_))), "{applied:?}"),
                    // A stock connector's reason is lost on HTTP/2, and ours keeps to that with a stock edge.
                    Some(Applied { version, error: Some(_) }) if protocol == Protocol::Http2 && !qanat => {
                        assert_eq!(applied.unwrap(), Applied { version, error: Some(String::new()) });
                    }
                    Some(wanted) => assert_eq!(applied.unwrap(), wanted),
                }
            }
            let late = link.push_configuration(7, CONFIGURATION.into(), Duration::from_millis(100)).await;
            assert!(matches!(late, Err(ResponseError::ConnectionLost(_))), "{late:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_configuration_reaches_the_edge() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (_link, connector) = edge.connect(protocol, false).await;
        connector.send_local_configuration(CONFIGURATION.into()).await.unwrap();
        assert!(matches!(edge.next().await.1, Heard::Local(json) if json == CONFIGURATION));
        let huge = Bytes::from(vec![b' '; 1024 * 1024 + 1]);
        assert!(connector.send_local_configuration(huge).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_connector_ends_the_link_and_what_runs_on_it() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, true).await;
        let mut open = link.open(&get("/")).await.unwrap();
        let incoming = accept(&connector).await;
        drop(connector);
        let lost = within(open.response.next()).await;
        assert!(matches!(lost, Err(ResponseError::ConnectionLost(_))), "{protocol:?} {:?}", lost.err());
        assert!(matches!(edge.next().await.1, Heard::Lost(reason) if reason == "disconnected"));
        assert!(matches!(link.open(&get("/")).await, Err(OpenError::Closed(_))));
        drop(incoming);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_closing_is_told_to_the_connector() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, true).await;
        link.close("replaced");
        let reason = within(connector.closed()).await;
        assert!(reason.starts_with("closed by the edge"), "{protocol:?} {reason}");
        assert!(within(connector.accept()).await.is_none());
        assert!(matches!(edge.next().await.1, Heard::Lost(reason) if reason == "closed"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_the_listener_down_ends_all_links() {
    let edge = Edge::start();
    let (_quic, quic) = edge.connect(Protocol::Quic, true).await;
    let (_http2, http2) = edge.connect(Protocol::Http2, true).await;
    edge.stop.cancel();
    within(quic.closed()).await;
    within(http2.closed()).await;
    let (address, settings) = (edge.address, edge.dial_settings());
    edge.ended().await;
    let again = EdgeLink::dial(Protocol::Http2, address, &settings).await;
    assert!(again.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_is_a_tls_error() {
    let edge = Edge::start();
    let mut settings = edge.dial_settings();
    settings.tls = connector_tls(Some(certificate().ca.as_bytes())).unwrap();
    for protocol in BOTH {
        let failed = EdgeLink::dial(protocol, edge.address, &settings).await;
        assert!(matches!(failed, Err(DialError::Tls(..))), "{:?}", failed.err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_told_by_how() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let edge = Edge::start();
    let mut settings = edge.dial_settings();
    settings.timeout = Duration::from_millis(300);
    let failed = EdgeLink::dial(Protocol::Quic, silent.local_addr().unwrap(), &settings).await;
    assert!(matches!(failed, Err(DialError::TimedOut(..))), "{:?}", failed.err());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failed = EdgeLink::dial(Protocol::Http2, free, &settings).await;
    assert!(matches!(failed, Err(DialError::Connect(..))), "{:?}", failed.err());
}

/// A process that hangs or a cable that is cut: nothing closes, nothing answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_connector_that_falls_silent_is_noticed_within_seconds() {
    let silent = BOTH.map(|protocol| async move {
        let edge = Edge::start();
        let settings = edge.dial_settings();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let address = edge.address;
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let connector = EdgeLink::dial(protocol, address, &settings).await.unwrap();
                connector.register(registration(true)).await.unwrap();
                // The runtime stands still from here on.
                let _ = held.recv();
                drop(connector);
            });
        });
        let link = edge.registered().await;
        let mut open = link.open(&get("/")).await.unwrap();
        let lost = tokio::time::timeout(Duration::from_secs(12), open.response.next()).await;
        assert!(matches!(lost, Ok(Err(ResponseError::ConnectionLost(_)))), "{protocol:?}");
        assert!(matches!(edge.next().await.1, Heard::Lost(reason) if reason == "timed_out"), "{protocol:?}");
        drop(hold);
        thread.join().unwrap();
    });
    let [quic, http2] = silent;
    tokio::join!(quic, http2);
}

/// A QUIC connection goes on from another address; what doesn't answer is found out.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_change_of_the_network_a_connection_shows_whether_it_lives() {
    for protocol in BOTH {
        let edge = Edge::start();
        let (link, connector) = edge.connect(protocol, true).await;
        assert!(connector.answers(Duration::from_secs(10)).await);
        let mut open = within(link.open(&get("/"))).await.unwrap();
        let incoming = within(support::accept(&connector)).await;
        let head = response(204, &[]);
        let mut sink = incoming.responder.respond(head, qanat_http::BodyLength::Absent, AnsweredBy::Origin).unwrap();
        within(finish(&mut sink, None)).await.unwrap();
        assert_eq!(within(support::answer(&mut open)).await.head.status, 204, "it goes on");
        edge.stop.cancel();
        within(connector.closed()).await;
        assert!(!connector.answers(Duration::from_secs(10)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_is_a_handshake_and_leaves_nothing_behind() {
    let edge = Edge::start();
    for protocol in BOTH {
        EdgeLink::probe(protocol, edge.address, &edge.dial_settings()).await.unwrap();
        let mut other = edge.dial_settings();
        other.route.server_name = Some("edge.test".into());
        let refused = EdgeLink::probe(protocol, edge.address, &other).await;
        assert!(matches!(refused, Err(DialError::Tls(..))), "the certificate has no such name: {refused:?}");
    }
}

/// As where packets of the usual size are dropped without a word (RFC 2923): the hello doesn't get through.
#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_nobody_answers_is_said_once_more_in_small_segments() {
    let edge = Edge::start();
    let path = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = edge.dial_settings();
    settings.timeout = Duration::from_secs(4);
    let (address, behind) = (path.local_addr().unwrap(), edge.address);
    let carried = tokio::spawn(async move {
        let _black_hole = path.accept().await.unwrap();
        let (mut small, _) = path.accept().await.unwrap();
        let segment = socket2::SockRef::from(&small).tcp_mss().unwrap();
        let mut edge = tokio::net::TcpStream::connect(behind).await.unwrap();
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut small, &mut edge).await });
        segment
    });
    let connector = EdgeLink::dial(Protocol::Http2, address, &settings).await.unwrap();
    connector.register(registration(true)).await.unwrap();
    assert!(carried.await.unwrap() <= 536);
}
