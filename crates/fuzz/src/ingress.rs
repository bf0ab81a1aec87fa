//! A configuration on its way to the connector, and the table that is made of it.

use qanat_connector::{IngressTable, OriginSettings, Rule, ServiceKind, check_patterns, explain};
use qanat_wire::configuration::{decode_answer, decode_push, encode_push};
use std::time::Duration;

const NO_HURRY: Duration = Duration::from_secs(3600);

/// What an edge pushes, and what a connector answers to that.
pub fn configuration(data: &[u8]) {
    let _ = decode_answer(data).is_ok();
    let Ok((version, document)) = decode_push(data) else { return };
    let Ok(written) = encode_push(version, &document) else { panic!("a document that was read is not written") };
    assert_eq!(decode_push(&written).ok(), Some((version, document)));
}

/// The first line is a request's host and target, each other one a rule's hostname and path. A table that is taken finds one of
/// its rules, the same that `explain` names.
pub fn patterns(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let (host, target) = words(lines.next().unwrap_or_default());
    let rules: Vec<(String, String)> =
        lines.take(8).map(words).map(|(hostname, path)| (hostname.to_owned(), path.to_owned())).collect();
    let paths: Vec<String> = rules.iter().map(|(_, path)| path.clone()).collect();
    let checked = check_patterns(&paths);
    let table = IngressTable::compile(rules.iter().map(rule).collect());
    if checked.is_err() {
        assert!(table.is_err(), "a pattern that is refused alone is refused in a table");
    }
    let Ok(table) = table else { return };
    assert_eq!(table.len(), rules.len());
    let found = table.find(host.as_bytes(), target.as_bytes());
    assert_eq!(found.is_none(), table.is_empty());
    if let (Some(found), Ok(missed)) = (found, explain(&rules, host.as_bytes(), target.as_bytes(), NO_HURRY)) {
        assert_eq!(found, missed.len(), "explain names another rule than the one that serves");
    }
}

fn words(line: &str) -> (&str, &str) {
    line.split_once(' ').unwrap_or((line, ""))
}

fn rule((hostname, path): &(String, String)) -> Rule {
    Rule {
        hostname: hostname.clone(),
        path: path.clone(),
        kind: ServiceKind::Status,
        target: "404".to_owned(),
        service: "http_status:404".to_owned(),
        origin: origin(),
    }
}

/// A table is only matched here: nothing is dialled by it.
fn origin() -> OriginSettings {
    OriginSettings {
        connect_timeout: Duration::ZERO,
        tls_timeout: Duration::ZERO,
        tcp_keep_alive: Duration::ZERO,
        no_happy_eyeballs: false,
        keep_alive_connections: 0,
        keep_alive_timeout: Duration::ZERO,
        http_host_header: None,
        origin_server_name: None,
        match_sni_to_host: false,
        ca_pool_pem: None,
        no_tls_verify: false,
        disable_chunked_encoding: false,
        http2_origin: false,
        socks: false,
        ip_rules: Vec::new(),
        access: None,
    }
}
