"""Where the edge itself is found on its public listener."""

from qanat.settings import EdgeSettings


def own_names(settings: EdgeSettings) -> frozenset[str]:
    """Hostnames that lead to the edge, and never to a tunnel."""
    return frozenset([settings.control.hostname] if settings.control.hostname else [])


def on_https(settings: EdgeSettings, hostname: str) -> str:
    """A hostname with the port that visitors reach the HTTPS listener by, which must be there: `api.example.net:8443`; without it
    where that is 443."""
    port = settings.public.https_port or int((settings.public.https or "").rpartition(":")[2])
    return hostname if port == 443 else f"{hostname}:{port}"
