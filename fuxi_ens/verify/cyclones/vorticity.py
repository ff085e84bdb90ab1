"""Relative vorticity of the wind on a global grid of latitudes and longitudes."""

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.verify.cyclones.sphere import RADIUS_KM

Field = NDArray[np.floating]


def relative_vorticity(u: Field, v: Field, latitude: Field, longitude: Field) -> NDArray[np.float64]:
    """Vorticity in s-1 of wind in m s-1, [..., latitude, longitude], on rows that need not reach the poles.

    With the metric term: (dv/dlon) / (a cos(lat)) - d(u cos(lat)) / (a dsin(lat)), central differences of second order
    in longitude, which wraps, and in the sine of latitude, one-sided in the outermost rows: exact for solid-body
    rotation about the axis. NaN at the poles. Needs at least three rows.
    """
    radius = RADIUS_KM * 1e3
    north = np.deg2rad(latitude)
    cosine = np.cos(north)[:, None]
    step = np.deg2rad(float(longitude[1] - longitude[0]))
    eastward = (np.roll(v, -1, axis=-1) - np.roll(v, 1, axis=-1)) / (2.0 * step)
    northward = np.gradient(u * cosine, np.sin(north), axis=-2, edge_order=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        vorticity = (eastward / cosine - northward) / radius
    return np.where(cosine > 1e-6, vorticity, np.nan)
