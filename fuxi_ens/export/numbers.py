"""Numbers as users write them on the command line: `0-9,12` or, every 24th, `24-240/24`."""

import re
from typing import Final

from fuxi_ens.errors import UserError

_PART: Final = re.compile(r"(\d+)(?:-(\d+)(?:/([1-9]\d*))?)?")


def read_numbers(text: str, option: str) -> list[int]:
    """The numbers in order, each once. Raises UserError that names the option for anything else."""
    found: dict[int, None] = {}
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise UserError(f"{option} {text!r}: {part.strip()!r} is no number or range; write 0-9,12 or 24-240/24")
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        found.update(dict.fromkeys(range(first, last + 1, step)))
    return sorted(found)
