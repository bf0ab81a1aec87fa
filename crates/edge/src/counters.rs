//! Totals since start.

qanat_boundary::counters! {
    requests "Requests whose head was read.";
    requests_open "Requests under way.";
    requests_failed "Answered by the edge itself or cut, the client's departure left out.";
    client_closed "The client went away first.";
    retries "Attempts on another connection.";
    requests_held "Requests that wait while there is a hold.";
    websockets_open "WebSockets under way.";
    bytes_in "Request body bytes relayed.";
    bytes_out "Response body bytes relayed.";
    connections "Public connections accepted.";
    connections_open "Public connections open.";
    connections_refused "Public connections closed at once: a limit.";
    connections_calmed "Public HTTP/2 connections ended with ENHANCE_YOUR_CALM.";
    handshakes_failed "Public TLS handshakes that failed.";
    proxy_headers_refused "Public connections of listed proxies without a good PROXY protocol header.";
    tunnel_connections_open "Registered connections of connectors.";
    tunnel_connections_suspect "Of those, suspect now: what was sent on them isn't acknowledged in time.";
    suspicions "Connections that became suspect.";
    registrations "Registrations accepted.";
    registrations_refused "Registrations refused.";
    configurations_pushed "Configurations pushed and answered.";
    configurations_failed "Pushes that got no answer.";
    unknown_streams "Streams that connectors opened without reason, and malformed answers (of ended connections).";
    trailers_dropped "Trailer sections that the transport or the client's HTTP version can't carry.";
    informational "1xx answers passed on.";
}
