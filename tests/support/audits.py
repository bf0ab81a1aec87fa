"""The audit chain, as a test looks at it."""

from sqlalchemy.orm import Session

from qanat.store import audit


def first_broken(session: Session) -> int | None:
    """The `seq` of the first row that was changed, or follows a removed one; None when the chain holds."""
    return audit.verify(lambda after: audit.read_rows(session, after)).first_broken
