//! What a zone wants of the edge for all its hostnames: HTTPS only, HSTS, error pages of its own. Zones that want nothing aren't here.

use arc_swap::ArcSwap;
use bytes::Bytes;
use qanat_http::Headers;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;

/// What a zone wants.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneRules {
    /// Its name, lower case, punycode.
    pub name: String,
    /// Whether plain HTTP is redirected; `None`: as the listener does.
    #[serde(deserialize_with = "Option::deserialize")]
    pub always_use_https: Option<bool>,
    /// The value of Strict-Transport-Security in answers over HTTPS; empty: the origin's own stays.
    pub hsts: String,
    /// `X-Content-Type-Options: nosniff` in answers over HTTPS.
    pub nosniff: bool,
    /// Instead of the edge's page for failures that this protocol's users know by a number from 1000 on; empty: the edge's.
    pub page_1000: String,
    /// The same for all other answers from 500 on.
    pub page_500: String,
}

/// As requests use it.
#[derive(Debug)]
pub(crate) struct Zone {
    pub(crate) always_use_https: Option<bool>,
    pub(crate) hsts: Option<Bytes>,
    pub(crate) nosniff: bool,
    pub(crate) page_1000: Option<Template>,
    pub(crate) page_500: Option<Template>,
}

impl Zone {
    /// What it wants said in its answers over HTTPS, whatever its origins say; over plain HTTP nobody may heed it (RFC 6797 7.2).
    pub(crate) fn secure(&self, headers: &mut Headers, is_https: bool) {
        if !is_https {
            return;
        }
        if let Some(hsts) = &self.hsts {
            headers.set(&b"Strict-Transport-Security"[..], hsts.clone());
        }
        if self.nosniff {
            headers.set(&b"X-Content-Type-Options"[..], &b"nosniff"[..]);
        }
    }
}

/// The zones in force.
pub(crate) struct Zones(ArcSwap<HashMap<Box<[u8]>, Arc<Zone>>>);

impl Default for Zones {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(HashMap::new()))
    }
}

impl Zones {
    pub(crate) fn swap(&self, zones: Vec<ZoneRules>) {
        let template = |text: &str| (!text.is_empty()).then(|| Template::new(text));
        let zone = |rules: ZoneRules| Zone {
            always_use_https: rules.always_use_https,
            hsts: (!rules.hsts.is_empty()).then(|| Bytes::from(rules.hsts)),
            nosniff: rules.nosniff,
            page_1000: template(&rules.page_1000),
            page_500: template(&rules.page_500),
        };
        let name = |rules: &ZoneRules| rules.name.clone().into_bytes().into_boxed_slice();
        self.0.store(Arc::new(zones.into_iter().map(|rules| (name(&rules), Arc::new(zone(rules)))).collect()));
    }

    /// The innermost zone with wishes that a hostname lies in; `hostname` as `hostname_of` gives it.
    pub(crate) fn find(&self, hostname: &[u8]) -> Option<Arc<Zone>> {
        let zones = self.0.load();
        if zones.is_empty() {
            return None;
        }
        let mut rest = hostname;
        loop {
            if let Some(zone) = zones.get(rest) {
                return Some(zone.clone());
            }
            let dot = rest.iter().position(|b| *b == b'.')?;
            rest = &rest[dot + 1..];
        }
    }
}

/// A page with places to fill in, in the form that the hosted edge's pages have: `::RAY_ID::`.
#[derive(Debug)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Slot(Slot),
}

/// What can be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// What the edge's own page shows, without the page around it.
    Box,
    Ray,
    ClientIp,
    Status,
    Title,
    Advice,
    Cause,
    Hostname,
}

const SLOTS: [(&str, Slot); 10] = [
    ("::CLOUDFLARE_ERROR_500S_BOX::", Slot::Box),
    ("::CLOUDFLARE_ERROR_1000S_BOX::", Slot::Box),
    ("::ERROR_BOX::", Slot::Box),
    ("::RAY_ID::", Slot::Ray),
    ("::CLIENT_IP::", Slot::ClientIp),
    ("::STATUS::", Slot::Status),
    ("::TITLE::", Slot::Title),
    ("::ADVICE::", Slot::Advice),
    ("::CAUSE::", Slot::Cause),
    ("::HOSTNAME::", Slot::Hostname),
];

impl Template {
    pub(crate) fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        let (mut rest, mut from) = (text, 0);
        while let Some(at) = rest[from..].find("::").map(|at| from + at) {
            match SLOTS.iter().find(|(name, _)| rest[at..].starts_with(name)) {
                Some((name, place)) => {
                    pieces.push(Piece::Text(rest[..at].to_owned()));
                    pieces.push(Piece::Slot(*place));
                    (rest, from) = (&rest[at + name.len()..], 0);
                }
                None => from = at + 1,
            }
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Self(pieces)
    }

    /// The page; `fill` gives HTML, with what a client wrote escaped.
    pub(crate) fn filled(&self, fill: impl Fn(Slot) -> String) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Slot(place) => fill(*place),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_innermost_zone_decides_and_others_are_none() {
        let zones = Zones::default();
        assert!(zones.find(b"a.example.test").is_none());
        let zone =
            |name: &str, hsts: &str| ZoneRules { name: name.to_owned(), hsts: hsts.to_owned(), ..ZoneRules::default() };
        zones.swap(vec![zone("example.test", "outer"), zone("in.example.test", "inner")]);
        let found = |name: &str| zones.find(name.as_bytes()).and_then(|zone| zone.hsts.clone());
        assert_eq!(found("example.test").unwrap(), "outer");
        assert_eq!(found("a.b.example.test").unwrap(), "outer");
        assert_eq!(found("x.in.example.test").unwrap(), "inner");
        assert_eq!(found("notexample.test"), None);
        assert_eq!(found("test"), None);
    }

    #[test]
    fn known_places_are_filled_in_and_all_else_stays() {
        let template = Template::new("a::RAY_ID::b:::::RAY_ID::::TITLE::::GEO::c::");
        let filled = template.filled(|place| format!("<{place:?}>"));
        assert_eq!(filled, "a<Ray>b:::<Ray><Title>::GEO::c::");
    }

    proptest! {
        #[test]
        fn a_page_without_places_is_as_it_was(text in "[:A-Z_a-z é]{0,40}") {
            let has_place = SLOTS.iter().any(|(name, _)| text.contains(name));
            prop_assume!(!has_place);
            prop_assert_eq!(Template::new(&text).filled(|_| String::new()), text);
        }
    }
}
