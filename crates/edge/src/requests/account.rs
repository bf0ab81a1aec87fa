//! One request's entry in the traffic: through which node it went, how long each hop took, and what became of it.

use crate::cause::{Cause, Fault};
use crate::requests::failed::Failed;
use crate::series::{Fate, HopTime, Series};
use crate::traffic::{Label, Traffic};
use crate::tunnels::connection::Connection;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// Filled while the request is under way, entered at its end.
pub(super) struct Account<'a> {
    traffic: &'a Traffic,
    /// `None`: it is no visitor's.
    label: Option<Label>,
    started: Instant,
    series: Option<Arc<Series>>,
    opened: Option<Instant>,
    status: Option<u16>,
    bytes_in: u64,
    bytes_out: u64,
}

impl<'a> Account<'a> {
    pub(super) fn new(traffic: &'a Traffic, label: Option<Label>, started: Instant) -> Self {
        Self { traffic, label, started, series: None, opened: None, status: None, bytes_in: 0, bytes_out: 0 }
    }

    /// It is tried on this connection.
    pub(super) fn tried(&mut self, connection: &Connection) {
        self.opened = None;
        let Some(label) = &self.label else { return };
        self.series = Some(self.traffic.of(label, connection.tunnel_id, Some(&connection.token_id)));
    }

    /// A stream is open for it.
    pub(super) fn opened(&mut self) {
        self.opened = Some(Instant::now());
    }

    /// The answer's head has come.
    pub(super) fn answered(&mut self, status: u16) {
        self.status = Some(status);
        if let (Some(series), Some(opened)) = (&self.series, self.opened) {
            series.took(HopTime::Queue, opened.duration_since(self.started).as_secs_f64());
            series.took(HopTime::FirstByte, opened.elapsed().as_secs_f64());
        }
    }

    /// So much has passed.
    pub(super) fn passed(&mut self, bytes_in: u64, bytes_out: u64) {
        self.bytes_in = bytes_in;
        self.bytes_out = bytes_out;
    }

    /// The try failed, whether or not another one follows.
    pub(super) fn failed(&self, failed: &Failed) {
        let Some(series) = &self.series else { return };
        match failed.cause {
            Cause::OriginRefused | Cause::OriginDenied | Cause::OriginError => series.refused(),
            Cause::OriginTimeout | Cause::ResponseTimeout => series.timed_out(),
            _ => {}
        }
    }

    /// Enters it, with the tunnel that it was to go through. `is_stream`: a WebSocket, whose length says nothing of its origin.
    pub(super) fn end(&self, tunnel_id: Uuid, ended: Result<(), &Failed>, is_stream: bool) {
        let Some(label) = &self.label else { return };
        let unplaced;
        let series = match &self.series {
            Some(series) => series,
            None => {
                unplaced = self.traffic.of(label, tunnel_id, None);
                &unplaced
            }
        };
        let fate = match (ended, self.status) {
            (Ok(_), status) => Fate::Answered(status.unwrap_or(200)),
            (Err(failed), _) if failed.cause.fault() == Fault::Client => Fate::ClientFailed,
            (Err(failed), _) if failed.answering => Fate::Cut,
            (Err(_), _) => Fate::EdgeMade,
        };
        series.ended(fate, self.bytes_in, self.bytes_out);
        if ended.is_ok() && !is_stream {
            series.took(HopTime::Total, self.started.elapsed().as_secs_f64());
        }
    }
}
