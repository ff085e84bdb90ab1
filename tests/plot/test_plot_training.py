"""Pictures of a training: drawn from whatever a run tells, from its first record to a diverged forecast."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fuxi_ens.grid import LatLonGrid
from fuxi_ens.plot.figure import figure_bytes
from fuxi_ens.plot.training import draw_validation, training_curves


def shown_of(members_MHW, truth_HW, name="z500"):
    grid = LatLonGrid(*truth_HW.shape)
    when = {"init_time": np.datetime64("2017-03-01T12", "ns"), "lead_time": np.timedelta64(24, "h")}
    where = {"latitude": grid.latitude, "longitude": grid.longitude}
    return SimpleNamespace(name=name, members_MHW=members_MHW, truth_HW=truth_HW, **when, **where)


def fields(height=16, width=32, spread=30.0):
    rng = np.random.default_rng(3)
    truth = 5.5e4 + 2e3 * np.cos(np.linspace(0, 6, height))[:, None] + np.zeros((height, width))
    members = truth + spread * rng.standard_normal((4, height, width))
    return shown_of(members.astype("f4"), truth.astype("f4"))


def test_a_validation_is_a_small_picture(tmp_path):
    draw_validation(fields(), tmp_path / "new" / "a.png")
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert image.size == (768, 435)
        assert len(image.convert("RGB").getcolors(2**20)) > 30
    assert (tmp_path / "new" / "a.png").stat().st_size < 300_000


def test_equal_forecasts_give_equal_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        draw_validation(fields(), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("value", [0.0, 5.5e4])
def test_members_that_do_not_differ_are_drawn_too(tmp_path, value):
    # So it is before the first iteration, where the network answers the same to every perturbation.
    flat = np.full((16, 32), value, "f4")
    draw_validation(shown_of(np.stack([flat] * 3), flat), tmp_path / "flat.png")
    assert (tmp_path / "flat.png").exists()


def test_points_without_truth_stay_empty(tmp_path):
    shown = fields()
    shown.name, shown.truth_HW[4:8] = "sst", np.nan
    draw_validation(shown, tmp_path / "sst.png")
    assert (tmp_path / "sst.png").exists()


def test_a_diverged_forecast_is_refused(tmp_path):
    shown = fields()
    shown.members_MHW[1, 2, 3] = np.inf
    with pytest.raises(ValueError, match="members of z500 are not finite"):
        draw_validation(shown, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def train(iteration, stage, **values):
    return {"kind": "train", "iteration": iteration, "stage": stage, "error": 0.5, "kl": 0.1, "lr": 1e-3, **values}


def validation(iteration, leads):
    ratio = {"standardized": {f"{6 * (k + 1)}h": 0.5 + 0.1 * k for k in range(leads)}}
    return {"kind": "validation", "iteration": iteration, "score": 0.4, "kl": 0.05, "spread_skill_ratio": ratio}


def lines(axes):
    return [[tuple(map(float, point)) for point in line.get_xydata()] for line in axes.get_lines()]


def test_curves_hold_the_records_of_their_kind():
    records = [train(1, "a", error=0.5), train(2, "a", error=0.25), validation(2, 1), train(3, "b", error=0.125)]
    error, kl, ratio, rate = training_curves(records).axes
    assert lines(error)[:2] == [[(1, 0.5), (2, 0.25), (3, 0.125)], [(2, 0.4)]]
    assert lines(kl)[:2] == [[(1, 0.1), (2, 0.1), (3, 0.1)], [(2, 0.05)]]
    assert [(2, 0.5)] in lines(ratio)
    assert lines(rate)[0] == [(1, 1e-3), (2, 1e-3), (3, 1e-3)]


def test_stages_are_named_and_parted():
    error = training_curves([train(10, "a"), train(20, "a"), train(30, "b")]).axes[0]
    assert [text.get_text() for text in error.texts] == ["a", "b"]
    assert [line.get_xdata()[0] for line in error.get_lines()[1:]] == [20]


def test_three_lead_times_of_many_are_shown():
    ratio = training_curves([train(1, "a"), validation(1, 12)]).axes[2]
    assert [text.get_text() for text in ratio.get_legend().get_texts()] == ["6h", "42h", "72h"]


@pytest.mark.parametrize(
    "records",
    [
        [train(1, "a")],
        [validation(1, 1)],
        [train(1, "a", error=float("nan"), kl=float("inf"))],
        [train(1, "a", lr=0.0), validation(1, 2)],
    ],
    ids=["one record", "a validation alone", "a diverged run", "a rate of zero"],
)
def test_any_record_can_be_drawn(records):
    assert figure_bytes(training_curves(records)).startswith(b"\x89PNG")
