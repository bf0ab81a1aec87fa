"""scripts/sbom.py, on small trees and lock files."""

from datetime import UTC, datetime

from scripts.sbom import crates, distributions, document

TREE = """qanat-engine v0.1.0 (/src/crates/engine)|Apache-2.0
qanat-http v0.1.0 (/src/crates/http)|Apache-2.0
bytes v1.11.0|MIT
rand v0.9.2|MIT OR Apache-2.0
old v1.0.0+build.2|MIT/Apache-2.0 (*)
bytes v1.11.0|MIT (*)
derive v2.0.0 (proc-macro)|MIT

"""
LOCK = {
    "package": [
        {"name": "qanat-http", "version": "0.1.0"},
        {"name": "bytes", "version": "1.11.0", "checksum": "aa"},
        {"name": "rand", "version": "0.9.2", "checksum": "bb"},
        {"name": "old", "version": "1.0.0+build.2", "checksum": "cc"},
        {"name": "derive", "version": "2.0.0", "checksum": "dd"},
        {"name": "only-in-tests", "version": "1.0.0", "checksum": "ee"},
    ]
}
REQUIREMENTS = """# Made by scripts/lock.
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:11
idna==3.20 \\
    --hash=sha256:22 \\
    --hash=sha256:33
psycopg[binary]==3.3.1 \\
    --hash=sha256:44
"""


def test_each_crate_from_elsewhere_is_listed_once_with_its_checksum_and_licence() -> None:
    parts = document("1.0", [*crates(TREE, LOCK)], datetime.fromtimestamp(0, UTC))["components"]
    told = [(each["purl"], each["hashes"][0]["content"], each["licenses"][0]["expression"]) for each in parts]
    assert told == [
        ("pkg:cargo/bytes@1.11.0", "aa", "MIT"),
        ("pkg:cargo/derive@2.0.0", "dd", "MIT"),
        ("pkg:cargo/old@1.0.0%2Bbuild.2", "cc", "MIT OR Apache-2.0"),
        ("pkg:cargo/rand@0.9.2", "bb", "MIT OR Apache-2.0"),
    ]


def test_distributions_are_those_that_linux_installs() -> None:
    assert [each["purl"] for each in distributions(REQUIREMENTS)] == ["pkg:pypi/idna@3.20", "pkg:pypi/psycopg@3.3.1"]


def test_the_same_parts_give_the_same_document_and_others_another() -> None:
    made = datetime.fromtimestamp(0, UTC)
    one, again = (document("1.0", [*distributions(REQUIREMENTS)], made) for _ in range(2))
    assert one == again
    assert one["metadata"]["timestamp"] == "1970-01-01T00:00:00Z"
    other = document("1.0", [*distributions(REQUIREMENTS.replace("3.20", "3.21"))], made)
    assert other["serialNumber"] != one["serialNumber"]
