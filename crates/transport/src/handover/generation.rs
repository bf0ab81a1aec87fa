//! Which process of an edge this is, and the secret that all of them share.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, Tag, sign};

/// Bytes of an id that are signed: the number, and a nonce.
pub(super) const SIGNED: usize = 4;
/// Bytes of a secret.
const SECRET: usize = 32;
const MAGIC: [u8; 8] = *b"qanat \x00\x01";
/// Bytes by which a process introduces itself.
pub(super) const HELLO: usize = MAGIC.len() + 1 + SECRET;

/// One process of an edge, as its connection ids tell it from those before and after.
#[derive(Clone)]
pub struct Generation {
    number: u8,
    secret: [u8; SECRET],
    key: Key,
}

impl Generation {
    fn new(number: u8, secret: [u8; SECRET]) -> Self {
        Self { number, secret, key: Key::new(HMAC_SHA256, &secret) }
    }

    /// Of a process that takes nothing over.
    pub fn first() -> Self {
        let mut secret = [0; SECRET];
        // Without randomness there is no TLS either.
        let _ = aws_lc_rs::rand::fill(&mut secret);
        Self::new(0, secret)
    }

    /// Of the process that takes over from this one. After 256 the numbers begin anew.
    pub fn next(&self) -> Self {
        Self::new(self.number.wrapping_add(1), self.secret)
    }

    /// Of several that live, the newest: all others are fewer than 128 behind it.
    pub fn newest<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Option<&'a Self> {
        all.clone().find(|one| all.clone().all(|other| one.number.wrapping_sub(other.number) < 128))
    }

    /// Its number.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// By the secret.
    pub(super) fn sign(&self, what: &[u8]) -> Tag {
        sign(&self.key, what)
    }

    /// What a process says of itself to the one that takes over, on a socket that only these two have.
    pub(super) fn hello(&self) -> Vec<u8> {
        [&MAGIC[..], &[self.number], &self.secret].concat()
    }

    /// Reads it.
    pub(super) fn read(hello: &[u8]) -> Option<Self> {
        let (number, secret) = hello.strip_prefix(&MAGIC)?.split_first()?;
        Some(Self::new(*number, secret.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_found_across_the_end_of_the_numbers() {
        let of = |numbers: &[u8]| {
            let all: Vec<_> = numbers.iter().map(|number| Generation::new(*number, [0; SECRET])).collect();
            Generation::newest(all.iter()).map(Generation::number)
        };
        assert_eq!((of(&[]), of(&[7]), of(&[1, 3, 2]), of(&[254, 0, 255])), (None, Some(7), Some(3), Some(0)));
        assert_eq!(Generation::new(255, [0; SECRET]).next().number(), 0);
    }

    #[test]
    fn a_hello_is_read_and_nothing_else() {
        let one = Generation::first().next();
        let read = Generation::read(&one.hello()).unwrap();
        assert_eq!((read.number, read.secret), (one.number, one.secret));
        for bad in [&[][..], &MAGIC, &one.hello()[1..], &one.hello()[..HELLO - 1], &[one.hello(), vec![0]].concat()] {
            assert!(Generation::read(bad).is_none());
        }
    }
}
