"""Why an order came to nothing, and whose wait that is."""

from datetime import datetime
from typing import Literal

from qanat.errors import QanatError

Whose = Literal["name", "authority", "ours"]


class OrderFailedError(QanatError):
    """An order came to nothing.

    Args:
        whose: `name`: of this hostname alone; `authority`: of the CA, so that another may be asked; `ours`: of this host, and no
            CA is asked before it is put right.
        not_before: when the CA may be asked again, as it said.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        whose: Whose,
        where: str | None = None,
        hint: str | None = None,
        not_before: datetime | None = None,
    ) -> None:
        super().__init__(code, message, where=where, hint=hint)
        self.whose = whose
        self.not_before = not_before
