"""Third-party files of the dashboard, from npm tarballs whose hashes are in scripts/assets.json.

`assets.py` writes them anew (the registry is npm's own setting); `assets.py --check` compares what is in the tree with the lock,
without a network."""

import json
import subprocess
import sys
import tarfile
import tempfile
from base64 import b64encode
from hashlib import sha256, sha512
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "scripts" / "assets.json"


def packages() -> list[dict[str, Any]]:
    """The locked packages."""
    found: list[dict[str, Any]] = json.loads(LOCK.read_text(encoding="utf-8"))
    return found


def main(arguments: list[str]) -> int:
    if "--check" in arguments:
        faults = problems()
        print("\n".join(faults) or "assets: as locked, each with its licence")
        return 1 if faults else 0
    for package in packages():
        fetch(package)
    return 0


def problems() -> list[str]:
    """What of the tree isn't as the lock says, a line each."""
    found = []
    for package in packages():
        if not any("licences/" in to["path"] for to in package["files"].values()):
            found.append(f"{package['name']}: no licence beside it")
        for to in package["files"].values():
            path = ROOT / to["path"]
            if not path.is_file() or sha256(path.read_bytes()).hexdigest() != to["sha256"]:
                found.append(f"{to['path']} is not the locked file of {package['name']} {package['version']}")
    return found


def fetch(package: dict[str, Any]) -> None:
    """One package's files, from its tarball."""
    name = f"{package['name']}@{package['version']}"
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (tarball,) = Path(folder).iterdir()
        integrity = "sha512-" + b64encode(sha512(tarball.read_bytes()).digest()).decode()
        if integrity != package["integrity"]:
            raise SystemExit(f"{name}: its tarball is {integrity}, not the locked {package['integrity']}")
        with tarfile.open(tarball) as archive:
            for member, to in package["files"].items():
                opened = archive.extractfile(f"package/{member}")
                content = opened.read() if opened is not None else b""
                if sha256(content).hexdigest() != to["sha256"]:
                    raise SystemExit(f"{name}: {member} is not the locked file")
                path = ROOT / to["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                print(f"{path.relative_to(ROOT)}: {name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
