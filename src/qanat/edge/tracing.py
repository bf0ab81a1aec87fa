"""Spans for a collector, by the OpenTelemetry SDK (`pip install qanat[otlp]`), made of the access log's fields once a request
is over. The SDK batches, sends in a thread of its own, and drops what a collector doesn't take."""

from collections.abc import Mapping
from typing import Any

from qanat.errors import QanatError
from qanat.settings import TracingSettings

HTTP = {"HTTP/1.0": "1.0", "HTTP/1.1": "1.1", "HTTP/2": "2"}


class Spans:
    """Sends one span a traced request. QanatError `otlp_missing`: the SDK isn't installed."""

    def __init__(self, settings: TracingSettings, *, location: str, exporter: Any = None) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise QanatError(
                "otlp_missing",
                "OpenTelemetry's SDK is not installed",
                where="tracing.endpoint",
                hint="pip install 'qanat[otlp]', or leave tracing.endpoint out",
            ) from error
        self._resource = Resource.create({"service.name": "qanat-edge", "service.instance.id": location})
        self._batches = BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=settings.endpoint))

    def add(self, fields: Mapping[str, Any]) -> None:
        """The span of one request: the fields of its line."""
        self._batches.on_end(_span(fields, self._resource))

    def close(self) -> None:
        """Sends what is left."""
        self._batches.shutdown()


def _span(fields: Mapping[str, Any], resource: Any) -> Any:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    def context(span_id: str, *, is_remote: bool) -> SpanContext:
        return SpanContext(int(fields["trace_id"], 16), int(span_id, 16), is_remote, TraceFlags(TraceFlags.SAMPLED))

    parent = fields.get("parent_span_id")
    begin = int(fields["time"] * 1e9)
    is_failed = fields["status"] >= 500 or "cause" in fields
    return ReadableSpan(
        name=fields["method"] or "HTTP",
        context=context(fields["span_id"], is_remote=False),
        parent=context(parent, is_remote=True) if parent else None,
        resource=resource,
        attributes=attributes(fields),
        kind=SpanKind.SERVER,
        status=Status(StatusCode.ERROR if is_failed else StatusCode.UNSET),
        start_time=begin,
        end_time=begin + int(fields["duration_s"] * 1e9),
    )


def attributes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """By OpenTelemetry's conventions for HTTP servers, as far as they have a name; no query, no Referer."""
    given = {
        "http.request.method": fields["method"],
        "url.scheme": fields["scheme"],
        "url.path": fields["path"],
        "server.address": fields["host"],
        "client.address": fields["client_ip"],
        "network.protocol.name": "http",
        "network.protocol.version": HTTP.get(fields["protocol"]),
        "http.response.status_code": fields["status"],
        "user_agent.original": fields.get("user_agent"),
        "error.type": fields.get("cause"),
        "qanat.request_id": fields["request_id"],
        "qanat.tunnel_id": fields.get("tunnel_id"),
        "qanat.connection_id": fields.get("connection_id"),
        "qanat.queue_s": fields.get("queue_s"),
        "qanat.first_byte_s": fields.get("first_byte_s"),
        "qanat.connector_s": fields.get("connector_s"),
        "qanat.origin_s": fields.get("origin_s"),
    }
    return {name: value for name, value in given.items() if value is not None}
