from collections.abc import Iterator
from pathlib import Path

import pytest

from qanat.control import tunnels, zones
from qanat.store import open_store
from qanat.store.sealing import Sealer
from tests.support.clock import MovedClock
from tests.support.databases import new_file
from tests.support.fake_ca import FakeCa
from tests.support.issuing import Lab
from tests.support.writes import first_account, written


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    store = open_store(new_file(tmp_path / "qanat.db"))
    account = first_account(store)
    sealer = Sealer(bytes(32))
    zone = written(store, zones.create, account_id=account.id, name="example.test")
    tunnel = written(
        store, tunnels.create, sealer, account_id=account.id, name="t", secret=bytes(32), config_src="cloudflare"
    )
    clock = MovedClock(store)
    with FakeCa(now=clock) as ca:
        made = Lab(store, sealer, clock, ca, zone.id, tunnel.id)
        yield made
        for issuer in made.issuers:
            issuer.stop()
    store.close()
