//! An input taken apart.

/// The input in two parts: its first byte, and the rest.
pub(crate) fn first(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}
