"""A stock cloudflared's `tunnel login`, unchanged, whose certificate comes from our page: it opens what `--loginURL` names, and
fetches from an address that is built in, which is led here by a proxy as an operator would by DNS and a CA of their own."""

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.connector import STOCK
from tests.support.control import running_control
from tests.support.dashboard import visitor
from tests.support.fixtures import NO_STOCK
from tests.support.processes import clean_environment
from tests.support.tls_front import tls_front

pytestmark = [pytest.mark.cloudflared, pytest.mark.skipif(not STOCK, reason=NO_STOCK)]


def test_a_stock_cloudflared_logs_in_on_our_page_and_manages_tunnels(tmp_path: Path) -> None:
    assert STOCK
    home = tmp_path / "home"
    home.mkdir()
    with running_control(tmp_path, dashboard=True) as control:
        zone = control.create_zone("stock.example")
        user = visitor(control)
        base = control.url.removesuffix("/client/v4")
        target = urlsplit(base).netloc
        with user.http, tls_front(tmp_path, target, proxied="login.cloudflareaccess.org") as (proxy, ca_file):
            user.sign_in()
            environment = {**clean_environment(), "HOME": str(home), "PATH": "", "TUNNEL_API_URL": control.url}
            through = {"HTTPS_PROXY": f"http://{proxy}", "SSL_CERT_FILE": str(ca_file)}
            argv = [STOCK, "tunnel", "login", "--loginURL", f"{base}/argotunnel"]
            with subprocess.Popen(argv, env={**environment, **through}, stderr=subprocess.PIPE, text=True) as client:
                assert client.stderr is not None
                lines = iter(client.stderr.readline, "")
                url = next(found[0] for line in lines if (found := re.search(r"http://\S+", line)))
                path = url.removeprefix(base)
                assert path.startswith("/argotunnel?aud=&callback=https%3A%2F%2Flogin.cloudflareaccess.org%2F")
                assert "stock.example" in user.page(path)
                callback = re.search(r'name="callback" value="([^"]+)"', user.page(path))
                assert callback is not None
                assert user.post("/argotunnel", zone=zone["id"], callback=callback[1]).status_code == 200
                rest = client.stderr.read()
                assert client.wait(60.0) == 0, rest
                assert "You have successfully logged in" in rest
            listed = subprocess.run(
                [STOCK, "tunnel", "create", "web"],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60.0,
                check=False,
            )
            assert listed.returncode == 0, listed.stderr
            assert "Created tunnel web" in listed.stdout + listed.stderr
