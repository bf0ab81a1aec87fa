//! What the public side serves by: the settings and tables that it reads, the connections that it picks from, its limits and counters.

use crate::access::{AccessLog, Rule};
use crate::cause::ByCause;
use crate::control::Control;
use crate::counters::Counters;
use crate::drain::Drain;
use crate::error::EdgeError;
use crate::events::Events;
use crate::holds::Holds;
use crate::limits::{Bounds, Limits};
use crate::listing::Listing;
use crate::management::Management;
use crate::pressure::Gauge;
use crate::settings::{Settings, networks};
use crate::tables::Tables;
use crate::traffic::Traffic;
use crate::tunnels::dials::Dials;
use crate::tunnels::registry::Registry;
use bytes::Bytes;
use ipnet::IpNet;
use qanat_http::{Headers, ResponseHead};
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

/// A request id's, before the location.
const RAY_DIGITS: usize = 16;
/// One address may have a sixteenth of the places of strangers, as it may of those of connectors that have not registered.
const STRANGERS: usize = 16;

/// What every public request is served by.
pub(crate) struct PublicSide {
    pub(crate) settings: Settings,
    pub(crate) tables: Arc<Tables>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) events: Arc<Events>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) traffic: Traffic,
    pub(crate) access: AccessLog,
    pub(crate) listing: Listing,
    pub(crate) failures: ByCause,
    pub(crate) limits: Arc<Limits>,
    /// Of connections that found no place among visitors and may be connectors, until their hello is read.
    pub(crate) strangers: Arc<Limits>,
    pub(crate) holds: Holds,
    pub(crate) backlog: Arc<qanat_http::Backlog>,
    pub(crate) pressure: Gauge,
    pub(crate) head_limits: qanat_http::Limits,
    pub(crate) drain: Drain,
    pub(crate) management: Management,
    /// `None`: the public listener doesn't serve it.
    pub(crate) control: Option<Control>,
    trusted: Vec<IpNet>,
    /// Whose connections begin with a PROXY protocol header.
    fronts: Vec<IpNet>,
    pub(crate) https_port: OnceLock<u16>,
}

impl PublicSide {
    pub(crate) fn new(settings: Settings) -> Result<Self, EdgeError> {
        let events = Arc::new(Events::new(settings.event_queue));
        let counters = Arc::new(Counters::default());
        let trusted = networks("trusted_proxies", &settings.trusted_proxies)?;
        let fronts = networks("proxy_protocol", &settings.proxy_protocol)?;
        let shared_networks = networks("shared_networks", &settings.shared_networks)?;
        let bounds = Bounds {
            max: settings.max_connections,
            max_per_address: settings.max_connections_per_address,
            new_per_second: settings.max_new_connections_per_address,
            failed_per_second: settings.max_failed_handshakes_per_address,
            exempt: [&trusted[..], &fronts, &shared_networks].concat(),
        };
        let strangers = Bounds {
            max: settings.max_pending_tunnel_handshakes,
            max_per_address: (settings.max_pending_tunnel_handshakes / STRANGERS).max(STRANGERS),
            ..bounds.clone()
        };
        let dials = Dials::new(settings.max_new_connections_per_address, shared_networks);
        let location = &settings.location;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if location.is_empty() || location.len() > 64 || !location.bytes().all(plain) {
            let reason = format!("{location:?} is not 1 to 64 letters, digits, '-', '_' or '.'");
            return Err(EdgeError::BadSetting { field: "location", reason });
        }
        let control = (!settings.control_hostname.is_empty()).then(|| {
            let (hostname, socket) = (&settings.control_hostname, settings.control_socket.clone().into());
            Control::new(hostname, socket, settings.max_control_requests, settings.max_control_body_bytes)
        });
        Ok(Self {
            tables: Arc::new(Tables::new()),
            registry: Arc::new(Registry::new(events.clone(), counters.clone(), dials)),
            limits: Limits::new(bounds),
            strangers: Limits::new(strangers),
            holds: Holds::new(),
            pressure: Gauge::default(),
            backlog: qanat_http::Backlog::new(settings.max_unread_bytes),
            head_limits: qanat_http::Limits {
                line: settings.max_request_line_bytes,
                head: settings.max_header_bytes,
                fields: settings.max_header_fields,
                trailers: settings.max_trailer_bytes,
            },
            drain: Drain::default(),
            traffic: Traffic::default(),
            access: AccessLog::new(Rule {
                sample: settings.access_log_sample,
                query: settings.access_log_query,
                most_bytes: settings.access_log_bytes,
            }),
            listing: Listing::default(),
            failures: ByCause::default(),
            control,
            management: Management::new(&settings.management_hostname, settings.management_key.as_deref())?,
            trusted,
            fronts,
            https_port: OnceLock::new(),
            events,
            counters,
            settings,
        })
    }

    /// Whether `peer` is a listed proxy.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&peer))
    }

    /// Whether connections of `peer` begin with a PROXY protocol header.
    pub(crate) fn has_header(&self, peer: IpAddr) -> bool {
        self.fronts.iter().any(|network| network.contains(&peer))
    }

    /// A fresh request id: 16 hex digits and the location.
    pub(crate) fn ray(&self) -> Bytes {
        let location = &self.settings.location;
        let mut ray = String::with_capacity(RAY_DIGITS + 1 + location.len());
        let _ = write!(ray, "{:0RAY_DIGITS$x}-{location}", rand::random::<u64>());
        ray.into()
    }

    /// The plain listener's answer that names the https address.
    pub(crate) fn redirect(&self, hostname: &Bytes, target: &Bytes) -> ResponseHead {
        let port = match self.settings.public_https_port {
            0 => self.https_port.get().copied().unwrap_or(443),
            port => port,
        };
        let mut location = b"https://".to_vec();
        location.extend_from_slice(hostname);
        if port != 443 {
            location.extend_from_slice(format!(":{port}").as_bytes());
        }
        location.extend_from_slice(if target.starts_with(b"/") { target } else { b"/" });
        let mut headers = Headers::new();
        headers.push(&b"Location"[..], location);
        ResponseHead { status: 308, headers }
    }
}

#[cfg(test)]
impl PublicSide {
    pub(crate) fn for_tests(settings: Settings) -> Self {
        Self::new(settings).unwrap()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::certificate::Certificate;
    use crate::test_settings::settings;

    pub(crate) fn certificate(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Certificate::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap()
    }

    #[test]
    fn a_request_id_has_sixteen_hex_digits_and_the_location() {
        let side = PublicSide::for_tests(settings());
        let ray = String::from_utf8(side.ray().to_vec()).unwrap();
        let (number, location) = ray.split_once('-').unwrap();
        assert!(number.len() == 16 && number.bytes().all(|b| b.is_ascii_hexdigit()) && location == "lab");
        assert_ne!(side.ray(), side.ray());
    }

    #[test]
    fn a_redirect_names_the_port_unless_it_is_443() {
        let mut set = settings();
        set.public_https_port = 8443;
        let side = PublicSide::for_tests(set);
        let location = |target: &'static str| {
            let head = side.redirect(&Bytes::from_static(b"a.test"), &Bytes::from_static(target.as_bytes()));
            String::from_utf8(head.headers.get("location").unwrap().to_vec()).unwrap()
        };
        assert_eq!(location("/x?y=%2f"), "https://a.test:8443/x?y=%2f");
        assert_eq!(location("*"), "https://a.test:8443/");
        assert!(
            PublicSide::for_tests(settings())
                .redirect(&Bytes::from_static(b"a"), &Bytes::from_static(b"/"))
                .headers
                .contains("location")
        );
    }
}
