"""A tiny run with a section prepare, for tests of the training store."""

import json
from pathlib import Path

from makers import CHANNELS, TEST, TRAIN, VALIDATION, make_analysis, period_times, run_values, set_value
from tiny_run import digest

from fuxi_ens.config import Config
from fuxi_ens.data.era5 import open_analysis
from fuxi_ens.data.preparation.plan import make_plan
from fuxi_ens.data.preparation.run import prepare
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.times import hours

WHEN = period_times([*TRAIN, *VALIDATION, *TEST])
SHARDS = 27
"""Three for each of nine variables."""
VARIABLES = {
    "geopotential", "temperature", "specific_humidity", "2m_temperature", "sea_surface_temperature",
    "10m_u_component_of_wind", "10m_v_component_of_wind", "mean_sea_level_pressure", "total_precipitation_6hr",
}  # fmt: skip


def make_source(folder):
    """A source on the tiny run's own grid below `folder`."""
    make_analysis(folder / "source.zarr", when=WHEN)
    return folder


def with_source(folder, source):
    """`folder` with a link to the source that lies in the folder `source`."""
    (folder / "source.zarr").symlink_to(source / "source.zarr")
    return folder


def values(folder, changes=None):
    """The tiny run with a section prepare; its data.store is not there yet."""
    settings = run_values(folder)
    settings["prepare"] = {"source": f"{folder}/source.zarr", "times_per_shard": 26}
    for key, value in (changes or {}).items():
        set_value(settings, key, value)
    return settings


def run(folder, changes=None):
    config = Config.model_validate(values(folder, changes))
    return prepare(config, make_plan(config), lambda units, note: None)


def target(folder):
    return Path(folder) / "analysis.zarr"


def shards(folder):
    """Files that hold fields, by relative path; those of coordinates are not among them."""
    manifest = json.loads((target(folder) / "manifest.json").read_bytes())
    return {shard["path"]: shard for shard in manifest["shards"]}


def written_at(folder):
    return {path: path.stat().st_mtime_ns for path in target(folder).rglob("c/**/*") if path.is_file()}


def frames(store, channels=CHANNELS, when=WHEN, grid=None):
    return open_analysis(str(store), channels, grid or LatLonGrid(8, 16), hours(6), threads=1).read(when)


def assert_same_store(folder, reference):
    """Equal bytes, except for the folder's name in the attributes."""
    found, expected = digest(target(folder)), digest(target(reference))
    assert found.keys() == expected.keys()
    assert [path for path in found if found[path] != expected[path] and path != "zarr.json"] == []
    root = [(target(at) / "zarr.json").read_text().replace(str(at), "FOLDER") for at in (folder, reference)]
    hashes = [json.loads(text)["attributes"].pop("config_hash") for text in root]
    assert root[0].replace(hashes[0], "") == root[1].replace(hashes[1], "")
