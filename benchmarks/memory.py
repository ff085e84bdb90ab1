"""Peak of the resident memory of this process, on Linux."""

from collections.abc import Callable
from pathlib import Path


def peak_while(run: Callable[[], object]) -> int:
    """Bytes that `run` takes at most beyond what the process holds before."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def _resident(key: str) -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition(f"{key}:")[2].split()[0])
