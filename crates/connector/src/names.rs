//! Names of edges to addresses: nothing is kept, each round asks anew, so that an edge that moved is found.

use crate::settings::NameServer;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::{Resolver, TokioResolver};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::timeout;

/// For a service, which may well not be there.
const SERVICE_PATIENCE: Duration = Duration::from_secs(3);
const OVER_TLS_PATIENCE: Duration = Duration::from_secs(5);
const ONE_ANSWER: Duration = Duration::from_secs(2);

/// Who is asked for names.
pub(crate) struct Names {
    /// In place of the system's resolver.
    server: Option<SocketAddr>,
    /// Where the system's resolver finds no service.
    over_tls: Option<NameServer>,
    roots: OnceLock<Option<Arc<rustls::ClientConfig>>>,
}

impl Names {
    pub(crate) fn new(server: Option<SocketAddr>, over_tls: Option<NameServer>) -> Self {
        Self { server, over_tls, roots: OnceLock::new() }
    }

    /// TLS by the system's roots; `None` where there are none.
    pub(crate) fn system_tls(&self) -> Option<Arc<rustls::ClientConfig>> {
        self.roots.get_or_init(|| qanat_transport::connector_tls(None).ok()).clone()
    }

    /// Hosts and ports of a service, best first; nothing where it isn't known.
    pub(crate) async fn service(&self, name: &str) -> Vec<(String, u16)> {
        let found = timeout(SERVICE_PATIENCE, look_up(self.plain(), name)).await.unwrap_or_default();
        match self.encrypted() {
            Some(resolver) if found.is_empty() => {
                timeout(OVER_TLS_PATIENCE, look_up(Some(resolver), name)).await.unwrap_or_default()
            }
            _ => found,
        }
    }

    /// The addresses of a host, or why there are none.
    pub(crate) async fn addresses(&self, host: &str, port: u16, patience: Duration) -> Result<Vec<SocketAddr>, String> {
        let failed = |why: String| format!("can't resolve {host}:{port}: {why}");
        let found = timeout(patience, self.ask(host, port)).await.map_err(|_| failed("no answer".into()))?;
        let found = found.map_err(failed)?;
        if found.is_empty() { Err(failed("no address".into())) } else { Ok(found) }
    }

    async fn ask(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        if self.server.is_none() || host.parse::<std::net::IpAddr>().is_ok() {
            return Ok(lookup_host((host, port)).await.map_err(|error| error.to_string())?.collect());
        }
        let resolver = self.plain().ok_or("the name server can't be used")?;
        let found = resolver.lookup_ip(rooted(host)).await.map_err(|error| error.to_string())?;
        Ok(found.iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    fn plain(&self) -> Option<TokioResolver> {
        let mut builder = match self.server {
            None => TokioResolver::builder_tokio().ok()?,
            Some(server) => {
                let by_port = |mut connection: ConnectionConfig| {
                    connection.port = server.port();
                    connection
                };
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(by_port).into();
                builder(NameServerConfig::new(server.ip(), true, connections))
            }
        };
        keep_nothing(builder.options_mut());
        // A resolver makes a configuration of its own unless it is given one, and this one never uses it.
        builder.with_tls_config(no_roots()?).build().ok()
    }

    fn encrypted(&self) -> Option<TokioResolver> {
        let server = self.over_tls.as_ref()?;
        let mut connection = ConnectionConfig::tls(server.name.as_str().into());
        connection.port = server.address.port();
        let mut builder = builder(NameServerConfig::new(server.address.ip(), true, vec![connection]));
        keep_nothing(builder.options_mut());
        builder.with_tls_config((*self.system_tls()?).clone()).build().ok()
    }
}

fn builder(server: NameServerConfig) -> hickory_resolver::ResolverBuilder<TokioRuntimeProvider> {
    let config = ResolverConfig::from_name_servers(vec![server]);
    Resolver::builder_with_config(config, TokioRuntimeProvider::default())
}

fn keep_nothing(options: &mut ResolverOpts) {
    options.cache_size = 0;
    options.timeout = ONE_ANSWER;
    options.use_hosts_file = ResolveHosts::Never;
    options.try_tcp_on_error = true;
}

fn no_roots() -> Option<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

/// No search domain is added to it.
fn rooted(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

async fn look_up(resolver: Option<TokioResolver>, name: &str) -> Vec<(String, u16)> {
    let Some(resolver) = resolver else { return Vec::new() };
    let Ok(found) = resolver.srv_lookup(rooted(name)).await else { return Vec::new() };
    let mut targets: Vec<_> = found
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            // A lone dot says that there is no such service (RFC 2782).
            RData::SRV(service) if !service.target.is_root() => {
                let host = service.target.to_ascii().trim_end_matches('.').to_ascii_lowercase();
                Some((service.priority, u16::MAX - service.weight, host, service.port))
            }
            _ => None,
        })
        .collect();
    // The same for all connections of a connector, so that they spread over the targets.
    targets.sort();
    targets.into_iter().map(|(_, _, host, port)| (host, port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use qanat_transport::{Trust, edge_tls};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UdpSocket};
    use tokio_rustls::TlsAcceptor;

    const SERVICE: &str = "_edge._tcp.example.test";
    const NAME: &str = "dns.example.test";

    /// The answer to a question about a service: two targets, the better one last.
    fn answer(question: &[u8]) -> Vec<u8> {
        let name = question[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
        let mut answer = question[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0]);
        answer.extend(&question[12..12 + name + 4]);
        for (priority, host) in [(2, b'b'), (1, b'a')] {
            answer.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 22, 0, priority, 0, 0, 0x1e, 0xa4]);
            answer.extend([1, host, 7]);
            answer.extend(b"example\x04test\x00");
        }
        answer
    }

    /// A name server over TLS (RFC 7858), and the certificate that it shows.
    async fn over_tls() -> (SocketAddr, String) {
        let certificate = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let (pem, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
        let acceptor = TlsAcceptor::from(edge_tls(pem.as_bytes(), key.as_bytes()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                while let Ok(length) = stream.read_u16().await {
                    let mut question = vec![0; length.into()];
                    stream.read_exact(&mut question).await.unwrap();
                    let answer = answer(&question);
                    stream.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                    stream.flush().await.unwrap();
                }
            }
        });
        (address, pem)
    }

    /// The host's own, that knows nothing of it.
    async fn knows_nothing() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((_, from)) = socket.recv_from(&mut buffer).await {
                buffer[2..12].copy_from_slice(&[0x81, 0x83, 0, 1, 0, 0, 0, 0, 0, 0]);
                let name = buffer[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
                socket.send_to(&buffer[..12 + name + 4], from).await.unwrap();
            }
        });
        address
    }

    async fn names(server_name: &str) -> Names {
        let (address, pem) = over_tls().await;
        let over_tls = NameServer { address, name: server_name.to_owned() };
        let names = Names::new(Some(knows_nothing().await), Some(over_tls));
        let tls = qanat_transport::connector_tls(Trust::Only(pem.as_bytes())).unwrap();
        names.roots.set(Some(tls)).unwrap();
        names
    }

    #[tokio::test]
    async fn a_service_that_the_hosts_resolver_does_not_know_is_asked_for_over_tls() {
        let found = names(NAME).await.service(SERVICE).await;
        assert_eq!(found, [("a.example.test".to_owned(), 7844), ("b.example.test".to_owned(), 7844)]);
    }

    #[tokio::test]
    async fn a_name_server_that_shows_another_name_is_not_believed() {
        assert_eq!(names("other.example.test").await.service(SERVICE).await, []);
    }
}
