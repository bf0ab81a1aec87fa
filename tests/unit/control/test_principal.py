import pytest

from qanat.control import principal
from qanat.control.policies import Policy, reach_of
from qanat.control.principal import Principal
from qanat.store.models import ApiToken
from qanat.store.reach import PERMISSIONS, Permission, Reach
from tests.unit.control.test_policies import ZONE_Z, A, Z, policy


def test_what_a_token_reaches_is_worked_out_once_however_often_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Permission] = []

    def counted(policies: list[Policy], permission: Permission) -> Reach:
        asked.append(permission)
        return reach_of(policies, permission)

    monkeypatch.setattr(principal, "reach_of", counted)
    token = ApiToken(account_id=None, policies=[policy(ZONE_Z, "DNS Write")])
    who = Principal(token=token, address="").asking(["dns.edit"])
    for _ in range(3):
        assert who.sees_zone(Z, A)
        assert not who.sees_account(A)
        assert who.reach("dns.edit").zones == {Z}
    assert sorted(asked) == sorted(PERMISSIONS)
