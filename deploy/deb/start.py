"""Starts qanat from this tree alone: nothing of the machine's own Python is looked for."""

import sys

sys.path.append(f"{sys.prefix}/site")

from qanat.__main__ import main

main()
