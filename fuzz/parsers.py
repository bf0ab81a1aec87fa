"""What must hold of every input of the parsers in Python: a connector's token, its credentials file, its `config.yml`.

`make fuzz` runs them by `atheris_targets.py`; `tests/unit/test_fuzz.py` replays the kept ones without it.
"""

from collections.abc import Callable

from qanat.connector.configuration import EMPTY
from qanat.connector.flags import CommandLine
from qanat.connector.options import local_configuration
from qanat.connector.sources import lay_over
from qanat.connector.token import parse_credentials, parse_token
from qanat.errors import QanatError, render
from qanat.ingress.table import compile_table


def token(data: bytes) -> None:
    """A token or a credentials file is taken or refused, and no refusal repeats a long piece of it: it may be the secret."""
    text = data.decode("utf-8", "replace")
    for parse in (parse_token, parse_credentials):
        try:
            credentials = parse(text)
        except QanatError as error:
            _repeats_nothing(str(error), text)
        else:
            assert credentials.secret
            assert credentials.secret.hex() not in repr(credentials)


def configuration_file(data: bytes) -> None:
    """A `config.yml` gives a connector its flags and rules, which compile to a table, or is refused in one printable line that
    names the file."""
    try:
        sources = lay_over("config.yml", data, CommandLine((), {}, False), {})
        local, _ = local_configuration(sources, [])
    except QanatError as error:
        assert all(line.isprintable() for line in render(error).split("\n"))
        assert (error.where or "").startswith("config.yml"), error.where
        return
    try:
        compile_table(local or EMPTY)
    except QanatError as error:
        assert all(line.isprintable() for line in render(error).split("\n"))


TARGETS: dict[str, Callable[[bytes], None]] = {"token": token, "configuration_file": configuration_file}


def _repeats_nothing(message: str, text: str) -> None:
    pieces = (text[at : at + 24] for at in range(0, max(len(text) - 23, 0), 8))
    assert not any(piece in message for piece in pieces if len(set(piece)) > 8), "the refusal repeats what was given"
