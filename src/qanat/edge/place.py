"""Where the edge itself is found on its public listener."""

from typing import TYPE_CHECKING

from qanat.settings import EdgeSettings

if TYPE_CHECKING:
    from qanat.edge.engine import EdgeAddresses


def own_names(settings: EdgeSettings) -> frozenset[str]:
    """Hostnames that lead to the edge, and never to a tunnel."""
    return frozenset([settings.control.hostname] if settings.control.hostname else [])


def on_https(settings: EdgeSettings, hostname: str) -> str:
    """A hostname with the port that visitors reach the HTTPS listener by, which must be there: `api.example.net:8443`; without it
    where that is 443."""
    port = settings.public.https_port or int((settings.public.https or "").rpartition(":")[2])
    return hostname if port == 443 else f"{hostname}:{port}"


def management_place(settings: EdgeSettings) -> str:
    """Where management tokens say that they are good: `management.example.net:8443`; "" where it is stock's name, or nowhere."""
    name = settings.public.management_hostname or ""
    if (
        not name
        or not settings.public.https
        or name == type(settings.public).model_fields["management_hostname"].default
    ):
        return ""
    return on_https(settings, name)


def public_url(settings: EdgeSettings, addresses: "EdgeAddresses", path: str) -> str | None:
    """Where the API is found by the public listener; `path`: below which it is."""
    if not settings.control.hostname or addresses.https is None:
        return None
    port = settings.public.https_port or int(addresses.https.rpartition(":")[2])
    return f"https://{settings.control.hostname}{'' if port == 443 else f':{port}'}{path}"
