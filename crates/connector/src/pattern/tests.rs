//! What Go's syntax means, and what it refuses.

use super::*;
use proptest::prelude::*;

fn matches(pattern: &str, text: &str) -> bool {
    compile(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}")).is_match(text.as_bytes())
}

#[test]
fn it_reads_as_go_does() {
    for (pattern, text, expected) in [
        ("/aaa", "/bbb/aaa/ccc", true),
        ("^/aaa", "/bbb/aaa", false),
        ("a{,2}", "a{,2}", true),
        ("a{x", "a{x", true),
        ("a{2}", "aa", true),
        ("^a{2,3}$", "aaaa", false),
        ("{", "{", true),
        ("^[[a]$", "[", true),
        ("^[]a]$", "]", true),
        ("^[^]a]$", "b", true),
        ("^[a&&b]$", "&", true),
        ("^[a-c-e]$", "-", true),
        ("^[[:alpha:]-]$", "-", true),
        ("^[[:^alpha:]]$", "1", true),
        (r"^\Qa.b*\E+$", "a.b**", true),
        (r"\Qa.b", "a.b", true),
        (r"\Qa.b", "axb", false),
        (r"^\w$", "é", false),
        (r"^\W$", "é", true),
        (r"\s", "\x0B", false),
        (r"[\s]", "\x0B", false),
        (r"^[\D]$", "x", true),
        (r"^[^\d]$", "5", false),
        (r"\<", "<", true),
        (r"\/", "/", true),
        (r"\_", "_", true),
        (r"\101", "A", true),
        (r"\x41\x{1F600}", "A😀", true),
        (r"(?i)AbC", "aBc", true),
        (r"(?i:a)b", "AB", false),
        (r"(?s).", "\n", true),
        (r".", "\n", false),
        (r"^[^a]$", "\n", true),
        (r"(?P<n>a)(?<m>b)", "ab", true),
        (r"\bfoo\b", "a foo b", true),
        (r"\Bo", "foo", true),
        (r"^\pL\p{Greek}\P{Greek}\p{^L}$", "aαb1", true),
        (r"\.(jpg|png|css|js)$", "/a.png", true),
        ("", "/", true),
        ("a||b", "", true),
        ("(|a)*", "", true),
        ("a??b", "b", true),
        ("x#y z", "x#y z", true),
        ("(?)a", "a", true),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
    }
}

#[test]
fn it_refuses_what_go_refuses() {
    for pattern in [
        "a**",
        "a*+",
        "a{2}{3}",
        "*",
        "(*a)",
        "|*",
        "(",
        ")",
        "a)",
        "[",
        "[a",
        r"\",
        r"[\",
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?<!a)",
        "(?#c)",
        "(?x)a",
        r"\1",
        r"(a)\1",
        r"\C",
        r"\E",
        r"\Z",
        r"\q",
        r"\h",
        r"[a-\d]",
        "[z-a]",
        "[[:foo:]]",
        r"\xZ",
        r"\x{110000}",
        r"\p",
        r"\p{",
        r"\p{Nope}",
        "(?P<n>a)(?P<n>b)",
        "(?P<>a)",
        "(?P=n)",
        "a{1001}",
        "a{3,2}",
        "(?i-)",
        r"[\b]",
        r"[\Qa\E]",
    ] {
        assert!(compile(pattern).is_err(), "{pattern}");
    }
    assert!(compile("((a{1000}){1000}){1000}").is_err(), "too big");
}

#[test]
fn a_hostile_pattern_on_a_long_path_is_linear() {
    let text = "a".repeat(1 << 20) + "b";
    let pattern = compile("(a+)+$").unwrap();
    let start = std::time::Instant::now();
    assert!(!pattern.is_match(text.as_bytes()));
    assert!(start.elapsed().as_millis() < 500, "{:?}", start.elapsed());
}

proptest! {
    #[test]
    fn compiling_never_panics(pattern in ".{0,40}") {
        let _ = compile(&pattern);
    }

    #[test]
    fn syntax_soup_never_panics(pattern in r"[\\()\[\]{}*+?|^$.,:PQEa-c0-9<>=!&~-]{0,24}") {
        let _ = compile(&pattern);
    }

    #[test]
    fn an_escaped_text_is_found_exactly_where_it_is_contained(needle in "[ -~]{0,8}", text in "[ -~]{0,20}") {
        let escaped: String = needle.chars().flat_map(|c| {
            let slash = (!c.is_ascii_alphanumeric()).then_some('\\');
            slash.into_iter().chain([c])
        }).collect();
        prop_assert_eq!(matches(&escaped, &text), text.contains(&needle));
        let holding = format!("{text}{needle}{text}");
        prop_assert!(matches(&escaped, &holding));
    }

    #[test]
    fn classes_hold_exactly_their_members(members in prop::collection::vec(any::<char>(), 1..6), probe in any::<char>()) {
        let body: String = members.iter().map(|c| format!("\\x{{{:X}}}", *c as u32)).collect();
        prop_assert_eq!(matches(&format!("(?s)^[{body}]$"), &probe.to_string()), members.contains(&probe));
        prop_assert_eq!(matches(&format!("(?s)^[^{body}]$"), &probe.to_string()), !members.contains(&probe));
    }
}
