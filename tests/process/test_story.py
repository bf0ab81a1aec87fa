"""What `make demo-cutover` tells, with a checker over what the visitors were answered and what the applications logged."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from demo.cutover import FAR, WEB1, WEB2, Story
from tests.support.checker import Asked, Checker, Load, Phase, Served
from tests.support.http1 import Http1Client

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with ExitStack() as stack:
        story = Story(tmp_path_factory.mktemp("story"), stack)
        try:
            story.run()
        except Exception:
            for child in story.children:
                print(f"--- the last lines of the {child.name}", *list(child.lines)[-25:], sep="\n")
            raise
        yield story
        story.end()


def test_no_request_fails_but_those_in_flight_on_the_host_that_was_killed(story: Story) -> None:
    """And what the site answered that broke while it was watched."""
    killed, promoted = (next(at for at, what in story.timeline if part in what) for part in ("is killed", "by itself"))
    broken = {each.sequence for each in story.broken}
    failed = [each for each in story.crowd.asked if each.failed and each.sequence not in broken]
    assert [each for each in failed if each.answered_at < killed or each.sent_at > promoted] == []
    assert all(each.status == 500 and each.host == FAR for each in story.broken)


@pytest.mark.case(47)
def test_no_two_hosts_are_active_and_a_fenced_one_serves_nothing(story: Story) -> None:
    checker = Checker(WEB1)
    checker.phases = [Phase(*role) for role in story.roles]
    checker.fences = list(story.fences)
    checker.log = [Served(each.host, each.sequence, each.ray, each.at) for each in story.served if each.host != FAR]
    asked = [
        Asked(each.sequence, each.sent_at, each.answered_at, each.status, each.host, each.failure)
        for each in story.crowd.asked
    ]
    assert checker.violations(Load(_no_client, asked=asked)) == []
    assert {each.host for each in story.served} == {WEB1, WEB2, FAR}


def test_the_second_site_serves_only_while_it_was_given_the_hostname(story: Story) -> None:
    sent = {each.sequence: each for each in story.crowd.asked}
    served = [each for each in story.served if each.host == FAR]
    assert served
    for each in served:
        assert any(begun <= each.at and sent[each.sequence].sent_at <= ended for begun, ended in story.moves)


def test_the_timeline_has_every_step(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    story.tell_the_timeline()
    told = capsys.readouterr().out
    assert [what for _, what in story.timeline if what not in told] == []
    assert len(story.timeline) >= 12


def _no_client() -> Http1Client:  # pragma: no cover - nothing is asked any more
    raise AssertionError
