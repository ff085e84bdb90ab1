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
    def of(**changes):
        run = config({key.replace("__", "."): value for key, value in changes.items()})
        return config_hash(run, run.train)

    assert of() == of(train__clip_norm=1)
    assert of() != of(train__clip_norm=2.0)
    assert of() != of(run__seed=8)


def test_where_a_run_is_kept_and_how_many_threads_it_takes_do_not_count():
    here, there = config(), config({"run.folder": "/elsewhere", "run.threads": 5})
    assert provenance(here, here.data, here.train) == provenance(there, there.data, there.train)


def test_settings_of_later_stages_do_not_make_a_model_stale():
    before, after = config(), config({"report.title": "other", "verify.regions": ["global"], "forecast.members": 3})
    assert config_hash(before, before.data, before.train) == config_hash(after, after.data, after.train)
    assert config_hash(before, before.forecast) != config_hash(after, after.forecast)


def test_a_hash_is_twelve_hex_digits():
    digest = config_hash(config())
    assert len(digest) == 12
    assert set(digest) <= set("0123456789abcdef")


def test_sections_hash_in_order():
    run = config()
    assert config_hash(run, run.data, run.model) != config_hash(run, run.model, run.data)


def test_provenance_says_who_made_it_and_survives_json():
    found = provenance(config(), config().model)
    assert found["fuxi_ens_version"] == __version__
    assert found["run_name"] == "tiny"
    assert found["seed"] == 7
    assert found["analysis_store"] == "/somewhere/analysis.zarr"
    assert found["config_hash"] == config_hash(config(), config().model)
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
