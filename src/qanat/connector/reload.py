"""The configuration file of a running connector: read again at SIGHUP and when it changes. What is sound replaces the local
rules; what isn't leaves them as they are, and is told with its line."""

import threading
from collections.abc import Callable

from qanat.connector.configuration import CurrentConfiguration, local_document
from qanat.connector.engine import Connector
from qanat.connector.file_watch import FileWatch
from qanat.connector.flag_table import FLAGS
from qanat.connector.log import Log
from qanat.connector.options import local_configuration, read_options
from qanat.connector.single_origin import SINGLE_ORIGIN_FLAGS
from qanat.connector.sources import Sources, configuration_flags
from qanat.errors import QanatError
from qanat.ingress.rules import Configuration

KEPT = "The configuration file is not taken: what it said before stays in force"


class Reload:
    """Reads anew what `gather` gathers. `applied` counts; `refused`: the file as it is now was not taken."""

    def __init__(
        self,
        gather: Callable[[], Sources],
        sources: Sources,
        *,
        configuration: CurrentConfiguration,
        connector: Connector,
        log: Log,
    ) -> None:
        self._gather = gather
        self._sources = sources
        self._configuration = configuration
        self._connector = connector
        self._log = log
        self._watch: FileWatch | None = None
        self.applied = 0
        self.refused = False

    def counters(self) -> dict[str, int]:
        """For `/metrics`; empty without a file."""
        if self._watch is None:
            return {}
        return {"configuration_file_reloads": self.applied, "configuration_file_refused": int(self.refused)}

    def start(self) -> None:
        """Watches the file from now on, in a thread; without a file, none."""
        if self._sources.path is not None:
            self._watch = FileWatch(self._sources.path)
            threading.Thread(target=self._run, args=(self._watch,), name="reload", daemon=True).start()

    def ask(self) -> None:
        """Somebody sent SIGHUP: the file is read even if it looks the same, since files that it names may have changed."""
        if self._watch is None:
            self._log.info("Ignoring signal hangup: there is no configuration file")
        else:
            self._watch.wake()

    def _run(self, watch: FileWatch) -> None:
        self.read()  # it may have changed between the start and the watch
        while True:
            asked = watch.wait()
            self.read(asked=asked)

    def read(self, *, asked: bool = False) -> None:
        """Takes the file as it is now."""
        before = self._sources
        warnings: list[str] = []
        try:
            sources = self._gather()
            if sources.text == before.text and not asked:
                self.refused = False
                return
            _check_flags(sources)
            local, _ = local_configuration(sources, warnings)
            in_force = self._put_in_force(local, sources)
        except QanatError as error:
            self.refused = True
            self._log.error(KEPT, error=str(error), code=error.code)
            return
        self._sources = sources
        self.applied += 1
        self.refused = False
        for warning in warnings:
            self._log.warn(warning)
        self._warn_of_the_rest(before, sources)
        path = sources.path or ""
        if not in_force:
            self._log.warn(
                "The configuration file changed, and its ingress rules are not in force: this tunnel is remotely managed",
                path=path,
                version=self._configuration.version,
            )
            return
        if local is not None:
            self._connector.send_local_configuration(local_document(local, configuration_flags(sources)))
        self._log.info("Reloaded the configuration file", path=path, rules=len(local.rules) if local else 0)

    def _put_in_force(self, local: Configuration | None, sources: Sources) -> bool:
        try:
            return self._configuration.replace_local(local)
        except QanatError as error:
            raise (sources.in_file(error) if sources.document.get("ingress") else error) from None

    def _warn_of_the_rest(self, before: Sources, after: Sources) -> None:
        names = [flag.name for flag in FLAGS if before.values.get(flag.name) != after.values.get(flag.name)]
        if before.document.get("tunnel") != after.document.get("tunnel"):
            names.append("tunnel")
        later = [name for name in names if name not in SINGLE_ORIGIN_FLAGS]
        if later:
            has = "has" if len(later) == 1 else "have"
            self._log.warn(
                f"{', '.join(later)} {has} changed in the configuration file: that counts from the next start on"
            )


def _check_flags(sources: Sources) -> None:
    """What the file says of other flags counts from the next start on, which must not fail for it. What came from elsewhere was
    sound at this start, and may be gone by now."""
    try:
        read_options(sources)
    except QanatError as error:
        if sources.path and (error.where or "").startswith(sources.path):
            raise
