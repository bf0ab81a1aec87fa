"""What is done on the dashboard's pages, by clicks and keys in a browser; and what others can't have done by it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from qanat.nodes.readiness import Facts
from tests.browser.watched import Watched
from tests.support.control import Control
from tests.unit.dashboard.test_cutovers import pair
from tests.unit.dashboard.test_overview import connected, register
from tests.unit.dashboard.test_tunnel import RULES, document, put

pytestmark = pytest.mark.browser

SignIn = Callable[..., Watched]
Shoot = Callable[[Any, str], None]


@pytest.fixture
def page(me: SignIn) -> Any:
    """Somebody's who may everything. What is refused on purpose is no error of the page."""
    watched = me("", reduced_motion="reduce", color_scheme="light", viewport={"width": 1280, "height": 860})
    watched.expected = ["400"]
    return watched.page


def test_a_cutover_is_planned_begun_held_up_and_taken_back(control: Control, page: Any, axe: str, shoot: Shoot) -> None:
    _, _, hostname = pair(control, "moving")
    cutovers = f"/accounts/{control.account}/qanat/cutovers"
    page.goto("/cutovers")
    page.click("text=Plan one")
    page.fill("#from", "moving")
    page.fill("#to", "moving-new")
    page.fill("#hostnames", hostname)
    page.click("text=Ask the gates")
    page.wait_for_selector("#gates-head")
    assert control.call("GET", cutovers) == [], "to ask changes nothing"
    shoot(page, "plan-gates-light")
    page.fill("#f-name", "moving")
    page.click("button[value=begin]")
    assert "that is not the target" in page.inner_text(".problem")
    page.fill("#f-name", "moving-new")
    page.click("button[value=begin]")
    page.wait_for_selector("#course")
    assert "CHECKING" in page.inner_text("#course")
    assert len(control.call("GET", cutovers)) == 1
    page.click("text=Pause")
    page.wait_for_selector("text=On with it")
    assert "paused" in page.inner_text("#course .standing")
    page.click("text=On with it")
    shoot(page, "cutover-light")
    assert axe_of(page, axe) == []
    page.click("button.danger")
    assert hostname in page.inner_text(".will")
    assert axe_of(page, axe) == []
    shoot(page, "confirm-light")
    page.fill("#f-name", hostname)
    page.keyboard.press("Enter")
    page.wait_for_selector("#course")
    assert "CHECKING" not in page.inner_text("#course .standing")


def test_a_node_is_fenced_let_in_again_and_promoted(control: Control, page: Any) -> None:
    tunnel = connected(control, "hosts")
    api = f"/accounts/{control.account}/qanat/tunnels/{tunnel}"
    token = control.call("POST", f"/qanat/tunnels/{tunnel}/connector-tokens", {"name": "web-2"})
    control.call("PUT", f"{api}/mode", {"mode": "active-standby", "active": "default"})
    control.edge.facts[tunnel, token["id"]] = Facts(connections=1, health="healthy")

    def act(label: str) -> None:
        if not page.is_visible(f"[aria-label='{label}']"):
            page.click("text=Promote, fence or let in a node")
        page.click(f"[aria-label='{label}']")

    page.goto(f"/tunnels/{tunnel}")
    act("Fence web-2")
    assert "What is open on it is cut" in page.inner_text(".will")
    page.fill("#f-name", "web-1")
    page.click("button.danger")
    assert "that is not the name" in page.inner_text(".problem")
    page.click("text=Leave it")
    assert "fenced" not in page.inner_text("#nodes")
    act("Fence web-2")
    page.fill("#f-name", "web-2")
    page.click("button.danger")
    page.wait_for_selector("#nodes >> text=fenced")
    act("Let web-2 in again")
    page.wait_for_selector("#nodes >> text=standby")
    act("Promote web-2")
    page.fill("#f-name", "web-2")
    page.click("button.danger")
    page.wait_for_selector("#nodes")
    assert len(control.call("GET", f"{api}/promotions")) == 1


def test_an_earlier_version_is_compared_and_put_in_force_again(control: Control, page: Any) -> None:
    tunnel = control.create_tunnel("versions")["id"]
    put(control, tunnel)
    put(control, tunnel, {"ingress": [{"service": "http_status:404"}]})
    page.goto(f"/tunnels/{tunnel}")
    page.click("text=version 2")
    page.click("tbody a >> text=1")
    assert "http://127.0.0.1:80" in page.inner_text(".diff >> nth=-1")
    page.click("text=Put version 1 in force again")
    page.wait_for_selector("#standing")
    assert document(control, tunnel) == RULES


def test_a_newcomer_is_led_from_nothing_to_a_connected_tunnel(control: Control, me: SignIn, axe: str) -> None:
    watched = me("", permissions=["clipboard-read", "clipboard-write"], viewport={"width": 390, "height": 844})
    page = watched.page
    page.goto("/start")
    page.fill("#name", "first-tunnel")
    page.click("text=Make a tunnel")
    page.wait_for_selector("#age[data-state=live]")
    assert "Nobody is connected yet" in page.inner_text("#connected")
    kinds = ["cloudflared", "qanat", "service", "docker", "cloud-init", "terraform"]
    assert [each.get_attribute("id") for each in page.query_selector_all(".command code")] == [
        f"command-{kind}" for kind in kinds
    ]
    for kind in kinds:
        page.click(f"[data-copies=command-{kind}]")
        page.wait_for_selector(f"[data-copies=command-{kind}] >> text=Copied")
        assert page.evaluate("navigator.clipboard.readText()") == page.inner_text(f"#command-{kind}")
    page.click("text=Show the token")
    token = page.inner_text("#token")
    assert token.startswith("eyJ")
    assert token not in page.url
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert axe_of(page, axe) == []
    made = next(each for each in control.call("GET", control.tunnels()) if each["name"] == "first-tunnel")
    register(control, made["id"])
    page.wait_for_selector("#connected >> text=connections of 1 connectors")


def test_the_audit_log_is_searched_verified_and_taken_along(control: Control, page: Any) -> None:
    control.create_tunnel("audited")
    page.goto("/audit")
    page.fill("#action", "tunnel.create")
    page.click("text=Show >> nth=0")
    expect(page.locator("tbody th", has_not_text="tunnel.create")).to_have_count(0)
    expect(page.locator("tbody th").first).to_have_text("tunnel.create")
    with page.expect_download() as told:
        page.click("text=Export as JSON lines")
    assert told.value.suggested_filename == "qanat-audit.jsonl"
    lines = Path(told.value.path()).read_text().splitlines()
    assert lines
    assert all('"tunnel.create"' in line for line in lines)
    page.click("text=Verify the whole chain")
    page.wait_for_selector("text=The log is whole")


def test_a_connector_token_is_revoked_with_its_name(control: Control, page: Any) -> None:
    tunnel = control.create_tunnel("tokens")["id"]
    token = control.call("POST", f"/qanat/tunnels/{tunnel}/connector-tokens", {"name": "web-1"})
    page.goto(f"/tunnels/{tunnel}")
    page.click("[aria-label='Revoke web-1']")
    page.fill("#f-name", "web-1")
    page.click("button.danger")
    page.wait_for_selector("#standing")
    assert control.call("GET", f"/qanat/tunnels/{tunnel}/connector-tokens/{token['id']}")["status"] == "revoked"


def test_tunnels_and_hostnames_are_found_and_paged(control: Control, page: Any) -> None:
    for number in range(27):
        control.create_tunnel(f"many-{number:02}")
    page.goto("/tunnels")
    page.fill("#search", "many-")
    page.select_option("#state", "inactive")
    page.click("text=Show >> nth=0")
    expect(page.locator("tbody tr")).to_have_count(25)
    page.click("text=Next →")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.goto("/hostnames")
    page.fill("#search", "nothing-like-it")
    page.click("text=Show >> nth=0")
    expect(page.locator("tbody")).to_contain_text("None matches")


def test_a_page_is_walked_by_keys_alone(control: Control, page: Any) -> None:
    """Each stop can be seen, none holds one up, and what opens by a key closes by it."""
    connected(control, "walked", hostname="www.walked.test")
    page.goto("/tunnels")
    stops = []
    for _ in range(60):
        page.keyboard.press("Tab")
        stop = page.evaluate("""() => {
            const at = document.activeElement, style = getComputedStyle(at);
            if (at === document.body) return null;
            const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
            return [at.textContent.trim().slice(0, 30) || at.id, seen || style.boxShadow !== 'none'];
        }""")
        if stop is None:
            break
        stops.append(stop)
    else:
        pytest.fail(f"the keys never leave the page: {stops[-5:]}")
    assert [text for text, seen in stops if not seen] == []
    texts = [text for text, _ in stops]
    assert texts.index("Skip to the page") == 0
    assert {"Overview", "Audit", "search", "walked"} <= set(texts)
    page.focus(".who summary")
    page.keyboard.press("Enter")
    assert page.is_visible("text=Sign out")
    page.keyboard.press("Enter")
    assert not page.is_visible("text=Sign out")
    page.focus("tbody th a >> nth=0")
    page.keyboard.press("Enter")
    page.wait_for_selector("#standing")


def test_another_site_can_do_nothing_with_a_session(control: Control, me: SignIn) -> None:
    """Its form is sent, and neither does the cookie come with it nor the form's own token; nor can it show our pages."""
    tunnel = control.create_tunnel("not-theirs")["id"]
    token = control.call("POST", f"/qanat/tunnels/{tunnel}/connector-tokens", {"name": "web-1"})
    watched = me("")
    base = control.url.removesuffix("/client/v4")
    target = f"{base}/tunnels/{tunnel}/tokens/{token['id']}/revoke"
    watched.expected = ["401", "403", "frame", "Framing", "ERR_BLOCKED"]
    page = watched.context.new_page()  # its own requests are to elsewhere, which is right for it
    page.route(
        "http://evil.test/**",
        lambda route: route.fulfill(
            content_type="text/html",
            body=f'<iframe src="{base}/"></iframe><form method="post" action="{target}">'
            '<input name="sure" value="yes"><input name="name" value="web-1"><button>Win</button></form>',
        ),
    )
    page.goto("http://evil.test/")
    frame = page.query_selector("iframe").content_frame()
    assert frame.query_selector("#states") is None
    with page.expect_navigation():
        page.click("text=Win")
    assert page.url == target
    assert page.query_selector("#standing") is None
    assert control.call("GET", f"/qanat/tunnels/{tunnel}/connector-tokens/{token['id']}")["status"] == "active"


def test_a_session_that_somebody_planted_is_not_the_one_that_is_signed_in(control: Control, open_page: Any) -> None:
    base = control.url.removesuffix("/client/v4")
    victim = open_page(base)
    victim.context.add_cookies([{"name": "qanat", "value": "planted", "url": base}])
    page = victim.page
    page.goto("/sign-in")
    if not page.is_visible("#token"):
        page.click("text=Sign in with an API token")
    page.fill("#token", control.token)
    page.click("text=Sign in with the token")
    page.wait_for_selector("#states")
    (cookie,) = victim.context.cookies()
    assert cookie["value"] != "planted"
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    assert page.evaluate("document.cookie") == "", "no script can read it"
    planter = open_page(base)
    planter.context.add_cookies([{"name": "qanat", "value": "planted", "url": base}])
    planter.page.goto("/")
    assert planter.page.url.endswith("/sign-in")


def axe_of(page: Any, axe: str) -> list[str]:
    """What is not accessible on a page."""
    return Watched.asked(page, axe)
