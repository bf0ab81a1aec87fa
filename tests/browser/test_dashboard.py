"""The dashboard in a browser: every page, both themes, a phone, without a mouse, and with everybody's worst texts."""

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from qanat.control import connections
from qanat.dashboard.app import declared
from tests.browser.watched import Watched
from tests.support.control import Control
from tests.support.passed import put_series
from tests.support.zones import put_certificates, put_zone
from tests.unit.dashboard.test_overview import answered, connected
from tests.unit.dashboard.test_tunnel import failed, put

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 860}
EVIL = "\"'><script>window.xss=1</script><img src=x onerror=window.xss=1>{{7*7}}"
ON_A_PHONE = ("overview", "tunnel", "tunnels", "hostname", "start", "rules", "audit")
"""Of which there is a picture of a phone, too."""
SignIn = Callable[..., Watched]


@pytest.fixture(scope="module")
def filled(control: Control) -> dict[str, str]:
    """Ids of tunnels as one meets them, by name."""
    names = ["shop", "wiki", "git", "mail", "grafana", "legacy-erp"]
    ids = {}
    for number, name in enumerate(names):
        hostname = f"www.{name}.test"
        ids[name] = connected(control, name, hostname=hostname, version="2026.8.2")
        service = f"http://127.0.0.1:80{number:02}"
        put(
            control,
            ids[name],
            {"ingress": [{"hostname": hostname, "service": service}, {"service": "http_status:404"}]},
        )
        good = name != "git"
        why = "GET / answered 200" if good else "origin_refused: connection refused"
        answered(control, hostname, ids[name], good=good, why=why)
    ids["staging"] = control.create_tunnel("staging")["id"]
    control.call("POST", f"/qanat/tunnels/{ids['git']}/connector-tokens", {"name": "web-1"})
    for number in range(3):
        request_id = f"8f2c1d4e5a6b7c8{number}-lab01"
        control.edge.failed[request_id] = failed(
            "www.git.test", ids["git"], request_id=request_id, path="/login", detail="connection refused"
        )
    ids["zone"], ids["record"] = put_zone(control, ids["shop"])
    ids["certificate"] = put_certificates(control, ids["zone"])
    put_series(control.store, account_id=control.account, tunnel_id=ids["shop"])
    return ids


def paths(ids: dict[str, str]) -> dict[str, str]:
    """Every page, by what it shows."""
    git = ids["git"]
    return {
        "overview": "/",
        "tunnels": "/tunnels",
        "tunnel": f"/tunnels/{git}",
        "rules": f"/tunnels/{git}/configuration",
        "versions": f"/tunnels/{git}/versions",
        "version": f"/tunnels/{git}/versions/1",
        "hostnames": "/hostnames",
        "hostname": "/hostnames/www.git.test",
        "zones": "/zones",
        "records": f"/zones/{ids['zone']}",
        "record": f"/zones/{ids['zone']}/records/{ids['record']}",
        "record-new": f"/zones/{ids['zone']}/records/new",
        "zone-import": f"/zones/{ids['zone']}/import",
        "zone-settings": f"/zones/{ids['zone']}/settings",
        "certificates": "/certificates",
        "certificate": f"/certificates/{ids['certificate']}",
        "certificate-upload": "/certificates/upload",
        "cutovers": "/cutovers",
        "plan": "/cutovers/plan",
        "tokens": "/tokens",
        "users": "/users",
        "alert-rule": "/alerts/rules/new?kind=error_rate",
        "alert-channel": "/alerts/channels/new?kind=email",
        "audit": "/audit",
        "allow-client": "/argotunnel",
        "start": f"/start?tunnel={git}",
        "missing": "/nowhere",
    }


ELSEWHERE = {
    "/alerts": "test_alerts.py",
    "/alerts/rules/{rule_id}": "test_alerts.py, as the page for a new one",
    "/alerts/channels/{channel_id}": "test_alerts.py, as the page for a new one",
    "/cutovers/{cutover_id}": "test_actions.py",
    "/hostnames/{name}/requests": "test_insight.py",
    "/me": "test_people.py",
    "/audit/export": "a file",
    "/start/hostname": "leads on",
    "/zones/{zone_id}/export": "a file",
    "/plots/account": "numbers",
    "/plots/tunnels/{tunnel_id}": "numbers",
}
"""Pages of which there is a picture in another test, and what is no page."""


def test_there_is_a_picture_of_every_page() -> None:
    ids = defaultdict(lambda: "x", zone="x")
    seen = [path.partition("?")[0] for path in paths(ids).values()]
    for page in declared():
        form = re.compile(re.sub(r"\{[^}]*\}", "[^/]+", page.path) + "$")
        if page.method == "GET" and page.path not in ELSEWHERE:
            assert any(form.match(path) for path in seen), f"{page.path} is in no test of a browser"


@pytest.mark.parametrize(("scheme", "asked"), [("light", DESK), ("dark", PHONE)], ids=["light", "dark"])
def test_every_page_is_accessible_and_fits(
    filled: dict[str, str], me: SignIn, axe: str, shoot: Callable[[Any, str], None], scheme: str, asked: dict[str, int]
) -> None:
    """axe-core is asked at one size a theme; whether a page fits, at both."""
    watched = me("", color_scheme=scheme, viewport=DESK, reduced_motion="reduce")
    page = watched.page
    watched.expected = ["404"]
    found = {}
    for name, path in paths(filled).items():
        page.set_viewport_size(DESK)
        page.goto(path)
        if page.query_selector("[data-plot]"):
            page.wait_for_selector(".plot canvas")
        if page.query_selector("#age"):
            page.wait_for_selector("#age[data-state=live]")
        for size in (DESK, PHONE):
            page.set_viewport_size(size)
            wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
            assert not wide, f"{name} is wider than a screen of {size['width']}"
            if size != asked:
                continue
            if size == DESK or name in ON_A_PHONE:
                shoot(page, f"{name}-{scheme}{'-phone' if size == PHONE else ''}")
            if problems := watched.axe(axe):
                found[name] = problems
    assert found == {}


def test_a_page_follows_what_happens_without_being_loaded_anew(
    control: Control, filled: dict[str, str], me: SignIn
) -> None:
    page = me().page
    page.wait_for_selector("#age[data-state=live]")
    before = page.evaluate("window.stays = Math.random()")
    control.create_tunnel("newly-made")
    page.wait_for_selector("#map text.tunnel >> text=newly-made")
    assert page.evaluate("window.stays") == before


def test_a_broken_stream_is_told_and_comes_back(control: Control, filled: dict[str, str], me: SignIn) -> None:
    watched = me()
    watched.expected = ["503", "live", "ERR_"]
    page = watched.page
    page.clock.install()
    page.goto("/")
    page.wait_for_selector("#age[data-state=live]")
    assert page.is_hidden("#broken-stream")
    control.hub.close()
    try:
        page.clock.run_for(9000)
        page.wait_for_selector("#age[data-state=broken]")
        assert "broken" in page.inner_text("#broken-stream")
        assert page.inner_text("#age .says").endswith("old"), "how old what is shown has become"
    finally:
        control.hub._is_closed = False
    for _ in range(20):
        page.clock.run_for(1000)
        if page.get_attribute("#age", "data-state") == "live":
            break
    page.wait_for_selector("#age[data-state=live]")
    assert page.is_hidden("#broken-stream")


def test_what_strangers_wrote_runs_nowhere(control: Control, me: SignIn) -> None:
    tunnel = connected(control, "evil", hostname="www.evil.test", version=EVIL)
    answered(control, "www.evil.test", tunnel, good=False, why=EVIL)
    control.call("PATCH", f"{control.tunnels()}/{tunnel}", {"name": EVIL})
    put(control, tunnel, {"ingress": [{"service": "http://127.0.0.1:80", "originRequest": {"caPool": EVIL}}]})
    control.call("POST", f"/qanat/tunnels/{tunnel}/connector-tokens", {"name": EVIL[:100]})
    with control.store.recording() as write:
        connections.configuration_applied(write, connection_id=f"c-{tunnel}", pushed=1, applied=0, error=EVIL)
    texts = dict.fromkeys(("method", "path", "detail", "cause", "fault", "client_ip"), EVIL)
    control.edge.failed["evil"] = failed("www.evil.test", tunnel, **texts)
    watched = me()
    page = watched.page
    own = (f"/tunnels/{tunnel}{part}" for part in ("", "/configuration", "/versions", "/versions/1"))
    hostname_pages = ("/hostnames", "/hostnames/www.evil.test")
    for path in ("/", "/tunnels", *own, *hostname_pages, f"/start?tunnel={tunnel}", "/cutovers/plan", "/audit"):
        page.goto(path)
        if page.query_selector("#age"):
            page.wait_for_selector("#age[data-state=live]")
        assert page.evaluate("window.xss") is None
        assert page.query_selector("main img, main script") is None
        assert "49" not in re.sub(r"[0-9a-f-]{36}", "", page.inner_text("h1"))
    page.goto(f"/tunnels?search={EVIL}")
    assert page.evaluate("window.xss") is None
    control.call("PATCH", f"{control.tunnels()}/{tunnel}", {"name": "no-longer-evil"})


def test_the_policy_lets_no_inline_script_or_style_in(control: Control, me: SignIn) -> None:
    watched = me()
    watched.expected = ["policy: ", "Content Security Policy"]
    page = watched.page
    page.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'window.ran = 1';
        document.body.append(script);
        document.body.setAttribute('onclick', 'window.ran = 1');
        document.body.click();
    }""")
    assert page.evaluate("window.ran") is None
    assert any("policy: script-src" in each for each in watched._errors)


def test_it_is_used_without_a_mouse(filled: dict[str, str], me: SignIn) -> None:
    page = me(color_scheme="light").page
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the page"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
    page.focus("#theme")
    page.keyboard.press("Enter")
    assert page.get_attribute("html", "data-theme") == "dark"
    page.reload()
    assert page.get_attribute("html", "data-theme") == "dark"


def test_nothing_moves_for_who_wants_that(filled: dict[str, str], me: SignIn) -> None:
    for motion, name in (("reduce", "none"), ("no-preference", "beat")):
        page = me(reduced_motion=motion).page
        page.wait_for_selector("#age[data-state=live]")
        assert page.evaluate("getComputedStyle(document.querySelector('.age .dot')).animationName") == name


def test_rules_are_changed_with_what_changes_shown_first(control: Control, filled: dict[str, str], me: SignIn) -> None:
    watched = me()
    watched.expected = ["400"]
    page, tunnel = watched.page, filled["mail"]
    page.goto(f"/tunnels/{tunnel}/configuration")
    page.click("text=Add a rule")
    page.wait_for_selector("#service-2")
    page.click("[aria-label='Remove rule 2']")
    page.wait_for_selector("#service-2", state="detached")
    page.fill("#service-0", "nonsense")
    page.click("text=Check what changes")
    page.wait_for_selector("#service-0[aria-invalid]")
    page.fill("#service-0", "http://127.0.0.1:8090")
    page.click("text=Check what changes")
    assert page.inner_text(".diff ins").endswith("http://127.0.0.1:8090")
    page.click("button[value=save]")
    page.wait_for_selector("#standing")
    assert page.url.endswith(f"/tunnels/{tunnel}?saved=rules")
    version = control.call("GET", f"{control.tunnels()}/{tunnel}/configurations")
    assert (version["version"], version["config"]["ingress"][0]["service"]) == (2, "http://127.0.0.1:8090")


def test_the_sign_in_page_is_accessible_and_lets_in(control: Control, open_page: Any, axe: str) -> None:
    watched = open_page(control.url.removesuffix("/client/v4"), color_scheme="dark", viewport=PHONE)
    page = watched.page
    page.goto("/sign-in")
    assert watched.axe(axe) == []
    if not page.is_visible("#token"):
        page.click("text=Sign in with an API token")
    page.fill("#token", control.token)
    page.click("text=Sign in with the token")
    page.wait_for_selector("#states")


def test_a_test_now_shows_its_answer_in_place(filled: dict[str, str], me: SignIn) -> None:
    page = me().page
    page.goto("/hostnames/www.git.test")
    page.click("text=Ask its origin")
    page.wait_for_selector("#answers >> text=GOOD")


def test_who_is_signed_out_elsewhere_is_told(filled: dict[str, str], me: SignIn) -> None:
    watched = me()
    watched.expected = ["401", "503", "ERR_"]
    page = watched.page
    page.wait_for_selector("#age[data-state=live]")
    page.click(".who summary")
    with page.expect_navigation():
        page.click("text=Sign out")
    assert page.url.endswith("/sign-in")
    page.goto("/tunnels")
    assert page.url.endswith("/sign-in?next=%2Ftunnels")
