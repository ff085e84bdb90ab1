"""How many processor cores the job was given, which on a shared node are fewer than the node has."""

import os


def available_cores() -> int:
    """Cores this process may run on; all of the machine's where the system cannot tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
