//! Hostname → tunnel, as DNS answers (RFC 4592): the name itself if it exists; else the wildcard at its closest encloser, the
//! longest name above that exists. What exists without a route stands in the table too, below wildcards.

use crate::error::EdgeError;
use crate::shards::Shards;
use crate::split::{Leads, Sticky};
use crate::traffic::Label;
use bytes::Bytes;
use std::collections::HashSet;
use uuid::Uuid;

type Names = Shards<Box<[u8]>, Leads>;

/// One public hostname (`app.example.com` or `*.example.com`, lower case, punycode, no trailing dot) and its tunnel; or a name
/// that exists in DNS and leads to none, so that no wildcard above answers for it or for what is below it (RFC 4592).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Exact or wildcard.
    pub hostname: String,
    /// The tunnels that answer for it, with their weights; none: nothing does.
    pub targets: Vec<(Uuid, u32)>,
    /// What keeps a visitor with one of several.
    pub sticky: Sticky,
}

impl Route {
    /// To one tunnel, or to none.
    pub fn to(hostname: impl Into<String>, tunnel_id: Option<Uuid>) -> Self {
        let targets = tunnel_id.map(|id| (id, 1)).into_iter().collect();
        Self { hostname: hostname.into(), targets, sticky: Sticky::None }
    }

    fn leads(&self) -> Result<Leads, EdgeError> {
        Leads::new(&self.targets, self.sticky)
            .map_err(|why| EdgeError::RouteConflict(format!("{} {why}", self.hostname)))
    }
}

/// An immutable table of routes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Router {
    exact: Names,
    /// `*.example.com` under `example.com`.
    wildcard: Names,
}

impl Router {
    /// Refuses a hostname that occurs twice or is not normalised.
    pub(crate) fn new(routes: Vec<Route>) -> Result<Self, EdgeError> {
        let mut router = Self::default();
        for route in routes {
            let (table, name) = router.place(&route.hostname)?;
            if table.insert(name.into(), route.leads()?).is_some() {
                return Err(twice(&route.hostname));
            }
        }
        Ok(router)
    }

    /// A table with `put` added or replaced and `remove` gone, whether or not it was there. Refuses a hostname that occurs
    /// twice or is not normalised.
    pub(crate) fn changed(&self, put: &[Route], remove: &[String]) -> Result<Self, EdgeError> {
        let mut router = self.clone();
        let mut seen = HashSet::with_capacity(put.len() + remove.len());
        let mut once = |hostname| if seen.insert(hostname) { Ok(()) } else { Err(twice(hostname)) };
        for hostname in remove {
            once(hostname.as_str())?;
            let (table, name) = router.place(hostname)?;
            table.remove(name);
        }
        for route in put {
            once(route.hostname.as_str())?;
            let (table, name) = router.place(&route.hostname)?;
            table.insert(name.into(), route.leads()?);
        }
        Ok(router)
    }

    /// The table that a hostname belongs to, and its key there.
    fn place<'a>(&mut self, hostname: &'a str) -> Result<(&mut Names, &'a [u8]), EdgeError> {
        let (table, name) = match hostname.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcard, parent),
            None => (&mut self.exact, hostname),
        };
        if !is_hostname(name.as_bytes()) {
            return Err(EdgeError::RouteConflict(format!("{hostname:?} is not a lower-case hostname")));
        }
        Ok((table, name.as_bytes()))
    }

    /// Where requests for a hostname go, and by which route; `host` as `hostname_of` gives it.
    pub(crate) fn find_as(&self, host: &Bytes) -> Option<(Leads, Label)> {
        let (name, is_wildcard, leads) = self.answering(host)?;
        let label = Label { name: host.slice_ref(name), is_wildcard };
        if *leads == Leads::Nowhere { None } else { Some((leads.clone(), label)) }
    }

    /// The entry that decides about a hostname. One without a tunnel: the name itself, or the closest one above it that exists.
    pub(crate) fn route(&self, hostname: &str) -> Option<Route> {
        let hostname = hostname_of(&Bytes::copy_from_slice(hostname.as_bytes()))?;
        let (name, is_wildcard, leads) = self.answering(&hostname)?;
        let star = if is_wildcard { "*." } else { "" };
        let (targets, sticky) = leads.targets();
        Some(Route { hostname: format!("{star}{}", String::from_utf8_lossy(name)), targets, sticky })
    }

    /// The entry that decides: its name without the `*.` of a wildcard, whether it is one, and where it leads.
    fn answering<'a>(&self, host: &'a [u8]) -> Option<(&'a [u8], bool, &Leads)> {
        if let Some(leads) = self.exact.get(host) {
            return Some((host, false, leads));
        }
        if self.wildcard.is_empty() {
            return None;
        }
        let mut rest = host;
        while let Some(dot) = rest.iter().position(|b| *b == b'.') {
            rest = &rest[dot + 1..];
            if let Some(leads) = self.wildcard.get(rest) {
                return Some((rest, true, leads));
            }
            if self.exact.get(rest).is_some() {
                // The closest encloser, and no wildcard below it.
                return Some((rest, false, &Leads::Nowhere));
            }
        }
        None
    }
}

fn twice(hostname: &str) -> EdgeError {
    EdgeError::RouteConflict(format!("{hostname} occurs twice"))
}

/// Labels of letters, digits, `-` and `_`, none empty.
pub(crate) fn is_hostname(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.split(|b| *b == b'.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
        })
}

/// The hostname that an authority names for routing: without port and one trailing dot, lower case. `None`: an IP literal in
/// brackets or something that can't be a hostname.
pub(crate) fn hostname_of(authority: &Bytes) -> Option<Bytes> {
    let (host, _) = split_port(authority)?;
    let end = if host.last() == Some(&b'.') { host.len() - 1 } else { host.len() };
    let name = authority.slice(..end);
    let name = if name.iter().any(u8::is_ascii_uppercase) { name.to_ascii_lowercase().into() } else { name };
    is_hostname(&name).then_some(name)
}

/// An authority's host and its port with the colon (empty: none).
fn split_port(authority: &[u8]) -> Option<(&[u8], &[u8])> {
    match authority.iter().position(|b| *b == b':') {
        None => Some((authority, &[])),
        Some(colon) => {
            let (host, port) = authority.split_at(colon);
            port[1..].iter().all(u8::is_ascii_digit).then_some((host, port))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(hostname: &str, n: u128) -> Route {
        Route::to(hostname, (n != 0).then(|| Uuid::from_u128(n)))
    }

    fn led(router: &Router, host: &[u8]) -> Option<Uuid> {
        match router.find_as(&Bytes::copy_from_slice(host))?.0 {
            Leads::One(only) => Some(only),
            Leads::Nowhere | Leads::Several(_) => None,
        }
    }

    fn find(router: &Router, authority: &'static str) -> Option<u128> {
        hostname_of(&Bytes::from_static(authority.as_bytes())).and_then(|h| led(router, &h)).map(|t| t.as_u128())
    }

    #[test]
    fn exact_beats_the_longest_wildcard_beats_a_shorter_one_and_the_apex_is_no_wildcard() {
        let router = Router::new(vec![
            route("*.example.com", 1),
            route("app.example.com", 2),
            route("*.internal.example.com", 3),
        ])
        .unwrap();
        assert_eq!(find(&router, "app.example.com"), Some(2));
        assert_eq!(find(&router, "a.internal.example.com"), Some(3));
        assert_eq!(find(&router, "internal.example.com"), Some(1)); // DNS has it: its owner puts a name without a route there
        assert_eq!(find(&router, "a.b.example.com"), Some(1));
        assert_eq!(find(&router, "example.com"), None);
        assert_eq!(find(&router, "APP.EXAMPLE.COM."), Some(2));
        assert_eq!(find(&router, "app.example.com:443"), Some(2));
        for bad in ["", ".", ".example.com", "a..example.com", "app.example.com..", "[::1]", "a b.example.com", "x:y"] {
            assert_eq!(find(&router, bad), None, "{bad}");
        }
    }

    /// Case 60.
    #[test]
    fn what_exists_stands_before_the_wildcard_for_itself_and_what_is_below() {
        let router = Router::new(vec![
            route("*.example.test", 1),
            route("static.example.test", 2),
            route("ssh.git.example.test", 0), // a record without a route
            route("git.example.test", 0),     // an empty non-terminal
            route("b.example.test", 0),       // a zone cut
            route("*.plain.example.test", 0),
        ])
        .unwrap();
        for served in ["games.example.test", "x.y.example.test"] {
            assert_eq!(find(&router, served), Some(1), "{served}");
        }
        assert_eq!(find(&router, "static.example.test"), Some(2));
        for unserved in [
            "git.example.test",
            "x.git.example.test",
            "ssh.git.example.test",
            "x.static.example.test",
            "b.example.test",
            "a.b.example.test",
            "x.plain.example.test",
            "example.test",
        ] {
            assert_eq!(find(&router, unserved), None, "{unserved}");
        }
    }

    #[test]
    fn the_entry_that_decides_is_told() {
        let routes = vec![route("*.example.test", 1), route("app.example.test", 2), route("b.example.test", 0)];
        let router = Router::new(routes.clone()).unwrap();
        for (hostname, decides) in [
            ("APP.example.test", Some(routes[1].clone())),
            ("x.y.example.test", Some(routes[0].clone())),
            ("b.example.test", Some(routes[2].clone())),
            ("a.b.example.test", Some(routes[2].clone())),
            ("a.app.example.test", Some(Route { targets: vec![], ..routes[1].clone() })),
            ("example.test", None),
            ("[::1]", None),
        ] {
            assert_eq!(router.route(hostname), decides, "{hostname}");
        }
    }

    #[test]
    fn a_hostname_twice_is_refused() {
        let twice = vec![route("a.example", 1), route("a.example", 2)];
        assert_eq!(Router::new(twice).unwrap_err().code(), "route_conflict");
        assert!(Router::new(vec![route("A.example", 1)]).is_err());
        assert!(Router::new(vec![route("a.example", 1), route("*.a.example", 2)]).is_ok());
        let weightless = Route { targets: vec![(Uuid::from_u128(1), 0)], ..route("a.example", 1) };
        assert_eq!(Router::new(vec![weightless.clone()]).unwrap_err().code(), "route_conflict");
        assert!(Router::default().changed(&[weightless], &[]).is_err());
    }

    #[test]
    fn a_change_is_whole_or_refused() {
        let router = Router::new(vec![route("a.example", 1), route("*.a.example", 2)]).unwrap();
        let gone = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let changed = router
            .changed(&[route("b.example", 3), route("*.a.example", 4)], &gone(&["a.example", "never.example"]))
            .unwrap();
        assert_eq!((find(&changed, "a.example"), find(&changed, "b.example")), (None, Some(3)));
        assert_eq!(find(&changed, "x.a.example"), Some(4));
        assert_eq!((find(&router, "a.example"), find(&router, "x.a.example")), (Some(1), Some(2)), "untouched");
        for (put, remove) in [
            (vec![route("b.example", 1), route("b.example", 1)], gone(&[])),
            (vec![route("b.example", 1)], gone(&["b.example"])),
            (vec![], gone(&["b.example", "b.example"])),
            (vec![route("B.example", 1)], gone(&[])),
            (vec![], gone(&["a..example"])),
        ] {
            assert_eq!(router.changed(&put, &remove).unwrap_err().code(), "route_conflict");
        }
    }

    fn hostnames() -> impl Strategy<Value = String> {
        proptest::collection::vec("[a-c]", 1..5).prop_map(|labels| labels.join("."))
    }

    /// The rule, said the slow way.
    fn slow(routes: &[Route], host: &str) -> Option<Uuid> {
        let named = |name: &str| routes.iter().find(|r| r.hostname == name).map(|r| r.targets.first().map(|t| t.0));
        if let Some(found) = named(host) {
            return found;
        }
        let above = host.match_indices('.').map(|(dot, _)| &host[dot + 1..]);
        let mut enclosers = above.filter(|name| named(name).is_some() || named(&format!("*.{name}")).is_some());
        enclosers.next().and_then(|closest| named(&format!("*.{closest}")).flatten())
    }

    proptest! {
        #[test]
        fn routing_follows_the_rule_whatever_the_order(
            mut names in proptest::collection::hash_set((hostnames(), any::<bool>()), 0..12)
                .prop_map(|s| s.into_iter().collect::<Vec<_>>()),
            host in hostnames(),
            turn in any::<usize>(),
        ) {
            let n = names.len().max(1);
            names.rotate_left(turn % n);
            let routes: Vec<Route> = names.iter().enumerate()
                .map(|(i, (name, wild))| route(&if *wild { format!("*.{name}") } else { name.clone() }, i as u128))
                .collect();
            let router = Router::new(routes.clone()).unwrap();
            prop_assert_eq!(led(&router, host.as_bytes()), slow(&routes, &host));
        }

        #[test]
        fn changes_one_by_one_make_the_same_table_as_all_at_once(
            steps in proptest::collection::vec((hostnames(), any::<bool>(), any::<bool>()), 0..30),
            host in hostnames(),
        ) {
            let mut router = Router::default();
            let mut model: std::collections::HashMap<String, u128> = Default::default();
            for (n, (name, wild, put)) in steps.into_iter().enumerate() {
                let name = if wild { format!("*.{name}") } else { name };
                router = if put {
                    model.insert(name.clone(), n as u128);
                    router.changed(&[route(&name, n as u128)], &[])
                } else {
                    model.remove(&name);
                    router.changed(&[], &[name])
                }.unwrap();
            }
            let whole = Router::new(model.iter().map(|(name, n)| route(name, *n)).collect()).unwrap();
            prop_assert_eq!(led(&router, host.as_bytes()), led(&whole, host.as_bytes()));
        }

        #[test]
        fn case_dot_and_port_never_matter(host in hostnames(), port in proptest::option::of(any::<u16>()), dot in any::<bool>()) {
            let router = Router::new(vec![route(&host, 1)]).unwrap();
            let mut authority = host.to_uppercase();
            if dot { authority.push('.') }
            if let Some(port) = port { authority.push_str(&format!(":{port}")) }
            let found = hostname_of(&Bytes::from(authority)).and_then(|h| led(&router, &h));
            prop_assert_eq!(found, Some(Uuid::from_u128(1)));
        }

        #[test]
        fn any_authority_is_survived(authority in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(name) = hostname_of(&Bytes::from(authority)) {
                prop_assert!(is_hostname(&name));
            }
        }
    }
}
