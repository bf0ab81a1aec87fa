"""What the edge tells of itself and of what passes: probes, metrics, series, access log, traces, log."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from qanat.settings.values import Network, OptionalAddress, Part


class ProbeSettings(Part):
    """The probes that ask every public hostname's origin, through each node, whether it answers."""

    enabled: bool = Field(
        default=True,
        description="Ask: `GET /` of every public hostname that leads to a tunnel, every 10 s, where nothing else is set "
        "(`qanat probe set`).",
    )
    per_second: float = Field(
        default=100.0,
        gt=0,
        le=10_000,
        description="Probes a second in all; with more to ask, all are asked less often.",
    )


class MetricsSettings(Part):
    """The edge's own metrics."""

    address: OptionalAddress = Field(
        default=None,
        description="Address of a listener that serves GET /metrics (Prometheus) without a token; by default none: the control "
        "address serves it to a token with edge.read, at /client/v4/qanat/metrics.",
    )
    hostnames: int = Field(
        default=200,
        ge=0,
        le=10_000,
        description="Hostnames with series of their own, those with most requests; all others are one series.",
    )


class SeriesSettings(Part):
    """What the dashboard's plots are made of, kept in the store."""

    hostnames: int = Field(
        default=200,
        ge=0,
        le=2000,
        description="Hostnames with a series of their own in one interval, those with most requests. Tunnels and accounts have "
        "one in any case. About 100 bytes each; 10 s are kept for an hour, a minute for a day, 10 for 8 days, hours for 92.",
    )


class AccessLogSettings(Part):
    """One line of JSON for each request that is over."""

    to: str = Field(
        default="off",
        description="`stdout`, a file's path, or `unix:` and a socket's path, which gets lines as a stream; `off` for none.",
    )
    sample: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="How many of the requests that their origin answered have a line, 0 to 1; those that the edge answered "
        "itself, or cut, always have one.",
    )
    query: Literal["none", "names", "all"] = Field(
        default="names",
        description="What a line tells of queries (of Referer's too): nothing, the names with `*` for each value, or everything, "
        "tokens and passwords included.",
    )
    rotate_bytes: int = Field(
        default=100 * 2**20,
        ge=0,
        description="A file begins anew at this size (0: never; a file that somebody else moves away is begun anew as well).",
    )
    keep: int = Field(default=5, ge=0, le=1000, description="Older files that are kept, as `….1` to `….5`.")
    queue_bytes: int = Field(
        default=8 * 2**20,
        ge=64 * 1024,
        le=2**30,
        description="Lines that may wait to be written; what has no room is dropped and counted.",
    )


class TracingSettings(Part):
    """The edge as a span of traces (W3C Trace Context); needs `pip install qanat[otlp]`."""

    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s?#@]+$",
        description="Where spans go by OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces; without it, trace context passes "
        "through untouched. Headers for it: OTEL_EXPORTER_OTLP_HEADERS.",
    )
    sample: float = Field(
        default=0.01,
        gt=0,
        le=1,
        description="How many requests are traced, 0 to 1. A caller's `not sampled` is heeded; its `sampled` only within this.",
    )


class AlertSettings(Part):
    """Where alerts may be sent (channels and rules are an account's: `qanat alert`)."""

    networks: tuple[Network, ...] = Field(
        default=(),
        description="Addresses and networks that webhooks and mails may be sent to besides public ones, without TLS as well: "
        "otherwise nothing goes to loopback, private, link-local and metadata addresses, however a name leads there.",
    )
    ca_file: Path | None = Field(
        default=None,
        description="Certificates (PEM) of CAs that a receiver's certificate may be of, beside the system's.",
    )


class LogSettings(Part):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least level that is shown."
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="`auto`: console on a terminal, else JSON."
    )
