//! `unix:PATH` and `unix+tls:PATH`: HTTP over a socket file. The file is looked up at each dial, so that a replaced socket is
//! used from the next new connection on.

use crate::origin::Address;

/// Reads the target: the path as written.
pub(super) fn parse_target(target: &str) -> Result<Address, String> {
    match target {
        "" => Err("unix: needs the path of a socket".into()),
        path if path.contains('\0') => Err("the path of a socket has no NUL".into()),
        path => Ok(Address::Unix(path.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_as_written() {
        assert_eq!(parse_target("/run/my app.sock"), Ok(Address::Unix("/run/my app.sock".into())));
        assert!(parse_target("").is_err());
        assert!(parse_target("/a\0b").is_err());
    }
}
