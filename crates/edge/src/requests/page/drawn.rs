//! The edge's own page: what happened, for whoever visits; the way of the request with the place where it broke; what to do, for whoever
//! runs the site; and the request's id. One file: nothing is asked of anywhere.

use super::failure::Failure;
use crate::cause::{Cause, Fault, Place};
use std::fmt::Write as _;

/// Nothing but what is in the page itself.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn page(failure: &Failure<'_>) -> String {
    let title = heading(failure);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<main>\n{}</main>\n</body>\n</html>\n",
        boxed(failure)
    )
}

/// What the page shows, for a page of the zone's own.
pub(super) fn boxed(failure: &Failure<'_>) -> String {
    let cause = failure.cause;
    let number = match cause.number() {
        0 => String::new(),
        n => format!(" <span class=\"number\">error {n}</span>"),
    };
    let mut html =
        format!("<h1>{}{number}</h1>\n<p class=\"lead\">{}</p>\n", heading(failure), escape(for_visitors(cause)));
    if !failure.detail().is_empty() {
        let _ = writeln!(html, "<p>{}</p>", escape(failure.detail()));
    }
    html.push_str(&chain(cause));
    let _ = write!(
        html,
        "<section>\n<h2>If this is your site</h2>\n<p>{}</p>\n<dl>\n\
         <dt>Request id</dt><dd><code>{ray}</code></dd>\n<dt>Cause</dt><dd><code>{code}</code></dd>\n\
         <dt>Where</dt><dd>{place}</dd>\n<dt>Worth a retry</dt><dd>{retry}</dd>\n<dt>Edge</dt><dd>{location}</dd>\n</dl>\n\
         <p><code>qanat explain {ray}</code> tells more.</p>\n</section>\n",
        escape(cause.advice()),
        ray = escape(&String::from_utf8_lossy(failure.ray)),
        code = cause.code(),
        place = cause.place().name(),
        retry = if cause.is_retryable() { "yes" } else { "no" },
        location = escape(failure.location),
    );
    html
}

fn heading(failure: &Failure<'_>) -> String {
    format!("{} {}", failure.status, escape(failure.cause.title()))
}

/// For somebody who knows nothing of tunnels.
fn for_visitors(cause: Cause) -> &'static str {
    match (cause, cause.fault()) {
        (Cause::UnknownHostname, _) => "There is no site at this address. Check its spelling.",
        (Cause::TunnelDeleted, _) => "This site is no longer here.",
        (_, Fault::Client) => "The site could not take this request as your browser or program sent it.",
        (_, Fault::Edge) => "The site is very busy. Please try again in a moment.",
        (_, Fault::Tunnel) => {
            "You have done nothing wrong: the site's server is not connected. Please try again in a few minutes."
        }
        (_, Fault::Origin) => {
            "You have done nothing wrong: the site's server did not answer as it should. Please try again in a few minutes."
        }
    }
}

/// The way as a list, which is drawn by the style: what came before the break is whole, what comes after was not reached.
fn chain(cause: Cause) -> String {
    let broken = cause.place();
    let mut html = String::from("<ol class=\"chain\" aria-label=\"The way of the request\">\n");
    for place in Place::ALL {
        let (class, state, mark) = match place.cmp(&broken) {
            std::cmp::Ordering::Less => ("ok", "works", "M8 12.5l3 3 5.5-6.5"),
            std::cmp::Ordering::Equal => ("broken", "here it broke", "M8.5 8.5l7 7m0-7l-7 7"),
            std::cmp::Ordering::Greater => ("unreached", "not reached", "M8.5 12h7"),
        };
        let _ = writeln!(
            html,
            "<li class=\"{class}\"><svg viewBox=\"0 0 24 24\" aria-hidden=\"true\"><circle cx=\"12\" cy=\"12\" r=\"10\"/>\
             <path d=\"{mark}\"/></svg><b>{}</b><span>{state}</span></li>",
            place.name()
        );
    }
    html.push_str("</ol>\n");
    html
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
