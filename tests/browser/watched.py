"""A page, and everything about it that must not happen."""

from typing import Any
from urllib.parse import urlsplit

AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


class Watched:
    """`expected`: parts of the console's errors that the test brings about itself."""

    def __init__(self, context: Any, base: str) -> None:
        self.context = context
        self.page = context.new_page()
        self.expected: list[str] = []
        self._host = urlsplit(base).netloc
        self._errors: list[str] = []
        self._strangers: list[str] = []
        # before any script of the page: what its policy forbids is an event
        context.add_init_script(
            "addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective + ' ' + "
            "e.blockedURI + ' ' + e.sample))"
        )
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self._errors.append(f"error: {error}"))
        self.page.on("dialog", self._asked_for)
        self.page.on("request", self._asked)

    def _asked_for(self, dialog: Any) -> None:
        self._errors.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _said(self, message: Any) -> None:
        if message.type == "error":
            self._errors.append(message.text)

    def _asked(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != self._host:
            self._strangers.append(request.url)

    def check(self) -> None:
        """Nothing of it did."""
        assert [each for each in self._errors if not any(part in each for part in self.expected)] == []
        assert self._strangers == []

    def axe(self, axe: str) -> list[str]:
        """What is not accessible on the page as it stands."""
        return self.asked(self.page, axe)

    @staticmethod
    def asked(page: Any, axe: str) -> list[str]:
        """The same, of any page."""
        # in a world of its own: the page's policy has no say there, and needs no hole for it
        page.evaluate(axe + "\n;undefined")
        found = page.evaluate(f"axe.run(document, {{runOnly: {AXE_TAGS}}})")
        return [
            f"{each['id']}: {[node['target'] for node in each['nodes']][:4]}: {each['help']}"
            for each in found["violations"]
        ]
