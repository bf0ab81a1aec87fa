import pytest

from qanat.cli.main import main
from tests.support.control import Control


def test_private_routes_and_that_their_traffic_comes_later(
    at_control: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    at_control.create_tunnel("web")
    assert main(["tunnel", "route", "ip", "add", "10.0.0.0/8", "web", "--comment", "office"]) == 0
    assert "Successfully added route for 10.0.0.0/8" in capsys.readouterr().out
    assert main(["tunnel", "route", "ip", "list"]) == 0
    assert "office" in capsys.readouterr().out
    assert main(["tunnel", "route", "ip", "add", "10.0.0.1/8", "web"]) == 1
    assert "1014" in capsys.readouterr().err, "the same network, as stock writes it"
    assert main(["tunnel", "route", "ip", "delete", "10.0.0.0/8", "--vnet", "nope"]) == 1
    assert "non-deleted virtual network named nope" in capsys.readouterr().err
    assert main(["tunnel", "route", "ip", "delete", "10.0.0.0/8"]) == 0
    assert main(["tunnel", "route", "ip", "delete", "10.0.0.0/8"]) == 1
    assert at_control.call("GET", f"/accounts/{at_control.account}/teamnet/routes", is_deleted="false") == []
    capsys.readouterr()
    assert main(["tunnel", "route", "ip", "--help"]) == 0
    assert "not carried yet" in capsys.readouterr().out
