"""Which members pass the network together.

Matrix products round differently for other batch sizes, so all batches have one size, and a perturbed member sits on
the same row of the same batch whatever else is asked for. Rows of members that nobody asked for are computed and
dropped. The control member takes the last row, of the last batch if nobody sits there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fuxi_ens.forecast.draws import CONTROL


@dataclass(frozen=True, slots=True)
class Batch:
    """Members that are computed together, and where the wanted ones go."""

    indices: tuple[int, ...]
    """Who sits on each row: index of a perturbed member, or CONTROL."""
    rows: tuple[int, ...]
    """Rows that were asked for."""
    places: tuple[int, ...]
    """Where each of them goes among the members asked for."""


def seat(numbers: Sequence[int], size: int, *, control: bool) -> list[Batch]:
    """Batches of `size` that hold the members `numbers`; with `control` number 0 is the control member.

    Perturbed members keep their index: number n has index n - 1 if there is a control member, n if not.
    """
    place = {number - 1 if control else number: at for at, number in enumerate(numbers)}
    firsts = dict.fromkeys(index // size * size for index in place if index != CONTROL)
    tables = [list(range(first, first + size)) for first in firsts]
    if CONTROL in place:
        if tables and tables[-1][-1] not in place:
            tables[-1][-1] = CONTROL
        else:
            tables.append([CONTROL] * size)
    return [_batch(table, place) for table in tables]


def _batch(table: list[int], place: dict[int, int]) -> Batch:
    # Of a batch full of control members the last counts.
    row = {index: row for row, index in enumerate(table) if index in place}
    return Batch(tuple(table), tuple(row.values()), tuple(place[index] for index in row))
