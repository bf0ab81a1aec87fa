//! The control plane's hostname on the public listener: handed to the API's own socket, by no tunnel, whatever a record says.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use bytes::Bytes;
use qanat_edge::{Route, Settings};
use qanat_transport::Protocol;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::client::{Answer, H1, a_moment, ask, h2_as, plain, post};
use support::{HOST, Lab, SOON, tunnel_id};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_rustls::client::TlsStream;

const CONTROL: &str = "other.example.test";

/// An API that remembers every head, and answers by the path.
struct Api {
    folder: PathBuf,
    heads: Arc<Mutex<Vec<String>>>,
    /// Requests of `/held` that may be answered.
    go: Arc<Semaphore>,
}

impl Api {
    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("qanat-{:032x}", rand::random::<u128>()));
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    fn serve(folder: PathBuf) -> Self {
        let api = Self { folder, heads: Arc::default(), go: Arc::new(Semaphore::new(0)) };
        let listener = UnixListener::bind(api.socket()).unwrap();
        let (heads, go) = (api.heads.clone(), api.go.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(answer(socket, heads.clone(), go.clone()));
            }
        });
        api
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    fn last(&self) -> String {
        self.heads().pop().expect("nothing was asked")
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn answer(mut socket: UnixStream, heads: Arc<Mutex<Vec<String>>>, go: Arc<Semaphore>) {
    let (mut read, mut buffer) = (Vec::new(), [0; 65536]);
    let end = loop {
        if let Some(at) = read.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        match socket.read(&mut buffer).await {
            Ok(n) if n > 0 => read.extend_from_slice(&buffer[..n]),
            _ => return,
        }
    };
    let head = String::from_utf8(read[..end].to_vec()).unwrap();
    heads.lock().unwrap().push(head.clone());
    let mut body = read[end..].to_vec();
    let path = head.split(' ').nth(1).unwrap();
    let plain = |body: &str| format!("HTTP/1.1 200 OK\r\nServer: api\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    match path {
        "/echo" => {
            let length: usize =
                head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().unwrap());
            while body.len() < length {
                match socket.read(&mut buffer).await {
                    Ok(n) if n > 0 => body.extend_from_slice(&buffer[..n]),
                    _ => return,
                }
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = socket.write_all(&[head.as_bytes(), &body].concat()).await;
        }
        "/events" => {
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
            go.acquire().await.unwrap().forget();
            let _ = socket.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await;
        }
        "/held" => {
            go.acquire().await.unwrap().forget();
            let _ = socket.write_all(plain("held").as_bytes()).await;
        }
        "/drain" => while matches!(socket.read(&mut buffer).await, Ok(n) if n > 0) {},
        "/early" => {
            let _ = socket.write_all(plain("early").as_bytes()).await;
        }
        "/broken" => {
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345").await;
            go.acquire().await.unwrap().forget();
        }
        "/nothing" => {}
        "/socket" => {
            let key = head.lines().find_map(|l| l.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
            let accept = qanat_http::websocket_accept(key.as_bytes());
            let accept = String::from_utf8(accept.to_vec()).unwrap();
            let switch = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            socket.write_all(switch.as_bytes()).await.unwrap();
            while let Ok(n) = socket.read(&mut buffer).await {
                if n == 0 || socket.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
            }
        }
        _ => {
            let _ = socket.write_all(plain("api").as_bytes()).await;
        }
    }
}

fn on_control(change: impl Fn(&mut Settings), test: impl AsyncFn(&Lab, &Api)) {
    let folder = Api::folder();
    let lab = Lab::start(Protocol::Http2, |settings| {
        settings.control_hostname = CONTROL.to_owned();
        settings.control_socket = folder.join("control.sock").to_str().unwrap().to_owned();
        change(settings);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let api = Api::serve(folder);
        tokio::time::timeout(Duration::from_secs(60), test(&lab, &api)).await.expect("the test takes too long");
    });
    runtime.shutdown_background();
    lab.edge.close(Duration::ZERO);
}

async fn client(lab: &Lab) -> H1<TlsStream<TcpStream>> {
    let io = support::client::dial_as(lab, CONTROL, &[b"http/1.1"]).await.unwrap();
    H1 { io, rest: Vec::new() }
}

async fn get(client: &mut H1<TlsStream<TcpStream>>, path: &str, more: &str) -> Answer {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {CONTROL}\r\n{more}\r\n")).await;
    client.answer().await
}

#[test]
fn the_api_answers_under_its_hostname_and_no_record_leads_elsewhere() {
    on_control(
        |_| {},
        async |lab, api| {
            let connector = lab.connector().await;
            let stolen = [CONTROL, HOST].map(|hostname| Route::to(hostname, Some(tunnel_id())));
            lab.edge.swap_routes(stolen.to_vec()).unwrap();
            let mut http1 = client(lab).await;
            for host in [CONTROL, "Other.Example.Test.:8443"] {
                http1.send(format!("GET /client/v4?x=%2f HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
                let answer = http1.answer().await;
                assert_eq!((answer.status, answer.text().as_str()), (200, "api"));
                assert_eq!(answer.value("strict-transport-security").unwrap(), "max-age=31536000");
                assert_eq!(answer.value("x-content-type-options").unwrap(), "nosniff");
            }
            assert!(api.last().starts_with("GET /client/v4?x=%2f HTTP/1.1\r\nHost: Other.Example.Test.:8443\r\n"));
            let http2 = h2_as(lab, CONTROL).await;
            let asked = |path: &str| http::Request::builder().uri(format!("https://{CONTROL}{path}")).body(()).unwrap();
            assert_eq!(ask(&http2, asked("/")).await.unwrap().text(), "api");
            let body = Bytes::from(vec![b'x'; 200_000]);
            let mut request = asked("/echo");
            *request.method_mut() = http::Method::POST;
            request.headers_mut().insert("content-length", body.len().into());
            assert_eq!(post(&http2, request, body.clone(), None).await.unwrap().body, body);
            assert!(connector.requests().is_empty());
            // Others are served as before, and by another name's certificate nobody gets in.
            assert_eq!(support::client::h1(lab).await.get("/").await.status, 200);
            let wild = support::client::dial_as(lab, "a.wild.example.test", &[b"http/1.1"]).await.unwrap();
            assert_eq!(
                get(&mut H1 { io: wild, rest: Vec::new() }, "/", "").await.status,
                200,
                "one certificate for both"
            );
        },
    );
}

#[test]
fn a_client_says_nothing_of_its_own_address() {
    on_control(
        |settings| settings.proxy_protocol = vec!["127.0.0.1".to_owned()],
        async |lab, api| {
            let mut socket = TcpStream::connect(lab.https()).await.unwrap();
            socket.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\n").await.unwrap();
            let name = rustls::pki_types::ServerName::try_from(CONTROL).unwrap();
            let io = support::client::tls(lab, &[b"http/1.1"]).connect(name, socket).await.unwrap();
            let mut client = H1 { io, rest: Vec::new() };
            let forged = "Qanat-Client: 127.0.0.1\r\nqanat-client: ::1\r\nCF-Connecting-IP: 10.0.0.9\r\nX-Forwarded-For: 10.0.0.9\r\n\
                          X-Real-IP: 10.0.0.9\r\nForwarded: for=10.0.0.9\r\nConnection: qanat-client\r\n";
            assert_eq!(get(&mut client, "/", forged).await.status, 200);
            let head = api.last().to_lowercase();
            assert_eq!(head.matches("qanat-client").count(), 1, "{head}");
            assert!(head.contains("qanat-client: 192.0.2.7\r\n"), "{head}");
            assert!(!head.contains("10.0.0.9") && !head.contains("127.0.0.1"), "{head}");
        },
    );
}

#[test]
fn without_tls_no_credentials_pass_and_a_browser_is_led_on() {
    on_control(
        |_| {},
        async |lab, api| {
            let ask = async |head: &str| {
                let mut client = plain(lab).await;
                client.send(format!("{head}Host: {CONTROL}\r\n\r\n")).await;
                client.answer().await
            };
            let led = ask("GET /x HTTP/1.1\r\n").await;
            assert_eq!(led.status, 308);
            assert!(led.value("location").unwrap().starts_with("https://other.example.test:"));
            for head in [
                "GET / HTTP/1.1\r\nAuthorization: Bearer x\r\n",
                "GET / HTTP/1.1\r\nX-Auth-Key: x\r\n",
                "POST / HTTP/1.1\r\nContent-Length: 0\r\n",
            ] {
                let refused = ask(head).await;
                assert_eq!(refused.status, 403);
                assert!(refused.text().contains("\"success\":false"), "{}", refused.text());
            }
            assert!(api.heads().is_empty());
        },
    );
}

#[test]
fn what_comes_is_passed_on_at_once_and_a_cut_answer_is_no_whole_one() {
    on_control(
        |_| {},
        async |lab, api| {
            let mut events = client(lab).await;
            events.send(format!("GET /events HTTP/1.1\r\nHost: {CONTROL}\r\n\r\n")).await;
            let (status, _) = events.head().await;
            assert_eq!((status, events.line().await.unwrap()), (200, "3".to_owned()));
            assert_eq!(events.bytes(5).await, b"one\r\n");
            api.go.add_permits(1);
            assert_eq!(events.bytes(13).await, b"3\r\ntwo\r\n0\r\n\r\n");
            let mut cut = client(lab).await;
            cut.send(format!("GET /broken HTTP/1.1\r\nHost: {CONTROL}\r\n\r\n")).await;
            assert_eq!((cut.head().await.0, cut.bytes(5).await), (200, b"12345".to_vec()));
            api.go.add_permits(1);
            assert!(cut.rest().await.is_empty(), "ten were announced");
            assert_eq!(lab.why().await.0, "control_unavailable");
            lab.forget_events();
            let none = get(&mut client(lab).await, "/nothing", "").await;
            assert_eq!((none.status, lab.why().await.0), (503, "control_unavailable"));
            assert_eq!(none.value("strict-transport-security").unwrap(), "max-age=31536000");
            let mut early = client(lab).await;
            early.send(format!("POST /early HTTP/1.1\r\nHost: {CONTROL}\r\nContent-Length: 1000\r\n\r\nx")).await;
            assert_eq!(early.answer().await.text(), "early");
        },
    );
}

#[test]
fn a_websocket_passes() {
    on_control(
        |_| {},
        async |lab, _| {
            let mut client = client(lab).await;
            client
                .send(format!(
                    "GET /socket HTTP/1.1\r\nHost: {CONTROL}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                ))
                .await;
            assert_eq!(client.head().await.0, 101);
            for text in ["one", "two"] {
                client.send(text).await;
                assert_eq!(client.bytes(3).await, text.as_bytes());
            }
            client.io.shutdown().await.unwrap();
            lab.until(|| lab.count("requests_open") == 0).await;
        },
    );
}

#[test]
fn bodies_are_bounded_with_and_without_a_length() {
    on_control(
        |settings| settings.max_control_body_bytes = 1000,
        async |lab, api| {
            let mut told = client(lab).await;
            told.send(format!("POST /drain HTTP/1.1\r\nHost: {CONTROL}\r\nContent-Length: 1001\r\n\r\n")).await;
            assert_eq!(told.answer().await.status, 413);
            assert!(api.heads().is_empty());
            let mut untold = client(lab).await;
            let chunk = "x".repeat(600);
            let head = format!("POST /drain HTTP/1.1\r\nHost: {CONTROL}\r\nTransfer-Encoding: chunked\r\n\r\n");
            untold.send(format!("{head}258\r\n{chunk}\r\n258\r\n{chunk}\r\n")).await;
            assert_eq!(untold.answer().await.status, 413);
            assert_eq!(lab.why().await.0, "body_too_large");
        },
    );
}

/// One address takes all that it may have, and its slow requests are felt by neither another API client nor a visitor.
#[test]
fn slow_api_clients_are_nobody_elses_problem() {
    let change = |settings: &mut Settings| {
        settings.max_control_requests = 8;
        settings.proxy_protocol = vec!["127.0.0.1".to_owned()];
    };
    on_control(change, async |lab, api| {
        let behind = async |address: &str| {
            let mut socket = TcpStream::connect(lab.https()).await.unwrap();
            socket.write_all(format!("PROXY TCP4 {address} 10.0.0.1 1 443\r\n").as_bytes()).await.unwrap();
            let name = rustls::pki_types::ServerName::try_from(CONTROL).unwrap();
            let io = support::client::tls(lab, &[b"http/1.1"]).connect(name, socket).await.unwrap();
            H1 { io, rest: Vec::new() }
        };
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut client = behind("192.0.2.7").await;
            client.send(format!("GET /held HTTP/1.1\r\nHost: {CONTROL}\r\n\r\n")).await;
            held.push(client);
        }
        lab.until(|| api.heads().len() == 2).await;
        let refused = get(&mut behind("192.0.2.7").await, "/", "").await;
        assert_eq!((refused.status, refused.value("retry-after").as_deref()), (503, Some("1")));
        assert_eq!(get(&mut behind("192.0.2.8").await, "/", "").await.status, 200);
        lab.connector().await;
        let mut visitor = TcpStream::connect(lab.http()).await.unwrap();
        let request = format!("PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        visitor.write_all(request.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        tokio::time::timeout(SOON, visitor.read_to_end(&mut seen)).await.unwrap().unwrap();
        assert!(seen.starts_with(b"HTTP/1.1 200"));
        api.go.add_permits(2);
        for client in &mut held {
            assert_eq!(client.answer().await.text(), "held");
        }
        assert_eq!(get(&mut behind("192.0.2.7").await, "/", "").await.status, 200, "its places are free again");
        // Who leaves gives its place back, and the API hears of it.
        let mut leaving = behind("192.0.2.7").await;
        leaving.send(format!("GET /held HTTP/1.1\r\nHost: {CONTROL}\r\n\r\n")).await;
        lab.until(|| lab.count("requests_open") == 1).await;
        drop(leaving);
        lab.until(|| lab.count("requests_open") == 0).await;
        a_moment().await;
    });
}
