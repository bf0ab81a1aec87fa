"""Commands as somebody types them, run in this process."""

import json
from typing import Any

import pytest

from qanat.cli.main import main


class Shell:
    """Runs commands and reads what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.err = ""

    def __call__(self, *arguments: str, expect: int = 0) -> str:
        self._capsys.readouterr()
        status = main(list(arguments))
        printed = self._capsys.readouterr()
        self.err = printed.err
        assert status == expect, (arguments, printed)
        return printed.out

    def json(self, *arguments: str, expect: int = 0) -> Any:
        return json.loads(self(*arguments, "-o", "json", expect=expect))
