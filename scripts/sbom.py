"""`sbom.py NAME VERSION`: what is inside a release, as a CycloneDX 1.6 document on standard output: the crates that the engine is
built of, as cargo resolves them, and the distributions of a lock file (`requirements/NAME.txt`).

A document of one list, written here: the generators for either world know nothing of the other. Two runs give the same bytes."""

import json
import os
import re
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[a-z,]+\])?==([^\s;\\]+)([^\\]*)", re.MULTILINE)
_CRATE = re.compile(r"([\w-]+) v([^\s|]+)[^|]*\|(.*)")

Component = dict[str, Any]


def main(name: str, version: str) -> int:
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))
    requirements = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    parts = [*crates(_cargo_tree(), lock), *distributions(requirements)]
    made = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    print(json.dumps(document(version, parts, made), indent=1))
    return 0


def _cargo_tree() -> str:
    """A line for each crate that is linked into the extension: neither those of tests nor those of builds."""
    form = ["--edges", "normal", "--prefix", "none", "--format", "{p}|{l}"]
    command = ["cargo", "tree", "--locked", "--package", "qanat-engine", *form]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def crates(tree: str, lock: dict[str, Any]) -> Iterator[Component]:
    """Those from elsewhere, with the checksums that Cargo.lock has of them."""
    known = {(each["name"], each["version"]): each.get("checksum") for each in lock["package"]}
    for line in sorted(set(tree.splitlines())):
        found = _CRATE.match(line)
        if not found:
            continue
        name, version, licence = found.groups()
        checksum = known.get((name, version))
        if checksum is None:
            continue  # ours
        # older manifests say "MIT/Apache-2.0"
        expression = licence.replace(" (*)", "").replace("/", " OR ").strip()
        yield {
            **_component("cargo", name, version),
            "hashes": [{"alg": "SHA-256", "content": checksum}],
            **({"licenses": [{"expression": expression}]} if expression else {}),
        }


def distributions(requirements: str) -> Iterator[Component]:
    """Those of a lock file that a Linux machine installs. Which of a distribution's files it is depends on the machine, so that
    there is no hash; the lock file has them."""
    for name, version, marker in _PINNED.findall(requirements):
        if "win32" not in marker and "emscripten" not in marker:
            yield _component("pypi", name, version)


def document(version: str, parts: list[Component], made: datetime) -> dict[str, Any]:
    """The whole, named by what is in it."""
    unique = {part["purl"]: part for part in parts}
    listed = [unique[purl] for purl in sorted(unique)]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, f"qanat {version} {json.dumps(listed)}").urn,
        "version": 1,
        "metadata": {
            "timestamp": made.isoformat().replace("+00:00", "Z"),
            "component": {
                "type": "application",
                "bom-ref": f"pkg:pypi/qanat@{version}",
                "name": "qanat",
                "version": version,
                "purl": f"pkg:pypi/qanat@{version}",
                "licenses": [{"expression": "Apache-2.0"}],
            },
        },
        "components": listed,
    }


def _component(kind: str, name: str, version: str) -> Component:
    purl = f"pkg:{kind}/{name}@{version.replace('+', '%2B')}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
