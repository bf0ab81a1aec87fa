"""`make lint` tells a walk that the code doesn't go."""

from pathlib import Path

import pytest

from scripts.check_walks import problems

RUST = """
use crate::router;

pub(crate) struct Listener;

impl Listener {
    /// Doesn't call `forward`.
    pub(crate) async fn accept(
        &self,
        bytes: [u8; 6],
    ) -> Result<(), Error> {
        let admitted = admit(bytes);
        self.handle(admitted).await
    }

    async fn handle(&self, _: ()) -> Result<(), Error> {
        router::find(b"a"); // and not lose()
        Ok(())
    }
}

pub trait Sink {
    fn respond(&mut self) -> bool;
    fn nothing(&self) {}
}

#[cfg(test)]
mod tests {
    fn nothing() {
        router::find(b"b");
    }
}
"""
ROUTER = "pub fn find(name: &[u8]) -> u8 {\n    1\n}\n\nfn lose() {}\n"
PYTHON = '''
from qanat.tables import routes

class Feed:
    def heard(self):
        """Never compiles."""
        self._later(routes.compile_routes)

    def idle(self):
        """It is compile_routes that idles."""
'''
ROUTES = "def compile_routes():\n    return {}\n"
CODE = {
    "crates/edge/src/listener.rs": RUST,
    "crates/edge/src/router.rs": ROUTER,
    "crates/edge/src/other.rs": "pub fn find() {\n    find_it();\n}\n",
    "crates/edge/src/public.rs": "use crate::listener::Listener;\n\nfn serve(to: Listener) {\n    to.accept();\n}\n",
    "src/qanat/edge/feed.py": PYTHON,
    "src/qanat/tables/routes.py": ROUTES,
    "crates/http/src/head.rs": "pub fn parse() {}\n",
    "crates/edge/src/head.rs": "use qanat_http::parse;\n\nfn read() {\n    parse();\n}\n",
    "src/qanat/edge/chores.py": "def run(given):\n    given.heard()\n",
    "src/qanat/edge/engine.py": "class Engine:\n    def find(self):\n        return self._engine.find()\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in CODE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def told(tree: Path, *steps: str) -> list[str]:
    page = tree / "docs" / "explanation" / "walks.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("# Walks\n\n## One\n\n" + "\n".join(steps) + "\n")
    return list(problems(tree))


LISTENER = "1. `crates/edge/src/listener.rs` `Listener::accept`: takes one."
FEED = "1. `src/qanat/edge/feed.py` `Feed.heard`: a notice,\n   from the store."

WALKS = {
    "a call by way of the file's own functions": ([LISTENER, "2. `crates/edge/src/router.rs` `find`: where to."], []),
    "a function that is handed over": ([FEED, "2. `src/qanat/tables/routes.py` `compile_routes`: a table."], []),
    "a call on the way": ([LISTENER + "\n   It asks `crates/edge/src/router.rs` `find`."], []),
    "one of two": (
        [
            LISTENER,
            "2. `crates/edge/src/router.rs` `find` or `crates/edge/src/router.rs` `lose`: where to.",
        ],
        ["crates/edge/src/listener.rs Listener::accept does not call crates/edge/src/router.rs lose"],
    ),
    "a step that says no place first": (
        ["1. It begins in `crates/edge/src/router.rs` `find`."],
        ["a step doesn't begin with its file: 1. It begins in `crates/edge/src/router.rs` `find`."],
    ),
    "a call of what was called": (
        [
            "1. `crates/edge/src/public.rs` `serve`: by `crates/edge/src/listener.rs` `accept`, where\n"
            "   `crates/edge/src/router.rs` `find` says where to, and no longer `crates/edge/src/router.rs` `lose`."
        ],
        ["crates/edge/src/public.rs serve does not call crates/edge/src/router.rs lose, nor does what stands between"],
    ),
    "a function that a crate gives out under its own name": (
        ["1. `crates/edge/src/head.rs` `read`: by `crates/http/src/head.rs` `parse`."],
        [],
    ),
    "a method of an object that was handed in": (
        ["1. `src/qanat/edge/chores.py` `run`: now and then.", FEED.replace("1.", "2.")],
        [],
    ),
    "a function of a module that isn't imported": (
        ["1. `src/qanat/edge/chores.py` `run`: now and then.", FEED.replace("1.", "2.").replace("Feed.", "")],
        ["src/qanat/edge/chores.py run does not call src/qanat/edge/feed.py heard"],
    ),
    "a border of languages": (
        ["1. `src/qanat/edge/engine.py` `Engine.find`: down.", "2. `crates/edge/src/router.rs` `find`: there."],
        [],
    ),
    "over the network nothing is called": ([LISTENER, "\n   ⇒ the network ⇒\n", FEED.replace("1.", "2.")], []),
    "another walk": ([LISTENER, "\n## Two\n", FEED], []),
    "a call that isn't there": (
        [LISTENER, "2. `crates/edge/src/router.rs` `lose`: gone."],
        ["crates/edge/src/listener.rs Listener::accept does not call crates/edge/src/router.rs lose"],
    ),
    "a call in a comment": (
        [FEED.replace("heard", "idle"), "2. `src/qanat/tables/routes.py` `compile_routes`: a table."],
        ["src/qanat/edge/feed.py Feed.idle does not call src/qanat/tables/routes.py compile_routes"],
    ),
    "a function of that name in another file": (
        [LISTENER, "2. `crates/edge/src/other.rs` `find`: where to."],
        ["crates/edge/src/listener.rs Listener::accept does not call crates/edge/src/other.rs find"],
    ),
    "a body that isn't one": (
        ["1. `crates/edge/src/listener.rs` `nothing`: no.", "2. `crates/edge/src/router.rs` `find`: where to."],
        ["crates/edge/src/listener.rs nothing does not call crates/edge/src/router.rs find"],
    ),
    "no function": (["1. `crates/edge/src/router.rs`: it."], ["crates/edge/src/router.rs is named without a function"]),
    "no such function": (["1. `crates/edge/src/router.rs` `seek`: it."], ["crates/edge/src/router.rs has no seek"]),
    "no such type": (
        ["1. `crates/edge/src/listener.rs` `Door::accept`: it."],
        ["crates/edge/src/listener.rs has no Door::accept"],
    ),
    "no such file": (["1. `crates/edge/src/door.rs` `accept`: it."], ["there is no crates/edge/src/door.rs"]),
}


@pytest.mark.parametrize("name", WALKS)
def test_a_walk_is_the_codes_way_or_is_told(tree: Path, name: str) -> None:
    steps, problem = WALKS[name]
    assert told(tree, *steps) == problem
