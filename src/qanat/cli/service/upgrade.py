"""`qanat service upgrade`: a running connector is replaced by a new process of its program, and no request is lost."""

from typing import Annotated, Any

import typer
from msgspec import Struct

from qanat.cli.output import Output, OutputOption, note, tell
from qanat.errors import QanatError, escape_text, render
from qanat.succession.child import LIMIT_S
from qanat.succession.local_socket import Question, Running, ask, running

app = typer.Typer()

SPARE_S = 30.0
"""How much longer than the limit an answer may take: the new process is ended meanwhile, or lets the old one go."""


class Upgraded(Struct, frozen=True):
    """One connector that was replaced."""

    old_pid: int
    pid: int
    old_version: str
    version: str
    connections: int


@app.command("upgrade")
def upgrade(
    pid: Annotated[int | None, typer.Option(help="The process, where several connectors run on this host.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every connector of this host, one after the other.")] = False,
    timeout: Annotated[float, typer.Option(min=1.0, max=600.0, help="Seconds that a new process has to register.")] = (
        LIMIT_S
    ),
    output: OutputOption = Output.TEXT,
) -> None:
    """Replace a running connector by a new process of its program, without losing a request.

    The program is looked up by its path anew, so that an upgraded one is used, with the flags that the running one was started
    with; files that they name are read anew. The old process goes on until the new one is registered, and then serves what is
    open, up to its grace period. If the new one fails, the old one goes on, and the reason is told.
    """
    failed: QanatError | None = None
    done: list[Upgraded] = []
    for connector in chosen(running("connector"), pid, every=every):
        try:
            done.append(replace(connector, timeout))
        except QanatError as error:
            if not every:
                raise
            if failed:
                note(render(failed))
            failed = error
    lines = [
        f"process {one.old_pid} (version {one.old_version}) has handed over to {one.pid} (version {one.version}), "
        f"with {one.connections} connection{'' if one.connections == 1 else 's'}"
        for one in done
    ]
    if done:
        tell(output, done, "\n".join(lines))
    if failed:
        raise failed


def chosen(found: list[Running], pid: int | None, *, every: bool) -> list[Running]:
    """Which connectors are meant.

    Raises:
        QanatError: `connector_not_running`, `connector_ambiguous`.
    """
    if pid is not None:
        named = [each for each in found if each.pid == pid]
        if not named:
            others = ", ".join(str(each.pid) for each in found) or "none"
            raise QanatError(
                "connector_not_running", f"no connector of process {pid} runs here (running: {others})", where="--pid"
            )
        return named
    if not found:
        raise QanatError(
            "connector_not_running",
            "no connector runs on this host",
            hint="start one; in a container, run this command inside it",
        )
    if every or len(found) == 1:
        return found
    listed = ", ".join(f"{each.pid} ({described(each)})" for each in found)
    raise QanatError("connector_ambiguous", f"several connectors run here: {listed}", hint="give --pid, or --all")


def described(connector: Running) -> str:
    """For people: which tunnel it serves, if it says so."""
    try:
        return f"tunnel {escape_text(str(ask(connector, Question('describe'), limit_s=2.0)['tunnel_id']))}"
    except (QanatError, KeyError):
        return "another user's"


def replace(connector: Running, limit_s: float) -> Upgraded:
    """Asks one connector, and waits.

    Raises:
        QanatError: `connector_refused`, or `upgrade_failed` with the new process's reason.
    """
    before = ask(connector, Question("describe"), limit_s=SPARE_S)
    answer: dict[str, Any] = ask(connector, Question("upgrade", limit_s), limit_s=limit_s + SPARE_S)
    if reason := answer.get("reason"):
        raise QanatError(
            "upgrade_failed",
            str(reason),
            where=f"process {connector.pid}",
            hint="that process goes on serving; mend the cause and run the command again",
        )
    return Upgraded(
        connector.pid, int(answer["pid"]), str(before["version"]), str(answer["version"]), int(answer["connections"])
    )
