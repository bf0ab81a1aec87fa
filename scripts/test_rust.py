"""Runs the Rust tests as `cargo test` does, but the crates' binaries side by side: a system test waits more than it works.
There are no doc tests.

`python scripts/test_rust.py [ARGUMENT …]`: what follows goes to each binary, such as a part of tests' names. What a binary
says is shown when it ends; the exit status is 1 if one failed.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

AT_ONCE = 3


def built() -> list[tuple[Path, Path]]:
    """Every test binary of the workspace, built, and the folder of its crate; system tests, which take longest, first."""
    command = ["cargo", "test", "--workspace", "--no-run", "--quiet", "--message-format=json-render-diagnostics"]
    told = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if told.returncode:
        sys.exit(told.returncode)
    found = []
    for line in told.stdout.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
            is_unit = "test" not in message["target"]["kind"]
            found.append((is_unit, Path(message["executable"]), Path(message["manifest_path"]).parent))
    return [(binary, folder) for _, binary, folder in sorted(found)]


def run(binary: Path, folder: Path) -> tuple[int, str]:
    """Exit status, and all that it said."""
    done = subprocess.run(
        [str(binary), "--quiet", *sys.argv[1:]],
        cwd=folder,
        env={**os.environ, "CARGO_MANIFEST_DIR": str(folder)},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return done.returncode, done.stdout


def main() -> None:
    failed = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {pool.submit(run, binary, folder): (binary, folder) for binary, folder in built()}
        for ended in as_completed(running):
            binary, folder = running[ended]
            status, said = ended.result()
            name = f"{folder.name} {binary.name.rpartition('-')[0]}"
            print(f"{name}: {said.strip().rpartition(chr(10))[2] if not status else said}", flush=True)
            if status:
                failed.append(f"{name} ended with {status}")
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
