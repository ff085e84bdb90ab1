"""What `fuxi-ens verify` costs at 0.25 degrees: beside reading alone, beside its parts by hand, beside xskillscore.

A forecast of some init times, lead times and names, 50 members of 721x1440 points, in the layout of our own stores, is
scored in every way that is installed. Ways take turns, round after round, each with nothing open and no memory of the
turn before; what counts are ratios of medians. Numbers are milliseconds per ensemble of one field (208 MB). The stores,
2 GB, lie in the page cache.

- `decode`: chunks read and decompressed by hand into memory that is used again, one thread per core. Nobody is faster.
- `stream`: the same with our CRPS and its mean over the globe, which is the least that scoring can be.
- `verify`: everything the command does, with the default scores and regions, references and files, on threads of one
  process (a local Dask cluster).
- `zarr-python`: loading alone. `xskillscore`: the same scores on Dask, one chunk per ensemble.

    python benchmarks/verify.py
    python benchmarks/verify.py --names z500 --height 181 --width 360 --rounds 1     # seconds
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import importlib.util
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numcodecs
import numpy as np
import pandas as pd
import typer
import xarray as xr
import zarr
from fields import packed, synthetic_field
from goals import Figure, print_figures
from memory import peak_while
from rich.console import Console
from rich.table import Table

from fuxi_ens.channels import channel
from fuxi_ens.config import Config, load_config
from fuxi_ens.cores import available_cores
from fuxi_ens.grid import LatLonGrid, area_weights
from fuxi_ens.times import hours
from fuxi_ens.verify import kernel
from fuxi_ens.verify.memory import memory_needed
from fuxi_ens.verify.run import verify
from fuxi_ens.verify.work import open_scorers

CORES = available_cores()
RUN_FILE = Path(__file__).parents[1] / "configs" / "era5_0p25deg.yaml"
FIRST = pd.Timestamp("2018-01-01")
YEARS = (2016, 2017, 2018)
MEANS = {"z": (5.5e4, 3e3), "t": (260.0, 15.0), "msl": (1.01e5, 1200.0), "t2m": (280.0, 18.0)}
VERIFY_BY_STREAM, XSKILLSCORE_BY_VERIFY, PEAK_BY_PREDICTED = 1.5, 5.0, 1.0
CODECS = {"lz4": ("lz4", 5, "shuffle"), "zstd": ("zstd", 3, "bitshuffle")}
"""`zstd` is what `fuxi-ens forecast` writes."""


@dataclass(frozen=True)
class Job:
    """What is scored, and where it lies."""

    folder: Path
    names: tuple[str, ...]
    members: int
    shape: tuple[int, int]
    init_times: int
    lead_times: int
    codec: str

    @property
    def fields(self) -> int:
        """Ensembles of one field in the forecast."""
        return len(self.names) * self.init_times * self.lead_times

    @property
    def levels(self) -> dict[str, list[int]]:
        """The coordinate that variables with levels share; empty without any."""
        found = sorted({level for name in self.names if (level := channel(name).level) is not None})
        return {"level": found} if found else {}

    @property
    def config(self) -> Config:
        """The run file of 0.25 degrees with these stores. The baseline is the forecast itself, under another name."""
        last = FIRST + (self.init_times - 1) * pd.Timedelta("12h")
        changes = {
            "run.folder": self.folder / "run",
            "run.threads": CORES,
            "data.store": self.folder / "truth.zarr",
            "dask.cluster": "threads",
            "verify.cache_megabytes": 100,
            "report": "null",
            "forecast.init_times": f'{{start: "{FIRST.isoformat()}", end: "{last.isoformat()}", every_hours: 12}}',
            "forecast.members": self.members,
            "verify.channels": f"[{', '.join(self.names)}]",
            "verify.truth": '""',
            "verify.baseline": self.folder / "forecast.zarr",
            "verify.climatology.periods": "[{start: 2016-01-01, end: 2017-12-31}]",
        }
        return load_config(RUN_FILE, [f"{key}={value}" for key, value in changes.items()])

    @property
    def forecast(self) -> Path:
        """The store of the forecast."""
        return self.folder / "forecast.zarr"


def variable(name: str) -> str:
    """Name of a channel's array."""
    return channel(name).variable.file_name


def make_truth(job: Job) -> None:
    """Analyses of three Januaries; the first two years are the climatology."""
    rng = np.random.default_rng(1)
    span = range(0, 12 * (job.init_times - 1) + 6 * job.lead_times + 1, 6)
    times = [pd.Timestamp(f"{year}-01-01") + pd.Timedelta(hours=h) for year in YEARS for h in span]
    grid = LatLonGrid(*job.shape)
    data = xr.Dataset(coords={"time": times, **job.levels, "latitude": grid.latitude, "longitude": grid.longitude})
    for name in job.names:
        fields = np.stack([synthetic_field(rng, job.shape, *MEANS.get(channel(name).variable.short, (280.0, 12.0)))
                           for _ in times])  # fmt: skip
        level = channel(name).level
        array = xr.DataArray(fields, dims=("time", "latitude", "longitude"))
        data[variable(name)] = array if level is None else array.expand_dims(level=[level], axis=1).reindex(job.levels)
    data.chunk(time=1).to_zarr(job.folder / "truth.zarr", zarr_format=2, consolidated=True)


def make_forecast(job: Job) -> None:
    """Members are the truth with errors that grow, packed as archives do; the layout is that of our own stores."""
    rng = np.random.default_rng(2)
    truth = xr.open_zarr(job.folder / "truth.zarr", chunks=None)
    inits = [FIRST + i * pd.Timedelta("12h") for i in range(job.init_times)]
    leads = np.array([hours(6 * (step + 1)) for step in range(job.lead_times)])
    coords = {"time": inits, "number": np.arange(job.members), "prediction_timedelta": leads, **job.levels}
    dataset = xr.Dataset(coords={**coords, **{dim: truth[dim].to_numpy() for dim in ("latitude", "longitude")}})
    group = zarr.open_group(job.forecast, mode="w", zarr_format=3)
    encoding = {"prediction_timedelta": {"units": "hours", "dtype": "int64"}}
    dataset.to_zarr(job.forecast, mode="a", zarr_format=3, consolidated=False, encoding=encoding)
    for name in job.names:
        array, level = create_array(group, job, name), channel(name).level
        errors = [synthetic_field(rng, job.shape, 0.0, 0.1) for _ in range(8)]
        place = () if level is None else (job.levels["level"].index(level),)
        for i, lead in np.ndindex(job.init_times, job.lead_times):
            observed = truth[variable(name)].sel(time=inits[i] + leads[lead]).to_numpy()[place]
            array[(i, slice(None), lead, *place)] = ensemble(rng, observed, errors, job.members)
    zarr.consolidate_metadata(job.forecast)


def ensemble(rng: np.random.Generator, truth: np.ndarray, errors: Sequence[np.ndarray], members: int) -> np.ndarray:
    """Members [number, latitude, longitude] about the truth."""
    result = np.empty((members, *truth.shape), np.float32)
    for member in result:
        chosen = rng.integers(len(errors), size=2)
        first, second = (np.roll(errors[k], rng.integers(truth.shape[1]), axis=1) for k in chosen)
        member[:] = packed(truth + float(truth.std()) * (first + second))
    return result


def create_array(group: zarr.Group, job: Job, name: str) -> zarr.Array:
    """One variable: a chunk holds one field of all members, a shard the lead times of one forecast."""
    above = () if channel(name).level is None else (len(job.levels["level"]),)
    kind, effort, shuffle = CODECS[job.codec]
    return group.create_array(
        variable(name),
        shape=(job.init_times, job.members, job.lead_times, *above, *job.shape),
        chunks=(1, job.members, 1, *(1 for _ in above), *job.shape),
        shards=(1, job.members, job.lead_times, *above, *job.shape),
        dtype="f4",
        compressors=zarr.codecs.BloscCodec(cname=kind, clevel=effort, shuffle=shuffle),
        fill_value=np.nan,
        dimension_names=("time", "number", "prediction_timedelta", *("level" for _ in above), "latitude", "longitude"),
        chunk_key_encoding={"name": "default", "separator": "."},
    )


class Chunks:
    """The forecast's chunks, found and decoded by hand: [(name, init, lead)] one after another."""

    def __init__(self, job: Job) -> None:
        self._shape = (job.members, *job.shape)
        self._memory = threading.local()
        self._codec = numcodecs.Blosc()
        self.places = [(name, i, lead) for name in job.names for i, lead in np.ndindex(job.init_times, job.lead_times)]
        self._where = {place: self._find(job, *place) for place in self.places}

    @staticmethod
    def _find(job: Job, name: str, init: int, lead: int) -> tuple[Path, int, int]:
        """File of a shard, and offset and length of a chunk in it."""
        array = zarr.open_array(job.forecast / variable(name), mode="r")
        path = job.forecast / variable(name) / array.metadata.encode_chunk_key((init, *[0] * (array.ndim - 1)))
        index = np.frombuffer(path.read_bytes()[-16 * job.lead_times * _levels(array) - 4 : -4], "<u8").reshape(
            job.lead_times, _levels(array), 2
        )
        offset, length = next(entry for entry in index[lead].tolist() if entry[0] < 2**63)
        return path, offset, length

    def decode(self, place: tuple[str, int, int]) -> np.ndarray:
        """[number, latitude, longitude], which holds until the thread decodes the next."""
        path, offset, length = self._where[place]
        memory = self._memory
        if not hasattr(memory, "out"):
            memory.out, memory.blob = np.empty(self._shape, np.float32), bytearray(0)
        if len(memory.blob) < length:
            memory.blob = bytearray(length)
        view = memoryview(memory.blob)[:length]
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            file.readinto(view)
        self._codec.decode(view, memory.out.reshape(-1).view(np.uint8).data)
        return memory.out


def _levels(array: zarr.Array) -> int:
    return array.shape[3] if array.ndim == 6 else 1


def truth_of(job: Job, name: str) -> xr.DataArray:
    """Analyses at the valid times of the forecast, [time, prediction_timedelta, latitude, longitude], lazy."""
    stored = xr.open_zarr(job.folder / "truth.zarr", chunks={"time": 1})[variable(name)]
    level = channel(name).level
    stored = stored if level is None else stored.sel(level=level, drop=True)
    forecast = xr.open_zarr(job.forecast, chunks=None, decode_timedelta=True)
    return (
        stored.sel(time=forecast["time"] + forecast["prediction_timedelta"])
        .drop_vars("time")
        .assign_coords({dim: forecast[dim] for dim in ("time", "prediction_timedelta")})
    )


def decode_only(job: Job) -> Callable[[], object]:
    """All chunks of the forecast into memory that is there."""

    def run() -> None:
        chunks = Chunks(job)
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(lambda place: chunks.decode(place)[0, 0, 0], chunks.places))

    return run


def stream(job: Job) -> Callable[[], object]:
    """Fair CRPS and its mean over the globe; truths are in memory."""
    weights = np.repeat(area_weights(LatLonGrid(*job.shape).latitude), job.shape[1]) / np.prod(job.shape)
    truths = {name: truth_of(job, name).to_numpy().reshape(job.init_times, job.lead_times, -1) for name in job.names}

    def run() -> None:
        chunks, memory = Chunks(job), threading.local()

        def score(place: tuple[str, int, int]) -> float:
            name, init, lead = place
            members = chunks.decode(place).reshape(job.members, -1)
            if not hasattr(memory, "points"):
                memory.points = np.empty((kernel.OUTPUTS, members.shape[1]), np.float32)
            kernel.run(members, truths[name][init, lead], memory.points)
            return float(np.einsum("p,p->", weights, memory.points[0] - memory.points[1]))

        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(score, chunks.places))

    return run


def our_verify(job: Job) -> Callable[[], object]:
    """The library's part of `fuxi-ens verify`, from nothing open to all files."""
    config = job.config

    def run() -> None:
        out = job.folder / "scores"
        shutil.rmtree(out, ignore_errors=True)
        verify(config, out, str(job.forecast), {"config_hash": "benchmark"})

    return run


def zarr_python(job: Job) -> Callable[[], object]:
    """One field after another; it decodes the parts of one request concurrently."""
    group = zarr.open_group(job.forecast, mode="r")

    def run() -> None:
        for name in job.names:
            level = channel(name).level
            place = () if level is None else (job.levels["level"].index(level),)
            for init, lead in np.ndindex(job.init_times, job.lead_times):
                group[variable(name)][(init, slice(None), lead, *place)]

    return run


def xskillscore(job: Job) -> Callable[[], object]:
    """CRPS (standard), bias, MAE, squared error, variance of four regions, rank histogram; a chunk is an ensemble."""
    import dask
    import xskillscore as xs

    config = job.config
    areas = open_scorers(config, str(job.forecast))[0][0].areas
    masks = [row[:, None] * areas.columns[column] for row, column in zip(areas.rows, areas.column_set, strict=True)]
    weights = xr.DataArray(np.stack(masks), dims=("region", "latitude", "longitude"))
    whole = {"time": 1, "prediction_timedelta": 1, "number": -1, "level": 1, "latitude": -1, "longitude": -1}
    stored = xr.open_zarr(job.forecast, chunks=whole, decode_timedelta=True).drop_vars(("latitude", "longitude"))

    def scores(name: str) -> list[xr.DataArray]:
        members, truth = stored[variable(name)], truth_of(job, name).drop_vars(("latitude", "longitude"))
        if channel(name).level is not None:
            members = members.sel(level=channel(name).level, drop=True)
        error = members.mean("number") - truth
        points = (
            xs.crps_ensemble(truth, members, member_dim="number", dim=[]),
            error, abs(error), error**2, members.var("number", ddof=1),
        )  # fmt: skip
        ranks = xs.rank_histogram(truth, members, dim=["latitude", "longitude"], member_dim="number")
        return [*((weights * field).sum(("latitude", "longitude")) for field in points), ranks]

    return lambda: [dask.compute(*scores(name), scheduler="threads", num_workers=CORES) for name in job.names]


def timed(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each way, which take turns; a first turn, not counted, warms caches and compiles."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            if turn:
                took[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in took.items()}


def peak_bytes(job: Job) -> float:
    """What a process takes for a verification at most, beyond what it held before."""
    command = [sys.executable, __file__, "--only-verify", str(job.folder), *job_options(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def job_options(job: Job) -> list[str]:
    """The job for a child's command line."""
    options = {
        "names": ",".join(job.names), "members": job.members, "height": job.shape[0], "width": job.shape[1],
        "init-times": job.init_times, "lead-times": job.lead_times, "codec": job.codec,
    }  # fmt: skip
    return [word for key, value in options.items() for word in (f"--{key}", str(value))]


def print_peak(job: Job) -> None:
    """The child's part."""
    print(peak_while(our_verify(job)))  # noqa: T201 (read by the parent)


def report(console: Console, job: Job, rounds: int) -> None:
    """All ways, and the goals."""
    makers = {"decode": decode_only, "stream": stream, "verify": our_verify, "zarr-python, load": zarr_python}
    if importlib.util.find_spec("xskillscore"):
        makers["xskillscore"] = xskillscore
    took = timed({name: make(job) for name, make in makers.items()}, rounds)
    # Verify reads the forecast twice, because it is its own baseline.
    each = {name: seconds / job.fields / (2 if name == "verify" else 1) for name, seconds in took.items()}
    what = f"{job.fields} ensembles of {job.members}x{job.shape[0]}x{job.shape[1]}, {job.codec}"
    table = Table("way", "ms per ensemble", "x stream", title=f"{what}, {CORES} cores, medians of {rounds}")
    for name, seconds in each.items():
        table.add_row(name, f"{1e3 * seconds:.1f}", f"{seconds / each['stream']:.2f}")
    console.print(table)
    systems = [scorer.system for scorer in open_scorers(job.config, str(job.forecast))[0]]
    needed, peak = memory_needed(job.config, systems, CORES), peak_bytes(job)
    console.print(f"memory: {peak / 1e6:.0f} MB; predicted {needed}")
    figures = [
        Figure("verify / stream", each["verify"] / each["stream"], "at most", VERIFY_BY_STREAM),
        Figure("peak / predicted memory", peak / needed.total, "at most", PEAK_BY_PREDICTED),
    ]
    if "xskillscore" in each:
        ratio = each["xskillscore"] / each["verify"]
        figures.append(Figure("xskillscore / verify", ratio, "at least", XSKILLSCORE_BY_VERIFY))
    print_figures(console, figures)


def main(  # noqa: PLR0913 (the options of a command)
    names: Annotated[str, typer.Option(help="Channels, with commas.")] = "z500,t850,msl,t2m",
    members: int = 50,
    height: int = 721,
    width: int = 1440,
    init_times: int = 2,
    lead_times: int = 3,
    codec: Annotated[str, typer.Option(help="lz4, or zstd as our forecasts are written.")] = "lz4",
    rounds: Annotated[int, typer.Option(help="Turns that each way gets.")] = 3,
    folder: Annotated[Path | None, typer.Option(help="Keep the stores here; by default they are removed.")] = None,
    only_verify: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Compare ways to score a stored forecast."""
    warnings.filterwarnings("ignore")

    def job(where: Path) -> Job:
        return Job(where, tuple(names.split(",")), members, (height, width), init_times, lead_times, codec)

    if only_verify:
        print_peak(job(only_verify))
        return
    with tempfile.TemporaryDirectory() as temporary:
        found = job(folder or Path(temporary))
        if not found.forecast.exists():
            make_truth(found)
            make_forecast(found)
        report(Console(), found, rounds)


if __name__ == "__main__":
    typer.run(main)
