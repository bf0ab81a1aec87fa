import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from qanat.edge import authority
from qanat.edge.authority import Authority
from qanat.errors import QanatError


def _open(folder: Path) -> Authority:
    return Authority.open(ca_file=folder / "ca.pem", directory=folder / "certificates")


def _names(chain: bytes) -> list[str]:
    leaf = x509.load_pem_x509_certificate(chain)
    return leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)


def test_a_leaf_is_trusted_through_the_ca_and_loads(tmp_path: Path) -> None:
    pair = _open(tmp_path).leaf("example.test", ["example.test", "*.example.test"])
    assert _names(pair.chain) == ["example.test", "*.example.test"]
    both = tmp_path / "both.pem"
    both.write_bytes(pair.chain + pair.key)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=tmp_path / "ca.pem")
    server.load_cert_chain(both)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname="app.example.test"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[0].version() == "TLSv1.3"


@pytest.mark.requirement("S7")
def test_ca_and_leaf_outlive_a_restart(tmp_path: Path) -> None:
    pair = _open(tmp_path).leaf("a.test", ["a.test"])
    assert _open(tmp_path).leaf("a.test", ["a.test"]) == pair
    assert (tmp_path / "certificates" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "certificates" / "a.test.pem").stat().st_mode & 0o777 == 0o600


def test_other_names_make_another_leaf(tmp_path: Path) -> None:
    opened = _open(tmp_path)
    assert opened.leaf("a.test", ["a.test"]) != opened.leaf("a.test", ["a.test", "*.a.test"])


def test_a_leaf_is_renewed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = _open(tmp_path)
    with monkeypatch.context() as short:
        short.setattr(authority, "LEAF_LIFE", timedelta(days=59))
        old = opened.leaf("a.test", ["a.test"])
    new = opened.leaf("a.test", ["a.test"])
    assert new != old
    left = x509.load_pem_x509_certificate(new.chain).not_valid_after_utc - datetime.now(UTC)
    assert left > timedelta(days=390)


def test_a_leaf_of_another_ca_or_a_broken_one_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    foreign = _open(tmp_path / "a").leaf("a.test", ["a.test"])
    opened = _open(tmp_path / "b")
    file = tmp_path / "b" / "certificates" / "a.test.pem"
    for content in (foreign.chain + foreign.key, b"", b"nonsense", foreign.chain):
        file.write_bytes(content)
        assert opened.leaf("a.test", ["a.test"]).chain != foreign.chain


def test_half_a_ca_is_refused(tmp_path: Path) -> None:
    _open(tmp_path)
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(QanatError) as refused:
        _open(tmp_path)
    assert refused.value.code == "ca_damaged"
