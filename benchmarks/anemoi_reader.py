"""Reads samples with anemoi-datasets, in an environment of its own: it needs an older Zarr than this package.

    python -m venv /tmp/anemoi && /tmp/anemoi/bin/pip install anemoi-datasets
    python benchmarks/data_streaming.py --folder /tmp/streaming --anemoi-python /tmp/anemoi/bin/python

Started by data_streaming.py: makes a dataset in anemoi's format from the test store, then for each line on its standard
input, the first time of a sample, reads the sample and prints the seconds it took.
"""

import shutil
import sys
import time
from pathlib import Path

import numcodecs
import numpy as np
import zarr

FRAMES, STEP_HOURS = 3, 6
CHANNELS, HEIGHT, WIDTH = 78, 721, 1440


def make(source: Path, target: Path, times: int) -> None:
    """One chunk per time with all channels, as `anemoi-datasets create` writes by default."""
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    stored, group = zarr.open_group(str(source), mode="r"), zarr.open_group(str(partial), mode="w")
    names = [name for name, array in stored.arrays() if array.ndim >= 3]
    names.sort(key=lambda name: -stored[name].ndim)
    codec = numcodecs.Blosc("lz4", 5, numcodecs.Blosc.SHUFFLE)
    shape = (times, CHANNELS, 1, HEIGHT * WIDTH)
    data = group.create_dataset("data", shape=shape, chunks=(1, *shape[1:]), dtype="f4", compressor=codec)
    for t in range(times):
        fields = [stored[name][t * STEP_HOURS].reshape(-1, HEIGHT * WIDTH) for name in names]
        data[t] = np.concatenate(fields)[:, None]
    start = np.datetime64("1980-01-01", "s")
    group["dates"] = start + np.arange(times) * np.timedelta64(STEP_HOURS, "h")
    latitude, longitude = np.meshgrid(np.linspace(90, -90, HEIGHT), np.arange(WIDTH) * 0.25, indexing="ij")
    group["latitudes"], group["longitudes"] = latitude.ravel(), longitude.ravel()
    for name in ("mean", "stdev", "maximum", "minimum"):
        group[name] = np.ones(CHANNELS)
    group.attrs.update(
        variables=[str(i) for i in range(CHANNELS)], frequency="6h", resolution="0.25", field_shape=[HEIGHT, WIDTH]
    )
    partial.rename(target)


def main(source: str, target: str, times: int) -> None:
    """Serve requests until the input ends."""
    from anemoi.datasets import open_dataset

    if not Path(target).exists():
        make(Path(source), Path(target), times)
    dataset = open_dataset(target)
    out = np.zeros((FRAMES, CHANNELS, HEIGHT * WIDTH), np.float32)
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        began = time.perf_counter()
        for t in range(FRAMES):
            out[t] = dataset[int(line) + t][:, 0]
        print(time.perf_counter() - began, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
