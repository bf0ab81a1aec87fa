import pytest

from qanat.cli.main import main
from tests.support.control import Control


def test_private_routes_and_that_their_traffic_comes_later(
    at_control: Control, capsys: pytest.CaptureFixture[str]
) -> None:
    at_control.create_tunnel("web")
    assert main(["tunnel", "route", "ip", "add", "10.0.0.0/8", "web", "--comment", "office"]) == 0
    shown = capsys.readouterr()
    assert "traffic is not carried yet" in shown.err
    assert "10.0.0.0/8 → web" in shown.out
    assert main(["tunnel", "route", "ip", "list"]) == 0
    assert "office" in capsys.readouterr().out
    assert main(["tunnel", "route", "ip", "add", "10.0.0.1/8", "web"]) != 0
    assert "write 10.0.0.0/8" in capsys.readouterr().err
    assert main(["tunnel", "route", "ip", "delete", "10.0.0.0/8", "--vnet", "nope"]) != 0
    assert "no virtual network" in capsys.readouterr().err
    assert main(["tunnel", "route", "ip", "delete", "10.0.0.0/8"]) == 0
    assert main(["tunnel", "route", "ip", "delete", "10.0.0.0/8"]) != 0
    assert at_control.call("GET", f"/accounts/{at_control.account}/teamnet/routes", is_deleted="false") == []
    capsys.readouterr()
    assert main(["tunnel", "route", "ip", "--help"]) == 0
    assert "not carried yet" in capsys.readouterr().out
