import re
from datetime import timedelta

import pytest

from qanat.auth import issue, verify
from qanat.auth.tokens import is_well_formed, make_token, token_hash
from qanat.errors import QanatError
from qanat.store import SYSTEM, Store
from qanat.store.models import ApiToken
from qanat.store.tokens import disable_token


def test_a_token_has_the_form_that_stock_clients_demand() -> None:
    token = make_token()
    assert re.fullmatch(r"[0-9A-Za-z_-]{40}", token)
    assert token.startswith("qnt_")
    assert is_well_formed(token)
    assert make_token() != token


def test_one_wrong_character_is_seen_without_the_database() -> None:
    token = make_token()
    for place in range(4, 40):
        other = "A" if token[place] != "A" else "B"
        assert not is_well_formed(token[:place] + other + token[place + 1 :])


def test_a_good_token_names_its_principal_and_its_use_is_noted(store: Store, account: str) -> None:
    text, row = issue(store, SYSTEM, name="mine", account_id=account)
    principal = verify(store, text, address="192.0.2.1")
    assert principal.token.id == row.id
    assert principal.only_account == account
    with store.reading() as session:
        used = session.get(ApiToken, row.id)
    assert used is not None
    assert used.last_used_from == "192.0.2.1"
    assert used.last_used_at is not None
    assert used.sha256 == token_hash(text)


@pytest.mark.parametrize("why", ["unknown", "malformed", "expired", "not yet", "disabled", "empty", "not ASCII"])
def test_every_bad_token_gets_the_same_answer(store: Store, why: str) -> None:
    now = store.clock()
    text, row = issue(
        store,
        SYSTEM,
        name="mine",
        expires_on=now - timedelta(seconds=1) if why == "expired" else None,
        not_before=now + timedelta(hours=1) if why == "not yet" else None,
    )
    match why:
        case "unknown":
            text = make_token()
        case "malformed":
            text = text[:-1]
        case "disabled":
            disable_token(store, SYSTEM, row.id)
        case "empty":
            text = ""
        case "not ASCII":
            text = "qnt_" + "é" * 36
    with pytest.raises(QanatError) as refused:
        verify(store, text, address="192.0.2.1")
    assert refused.value.as_dict() == {
        "code": "token_refused",
        "message": "Invalid access token",
        "where": "Authorization",
    }
