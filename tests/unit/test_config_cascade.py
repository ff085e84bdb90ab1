"""Rules of a cascade: which training stages serve which lead times; every refusal says what to do."""

import pytest
from makers import run_values, set_value
from pydantic import ValidationError

from fuxi_ens.config import Config, StageConfig

BASE = {"objective": "crps_kl", "iterations": 8, "learning_rate": 1e-4}
SHORT = {"name": "first", **BASE}
LONG = {"name": "second", **BASE, "lead_stage": "long", "rollout_steps": 3, "gradient_steps": 1}


def parse(cascade, stages, **changes):
    values = run_values("/somewhere")
    values["train"]["stages"] = stages
    values["cascade"] = [{"name": name, "until_hours": until} for name, until in cascade]
    for key, value in changes.items():
        set_value(values, key, value)
    return Config.model_validate(values)


def refused(match, cascade, stages, **changes):
    with pytest.raises(ValidationError, match=match):
        parse(cascade, stages, **changes)


TWO = (("short", 12), ("long", 24))


def test_without_a_cascade_there_is_one_forecast_stage():
    assert parse((), [SHORT]).cascade == ()


def test_a_cascade_of_two_is_legal():
    config = parse(TWO, [SHORT, LONG])
    assert [(part.name, part.until_hours) for part in config.cascade] == [("short", 12), ("long", 24)]


def test_several_training_stages_may_serve_one_forecast_stage():
    parse(TWO, [SHORT, {**SHORT, "name": "again", "lead_stage": "short", "rollout_steps": 4}, LONG])


def test_the_last_stage_may_reach_beyond_the_forecast():
    parse((("short", 12), ("long", 240)), [SHORT, LONG])


def test_a_lead_stage_without_a_cascade_is_refused():
    refused(r"\['second'\] name a lead_stage, but there is no cascade; add it or drop them", (), [SHORT, LONG])


def test_an_unknown_lead_stage_is_refused():
    refused(
        r"'second': lead_stage 'late' is not in cascade \['short', 'long'\]; name one of them",
        TWO,
        [SHORT, {**LONG, "lead_stage": "late"}],
    )


@pytest.mark.parametrize("stages", [[SHORT], [LONG], [LONG, SHORT], [SHORT, LONG, {**SHORT, "name": "back"}]])
def test_every_forecast_stage_is_trained_in_order(stages):
    refused(
        r"expected each of \['short', 'long'\] in this order; sort train.stages or set their lead_stage", TWO, stages
    )


def test_a_name_twice_is_refused():
    refused(r"name twice: \['long', 'long'\]; rename one", (("long", 12), ("long", 24)), [SHORT, LONG])


@pytest.mark.parametrize("name", ["", "a b", "../up", "a/b"])
def test_a_name_is_one_word_for_a_folder(name):
    refused("should match pattern", ((name, 24),), [SHORT])


@pytest.mark.parametrize("ends", [(12, 12), (24, 12), (13, 24)])
def test_lead_times_that_do_not_grow_by_steps_are_refused(ends):
    refused(
        rf"until_hours \[{ends[0]}, {ends[1]}\] must increase in multiples of 6 h; sort or round them",
        (("short", ends[0]), ("long", ends[1])),
        [SHORT, LONG],
    )


def test_a_forecast_beyond_the_last_stage_is_refused():
    refused(
        r"cascade ends at 24 h, forecast.steps 5 at 30 h; raise the last until_hours to 30",
        TWO,
        [SHORT, LONG],
        **{"forecast.steps": 5},
    )


@pytest.mark.parametrize(
    ("change", "first"),
    [
        pytest.param({"rollout_steps": 1}, 1, id="too short"),
        pytest.param({"rollout_steps": 3, "gradient_steps": None}, 1, id="all steps scored"),
        pytest.param({"rollout_steps": 4, "gradient_steps": 3}, 2, id="gradient reaches back"),
        pytest.param({"rollout_steps": 5, "rollout_start": 2}, 2, id="curriculum starts too early"),
    ],
)
def test_scoring_what_an_earlier_stage_makes_is_refused(change, first):
    refused(
        rf"'second' trains 'long', which starts after step 2, but scores rollouts from step {first} on; set "
        r"gradient_steps, and rollout_steps \(rollout_start, if set\) to at least 2 \+ gradient_steps",
        TWO,
        [SHORT, {**LONG, **change}],
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"rollout_steps": 3, "gradient_steps": 1}, id="just after the switch"),
        pytest.param({"rollout_steps": 4, "gradient_steps": 2}, id="both steps of the stage"),
        pytest.param({"rollout_steps": 6, "rollout_start": 3, "gradient_steps": 1}, id="curriculum"),
    ],
)
def test_following_the_remedy_is_accepted(change):
    assert isinstance(parse(TWO, [SHORT, {**LONG, **change}]).train.stages[1], StageConfig)


def test_the_first_stage_may_train_beyond_its_end():
    parse(TWO, [{**SHORT, "rollout_steps": 4}, LONG])
