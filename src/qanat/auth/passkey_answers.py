"""What browsers are asked to do with passkeys, and what devices answer; by py_webauthn, loaded with the first of them."""

from secrets import token_hex

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import parse_authentication_credential_json, parse_registration_credential_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from qanat.auth import second_factor
from qanat.auth.passkeys import Challenge, listed
from qanat.control import accounts
from qanat.control.grants import check_name
from qanat.errors import QanatError
from qanat.store import Write
from qanat.store.models import Passkey

RP_NAME = "qanat"
MOST_OF_USER = 20


def registration_options(session: Session, challenge: Challenge) -> str:
    """What a browser makes a new one by, as JSON. QanatError `user_unknown`."""
    user = accounts.get_user(session, challenge.user_id)
    options = generate_registration_options(
        rp_id=challenge.site.rp_id,
        rp_name=RP_NAME,
        user_id=bytes.fromhex(user.id),
        user_name=user.email,
        user_display_name=user.email,
        challenge=challenge.value,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.PREFERRED, user_verification=UserVerificationRequirement.PREFERRED
        ),
        exclude_credentials=_descriptors(session, challenge),
    )
    return options_to_json(options)


def register(write: Write, challenge: Challenge, credential: str, *, name: str) -> tuple[Passkey, list[str]]:
    """Keeps a new one; and recovery codes, if it is the user's first second factor: nobody can ask for them again.

    Raises:
        QanatError: `passkey_refused`: it isn't an answer to this challenge; `passkey_too_many`; `token_bad_name`.
    """
    name = check_name(name)
    session, user_id = write.session, challenge.user_id
    try:
        parsed = parse_registration_credential_json(credential)
        verified = verify_registration_response(
            credential=parsed,
            expected_challenge=challenge.value,
            expected_rp_id=challenge.site.rp_id,
            expected_origin=challenge.site.origin,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise _refused(f"the device's answer can't be taken: {error}") from error
    if session.scalar(select(Passkey.id).where(Passkey.credential_id == verified.credential_id)) is not None:
        raise _refused("this passkey is registered already")
    if (session.scalar(select(func.count()).where(Passkey.user_id == user_id)) or 0) >= MOST_OF_USER:
        raise QanatError("passkey_too_many", f"a user has at most {MOST_OF_USER} passkeys", hint="remove one first")
    is_first = not second_factor.is_set(session, user_id)
    transports = " ".join(each.value for each in parsed.response.transports or ())
    row = Passkey(
        id=token_hex(16),
        user_id=user_id,
        credential_id=verified.credential_id,
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
        rp_id=challenge.site.rp_id,
        name=name,
        transports=transports,
        created_at=write.at,
        last_used_at=None,
    )
    session.add(row)
    session.flush()
    write.audit("user.passkey", user_id, detail={"passkey": row.id, "name": name, "rp_id": row.rp_id})
    return row, second_factor.renew_recovery_codes(write, user_id) if is_first else []


def authentication_options(session: Session, challenge: Challenge) -> str:
    """What a browser asks a device by, as JSON: for one of the user's, else for any that it has for this site."""
    options = generate_authentication_options(
        rp_id=challenge.site.rp_id,
        challenge=challenge.value,
        allow_credentials=_descriptors(session, challenge) if challenge.user_id else None,
        user_verification=UserVerificationRequirement.PREFERRED
        if challenge.user_id
        else UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


def verify(write: Write, challenge: Challenge, credential: str) -> Passkey:
    """The passkey that signed the challenge; its counter goes on. Without a user named, the device has verified its user.

    Raises:
        QanatError: `passkey_refused`.
    """
    try:
        parsed = parse_authentication_credential_json(credential)
        row = write.session.scalar(select(Passkey).where(Passkey.credential_id == parsed.raw_id))
        if row is None or (challenge.user_id and row.user_id != challenge.user_id):
            raise _refused("this passkey isn't known here, or not any more")
        handle = parsed.response.user_handle
        if handle is not None and handle != bytes.fromhex(row.user_id):
            raise _refused("this passkey is another user's")
        verified = verify_authentication_response(
            credential=parsed,
            expected_challenge=challenge.value,
            expected_rp_id=challenge.site.rp_id,
            expected_origin=challenge.site.origin,
            credential_public_key=row.public_key,
            credential_current_sign_count=row.sign_count,
            require_user_verification=not challenge.user_id,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise _refused(f"the device's answer can't be taken: {error}") from error
    row.sign_count = verified.new_sign_count
    row.last_used_at = write.at
    return row


def _descriptors(session: Session, challenge: Challenge) -> list[PublicKeyCredentialDescriptor]:
    known = {each.value: each for each in AuthenticatorTransport}
    return [
        PublicKeyCredentialDescriptor(
            id=row.credential_id, transports=[known[each] for each in row.transports.split() if each in known] or None
        )
        for row in listed(session, challenge.user_id)
        if row.rp_id == challenge.site.rp_id
    ]


def _refused(message: str) -> QanatError:
    return QanatError("passkey_refused", message, where="passkey", hint="try again, or sign in another way")
