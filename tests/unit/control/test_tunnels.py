from collections.abc import Callable
from typing import Any

import pytest

from qanat.control import accounts, configurations, tunnels, virtual_networks, zones
from qanat.errors import QanatError
from qanat.store import Notice, NoticeKind, Store
from qanat.store.models import Tunnel
from qanat.store.reach import EVERYTHING
from qanat.store.sealing import Sealer
from tests.support.writes import written


def _create(store: Store, sealer: Sealer, account: str, name: str = "t") -> Tunnel:
    return written(
        store, tunnels.create, sealer, account_id=account, name=name, secret=bytes(32), config_src="cloudflare"
    )


def test_a_name_is_free_again_after_deletion(store: Store, sealer: Sealer, account: str) -> None:
    first = _create(store, sealer, account)
    with pytest.raises(QanatError) as refused:
        _create(store, sealer, account)
    assert refused.value.code == "tunnel_name_taken"
    written(store, tunnels.delete, account_id=account, tunnel_id=first.id, cascade=False)
    assert _create(store, sealer, account).id != first.id


@pytest.mark.parametrize("what", ["tunnel", "zone", "virtual network", "default network"])
def test_an_account_that_went_meanwhile_gets_nothing(store: Store, sealer: Sealer, account: str, what: str) -> None:
    """`account` stays: the only one can't be deleted."""
    gone = written(store, accounts.create, name="gone").id
    written(store, accounts.delete, gone, reach=EVERYTHING)
    make: dict[str, Callable[[], object]] = {
        "tunnel": lambda: _create(store, sealer, gone),
        "zone": lambda: written(store, zones.create, account_id=gone, name="gone.test"),
        "virtual network": lambda: written(
            store, virtual_networks.create, account_id=gone, name="n", comment="", is_default=False
        ),
        "default network": lambda: written(store, virtual_networks.ensure_default, gone),
    }
    with pytest.raises(QanatError) as refused:
        make[what]()
    assert refused.value.code == "account_unknown"


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 256, "c1744f8b-faa1-48a4-9e5c-02ac921467fa"])
def test_bad_names_are_refused(store: Store, sealer: Sealer, account: str, name: str) -> None:
    with pytest.raises(QanatError) as refused:
        _create(store, sealer, account, name)
    assert refused.value.code == "tunnel_bad_name"


def test_the_same_secret_again_is_no_rotation(store: Store, sealer: Sealer, account: str) -> None:
    tunnel = _create(store, sealer, account)
    heard: list[Notice] = []
    store.notices.subscribe(heard.append)
    scope: dict[str, Any] = {"account_id": account, "tunnel_id": tunnel.id}
    written(store, tunnels.change, sealer, **scope, secret=bytes(32))
    changed = written(store, tunnels.change, sealer, **scope, secret=b"1" * 32)
    assert [notice.kind for notice in heard] == [NoticeKind.TUNNEL, NoticeKind.TUNNEL_SECRET]
    assert tunnels.open_secret(sealer, changed) == b"1" * 32


def test_versions_rise_by_one_and_an_equal_one_keeps_its_version(store: Store, sealer: Sealer, account: str) -> None:
    tunnel = _create(store, sealer, account)
    versions = [
        written(
            store, configurations.put, account_id=account, tunnel_id=tunnel.id, document=document, source="cloudflare"
        ).version
        for document in ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 1})
    ]
    assert versions == [1, 1, 2, 3]


def test_text_that_is_not_unicode_is_refused_and_leaves_nothing(store: Store, sealer: Sealer, account: str) -> None:
    tunnel = _create(store, sealer, account)
    with pytest.raises(QanatError) as refused:
        written(
            store,
            configurations.put,
            account_id=account,
            tunnel_id=tunnel.id,
            document={"a": "\ud800"},
            source="cloudflare",
        )
    assert refused.value.code == "configuration_malformed"
    with store.reading() as session:
        assert configurations.newest(session, tunnel.id) is None
