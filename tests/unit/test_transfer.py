"""The pure parts of whole accounts as documents; the way through the API is in tests/unit/api/test_own_accounts.py."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qanat.errors import QanatError
from qanat.transfer.document import plain, read_document
from qanat.transfer.sealed import PassphraseSealer, new_sealer, open_sealer

PASSPHRASE = "correct horse battery"
DOCUMENT = {
    "format": "qanat-account",
    "version": 1,
    "exported_at": "2026-01-02T03:04:05.678901Z",
    "account": {"id": "f" * 32, "name": "old", "settings": {}, "created_at": "2026-01-02T03:04:05Z"},
}


@pytest.fixture(scope="module")
def sealer() -> PassphraseSealer:
    return new_sealer(PASSPHRASE)


@given(secret=st.binary(max_size=200), context=st.text(max_size=50))
@settings(max_examples=50)
def test_what_was_sealed_opens_for_its_owner_alone(sealer: PassphraseSealer, secret: bytes, context: str) -> None:
    sealed = sealer.seal(secret, context)
    assert sealer.open(sealed, context) == secret
    with pytest.raises(QanatError) as refused:
        sealer.open(sealed, context + "x")
    assert refused.value.code == "export_secret_damaged"


def test_only_the_same_passphrase_opens(sealer: PassphraseSealer) -> None:
    sealed = sealer.seal(b"secret", "a")
    assert open_sealer(PASSPHRASE, sealer.part).open(sealed, "a") == b"secret"
    with pytest.raises(QanatError) as refused:
        open_sealer(PASSPHRASE + " ", sealer.part)
    assert refused.value.code == "passphrase_wrong"


@pytest.mark.parametrize("sealed", ["", "é", "AAAA", "A" * 100, "!"])
def test_what_is_no_sealed_secret_is_told(sealer: PassphraseSealer, sealed: str) -> None:
    with pytest.raises(QanatError) as refused:
        sealer.open(sealed, "a")
    assert refused.value.code == "export_secret_damaged"


@pytest.mark.parametrize(
    "change", [{"n": 2**25}, {"n": 1}, {"n": 2**15 + 1}, {"r": 100}, {"p": 9}, {"salt": "AA=="}, {"kdf": "md5"}]
)
def test_a_document_cannot_make_us_work_for_ever(sealer: PassphraseSealer, change: dict[str, object]) -> None:
    part = copy.copy(sealer.part)
    for key, value in change.items():
        setattr(part, key, value)
    with pytest.raises(QanatError) as refused:
        open_sealer(PASSPHRASE, part)
    assert refused.value.code == "export_malformed"


def test_the_smallest_document() -> None:
    assert plain(read_document(json.dumps(DOCUMENT).encode()))["account"]["name"] == "old"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(
    key=st.sampled_from(
        [
            "account",
            "tunnels",
            "zones",
            "routes",
            "virtual_networks",
            "tokens",
            "alert_rules",
            "alert_channels",
            "secrets",
            "exported_at",
        ]
    ),
    value=json_values,
)
def test_a_document_is_taken_or_refused_with_the_place(key: str, value: object) -> None:
    try:
        read_document(json.dumps({**DOCUMENT, key: value}).encode())
    except QanatError as error:
        assert error.code == "export_malformed"
        assert error.where
