"""What an edge loads before it serves: a restart is an interruption."""

import subprocess
import sys

LATER = ("fastapi", "starlette", "uvicorn", "alembic", "mako", "qanat.api.app", "qanat.edge.control")


def test_the_control_api_and_alembic_are_loaded_when_requests_are_served_already() -> None:
    code = f"import sys, qanat.edge.process; print([name for name in {LATER} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
