"""The listener for scrapers: one path, no token."""

import httpx

from qanat.edge.listen import listen
from qanat.edge.metrics_listener import MetricsListener


def test_it_serves_the_metrics_and_nothing_else() -> None:
    listener = MetricsListener(listen("127.0.0.1:0"), lambda: "qanat_edge_requests_total 7\n")
    listener.start()
    try:
        with httpx.Client(trust_env=False, verify=False) as http:
            answer = http.get(listener.url)
            assert (answer.status_code, answer.text) == (200, "qanat_edge_requests_total 7\n")
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            for path in ("/", "/metrics/x", "/client/v4/qanat/status"):
                assert http.get(listener.url.removesuffix("/metrics") + path).status_code == 404
            assert http.post(listener.url).status_code == 501
    finally:
        listener.stop()
