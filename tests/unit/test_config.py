"""Rules of the run file: what is refused, and that what is accepted cannot change."""

import numpy as np
import pytest
from makers import run_values, set_value
from pydantic import ValidationError

from fuxi_ens.channels import CHANNELS_78
from fuxi_ens.config import Config, Period


def parse(changes=()):
    values = run_values("/somewhere")
    for key, value in dict(changes).items():
        set_value(values, key, value)
    return Config.model_validate(values)


def refused(changes, match):
    with pytest.raises(ValidationError, match=match):
        parse(changes)


def test_the_tiny_run_is_legal():
    config = parse()
    assert config.data.step_size == np.timedelta64(6, "h")
    assert config.model.token_grid == (4, 8)
    assert (config.model.grid.height, config.model.grid.width) == (8, 16)
    np.testing.assert_array_equal(config.lead_times / np.timedelta64(1, "h"), [6, 12, 18, 24])


@pytest.mark.parametrize("section", ["run", "data", "model", "train", "forecast", "verify", "report"])
def test_every_section_is_frozen(section):
    part = getattr(parse(), section)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(part, next(iter(type(part).model_fields)), None)


def test_lists_in_the_config_cannot_be_changed():
    config = parse()
    assert isinstance(config.model.channels, tuple)
    assert isinstance(config.train.stages, tuple)
    assert isinstance(config.data.train, tuple)


def test_one_word_stands_for_all_78_channels():
    assert parse({"model.channels": "fuxi_ens_78"}).model.channels == CHANNELS_78


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("model.channels", ["t850", "z500"], r"tensor order; write \['z500', 't850'\]"),
        ("model.channels", ["z500", "z500", "t850"], "unique"),
        ("model.channels", ["z500", "t2n"], "unknown channels .*t2n"),
        ("model.channels", "all", "tuple"),
        ("verify.channels", ["z500", "wind"], "cannot verify .*wind"),
        ("verify.regions", ["global", "atlantis"], "unknown regions .*atlantis.* known are .*tropics"),
        ("forecast.channels", [*CHANNELS_78], "not in the model .*d2m"),
        ("forecast.channels", ["z500", "t850", "t2m", "v10m", "msl", "tp"], "not written .*u10m"),
    ],
)
def test_channels_must_be_known_ordered_and_written(key, value, match):
    refused({key: value}, match)


@pytest.mark.parametrize(
    ("key", "period"),
    [
        ("data.train", {"start": "2016-01-01", "end": "2018-01-01"}),
        ("data.train", {"start": "2018-01-03", "end": "2018-01-04"}),
        ("data.train", {"start": "2018-01-05T18:00", "end": "2019-01-01"}),
        ("data.train", {"start": "2000-01-01", "end": "2020-01-01"}),
        ("data.validation", {"start": "2017-01-01", "end": "2018-01-01"}),
        ("verify.climatology.periods", {"start": "2017-12-01", "end": "2018-02-01"}),
    ],
)
def test_nothing_learned_or_averaged_may_see_a_test_date(key, period):
    refused({key: [{"start": "2015-01-01", "end": "2015-02-01"}, period]}, f"{key} .* overlaps data.test")


@pytest.mark.parametrize("period", [("2017-12-31", "2017-12-31T18:00"), ("2018-01-06", "2018-01-10")])
def test_periods_may_touch_the_test_period_from_outside(period):
    start, end = period
    assert parse({"data.train": [{"start": start, "end": end}]})


def test_forecasts_do_not_reach_into_the_training_dates():
    after = [{"start": "2018-01-06", "end": "2018-03-01"}]
    refused({"data.train": after, "forecast.init_times.end": "2018-01-05", "forecast.steps": 60}, "data.train")


def test_validation_dates_are_no_training_dates():
    refused({"data.validation": [{"start": "2016-01-01", "end": "2016-01-03"}]}, "data.train")


def test_init_times_must_lie_in_the_test_period():
    refused({"forecast.init_times.end": "2018-01-07"}, "leave data.test at 2018-01-06")


def test_init_times_that_end_before_they_start_are_refused():
    refused({"forecast.init_times.end": "2018-01-01"}, "init_times")


def test_a_period_must_not_end_before_it_starts():
    refused({"data.train.0.end": "2015-01-01"}, "before it starts")


def test_a_bare_year_is_not_a_second_of_1970():
    refused({"data.train.0.start": 1979}, "start")


def test_a_time_zone_is_refused_with_a_message():
    refused({"data.train.0.end": "2016-01-06T18:00:00Z"}, "zone")


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("model.window", 3, "windows of 3 do not tile; choose a window that divides 4 and 8"),
        ("model.patch", 3, "do not tile"),
        ("model.heads", 3, "even head size"),
        ("model.embedding", 6, "even head size"),
        ("model.height", 0, "greater than 0"),
        ("model.dropout", 1.0, "less than 1"),
        ("train.stages", [], "at least 1"),
        ("train.stages.1.members", 1, "greater than or equal to 2"),
        ("train.stages.0.objective", "l2", "'l1' or 'crps_kl'"),
        ("train.ema_decay", 1.0, "less than 1"),
        ("train.stages.0.learning_rate", 0.0, "greater than 0"),
        ("train.stages.0.alpha", 1.5, "less than or equal to 1"),
        ("data.train", [], "at least 1"),
        ("data.step_size_hours", 0, "greater than 0"),
        ("forecast.members", 0, "greater than 0"),
        ("run.seed", -1, "greater than or equal to 0"),
        ("report.map_lead_hours", 30, "no lead time"),
        ("report.map_channels", ["z850"], "not in verify.channels"),
    ],
)
def test_numbers_out_of_range_are_refused(key, value, match):
    values = run_values("/somewhere")
    with pytest.raises(ValidationError, match=match):
        Config.model_validate(set_value(values, key, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.betas", [2.0, 3.0]),
        ("model.logvar_bounds", [10.0, -10.0]),
        ("train.stages.0.final_learning_rate", float("inf")),
        ("train.stages.0.final_learning_rate", 1.0),
        ("train.stages.0.warmup_iterations", 1000),
        ("data.step_size_hours", 5),
        ("forecast.init_times.every_hours", 5),
        ("model.channels", []),
        ("verify.channels", []),
        ("verify.channels", ["z500", "z500", "t2m", "ws10m"]),
        ("verify.regions", []),
        ("forecast.members", 1),
    ],
)
def test_nonsense_is_refused_before_a_job_is_spent(key, value):
    values = run_values("/somewhere")
    values["report"] |= {"map_channels": [], "plume_channels": []}
    set_value(values, key, value)
    values["report"]["map_lead_hours"] = 4 * values["data"].get("step_size_hours", 6)
    if key == "model.channels":
        values["verify"]["channels"] = values["forecast"]["channels"] = []
    with pytest.raises(ValidationError):
        Config.model_validate(values)


def test_a_period_holds_both_ends():
    period = Period(start="2018-01-01", end="2018-01-02")
    when = np.array(["2017-12-31T18", "2018-01-01", "2018-01-02", "2018-01-02T06"], "datetime64[ns]")
    np.testing.assert_array_equal(period.contains(when), [False, True, True, False])


def test_every_key_is_documented():
    undocumented = []

    def walk(model, where):
        for name, field in model.model_fields.items():
            inner = getattr(field.annotation, "model_fields", None)
            if inner:
                walk(field.annotation, f"{where}{name}.")
            elif field.description is None and name not in OBVIOUS:
                undocumented.append(f"{where}{name}")

    walk(Config, "")
    assert not undocumented


OBVIOUS = {
    *("name", "seed", "start", "end", "train", "validation", "test", "stages", "title", "place"),
    *("height", "width", "patch", "heads", "mlp_hidden", "members", "steps", "channels", "regions", "init_times"),
    *("perturbation_layers", "forecast_layers", "blocks_per_layer", "logvar_bounds", "step_size_hours"),
    *("weight_decay", "betas", "clip_norm", "ema_decay", "validate_every", "validation_init_times"),
    *("checkpoint_every", "log_every", "estimator", "periods", "window_days", "stride_days", "climatology"),
    *("map_channels", "plume_channels", "map_lead_hours", "baseline_name", "every_hours", "latitude", "longitude"),
}
