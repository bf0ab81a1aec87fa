"""Where pages are."""

from urllib.parse import quote, urlencode


def tunnel_url(tunnel_id: str, part: str = "") -> str:
    """A tunnel's page."""
    return f"/tunnels/{quote(tunnel_id)}{f'/{part}' if part else ''}"


def hostname_url(name: str, part: str = "") -> str:
    """A hostname's page."""
    return f"/hostnames/{quote(name, safe='')}{f'/{part}' if part else ''}"


def zone_url(zone_id: str, part: str = "") -> str:
    """A zone's page, which lists its records."""
    return f"/zones/{quote(zone_id)}{f'/{part}' if part else ''}"


def with_query(path: str, **values: object) -> str:
    """A path with what of these values says something."""
    told = {name: value for name, value in values.items() if value not in ("", None)}
    return f"{path}?{urlencode(told)}" if told else path
