"""`qanat edge upgrade` and `drain`: a running edge of this host is replaced without losing a request, or ended politely."""

import threading
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import Struct

from qanat.cli.output import Output, OutputOption, note, tell
from qanat.errors import QanatError, escape_text
from qanat.succession.child import LIMIT_S
from qanat.succession.local_socket import Question, Running, ask, running

app = typer.Typer()

ANSWER_S = 10.0
SPARE_S = 120.0
"""How much longer than its limits an upgrade may take: a promotion under way is waited for."""
LOOK_S = 1.0
LONGEST_DRAIN_S = 86400.0

PidOption = Annotated[int | None, typer.Option(help="The process, where several edges run on this host.")]
DirectoryOption = Annotated[Path | None, typer.Option("--data-dir", help="The edge's, where several run on this host.")]


class Upgraded(Struct, frozen=True):
    """An edge that was replaced."""

    old_pid: int
    pid: int
    old_version: str
    version: str


class Drained(Struct, frozen=True):
    """An edge that has ended. `left`: requests that were still open when its time was over."""

    pid: int
    left: int


@app.command("upgrade")
def upgrade(
    pid: PidOption = None,
    data_dir: DirectoryOption = None,
    timeout: Annotated[
        float, typer.Option(min=1.0, max=3600.0, help="Seconds that a new process has until it could serve.")
    ] = LIMIT_S,
    drain_timeout: Annotated[
        float | None,
        typer.Option(min=0.0, max=LONGEST_DRAIN_S, help="Seconds for what is open in the old one; else its setting's."),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Replace a running edge by a new process of its program, without losing a request.

    The program is looked up by its path anew, so that an upgraded one is used, with the flags that the running one was started
    with; its settings are read anew. The old process does all that it did until the new one could serve, then hands over
    database, API, connectors and visitors, and serves what is open. If the new one fails, the old one goes on, and the reason
    is told.
    """
    edge = chosen(running("edge"), pid, data_dir)
    before = ask(edge, Question("describe"), limit_s=ANSWER_S)
    answer = ask(edge, Question("upgrade", timeout, drain_timeout), limit_s=2 * timeout + SPARE_S)
    if reason := answer.get("reason"):
        raise QanatError(
            "upgrade_failed",
            str(reason),
            where=f"process {edge.pid}",
            hint="that process goes on serving; mend the cause and run the command again",
        )
    done = Upgraded(edge.pid, int(answer["pid"]), str(before["version"]), str(answer["version"]))
    tell(
        output,
        [done],
        f"process {done.old_pid} (version {done.old_version}) has handed over to {done.pid} (version {done.version})",
    )


@app.command("drain")
def drain(
    pid: PidOption = None,
    data_dir: DirectoryOption = None,
    drain_timeout: Annotated[
        float | None,
        typer.Option(min=0.0, max=LONGEST_DRAIN_S, help="Seconds for what is open; else its grace_period_s."),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """End a running edge politely: clients and connectors are told to go, what is open is finished.

    It waits for the end, and says once a second what is still open. Exit status 1: requests were still open when their time
    was over.
    """
    edge = chosen(running("edge"), pid, data_dir)
    answers: list[dict[str, Any]] = []
    failures: list[QanatError] = []

    def end() -> None:
        try:
            answers.append(ask(edge, Question("drain", drain_s=drain_timeout), limit_s=LONGEST_DRAIN_S))
        except QanatError as error:
            failures.append(error)

    asking = threading.Thread(target=end, daemon=True)
    asking.start()
    said = ""
    while asking.is_alive():
        asking.join(LOOK_S)
        said = _still_open(edge, said) if asking.is_alive() else said
    if failures:
        raise failures[0]
    done = Drained(edge.pid, int(answers[0]["left"]))
    if done.left:
        raise QanatError(
            "edge_drained_late",
            f"{done.left} requests were still open when their time was over, and are cut",
            where=f"process {edge.pid}",
            hint="give more time by --drain-timeout",
        )
    tell(output, [done], f"process {done.pid} has finished what was open, and ends")


def chosen(found: list[Running], pid: int | None, data_dir: Path | None) -> Running:
    """Which edge is meant.

    Raises:
        QanatError: `edge_not_running`, `edge_ambiguous`.
    """
    named = [each for each in found if pid in (None, each.pid)]
    if data_dir is not None:
        wanted = str(data_dir.absolute())
        named = [each for each in named if _data_dir(each) == wanted]
    if len(named) == 1:
        return named[0]
    if named:
        listed = ", ".join(f"{each.pid} ({_data_dir(each) or 'of another user'})" for each in named)
        raise QanatError("edge_ambiguous", f"several edges run here: {listed}", hint="give --pid or --data-dir")
    others = ", ".join(str(each.pid) for each in found) or "none"
    raise QanatError(
        "edge_not_running",
        f"no such edge runs on this host (running: {others})",
        hint="in a container, run this command inside it",
    )


def _data_dir(edge: Running) -> str:
    try:
        return escape_text(str(ask(edge, Question("describe"), limit_s=ANSWER_S)["data_dir"]))
    except (QanatError, KeyError):
        return ""


def _still_open(edge: Running, said: str) -> str:
    try:
        now = ask(edge, Question("describe"), limit_s=ANSWER_S)
    except QanatError:
        return said
    line = f"open: {now['requests']} requests, {now['clients']} clients, {now['connectors']} connections of connectors"
    if line != said:
        note(line)
    return line
