"""`python -m demo.cutover`: two hosts and two sites, in words: a host dies, a site takes over, a broken one may not, and one that
breaks is taken back. Requests flow all the while, and every one of them is accounted for."""

import os
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path

from demo.application import Application, Served
from demo.crowd import Asked, Crowd, by_host, longest_gap_s
from demo.declared import PRODUCTION, SECOND_SITE, ByApi, ByTerraform, Declared, RefusedError, given
from demo.processes import Child
from demo.stage import HOSTNAME, ZONE, Stage, SurpriseError, perform
from qanat.client import Node, NodePlace

WEB1, WEB2, FAR = "web1", "web2", "far"


class Story(Stage):
    """`served`: what the applications logged. `roles`: which of production's hosts is active: its name, since when it may be so,
    and since when no other is. `fences`: who may not serve: a host, since when, until when. `moves`: when the second site may."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        super().__init__(folder, stack)
        self.served: list[Served] = []
        self.roles: list[tuple[str, float, float]] = []
        self.fences: list[tuple[str, float, float]] = []
        self.moves: list[tuple[float, float]] = []
        self.timeline: list[tuple[float, str]] = []

    def run(self) -> None:
        self.start_applications()
        self.start_edge()
        self.declare_production()
        self.start_hosts()
        with Crowd(self.visitor) as self.crowd:
            self.visitors_come()
            self.declare_second_site()
            self.lose_the_active_host()
            self.bring_the_lost_host_back()
            self.promote_as_planned()
            self.activate_second_site()
            self.roll_back()
            self.refuse_a_broken_site()
            self.take_back_a_site_that_breaks()
            self.visitors_leave()
        self.tell_the_timeline()

    # ------------------------------------------------------------ one site, two hosts

    def start_applications(self) -> None:
        self.step("The application starts, once for production's two hosts and once for the second site.")
        self.application, self.far_application = (Application(self.served) for _ in range(2))
        for each in (self.application, self.far_application):
            self.stack.callback(each.close)
        self.told(f"production     {self.application.url}")
        self.told(f"second site    {self.far_application.url}")

    def declare_production(self) -> None:
        self.declared = self._declarer()
        self.step(f"Production is declared, {self.declared.how}: a tunnel, its rule, and the record of {HOSTNAME}.")
        self.production = self.declared.production(self.application.url)
        self.told(f"tunnel         {self.production.tunnel_id}")

    def start_hosts(self) -> None:
        self.step(
            "Each host gets a token of its own, and its connector dials out. One host is active, the other a standby."
        )
        self.tokens = {
            host: self.qanat("tunnel", "connector-token", "create", PRODUCTION, host, quietly=True).strip()
            for host in (WEB1, WEB2)
        }
        self.hosts = {host: self.run_host(host) for host in (WEB1, WEB2)}
        self.qanat("tunnel", "mode", PRODUCTION, "active-standby", "--active", WEB1, "--automatic")
        self.until(lambda: self.node(WEB1) == "active" and self.node(WEB2) == "standby", "web1 active, web2 standby")
        self.qanat("node", "list", PRODUCTION)
        self.until(lambda: self.visitor.get("/").headers.get("x-served-by") == WEB1, "an answer of web1")
        self.roles.append((WEB1, 0.0, 0.0))

    def visitors_come(self) -> None:
        self.step(
            f"Visitors come, {self.crowd.clients} of them, and ask https://{HOSTNAME}/ at a steady rate until the end."
        )
        self.mark("visitors come; web1 is active, web2 a standby")
        self.wait_for_answers(WEB1, 50)
        self.told(f"requests       {by_host(self.crowd.asked)}")

    # ------------------------------------------------------------ a second site without traffic

    def declare_second_site(self) -> None:
        self.step(
            f"A second site is declared with activate_dns = false, {self.declared.how}. It is connected; nobody goes there."
        )
        self.second = self.declared.second_site(self.far_application.url, takes_over_from=self.production.tunnel_id)
        self.hosts[FAR] = self.run_host(FAR, self.second.token)
        self.until(
            lambda: self.api.tunnel(self.account, self.second.tunnel_id).status == "healthy", "a healthy second site"
        )
        self.qanat("tunnel", "list")
        self.check(not [each for each in self.served if each.host == FAR], "the second site got requests")
        self.mark("the second site is connected, without traffic")

    # ------------------------------------------------------------ a host dies

    def lose_the_active_host(self) -> None:
        self.step(
            "web1 dies: its connector is killed, without a word to anybody. The standby takes its place by itself."
        )
        begun = self.mark("web1 is killed")
        self.hosts[WEB1].kill()
        self.until(lambda: self.node(WEB2) == "active", "web2 to be active")
        promoted = self.mark("web2 is active, by itself")
        self.roles.append((WEB2, begun, promoted))
        self.wait_for_answers(WEB2, 50)
        asked = self.crowd.since(begun - 1.0)
        self.lost = [each for each in asked if each.failed]
        late = [each for each in self.lost if each.sent_at > promoted]
        self.check(not late, f"failed although web2 was active: {late[:3]}")
        self.told(f"web2 active    after {promoted - begun:.2f} s")
        self.told(f"no answer      for {longest_gap_s(asked):.2f} s at most")
        self.told(f"failed         {len(self.lost)}, of those that were on their way to web1")

    def bring_the_lost_host_back(self) -> None:
        self.step(
            "web1 comes back with the same token. It was active when it was cut off: it is fenced, and serves nothing."
        )
        since = self.mark("web1 comes back, fenced")
        self.hosts[WEB1] = self.run_host(WEB1)
        self.until(lambda: self.node(WEB1) == "fenced" and self.connections(WEB1) > 0, "web1 connected and fenced")
        self.wait_for_answers(WEB2, 50)
        self.qanat("node", "list", PRODUCTION)
        self.qanat("node", "unfence", PRODUCTION, WEB1)
        self.until(lambda: self.node(WEB1) == "standby", "web1 to be a standby")
        self.fences.append((WEB1, since, time.monotonic()))
        self.check(not [each for each in self.served if each.host == WEB1 and each.at > since], "web1 served something")
        self.told("web1 served nothing meanwhile, and is a standby now")

    def promote_as_planned(self) -> None:
        self.step(
            "web1 gets its place back, as planned: new requests wait a moment, open ones end, and nobody sees an error."
        )
        begun = self.mark("a planned promotion of web1 begins")
        self.qanat("node", "promote", PRODUCTION, WEB1, "--drain", "5", "--reason", "web1 is repaired")
        self.roles.append((WEB1, begun, self.mark("web1 is active again")))
        self.wait_for_answers(WEB1, 50)
        self.nobody_failed_since(begun)

    # ------------------------------------------------------------ another site

    def activate_second_site(self) -> None:
        self.step("activate_dns = true: the gate asks the second site, finds it well, and the hostname moves there.")
        begun = self.mark("activate_dns = true")
        self.told(self.declared.activate(True))
        self.wait_for_answers(FAR, 50)
        self.nobody_failed_since(begun)
        self.activated = begun

    def roll_back(self) -> None:
        self.step("The way back is to apply the same again with activate_dns = false.")
        begun = self.mark("activate_dns = false")
        self.told(self.declared.activate(False))
        self.wait_for_answers(WEB1, 50)
        self.nobody_failed_since(begun)
        self.moves.append((self.activated, time.monotonic()))

    def refuse_a_broken_site(self) -> None:
        self.step(
            "The second site's application breaks, and activate_dns = true is applied all the same: the gate refuses."
        )
        self.far_application.status = 500
        begun = self.mark("activate_dns = true, onto a broken site")
        try:
            self.told(self.declared.activate(True))
        except RefusedError as refused:
            for line in str(refused).splitlines():
                for part in textwrap.wrap(line, 110):
                    self.told(f"  {part}")
        else:
            raise SurpriseError("the gate let a broken site through")
        self.wait_for_answers(WEB1, 50)
        self.nobody_failed_since(begun)
        self.check(self.declared_target() == self.production.tunnel_id, "the record was changed")
        self.mark("refused; nothing has changed")

    def take_back_a_site_that_breaks(self) -> None:
        self.step(
            "It is repaired, gets a fifth of the requests, and breaks only then: the cutover takes it back by itself."
        )
        self.far_application.status = 200
        begun = self.mark("a cutover in steps begins, and is watched")
        cutover = self.start(
            *("cutover", "apply", HOSTNAME, "--from", PRODUCTION, "--to", SECOND_SITE),
            *("--steps", "20,100", "--watch", "120", "--longest", "120"),
        )
        before = sum(each.host == FAR for each in list(self.served))
        self.until(
            lambda: sum(each.host == FAR for each in list(self.served)) > before + 10, "requests at the second site"
        )
        broke = self.mark("the second site breaks")
        self.far_application.status = 500
        code = cutover.wait(60.0)
        over = self.mark("taken back, by itself")
        for line in cutover.lines:
            self.told(f"  {line}")
        self.check(code == 1, f"qanat cutover apply ended with {code}")
        self.wait_for_answers(WEB1, 50)
        asked = [each for each in self.crowd.asked if each.answered_at >= broke]
        failed = [each for each in asked if each.failed]
        self.broken = failed
        self.check(all(each.status == 500 for each in failed), f"failed otherwise: {failed[:3]}")
        late = [each for each in failed if each.sent_at > over]
        self.check(not late, f"failed after it was taken back: {late[:3]}")
        share = len(failed) / max(1, sum(each.sent_at <= over for each in asked))
        self.told(
            f"taken back {over - broke:.1f} s after it broke; meanwhile {share:.0%} of the requests got its errors"
        )
        self.moves.append((begun, over))
        self.qanat("cutover", "history")

    def visitors_leave(self) -> None:
        self.step("The visitors leave.")
        self.mark("visitors leave")
        excused = {each.sequence for each in (*self.lost, *self.broken)}
        failed = [each for each in self.crowd.asked if each.failed and each.sequence not in excused]
        self.check(not failed, f"{len(failed)} requests failed for no reason: {failed[:3]}")
        self.told(f"requests       {by_host(self.crowd.asked)}")
        self.told(
            f"failed         {len(self.lost)} in flight on the host that was killed, {len(self.broken)} at the site that broke"
        )

    def tell_the_timeline(self) -> None:
        self.step("All of it, second by second.")
        start = self.timeline[0][0]
        ends = [at for at, _ in self.timeline[1:]] + [float("inf")]
        for (at, what), end in zip(self.timeline, ends, strict=True):
            within = [each for each in self.crowd.asked if at <= each.answered_at < end]
            self.told(f"{at - start:6.2f} s  {what:<46} {by_host(within) if within else ''}".rstrip())

    def end(self) -> None:
        for host in self.hosts.values():
            host.stop()
        self.edge.stop()

    # ------------------------------------------------------------ what the steps share

    def mark(self, what: str) -> float:
        """Now, and what happens now, for the timeline."""
        at = time.monotonic()
        self.timeline.append((at, what))
        return at

    def qanat(self, *arguments: str, quietly: bool = False) -> str:
        """A command as one would type it; shown with what it prints. Its standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "qanat", *arguments],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if not quietly:
            self.told(f"$ qanat {' '.join(arguments)}")
            for line in (done.stdout + done.stderr).splitlines():
                self.told(f"  {line}")
        self.check(done.returncode == 0, f"qanat {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def start(self, *arguments: str) -> Child:
        """A command that goes on beside the story."""
        self.told(f"$ qanat {' '.join(arguments)}")
        return self.child(" ".join(arguments[:2]), *arguments, environment=self._environment())

    def run_host(self, host: str, token: str | None = None) -> Child:
        return self.run_connector(token or self.tokens[host], host, "--tag", f"host={host}")

    def node(self, name: str) -> str:
        return next(each.state for each in self._nodes() if each.name == name)

    def connections(self, name: str) -> int:
        return next(each.connections for each in self._nodes() if each.name == name)

    def declared_target(self) -> str:
        zone = next(each for each in self.api.zones() if each.name == ZONE)
        record = next(each for each in self.api.records(zone.id) if each.name == HOSTNAME)
        return record.content.partition(".")[0]

    def wait_for_answers(self, host: str, count: int) -> None:
        """Until so many more were answered by it."""
        since = time.monotonic()

        def enough() -> bool:
            return sum(each.host == host for each in self.crowd.since(since)) >= count

        self.until(enough, f"{count} answers of {host}", timeout_s=30.0)

    def nobody_failed_since(self, moment: float) -> None:
        asked = self.crowd.since(moment)
        failed: list[Asked] = [each for each in asked if each.failed]
        self.check(not failed, f"{len(failed)} requests failed: {failed[:3]}")
        self.told(f"requests       {by_host(asked)}; none failed")

    def _nodes(self) -> list[Node]:
        return self.api.nodes(NodePlace.of_tunnel(self.account, self.production.tunnel_id)).nodes

    def _declarer(self) -> Declared:
        found = given()
        if found is None:
            return ByApi(self.api, self.account, ZONE, HOSTNAME)
        self.api.create_zone(self.account, ZONE)
        token = Path(self.facts["token_file"]).read_text(encoding="ascii").strip()
        variables = {"account_id": self.account, "zone": ZONE, "hostname": HOSTNAME}
        return ByTerraform(self.folder, *found, self.facts["api"], token, variables)

    def _environment(self) -> dict[str, str]:
        own = {"QANAT_API": self.facts["api"], "QANAT_API_TOKEN_FILE": self.facts["token_file"], "COLUMNS": "120"}
        return {**os.environ, **own}


def main() -> int:
    return perform(Story)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
