//! Connection ids that say which process holds the connection: its generation's number, a nonce, and a signature of both, so that
//! nobody else can make one. A peer's first packets carry ids of its own making: they are nobody's.

use super::generation::{Generation, SIGNED};
use aws_lc_rs::hmac::{HMAC_SHA256, Key};
use quinn::EndpointConfig;
use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of an id.
pub(super) const LENGTH: usize = SIGNED + SIGNATURE;
const SIGNATURE: usize = 5;

/// Makes ids of one generation.
pub(super) struct Ids(pub(super) Generation);

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; LENGTH];
        id[0] = self.0.number();
        // Without randomness ids repeat; `quinn` makes another then, and no packet is let in by an id.
        let _ = aws_lc_rs::rand::fill(&mut id[1..SIGNED]);
        let signature = signature(&self.0, &id);
        id[SIGNED..].copy_from_slice(&signature);
        ConnectionId::new(&id)
    }

    /// Those of other generations are known as well: a process that is gone left them behind, and who still uses them shall hear of
    /// it by a stateless reset.
    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        if is_signed(&self.0, id) { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Connections get ids of this generation. The key of stateless resets is that of all of them: who uses an id of a process that is gone
/// hears of it from the next, and needn't wait for its idle timeout.
pub(crate) fn mark(generation: &Generation, mut config: EndpointConfig) -> EndpointConfig {
    let resets = generation.sign(b"stateless resets");
    let own = generation.clone();
    config.reset_key(Arc::new(Key::new(HMAC_SHA256, resets.as_ref())));
    config.cid_generator(move || Box::new(Ids(own.clone())));
    config
}

/// `id`: at least the part that is signed.
fn signature(generation: &Generation, id: &[u8]) -> [u8; SIGNATURE] {
    let tag = generation.sign(&id[..SIGNED]);
    let mut signature = [0; SIGNATURE];
    signature.copy_from_slice(&tag.as_ref()[..SIGNATURE]);
    signature
}

/// Whether a process that shares the generation's secret made it.
fn is_signed(generation: &Generation, id: &[u8]) -> bool {
    id.len() == LENGTH && id[SIGNED..] == signature(generation, id)
}

/// Whether a process of this generation made it.
pub(super) fn is_of(generation: &Generation, id: &[u8]) -> bool {
    id.first() == Some(&generation.number()) && is_signed(generation, id)
}

/// Whose connection a packet is for (RFC 8999 5); `None`: it is too short to say.
pub(super) fn destination(packet: &[u8]) -> Option<&[u8]> {
    const LONG: u8 = 0x80;
    if packet.first()? & LONG == 0 {
        return packet.get(1..=LENGTH);
    }
    let length = usize::from(*packet.get(5)?);
    packet.get(6..6 + length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn long(id: &[u8]) -> Vec<u8> {
        [&[0xc0, 0, 0, 0, 1, id.len() as u8][..], id, &[0; 30]].concat()
    }

    #[test]
    fn an_id_is_of_its_generation_and_can_be_made_by_no_other() {
        let first = Generation::first();
        let (second, stranger) = (first.next(), Generation::first());
        let id = Ids(first.clone()).generate_cid();
        assert!(is_of(&first, &id) && !is_of(&second, &id) && !is_of(&stranger, &id));
        assert!(Ids(second.clone()).validate(&id).is_ok() && Ids(stranger).validate(&id).is_err());
        for at in 0..LENGTH {
            let mut forged = id.to_vec();
            forged[at] ^= 1;
            assert!(!is_of(&first, &forged) && !is_of(&second, &forged));
        }
        assert!(
            !is_of(&first, &id[..LENGTH - 1])
                && !is_of(&first, &[])
                && !is_of(&first, &[id.to_vec(), vec![0]].concat())
        );
    }

    #[test]
    fn a_packet_of_either_form_tells_its_destination() {
        let id = Ids(Generation::first()).generate_cid();
        assert_eq!(destination(&[&[0x40], &id[..], &[1, 2, 3]].concat()), Some(&id[..]));
        assert_eq!(destination(&long(&id)), Some(&id[..]));
        assert_eq!(destination(&long(&[7; 20])), Some(&[7; 20][..]), "a client's own");
        assert_eq!(destination(&long(&[])), Some(&[][..]));
        assert_eq!(destination(&[0xc0, 0, 0, 0, 1, 255, 1]), None);
        assert_eq!(destination(&[0x40, 1, 2]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_none_are_ours(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let first = Generation::first();
            if let Some(id) = destination(&bytes) {
                prop_assert!(!is_of(&first, id));
            }
        }
    }
}
