"""cases.md 32: which name an HTTPS origin is asked for, and which certificate is taken from it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import ApiError
from tests.support.certificates import OriginAuthority
from tests.support.origin import Origin
from tests.support.sites import Publisher

pytestmark = pytest.mark.case(32)
NAMED = "a.example.com"


@pytest.fixture
def origin(publish: Publisher, authority: OriginAuthority) -> Iterator[Origin]:
    """It has a certificate for `NAMED` and for the tunnel's public hostnames, and none for the address that is dialled."""
    origin = Origin(tls=authority.server_context(NAMED, f"*.{publish.tunnelled.domain}"))
    yield origin
    origin.close()


def test_the_name_is_the_rules_or_the_requests_and_pooled_connections_never_cross(
    publish: Publisher, authority: OriginAuthority, origin: Origin
) -> None:
    service, trusting = f"https://{origin.service.rpartition('/')[2]}", {"caPool": str(authority.ca_file)}
    named, first, second = (publish.hostname() for _ in range(3))
    matching = {**trusting, "matchSNItoHost": True}
    site = publish.rules(
        [
            {"hostname": named, "service": service, "originRequest": {**trusting, "originServerName": NAMED}},
            {"hostname": first, "service": service, "originRequest": matching},
            {"hostname": second, "service": service, "originRequest": matching},
        ]
    )
    clients = {hostname: site.edge.h1(hostname) for hostname in (named, first, second)}
    for _ in range(2):
        for hostname, client in clients.items():
            assert client.get("/").status == 200
            assert origin.last.sni == (NAMED if hostname == named else hostname)
    assert len(origin.connections) == 3, "each name has a connection of its own, which is used again"
    for client in clients.values():
        client.close()


def test_a_certificate_that_is_not_trusted_is_502_with_the_reason_in_the_log(
    publish: Publisher, authority: OriginAuthority, origin: Origin
) -> None:
    service, trusting = f"https://{origin.service.rpartition('/')[2]}", {"caPool": str(authority.ca_file)}
    stranger, elsewhere, careless = (publish.hostname() for _ in range(3))
    site = publish.rules(
        [
            {"hostname": stranger, "service": service, "originRequest": {"originServerName": NAMED}},
            {"hostname": elsewhere, "service": service, "originRequest": trusting},
            {"hostname": careless, "service": service, "originRequest": {"noTLSVerify": True}},
        ]
    )
    for hostname, reason in (
        (stranger, "certificate signed by unknown authority"),
        (elsewhere, f"certificate is valid for {NAMED}, .*, not 127.0.0.1"),
    ):
        mark = site.connector.process.mark()
        with site.edge.h1(hostname) as client:
            answer = client.get()
        assert (answer.status, site.edge.cause(answer.request_id)) == (502, "origin_tls")
        site.connector.process.wait_for(f"tls: failed to verify certificate: x509: {reason}", after=mark)
    with site.edge.h1(careless) as client:
        assert client.get("/").status == 200


def test_a_misspelt_key_is_refused_with_the_one_that_was_meant(publish: Publisher) -> None:
    rules: list[dict[str, Any]] = [
        {"hostname": "x.example.test", "service": "https://127.0.0.1:1", "originRequest": {"noTLSverify": True}},
        {"service": "http_status:404"},
    ]
    with pytest.raises(ApiError, match="noTLSVerify"):
        publish.tunnelled.edge.api.put_configuration(publish.tunnelled.tunnel.id, rules)
