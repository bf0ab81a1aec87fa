"""Where messages may go: the forms that addresses have, and names that lead elsewhere the second time."""

import socket
from collections.abc import Iterator
from ipaddress import ip_address
from time import monotonic

import pytest

from qanat.alerts.guard import Guard, denied
from qanat.errors import QanatError

PUBLIC = ["1.1.1.1", "8.8.8.8", "99.255.255.255", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0"]
PUBLIC += ["192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "169.253.255.255", "169.255.0.0"]
PUBLIC += ["2606:4700:4700::1111", "2a00::1", "2002:808:808::1", "64:ff9b::808:808", "::ffff:8.8.8.8"]

DENIED = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254", "10.0.0.1", "10.255.255.255", "172.16.0.1"]
DENIED += ["172.31.255.255", "192.168.0.1", "169.254.0.1", "169.254.169.254", "100.64.0.1", "100.100.100.200"]
DENIED += ["100.127.255.255", "168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.19.255.255"]
DENIED += ["198.51.100.7", "203.0.113.7", "192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"]
DENIED += ["::", "::1", "fe80::1", "fe80::1%lo", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "3fff::1"]
DENIED += [
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a00:1",
    "::127.0.0.1",
    "::7f00:1",
]  # mapped, compatible
DENIED += ["64:ff9b::7f00:1", "64:ff9b::169.254.169.254", "64:ff9b:1::1"]  # NAT64
DENIED += ["2002:7f00:1::1", "2002:a9fe:a9fe::1", "2002:c0a8:1::"]  # 6to4
DENIED += ["2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:0:1::f5ff:fffe"]  # Teredo, of 192.0.2.45 and of 10.0.0.1
DENIED += ["100::1", "5f00::1", "fec0::1", "2001:2::1", "4000::1"]


@pytest.mark.requirement("S40")
@pytest.mark.parametrize("text", DENIED)
def test_an_address_within_is_denied(text: str) -> None:
    assert denied(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_not(text: str) -> None:
    assert denied(ip_address(text)) == ""


# As C's resolver reads them: URL parsers don't, so that a check of the text alone would miss them.
SPELLINGS = ["127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "0", "localhost"]
SPELLINGS += ["localhost.", "127.0.0.1.", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "::1", "::ffff:127.0.0.1"]


@pytest.mark.requirement("S40")
@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_an_address_within_is_dialled(host: str) -> None:
    with pytest.raises(QanatError) as caught:
        Guard().dial(host, 1, ends_at=monotonic() + 60)
    assert caught.value.code in ("alert_address_denied", "alert_unreachable")  # or it is no name here at all


@pytest.mark.requirement("S40")
def test_a_name_that_leads_elsewhere_the_second_time_is_looked_up_once() -> None:
    answers: Iterator[list[str]] = iter([["203.0.113.9", "8.8.8.8"], ["127.0.0.1"]])
    assert Guard().permitted("rebinding.test", 443, lambda *_: next(answers)) == ["8.8.8.8"]
    with pytest.raises(QanatError) as caught:  # the next message asks again, and is refused
        Guard().permitted("rebinding.test", 443, lambda *_: next(answers))
    assert caught.value.code == "alert_address_denied"
    assert "loopback" in caught.value.message


def test_what_the_operator_lists_may_be_dialled_and_nothing_beside_it() -> None:
    guard = Guard.of(["127.0.0.0/8", "fd00::/8"])
    assert guard.permitted("inside.test", 1, lambda *_: ["::ffff:127.0.0.1", "10.0.0.1"]) == ["::ffff:127.0.0.1"]
    assert guard.permitted("inside.test", 1, lambda *_: ["fd00::7"]) == ["fd00::7"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        guard.dial("127.0.0.1", server.getsockname()[1], ends_at=monotonic() + 60).close()
    with pytest.raises(QanatError):
        guard.permitted("inside.test", 1, lambda *_: ["10.0.0.1"])
