//! Whether a connector may register: by its secret alone, and as slowly for a wrong one as for a tunnel that there isn't.

use crate::tables::{TunnelEntry, TunnelSecret};
use crate::tunnels::dials::RETRY_AFTER;
use qanat_transport::Registration;
use sha2::{Digest, Sha256};
use std::time::Duration;
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// Why a registration is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    /// For our log.
    pub(crate) message: String,
    /// For the connector's log, when it must not learn as much.
    pub(crate) told: Option<String>,
    pub(crate) retry_after: Duration,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: String) -> Self {
        Self { code, message, told: None, retry_after: RETRY_AFTER }
    }

    /// Whether the connector showed no valid secret. Which tunnels there are is not for it to know: whatever is wrong, it is told the
    /// same, at the same cost (S33).
    pub(super) fn is_unproved(&self) -> bool {
        self.told.is_some()
    }
}

/// Decides about a registration: the id of the token that it came with. Pure, and as slow for every secret, also where there is no
/// such tunnel.
pub(crate) fn decide(entry: Option<&TunnelEntry>, registration: &Registration) -> Result<String, Refusal> {
    const NOBODYS: &[TunnelSecret] = &[TunnelSecret { token_id: String::new(), sha256: [0; 32] }];
    let id = registration.tunnel_id;
    let digest: [u8; 32] = Sha256::digest(&registration.secret).into();
    let secrets = entry.map_or(NOBODYS, |entry| &entry.secrets);
    let mut found = u32::MAX;
    for (index, secret) in (0..).zip(secrets) {
        found.conditional_assign(&index, digest.ct_eq(&secret.sha256));
    }
    let secret = entry.and_then(|entry| entry.secrets.get(found as usize));
    let (Some(entry), Some(secret)) = (entry, secret) else {
        let (code, message) = match entry {
            None => {
                ("unknown_tunnel", format!("tunnel {id} is not known to this edge, whatever the connector's secret"))
            }
            Some(_) => {
                ("wrong_secret", format!("wrong secret for tunnel {id}: run the connector with the tunnel's token"))
            }
        };
        let told =
            format!("tunnel {id} is not known to this edge, or not by this secret: run it with the tunnel's token");
        return Err(Refusal { told: Some(told), ..Refusal::new(code, message) });
    };
    if !registration.account_tag.eq_ignore_ascii_case(&entry.account_tag) {
        let message = format!("tunnel {id} does not belong to account {:?}", registration.account_tag);
        return Err(Refusal::new("wrong_account", message));
    }
    if entry.deleted {
        return Err(Refusal::new("deleted_tunnel", format!("tunnel {id} was deleted")));
    }
    Ok(secret.token_id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnels::fake::{entry, registration, secret};
    use bytes::Bytes;

    /// S33.
    #[test]
    fn an_unknown_tunnel_and_a_wrong_secret_are_told_alike() {
        let asked = Registration { secret: Bytes::from_static(b"wrong"), ..registration(1, 0) };
        let unknown = decide(None, &asked).unwrap_err();
        let wrong = decide(Some(&entry()), &asked).unwrap_err();
        assert!(unknown.told.is_some() && unknown.told == wrong.told && unknown.retry_after == wrong.retry_after);
        assert!(unknown.code != wrong.code && unknown.message != wrong.message, "our own log tells them apart");
    }

    /// Mean of a sample of nanoseconds and the mean's variance; the slowest tenth (interruptions) is left out.
    fn moments(sample: &mut [f64]) -> (f64, f64) {
        sample.sort_by(f64::total_cmp);
        let kept = &sample[..sample.len() * 9 / 10];
        let n = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / n;
        (mean, kept.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0) / n)
    }

    /// S33.
    #[test]
    fn a_wrong_secret_takes_as_long_wherever_it_differs_and_an_unknown_tunnel_no_less() {
        let real = TunnelEntry { secrets: vec![secret("", b"secret")], ..entry() };
        let asked = |text: &'static [u8]| Registration { secret: Bytes::from_static(text), ..registration(1, 0) };
        let (near, far) = (asked(b"secreT"), asked(b"Wecret"));
        let time = |entry: Option<&TunnelEntry>, asked: &Registration| {
            let start = std::time::Instant::now();
            for _ in 0..4 {
                assert!(decide(std::hint::black_box(entry), std::hint::black_box(asked)).is_err());
            }
            start.elapsed().as_nanos() as f64
        };
        // A busy machine may disturb one run; a leak would show in each.
        let is_even = (0..10).any(|_| {
            let (mut first, mut second, mut third) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..5_000 {
                // In both orders: what ran just before has left its mark on the processor.
                first.push(time(Some(&real), &near));
                second.push(time(Some(&real), &far));
                third.push(time(None, &near));
                second.push(time(Some(&real), &far));
                first.push(time(Some(&real), &near));
                third.push(time(None, &near));
            }
            let [near, far, unknown] = [first, second, third].map(|mut sample| moments(&mut sample));
            // Welch's t.
            let secrets = (near.0 - far.0).abs() / (near.1 + far.1).sqrt();
            // The texts for our log differ: only a difference that a network would show counts.
            let tunnels = (near.0 - unknown.0).abs() / 4.0;
            secrets < 4.5 && tunnels < 1000.0
        });
        assert!(is_even);
    }

    #[test]
    fn who_may_register() {
        let code = |entry: Option<TunnelEntry>, secret: &'static [u8], account: &str| {
            let asked = Registration {
                secret: Bytes::from_static(secret),
                account_tag: account.to_owned(),
                ..registration(1, 0)
            };
            decide(entry.as_ref(), &asked).err().map(|r| r.code)
        };
        let account = "a".repeat(32);
        assert_eq!(code(Some(entry()), b"secret", &account), None);
        assert_eq!(code(None, b"secret", &account), Some("unknown_tunnel"));
        assert_eq!(code(Some(entry()), b"wrong", &account), Some("wrong_secret"));
        assert_eq!(code(Some(entry()), b"", &account), Some("wrong_secret"));
        assert_eq!(code(Some(entry()), b"secret", "other"), Some("wrong_account"));
        let deleted = TunnelEntry { deleted: true, ..entry() };
        assert_eq!(code(Some(deleted.clone()), b"secret", &account), Some("deleted_tunnel"));
        assert_eq!(
            code(Some(deleted), b"wrong", &account),
            Some("wrong_secret"),
            "only who has the token learns of it"
        );
    }
}
