"""From stored numbers to ours: packing and units in one linear step, times, steps of forecasts that are analyses."""

import warnings
from typing import Any, Final

import numpy as np
import xarray as xr

from fuxi_ens.errors import StoreError
from fuxi_ens.stores.units import FILE_UNITS, conversion

_TIME: Final = "time"
_SPAN: Final = "prediction_timedelta"
_MISSING: Final = ("_FillValue", "missing_value")
_PACKING: Final = ("scale_factor", "add_offset")


def state_units(dataset: xr.Dataset) -> None:
    """Fold the change to file units into scale_factor and add_offset of the undecoded variables, in place.

    A decoder applies them lazily; arithmetic on arrays without Dask would read them.
    """
    for name, array in dataset.data_vars.items():
        factor, offset = conversion(str(name), array.attrs.get("units"))
        scale, shift = packing(array.variable)
        if (factor, offset) != (1.0, 0.0):
            array.attrs["units"] = FILE_UNITS[str(name)]
            array.attrs["scale_factor"] = scale * factor
            array.attrs["add_offset"] = shift * factor + offset


def packing(variable: xr.Variable) -> tuple[float, float]:
    """Scale and offset of an undecoded variable."""
    scale, offset = (variable.attrs.get(key, default) for key, default in zip(_PACKING, (1.0, 0.0), strict=True))
    return float(np.ravel(scale)[0]), float(np.ravel(offset)[0])


def decoded(dataset: xr.Dataset, source: str) -> xr.Dataset:
    """Masked, unpacked, with times; lazily. Raises StoreError for times that cannot be understood."""
    try:
        with warnings.catch_warnings():
            # Several numbers for "no value" are legal, and all are masked.
            warnings.filterwarnings("ignore", "variable .* has multiple fill values", xr.SerializationWarning)
            result = xr.decode_cf(dataset, decode_timedelta=False)
            if _SPAN in dataset.coords:
                # The unit "hours" makes a span of this axis only; a wave period in seconds stays a number.
                spans = xr.decode_cf(dataset[[_SPAN]].reset_coords(drop=True), decode_timedelta=True)
                result = result.assign_coords({_SPAN: spans[_SPAN]})
    except (ValueError, OverflowError, ImportError) as error:
        raise StoreError(f"{source}: its times cannot be read ({error}); mend their units or calendar") from error
    for name in (_TIME, _SPAN):
        if name in result.coords and result[name].dtype.kind in "mM":
            precise = np.dtype(f"{result[name].dtype.kind}8[ns]")
            result = result.assign_coords({name: result[name].astype(precise)})
    return result.drop_encoding()


def settle_missing(variable: xr.Variable, *, stated: bool) -> None:
    """Leave in the attributes of an undecoded variable only numbers that really mean "no value", in its own dtype.

    `stated` says that the file itself names them. In Zarr format 2 xarray takes the fill value of absent chunks for
    one. That is right for what xarray itself wrote; but 0 is the default of other writers, and there every dry point
    of a precipitation field would vanish. Of packed integers 0 was chosen on purpose.
    """
    attrs = variable.attrs
    values = [value for key in _MISSING for value in np.ravel(attrs.pop(key, ()))]
    stated = stated or any(key in attrs for key in _PACKING)
    numbers = {number for value in values if (number := _as_stored(value, variable.dtype)) is not None}
    kept = sorted(number for number in numbers if stated or number != 0.0)
    if kept:
        attrs["_FillValue"] = kept[0]
    if kept[1:]:
        attrs["missing_value"] = np.asarray(kept[1:])


def _as_stored(value: Any, dtype: np.dtype[Any]) -> float | None:
    """A number as an array of `dtype` holds it; None if it cannot, and for NaN, which is always missing."""
    if dtype.kind not in "iuf" or not isinstance(value, int | float | np.number) or np.isnan(value):
        return None
    if dtype.kind == "f":
        return float(np.asarray(value, dtype))
    bounds = np.iinfo(dtype)
    return float(value) if bounds.min <= value <= bounds.max else None


def missing(variable: xr.Variable) -> tuple[float, ...]:
    """Stored numbers of an undecoded variable that mean "no value"."""
    return tuple(float(v) for key in _MISSING for v in np.ravel(variable.attrs.get(key, ())))
