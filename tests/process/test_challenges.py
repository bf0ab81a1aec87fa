"""What the edge answers CAs while an order is pending, and whoever else asks at those places: security.md S8. On a real
engine, with no process around it."""

import socket
import ssl
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509

from qanat.auth.management import ManagementKey
from qanat.certificates.proofs import ACME_IDENTIFIER, challenge_certificate
from qanat.descriptors import Shares
from qanat.edge.challenges import Challenges
from qanat.edge.engine import Certificate, Edge
from qanat.edge.engine_settings import engine_settings
from qanat.errors import QanatError
from qanat.settings import load_edge_settings
from tests.support.http1 import Answer, Http1Client

HOST = "app.example.test"
PATH = "/.well-known/acme-challenge/"
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
AUTHORIZATION = f"{TOKEN}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return file


@pytest.fixture(scope="module")
def edge(authority: trustme.CA) -> Iterator[Edge]:
    """Redirects plain HTTP; has certificates, and no route at all."""
    local = "127.0.0.1:0"
    given = load_edge_settings(flags={"public.https": local, "public.http": local, "tunnel.address": local})
    settings: Any = engine_settings(given, ManagementKey.make(), Shares.of(1024))
    issued = authority.issue_cert(HOST, "*.example.test")
    chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
    certificate = Certificate(chain_pem=chain, key_pem=issued.private_key_pem.bytes())
    made = Edge(settings, tunnel_certificate=certificate, sockets={})
    made.open()
    made.swap_certificates([certificate])
    yield made
    made.close(grace_s=0.0)


@pytest.fixture
def challenges(edge: Edge) -> Challenges:
    return Challenges(edge)


def asked(edge: Edge, hostname: str, target: str, *, method: str = "GET") -> Answer:
    with Http1Client(str(edge.addresses().http), hostname, None) as client:
        return client.request(method, target)


def handshake(edge: Edge, hostname: str, *offered: str) -> tuple[str | None, bytes]:
    """The protocol that was chosen, and the certificate that was shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(list(offered))
    host, port = str(edge.addresses().https).rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as sock:
        with context.wrap_socket(sock, server_hostname=hostname) as tls:
            return tls.selected_alpn_protocol(), tls.getpeercert(binary_form=True) or b""


@pytest.mark.case(52)
@pytest.mark.requirement("S8")
def test_a_pending_token_is_answered_before_the_redirect_and_without_a_route(
    edge: Edge, challenges: Challenges
) -> None:
    challenges.put_http(HOST, TOKEN, AUTHORIZATION)
    answer = asked(edge, HOST, PATH + TOKEN)
    assert (answer.status, answer.text, answer.value("location")) == (200, AUTHORIZATION, None)
    assert answer.value("content-type") == "application/octet-stream"
    head = asked(edge, HOST, PATH + TOKEN, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    challenges.drop_http(HOST, TOKEN)
    assert asked(edge, HOST, PATH + TOKEN).status != 200


@pytest.mark.case(52)
@pytest.mark.requirement("S8")
@pytest.mark.parametrize(
    ("hostname", "target", "method"),
    [
        (HOST, f"{PATH}unknown", "GET"),
        (HOST, f"{PATH}{TOKEN}/", "GET"),
        (HOST, f"{PATH}{TOKEN}?x=1", "GET"),
        (HOST, f"/x/..{PATH}{TOKEN}", "GET"),
        (HOST, PATH, "GET"),
        (HOST, PATH + TOKEN, "POST"),
        ("other.example.test", PATH + TOKEN, "GET"),
    ],
)
def test_any_other_token_path_method_or_hostname_goes_the_normal_way(
    edge: Edge, challenges: Challenges, hostname: str, target: str, method: str
) -> None:
    normal = asked(edge, hostname, target, method=method)
    challenges.put_http(HOST, TOKEN, AUTHORIZATION)
    answer = asked(edge, hostname, target, method=method)
    challenges.drop_http(HOST, TOKEN)
    assert answer.status == normal.status != 200
    assert AUTHORIZATION not in answer.text


@pytest.mark.case(52)
def test_a_pending_tls_challenge_is_shown_to_who_offers_its_protocol_alone(edge: Edge, challenges: Challenges) -> None:
    chain, key = challenge_certificate(HOST, AUTHORIZATION)
    challenges.put_tls(HOST, chain, key)
    chosen, shown = handshake(edge, HOST, "acme-tls/1")
    certificate = x509.load_der_x509_certificate(shown)
    extension = certificate.extensions.get_extension_for_oid(ACME_IDENTIFIER)
    assert chosen == "acme-tls/1" and extension.critical
    value: Any = extension.value
    assert value.value == b"\x04\x20" + sha256(AUTHORIZATION.encode()).digest()
    named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert named.get_values_for_type(x509.DNSName) == [HOST]
    assert handshake(edge, HOST, "h2", "acme-tls/1")[0] == "h2", "a browser gets what it always gets"
    assert handshake(edge, HOST, "http/1.1")[1] != shown
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        handshake(edge, "other.example.test", "acme-tls/1")
    challenges.drop_tls(HOST)
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        handshake(edge, HOST, "acme-tls/1")


@pytest.mark.case(52)
def test_nothing_is_served_on_a_challenge_connection(edge: Edge, challenges: Challenges) -> None:
    challenges.put_tls(HOST, *challenge_certificate(HOST, AUTHORIZATION))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["acme-tls/1"])
    host, port = str(edge.addresses().https).rsplit(":", 1)
    with (
        socket.create_connection((host, int(port)), 10) as sock,
        context.wrap_socket(sock, server_hostname=HOST) as tls,
    ):
        try:
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            assert tls.recv(100) == b""
        except OSError:
            pass  # closed while we wrote
    challenges.drop_tls(HOST)


def test_a_challenge_that_can_t_be_shown_is_refused_and_changes_nothing(edge: Edge, challenges: Challenges) -> None:
    challenges.put_http(HOST, TOKEN, AUTHORIZATION)
    with pytest.raises(QanatError, match="bad certificate") as refused:
        challenges.put_tls("bad.example.test", b"no PEM", b"no PEM")
    assert refused.value.code == "engine_bad_certificate"
    assert asked(edge, HOST, PATH + TOKEN).status == 200
    challenges.drop_tls("bad.example.test")
    challenges.drop_http(HOST, TOKEN)


def test_a_certificate_is_served_for_the_names_that_it_is_meant_for_only(edge: Edge, authority: trustme.CA) -> None:
    issued = authority.issue_cert("a.narrow.test", "b.narrow.test")
    chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
    made = Certificate(
        chain_pem=chain, key_pem=issued.private_key_pem.bytes(), hostnames=["a.narrow.test", "c.narrow.test"]
    )
    assert made.hostnames == ["a.narrow.test"]
