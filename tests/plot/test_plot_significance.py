"""What tests and counts of verification look like on the card, in the report and in the files."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color
from matplotlib.patches import Rectangle

from fuxi_ens.plot.compose import Evidence, compose_report
from fuxi_ens.plot.publish import publish
from fuxi_ens.plot.scorecard import scorecard, wins_label
from fuxi_ens.plot.summary import headline_cards
from fuxi_ens.plot.table import Scores
from fuxi_ens.verify.wins import Wins

WON = Wins(
    better=75, worse=15, tie=0, undefined=0, significantly_better=60, significantly_worse=4, tested=90, level=0.05,
    low=71.2, high=88.6,
)  # fmt: skip


@pytest.fixture
def tested(scores: Scores) -> Scores:
    """Differences from the physics ensemble below the table: significant if larger than 5 %, z500 untested."""
    percent = scores.difference("physics_ensemble")
    rows = percent.rename_axis(index="name", columns="lead_time").stack().rename("percent").reset_index()
    differences = rows.assign(
        system="fuxi_ens",
        region="global",
        score="crps_difference",
        value=rows["percent"],
        reference="physics_ensemble",
        significant=(rows["percent"].abs() > 5.0) & (rows["name"] != "z500"),
    ).drop(columns="percent")
    table = pd.concat([scores.table, differences], ignore_index=True)
    return replace(scores, table=table, wins={"physics_ensemble": WON})


def hatched(axes) -> np.ndarray:
    """(row, column) of hatched cells, sorted."""
    cells = [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_hatch()]
    return np.array(sorted((patch.get_y(), patch.get_x()) for patch in cells))


def test_cells_that_may_be_chance_are_hatched(tested: Scores) -> None:
    percent = tested.difference("physics_ensemble")
    expected = np.argwhere(~((percent.abs() > 5.0).to_numpy() & (percent.index != "z500")[:, None]))
    assert 0 < len(expected) < percent.size
    panel = scorecard(tested).axes[0]
    np.testing.assert_array_equal(hatched(panel), expected)
    assert panel.get_title(loc="right") == wins_label(WON)


def test_other_panels_without_tests_are_not_hatched(tested: Scores) -> None:
    climatology = scorecard(tested).axes[1]
    assert not hatched(climatology).size
    assert climatology.get_title(loc="right") == ""


def test_differences_do_not_disturb_curves(tested: Scores, scores: Scores) -> None:
    pd.testing.assert_frame_equal(
        tested.difference("physics_ensemble"), scores.difference("physics_ensemble"), check_freq=False
    )


def test_nothing_tested_is_said_and_not_hatched(tested: Scores) -> None:
    won = replace(WON, tested=0, significantly_better=0, significantly_worse=0)
    panel = scorecard(replace(tested, wins={"physics_ensemble": won})).axes[0]
    assert not hatched(panel).size
    assert panel.get_title(loc="right") == "better in 75 of 90, worse in 15; significance could not be tested"


def test_hatching_leaves_numbers_and_colors_alone(tested: Scores, scores: Scores) -> None:
    with_tests, without = (scorecard(card).axes[0] for card in (tested, scores))
    assert [text.get_text() for text in with_tests.texts] == [text.get_text() for text in without.texts]
    for one, other in zip(with_tests.texts, without.texts, strict=True):
        assert same_color(one.get_color(), other.get_color())


def test_cards_say_how_many_are_significant(tested: Scores) -> None:
    cards = {card.label: card for card in headline_cards(tested)}
    card = cards["better than physics ensemble"]
    assert card.value == "75 / 90"
    assert "60 significantly better, 4 significantly worse" in card.detail
    assert "71\N{EN DASH}89 % better with resampled init times" in card.detail
    assert "significant" not in cards["better than climatology"].detail


def test_counts_of_verification_are_those_of_the_report(tested: Scores, evidence: Evidence) -> None:
    won = replace(WON, better=7, worse=1, undefined=2)
    scores = replace(tested, wins={"physics_ensemble": won})
    report = compose_report(replace(evidence, scores=scores, maps=(), plumes=()))
    assert report.cards[0].value == "7 / 10"
    assert "better than physics ensemble in 7 of 10" in report.sections[0].pictures[0].alt


def test_counts_are_written(tested: Scores, evidence: Evidence, tmp_path) -> None:
    counts = pd.DataFrame([{"reference": "physics_ensemble", "better": 75}])
    shown = replace(evidence, scores=tested, counts=counts, maps=(), plumes=())
    publish(shown, tested.table, tmp_path)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "counts.csv"), counts, check_dtype=False)
    written = pd.read_csv(tmp_path / "scorecard.csv")
    rows = written[written["score"] == "crps_difference"]
    assert len(rows) == tested.difference("physics_ensemble").size
    assert set(rows["significant"].astype(bool)) == {True, False}
