//! A link for a connection: at first, in place of a suspect one, and back to QUIC.

use super::state::{Down, Slot, Why};
use crate::ProtocolChoice;
use crate::edges::Target;
use crate::link::{PATIENCE, ServedLink, dial_any};
use crate::ways::{Way, ways};
use qanat_transport::EdgeLink;
use std::time::Duration;

/// Longest dial of an edge that restarts. A datagram that came too early is sent again within a second.
const RETURN_PATIENCE: Duration = Duration::from_secs(2);

impl Slot {
    /// A link over the preferred transport, or over another where the settings allow it.
    pub(super) async fn dial(&mut self) -> Result<(EdgeLink, Target), Down> {
        let settings = &self.data_path.settings;
        self.acted_on = *self.data_path.network.roused.borrow();
        let lost = |edge_ip: String, protocol, reason: String| Down { edge_ip, protocol, why: Why::Lost(reason) };
        let targets = self.data_path.edges.targets(settings, self.attempt).await;
        let targets = targets.map_err(|reason| lost(String::new(), self.last.protocol, reason))?;
        let is_proxied = targets.iter().any(Target::is_proxied);
        // That an edge which restarts is away says nothing of UDP.
        let ways = match self.returning {
            Some(_) => vec![self.last],
            None => ways(settings.protocol, self.fallback(), is_proxied),
        };
        let mut first_failure: Option<Down> = None;
        for (number, way) in ways.iter().enumerate() {
            let patience = match number + 1 {
                _ if self.returning.is_some() => RETURN_PATIENCE,
                tried if tried < ways.len() => PATIENCE,
                _ => settings.dial_timeout,
            };
            match dial_any(&self.data_path, *way, &targets, patience).await {
                Some(Ok(dialled)) => {
                    if is_proxied {
                        self.last = *way;
                    } else {
                        self.note_way(*way);
                    }
                    return Ok(dialled);
                }
                Some(Err((shown, reason))) => {
                    first_failure.get_or_insert_with(|| lost(shown, way.protocol, reason));
                }
                None => {}
            }
        }
        Err(first_failure.unwrap_or_else(|| lost(String::new(), ways[0].protocol, "nothing was dialled".into())))
    }

    /// A link to the same edge in place of a suspect one. Only when it is safe: the edge takes a new one, the old one is still not
    /// acknowledged, and nothing is open on it that would be cut.
    pub(super) async fn replace_suspect(&self, active: &ServedLink) -> Option<(EdgeLink, Target)> {
        if !active.is_idle() {
            return None;
        }
        let target = std::slice::from_ref(&active.target);
        let dialled = dial_any(&self.data_path, self.last, target, RETURN_PATIENCE).await?.ok()?;
        (active.link.is_suspect() && active.is_idle()).then_some(dialled)
    }

    /// A QUIC link to the edge that HTTP/2 goes to, if UDP works again. One connection at a time, so that the others carry on.
    pub(super) async fn return_to_quic(&self, active: &ServedLink) -> Option<(EdgeLink, Target)> {
        let _alone = self.fleet.switching.lock().await;
        let way = Way::first(ProtocolChoice::Auto);
        let dialled = dial_any(&self.data_path, way, std::slice::from_ref(&active.target), PATIENCE).await?.ok()?;
        self.fleet.fall_back(None);
        Some(dialled)
    }
}
