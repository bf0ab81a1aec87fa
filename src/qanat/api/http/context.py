"""What the API works on: the store, the key, and the running edge through a small port."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from qanat.alerts.guard import Guard
from qanat.alerts.sending import Sending
from qanat.api.http.live import Live
from qanat.api.http.pace import Pace
from qanat.api.http.shares import Shares
from qanat.api.http.turns import Turns
from qanat.auth import Guesses, Verifier
from qanat.auth.failed_logins import FailedLogins
from qanat.auth.management import ManagementKey
from qanat.auth.passwords import Passwords
from qanat.certificates.stored import GivenFile
from qanat.control import visibility
from qanat.control.principal import Principal
from qanat.control.quick_tunnels import QuickLimits
from qanat.cutover.edge import CutoverEdge
from qanat.cutover.repointing import Policy
from qanat.cutover.watches import Watch
from qanat.settings.people import OidcSettings
from qanat.store import Store
from qanat.store.keys import KeyRing
from qanat.store.models import Account
from qanat.store.reach import Permission
from qanat.store.sealing import Sealer
from qanat.store.skipped import SkippedRows

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


MAX_MISSES = 1000
MOST_CONFIGURATIONS = 100
"""Of one tunnel within a minute (security.md S30): its connectors take no more."""


@dataclass(slots=True, kw_only=True)
class Context:
    """Shared by all requests. `misses` counts the endpoints that were asked for and that qanat doesn't have. `hosts`: the
    names, in lower case, that the API answers for beside loopback. `name_servers`: of every zone. `own_endpoints`: whether those
    that are qanat's own are served. `redirects_http`: whether the plain listener redirects. `found_by`: what connector tokens
    say of this edge. `certificate_files`: the chains that the edge has from files, `given_files`: those files.
    `cutover_edge`: what cutovers and repointed records ask; None: there is none. `cutover_policy`: of zones without one of their
    own."""

    store: Store
    keys: KeyRing
    live: Live
    location: str
    version: str
    hosts: frozenset[str] = frozenset()
    name_servers: tuple[str, ...] = ("ns1.qanat.internal", "ns2.qanat.internal")
    redirects_http: bool = True
    management: ManagementKey = field(default_factory=ManagementKey.make)
    found_by: Mapping[str, str] = field(default_factory=dict)
    quick: QuickLimits | None = None
    legacy_keys: bool = False
    own_endpoints: bool = True
    misses: Counter[str] = field(default_factory=Counter)
    certificate_files: Callable[[], Sequence[bytes]] = tuple
    given_files: Callable[[], Sequence[GivenFile]] = tuple
    most_certificates: int = 2000
    cutover_edge: CutoverEdge | None = None
    cutover_policy: Policy = "enforce"
    cutover_watch: Watch = "report"
    metrics_hostnames: int = 200
    skipped: SkippedRows = field(default_factory=SkippedRows)
    oidc: OidcSettings = field(default_factory=OidcSettings)
    guesses: Guesses = field(default_factory=Guesses)
    passwords: Passwords = field(default_factory=Passwords)
    configuring: Pace = field(default_factory=lambda: Pace(most=MOST_CONFIGURATIONS, within_s=60.0))
    shares: Shares = field(default_factory=Shares)
    explaining: Turns = field(default_factory=lambda: Turns(most=2))
    probing: Turns = field(default_factory=lambda: Turns(most=4))
    alerting: Turns = field(default_factory=lambda: Turns(most=4))
    sending: Sending = field(default_factory=lambda: Sending(Guard()))
    verifier: Verifier = field(init=False)
    failed_logins: FailedLogins = field(init=False)

    @property
    def sealer(self) -> Sealer:
        """Seals and opens the store's secrets."""
        return self.keys.sealer

    def __post_init__(self) -> None:
        self.verifier = Verifier(self.store)
        self.failed_logins = FailedLogins(self.store)

    def miss(self, endpoint: str) -> None:
        """Counts; a flood of different paths falls together under `…`."""
        self.misses[endpoint if endpoint in self.misses or len(self.misses) < MAX_MISSES else "…"] += 1


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


def needs(*permissions: Permission) -> Callable[[Endpoint], Endpoint]:
    """Declares what an endpoint asks for, below its `@router.…`; nothing: any good token. A caller that has one of them
    nowhere is refused before the endpoint runs, and the endpoint can ask for no other reach (security.md S34)."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.qanat_needs = frozenset(permissions)  # type: ignore[attr-defined]
        return endpoint

    return mark


def open_to_all(endpoint: Endpoint) -> Endpoint:
    """Declares an endpoint that takes no credentials: the gate lets everybody through to it."""
    endpoint.qanat_needs = None  # type: ignore[attr-defined]
    return endpoint


def declared_needs(endpoint: Callable[..., Any]) -> frozenset[Permission] | None:
    """What `needs` declared; None: open to all. An endpoint that declares nothing is a bug, and serves nobody."""
    if not hasattr(endpoint, "qanat_needs"):
        raise AssertionError(f"{endpoint.__module__}.{endpoint.__name__} declares no permission: add @needs(…)")
    declared: frozenset[Permission] | None = endpoint.qanat_needs
    return declared


async def checked(request: Request) -> None:
    """In front of every endpoint: what it needs, the caller has somewhere."""
    declared = declared_needs(request.scope["endpoint"])
    if declared is not None:
        request.state.principal = request.state.principal.asking(declared)


async def _principal(request: Request, _checked: Annotated[None, Depends(checked)]) -> Principal:
    principal: Principal = request.state.principal
    return principal


Ctx = Annotated[Context, Depends(_context)]
Who = Annotated[Principal, Depends(_principal)]


def visible_account(ctx: Context, who: Principal, account_id: str, permission: Permission) -> Account:
    """For an endpoint below an account that reads nothing else of it. QanatError `account_unknown`."""
    with ctx.store.reading() as session:
        return visibility.visible_account(session, who, account_id, permission)
