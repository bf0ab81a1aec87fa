"""A zone as one meets them."""

from tests.support.control import Control


def put_zone(control: Control, tunnel_id: str) -> tuple[str, str]:
    """`example.test` with records of many types and a public hostname of the tunnel; the ids of the zone and of that record."""
    zone = control.create_zone("example.test")
    given: list[dict[str, object]] = [
        {"name": "@", "type": "MX", "content": "mail.example.test", "priority": 10},
        {"name": "@", "type": "TXT", "content": "v=spf1 include:_spf.example.test -all", "comment": "mail"},
        {
            "name": "www",
            "type": "A",
            "content": "192.0.2.10",
            "ttl": 300,
            "comment": "the old server",
            "tags": ["team:web"],
        },
        {"name": "www", "type": "AAAA", "content": "2001:db8::10", "ttl": 300},
        {"name": "_xmpp._tcp", "type": "SRV", "content": "5 5269 chat.example.test", "priority": 1},
        {"name": "@", "type": "CAA", "data": {"flags": 0, "tag": "issue", "value": "letsencrypt.org"}},
        {"name": "docs", "type": "CNAME", "content": "pages.example.net"},
    ]
    for fields in given:
        control.create_record(zone["id"], **fields)
    record = control.create_record(
        zone["id"],
        name="shop",
        type="CNAME",
        content=f"{tunnel_id}.cfargotunnel.com",
        proxied=True,
        comment="the shop, through two hosts",
        tags=["team:web", "critical"],
    )
    header = {"enabled": True, "max_age": 31536000, "include_subdomains": True}
    control.call(
        "PATCH",
        f"/zones/{zone['id']}/settings/security_header",
        {"value": {"strict_transport_security": header}},
    )
    return str(zone["id"]), str(record["id"])
