"""A store's clock that a test moves by hand."""

from datetime import datetime, timedelta

from qanat.store import Store


class MovedClock:
    """Stands still at the time of its making, until it is moved."""

    def __init__(self, store: Store) -> None:
        self.now = store.clock()
        store.clock = self

    def __call__(self) -> datetime:
        return self.now

    def move(self, *, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
