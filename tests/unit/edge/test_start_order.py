"""What an edge loads before it serves: a restart is an interruption."""

import subprocess
import sys

LATER = (
    # the control API
    *("fastapi", "starlette", "uvicorn", "qanat.api.app", "qanat.edge.control"),
    # what makes a schema out of an older one
    *("alembic", "mako"),
    # what a library takes along, or a chore needs
    *("rich", "pygments", "attr", "jwt", "http.client", "dns", "qanat.dns", "sqlalchemy.dialects.postgresql"),
)


def test_what_requests_do_not_need_is_loaded_when_they_are_served_already() -> None:
    code = f"""import sys
from qanat.log import set_up_logging
set_up_logging()
import qanat.edge.process
print([name for name in {LATER} if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
