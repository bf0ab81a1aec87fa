//! The two heads written straight into one segment of known size: the same layout that every Cap'n Proto writer gives for them
//! (struct, text, list of pairs, each pair's texts in order), without a builder. Tests hold it against the library and the
//! recorded bytes.

use bytes::{BufMut, BytesMut};

const WORD: usize = 8;

/// A text made of parts.
type Parts<'a> = &'a [&'a [u8]];

/// One metadata pair to write; the key is `prefix` and `name` together.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// First part of the key.
    pub prefix: &'a [u8],
    /// Second part of the key.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

fn text_words(len: usize) -> usize {
    (len + 1).div_ceil(WORD)
}

/// Writes the message of a struct with `data_words` words of data (the first one given) and two pointers: a text (absent when it
/// has no byte) and the list of pairs. The caller reserved nothing; the message is appended to `out`.
pub(crate) fn message(out: &mut BytesMut, data: Option<u64>, text: Parts<'_>, pairs: &[Pair<'_>]) {
    let text_len: usize = text.iter().map(|p| p.len()).sum();
    let data_words = usize::from(data.is_some());
    let text_size = if text_len == 0 { 0 } else { text_words(text_len) };
    let list_size = 1 + 2 * pairs.len();
    let strings: usize =
        pairs.iter().map(|p| text_words(p.prefix.len() + p.name.len()) + text_words(p.value.len())).sum();
    let words = 1 + data_words + 2 + text_size + list_size + strings;
    out.reserve(WORD + words * WORD);

    out.put_u32_le(0);
    out.put_u32_le(words as u32);
    out.put_u64_le((data_words as u64) << 32 | 2 << 48);
    if let Some(data) = data {
        out.put_u64_le(data);
    }
    // Pointers count from the word after them.
    out.put_u64_le(if text_len == 0 { 0 } else { list_pointer(1, 2, text_len + 1) });
    out.put_u64_le(list_pointer(text_size, 7, 2 * pairs.len()));
    if text_len > 0 {
        put_text(out, text);
    }
    // Tag of the inline composite list: count, and no data and two pointers each.
    out.put_u64_le((pairs.len() as u64) << 2 | 2 << 48);
    let mut ahead = 2 * pairs.len();
    for pair in pairs {
        let (key, value) = (pair.prefix.len() + pair.name.len(), pair.value.len());
        out.put_u64_le(list_pointer(ahead - 1, 2, key + 1));
        out.put_u64_le(list_pointer(ahead - 2 + text_words(key), 2, value + 1));
        ahead = ahead - 2 + text_words(key) + text_words(value);
    }
    for pair in pairs {
        put_text(out, &[pair.prefix, pair.name]);
        put_text(out, &[pair.value]);
    }
}

fn list_pointer(offset: usize, element: u64, count: usize) -> u64 {
    1 | (offset as u64) << 2 | element << 32 | (count as u64) << 35
}

fn put_text(out: &mut BytesMut, parts: Parts<'_>) {
    let len: usize = parts.iter().map(|p| p.len()).sum();
    for part in parts {
        out.put_slice(part);
    }
    out.put_bytes(0, text_words(len) * WORD - len);
}
