"""NetCDF and GRIB files on disk as undecoded datasets; a file that holds several hypercubes gives several."""

import glob
from pathlib import Path
from typing import Any, Final

import xarray as xr

from fuxi_ens.errors import StoreError

_NETCDF3: Final = b"CDF"
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_ZIP: Final = b"PK\x03\x04"
_GRIB: Final = b"GRIB"
_GRIB_SUFFIXES: Final = (".grib", ".grib2", ".grb", ".grb2")
_TIME_AXES: Final = ("time", "valid_time", "step", "number")


def gridded_paths(source: str) -> list[Path]:
    """The NetCDF or GRIB files that `source` means: itself, or those that match a pattern with `*`; else none.

    Raises StoreError for a pattern that matches nothing or something else, and for a zip archive.
    """
    path = Path(source)
    if "*" not in source or path.exists():
        return [path] if path.is_file() and _is_gridded(path) else []
    pattern = source.replace("[", "[[]")  # Only `*` is special, and folders may have brackets in their names.
    paths = sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207 - the pattern may be absolute
    # A file that was never filled must not vanish from a series without a word.
    strange = [str(path) for path in paths if not (path.is_file() and _is_gridded(path))]
    if strange or not paths:
        found = f"{strange[:3]} are neither NetCDF nor GRIB" if strange else f"no file matches {source}"
        raise StoreError(f"{found}; check the pattern, and whether the files are complete")
    return paths


def open_cubes(path: Path, *, dask: bool) -> list[xr.Dataset]:
    """Everything we know in one file, undecoded. Raises StoreError if the file cannot be read.

    With `dask` a chunk holds one time.
    """
    head = _head(path)
    try:
        if head.startswith(_NETCDF3):
            cubes = [xr.open_dataset(path, engine="scipy", decode_cf=False)]
        elif head.startswith(_HDF5):
            cubes = [xr.open_dataset(path, engine="h5netcdf", decode_cf=False, chunks="auto" if dask else None)]
        else:
            from fuxi_ens.stores.grib import grib_cubes

            cubes = grib_cubes(path)
    except ImportError as error:
        extra = "pip install 'fuxi-ens[grib]'" if _is_grib(path) else "pip install h5netcdf h5py"
        raise StoreError(f"{path} needs a library that is absent: {extra} ({error})") from error
    except StoreError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError) as error:
        raise StoreError(f"cannot read {path} ({error}); it may be damaged or cut short, fetch it again") from error
    return [_chunked(cube) for cube in cubes] if dask else cubes


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _is_grib(path: Path) -> bool:
    # Messages of the telecommunication system carry a header before the GRIB that only the suffix tells.
    return _head(path).startswith(_GRIB) or path.suffix.lower() in _GRIB_SUFFIXES


def _is_gridded(path: Path) -> bool:
    head = _head(path)
    if head.startswith(_ZIP) and path.suffix != ".zarr":
        raise StoreError(f"{path} is a zip archive; unpack it and name the files inside, with `*` if there are several")
    return head.startswith((_NETCDF3, _HDF5)) or _is_grib(path)


def _chunked(cube: xr.Dataset) -> xr.Dataset:
    chunks: Any = dict.fromkeys((dim for dim in _TIME_AXES if dim in cube.dims), 1)
    return cube if cube.chunks else cube.chunk(chunks)
