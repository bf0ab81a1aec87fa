"""An account's calls take its own share of the API, and nobody else's."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanat.api.http.gate import account_of
from qanat.api.http.shares import Share, place_of
from qanat.control.principal import Principal
from qanat.errors import RetryLaterError
from qanat.store.models import ApiToken


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 10.0))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_one_key_gets_no_more_than_its_share_and_another_does_not_wait() -> None:
    async def work() -> None:
        share = Share(most=4, each=2)
        async with AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(share.turn("attacker"))
            third = asyncio.create_task(stack.enter_async_context(share.turn("attacker")))
            await settle()
            assert not third.done()
            await stack.enter_async_context(share.turn("victim"))
            third.cancel()

    run(work())


def test_turns_go_around_the_keys() -> None:
    async def work() -> None:
        share = Share(most=1, each=1)
        order: list[str] = []

        async def call(key: str) -> None:
            async with share.turn(key):
                order.append(key)
                await asyncio.sleep(0)

        calls = [asyncio.create_task(call(key)) for key in ["a"] * 6 + ["b", "c"]]
        await asyncio.gather(*calls)
        assert order.index("b") <= 3
        assert order.index("c") <= 3

    run(work())


def test_who_waits_too_long_or_behind_too_many_is_told_to_come_again() -> None:
    async def work() -> None:
        share = Share(most=1, each=1, waiting=1, wait_s=0.01)
        async with share.turn("a"):
            with pytest.raises(RetryLaterError) as late:
                async with share.turn("a"):
                    pass
            assert late.value.code == "busy"
            waiting = asyncio.create_task(share.turn("a").__aenter__())
            await settle()
            with pytest.raises(RetryLaterError):
                async with share.turn("a"):
                    pass
            waiting.cancel()
        async with share.turn("a"):
            pass

    run(work())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.booleans()), max_size=30))
def test_no_turn_is_lost_whoever_leaves(calls: list[tuple[str, int, bool]]) -> None:
    async def work() -> None:
        share = Share(most=3, each=2)
        running: dict[str, int] = {}

        async def call(key: str, steps: int) -> None:
            async with share.turn(key):
                running[key] = running.get(key, 0) + 1
                assert running[key] <= 2
                assert sum(running.values()) <= 3
                try:
                    for _ in range(steps):
                        await asyncio.sleep(0)
                finally:
                    running[key] -= 1

        tasks = []
        for key, steps, leaves in calls:
            task = asyncio.create_task(call(key, steps))
            tasks.append(task)
            await asyncio.sleep(0)
            if leaves:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not [task for task in tasks if not task.cancelled() and task.exception() is not None]
        async with AsyncExitStack() as stack:  # all turns are there again
            for key in "abc":
                await stack.enter_async_context(share.turn(key))

    run(work())


def test_an_ipv6_host_is_its_network() -> None:
    assert place_of("2001:db8:1:2:3::4") == place_of("2001:db8:1:2::") != place_of("2001:db8:1:3::")
    assert place_of("192.0.2.1") != place_of("192.0.2.2")
    assert place_of("nowhere") == "nowhere"


HEX = "023e105f4ecef8ad9ca31a8372d0c353"


@pytest.mark.parametrize(
    ("account_id", "resources", "key"),
    [
        (HEX, [], HEX),
        (None, [f"com.cloudflare.api.account.{HEX}"], HEX),
        (None, [f"com.cloudflare.api.account.{HEX}", f"com.cloudflare.api.account.{HEX[::-1]}"], "token"),
        (None, ["com.cloudflare.api.account.*"], "token"),
        (None, [], "token"),
    ],
)
def test_a_call_takes_the_share_of_its_tokens_account(account_id: str | None, resources: list[str], key: str) -> None:
    policies = [{"resources": {resource: "*"}} for resource in resources]
    token = ApiToken(id="token", account_id=account_id, user_id="everybody's", policies=policies)
    assert account_of(Principal(token, "127.0.0.1")) == key
