"""The scorecard on one picture, in three styles that readers of the field know."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from matplotlib.figure import Figure

from fuxi_ens.errors import UserError
from fuxi_ens.plot.card_ecmwf import ecmwf_card
from fuxi_ens.plot.card_gencast import gencast_card
from fuxi_ens.plot.card_style import CardStyle
from fuxi_ens.plot.card_weatherbench import weatherbench_card
from fuxi_ens.plot.table import Scores


class _Card(Protocol):
    def __call__(self, scores: Scores, references: tuple[str, ...], footer: str) -> Figure: ...


STYLES: Final[Mapping[CardStyle, _Card]] = MappingProxyType(
    {
        CardStyle.WEATHERBENCH: weatherbench_card,
        CardStyle.GENCAST: gencast_card,
        CardStyle.ECMWF: ecmwf_card,
    }
)


def scorecard(
    scores: Scores, footer: str = "", style: CardStyle = CardStyle.WEATHERBENCH, reference: str = ""
) -> Figure:
    """Draw the card of `style` against `reference`, or those the style has room for if it is empty.

    `footer` says what the numbers rest on. Raises UserError if there is nothing to compare with.
    """
    if not scores.references:
        raise UserError("a scorecard needs at least one reference: a baseline, climatology or persistence")
    if reference and reference not in scores.references:
        raise UserError(f"{reference!r} is no reference of this table; it has {', '.join(scores.references)}")
    return STYLES[style](scores, (reference,) if reference else scores.references, footer)
