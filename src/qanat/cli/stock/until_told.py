"""What runs until somebody ends it."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


def run(main: Coroutine[Any, Any, None]) -> bool:
    """As `asyncio.run`; whether it ended by itself.

    SIGINT and SIGTERM cancel it where it waits. A handler that raises, as Python's own does, would do so in the middle of
    whatever runs: a library that reads a frame, say, makes no sense of the next one then.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # before there is a loop
    try:
        asyncio.run(_cancelled_by_sigterm(main))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return False
    return True


async def _cancelled_by_sigterm(main: Coroutine[Any, Any, None]) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await main
