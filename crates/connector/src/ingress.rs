//! Which rule serves a request: rules compiled once, matched in order (protocol.md, *Configuration*).

use crate::TableError;
use crate::access::Access;
use crate::hostname::{HostPattern, bare_host};
use crate::path::{decode_path, path_of};
use crate::pattern::{self, Budget, Pattern, PatternError};
use crate::rule::{Reach, Rule};
use crate::service::{PrivateStreams, Service};
use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Checks that the paths of one configuration compile, and all of them within what a configuration may take; each is dropped
/// before the next. The error's rule is the index in `paths`; "" is every path.
pub fn check_patterns(paths: &[String]) -> Result<(), TableError> {
    let mut budget = Budget::new();
    let mut seen = std::collections::HashSet::new();
    for (index, path) in paths.iter().enumerate() {
        if !path.is_empty() && seen.insert(path) {
            pattern::compile(path, &mut budget, usize::MAX).map_err(|error| told(index, error))?;
        }
    }
    Ok(())
}

fn told(rule: usize, error: PatternError) -> TableError {
    match error {
        PatternError::Bad(reason) => TableError::Pattern { rule, reason },
        PatternError::TooMuch(reason) => TableError::TooMuch { rule, reason },
    }
}

/// Which rule serves a request, without a table: only the patterns that are asked are compiled, one after the other. Of each rule
/// before that one: whether its hostname matches (then its path doesn't). The same matching as `IngressTable::find`.
pub fn explain(
    rules: &[(String, String)],
    host: &[u8],
    target: &[u8],
    limit: Duration,
) -> Result<Vec<bool>, TableError> {
    let deadline = Instant::now() + limit;
    let mut budget = Budget::new();
    let mut known: HashMap<&str, bool> = HashMap::new();
    let mut missed = Vec::with_capacity(rules.len());
    let host = bare_host(host);
    let path = decode_path(path_of(target));
    for (index, (hostname, pattern)) in rules.iter().enumerate() {
        let over = || TableError::TimeOver { rule: index, limit };
        let names = HostPattern::new(hostname).map_err(|reason| TableError::Hostname { rule: index, reason })?;
        let is_named = names.matches(host);
        if is_named {
            let is_taken = pattern.is_empty()
                || match known.entry(pattern) {
                    Entry::Occupied(entry) => *entry.get(),
                    Entry::Vacant(entry) => {
                        let compiled =
                            pattern::compile(pattern, &mut budget, usize::MAX).map_err(|e| told(index, e))?;
                        *entry.insert(compiled.is_match_until(&path, deadline).ok_or_else(over)?)
                    }
                };
            if is_taken {
                return Ok(missed);
            }
            if Instant::now() > deadline {
                return Err(over());
            }
        }
        missed.push(is_named);
    }
    missed.pop(); // where none matches the last one serves
    Ok(missed)
}

/// Rules compiled for matching and serving. Immutable.
pub struct IngressTable {
    pub(crate) rules: Vec<CompiledRule>,
    /// For TCP streams that the edge opens: no rule is asked.
    pub(crate) private: PrivateStreams,
}

pub(crate) struct CompiledRule {
    host: HostPattern,
    path: Option<Arc<Pattern>>,
    pub(crate) text: String,
    pub(crate) access: Option<Access>,
    pub(crate) service: Service,
}

impl IngressTable {
    /// Compiles rules; the error names the first bad one and its field.
    pub fn compile(rules: Vec<Rule>) -> Result<Self, TableError> {
        Self::compile_within(rules, Reach::default())
    }

    /// The same for rules whose origins are bounded.
    pub fn compile_within(rules: Vec<Rule>, reach: Reach) -> Result<Self, TableError> {
        let mut budget = Budget::new();
        let distinct = rules.iter().map(|rule| rule.path.as_str()).collect::<std::collections::HashSet<_>>().len();
        let mut patterns: HashMap<String, Arc<Pattern>> = HashMap::new();
        let mut compiled = Vec::with_capacity(rules.len());
        for (index, rule) in rules.into_iter().enumerate() {
            let path = match patterns.get(&rule.path) {
                _ if rule.path.is_empty() => None,
                Some(known) => Some(known.clone()),
                None => {
                    let new =
                        pattern::compile(&rule.path, &mut budget, distinct).map_err(|error| told(index, error))?;
                    let new = Arc::new(new);
                    patterns.insert(rule.path.clone(), new.clone());
                    Some(new)
                }
            };
            let host =
                HostPattern::new(&rule.hostname).map_err(|reason| TableError::Hostname { rule: index, reason })?;
            compiled.push(CompiledRule {
                host,
                path,
                access: rule.origin.access.clone().map(Access::new),
                service: Service::compile(index, &rule, &reach)?,
                text: rule.service,
            });
        }
        Ok(Self { rules: compiled, private: PrivateStreams::new(reach.warp_routing, reach.clients) })
    }

    /// Index of the first rule for a Host field (port, case and trailing dot ignored) and a request target (query ignored,
    /// matched percent-decoded). Where none matches the last one serves, as the stock connector does; `None` without rules.
    pub fn find(&self, host: &[u8], target: &[u8]) -> Option<usize> {
        let host = bare_host(host);
        let path = path_of(target);
        let mut decoded: Option<Cow<'_, [u8]>> = None;
        let matches = |rule: &CompiledRule| {
            rule.host.matches(host)
                && rule.path.as_ref().is_none_or(|p| p.is_match(decoded.get_or_insert_with(|| decode_path(path))))
        };
        self.rules.iter().position(matches).or_else(|| self.rules.len().checked_sub(1))
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// True without any rule: every request is answered 503.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::ServiceKind;
    use crate::settings::OriginSettings;
    use proptest::prelude::*;

    fn rule(hostname: &str, path: &str) -> Rule {
        Rule {
            hostname: hostname.into(),
            path: path.into(),
            kind: ServiceKind::Status,
            target: "404".into(),
            service: "http_status:404".into(),
            origin: OriginSettings::default(),
        }
    }

    fn table(rules: &[(&str, &str)]) -> IngressTable {
        IngressTable::compile(rules.iter().map(|(h, p)| rule(h, p)).collect()).unwrap()
    }

    #[test]
    fn the_first_matching_rule_wins_and_a_wildcard_never_takes_the_apex() {
        let table = table(&[("*.example.com", ""), ("app.example.com", ""), ("*.internal.example.com", ""), ("", "")]);
        for (host, index) in [
            ("app.example.com", 0),
            ("a.internal.example.com", 0),
            ("example.com", 3),
            ("APP.EXAMPLE.COM.", 0),
            ("app.example.com:443", 0),
            ("notexample.com", 3),
            (".example.com", 0), // no hostname; a suffix all the same, as with stock
            ("[::1]:80", 3),
            ("", 3),
        ] {
            assert_eq!(table.find(host.as_bytes(), b"/"), Some(index), "{host}");
        }
    }

    #[test]
    fn paths_match_unanchored_and_decoded_without_the_query() {
        let table = table(&[("h.test", "/aaa"), ("h.test", "/bbb/.*"), ("", "")]);
        for (path, index) in [
            ("/aaa", 0),
            ("/aaab", 0),
            ("/bbb/aaa/ccc", 0),
            ("/AAA", 2),
            ("/x?q=/aaa", 2),
            ("/%61aa", 0),
            ("/bbb/x", 1),
            ("/%zz%6", 2),
            ("*", 2),
        ] {
            assert_eq!(table.find(b"h.test", path.as_bytes()), Some(index), "{path}");
        }
    }

    #[test]
    fn an_idn_hostname_matches_written_and_in_punycode() {
        let table = table(&[("bücher.example", ""), ("*.MÜNCHEN.example", ""), ("", "")]);
        for (host, index) in [
            ("bücher.example", 0),
            ("xn--bcher-kva.example", 0),
            ("XN--BCHER-KVA.example:8443", 0),
            ("a.xn--mnchen-3ya.example", 1),
            ("xn--mnchen-3ya.example", 2),
        ] {
            assert_eq!(table.find(host.as_bytes(), b"/"), Some(index), "{host}");
        }
    }

    #[test]
    fn a_hostname_that_no_request_has_matches_nothing() {
        for name in ["*example.com", "a b.example", "-a.example", "*."] {
            let table = table(&[(name, ""), ("", "")]);
            assert_eq!(table.find(b"www.example.com", b"/"), Some(1), "{name}");
        }
    }

    #[test]
    fn invalid_utf8_in_a_path_is_one_replacement_a_byte() {
        let table = table(&[("", "^/.{2}$"), ("", "")]);
        assert_eq!(table.find(b"h", b"/%FF%FE"), Some(0));
        assert_eq!(table.find(b"h", b"/%FF"), Some(1));
    }

    #[test]
    fn no_rules_match_nothing_and_a_missing_catch_all_is_the_last_rule() {
        assert_eq!(table(&[]).find(b"h", b"/"), None);
        assert_eq!(table(&[("a.test", ""), ("b.test", "")]).find(b"c.test", b"/"), Some(1));
    }

    #[test]
    fn errors_name_the_rule_and_the_field() {
        let error = |rules: Vec<Rule>| IngressTable::compile(rules).map(|_| ()).unwrap_err();
        let bad = error(vec![rule("", ""), rule("", "a**")]);
        assert_eq!((bad.code(), bad.to_string().starts_with("ingress[1].path")), ("bad_pattern", true), "{bad}");
        let bad = error(vec![Rule { target: "99".into(), ..rule("", "") }]);
        assert_eq!((bad.code(), bad.to_string().starts_with("ingress[0].service")), ("bad_target", true), "{bad}");
        assert_eq!(error(vec![rule("a.*.test", "")]).code(), "bad_hostname");
    }

    #[test]
    fn patterns_that_are_the_same_are_compiled_once() {
        let big = r"(?:\pL{40}|\pN{40})";
        let names: Vec<String> = (0..400).map(|n| format!("h{n}.test")).collect();
        let many = table(&names.iter().map(|name| (name.as_str(), big)).collect::<Vec<_>>());
        let first = many.rules[0].path.as_ref().unwrap();
        assert!(many.rules.iter().all(|rule| Arc::ptr_eq(first, rule.path.as_ref().unwrap())));
        check_patterns(&vec![big.to_owned(); 400]).unwrap();
    }

    #[test]
    fn a_configuration_too_large_to_compile_is_refused_wherever_it_comes_in() {
        let paths: Vec<String> = (0..400).map(|n| format!(r"(?:\pL{{40}}|\pN{{40}}){n}")).collect();
        let rules: Vec<Rule> = paths.iter().map(|path| rule("a.test", path)).collect();
        let pairs: Vec<(String, String)> = paths.iter().map(|path| ("a.test".to_owned(), path.clone())).collect();
        let errors = [
            check_patterns(&paths).unwrap_err(),
            IngressTable::compile(rules).map(|_| ()).unwrap_err(),
            explain(&pairs, b"a.test", b"/", Duration::from_secs(600)).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.code(), "patterns_too_large");
            assert!(error.to_string().contains("].path: `(?:"), "{error}");
        }
        assert_eq!(explain(&pairs, b"b.test", b"/", Duration::from_secs(600)), Ok(vec![false; 399]), "none is asked");
        let over = explain(&pairs, b"a.test", b"/", Duration::ZERO).unwrap_err();
        assert_eq!(over.code(), "time_over");
    }

    proptest! {
        #[test]
        fn an_explanation_names_the_rule_that_serves(
            rules in prop::collection::vec(("(\\*\\.)?[ab]{1,2}(\\.[ab])?|", prop::sample::select(vec!["", "/", "^/x", "[ab]+$", "/a"]).prop_map(str::to_owned)), 1..6),
            host in "[ab]{1,2}(\\.[ab]){0,2}(:80)?", path in "/[abx%6]{0,6}(\\?a)?",
        ) {
            let texts: Vec<(&str, &str)> = rules.iter().map(|(h, p)| (h.as_str(), p.as_str())).collect();
            let missed = explain(&rules, host.as_bytes(), path.as_bytes(), Duration::from_secs(600)).unwrap();
            prop_assert_eq!(table(&texts).find(host.as_bytes(), path.as_bytes()), Some(missed.len()));
        }

        /// A model in plain words: lower-case both, cut the port and the dot, compare.
        #[test]
        fn hosts_match_as_the_model_says(
            rules in prop::collection::vec((any::<bool>(), "[a-c]{1,2}(\\.[a-c]{1,2}){0,2}"), 0..5),
            host in "[a-cA-C]{1,2}(\\.[a-cA-C]{1,2}){0,3}\\.?",
            port in prop::option::of(any::<u16>()),
        ) {
            let names: Vec<String> = rules.iter().map(|(w, n)| if *w { format!("*.{n}") } else { n.clone() }).collect();
            let mut all: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "")).collect();
            all.push(("", ""));
            let bare = host.trim_end_matches('.').to_lowercase();
            let expected = rules.iter().position(|(wildcard, name)| {
                if *wildcard { bare.ends_with(&format!(".{name}")) } else { bare == *name }
            }).unwrap_or(rules.len());
            let sent = port.map_or(host.clone(), |p| format!("{host}:{p}"));
            prop_assert_eq!(table(&all).find(sent.as_bytes(), b"/"), Some(expected));
        }

        #[test]
        fn any_host_and_target_are_matched_without_panic(host in prop::collection::vec(any::<u8>(), 0..20), target in prop::collection::vec(any::<u8>(), 0..20)) {
            prop_assert!(table(&[("*.a", "x"), ("", "")]).find(&host, &target).is_some());
        }
    }
}
