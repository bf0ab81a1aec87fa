from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
import pytest

from tests.support.control import Control, running_control

_NUMBERS = count(1)


@dataclass
class ZoneDesk:
    """A fresh zone in a control plane that a module's tests share, and the calls on its records."""

    control: Control
    id: str
    name: str

    @property
    def path(self) -> str:
        return f"/zones/{self.id}/dns_records"

    def post(self, **fields: object) -> Any:
        return self.control.call("POST", self.path, fields)

    def get(self, record: Any) -> Any:
        return self.control.call("GET", f"{self.path}/{record['id']}")

    def put(self, record: Any, **fields: object) -> Any:
        return self.control.call("PUT", f"{self.path}/{record['id']}", fields)

    def patch(self, record: Any, **fields: object) -> Any:
        return self.control.call("PATCH", f"{self.path}/{record['id']}", fields)

    def delete(self, record: Any) -> Any:
        return self.control.call("DELETE", f"{self.path}/{record['id']}")

    def listed(self, **query: str) -> list[Any]:
        return list(self.control.call("GET", self.path, **query))

    def refused(self, method: str = "POST", path: str = "", **fields: object) -> tuple[int, int, str]:
        return self.control.refused(method, self.path + path, fields)

    def upload(self, text: str | bytes, **fields: str) -> httpx.Response:
        return self.control.http.post(f"{self.path}/import", files={"file": ("zone.txt", text)}, data=fields)

    def export(self) -> str:
        answer = self.control.http.get(f"{self.path}/export")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        return answer.text


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shared_control(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """One control plane for a module whose tests keep to zones of their own, on each kind of database."""
    folder = tmp_path_factory.mktemp("control")
    if request.param == "sqlite":
        with running_control(folder) as running:
            yield running
        return
    server = request.getfixturevalue("postgres")
    with server.lent() as url, running_control(folder, url) as running:
        yield running


@pytest.fixture
def desk(shared_control: Control) -> ZoneDesk:
    """A new zone of the shared control plane."""
    # Another test may have made a second account, and the token may edit zones of both.
    fields = {"name": f"zone{next(_NUMBERS)}.test", "account": {"id": shared_control.account}}
    zone = shared_control.call("POST", "/zones", fields)
    return ZoneDesk(shared_control, zone["id"], zone["name"])
