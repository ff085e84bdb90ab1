"""From which times forecasts start: a range, a list, or the newest time that a store has."""

from typing import Any, Final, Self

import numpy as np
from pydantic import PositiveInt, StrictBool, model_validator

from fuxi_ens.config.base import Section
from fuxi_ens.config.fields import Time
from fuxi_ens.errors import ConfigError
from fuxi_ens.times import Times, hours, label, time_range

LATEST: Final = "latest"


class InitTimes(Section):
    """A regular series with both ends included, or a list, or `latest`, which may be written without a key.

    `latest` is the newest time for which the store of the initial frames has the whole history.
    """

    start: Time | None = None
    end: Time | None = None
    every_hours: PositiveInt = 12
    at: tuple[Time, ...] = ()
    """The init times one by one, increasing."""
    latest: StrictBool | Time = False
    """True, or the time that it was found to be."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if value == LATEST:
            return {"latest": True}
        return {"at": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        in_range = self.start is not None or self.end is not None
        if in_range + bool(self.at) + bool(self.latest) != 1 or (self.start is None) != (self.end is None):
            raise ValueError("init_times are start and end, or a list of dates, or `latest`; give one of these")
        if self.start is not None and self.end is not None and self.end < self.start:
            raise ValueError(f"init_times end at {self.end} before they start at {self.start}")
        if list(self.at) != sorted(set(self.at)):
            raise ValueError("init_times in a list must be increasing, each once")
        return self

    @property
    def is_open(self) -> bool:
        """Whether only a look into the store can tell the times."""
        return self.latest is True

    @property
    def fixed(self) -> tuple[str, ...]:
        """Overrides that keep `latest` at the time it was found to be; none for dates, or while it is open."""
        if self.latest is False or self.is_open:
            return ()
        return (f"forecast.init_times={{latest: {label(self.times[0])}}}",)

    @property
    def times(self) -> Times:
        """The init times, datetime64[ns]. Raises ConfigError while they are open."""
        if self.is_open:
            raise ConfigError(
                "forecast.init_times is `latest`, which only a forecast can resolve; give the dates here, like "
                "--set 'forecast.init_times=[2018-01-01T00:00]'"
            )
        if self.start is not None:
            return time_range(np.datetime64(self.start, "ns"), np.datetime64(self.end, "ns"), hours(self.every_hours))
        return np.array(self.at or [self.latest], dtype="datetime64[ns]")
