"""What ships with the package: spans, init times and leads of the embedded sample and baseline.

Total size is bound by what a repository can carry, 24 MB. Within it: four init times whose 15
days of truth are in the sample, validation days before them, and for training as much of the
two earlier winters as fits, symmetric around the middle of January.
"""

from pathlib import Path

import numpy as np
import xarray as xr

from fuxi_ens.errors import UserError
from fuxi_ens.nature import sample
from fuxi_ens.nature.ensemble_plan import open_completed as open_ensemble
from fuxi_ens.nature.plan import open_completed as open_run

TRAINING = (
    sample.Span("1994-12-21T00", "1995-02-10T18"),
    sample.Span("1995-12-21T00", "1996-02-10T18"),
)
VALIDATION_AND_TEST = sample.Span("1996-12-20T00", "1997-02-01T00")
INIT_TIMES = ("1997-01-02", "1997-01-07", "1997-01-12", "1997-01-17")
LEAD_DAYS = tuple(range(1, 16))
SAMPLE_NAME = "nature_run_64x32.zarr"
BASELINE_NAME = "physics_ens_64x32.zarr"
LARGEST_TOTAL_BYTES = 24_000_000


def write(run_directory: Path, ensemble_directory: Path, output: Path) -> str:
    """Cut, pack and write both stores into `output`; return a report of sizes and errors.

    Raises:
        ValueError: if run or ensemble do not cover what ships, or a store is there already.
    """
    output.mkdir(parents=True, exist_ok=True)
    cut = sample.cut_sample(open_run(run_directory), [*TRAINING, VALIDATION_AND_TEST])
    days = np.asarray(LEAD_DAYS, dtype="timedelta64[D]").astype("timedelta64[ns]")
    init_times = np.asarray(INIT_TIMES, dtype="datetime64[ns]")
    baseline = sample.cut_baseline(open_ensemble(ensemble_directory), init_times, days)
    stores = (
        (SAMPLE_NAME, cut, sample.sample_errors(cut), sample.SAMPLE_CUT),
        (BASELINE_NAME, baseline, sample.baseline_errors(baseline), sample.BASELINE_CUT),
    )
    report = []
    for name, dataset, errors, how in stores:
        sample.write_packed(dataset, errors, how, output / name)
        report.append(_report(dataset, output / name))
    total = sum(sample.store_bytes(output / name) for name, *_ in stores)
    if total > LARGEST_TOTAL_BYTES:
        raise UserError(
            f"{output} takes {total} bytes, more than {LARGEST_TOTAL_BYTES}; shorten TRAINING "
            "in fuxi_ens/nature/embedded.py, remove the stores and cut again"
        )
    return "\n\n".join(report)


def _report(original: xr.Dataset, path: Path) -> str:
    """Return a table (Markdown) of bytes per field and of measured rounding errors."""
    packed = xr.open_zarr(path).load()
    lines = [
        f"{path.name}: {sample.store_bytes(path)} bytes, {dict(packed.sizes)}",
        "",
        "| variable | unit | bytes per field | largest error | largest error / scale |",
        "|---|---|---|---|---|",
    ]
    scales = sample.baseline_scales if "number" in packed.dims else sample.sample_scales
    for name, scale in scales(original).items():
        error = np.abs(packed[name] - original[name])
        ratio = float((error.max([d for d in error.dims if d not in scale.dims]) / scale).max())
        fields = int(error.count()) / error.sizes["longitude"] / error.sizes["latitude"]
        size = sample.store_bytes(path / name) / fields
        lines.append(f"| {name} | {packed[name].units} | {size:.0f} | {float(error.max()):.3g} | {ratio:.3f} |")
    return "\n".join(lines)
