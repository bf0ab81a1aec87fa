//! One request's entry in the traffic: through which node it went, how long each hop took, and what became of it.

use crate::access::Way;
use crate::cause::{Cause, Fault};
use crate::events::Hop;
use crate::requests::failed::Failed;
use crate::series::{Behind, Fate, HopTime, Series};
use crate::traffic::{Label, Traffic};
use crate::tunnels::connection::Connection;
use qanat_transport::Took;
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
    /// The try that is under way.
    connection: Option<Uuid>,
    picked: Option<Instant>,
    opened: Option<Instant>,
    answered: Option<Instant>,
    /// Of the time until then, as its connector tells.
    behind: Option<Behind>,
    /// Of the connection, for the log; not kept without one.
    node: Option<String>,
    keeps_node: bool,
    failed: Vec<Try>,
    /// The answer's head is awaited on the connection that `series` is of.
    is_waiting: bool,
    status: Option<u16>,
    bytes_in: u64,
    bytes_out: u64,
}

/// A try that failed.
struct Try {
    connection: Uuid,
    picked: Instant,
    opened: Option<Instant>,
    answered: Option<(Instant, u16)>,
    behind: Option<Behind>,
    failed: Instant,
    cause: Cause,
    why: String,
}

impl<'a> Account<'a> {
    /// `keeps_node`: there is a log that wants to know it.
    pub(super) fn new(traffic: &'a Traffic, label: Option<Label>, started: Instant, keeps_node: bool) -> Self {
        Self {
            traffic,
            label,
            started,
            series: None,
            connection: None,
            picked: None,
            opened: None,
            answered: None,
            behind: None,
            node: None,
            keeps_node,
            failed: Vec::new(),
            is_waiting: false,
            status: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// It is tried on this connection.
    pub(super) fn tried(&mut self, connection: &Connection) {
        self.give_up();
        (self.connection, self.picked) = (Some(connection.id), Some(Instant::now()));
        (self.opened, self.answered, self.status, self.behind) = (None, None, None, None);
        if self.keeps_node {
            self.node = Some(connection.token_id.clone());
        }
        let Some(label) = &self.label else { return };
        self.series = Some(self.traffic.of(label, connection.tunnel_id, Some(&connection.token_id)));
    }

    /// A stream is open for it.
    pub(super) fn opened(&mut self) {
        self.opened = Some(Instant::now());
        if let Some(series) = &self.series {
            series.opened();
            self.is_waiting = true;
        }
    }

    /// The answer's head has come.
    pub(super) fn answered(&mut self, status: u16, took: Option<Took>) {
        let now = Instant::now();
        (self.status, self.answered) = (Some(status), Some(now));
        if let (Some(series), Some(opened)) = (&self.series, self.opened) {
            series.took(HopTime::Queue, opened.duration_since(self.started).as_secs_f64());
            let whole = now.duration_since(opened);
            series.took(HopTime::FirstByte, whole.as_secs_f64());
            if let Some(took) = took {
                let behind = Behind::of(whole, took);
                series.took_behind(&behind);
                self.behind = Some(behind);
            }
            self.is_waiting = false;
        }
    }

    /// No answer is awaited any more.
    fn give_up(&mut self) {
        if let (true, Some(series)) = (std::mem::take(&mut self.is_waiting), &self.series) {
            series.unanswered();
        }
    }

    /// So much has passed.
    pub(super) fn passed(&mut self, bytes_in: u64, bytes_out: u64) {
        self.bytes_in = bytes_in;
        self.bytes_out = bytes_out;
    }

    /// The try failed, whether or not another one follows.
    pub(super) fn failed(&mut self, failed: &Failed) {
        if let (Some(connection), Some(picked)) = (self.connection, self.picked) {
            let now = Instant::now();
            let behind = || Some(Behind::of(now.duration_since(self.opened?), failed.took?));
            self.failed.push(Try {
                connection,
                picked,
                opened: self.opened,
                answered: self.answered.zip(self.status),
                behind: self.behind.or_else(behind),
                failed: now,
                cause: failed.cause,
                why: failed.why(),
            });
        }
        let Some(series) = &self.series else { return };
        match failed.cause {
            Cause::OriginRefused | Cause::OriginDenied | Cause::OriginTls | Cause::OriginError => series.refused(),
            Cause::OriginTimeout | Cause::ResponseTimeout => series.timed_out(),
            _ => {}
        }
    }

    /// Enters it, with the tunnel that it was to go through. `is_stream`: a WebSocket, whose length says nothing of its origin.
    pub(super) fn end(&mut self, tunnel_id: Uuid, ended: Result<(), &Failed>, is_stream: bool) {
        self.give_up();
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

    /// The hops of a request that failed, in order, as far as it came.
    pub(super) fn hops(&self, failed: &Failed) -> Vec<Hop> {
        let hop = |name, from: Instant, to: Instant, what| {
            (name, from.duration_since(self.started).as_secs_f64(), to.duration_since(from).as_secs_f64(), what)
        };
        let (mut hops, mut since) = (Vec::new(), self.started);
        for each in &self.failed {
            let Try { connection, picked, opened, answered, behind, failed, cause, why } = each;
            hops.push(hop("edge", since, *picked, "a connection was picked".to_owned()));
            let broke = |from| hop(cause.place().name(), from, *failed, why.clone());
            match (opened, answered) {
                (None, _) => hops.push(hop("tunnel", *picked, *failed, format!("no stream on {connection}: {why}"))),
                (Some(opened), answered) => {
                    hops.push(hop("tunnel", *picked, *opened, format!("a stream was opened on {connection}")));
                    let mut until = *opened;
                    if let Some(behind) = behind {
                        // The way there and the way back are taken to be equally long.
                        let there = *opened + behind.tunnel / 2;
                        let through = there + behind.connector;
                        hops.push(hop("tunnel", *opened, there, "the request reached the connector".to_owned()));
                        hops.push(hop("connector", there, through, "a rule took it".to_owned()));
                        until = through;
                    }
                    if let Some((at, status)) = answered {
                        let heard = match behind {
                            Some(Behind { origin: Some(origin), .. }) => until + *origin,
                            _ => *at,
                        };
                        hops.push(hop("origin", until, heard, format!("the head of its answer came: {status}")));
                        until = *at;
                        if behind.is_some() {
                            hops.push(hop("tunnel", heard.min(*at), *at, "the answer's head came back".to_owned()));
                        }
                    }
                    hops.push(broke(until));
                }
            }
            since = *failed;
        }
        if self.failed.is_empty() {
            hops.push(hop("edge", since, Instant::now(), failed.why()));
        }
        hops
    }

    /// For the log.
    pub(super) fn way(&self, tunnel_id: Uuid, cause: Option<Cause>) -> Way<'_> {
        let opened = self.opened;
        Way {
            tunnel_id: Some(tunnel_id),
            connection_id: self.connection,
            node: self.node.as_deref().map(|token| if token.is_empty() { "default" } else { token }),
            queue_s: opened.map(|opened| opened.duration_since(self.started).as_secs_f64()),
            first_byte_s: opened.zip(self.answered).map(|(opened, at)| at.duration_since(opened).as_secs_f64()),
            connector_s: self.behind.map(|behind| behind.connector.as_secs_f64()),
            origin_s: self.behind.and_then(|behind| behind.origin).map(|origin| origin.as_secs_f64()),
            cause: cause.map(Cause::code),
        }
    }

    /// What the client got of the origin: its status, and bytes in and out.
    pub(super) fn told(&self) -> (Option<u16>, u64, u64) {
        (self.status, self.bytes_in, self.bytes_out)
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}
