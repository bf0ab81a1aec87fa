"""The lock files: every distribution pinned with hashes, no package host or index named anywhere."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CRATES_INDEX = "registry+https://github.com/rust-lang/crates.io-index"


def main() -> int:
    faults = []
    for name in ("runtime.txt", "connector.txt", "dev.txt", "fuzz.txt"):
        path = ROOT / "requirements" / name
        for number, block in enumerate(_blocks(path.read_text(encoding="utf-8")), start=1):
            first = block.split()[0]
            if not re.fullmatch(r"[a-z0-9.\[\],-]+==[A-Za-z0-9.+!]+", first):
                faults.append(f"{path.name}, entry {number}: `{first}` is not a pinned distribution")
            elif "--hash=sha256:" not in block:
                faults.append(f"{path.name}: {first} has no hash")
            if "://" in block or "--index" in block or "--find-links" in block:
                faults.append(f"{path.name}: {first} names a host")
    for lock in ("Cargo.lock", "fuzz/Cargo.lock"):
        sources = set(re.findall(r'^source = "(.*)"$', (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE))
        faults += [f"{lock}: source {source}" for source in sorted(sources - {CRATES_INDEX})]
    manifests = (ROOT / "Cargo.toml", ROOT / "fuzz" / "Cargo.toml", *ROOT.glob("crates/*/Cargo.toml"))
    for path in (ROOT / "pyproject.toml", *manifests):
        text = path.read_text(encoding="utf-8")
        if re.search(
            r"\b(git|registry|index-url|find-links)\s*=\s*\"|^\[(source|registries|\[?tool\.uv)", text, re.MULTILINE
        ):
            faults.append(f"{path.relative_to(ROOT)}: names a git or index source")
    for fault in faults:
        print(fault)
    if not faults:
        print("locks: pinned, hashed, no host named")
    return 1 if faults else 0


def _blocks(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return "\n".join(lines).replace("\\\n", " ").splitlines()


if __name__ == "__main__":
    sys.exit(main())
