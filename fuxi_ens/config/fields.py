"""Types of settings that need more than a type: channels, regions, dates. Each says what is wrong with a value."""

from datetime import date, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from fuxi_ens import channels as vocabulary
from fuxi_ens.grid import REGIONS

Estimator = Literal["fair", "standard", "almost_fair"]
DrawsName = Literal["random", "antithetic", "stratified"]
"""How the members of an ensemble share their noise."""
Precision = Literal["float32", "bfloat16"]
LowerIsBetter = Literal["crps", "rmse", "mae"]
"""Scores that have a better direction, and so a winner."""
FamilyName = Literal[
    "ensemble",
    "ranks",
    "spread",
    "anomaly",
    "tails",
    "wind",
    "events",
    "precipitation_events",
    "hersbach",
    "seeps",
    "spectra",
    "multivariate",
    "maps",
]
"""Families of scores, `fuxi_ens.verify.families`."""
ALMOST_FAIR_ALPHA: Final = 0.95
"""Weight of the fair part in the almost-fair CRPS (Lang et al. 2024)."""


def _expand_channels(value: Any) -> Any:
    return vocabulary.CHANNELS_78 if value == "fuxi_ens_78" else value


def _known_channels(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if not vocabulary.is_channel(name)]
    if unknown:
        raise ValueError(f"unknown channels {unknown}; names are like z500, t2m, tp (fuxi_ens.channels.CHANNELS_78)")
    ordered = vocabulary.in_tensor_order(tuple(set(names)))
    if names != ordered:
        raise ValueError(f"channels must be unique and in tensor order; write {list(ordered)}")
    return names


def _known_scored(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if not vocabulary.is_scored(name)]
    if unknown:
        derived = [*vocabulary.DERIVED_SPEED, *vocabulary.SUMS_24H]
        raise ValueError(f"cannot verify {unknown}; use channels, or one of {derived}")
    return _unique(names)


def _known_regions(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in REGIONS]
    if unknown:
        raise ValueError(f"unknown regions {unknown}; known are {list(REGIONS)}")
    return _unique(names)


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError(f"each name once, got {list(names)}")
    return names


def _known_variables(bits: dict[str, int]) -> dict[str, int]:
    unknown = sorted(set(bits) - set(vocabulary.VARIABLES))
    if unknown:
        raise ValueError(f"keep_bits names {unknown}; variables are {sorted(vocabulary.VARIABLES)}")
    return bits


def _distinct(quantiles: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(quantiles)) != len(quantiles) or 0.5 in quantiles:
        raise ValueError(f"each quantile once, and none at the median, which has no outside; got {list(quantiles)}")
    return quantiles


def _written_date(value: Any) -> Any:
    if not isinstance(value, (str, date)):
        raise ValueError(f"dates are written like 1979-01-01 or 1979-01-01T06:00, got {value!r}")  # noqa: TRY004
    return value


def _utc(value: datetime) -> datetime:
    if value.tzinfo is not None:
        raise ValueError(f"all times are UTC; write them without a zone, got {value.isoformat()}")
    return value


Channels = Annotated[
    tuple[str, ...], Field(min_length=1), BeforeValidator(_expand_channels), AfterValidator(_known_channels)
]
ScoredNames = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_known_scored)]
RegionNames = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_known_regions)]


def _with_the_basis(names: tuple[str, ...]) -> tuple[str, ...]:
    if "ensemble" not in names:
        raise ValueError(f"'ensemble' must be among the scores, which every comparison needs; got {list(names)}")
    return _unique(names)


FamilyNames = Annotated[tuple[FamilyName, ...], AfterValidator(_with_the_basis)]
EventQuantiles = Annotated[
    tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1), AfterValidator(_distinct)
]
Time = Annotated[datetime, BeforeValidator(_written_date), AfterValidator(_utc)]
KeepBits = Annotated[dict[str, Annotated[int, Field(ge=1, le=23)]], AfterValidator(_known_variables)]
"""Bits of the mantissa by channel name without level."""
Momentum = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Members = Annotated[int, Field(ge=2)]
