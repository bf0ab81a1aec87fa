//! The frames of a WebSocket as its server reads and writes them (RFC 6455 5), without I/O. Payload passes as it comes: no message is
//! gathered, so that one of any size takes no memory. Text counts as data, as nothing here is a message to anybody.

use bytes::{Buf, Bytes, BytesMut};

/// Ends a WebSocket (5.5.1).
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const BINARY: u8 = 2;
/// Of a frame that is no message (5.5).
const MAX_CONTROL: u64 = 125;

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Data(Bytes),
    /// To be answered with the same bytes.
    Ping(Bytes),
    Close,
}

#[derive(Clone, Copy)]
enum Kind {
    Data,
    Ping,
    Pong,
    Close,
}

/// The frame that is being read.
struct Open {
    kind: Kind,
    left: u64,
    mask: [u8; 4],
}

/// Reads a client's frames.
#[derive(Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
    frame: Option<Open>,
    /// A message has begun and its last frame has not come.
    in_message: bool,
}

impl Decoder {
    /// Takes what came.
    pub(super) fn feed(&mut self, data: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = data.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        } else {
            self.buffer.extend_from_slice(&data);
        }
    }

    /// True between two frames.
    pub(super) fn is_between(&self) -> bool {
        self.frame.is_none() && self.buffer.is_empty()
    }

    /// The next thing said; `None`: more must be fed. An error: what is wrong with the frames.
    pub(super) fn next(&mut self) -> Result<Option<Said>, &'static str> {
        loop {
            let Some(frame) = &mut self.frame else {
                match self.read_head()? {
                    Some(frame) => self.frame = Some(frame),
                    None => return Ok(None),
                }
                continue;
            };
            let is_control = !matches!(frame.kind, Kind::Data);
            let here = self.buffer.len().min(usize::try_from(frame.left).unwrap_or(usize::MAX));
            if (is_control && here as u64 != frame.left) || (here == 0 && frame.left > 0) {
                return Ok(None);
            }
            let mut payload = self.buffer.split_to(here);
            unmask(&mut payload, frame.mask);
            frame.mask.rotate_left(here % 4);
            frame.left -= here as u64;
            let kind = frame.kind;
            if frame.left == 0 {
                self.frame = None;
            }
            match kind {
                Kind::Data if payload.is_empty() => {}
                Kind::Data => return Ok(Some(Said::Data(payload.freeze()))),
                Kind::Ping => return Ok(Some(Said::Ping(payload.freeze()))),
                Kind::Pong => {}
                Kind::Close => return Ok(Some(Said::Close)),
            }
        }
    }

    fn read_head(&mut self) -> Result<Option<Open>, &'static str> {
        let [first, second, rest @ ..] = &self.buffer[..] else { return Ok(None) };
        let (is_last, opcode, length) = (first & 0x80 != 0, first & 0x0f, second & 0x7f);
        if first & 0x70 != 0 {
            return Err("a WebSocket frame with a reserved bit");
        }
        if second & 0x80 == 0 {
            return Err("a WebSocket frame of a client without a mask");
        }
        let extended = match length {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let (Some(size), Some(mask)) = (rest.get(..extended), rest.get(extended..extended + 4)) else {
            return Ok(None);
        };
        let left = match extended {
            0 => u64::from(length),
            _ => size.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        if left >> 63 != 0 {
            return Err("a WebSocket frame of an impossible length");
        }
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        let kind = match opcode {
            0 if !self.in_message => return Err("a WebSocket continuation without its message"),
            1 | 2 if self.in_message => return Err("a WebSocket message within another"),
            0..=2 => Kind::Data,
            CLOSE..=PONG if !is_last || left > MAX_CONTROL => return Err("a WebSocket control frame in pieces"),
            CLOSE => Kind::Close,
            PING => Kind::Ping,
            PONG => Kind::Pong,
            _ => return Err("a WebSocket frame of an unknown kind"),
        };
        if matches!(kind, Kind::Data) {
            self.in_message = !is_last;
        }
        self.buffer.advance(2 + extended + 4);
        Ok(Some(Open { kind, left, mask }))
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let mut words = payload.chunks_exact_mut(4);
    let word = u32::from_ne_bytes(mask);
    for four in &mut words {
        let masked = u32::from_ne_bytes([four[0], four[1], four[2], four[3]]);
        four.copy_from_slice(&(masked ^ word).to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// A server's frame of data.
pub(super) fn data(payload: &[u8]) -> Bytes {
    frame(BINARY, payload)
}

/// A question whether the client is there.
pub(super) fn ping() -> Bytes {
    frame(PING, b"")
}

/// The answer to a ping.
pub(super) fn pong(payload: &[u8]) -> Bytes {
    frame(PONG, payload)
}

/// The end, for no bad reason (7.4.1: 1000).
pub(super) fn close() -> Bytes {
    frame(CLOSE, &1000u16.to_be_bytes())
}

fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(payload.len() + 10);
    let length = payload.len() as u64;
    frame.extend_from_slice(&[0x80 | opcode]);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if u64::from(short) <= MAX_CONTROL => frame.extend_from_slice(&[short]),
        (_, Ok(medium)) => {
            frame.extend_from_slice(&[126]);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            frame.extend_from_slice(&[127]);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(decoder: &mut Decoder) -> Result<Vec<Said>, &'static str> {
        let mut said = Vec::new();
        while let Some(one) = decoder.next()? {
            said.push(one);
        }
        Ok(said)
    }

    /// A client's frame.
    fn masked(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            n @ 0..=125 => out.push(0x80 | n as u8),
            n @ 126..=0xffff => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(n as u16).to_be_bytes());
            }
            n => {
                out.push(0x80 | 127);
                out.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&mask);
        out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        out
    }

    #[test]
    fn what_breaks_the_protocol_is_named() {
        for (bytes, why) in [
            (&[0xc2, 0x80, 0, 0, 0, 0][..], "reserved bit"),
            (&[0x82, 0x00], "without a mask"),
            (&[0x80, 0x80, 0, 0, 0, 0], "without its message"),
            (&[0x02, 0x80, 0, 0, 0, 0, 0x82, 0x80, 0, 0, 0, 0], "within another"),
            (&[0x09, 0x80, 0, 0, 0, 0], "in pieces"),
            (&[0x89, 0xfe, 0, 200, 0, 0, 0, 0], "in pieces"),
            (&[0x83, 0x80, 0, 0, 0, 0], "unknown kind"),
            (&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "impossible length"),
        ] {
            let mut decoder = Decoder::default();
            decoder.feed(Bytes::copy_from_slice(bytes));
            assert!(all(&mut decoder).unwrap_err().contains(why), "{why}");
        }
    }

    #[test]
    fn a_frame_of_a_server_has_its_length_in_the_shortest_form() {
        assert_eq!(data(&[7; 125])[..2], [0x82, 125]);
        assert_eq!(data(&[7; 126])[..4], [0x82, 126, 0, 126]);
        assert_eq!(data(&[7; 65536])[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(
            (&close()[..], &ping()[..], &pong(b"x")[..]),
            (&b"\x88\x02\x03\xe8"[..], &b"\x89\0"[..], &b"\x8a\x01x"[..])
        );
    }

    proptest! {
        #[test]
        fn data_arrives_whole_however_it_is_framed_masked_and_cut(
            messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<[u8; 4]>(), any::<bool>()), 0..8),
            cut in 1usize..50,
        ) {
            let (mut wire, mut sent, mut in_message) = (Vec::new(), Vec::new(), false);
            for (payload, mask, is_last) in &messages {
                wire.extend(masked(u8::from(*is_last) << 7 | if in_message { 0 } else { 2 }, *mask, payload));
                wire.extend(masked(0x89, *mask, b"are you there"));
                in_message = !is_last;
                sent.extend_from_slice(payload);
            }
            wire.extend(masked(0x88, [1, 2, 3, 4], b"\x03\xe8"));
            let (mut decoder, mut got, mut pings, mut closed) = (Decoder::default(), Vec::new(), 0, false);
            for piece in wire.chunks(cut) {
                decoder.feed(Bytes::copy_from_slice(piece));
                for said in all(&mut decoder).unwrap() {
                    match said {
                        Said::Data(data) => got.extend_from_slice(&data),
                        Said::Ping(payload) => { prop_assert_eq!(&payload[..], b"are you there"); pings += 1 }
                        Said::Close => closed = true,
                    }
                }
            }
            prop_assert_eq!(got, sent);
            prop_assert_eq!((pings, closed, decoder.is_between()), (messages.len(), true, true));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.feed(bytes.into());
            let _ = all(&mut decoder);
        }
    }
}
