"""Who may do what in the account: its users by address, with their roles there and nothing that one signs in by."""

from qanat.control import roles, users
from qanat.control.policies import reach_of
from qanat.errors import QanatError
from qanat.store.models import Membership
from qanat.transfer.document import MemberPart
from qanat.transfer.run import Run

LONGEST_NAME = 60


def write(run: Run) -> None:
    """A user that isn't there is added, without a way to sign in. A role that the importer doesn't hold is a conflict."""
    seen: set[str] = set()
    for part in run.document.members:
        try:
            if part.email.lower() in seen:
                raise QanatError("import_conflict", "the address is twice in the file")
            seen.add(part.email.lower())
            _member(run, part)
        except QanatError as error:
            run.conflict("member", run.account_id, part.email, str(error))


def _member(run: Run, part: MemberPart) -> None:
    session, own, role = run.write.session, run.giver.policies, roles.check(part.role)
    if any(len(name) > LONGEST_NAME or not name.isprintable() for name in (part.first_name, part.last_name)):
        raise QanatError("user_bad_field", f"a name has at most {LONGEST_NAME} characters, all of them printable")
    user = users.find_by_email(session, users.check_email(part.email))
    if user is None:
        user = users.add(run.write, email=part.email, account_id=run.account_id, role=role, own=own).user
        user.first_name, user.last_name = part.first_name, part.last_name
        run.outcome.new_users.append(part.email)
        run.step("member", user.id, part.email, "create", f"{role}; there is no password yet")
        return
    held = session.get(Membership, (user.id, run.account_id))
    if held is not None and held.role == role:
        run.step("member", user.id, part.email, "same")
    elif user.id == run.giver.user_id:
        run.step("member", user.id, part.email, "same", "nobody's own role is changed by their import")
    else:
        try:
            users.visible(session, user.id, reach=reach_of(own, "account.edit"))
        except QanatError:
            raise QanatError("user_bad_field", "another user has this address") from None
        users.set_role(run.write, user.id, account_id=run.account_id, role=role, own=own)
        run.step("member", user.id, part.email, "change" if held is not None else "create", role)
