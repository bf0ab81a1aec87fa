from qanat.auth import issue
from qanat.store.skipped import Failure
from tests.support.control import Control
from tests.support.failed import failed_request
from tests.support.writes import written

REQUEST = "0123456789abcdef-lab01"


def test_why_a_request_failed(control: Control) -> None:
    tunnel = control.create_tunnel()
    control.edge.failed[REQUEST] = failed_request(tunnel_id=tunnel["id"])
    found = control.call("GET", f"/qanat/requests/{REQUEST}")
    assert (found["cause"], found["fault"], found["status"]) == ("no_connection", "tunnel", 530)
    assert found["started_at"] == "2023-11-14T22:13:20.250000Z"


def test_one_that_nobody_knows(control: Control) -> None:
    assert control.refused("GET", "/qanat/requests/none")[0] == 404


def test_a_token_of_one_account_sees_only_its_tunnels_failures(control: Control) -> None:
    tunnel = control.create_tunnel()
    control.edge.failed["own"] = failed_request(request_id="own", tunnel_id=tunnel["id"])
    control.edge.failed["nobody's"] = failed_request(request_id="nobody's")
    text, _ = written(control.store, issue, name="bound", account_id=control.account)
    control.http.headers["authorization"] = f"Bearer {text}"
    control.call("GET", "/qanat/requests/own")
    assert control.refused("GET", "/qanat/requests/nobody's")[0] == 404


def test_status(control: Control) -> None:
    status = control.call("GET", "/qanat/status")
    assert status["version"] == "0.0.1"
    assert status["location"] == "lab01"
    assert status["counters"] == {"requests": 7}
    assert status["addresses"]["tunnel"] == "127.0.0.1:7844"
    assert status["skipped"] == {}


def test_skipped_rows_are_listed_for_who_sees_their_account(control: Control) -> None:
    skipped, other = control.context.skipped, control.call("POST", "/accounts", {"name": "other"})["id"]
    for name, account in (("own.test", control.account), ("other.test", other), ("nobodys.test", None)):
        skipped.note("hostname", name, Failure(code="route_conflict", reason="it points to two", account_id=account))
    assert control.call("GET", "/qanat/status")["skipped"] == {"hostname": 3}
    listed = control.call("GET", "/qanat/skipped")
    assert [row["name"] for row in listed] == ["nobodys.test", "other.test", "own.test"]
    assert listed[2] == {
        "kind": "hostname",
        "name": "own.test",
        "account_id": control.account,
        "code": "route_conflict",
        "reason": "it points to two",
        "since": listed[2]["since"],
    }
    text, _ = written(control.store, issue, name="bound", account_id=control.account)
    control.http.headers["authorization"] = f"Bearer {text}"
    assert [row["name"] for row in control.call("GET", "/qanat/skipped")] == ["own.test"]
    assert control.call("GET", "/qanat/status")["skipped"] == {"hostname": 1}
    skipped.clear("hostname", "own.test")
    assert control.call("GET", "/qanat/skipped") == []
