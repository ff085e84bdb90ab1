"""Rules of the house that a machine can check."""

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from fuxi_ens import __version__
from fuxi_ens.channels import CHANNELS_78, DERIVED_SPEED, SURFACE, UPPER_AIR
from fuxi_ens.grid import REGIONS

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "fuxi_ens").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def inside(path):
    return str(path.relative_to(ROOT))


def literals(path):
    return {
        node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant) and node.value
    }


def test_imports_point_down():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def cached(path):
    return any(part == "__pycache__" or part.endswith("_cache") for part in path.parts)


def spelled(names):
    found = {inside(path): literals(path) & names for path in SOURCES}
    return {path: sorted(strings) for path, strings in found.items() if strings}


def test_channels_are_spelled_out_in_one_file():
    found = spelled({*CHANNELS_78, *DERIVED_SPEED})
    del found["fuxi_ens/channels.py"]
    found = {path: names for path, names in found.items() if not path.startswith("fuxi_ens/nature/")}
    assert found == CHANNEL_LITERALS


CHANNEL_LITERALS = {
    # What a heat wave is about unless told otherwise, and what the rules of the cyclone tracker look at.
    "fuxi_ens/config/events.py": ["t2m"],
    "fuxi_ens/verify/cyclones/tracker.py": ["msl", "u10m", "u850", "v10m", "v850", "z200", "z850"],
    # What the report shows unless told otherwise; checked against verify.channels when a run file is read.
    "fuxi_ens/config/sections.py": ["t2m", "ws10m", "z500"],
    # What the networks with a name leave out of the 78, or choose of them: settings, as in a run file.
    "fuxi_ens/config/presets.py": sorted(
        [
            *("d2m", "u100m", "v100m", "ssr", "ssrd", "fdir", "ttr"),
            *("z500", "z850", "t500", "t850", "u500", "u850", "v500", "v850", "q500", "q850"),
            *("t2m", "sst", "u10m", "v10m", "msl", "tp"),
        ]
    ),
}


def test_long_names_are_spelled_out_in_one_file():
    found = spelled({v.name for v in (*UPPER_AIR, *SURFACE)} | {v.file_name for v in (*UPPER_AIR, *SURFACE)})
    del found["fuxi_ens/channels.py"]
    assert {path: names for path, names in found.items() if "/nature/" not in path} == LONG_NAME_LITERALS


LONG_NAME_LITERALS = {
    # Part of a long name that a caption replaces by `wind_speed`.
    "fuxi_ens/plot/style.py": ["u_component_of_wind"],
}


def test_regions_are_spelled_out_in_one_file_and_the_defaults():
    allowed = {"fuxi_ens/grid.py", "fuxi_ens/config/sections.py"}
    found = spelled(set(REGIONS) - {"global"})
    assert set(found) - allowed == set()


def test_the_package_itself_imports_nothing():
    tree = ast.parse((ROOT / "fuxi_ens" / "__init__.py").read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


@pytest.mark.parametrize("path", SOURCES, ids=inside)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 80, node.name


@pytest.mark.parametrize("path", [p for p in SOURCES if p.parent.name == "pipelines"], ids=inside)
def test_programs_compute_nothing(path):
    tree = ast.parse(path.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not imported & {"torch", "xarray", "zarr", "dask", "matplotlib.pyplot"}


BROAD = {
    # Every way to end has its exit code; nothing is swallowed.
    "pipelines/__main__.py",
    # What is only for looking at must not end a training; it is said, with the traceback.
    "fuxi_ens/train/metrics_log.py",
    "fuxi_ens/train/trackers.py",
}


def test_no_broad_except():
    for path in SOURCES:
        if inside(path) in BROAD:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, inside(path)
                assert "Exception" not in ast.unparse(node.type).split("."), inside(path)


class TestPackage:
    def test_the_program_is_installed_under_its_name(self):
        assert PROJECT["project"]["scripts"] == {"fuxi-ens": "pipelines.__main__:main"}
        assert [e.value for e in entry_points(group="console_scripts") if e.name == "fuxi-ens"] == [
            "pipelines.__main__:main"
        ]

    def test_the_version_has_one_home(self):
        assert version("fuxi-ens") == __version__
        assert "version" in PROJECT["project"]["dynamic"]

    def test_the_wheel_holds_packages_and_run_files(self):
        wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
        assert wheel["packages"] == ["fuxi_ens", "pipelines"]
        assert wheel["force-include"] == {"configs": "fuxi_ens/assets/configs"}
        assert not {"exclude", "include", "only-include", "artifacts"} & set(wheel)

    def test_data_files_are_tracked_inside_the_package(self):
        done = subprocess.run(["git", "ls-files", "fuxi_ens"], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip("not a git checkout")
        tracked = set(done.stdout.splitlines())
        data = {
            inside(p) for p in (ROOT / "fuxi_ens").rglob("*") if p.is_file() and p.suffix != ".py" and not cached(p)
        }
        assert data <= tracked
        assert "fuxi_ens/plot/page/report.html.j2" in data
        assert any("nature_run_64x32.zarr" in name for name in data)

    def test_git_does_not_ignore_what_the_wheel_needs(self):
        needed = [inside(p) for p in (ROOT / "fuxi_ens").rglob("*") if p.is_file() and not cached(p)]
        needed += [inside(p) for p in (ROOT / "configs").rglob("*") if p.is_file()]
        done = subprocess.run(
            ["git", "check-ignore", "--no-index", "--stdin"],
            cwd=ROOT,
            input="\n".join(needed),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 128:
            pytest.skip("not a git checkout")
        assert done.stdout == ""

    def test_what_the_library_imports_is_declared(self):
        extras = PROJECT["project"]["optional-dependencies"]
        declared = {
            entry.split("[")[0].split(">")[0].split("=")[0].strip().lower()
            for group in (
                PROJECT["project"]["dependencies"],
                *(extras[name] for name in ("nature-run", "grib", "slurm", "spectra", "onnx", "mlflow", "wandb")),
            )
            for entry in group
        }
        known = {
            "PIL": "pillow",
            "mlflow": "mlflow-skinny",
            "yaml": "pyyaml",
            "pydantic_core": "pydantic",
            "jax_datetime": "dinosaur",
            "click": "typer",
            "dask_jobqueue": "dask-jobqueue",
            "xarray_regrid": "xarray-regrid",
            "google": "protobuf",
        }
        imported = set()
        for path in SOURCES:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    imported.add(node.module.split(".")[0])
        foreign = imported - set(sys.stdlib_module_names) - {"fuxi_ens", "pipelines"}
        assert {known.get(name, name) for name in foreign} - declared == set()
