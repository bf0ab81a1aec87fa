//! Bare clients: bytes over TCP or TLS, and the `h2` crate.

use super::{HOST, Lab, SOON};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub fn tls(lab: &Lab, alpn: &[&[u8]]) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(lab.ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|a| a.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

pub async fn dial_as(lab: &Lab, name: &str, alpn: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(lab.https()).await.unwrap();
    let _ = socket.set_nodelay(true);
    tls(lab, alpn).connect(ServerName::try_from(name.to_owned()).unwrap(), socket).await
}

/// One HTTP/1 answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// The message ended where its framing says.
    pub whole: bool,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub fn values(&self, name: &str) -> Vec<String> {
        let lines = self.head.lines().skip(1).filter_map(|l| l.split_once(": ").or_else(|| l.split_once(":")));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned()).collect()
    }
    pub fn value(&self, name: &str) -> Option<String> {
        self.values(name).into_iter().next()
    }
}

/// An HTTP/1 connection.
pub struct H1<S> {
    pub io: S,
    pub rest: Vec<u8>,
}

pub trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

pub async fn h1(lab: &Lab) -> H1<TlsStream<TcpStream>> {
    H1 { io: dial_as(lab, HOST, &[b"http/1.1"]).await.unwrap(), rest: Vec::new() }
}

pub async fn plain(lab: &Lab) -> H1<TcpStream> {
    H1 { io: TcpStream::connect(lab.http()).await.unwrap(), rest: Vec::new() }
}

impl<S: Io> H1<S> {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
        self.io.flush().await.unwrap();
    }

    pub async fn get(&mut self, target: &str) -> Answer {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        self.answer().await
    }

    async fn more(&mut self) -> usize {
        let mut buffer = vec![0; 65536];
        match timeout(SOON, self.io.read(&mut buffer)).await.expect("no bytes came") {
            Ok(n) => {
                self.rest.extend_from_slice(&buffer[..n]);
                n
            }
            Err(_) => 0,
        }
    }

    /// A head, up to its empty line.
    pub async fn head(&mut self) -> (u16, String) {
        loop {
            if let Some(at) = self.rest.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<u8> = self.rest.drain(..at + 4).collect();
                let head = String::from_utf8_lossy(&head).into_owned();
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                return (status, head);
            }
            assert!(self.more().await > 0, "closed before a head: {:?}", String::from_utf8_lossy(&self.rest));
        }
    }

    pub async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    pub async fn answer_to(&mut self, method: &str) -> Answer {
        let (status, head) = self.head().await;
        let mut answer = Answer { status, head, body: Vec::new(), whole: true };
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return answer;
        }
        if let Some(length) = answer.value("content-length") {
            let length: usize = length.parse().unwrap();
            while self.rest.len() < length {
                if self.more().await == 0 {
                    answer.whole = false;
                    break;
                }
            }
            let n = length.min(self.rest.len());
            answer.body = self.rest.drain(..n).collect();
        } else if answer.value("transfer-encoding").is_some() {
            loop {
                let Some(line) = self.line().await else {
                    answer.whole = false;
                    break;
                };
                let n = usize::from_str_radix(&line, 16).unwrap();
                if n == 0 {
                    // Trailers are appended to the head for `values`.
                    while let Some(line) = self.line().await {
                        if line.is_empty() {
                            return answer;
                        }
                        answer.head.push_str(&format!("{line}\r\n"));
                    }
                    answer.whole = false;
                    break;
                }
                while self.rest.len() < n + 2 {
                    if self.more().await == 0 {
                        answer.whole = false;
                        return answer;
                    }
                }
                answer.body.extend(self.rest.drain(..n));
                self.rest.drain(..2);
            }
        } else {
            while self.more().await > 0 {}
            answer.body = std::mem::take(&mut self.rest);
        }
        answer
    }

    pub async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.rest.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.rest.drain(..at + 2).collect();
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if self.more().await == 0 {
                return None;
            }
        }
    }

    /// Exactly so many bytes.
    pub async fn bytes(&mut self, n: usize) -> Vec<u8> {
        while self.rest.len() < n {
            assert!(self.more().await > 0, "closed early");
        }
        self.rest.drain(..n).collect()
    }

    /// Everything until the connection ends.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        std::mem::take(&mut self.rest)
    }
}

/// An HTTP/2 connection.
pub async fn h2(lab: &Lab) -> SendRequest<Bytes> {
    h2_as(lab, HOST).await
}

pub async fn h2_as(lab: &Lab, name: &str) -> SendRequest<Bytes> {
    let io = dial_as(lab, name, &[b"h2"]).await.unwrap();
    assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (requests, connection) =
        h2::client::Builder::new().initial_connection_window_size(1 << 24).handshake(io).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    requests.ready().await.unwrap()
}

pub fn request(method: &str, target: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("https://{HOST}{target}")).version(http::Version::HTTP_2)
}

/// One HTTP/2 answer.
#[derive(Debug)]
pub struct H2Answer {
    pub head: Response<()>,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    pub error: Option<h2::Error>,
}

impl H2Answer {
    pub fn status(&self) -> u16 {
        self.head.status().as_u16()
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub async fn read(response: h2::client::ResponseFuture) -> Result<H2Answer, h2::Error> {
    let response = timeout(SOON, response).await.expect("no answer came")?;
    let (parts, mut body) = response.into_parts();
    let mut answer = H2Answer { head: Response::from_parts(parts, ()), body: Vec::new(), trailers: None, error: None };
    loop {
        match timeout(SOON, body.data()).await.expect("no data came") {
            Some(Ok(data)) => {
                let _ = body.flow_control().release_capacity(data.len());
                answer.body.extend_from_slice(&data);
            }
            Some(Err(error)) => {
                answer.error = Some(error);
                return Ok(answer);
            }
            None => break,
        }
    }
    match timeout(SOON, body.trailers()).await.expect("no end came") {
        Ok(trailers) => answer.trailers = trailers,
        Err(error) => answer.error = Some(error),
    }
    Ok(answer)
}

/// A request without body.
pub async fn ask(requests: &SendRequest<Bytes>, request: Request<()>) -> Result<H2Answer, h2::Error> {
    let mut requests = requests.clone().ready().await?;
    let (response, _) = requests.send_request(request, true)?;
    read(response).await
}

/// A request with a body in one piece and perhaps trailers.
pub async fn post(
    requests: &SendRequest<Bytes>,
    request: Request<()>,
    body: impl Into<Bytes>,
    trailers: Option<HeaderMap>,
) -> Result<H2Answer, h2::Error> {
    let mut requests = requests.clone().ready().await?;
    let (response, mut stream) = requests.send_request(request, false)?;
    let mut body: Bytes = body.into();
    let sending = async move {
        while !body.is_empty() {
            stream.reserve_capacity(body.len());
            match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(n)) => {
                    if stream.send_data(body.split_to(n.min(body.len())), false).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
        let _ = match trailers {
            Some(trailers) => stream.send_trailers(trailers),
            None => stream.send_data(Bytes::new(), true),
        };
    };
    let (answer, ()) = tokio::join!(read(response), sending);
    answer
}

/// A short pause in which something that must not happen could.
pub async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(150)).await;
}
