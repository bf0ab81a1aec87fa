"""`python -m demo [--hold]`: each step says what it does and what came of it; a surprise ends it with exit code 1."""

import os
import re
import sys
import threading
import time
from typing import cast

import httpx

from demo.origin import Origin
from demo.stage import HOSTNAME, ZONE, Stage, perform
from demo.visitor import Traffic


class Demo(Stage):
    """The main job: an origin becomes public, its rules change under traffic, its connector stops and comes back."""

    def run(self) -> None:
        self.start_origin()
        self.start_edge()
        self.create_tunnel()
        self.set_ingress()
        self.create_record()
        self.start_connector()
        self.visit()
        self.change_ingress_under_traffic()
        self.stop_connector()
        self.recover()

    def start_origin(self) -> None:
        self.step("A local web service starts: the origin. It listens on loopback only; nobody outside can reach it.")
        self.origin = self.serve_origin("blue")
        self.told(f"origin         {self.origin.url}")

    def create_tunnel(self) -> None:
        self.step("A tunnel is created by the API. Its token is what a connector needs, and all it needs.")
        self.tunnel = self.api.create_tunnel(self.account, "demo")
        self.token = self.api.connector_token(self.account, self.tunnel.id)
        self.told(f"tunnel         {self.tunnel.id}, status {self.tunnel.status}")

    def set_ingress(self) -> None:
        self.step(f"Its ingress is set remotely: {HOSTNAME} goes to the origin, everything else is answered 404.")
        version = self.put_ingress(self.origin)
        self.told(f"configuration  version {version}")

    def create_record(self) -> None:
        self.step(f"The zone {ZONE} and a proxied CNAME make the hostname point to the tunnel.")
        zone = self.api.create_zone(self.account, ZONE)
        record = self.api.route_hostname(zone.id, HOSTNAME, self.tunnel.id)
        self.told(f"record         {record.name} CNAME {record.content}")

    def start_connector(self) -> None:
        self.step("The connector starts on the origin's host, with the token. It only dials out: no inbound port.")
        started = time.monotonic()
        self.connector = self.run_connector(self.token)
        took = time.monotonic() - started
        status = self.wait_for_status("healthy")
        self.told(f"connector      registered after {took:.2f} s; the tunnel is {status}")

    def visit(self) -> None:
        self.step(f"https://{HOSTNAME} answers, through edge and connector.")
        for http2 in (False, True):
            answer = self.visitor.get("/hello?from=demo", http2=http2)
            self.check(answer.status_code == 200, f"{answer.status_code}: {answer.text}")
            self.check(answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1"), answer.http_version)
            self.told(f"{answer.http_version:<14} {answer.status_code} {answer.text.strip()}")
        heard = self.visitor.echo("salaam")
        self.check(heard == "blue heard: salaam", heard)
        self.told(f"WebSocket      sent 'salaam', got '{heard}'")

    def change_ingress_under_traffic(self) -> None:
        self.step("While requests flow, the ingress is changed remotely to a second origin, the green one.")
        green = self.serve_origin("green")
        with Traffic(self.visitor) as traffic:
            self.until(lambda: len(traffic.answers) >= 20, "20 answers before the change")
            before = time.monotonic()
            version = self.put_ingress(green)
            self.until(
                lambda: any("green" in text for _, text in list(traffic.answers)), "an answer of the green origin"
            )
            self.until(lambda: self.applied_everywhere(version), f"version {version} on every connection")
            enough = len(traffic.answers) + 20
            self.until(lambda: len(traffic.answers) >= enough, "20 answers after the change")
        first = next(at for at, text in traffic.answers if "green" in text)
        self.check(not traffic.failures, f"requests failed: {traffic.failures[:3]}")
        self.check("green" in traffic.answers[-1][1], "the last answer is not the green origin's")
        effect_ms = (first - before) * 1000
        self.told(f"requests       {len(traffic.answers)} answered, 0 failed; first effect after {effect_ms:.0f} ms")
        self.told(f"API            version {version}, applied on every connection")
        self.told(f"connector      version {self.connector_version()}")

    def stop_connector(self) -> None:
        self.step("The connector is stopped, as a service manager would. The edge now answers its own error page.")
        code = self.connector.stop()
        self.check(code == 0, f"the connector ended with {code}")
        self.wait_for_status("down")
        answer = self.visitor.get("/")
        found = re.search(r"[0-9a-f]{16}-[a-z0-9]+", answer.headers.get("cf-ray", ""))
        self.check(answer.status_code == 530 and "1033" in answer.text, f"{answer.status_code}: {answer.text[:200]}")
        self.check(found is not None and found[0] in answer.text, "the page shows no request id")
        self.told(f"visitor        {answer.status_code}, code 1033, request id {found[0] if found else ''}")
        detail = self.api.tunnel_detail(self.tunnel.id)
        self.told(f"API            status {detail.status} since {detail.status_since}")

    def recover(self) -> None:
        self.step("It is started again, and all is well.")
        self.connector = self.run_connector(self.token)
        status = self.wait_for_status("healthy")
        answer = self.visitor.get("/again")
        self.check(answer.status_code == 200 and "green" in answer.text, f"{answer.status_code}: {answer.text}")
        self.told(f"API            status {status}")
        self.told(f"visitor        {answer.status_code} {answer.text.strip()}")

    def end(self) -> None:
        self.connector.stop()
        self.edge.stop()

    def hold(self) -> None:
        """Stays up until Ctrl-C."""
        print(f"\nEverything stays up until Ctrl-C. In another terminal:\n\n  {self.curl()}\n")
        print(f"  API      {self.facts['api']}  (token in {self.facts['token_file']})")
        print(f"  CA       {self.facts['ca']}")
        print(f"  metrics  http://{self.metrics_address()}/metrics\n")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()

    # ------------------------------------------------------------ what the steps share

    def curl(self) -> str:
        address, _, port = self.facts["https"].rpartition(":")
        return f"curl --cacert {self.facts['ca']} --resolve {HOSTNAME}:{port}:{address} https://{HOSTNAME}:{port}/"

    def put_ingress(self, origin: Origin) -> int:
        rules = [{"hostname": HOSTNAME, "service": origin.url}, {"service": "http_status:404"}]
        return self.api.put_configuration(self.account, self.tunnel.id, {"ingress": rules}).version

    def metrics_address(self) -> str:
        return self.connector.wait_for(r"Starting metrics server on (\S+)/metrics").group(1)

    def connector_version(self) -> int:
        return int(httpx.get(f"http://{self.metrics_address()}/config", trust_env=False).json()["version"])

    def wait_for_status(self, wanted: str) -> str:
        return self.until(
            lambda: status if (status := self.api.tunnel(self.account, self.tunnel.id).status) == wanted else "",
            f"status {wanted}",
        )

    def applied_everywhere(self, version: int) -> bool:
        connectors = self.api.tunnel_detail(self.tunnel.id).connectors
        applied = [connection.applied_version for connector in connectors for connection in connector.connections]
        return bool(applied) and all(one == version for one in applied)


def main() -> int:
    hold = (lambda stage: cast(Demo, stage).hold()) if "--hold" in sys.argv[1:] else None
    return perform(Demo, hold=hold)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
