"""`check_modules.py CRATE_FOLDER…`: no circle of imports between the modules of one crate. Cargo refuses circles of crates only,
and two files that need each other can't be read, tested or moved alone.

Counted is what a file takes by `use` and by paths in its code (`crate::a::B`, `super::b::f`, `child::f`). A re-export stands for
the file where the thing is; what only tests take doesn't count.

Integration tests are one binary a crate, `all.rs` beside its other tests: a file that it doesn't name would never run, so that
fails as well."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

Module = tuple[str, ...]

_STRAYS = re.compile(
    r'//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?\'(?:\\.[^\']*|[^\'\\])\'',
    re.DOTALL,
)
_TEST_ONLY = re.compile(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*")
_USE = re.compile(r"\b(pub(?:\s*\([^)]*\))?\s+)?use\s+([^;]+);")
_PATH = re.compile(r"(?<![\w:])(?:\$?crate|super|self)(?:::\w+)+")
_CHILD = re.compile(r"\bmod\s+(\w+)\s*;")


@dataclass
class File:
    """One module: what it re-exports, and what it takes."""

    name: Module
    path: Path
    exports: dict[str, Module] = field(default_factory=dict)
    globs: list[Module] = field(default_factory=list)
    taken: set[Module] = field(default_factory=set)


def main(folders: list[str]) -> int:
    failed = False
    for folder in folders:
        for path in forgotten(Path(folder) / "tests"):
            failed = True
            print(f"{path}: never runs; name it in {path.with_name('all.rs')}: mod {path.stem};")
        files = read(Path(folder) / "src")
        if not files:
            print(f"{folder}: has no lib.rs")
            failed = True
        imports = arrows(files)
        for circle in circles({name: set(of) for name, of in imports.items()}):
            failed = True
            print(f"{folder}: a circle of imports")
            for module in circle:
                for other in circle:
                    if names := imports[module].get(other):
                        print(f"  {files[module].path} takes {', '.join(sorted(names))} of {files[other].path}")
    if not failed:
        print(f"modules: no circles in {' '.join(Path(folder).name for folder in folders)}")
    return 1 if failed else 0


def forgotten(tests: Path) -> list[Path]:
    """Files of tests that no binary has."""
    whole = tests / "all.rs"
    if not whole.exists():
        return []  # cargo makes a binary of each
    named = {"all", *_CHILD.findall(whole.read_text())}
    return sorted(path for path in tests.glob("*.rs") if path.stem not in named)


def read(src: Path) -> dict[Module, File]:
    """The modules of a crate, from lib.rs on along their `mod` lines."""
    files: dict[Module, File] = {}
    waiting: list[tuple[Module, Path]] = [((), src / "lib.rs")]
    while waiting:
        name, path = waiting.pop()
        if not path.is_file():
            continue
        code = without_tests(_STRAYS.sub(" ", path.read_text(encoding="utf-8")))
        files[name] = file = File(name, path)
        children = _CHILD.findall(code)
        folder = path.parent if path.name in ("lib.rs", "mod.rs") else path.with_suffix("")
        for child in children:
            beside = folder / f"{child}.rs"
            waiting.append(((*name, child), beside if beside.is_file() else folder / child / "mod.rs"))
        uses = list(_USE.finditer(code))
        rest = _USE.sub(" ", code)
        for use in uses:
            for path_taken, alias in tree(use[2]):
                target = absolute(name, path_taken, children)
                if target is None:
                    continue
                if use[1] is None:
                    file.taken.add(target)
                elif alias == "*":
                    file.globs.append(target[:-1])
                else:
                    file.exports[alias] = target
                    if re.search(rf"\b{alias}\b", rest):
                        file.taken.add(target)
        paths = [match[0].lstrip("$").split("::") for match in _PATH.finditer(rest)]
        for child in children:
            paths += [[child, part] for part in re.findall(rf"(?<![\w:]){child}::(\w+)", rest)]
        file.taken |= {target for one in paths if (target := absolute(name, one, children)) is not None}
    return files


def without_tests(code: str) -> str:
    """The code less each item that is for tests only."""
    while found := _TEST_ONLY.search(code):
        end, depth = found.end(), 0
        while end < len(code):
            depth += {"{": 1, "}": -1}.get(code[end], 0)
            end += 1
            if depth == 0 and code[end - 1] in ";}":
                break
        code = code[: found.start()] + code[end:]
    return code


def tree(use: str) -> Iterator[tuple[list[str], str]]:
    """The paths of a `use` tree, each with the name that it gets."""
    use = use.strip()
    start = use.find("{")
    if start < 0:
        path, _, alias = re.sub(r"\s+as\s+", " as ", use).partition(" as ")
        parts = [part.strip() for part in path.split("::")]
        if parts[-1] == "self":
            parts.pop()
        yield parts, alias.strip() or parts[-1]
        return
    prefix, inner, depth, last = use[:start], use[start + 1 : use.rindex("}")], 0, 0
    for at, char in enumerate(f"{inner},"):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and depth == 0:
            if one := inner[last:at].strip():
                yield from tree(prefix + one)
            last = at + 1


def absolute(module: Module, path: list[str], children: list[str]) -> Module | None:
    """A path from the crate's root; `None` for one of another crate."""
    if path[0] == "crate":
        return tuple(path[1:])
    if path[0] in children:
        return (*module, *path)
    if path[0] not in ("super", "self"):
        return None
    while path and path[0] in ("super", "self"):
        module = module[:-1] if path[0] == "super" else module
        path = path[1:]
    return (*module, *path)


def home(files: dict[Module, File], path: Module, seen: frozenset[Module] = frozenset()) -> Module:
    """The module that a path leads to, through re-exports."""
    module: Module = ()
    for index, part in enumerate(path):
        if (*module, part) in files:
            module = (*module, part)
            continue
        if path in seen:
            break
        if target := files[module].exports.get(part):
            return home(files, (*target, *path[index + 1 :]), seen | {path})
        for glob in files[module].globs:
            found = home(files, (*glob, part), seen | {path})
            if found != home(files, glob):
                return found
        break
    return module


def arrows(files: dict[Module, File]) -> dict[Module, dict[Module, set[str]]]:
    """Which module takes what of which other."""
    found: dict[Module, dict[Module, set[str]]] = {name: {} for name in files}
    for name, file in files.items():
        for path in file.taken:
            other = home(files, path)
            if other != name:
                found[name].setdefault(other, set()).add(path[-1] if path else "*")
    return found


def circles(graph: dict[Module, set[Module]]) -> list[list[Module]]:
    """Its strongly connected parts of more than one node (Tarjan), sorted."""
    order: dict[Module, int] = {}
    low: dict[Module, int] = {}
    stack: list[Module] = []
    found: list[list[Module]] = []

    def visit(node: Module) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in graph[node]:
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            part = stack[stack.index(node) :]
            del stack[len(stack) - len(part) :]
            if len(part) > 1:
                found.append(sorted(part))

    for node in graph:
        if node not in order:
            visit(node)
    return sorted(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
