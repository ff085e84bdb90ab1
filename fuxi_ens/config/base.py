"""What every section of a run file is made of."""

from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from fuxi_ens.config.fields import Time
from fuxi_ens.times import Times


class Section(BaseModel):
    """Base of all sections: frozen, strict about keys, documented by attribute docstrings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    bookkeeping: ClassVar[frozenset[str]] = frozenset()
    """Settings that decide no result: how often to log, whether to cache."""


class Period(Section):
    """A span of valid times, both ends included."""

    start: Time
    end: Time

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"period ends at {self.end} before it starts at {self.start}")
        return self

    def contains(self, times: Times) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which of `times` lie inside."""
        return np.asarray((times >= np.datetime64(self.start, "ns")) & (times <= np.datetime64(self.end, "ns")))


Periods = Annotated[tuple[Period, ...], Field(min_length=1)]
