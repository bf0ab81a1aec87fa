//! Which group the key exchange of a QUIC connection took, on the edge's side. quinn tells it under a private feature alone:
//! so the groups themselves note that they were used, and the session that reads the handshake meanwhile takes the note.

use quinn_proto::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError};
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, ProtocolVersion};
use std::any::Any;
use std::cell::Cell;
use std::sync::{Arc, LazyLock};

thread_local! {
    /// The group that last completed a key exchange on this thread. rustls does it while it reads the hello, and at no other time.
    static USED: Cell<Option<NamedGroup>> = const { Cell::new(None) };
}

/// A group that notes its use.
#[derive(Debug)]
struct Noting(&'static dyn SupportedKxGroup);

impl SupportedKxGroup for Noting {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        self.0.start()
    }

    /// All that a server of TLS 1.3 calls, of a hybrid group too.
    fn start_and_complete(&self, peer_pub_key: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let completed = self.0.start_and_complete(peer_pub_key)?;
        USED.set(Some(completed.group));
        Ok(completed)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        self.0.ffdhe_group()
    }

    fn name(&self) -> NamedGroup {
        self.0.name()
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        self.0.usable_for_version(version)
    }
}

/// The default cryptography, with groups that note their use.
pub(crate) fn provider() -> CryptoProvider {
    static GROUPS: LazyLock<Vec<Noting>> =
        LazyLock::new(|| aws_lc_rs::DEFAULT_KX_GROUPS.iter().map(|group| Noting(*group)).collect());
    let kx_groups = GROUPS.iter().map(|group| group as &dyn SupportedKxGroup).collect();
    CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() }
}

/// What a session of `Watching` tells of its handshake.
struct Negotiated(Option<NamedGroup>);

/// The group of a connection that the edge accepted; `None` when none was used, or none that notes it.
pub(crate) fn group(connection: &quinn::Connection) -> Option<NamedGroup> {
    connection.handshake_data()?.downcast::<Negotiated>().ok()?.0
}

/// A configuration whose sessions tell their group, if its cryptography is `provider()`'s.
pub(super) struct Watching<C>(pub(super) Arc<C>);

impl<C: ServerConfig> ServerConfig for Watching<C> {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.0.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.0.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        Box::new(WatchedSession { inner: self.0.clone().start_session(version, params), group: None })
    }
}

struct WatchedSession {
    inner: Box<dyn Session>,
    group: Option<NamedGroup>,
}

impl Session for WatchedSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.inner.handshake_data().map(|_| Box::new(Negotiated(self.group)) as Box<dyn Any>)
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        // What another handshake left, such as one over TCP.
        USED.take();
        let read = self.inner.read_handshake(buf);
        self.group = USED.take().or(self.group);
        read
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.inner.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.inner.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge_tls;
    use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
    use quinn_proto::crypto::ClientConfig as _;
    use rustls::crypto::aws_lc_rs::kx_group;
    use rustls::{ClientConfig, RootCertStore, ServerConfig as TlsConfig};

    fn params(side: Side) -> TransportParameters {
        TransportParameters::read(side, &mut &[][..]).unwrap()
    }

    /// The edge's own, or one that notes nothing.
    fn edge(is_ours: bool) -> Box<dyn Session> {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["edge.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        let mut tls = (*edge_tls(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()).clone();
        if !is_ours {
            tls = TlsConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(tls.cert_resolver);
        }
        tls.alpn_protocols = vec![b"test".to_vec()];
        let config = Watching(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        Arc::new(config).start_session(1, &params(Side::Server))
    }

    fn connector(groups: Vec<&'static dyn SupportedKxGroup>) -> Box<dyn Session> {
        let provider = CryptoProvider { kx_groups: groups, ..aws_lc_rs::default_provider() };
        let mut tls = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"test".to_vec()];
        let config = Arc::new(QuicClientConfig::try_from(tls).unwrap());
        config.start_session(1, "edge.test", &params(Side::Client)).unwrap()
    }

    fn send(from: &mut dyn Session, to: &mut dyn Session) {
        let mut bytes = Vec::new();
        let _ = from.write_handshake(&mut bytes);
        to.read_handshake(&bytes).unwrap();
    }

    fn told(session: &dyn Session) -> Option<NamedGroup> {
        session.handshake_data().unwrap().downcast::<Negotiated>().unwrap().0
    }

    #[test]
    fn a_retried_hello_has_its_own_group_when_another_handshake_comes_between() {
        // The edge has no ML-KEM alone, and asks for P-256.
        let (mut retried, mut its_edge) = (connector(vec![kx_group::MLKEM768, kx_group::SECP256R1]), edge(true));
        let (mut other, mut others_edge) = (connector(vec![kx_group::X25519MLKEM768]), edge(true));
        send(&mut *retried, &mut *its_edge);
        send(&mut *other, &mut *others_edge);
        assert_eq!(told(&*its_edge), None);
        assert_eq!(told(&*others_edge), Some(NamedGroup::X25519MLKEM768));
        send(&mut *its_edge, &mut *retried);
        send(&mut *retried, &mut *its_edge);
        assert_eq!(told(&*its_edge), Some(NamedGroup::secp256r1));
        assert_eq!(told(&*others_edge), Some(NamedGroup::X25519MLKEM768));
    }

    #[test]
    fn a_handshake_that_notes_no_group_gets_none_of_another() {
        let (mut connector, mut edge) = (connector(vec![kx_group::X25519]), edge(false));
        USED.set(Some(NamedGroup::X25519MLKEM768));
        send(&mut *connector, &mut *edge);
        assert_eq!(told(&*edge), None);
    }

    #[test]
    fn the_groups_are_the_defaults_and_say_so_of_themselves() {
        let facts = |provider: CryptoProvider| -> Vec<_> {
            let of = |group: &&'static dyn SupportedKxGroup| {
                let tls12 = group.usable_for_version(ProtocolVersion::TLSv1_2);
                (group.name(), group.fips(), tls12, group.ffdhe_group().is_some())
            };
            provider.kx_groups.iter().map(of).collect()
        };
        assert_eq!(facts(provider()), facts(aws_lc_rs::default_provider()));
    }
}
