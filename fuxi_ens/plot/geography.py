"""Where on the globe a map is: projections of regions, coastlines, and fields as meshes without a gap at a seam."""

from functools import cache
from pathlib import Path
from typing import Any, Final

import cartopy.crs as ccrs
import numpy as np
import shapely
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from fuxi_ens.assets import resolve
from fuxi_ens.errors import UserError
from fuxi_ens.grid import REGIONS, Region
from fuxi_ens.plot.style import INK, MUTED, WIDTH

COASTLINES: Final = "asset:coastline_110m.geojson"
DEGREES: Final = ccrs.PlateCarree()
"""Coordinates of meshes: degrees east and north."""

_TALLEST: Final = 8.2
"""Inches of a map's height."""
_MOST_COLUMNS: Final = 360
"""A panel is about 800 pixels wide; a denser grid costs time and shows nothing."""

Field = NDArray[np.floating]


@cache
def coastlines() -> Any:
    """The packaged 110 m coastline as one shapely geometry; cartopy's own would be downloaded."""
    return shapely.from_geojson(Path(resolve(COASTLINES)).read_text(encoding="utf-8"))


def region_named(name: str) -> Region:
    """Look a region up. Raises UserError for an unknown name, listing those there are."""
    if name not in REGIONS:
        raise UserError(f"no region {name!r}; it can be one of {', '.join(REGIONS)}")
    return REGIONS[name]


def northern_cap() -> str:
    """The first region around the North Pole, where charts of flow are drawn by habit."""
    return next(name for name, region in REGIONS.items() if _all_around(region) and region.south > 0)


def map_axes(figure: Figure, rows: int, columns: int, index: int, region: Region) -> Any:
    """Map axes of a region with coastlines and a faint graticule, at a position of a grid of panels.

    The globe is in Robinson's projection, a polar cap seen from above its pole, a box in Lambert's conformal one;
    belts and boxes at the equator keep straight parallels.
    """
    axes: Any = figure.add_subplot(rows, columns, index, projection=_projection(region))
    axes.add_geometries([coastlines()], crs=DEGREES, facecolor="none", edgecolor=INK, linewidth=0.5, alpha=0.8)
    axes.gridlines(linewidth=0.3, color=MUTED, alpha=0.35)
    if region == Region():
        axes.set_global()
    else:
        _zoom(axes, region)
    axes.spines["geo"].set_linewidth(0.5)
    return axes


def fill(axes: Any, field: xr.DataArray, region: Region, **look: Any) -> Any:
    """Filled contours of a field on map axes of the region."""
    return axes.contourf(*_projected(axes, field, region), transform=axes.projection, **look)


def contour(axes: Any, field: xr.DataArray, value: float, region: Region, **look: Any) -> Any:
    """The contour of a field at one value, on map axes of the region; None where the field does not cross it."""
    mesh = _projected(axes, field, region)
    if not np.nanmin(mesh[2]) < value < np.nanmax(mesh[2]):
        return None
    return axes.contour(*mesh, levels=[value], transform=axes.projection, **look)


def _projected(axes: Any, field: xr.DataArray, region: Region) -> tuple[Field, Field, Field]:
    # Cartopy's own transform_first sorts the columns, which tears a map around a pole.
    longitude, latitude, values = globe(field, region)
    points = axes.projection.transform_points(DEGREES, longitude, latitude)
    return points[..., 0], points[..., 1], values


def page_of_one_map(title: str, region: Region, below: float) -> tuple[Figure, Any]:
    """A figure with one map, as wide as others or as tall as a page, with `below` inches for what explains it."""
    ratio = aspect(region)
    width = min(WIDTH, _TALLEST / ratio)
    figure = Figure(figsize=(width, 0.6 + below + 0.97 * width * ratio), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", color=MUTED, fontsize=9)
    return figure, map_axes(figure, 1, 1, 1, region)


def aspect(region: Region) -> float:
    """Height of a map of the region divided by its width."""
    axes = map_axes(Figure(), 1, 1, 1, region)
    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    return float((north - south) / (east - west))


def _projection(region: Region) -> Any:
    middle = _middle(region)
    latitude = 0.5 * (region.south + region.north)
    if region == Region():
        return ccrs.Robinson()
    if region.south < 0.0 < region.north or abs(latitude) < 15.0:
        return ccrs.PlateCarree(central_longitude=middle)
    if _all_around(region):
        return ccrs.NorthPolarStereo() if latitude > 0 else ccrs.SouthPolarStereo()
    third = (region.north - region.south) / 6.0
    return ccrs.LambertConformal(
        middle,
        latitude,
        standard_parallels=(region.south + third, region.north - third),
        # The pole that lies at infinity: the far one.
        cutoff=-30.0 if latitude > 0 else 30.0,
    )


def _zoom(axes: Any, region: Region) -> None:
    """Cut the map along the region's own edges, which are curved in most projections."""
    outline = axes.projection.transform_points(DEGREES, *_edge(region))[:, :2]
    # A belt around the globe ends at its seam, which the transform would fold onto the other end.
    if not isinstance(axes.projection, ccrs.PlateCarree):
        axes.set_boundary(Outline(outline), transform=axes.transData)
        axes.set_xlim(outline[:, 0].min(), outline[:, 0].max())
        axes.set_ylim(outline[:, 1].min(), outline[:, 1].max())
        return
    half = _half_width(region)
    axes.set_xlim(-half, half)
    axes.set_ylim(region.south, region.north)


def _edge(region: Region) -> tuple[Field, Field]:
    """Longitudes and latitudes of a walk around the region; around a cap only its circle."""
    middle, half = _middle(region), _half_width(region)
    along = np.linspace(middle - half, middle + half, 181)
    if _all_around(region):
        return along, np.full(along.size, region.south if region.south > 0 else region.north)
    up = np.linspace(region.south, region.north, 61)
    longitude = np.concatenate([along, np.full(61, along[-1]), along[::-1], np.full(61, along[0])])
    latitude = np.concatenate([np.full(181, region.south), up, np.full(181, region.north), up[::-1]])
    return longitude, latitude


def _all_around(region: Region) -> bool:
    return _half_width(region) == 180.0


def _half_width(region: Region) -> float:
    width = region.east - region.west
    return 0.5 * (width if width > 0 else width + 360.0)


def _middle(region: Region) -> float:
    """Longitude in the middle of a box; Greenwich for what goes all around."""
    return 0.0 if _all_around(region) else region.west + _half_width(region)


def globe(field: xr.DataArray, region: Region = Region()) -> tuple[Field, Field, Field]:  # noqa: B008 - frozen
    """Meshes of longitude, latitude and values that cover `region`, by default from -180 to 180 and pole to pole.

    Contours join grid points, so a globe of cell centers would show a gap at the date line and at the poles.
    """
    middle = _middle(region)
    away = (field["longitude"] - middle + 180.0) % 360.0 - 180.0
    part = _inside(field.assign_coords(longitude=away).sortby(["latitude", "longitude"]), region)
    stride = max(1, -(-part.sizes["longitude"] // _MOST_COLUMNS))
    thin = part.isel(latitude=slice(None, None, stride), longitude=slice(None, None, stride))
    latitude, longitude, values = thin["latitude"].to_numpy(), thin["longitude"].to_numpy(), thin.to_numpy()
    if _all_around(region):
        longitude, values = _closed(longitude, values)
    latitude, values = _with_poles(latitude, values, region)
    mesh = np.meshgrid(longitude + middle, latitude)
    return mesh[0], mesh[1], values


def _inside(field: xr.DataArray, region: Region) -> xr.DataArray:
    """The grid points of the region and one more row and column on each side, so that its edge has color."""
    latitude, longitude = field["latitude"].to_numpy(), field["longitude"].to_numpy()
    north, east = np.abs(np.diff(latitude)).max(), np.abs(np.diff(longitude)).max()
    rows = (latitude >= region.south - north) & (latitude <= region.north + north)
    columns = np.abs(longitude) <= _half_width(region) + east
    return field.isel(latitude=np.flatnonzero(rows), longitude=np.flatnonzero(columns))


def _closed(longitude: Field, values: Field) -> tuple[Field, Field]:
    """Add the seam on both sides; a grid that has it gets cells of no width there, which draw nothing."""
    share = (180.0 - longitude[-1]) / (longitude[0] + 360.0 - longitude[-1])
    seam = ((1.0 - share) * values[:, -1] + share * values[:, 0])[:, None]
    return np.array([-180.0, *longitude, 180.0]), np.concatenate([seam, values, seam], axis=1)


def _with_poles(latitude: Field, values: Field, region: Region) -> tuple[Field, Field]:
    """Add each pole that belongs to the region, with the mean of the row next to it."""
    if region.south == -90.0:
        latitude = np.array([-90.0, *latitude])
        values = np.concatenate([np.full((1, values.shape[1]), values[0].mean()), values])
    if region.north == 90.0:
        latitude = np.array([*latitude, 90.0])
        values = np.concatenate([values, np.full((1, values.shape[1]), values[-1].mean())])
    return latitude, values
