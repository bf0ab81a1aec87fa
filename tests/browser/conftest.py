"""A real browser: Debian's Chromium, driven by Playwright. Without one of them these tests are skipped, and say so.

QANAT_SCREENSHOTS=1 writes what pages look like into docs/screenshots."""

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.browser.watched import Watched
from tests.support.control import Control, running_control
from tests.support.fixtures import edge, lab  # noqa: F401

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "docs" / "screenshots"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser, started once for a module: as long as Playwright is, its loop runs in this thread, and a test of another
    module could run none of its own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = os.environ.get("QANAT_TEST_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("no Chromium on PATH, and QANAT_TEST_CHROMIUM names none")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Iterator[Control]:
    """A control plane with its dashboard, for a module."""
    with running_control(tmp_path_factory.mktemp("control"), dashboard=True) as running:
        yield running


Opener = Callable[..., Watched]


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Opener]:
    """Opens pages of their own contexts; at the end none may have met an error, broken its policy or asked another host."""
    opened: list[Watched] = []

    def opens(base: str, **context: Any) -> Watched:
        watched = Watched(chromium.new_context(base_url=base, ignore_https_errors=True, **context), base)
        opened.append(watched)
        return watched

    yield opens
    for watched in opened:
        watched.context.close()
    for watched in opened:
        watched.check()


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page shows what a test has just made by the API, however fresh another page's look is."""
    monkeypatch.setattr("qanat.dashboard.overview.KEPT_S", 0.0)


@pytest.fixture
def me(control: Control, open_page: Opener) -> Callable[..., Watched]:
    """Signed in, and on the overview; or nowhere yet, with ""."""

    def signed_in(at: str = "/", **context: Any) -> Watched:
        watched = open_page(control.url.removesuffix("/client/v4"), **context)
        answer = watched.page.request.post("/sign-in", form={"token": control.token})
        assert answer.ok
        if at:
            watched.page.goto(at)
            watched.page.wait_for_selector("#states")
        return watched

    return signed_in


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's text."""
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def shoot() -> Callable[[Any, str], None]:
    """Keeps what a page looks like, where that was asked for."""

    def keep(page: Any, name: str) -> None:
        if os.environ.get("QANAT_SCREENSHOTS") == "1":
            SHOTS.mkdir(exist_ok=True)
            page.screenshot(path=str(SHOTS / f"{name}.png"), scale="css")

    return keep
