"""docs/explanation/walks.md is the code's way: every step's function is in its file, and calls the next step's.

A step begins with `file` `function`, or with several of them and "or" between. Those that it names further on are called by
it, or by one named before. Where it goes over the network or a queue (a line with ⇒) nothing is called. A call counts in the
function itself, and in those of the same file that it calls."""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parent.parent
WALKS = Path("docs") / "explanation" / "walks.md"
FEWEST = 20

PLACE = re.compile(r"`((?:crates|src)/[\w./-]+\.(?:rs|py))`(?:\s+`((?:\w+(?:::|\.))?\w+)`)?")
BEGINNING = re.compile(rf"\d+\. {PLACE.pattern}(?:\s+or {PLACE.pattern})*")
STEP = re.compile(r"^\d+\. .*(?:\n   .*|\n)*", re.MULTILINE)
NETWORK = "⇒"


@dataclass(frozen=True, slots=True)
class Place:
    """A file with a function of it, as a walk names them."""

    path: str
    function: str

    @property
    def name(self) -> str:
        """Without its type."""
        return re.split(r"::|\.", self.function)[-1]

    def __str__(self) -> str:
        return f"{self.path} {self.function}"


def problems(root: Path) -> Iterator[str]:
    """What isn't so, a line each."""
    before: list[Place] = []
    for piece in pieces((root / WALKS).read_text(encoding="utf-8")):
        named = [Place(path, function) for path, function in PLACE.findall(piece)]
        if not named:
            before = []  # the network, a queue, or another walk
            continue
        missing = [place for place in named if not (root / place.path).is_file()]
        nameless = [place for place in named if place not in missing and not place.function]
        lacking = [place for place in named if place not in missing + nameless and not has(root, place)]
        yield from (f"there is no {place.path}" for place in missing)
        yield from (f"{place.path} is named without a function" for place in nameless)
        yield from (f"{place.path} has no {place.function}" for place in lacking)
        wrong = {*missing, *nameless, *lacking}
        first = BEGINNING.match(piece)
        if first is None:
            yield f"a step doesn't begin with its file: {piece.splitlines()[0]}"
        here = named[: len(PLACE.findall(first[0]))] if first else named
        others = named[len(here) :]
        asked = [([caller], called) for caller, called in product(before, here)]
        asked += [([*here, *others[:number]], called) for number, called in enumerate(others)]
        for callers, called in asked:
            if wrong & {*callers, called}:
                continue
            if not any(calls(root, caller, called) for caller in callers):
                yield f"{callers[0]} does not call {called}" + (", nor does what stands between" if callers[1:] else "")
        before = here


def pieces(page: str) -> Iterator[str]:
    """The steps in their order, and what separates walks."""
    end = 0
    for match in STEP.finditer(page):
        between = page[end : match.start()]
        if NETWORK in between or re.search(r"^## ", between, re.MULTILINE):
            yield ""
        yield match[0].partition(f"\n   {NETWORK}")[0]
        if NETWORK in match[0]:
            yield ""
        end = match.end()


def has(root: Path, place: Place) -> bool:
    """Whether the file has the function, and the type that it is said to be of."""
    text = (root / place.path).read_text(encoding="utf-8")
    owner = place.function.removesuffix(place.name).rstrip(":.")
    known = not owner or re.search(rf"\b(?:class|struct|enum|trait|impl\b[^{{\n]*)\s{owner}\b", text)
    return bool(known) and place.name in functions(root / place.path)


def calls(root: Path, caller: Place, called: Place) -> bool:
    """Whether the caller's function, by way of others of its file, calls the other file's function."""
    bodies = functions(root / caller.path)
    if called.path != caller.path and not refers(root, caller.path, called):
        return False
    seen: set[str] = set()
    left = [caller.name]
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        body = "\n".join(bodies[name])
        if re.search(rf"\b{called.name}\b(?!\s*:(?!:))", body):
            return True
        left += [other for other in bodies if other not in seen and re.search(rf"\b{other}\b", body)]
    return False


def refers(root: Path, path: str, called: Place) -> bool:
    """Whether a file's text names the other file's module, a type that is defined there, or the crate that it is in. Where the
    object comes from elsewhere (a method in Python) or the language is another, only the function's name can be looked for."""
    if path.endswith(".rs") != called.path.endswith(".rs") or (path.endswith(".py") and called.name != called.function):
        return True
    text = (root / path).read_text(encoding="utf-8")
    file = root / called.path
    module = file.parent.name if file.stem in ("mod", "lib", "__init__") else file.stem
    defined = file.read_text(encoding="utf-8")
    names = [module, *re.findall(r"^(?:pub(?:\([a-z]+\))? )?(?:class|struct|enum|trait) (\w+)", defined, re.MULTILINE)]
    if path.endswith(".rs") and path.split("/")[1] != called.path.split("/")[1]:
        names.append(f"qanat_{called.path.split('/')[1]}")
    return any(re.search(rf"\b{name}\b", text) for name in names)


def functions(path: Path) -> dict[str, list[str]]:
    """The bodies of a file's functions by name; several where different types have one of the same name."""
    text = path.read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for name, body in _python(text) if path.suffix == ".py" else _rust(text):
        found.setdefault(name, []).append(body)
    return found


def _python(text: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield node.name, "\n".join(ast.unparse(statement) for statement in body)


def _rust(text: str) -> Iterator[tuple[str, str]]:
    """rustfmt ends a function by a brace as far to the left as it began."""
    code = re.sub(r"//.*", "", re.split(r"^#\[cfg\(test\)\]\nmod ", text, maxsplit=1, flags=re.MULTILINE)[0])
    for match in re.finditer(r"^( *)(?:pub(?:\([a-z]+\))? )?(?:const |async |unsafe )*fn (\w+)", code, re.MULTILINE):
        begin = re.compile(r"[{;]$|\{\}$", re.MULTILINE).search(code, match.end())
        end = re.compile(rf"^{match[1]}\}}", re.MULTILINE).search(code, match.end())
        yield match[2], code[begin.end() : end.start()] if begin and begin[0] == "{" and end else ""


def main() -> int:
    found = list(problems(ROOT))
    for problem in found:
        print(f"{WALKS}: {problem}")
    named = len(PLACE.findall((ROOT / WALKS).read_text(encoding="utf-8")))
    if named < FEWEST:
        print(f"{WALKS} names {named} places only: a walk is missing")
        return 1
    if not found:
        print(f"walks: each of {named} places exists and calls the next one")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
