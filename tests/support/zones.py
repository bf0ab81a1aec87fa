"""A zone as one meets them."""

from datetime import timedelta
from uuid import uuid4

from qanat.store.models import Certificate, CertificateOrder
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


def put_certificates(control: Control, zone_id: str) -> str:
    """Of a CA: one that is good, one that should have been renewed, and one that can't be had; the id of the second."""
    ids = {name: (str(uuid4()), str(uuid4())) for name in ("shop", "old", "new")}
    wrong = {
        "old": ("acme_validation_failed", "the CA could not check that the name leads here: http-01: no answer"),
        "new": ("acme_rate_limited", "the CA has given too many certificates for example.test this week"),
    }
    with control.store.recording() as write:
        for name, days in (("shop", 40), ("old", 9)):
            certificate = Certificate(
                id=ids[name][0],
                zone_id=zone_id,
                source="acme",
                names=[f"{name}.example.test"],
                chain="",
                sealed_secret=control.sealer.seal(b"key", ids[name][0]),
                issuer="R11",
                fingerprint=ids[name][0].replace("-", "") * 2,
                authority="https://acme-v02.api.letsencrypt.org/directory",
                not_before=write.at - timedelta(days=90 - days),
                not_after=write.at + timedelta(days=days),
                created_at=write.at,
                renew_at=write.at + timedelta(days=days - 30),
                ask_at=write.at + timedelta(hours=6),
            )
            write.session.add(certificate)
        for name, (certificate_id, order_id) in ids.items():
            order = CertificateOrder(
                id=order_id,
                name=f"{name}.example.test",
                zone_id=zone_id,
                state="issued",
                failures=3 if name in wrong else 0,
                certificate_id=certificate_id if name != "new" else None,
                attempted_at=write.at,
            )
            order.sealed_secret = control.sealer.seal(b"key", order_id)
            if name in wrong:
                order.error_code, order.error_reason = wrong[name]
                order.error_at, order.next_at = write.at, write.at + timedelta(hours=3)
            write.session.add(order)
    return ids["old"][0]
