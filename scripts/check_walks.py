"""Every file that docs/explanation/walks.md names exists: the two walks through the code can't go stale unseen."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
WALKS = ROOT / "docs" / "explanation" / "walks.md"
FEWEST = 20


def main() -> int:
    named = re.findall(r"`((?:crates|src)/[\w./-]+\.(?:rs|py))`", WALKS.read_text(encoding="utf-8"))
    missing = [name for name in named if not (ROOT / name).is_file()]
    for name in missing:
        print(f"{WALKS.relative_to(ROOT)} names {name}, which doesn't exist")
    if len(named) < FEWEST:
        print(f"{WALKS.relative_to(ROOT)} names {len(named)} files only: a walk is missing")
        return 1
    if not missing:
        print(f"walks: all {len(named)} files exist")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
