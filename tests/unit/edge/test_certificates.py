"""Given certificates: one that can't be used is told, and the others are served."""

from base64 import b64decode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from qanat.edge.authority import Authority
from qanat.edge.certificates import Certificates, GivenCertificates, found_by
from qanat.settings import CertificateFiles, TlsSettings
from qanat.store.skipped import SkippedRows


def _write(folder: Path, name: str) -> CertificateFiles:
    issued = trustme.CA().issue_cert(f"{name}.test")
    files = CertificateFiles(chain=folder / f"{name}.pem", key=folder / f"{name}.key")
    files.chain.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    files.key.write_bytes(issued.private_key_pem.bytes())
    return files


def _served(certificates: Certificates) -> list[list[str]]:
    certificates.set([], [], lambda _: None)
    certificates.forget()
    return [each.hostnames for each in certificates.changed() or []]


@pytest.mark.parametrize("damage", ["gone", "a directory", "no PEM", "another key"])
def test_a_damaged_file_leaves_the_others_in_force_and_comes_back(tmp_path: Path, damage: str) -> None:
    bad, good = _write(tmp_path, "bad"), _write(tmp_path, "good")
    kept, skipped = bad.chain.read_bytes(), SkippedRows()
    settings = TlsSettings(certificates=(bad, good))

    def spoil() -> None:
        bad.chain.unlink()
        match damage:
            case "a directory":
                bad.chain.mkdir()
            case "no PEM":
                bad.chain.write_bytes(b"-----BEGIN CERT")
            case "another key":
                bad.chain.write_bytes(good.chain.read_bytes())
            case _:
                pass

    spoil()
    given = GivenCertificates(settings, skipped)
    certificates = Certificates(given.load(), None, skipped=skipped)
    assert _served(certificates) == [["good.test"]]
    (row,) = skipped.rows()
    assert (row.kind, row.name) == ("given_certificate", str(bad.chain))
    assert row.code in ("certificate_unreadable", "engine_bad_certificate")
    if bad.chain.is_dir():
        bad.chain.rmdir()
    bad.chain.write_bytes(kept)
    certificates.give(given.load())
    assert _served(certificates) == [["bad.test"], ["good.test"]]
    assert not skipped.rows()
    spoil()
    certificates.give(given.load())
    assert _served(certificates) == [["bad.test"], ["good.test"]], "what was read before stays in force"
    told = {file.path: file for file in given.files()}
    assert told[str(bad.chain)].chain == kept and told[str(bad.chain)].problem
    assert told[str(good.chain)].chain is not None and not told[str(good.chain)].problem
    assert len(skipped.rows()) == 1


def test_a_file_whose_chain_has_ended_is_told_of_and_not_served(tmp_path: Path) -> None:
    short, long = _write(tmp_path, "short"), _write(tmp_path, "long")
    now = [datetime.now(UTC)]
    skipped = SkippedRows()
    given = GivenCertificates(TlsSettings(certificates=(short, long)), skipped, clock=lambda: now[0])
    assert len(given.load()) == 2
    now[0] += timedelta(days=366 * 1000)
    assert given.load() == []
    assert [row.code for row in skipped.rows()] == ["certificate_expired"] * 2
    now[0] = datetime.now(UTC)
    assert len(given.load()) == 2 and not skipped.rows()


def test_renewed_files_are_taken(tmp_path: Path) -> None:
    files = _write(tmp_path, "a")
    given = GivenCertificates(TlsSettings(certificates=(files,)), SkippedRows())
    certificates = Certificates(given.load(), None)
    assert certificates.changed() is not None
    assert certificates.changed() is None
    certificates.give(given.load())
    certificates.set([], [], lambda _: None)
    assert certificates.changed() is None, "the same files"
    _write(tmp_path, "a")
    certificates.give(given.load())
    certificates.set([], [], lambda _: None)
    assert certificates.changed() is not None


def test_tokens_name_the_edge_and_its_own_ca_where_that_signs_the_tunnel_listener(tmp_path: Path) -> None:
    authority = Authority.open(ca_file=tmp_path / "ca.pem", directory=tmp_path)
    files = _write(tmp_path, "given")
    assert found_by(TlsSettings(), authority, "") == {}
    own = found_by(TlsSettings(), authority, "edge.example.net")
    assert own["edge"] == "edge.example.net"
    assert x509.load_der_x509_certificate(b64decode(own["ca"])) == x509.load_pem_x509_certificate(
        (tmp_path / "ca.pem").read_bytes()
    )
    given = TlsSettings(tunnel_chain=files.chain, tunnel_key=files.key)
    assert found_by(given, authority, "edge.example.net:7900") == {"edge": "edge.example.net:7900"}
