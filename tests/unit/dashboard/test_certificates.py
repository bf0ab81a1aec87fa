"""Certificates at the dashboard: what is told of each, and those that are put in and taken out."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import trustme

from qanat.certificates.stored import GivenFile
from qanat.cutover.gates import CertificateSeen
from qanat.store.models import Certificate as Row
from qanat.store.models import CertificateOrder
from tests.support.control import Control
from tests.support.dashboard import Visitor, limited, shown

AUTHORITY = trustme.CA()
NAMES = iter(range(1000))
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"


def pair(*names: str) -> tuple[str, str]:
    """A chain and its key."""
    issued = AUTHORITY.issue_cert(*names)
    return issued.cert_chain_pems[0].bytes().decode(), issued.private_key_pem.bytes().decode()


@pytest.fixture
def zone(control: Control) -> Any:
    """One with a public hostname, `app`."""
    made = control.create_zone(f"c{next(NAMES)}.test")
    tunnel = control.create_tunnel(f"t-{uuid4()}")
    for name in ("app", "a.b"):
        control.create_record(
            made["id"], name=name, type="CNAME", content=f"{tunnel['id']}.cfargotunnel.com", proxied=True
        )
    return made


@pytest.fixture
def issued(control: Control, zone: Any) -> Row:
    """A certificate of a staging CA for `app`, with a failed renewal."""
    ids = str(uuid4()), str(uuid4())
    with control.store.recording() as write:
        row = Row(
            id=ids[0],
            zone_id=zone["id"],
            source="acme",
            names=[f"app.{zone['name']}"],
            chain="",
            sealed_secret=control.sealer.seal(b"key", ids[0]),
            issuer="(STAGING) R11",
            fingerprint="ab" * 32,
            authority=STAGING,
            not_before=write.at - timedelta(days=50),
            not_after=write.at + timedelta(days=40),
            created_at=write.at,
            renew_at=write.at + timedelta(days=10),
            ask_at=write.at + timedelta(hours=6),
        )
        order = CertificateOrder(
            id=ids[1], name=f"app.{zone['name']}", zone_id=zone["id"], state="issued", failures=3, certificate_id=ids[0]
        )
        order.sealed_secret = control.sealer.seal(b"key", ids[1])
        order.error_code, order.error_reason, order.error_at = "acme_rate_limited", "<i>slowly</i>", write.at
        write.session.add_all([row, order])
    return row


@pytest.fixture
def of_file(control: Control, me: Visitor) -> Iterator[list[GivenFile]]:
    """What the edge has from files."""
    files: list[GivenFile] = []
    me.get("/")
    desk = control.hub._desk
    before = desk.given_files
    object.__setattr__(desk, "given_files", lambda: files)  # it is frozen, and the server's
    yield files
    object.__setattr__(desk, "given_files", before)


def test_a_certificate_is_uploaded_and_its_key_never_shown(control: Control, me: Visitor, zone: Any) -> None:
    chain, key = pair(f"*.{zone['name']}", zone["name"], "elsewhere.example")
    assert zone["name"] in me.page("/certificates/upload", zone=zone["id"])
    answer = me.post("/certificates/upload", zone=zone["id"], certificate=chain, private_key=key)
    assert answer.status_code == 303
    html = me.page(answer.headers["location"])
    said = shown(html)
    assert "an upload" in said
    assert "sealed in the store, and never shown" in said
    assert f"app.{zone['name']}" in said
    assert f"a.b.{zone['name']}" not in said, "a wildcard is good for one label"
    assert "PRIVATE KEY" not in html
    listed = control.call("GET", "/qanat/certificates", zone_id=zone["id"])
    assert [each["source"] for each in listed] == ["uploaded"]


def test_what_is_wrong_with_an_upload_stands_beside_its_field_and_the_key_is_not_sent_back(
    control: Control, me: Visitor, zone: Any
) -> None:
    chain, key = pair(f"app.{zone['name']}")
    _, other = pair(f"app.{zone['name']}")
    foreign, its_key = pair("elsewhere.example")
    for given, field in (
        ({"certificate": chain, "private_key": other}, "private_key"),
        ({"certificate": "nonsense", "private_key": key}, "certificate"),
        ({"certificate": foreign, "private_key": its_key}, "certificate"),
        ({"certificate": chain, "private_key": ""}, "private_key"),
        ({"certificate": chain, "private_key": key, "zone": "f" * 32}, "zone"),
    ):
        answer = me.post("/certificates/upload", **{"zone": zone["id"], **given})
        assert answer.status_code in (400, 404)
        assert f'id="e-{field}"' in answer.text, field
        for text in (key, other, its_key):
            assert text.splitlines()[1] not in answer.text


def test_deleting_one_tells_which_hostnames_lose_it_and_asks_for_its_name(
    control: Control, me: Visitor, zone: Any
) -> None:
    chain, key = pair(f"app.{zone['name']}")
    where = me.post("/certificates/upload", zone=zone["id"], certificate=chain, private_key=key).headers["location"]
    asked = shown(me.post(f"{where}/delete").text)
    assert f"It is served no more, for app.{zone['name']}." in asked
    assert me.post(f"{where}/delete", sure="yes", name="app").status_code == 400
    assert me.post(f"{where}/delete", sure="yes", name=f"app.{zone['name']}").status_code == 303
    assert me.get(where).status_code == 404


def test_one_of_a_ca_tells_its_renewal_its_failure_and_that_it_is_staging(
    control: Control, me: Visitor, issued: Row
) -> None:
    name = issued.names[0]
    control.context.cutover_edge.certified = CertificateSeen(names=[name], not_after=issued.not_after)  # type: ignore[union-attr]
    try:
        html = me.page(f"/certificates/{issued.id}")
    finally:
        control.context.cutover_edge.certified = None  # type: ignore[union-attr]
    said = shown(html)
    for text in ("Let's Encrypt, staging", "browsers don't trust it", "acme_rate_limited", "In a row 3", "RFC 9773"):
        assert text in said, text
    assert "<i>slowly" not in html
    assert "THIS ONE" in said
    assert (issued.renew_at or issued.not_after).isoformat(timespec="seconds") in html
    assert "STAGING" in shown(me.page("/certificates", search=name))
    assert me.post(f"/certificates/{issued.id}/renew").status_code == 303


def test_files_are_listed_with_their_path_and_what_is_wrong_with_them_now(
    control: Control, me: Visitor, zone: Any, of_file: list[GivenFile]
) -> None:
    now = control.store.clock()
    chain = pair(f"app.{zone['name']}")[0].encode()
    of_file += [
        GivenFile(path="/etc/qanat/<b>.pem", chain=chain, read_at=now, problem="the new one is cut"),
        GivenFile(path="/etc/qanat/gone.pem", chain=None, read_at=now, problem="No such file"),
    ]
    html = me.page("/certificates", search=f"app.{zone['name']}")
    said = shown(html)
    assert "/etc/qanat/<b>.pem" in said
    assert "/etc/qanat/<b>.pem" not in html
    assert "the file as it is now: the new one is cut" in said
    assert "Nothing of /etc/qanat/gone.pem is served" in said
    found = re.search(r'"(/certificates/[0-9a-f-]{36})"', html)
    assert found is not None
    where = found[1]
    page = shown(me.page(where))
    assert "what was read before stays in force" in page
    assert f"app.{zone['name']}" in page
    refused = me.post(f"{where}/delete", sure="yes")
    assert "certificate_given" in refused.text
    # who doesn't see everything sees no file
    with limited(control, [zone["id"]], "Zone Read") as one:
        html = one.page("/certificates")
        assert "gone.pem" not in html
        assert one.get(where).status_code == 404


def test_a_token_of_one_zone_sees_and_changes_its_certificates_alone(
    control: Control, me: Visitor, zone: Any, issued: Row
) -> None:
    other = control.create_zone(f"c{next(NAMES)}.test")
    chain, key = pair(f"app.{other['name']}")
    theirs = me.post("/certificates/upload", zone=other["id"], certificate=chain, private_key=key).headers["location"]
    with limited(control, [zone["id"]], "Zone Read", "Zone Write") as one:
        assert issued.names[0] in one.page("/certificates")
        assert other["name"] not in one.page("/certificates")
        assert other["name"] not in one.page("/certificates/upload")
        assert "None that you see." in one.page(f"/certificates/{issued.id}"), "it may not read records"
        for path in ("/renew", "/delete"):
            assert one.post(f"{theirs}{path}", sure="yes", name=f"app.{other['name']}").status_code == 404
        assert one.get(theirs).status_code == 404
        given = {"zone": other["id"], "certificate": chain, "private_key": key}
        assert one.post("/certificates/upload", **given).status_code == 404
