"""Uploaded certificates: for whose names they are served, and what is refused."""

from datetime import timedelta

import pytest
import trustme

from qanat.certificates import stored
from qanat.certificates.numbers import exposed, numbers
from qanat.certificates.stored import names_in_zone, read_served
from qanat.control import zones
from qanat.errors import QanatError
from qanat.store.models import Certificate, Zone
from qanat.store.reach import EVERYTHING, Reach
from tests.support.issuing import Lab
from tests.support.writes import written

CA = trustme.CA()


def pair(*names: str, ca: trustme.CA = CA) -> tuple[str, str]:
    issued = ca.issue_cert(*names)
    chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
    return chain.decode(), issued.private_key_pem.bytes().decode()


def zone_of(lab: Lab, zone_id: str | None = None) -> Zone:
    with lab.store.reading() as session:
        return zones.get(session, zone_id or lab.zone_id)


def upload(lab: Lab, *names: str, zone: Zone | None = None) -> Certificate:
    chain, key = pair(*names)
    return written(lab.store, stored.upload, lab.sealer, zone or zone_of(lab), chain=chain, key=key)


def served(lab: Lab, given: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    with lab.store.reading() as session:
        return [each.names for each in read_served(session, lab.sealer, now=lab.clock(), given=given)]


def test_an_uploaded_certificate_is_served_for_its_names_in_the_zone_and_no_other(lab: Lab) -> None:
    made = upload(lab, "example.test", "*.example.test", "app.elsewhere.test", "notexample.test")
    assert b"PRIVATE KEY" not in made.sealed_secret
    assert served(lab) == [("*.example.test", "example.test")]


def test_a_name_in_another_zone_within_is_not_the_outer_zone_s_to_serve() -> None:
    known = {"example.test", "inner.example.test"}
    names = ["*.example.test", "a.inner.example.test", "*.inner.example.test", "example.test"]
    assert names_in_zone(names, "example.test", known) == ("*.example.test", "example.test")
    assert names_in_zone(names, "inner.example.test", known) == ("a.inner.example.test", "*.inner.example.test")


def test_what_was_uploaded_comes_before_what_a_ca_issued_and_no_ca_is_asked(lab: Lab) -> None:
    lab.publish("app.example.test", "b.example.test")
    issuer = lab.run()
    assert sorted(served(lab)) == [("app.example.test",), ("b.example.test",)]  # whichever was issued first
    upload(lab, "*.example.test")
    assert served(lab) == [("*.example.test",)]
    lab.publish("c.example.test")
    lab.run(issuer)
    assert len(lab.ca.ordered) == 2
    assert served(lab, given=("*.example.test",)) == [("*.example.test",)]


def test_the_same_certificate_again_is_the_same(lab: Lab) -> None:
    chain, key = pair("example.test")
    zone = zone_of(lab)
    first, second = (written(lab.store, stored.upload, lab.sealer, zone, chain=chain, key=key) for _ in range(2))
    assert first.id == second.id


def test_one_that_is_over_is_refused_and_not_served(lab: Lab) -> None:
    made = upload(lab, "example.test")
    lab.clock.now = made.not_after + timedelta(seconds=1)
    assert served(lab) == []
    with lab.store.reading() as session:
        counted = numbers(session, lab.clock())
    assert (counted.expired, counted.ends_first, counted.ends_in_s) == (1, "example.test", -1.0)
    assert 'qanat_edge_certificates{status="expired"} 1' in exposed(counted)
    assert "qanat_edge_certificate_ends_in_seconds -1" in exposed(counted)
    with pytest.raises(QanatError) as refused:
        upload(lab, "example.test")
    assert refused.value.code == "certificate_expired"


def test_broken_ones_are_refused_with_what_is_wrong(lab: Lab) -> None:
    chain, key = pair("example.test")
    other_chain, other_key = pair("example.test", ca=trustme.CA(parent_cert=trustme.CA()))
    leaf = chain.partition("-----END CERTIFICATE-----\n")
    for given, reason in (
        (("", key), "holds no PEM"),
        ((chain, ""), "holds no PEM private key"),
        ((chain, other_key), "doesn't belong"),
        ((chain[: len(chain) // 2], key), "holds no PEM"),
        ((chain + other_chain, key), "didn't issue"),
        ((leaf[0] + leaf[1] + leaf[2] + chain, key), "didn't issue"),
    ):
        with pytest.raises(QanatError, match=reason) as refused:
            written(lab.store, stored.upload, lab.sealer, zone_of(lab), chain=given[0], key=given[1])
        assert refused.value.code == "certificate_invalid"
        assert "BEGIN" not in str(refused.value)
    with pytest.raises(QanatError) as elsewhere:
        upload(lab, "bank.test")
    assert elsewhere.value.code == "certificate_elsewhere"
    assert served(lab) == []


def test_nobody_sees_or_deletes_another_account_s(lab: Lab) -> None:
    made = upload(lab, "example.test")
    other = Reach(accounts=frozenset({"0" * 32}))
    with lab.store.reading() as session:
        assert stored.entries(session, reach=other) == []
    with pytest.raises(QanatError) as refused:
        written(lab.store, stored.delete, made.id, reach=other)
    assert refused.value.code == "certificate_unknown"
    written(lab.store, stored.delete, made.id, reach=EVERYTHING)
    assert served(lab) == []


def test_a_zone_s_certificates_go_with_it(lab: Lab) -> None:
    lab.publish("app.example.test")
    lab.run()
    upload(lab, "x.example.test")
    written(lab.store, zones.delete, lab.zone_id, reach=EVERYTHING)
    assert lab.certificates() == [] and served(lab) == []


def test_an_uploaded_one_is_not_ordered_from_a_ca(lab: Lab) -> None:
    made = upload(lab, "example.test")
    with pytest.raises(QanatError) as refused:
        written(lab.store, stored.renew, made.id, reach=EVERYTHING)
    assert refused.value.code == "certificate_given"
