"""Many writes in any order against a model of an account: what was taken is there, what was refused left nothing."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.audits import first_broken
from tests.support.control import Control, running_control

NAMES = st.sampled_from(["a", "b", "c", "é"])
ZONES = st.sampled_from(["one-{}.test", "two-{}.test", "sub.one-{}.test"])  # names that another account had are held
LABELS = st.sampled_from(["@", "x", "y", "*"])
CONTENTS = {"A": ["192.0.2.1", "192.0.2.2"], "TXT": ["t", "u"], "CNAME": ["a.test", "b.test"]}
Fields = tuple[str, str, str]  # name, type, content


class Account(RuleBasedStateMachine):
    """`tunnels` by name, `zones` by name, `records` by id within a zone: what the API must show."""

    control: Control
    made = 0

    @initialize()
    def begin(self) -> None:
        Account.made += 1
        account = self.control.call("POST", "/accounts", {"name": f"account {Account.made}"})
        self.account, self.number = account["id"], Account.made
        self.base = f"/accounts/{self.account}/cfd_tunnel"
        self.tunnels: dict[str, str] = {}
        self.versions: dict[str, int] = {}
        self.zones: dict[str, str] = {}
        self.records: dict[str, dict[str, Fields]] = {}

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        answer = self.control.http.request(method, path, json=body)
        said = answer.json()
        return answer.status_code, said["result"] if said["success"] else said["errors"][0]["code"]

    @rule(name=NAMES)
    def create_tunnel(self, name: str) -> None:
        status, said = self.ask("POST", self.base, {"name": name})
        if name in self.tunnels:
            assert (status, said) == (409, 1013)
        else:
            assert status == 200, said
            self.tunnels[name] = said["id"]
            self.versions[said["id"]] = 0

    @precondition(lambda self: self.tunnels)
    @rule(data=st.data(), to=NAMES)
    def rename_tunnel(self, data: st.DataObject, to: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.tunnels)))
        status, said = self.ask("PATCH", f"{self.base}/{self.tunnels[name]}", {"name": to})
        if to in self.tunnels and to != name:
            assert (status, said) == (409, 1013)
        else:
            assert status == 200, said
            self.tunnels[to] = self.tunnels.pop(name)

    @precondition(lambda self: self.tunnels)
    @rule(data=st.data())
    def delete_tunnel(self, data: st.DataObject) -> None:
        gone = self.tunnels.pop(data.draw(st.sampled_from(sorted(self.tunnels))))
        status, said = self.ask("DELETE", f"{self.base}/{gone}")
        assert status == 200 and said["deleted_at"], said
        assert self.ask("GET", f"{self.base}/{gone}") == (200, said)
        assert self.ask("DELETE", f"{self.base}/{gone}") == (200, said)
        assert self.ask("GET", f"{self.base}/{gone}/configurations")[0] == 404

    @precondition(lambda self: self.tunnels)
    @rule(data=st.data(), port=st.integers(1, 3), sound=st.booleans())
    def put_configuration(self, data: st.DataObject, port: int, sound: bool) -> None:
        tunnel = self.tunnels[data.draw(st.sampled_from(sorted(self.tunnels)))]
        path = f"{self.base}/{tunnel}/configurations"
        before = self.control.call("GET", path)
        ingress: list[dict[str, str]] = [{"service": f"http://127.0.0.1:{port}"}]
        if not sound:
            ingress.insert(0, {"service": "http_status:404"})
        status, said = self.ask("PUT", path, {"config": {"ingress": ingress}})
        if not sound:
            assert (status, said) == (400, 1056)
            assert self.control.call("GET", path) == before
        else:
            assert status == 200, said
            self.versions[tunnel] += before["config"].get("ingress") != ingress
            assert said["version"] == self.versions[tunnel]

    @rule(name=ZONES)
    def create_zone(self, name: str) -> None:
        name = name.format(self.number)
        status, said = self.ask("POST", "/zones", {"name": name, "account": {"id": self.account}})
        if name in self.zones:
            assert (status, said) == (400, 1061)
        else:
            assert status == 200, said
            self.zones[name] = said["id"]
            self.records[name] = {}

    @precondition(lambda self: self.zones)
    @rule(data=st.data())
    def delete_zone(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.zones)))
        gone = self.zones.pop(name)
        del self.records[name]
        assert self.ask("DELETE", f"/zones/{gone}") == (200, {"id": gone})
        assert self.ask("GET", f"/zones/{gone}/dns_records")[0] == 404

    @precondition(lambda self: self.zones)
    @rule(data=st.data(), label=LABELS, kind=st.sampled_from(sorted(CONTENTS)), as_batch=st.booleans())
    def create_record(self, data: st.DataObject, label: str, kind: str, as_batch: bool) -> None:
        zone = data.draw(st.sampled_from(sorted(self.zones)))
        content = data.draw(st.sampled_from(CONTENTS[kind]))
        fields = (zone if label == "@" else f"{label}.{zone}", kind, content)
        body = {"name": label, "type": kind, "content": content}
        path = f"/zones/{self.zones[zone]}/dns_records"
        # the refused one of a batch takes the others with it
        others = {"name": "other", "type": "A", "content": "192.0.2.9"}
        status, said = (
            self.ask("POST", f"{path}/batch", {"posts": [others, body]}) if as_batch else self.ask("POST", path, body)
        )
        expected = self.refusal(zone, fields)
        if as_batch and expected is None:
            expected = self.refusal(zone, (f"other.{zone}", "A", "192.0.2.9"))
        elif as_batch:
            other = self.refusal(zone, (f"other.{zone}", "A", "192.0.2.9"))
            expected = other if other is not None else expected
        if expected is not None:
            assert (status, said) == (400, expected)
            return
        assert status == 200, said
        for made in said["posts"] if as_batch else [said]:
            self.records[zone][made["id"]] = (made["name"], made["type"], made["content"])
        assert fields in self.records[zone].values()

    def refusal(self, zone: str, fields: Fields) -> int | None:
        """The code that the conflict rules of api.md 3.4 give."""
        name, kind, _ = fields
        beside = [each for each in self.records[zone].values() if each[0] == name]
        if fields in beside:
            return 81058
        kinds = {each[1] for each in beside}
        if kind == "CNAME" and kinds & {"A", "CNAME"}:
            return 81053
        return 81054 if kind == "A" and "CNAME" in kinds else None

    @precondition(lambda self: any(self.records.values()))
    @rule(data=st.data())
    def delete_record(self, data: st.DataObject) -> None:
        zone = data.draw(st.sampled_from(sorted(name for name, rows in self.records.items() if rows)))
        gone = data.draw(st.sampled_from(sorted(self.records[zone])))
        path = f"/zones/{self.zones[zone]}/dns_records/{gone}"
        del self.records[zone][gone]
        assert self.ask("DELETE", path) == (200, {"id": gone})
        assert self.ask("GET", path) == (404, 81044)

    @invariant()
    def the_api_shows_the_model(self) -> None:
        tunnels = self.control.call("GET", self.base, is_deleted="false")
        assert {each["name"]: each["id"] for each in tunnels} == self.tunnels
        zones = self.control.call("GET", "/zones", **{"account.id": self.account})
        assert {each["name"]: each["id"] for each in zones} == self.zones
        for zone, rows in self.records.items():
            listed = self.control.call("GET", f"/zones/{self.zones[zone]}/dns_records")
            assert {each["id"]: (each["name"], each["type"], each["content"]) for each in listed} == rows

    def teardown(self) -> None:
        for zone in getattr(self, "zones", {}).values():
            self.control.call("DELETE", f"/zones/{zone}")


@pytest.fixture
def control() -> Iterator[Control]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        yield stack.enter_context(running_control(folder))


@pytest.mark.timeout(300)
def test_an_account_is_what_its_accepted_writes_made_it(control: Control) -> None:
    machine = type("AccountOfThisControl", (Account,), {"control": control})
    calm = settings(max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(machine, settings=calm)
    with control.store.reading() as session:
        assert first_broken(session) is None
