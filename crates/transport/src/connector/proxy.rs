//! The way out through an HTTP proxy: CONNECT (RFC 9110, 9.3.6).

use bytes::Bytes;
use rustls::pki_types::ServerName;
use std::fmt;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

/// Of a proxy's answer; what is longer is no answer to CONNECT.
const MAX_ANSWER: usize = 16 * 1024;

/// How a proxy is asked for an edge.
#[derive(Clone)]
pub struct ProxyRoute {
    /// The edge, `host:port`: the proxy resolves the name.
    pub authority: String,
    /// Value of Proxy-Authorization (never logged).
    pub authorization: Option<Bytes>,
    /// TLS with the proxy itself, and its name there.
    pub tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
}

impl fmt::Debug for ProxyRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyRoute({})", self.authority)
    }
}

/// Both directions of a connection, whatever it is made of.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl ProxyRoute {
    /// The edge's end of a connection with the proxy, or why there is none, in words for its owner.
    pub(super) async fn open(&self, stream: tokio::net::TcpStream) -> Result<Box<dyn Duplex>, String> {
        let mut stream: Box<dyn Duplex> = match &self.tls {
            None => Box::new(stream),
            Some((tls, name)) => {
                let connected = TlsConnector::from(tls.clone()).connect(name.clone(), stream).await;
                Box::new(connected.map_err(|error| format!("TLS with the proxy failed: {error}"))?)
            }
        };
        let lost = |error: std::io::Error| format!("the proxy ended the connection: {error}");
        stream.write_all(&self.request()).await.map_err(lost)?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            // One by one: what follows is the edge's, and short is what comes before.
            answer.push(stream.read_u8().await.map_err(lost)?);
            if answer.len() > MAX_ANSWER {
                return Err("the proxy's answer is too long".into());
            }
        }
        self.verdict(&answer)?;
        Ok(stream)
    }

    fn request(&self) -> Vec<u8> {
        let mut request = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n", self.authority).into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(authorization);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request
    }

    fn verdict(&self, answer: &[u8]) -> Result<(), String> {
        let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
        match status {
            Some(200..=299) => Ok(()),
            Some(407) if self.authorization.is_none() => {
                Err("the proxy wants a name and a password (407): write HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT"
                    .into())
            }
            Some(407) => Err("the proxy doesn't take the name and password of HTTPS_PROXY (407)".into()),
            Some(status @ 100..=999) => Err(format!("the proxy refuses CONNECT to {} ({status})", self.authority)),
            _ => Err("what answers at the proxy's address is no HTTP proxy".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(authorization: Option<&'static str>) -> ProxyRoute {
        let authorization = authorization.map(|text| Bytes::from_static(text.as_bytes()));
        ProxyRoute { authority: "edge.test:7844".into(), authorization, tls: None }
    }

    #[test]
    fn the_edge_is_asked_for_by_its_name_and_the_password_is_only_for_the_proxy() {
        let with = route(Some("Basic dTpw"));
        let request = String::from_utf8(with.request()).unwrap();
        assert_eq!(
            request,
            "CONNECT edge.test:7844 HTTP/1.1\r\nHost: edge.test:7844\r\nProxy-Authorization: Basic dTpw\r\n\r\n"
        );
        assert!(!format!("{with:?}").contains("dTpw"));
        assert!(!String::from_utf8(route(None).request()).unwrap().contains("Authorization"));
    }

    #[test]
    fn a_refusal_of_the_proxy_is_told_in_words() {
        let told = |answer: &str, with| route(with).verdict(answer.as_bytes());
        assert_eq!(told("HTTP/1.1 200 Connection established\r\n\r\n", None), Ok(()));
        assert_eq!(told("HTTP/1.0 200 OK\r\n\r\n", None), Ok(()));
        for (answer, with, words) in [
            ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", None, "wants a name and a password"),
            ("HTTP/1.1 407 No\r\n\r\n", Some("Basic x"), "doesn't take the name"),
            ("HTTP/1.1 403 Forbidden\r\n\r\n", None, "refuses CONNECT to edge.test:7844 (403)"),
            ("SSH-2.0-OpenSSH\r\n\r\n", None, "no HTTP proxy"),
            ("HTTP/1.1 2\r\n\r\n", None, "no HTTP proxy"),
        ] {
            let why = told(answer, with).unwrap_err();
            assert!(why.contains(words) && !why.contains("Basic"), "{why}");
        }
    }
}
