//! Heads in the layout that every writer gives them (one segment, no far pointers, texts as bytes, pairs as structs of two pointers), read
//! where they lie. Whatever looks otherwise, a broken one too, is `None` here, and the library's to read or to refuse.

use capnp::Word;

const WORD: usize = size_of::<Word>();

/// The root of a message: a struct of a text and a list of pairs, and perhaps a word of data.
pub(crate) struct Plain<'a> {
    /// 0 where there is none.
    pub(crate) data: u64,
    pub(crate) text: &'a [u8],
    pub(crate) pairs: Pairs<'a>,
}

/// The pairs of a head. The lengths that are told of them were looked at: they lie within the message.
pub(crate) struct Pairs<'a> {
    words: &'a [u8],
    at: usize,
    left: usize,
}

impl<'a> Plain<'a> {
    /// From a whole message; `data_words`: of its root, 0 or 1.
    pub(crate) fn read(message: &'a [u8], data_words: usize) -> Option<Self> {
        let (table, words) = message.split_at_checked(WORD)?;
        if table[..4] != [0; 4] || words.len() % WORD != 0 {
            return None;
        }
        let root = word(words, 0)?;
        // A struct, with so much data and two pointers.
        if root & 3 != 0 || root >> 32 != (data_words as u64) | 2 << 16 {
            return None;
        }
        let at = target(0, root)?;
        let data = if data_words > 0 { word(words, at)? } else { 0 };
        let at = at.checked_add(data_words)?;
        Some(Self { data, text: text(words, at)?, pairs: Pairs::read(words, at.checked_add(1)?)? })
    }
}

impl<'a> Pairs<'a> {
    fn read(words: &'a [u8], at: usize) -> Option<Self> {
        let pointer = word(words, at)?;
        if pointer == 0 {
            return Some(Self { words, at: 0, left: 0 });
        }
        // A list of structs of two pointers each.
        if pointer & 3 != 1 || pointer >> 32 & 7 != 7 {
            return None;
        }
        let tag_at = target(at, pointer)?;
        let tag = word(words, tag_at)?;
        let left = (tag as u32 >> 2) as usize;
        if tag & 3 != 0 || tag >> 32 != 2 << 16 || pointer >> 35 != 2 * left as u64 {
            return None;
        }
        let at = tag_at + 1;
        (0..left).all(|pair| Self::at(words, at + 2 * pair).is_some()).then_some(Self { words, at, left })
    }

    /// The pair there; `None`: it isn't in this layout.
    fn at(words: &'a [u8], at: usize) -> Option<(&'a [u8], &'a [u8])> {
        text(words, at).zip(text(words, at + 1))
    }

    /// How many are left.
    pub(crate) fn len(&self) -> usize {
        self.left
    }
}

impl<'a> Iterator for Pairs<'a> {
    /// Key and value.
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let at = self.at;
        self.at += 2;
        Self::at(self.words, at)
    }
}

fn word(words: &[u8], at: usize) -> Option<u64> {
    let from = at.checked_mul(WORD)?;
    Some(u64::from_le_bytes(words.get(from..from.checked_add(WORD)?)?.try_into().ok()?))
}

/// What a pointer at that word points to.
fn target(at: usize, pointer: u64) -> Option<usize> {
    at.checked_add(1)?.checked_add_signed((pointer as i32 >> 2) as isize)
}

/// The text that is pointed to there, without the NUL at its end.
fn text(words: &[u8], at: usize) -> Option<&[u8]> {
    let pointer = word(words, at)?;
    if pointer == 0 {
        return Some(&[]);
    }
    // A list of bytes.
    if pointer & 3 != 1 || pointer >> 32 & 7 != 2 {
        return None;
    }
    let from = target(at, pointer)?.checked_mul(WORD)?;
    match words.get(from..from.checked_add((pointer >> 35) as usize)?)? {
        [text @ .., 0] => Some(text),
        _ => None,
    }
}
