//! Which hosts a rule's hostname names.

/// A rule's hostname, in the form written and in punycode where that differs.
#[derive(Debug)]
pub(crate) enum HostPattern {
    Any,
    Exact(Vec<String>),
    /// With the leading dot.
    Below(Vec<String>),
}

impl HostPattern {
    /// Reads what a rule says; the error says what is wrong with it.
    pub(crate) fn new(hostname: &str) -> Result<Self, String> {
        if hostname.is_empty() || hostname == "*" {
            return Ok(Self::Any);
        }
        let (name, wildcard) = match hostname.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (hostname, false),
        };
        if name.chars().skip(usize::from(!wildcard)).any(|c| c == '*') {
            return Err(format!("`{hostname}`: `*` may only be its first character"));
        }
        let written = name.strip_suffix('.').unwrap_or(name).to_lowercase();
        // What has no form in punycode is a name that no request has; the stock connector starts with it all the same.
        let puny = Some(&written).filter(|name| !name.is_ascii()).and_then(|name| idna::domain_to_ascii(name).ok());
        let forms: Vec<String> = [Some(written), puny].into_iter().flatten().collect();
        Ok(if wildcard {
            Self::Below(forms.into_iter().map(|f| format!(".{f}")).collect())
        } else {
            Self::Exact(forms)
        })
    }

    /// For a host without port and trailing dot ([`bare_host`]).
    pub(crate) fn matches(&self, host: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(forms) => forms.iter().any(|f| host.eq_ignore_ascii_case(f.as_bytes())),
            Self::Below(forms) => forms
                .iter()
                .any(|f| host.len() >= f.len() && host[host.len() - f.len()..].eq_ignore_ascii_case(f.as_bytes())),
        }
    }
}

/// A Host field without port and trailing dot.
pub(crate) fn bare_host(host: &[u8]) -> &[u8] {
    let name = match host.iter().rposition(|b| *b == b':') {
        Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) && !host[..colon].contains(&b':') => {
            &host[..colon]
        }
        Some(colon) if host[..colon].ends_with(b"]") => &host[..colon],
        _ => host,
    };
    name.strip_suffix(b".").unwrap_or(name)
}
