import io

from qanat.connector import refusals
from qanat.connector.log import Log
from qanat.connector.stdin_control import take


def test_reconnect_takes_a_delay_and_what_is_wrong_with_it_is_told() -> None:
    stream, delays = io.StringIO(), list[float]()
    take(["reconnect\n", "reconnect 15s\n", "\n", "reconnect soon\n", "dance\n"], Log(stream=stream), delays.append)
    assert delays == [0.0, 15.0]
    told = stream.getvalue()
    assert "Enabling control through stdin" in told
    assert "ERR" in told and "soon" in told
    assert "Unknown command" in told and "reconnect [delay]" in told


def test_a_refusal_is_told_with_what_to_do() -> None:
    message, fields = refusals.explained("Unauthorized: Invalid tunnel secret")
    assert message == "Register tunnel error from server side"
    assert fields["error"] == "Unauthorized: Invalid tunnel secret"
    assert "fetch the token anew" in fields["fix"]
    assert "fix" not in refusals.explained("something else")[1]
    assert refusals.explained("EDUPCONN")[1]["error"] == "already connected to this server, trying another address"
