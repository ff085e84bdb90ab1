"""The device of this process."""

import logging
from pathlib import Path

import torch

from fuxi_ens.cores import available_cores
from fuxi_ens.launch import this_process

log = logging.getLogger(__name__)


def choose_device(threads: int, *, bfloat16: bool) -> torch.device:
    """The GPU of this process when there is one, else the CPU with `threads` threads (0: all the job was given).

    Warns of a processor that must imitate `bfloat16`.
    """
    if torch.cuda.is_available():
        # A task may see only its own GPU, or all of the node's.
        return torch.device("cuda", this_process().local_rank % torch.cuda.device_count())
    torch.set_num_threads(threads or available_cores())
    if bfloat16 and not _cpu_has_bfloat16():
        log.warning(
            "this processor has no instructions for bfloat16 and takes far longer with it; set precision float32"
        )
    return torch.device("cpu")


def _cpu_has_bfloat16() -> bool:
    """Whether Linux names such instructions (avx512_bf16, amx_bf16, bf16); true where nobody can tell."""
    try:
        return "bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return True
