import json

import pytest
from makers import run_values, set_value

from fuxi_ens import __version__
from fuxi_ens.config import Config
from fuxi_ens.provenance import config_hash, provenance


def config(changes=()):
    values = run_values("/somewhere")
    for key, value in dict(changes).items():
        set_value(values, key, value)
    return Config.model_validate(values)


def test_equal_settings_have_equal_hashes_and_others_do_not():
    assert config_hash(config()) == config_hash(config({"train.clip_norm": 1}))
    assert config_hash(config()) != config_hash(config({"train.clip_norm": 2.0}))
    assert config_hash(config()) != config_hash(config({"run.seed": 8}))


def test_where_a_run_is_kept_and_how_many_threads_it_takes_do_not_count():
    assert config_hash(config()) == config_hash(config({"run.folder": "/elsewhere", "run.threads": 5}))


def test_a_hash_is_twelve_hex_digits():
    digest = config_hash(config())
    assert len(digest) == 12
    assert set(digest) <= set("0123456789abcdef")


def test_sections_hash_alone_and_in_order():
    run = config()
    assert config_hash(run.data, run.model) != config_hash(run.model, run.data)
    assert config_hash(run.data) == config_hash(config({"run.seed": 8}).data)


def test_provenance_says_who_made_it_and_survives_json():
    found = provenance(config(), members=3)
    assert found["fuxi_ens_version"] == __version__
    assert found["run_name"] == "tiny"
    assert found["seed"] == 7
    assert found["analysis_store"] == "/somewhere/analysis.zarr"
    assert found["config_hash"] == config_hash(config())
    assert found["members"] == 3
    for library in ("numpy", "torch", "xarray", "zarr"):
        assert library in found["libraries"]
    assert "absent" not in found["libraries"]
    assert json.loads(json.dumps(found)) == found


def test_equal_runs_have_equal_provenance():
    assert provenance(config()) == provenance(config())


@pytest.mark.parametrize("library", ["numpy"])
def test_a_library_that_is_not_there_is_told(monkeypatch, library):
    import fuxi_ens.provenance as module

    monkeypatch.setattr(module, "_LIBRARIES", (library, "no_such_library"))
    assert "no_such_library absent" in provenance(config())["libraries"]
