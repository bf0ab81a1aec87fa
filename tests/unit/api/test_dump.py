"""security.md S32: who has the database, and not the key beside it, opens no tunnel and no API with it."""

import base64
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from qanat.edge.data_dir import DataDir
from qanat.errors import QanatError
from qanat.settings import StoreSettings
from qanat.store import Store
from qanat.store.models import Base
from qanat.store.sealing import make_key
from qanat.tables.reading import read_tunnels
from tests.support.control import Control
from tests.support.matrix import World

pytestmark = pytest.mark.requirement("S32")


def _values(store: Store) -> Iterator[bytes]:
    """Every value in the database, as bytes."""
    with store.reading() as session:
        for table in Base.metadata.sorted_tables:
            for row in session.execute(select(table)):
                for value in row:
                    if isinstance(value, bytes):
                        yield value
                    elif value is not None:
                        yield str(value).encode()


def _tries(store: Store) -> set[bytes]:
    """What somebody would make of them: as they are, decoded and encoded, and each part of a sealed secret."""
    found: set[bytes] = set()
    for value in _values(store):
        found |= {value, value.hex().encode(), base64.b64encode(value), base64.urlsafe_b64encode(value)}
        found |= {value[start:end] for start in (1, 5, 17) for end in (None, -16) if len(value) > 40}
        found |= {value[at : at + 32] for at in range(max(0, min(len(value) - 31, 64)))}
        try:
            found.add(base64.b64decode(value, validate=True))
        except ValueError:
            continue
    return {each for each in found if each}


def test_a_dump_alone_opens_no_tunnel_and_no_api(control: Control) -> None:
    tunnel = control.create_tunnel()
    world = World(control)
    control.call("POST", f"/qanat/tunnels/{tunnel['id']}/connector-tokens", {"name": "host"})
    control.call("POST", "/user/tokens", {"name": "t", "policies": world.token_policies(control.account)})
    control.context.legacy_keys = True
    email = control.call("POST", "/qanat/user/key", {})["email"]
    with control.store.reading() as session:
        entries = read_tunnels(session, control.sealer, control.store.clock())
    wanted = {hashed for entry in entries for _, hashed in entry.secrets}
    assert len(wanted) >= 2
    tries = _tries(control.store)
    assert len(tries) > 500
    assert not [each for each in tries if sha256(each).digest() in wanted], "a secret is in the database as it is"
    verifier = control.context.verifier
    for each in tries:
        text = each.decode("latin-1")
        with pytest.raises(QanatError):
            verifier.verify(text, address="127.0.0.1")
        with pytest.raises(QanatError):
            verifier.verify_key(email, text, address="127.0.0.1")
    assert verifier.verify(control.token, address="127.0.0.1").address == "127.0.0.1"


def test_an_edge_does_not_start_on_a_dump_without_its_key(control: Control, tmp_path: Path) -> None:
    if control.store.file is None:
        pytest.skip("its file is SQLite's")
    control.create_tunnel()
    for key, code in ((None, "secret_key_missing"), (make_key, "secret_key_wrong")):
        folder = tmp_path / code
        folder.mkdir(mode=0o700)
        control.store.close()  # folds the log into the file
        shutil.copy(control.store.file, folder / "qanat.db")
        if key is not None:
            key(folder / "secret.key")
        data_dir: Any = DataDir(folder).lock()
        try:
            with pytest.raises(QanatError) as refused:
                data_dir.open(StoreSettings(), account="x")
            assert refused.value.code == code
        finally:
            data_dir.unlock()
