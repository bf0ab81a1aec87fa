"""What passed, over time: counts and latencies in bounded space, the longer ago the coarser."""

from qanat.series.frames import Causes, Hop, Point
from qanat.series.reading import read, step_for
from qanat.series.recorder import Recorder
from qanat.series.scopes import Scope

__all__ = ["Causes", "Hop", "Point", "Recorder", "Scope", "read", "step_for"]
