"""What pages work on: the store, the running edge, and who is signed in."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from markupsafe import Markup

from qanat.alerts.sending import Sending
from qanat.auth.management import ManagementKey
from qanat.auth.oidc.provider import Provider
from qanat.certificates.stored import GivenFile
from qanat.cutover.edge import CutoverEdge
from qanat.cutover.gates import CertificateSeen
from qanat.cutover.repointing import Policy
from qanat.cutover.watches import Watch
from qanat.dashboard.door import Door
from qanat.dashboard.drawing.map import Group
from qanat.dashboard.handing import Handing
from qanat.dashboard.live import Live
from qanat.dashboard.overview import Overviews
from qanat.dashboard.shared import Shared
from qanat.store import Store
from qanat.store.keys import KeyRing
from qanat.store.skipped import SkippedRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Shared by all pages.

    `hosts`: the names, in lower case, that are answered for beside loopback. `count_configuration`: of one tunnel only so many
    are taken within a minute, whoever puts them. `probing`, `explaining`: turns, by tunnel; `alerting`: by channel; `sending`:
    what sends alerts. `certificate`: what clients are shown for a hostname; None: there is no HTTPS listener. `cutover_policy`,
    `redirects_http`: of zones that say nothing of it; `name_servers`: of every zone; `given_files`: certificates of
    the host. `found_by`: what connector tokens say of this edge. `handing`: clients that wait for a certificate.
    `parts`, `groups`: of pages and of the map, the same for all viewers. `provider`: by which people may sign in."""

    store: Store
    keys: KeyRing
    live: Live
    door: Door
    overviews: Overviews
    location: str
    version: str
    count_configuration: Callable[[str], None]
    probing: Callable[[str], AbstractContextManager[None]]
    explaining: Callable[[str], AbstractContextManager[None]]
    alerting: Callable[[str], AbstractContextManager[None]]
    sending: Sending
    certificate: Callable[[str], CertificateSeen | None]
    management: ManagementKey
    cutover_edge: CutoverEdge | None = None
    cutover_policy: Policy = "enforce"
    cutover_watch: Watch = "report"
    redirects_http: bool = True
    name_servers: tuple[str, ...] = ()
    given_files: Callable[[], Sequence[GivenFile]] = tuple
    hosts: frozenset[str] = frozenset()
    skipped: SkippedRows = field(default_factory=SkippedRows)
    parts: Shared[dict[str, Markup]] = field(default_factory=lambda: Shared(200))
    groups: Shared[Group] = field(default_factory=lambda: Shared(2000))
    found_by: Mapping[str, str] = field(default_factory=dict)
    provider: Provider | None = None
    handing: Handing = field(default_factory=Handing)
