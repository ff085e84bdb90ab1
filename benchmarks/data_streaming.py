"""How fast random samples come out of a 0.25 degree store: ours beside what others offer, in one run.

One sample is 3 frames x 78 channels x 721 x 1440 float32, 972 MB decoded, read from a local store in the page cache
into memory that is allocated once. Readers take turns, round after round, so that a busy machine slows all of them;
what counts is the ratio of medians. `limit` reads every chunk file and decompresses it straight into its place, by
hand, with as many threads as there are cores: no reader of the same store can be much faster.

    pip install -c constraints.txt -e '.[benchmarks]'
    python benchmarks/data_streaming.py --folder /tmp/streaming
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numcodecs
import numpy as np
import pandas as pd
import torch
import typer
import xarray as xr
import zarr
from fields import synthetic_field
from rich.console import Console
from rich.table import Table

from fuxi_ens.channels import CHANNELS_78, LEVELS_13, SURFACE, UPPER_AIR
from fuxi_ens.data.era5 import open_analysis
from fuxi_ens.data.loader import Loader
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.times import hours

GRID = LatLonGrid(721, 1440)
SHAPE = (GRID.height, GRID.width)
STEP = hours(6)
FRAMES = 3
STORED_TIMES = 12
FORTY_YEARS = pd.date_range("1980-01-01", "2019-12-31T23", freq="h")
CORES = len(os.sched_getaffinity(0))

Reader = Callable[[int, np.ndarray], None]
"""Fill [frame, channel, latitude, longitude] with the sample that starts at a time."""


def arrays(name: str) -> tuple[float, float]:
    """Mean and spread of a variable in file units."""
    table = {"z": (5e4, 3e3), "t": (250, 12), "u": (8, 12), "v": (0, 9), "q": (3e-3, 1e-3), "msl": (1e5, 1200)}
    return table.get(name, (280.0, 12.0))


def make_store(folder: Path, layout: str) -> Path:
    """A store with STORED_TIMES times of data: `arco` (Zarr v2) or `training` (as `fuxi-ens data prepare` writes)."""
    path = folder / f"{layout}.zarr"
    if path.exists():
        return path
    rng = np.random.default_rng(1)
    partial = folder / f"{layout}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    axis = FORTY_YEARS if layout == "arco" else pd.date_range("1980-01-01", periods=STORED_TIMES, freq="6h")
    stored = range(0, STORED_TIMES * 6, 6) if layout == "arco" else range(STORED_TIMES)
    group = zarr.open_group(partial, mode="w", zarr_format=2 if layout == "arco" else 3)
    coords = {"time": axis, "level": list(LEVELS_13), "latitude": GRID.latitude, "longitude": GRID.longitude}
    xr.Dataset(coords=coords).to_zarr(partial, mode="a", zarr_format=group.metadata.zarr_format, consolidated=False)
    for variable in (*UPPER_AIR, *SURFACE):
        levels = len(LEVELS_13) if variable in UPPER_AIR else 0
        mean, spread = arrays(variable.short)
        # A dozen fields are enough: what a field holds does not matter, only how well it compresses.
        fields = np.stack([synthetic_field(rng, SHAPE, mean, spread) for _ in range(max(levels, 2))])
        array = create_array(group, variable.file_name, levels, len(axis), layout)
        for i in stored:
            array[i] = np.roll(fields, i, axis=2) if levels else np.roll(fields[0], i, axis=1)
    zarr.consolidate_metadata(partial)
    partial.rename(path)
    return path


def create_array(group: zarr.Group, name: str, levels: int, times: int, layout: str) -> zarr.Array:
    """One array in the layout of a store."""
    field = (levels,) * bool(levels) + (GRID.height, GRID.width)
    dims = ("time", *(("level",) if levels else ()), "latitude", "longitude")
    if layout == "arco":
        codec = numcodecs.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.Blosc.SHUFFLE)
        array = group.create_array(
            name, shape=(times, *field), chunks=(1, *field), dtype="f4", compressors=codec, fill_value=np.nan
        )
        array.attrs["_ARRAY_DIMENSIONS"] = list(dims)
        return array
    compressors = [zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"), zarr.codecs.Crc32cCodec()]
    return group.create_array(
        name,
        shape=(times, *field),
        chunks=(1, *field),
        shards=(min(times, 6), *field),
        dtype="f4",
        compressors=compressors,
        fill_value=np.nan,
        dimension_names=dims,
    )


def positions(start: int, layout: str) -> list[int]:
    """Places of a sample's frames on the stored time axis."""
    return [(start + t) * (6 if layout == "arco" else 1) for t in range(FRAMES)]


def limit(path: Path, layout: str) -> Reader:
    """Chunk files read and decompressed by hand, straight into their places."""
    pool = ThreadPoolExecutor(CORES)
    codec = numcodecs.Blosc()
    memory = threading.local()

    def one(name: str, at: int, out: np.ndarray) -> None:
        with (path / f"{name}/{at}.{'0.0.0' if len(out) > 1 else '0.0'}").open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if len(getattr(memory, "buffer", b"")) < size:
                memory.buffer = bytearray(size)
            file.readinto(memoryview(memory.buffer)[:size])
        codec.decode(memoryview(memory.buffer)[:size], memoryview(out.reshape(-1).view(np.uint8)))

    def read(start: int, out: np.ndarray) -> None:
        jobs = []
        for t, at in enumerate(positions(start, layout)):
            place = 0
            for variable in (*UPPER_AIR, *SURFACE):
                count = len(LEVELS_13) if variable in UPPER_AIR else 1
                jobs.append((variable.file_name, at, out[t, place : place + count]))
                place += count
        jobs.sort(key=lambda job: -job[2].size)
        list(pool.map(lambda job: one(*job), jobs))

    return read


def ours(path: Path, layout: str) -> Reader:
    """The analysis of this package."""
    analysis = open_analysis(str(path), CHANNELS_78, GRID, STEP)

    def read(start: int, out: np.ndarray) -> None:
        analysis.read_into(analysis.times[start : start + FRAMES], out)

    return read


def tensorstore(path: Path, layout: str) -> Reader:
    """Tensorstore, all arrays and times asked for at once, each into its place."""
    import tensorstore as ts

    driver = "zarr" if layout == "arco" else "zarr3"
    context = ts.Context({"data_copy_concurrency": {"limit": CORES}, "cache_pool": {"total_bytes_limit": 0}})
    opened = {
        v.file_name: ts.open(
            {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/{v.file_name}/"}},
            open=True, read=True, context=context,
        ).result()
        for v in (*UPPER_AIR, *SURFACE)
    }  # fmt: skip

    def read(start: int, out: np.ndarray) -> None:
        pending = []
        for t, at in enumerate(positions(start, layout)):
            place = 0
            for variable in (*UPPER_AIR, *SURFACE):
                count = len(LEVELS_13) if variable in UPPER_AIR else 1
                target = ts.array(out[t, place : place + count] if count > 1 else out[t, place])
                pending.append(target.write(opened[variable.file_name][at]))
                place += count
        for future in pending:
            future.result()

    return read


def zarr_python(path: Path, layout: str) -> Reader:
    """zarr-python, one array and time after another; it decodes the parts of one request concurrently."""
    group = zarr.open_group(path, mode="r")
    opened = {v.file_name: group[v.file_name] for v in (*UPPER_AIR, *SURFACE)}

    def read(start: int, out: np.ndarray) -> None:
        for t, at in enumerate(positions(start, layout)):
            place = 0
            for variable in (*UPPER_AIR, *SURFACE):
                count = len(LEVELS_13) if variable in UPPER_AIR else 1
                out[t, place : place + count] = opened[variable.file_name][at]
                place += count

    return read


def fill(dataset: xr.Dataset, out: np.ndarray) -> None:
    """Loaded variables, [time, level, latitude, longitude], into the channels of `out`."""
    place = 0
    for variable in (*UPPER_AIR, *SURFACE):
        values = dataset[variable.file_name].values
        count = values.shape[1] if values.ndim == 4 else 1
        out[:, place : place + count] = values.reshape(FRAMES, count, GRID.height, GRID.width)
        place += count


def xarray_dask(path: Path, layout: str) -> Reader:
    """`xr.open_zarr` with its defaults: one Dask task per chunk."""
    dataset = xr.open_zarr(path)

    def read(start: int, out: np.ndarray) -> None:
        fill(dataset.isel(time=positions(start, layout)).load(), out)

    return read


def xarray_plain(path: Path, layout: str) -> Reader:
    """`xr.open_zarr` without Dask."""
    dataset = xr.open_zarr(path, chunks=None)

    def read(start: int, out: np.ndarray) -> None:
        fill(dataset.isel(time=positions(start, layout)).load(), out)

    return read


def xbatcher(path: Path, layout: str) -> Reader:
    """Batches of xbatcher over a dataset without Dask, 3 times each."""
    from xbatcher import BatchGenerator

    stored = positions(1, layout)[0]
    dataset = xr.open_zarr(path, chunks=None).isel(time=slice(0, STORED_TIMES * stored, stored))
    batches = BatchGenerator(dataset, {**dataset.sizes, "time": FRAMES}, input_overlap={"time": FRAMES - 1})

    def read(start: int, out: np.ndarray) -> None:
        fill(batches[start], out)

    return read


READERS = {
    "limit": limit,
    "fuxi_ens": ours,
    "tensorstore": tensorstore,
    "zarr-python": zarr_python,
    "xarray+dask": xarray_dask,
    "xarray": xarray_plain,
    "xbatcher": xbatcher,
}


class Anemoi:
    """anemoi-datasets in a process of its own, with the same data in its own format."""

    def __init__(self, python: Path, folder: Path) -> None:
        script = Path(__file__).with_name("anemoi_reader.py")
        command = [str(python), str(script), str(folder / "arco.zarr"), str(folder / "anemoi.zarr"), str(STORED_TIMES)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def seconds(self, start: int) -> float:
        """What one sample takes, measured over there."""
        assert self._process.stdin
        self._process.stdin.write(f"{start}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("anemoi_reader.py ended; its error is above")
        return line


def run_rounds(path: Path, layout: str, names: list[str], rounds: int, anemoi: Anemoi | None) -> dict[str, list[float]]:
    """Seconds per sample of each reader, [round]; every reader reads the same random samples, in turn."""
    out = np.zeros((FRAMES, len(CHANNELS_78), GRID.height, GRID.width), np.float32)
    readers = {name: READERS[name](path, layout) for name in names}
    first: dict[str, float] = {}
    seconds: dict[str, list[float]] = {name: [] for name in (*names, *(["anemoi-datasets"] if anemoi else []))}
    rng = np.random.default_rng(2)
    for round_ in range(rounds + 1):
        start = int(rng.integers(STORED_TIMES - FRAMES))
        for name, read in readers.items():
            began = time.perf_counter()
            read(start, out)
            # The first round warms caches and pools.
            if round_:
                seconds[name].append(time.perf_counter() - began)
            # One number of many fields, in plain units: all readers must have read the same.
            total = float(out[:, :52, 100, 100].astype(np.float64).sum())
            assert np.isclose(first.setdefault(str(round_), total), total), f"{name} read something else"
        if anemoi:
            spent = anemoi.seconds(start)
            seconds["anemoi-datasets"].extend([spent] if round_ else [])
    return seconds


def first_batch(path: Path) -> float:
    """Seconds from nothing open to the first batch, for a store with 40 years of hourly times."""
    began = time.perf_counter()
    analysis = open_analysis(str(path), CHANNELS_78, GRID, STEP)
    loader = Loader(analysis, STEP, FRAMES - 2, 1, torch.device("cpu"))
    next(loader.stream(lambda i: analysis.times[1:2], range(1)))
    return time.perf_counter() - began


def peak_memory(path: Path, batches: int = 4) -> dict[str, float]:
    """Peak of resident memory while streaming, in batches, above what the process held before."""
    before = peak_kilobytes()
    analysis = open_analysis(str(path), CHANNELS_78, GRID, STEP)
    loader = Loader(analysis, STEP, FRAMES - 2, 1, torch.device("cpu"))
    size = FRAMES * len(CHANNELS_78) * GRID.height * GRID.width * 4
    for _ in loader.stream(lambda i: analysis.times[i + 1 : i + 2], range(batches)):
        pass
    return {"batches": (peak_kilobytes() - before) * 1024 / size}


def peak_kilobytes() -> int:
    """High-water mark of resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def in_fresh_process(call: str, path: Path) -> str:
    """The printed result of one function of this file in a process of its own."""
    code = f"import data_streaming as d, pathlib, json; print(json.dumps(d.{call}(pathlib.Path({str(path)!r}))))"
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent, timeout=600
    ).stdout


def main(
    folder: Annotated[Path, typer.Option(help="Where the test stores are made, 5 GB; kept for the next run.")],
    rounds: Annotated[int, typer.Option(help="Samples read by each reader.")] = 9,
    layout: Annotated[str, typer.Option(help="arco or training")] = "arco",
    readers: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(READERS),
    anemoi_python: Annotated[Path | None, typer.Option(help="Python that has anemoi-datasets.")] = None,
) -> None:
    """Run the comparison and print it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = make_store(folder, layout)
    names = [n for n in readers.split(",") if not (n == "limit" and layout != "arco")]
    anemoi = Anemoi(anemoi_python, folder) if anemoi_python else None
    seconds = run_rounds(path, layout, names, rounds, anemoi)
    megabytes = FRAMES * len(CHANNELS_78) * GRID.height * GRID.width * 4 / 1e6
    median = {name: statistics.median(values) for name, values in seconds.items()}
    table = Table("reader", "MB/s", "best", "of the limit", "fuxi_ens is x times as fast", title=f"layout {layout}")
    for name, values in seconds.items():
        share = f"{median['limit'] / median[name]:.2f}" if "limit" in median else ""
        times = f"{median[name] / median['fuxi_ens']:.2f}" if "fuxi_ens" in median else ""
        table.add_row(name, f"{megabytes / median[name]:.0f}", f"{megabytes / min(values):.0f}", share, times)
    console = Console()
    console.print(table)
    if layout == "arco":
        opening = [json.loads(in_fresh_process("first_batch", path)) for _ in range(3)]
        console.print(f"first batch from a store with {len(FORTY_YEARS)} hours: {statistics.median(opening):.2f} s")
    memory = json.loads(in_fresh_process("peak_memory", path))
    console.print(f"peak memory while streaming: {memory['batches']:.2f} batches of {megabytes:.0f} MB")


if __name__ == "__main__":
    typer.run(main)
