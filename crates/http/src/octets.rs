//! Which bytes may stand where, the same for every version and transport.

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        table[b] = matches!(b as u8,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z');
        b += 1;
    }
    table
};

pub(crate) fn is_token_byte(b: u8) -> bool {
    TOKEN[usize::from(b)]
}

/// True for a token: a field name or a method (RFC 9110 5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| is_token_byte(*b))
}

/// True when no byte is a control other than HTAB (RFC 9110 5.5; bytes from 0x80 may stand).
pub fn is_field_value(bytes: &[u8]) -> bool {
    // A fold without early exit: the compiler makes SIMD of it.
    !bytes.iter().fold(false, |bad, &b| bad | ((b < 0x20) & (b != b'\t')) | (b == 0x7f))
}

/// True for `/path?query` or `*`. The bytes are those that every hop can carry unchanged: visible ASCII without `#`, `<`, `>`,
/// without a grave accent in the path and without `"` in the query (RFC 3986 forbids all of them, and HTTP/2's `:path`
/// could not carry them).
pub fn is_target(bytes: &[u8]) -> bool {
    match bytes {
        b"*" => true,
        [b'/', rest @ ..] => {
            let (path, query) = match memchr::memchr(b'?', rest) {
                Some(at) => (&rest[..at], &rest[at + 1..]),
                None => (rest, &[][..]),
            };
            is_visible(path) && is_visible(query) && !path.contains(&b'`') && !query.contains(&b'"')
        }
        _ => false,
    }
}

fn is_visible(bytes: &[u8]) -> bool {
    !bytes.iter().fold(false, |bad, &b| bad | (b <= 0x20) | (b >= 0x7f) | (b == b'#') | (b == b'<') | (b == b'>'))
}

/// True for `host` or `host:port`: letters, digits, `-`, `.`, `_`, or an IPv6 address in brackets. No user information, no
/// empty host, no empty port.
pub fn is_authority(bytes: &[u8]) -> bool {
    let (host_ok, rest) = match bytes {
        [b'[', rest @ ..] => match memchr::memchr(b']', rest) {
            Some(end) => {
                let address = std::str::from_utf8(&rest[..end]).ok();
                (address.is_some_and(|a| a.parse::<std::net::Ipv6Addr>().is_ok()), &rest[end + 1..])
            }
            None => return false,
        },
        _ => {
            let end = memchr::memchr(b':', bytes).unwrap_or(bytes.len());
            let host = &bytes[..end];
            let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            (!host.is_empty() && host.len() <= 255 && host.iter().all(plain), &bytes[end..])
        }
    };
    host_ok
        && match rest {
            [] => true,
            [b':', port @ ..] => {
                (1..=5).contains(&port.len())
                    && port.iter().all(u8::is_ascii_digit)
                    && port.iter().fold(0u32, |n, d| n * 10 + u32::from(d - b'0')) <= 65535
            }
            _ => false,
        }
}

/// Without the colon of an empty port, which says nothing (RFC 3986 3.2.3, 6.2.3).
pub(crate) fn without_empty_port(authority: &[u8]) -> &[u8] {
    match authority {
        [host @ .., b':'] if host.ends_with(b"]") || !host.contains(&b':') => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for good in ["/", "*", "/a%2f..//;x", "/a?b?c=/&\\^{|}`", "/\"{}|^"] {
            assert!(is_target(good.as_bytes()), "{good}");
        }
        for bad in ["", "a", "**", "/a b", "/a#b", "/\u{e9}", "/a\0", "/<", "/?>", "/`", "/?\"", "/\x7f", "/\t"] {
            assert!(!is_target(bad.as_bytes()), "{bad}");
        }
    }

    /// Every target that passes can travel as HTTP/2's `:path` without a change.
    #[test]
    fn targets_fit_http2() {
        for b in 0..=255u8 {
            for target in [[b'/', b, b'x'].as_slice(), &[b'/', b'?', b, b'x']] {
                if is_target(target) {
                    let path = http::uri::PathAndQuery::try_from(target).unwrap();
                    assert_eq!(path.as_str().as_bytes(), target);
                }
            }
        }
    }

    #[test]
    fn authorities() {
        for good in ["a", "A.example.", "a_b.c-d:1", "[::1]", "[::1]:65535", "127.0.0.1:80"] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a:", "a:65536", "a:000080", "a:b", "u@h", "a/b", "a b", "a,b", "[::1", "[::g]", "[]", "a:1:2",
            "*.a", "\u{e9}",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
        for (given, host) in
            [("a:", "a"), ("[::1]:", "[::1]"), ("a:1", "a:1"), ("a:1:", "a:1:"), ("a::", "a::"), (":", "")]
        {
            assert_eq!(without_empty_port(given.as_bytes()), host.as_bytes());
        }
    }
}
