"""What tests and counts of verification look like in the report and in the files."""

from dataclasses import replace

import pandas as pd
import pytest
from score_world import counts_of

from fuxi_ens.plot.card_style import CardStyle
from fuxi_ens.plot.compose import Evidence, compose_report
from fuxi_ens.plot.publish import publish
from fuxi_ens.plot.summary import headline, headline_cards
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


def test_differences_do_not_disturb_curves(tested: Scores, scores: Scores) -> None:
    pd.testing.assert_frame_equal(
        tested.difference("physics_ensemble"), scores.difference("physics_ensemble"), check_freq=False
    )


def test_cards_say_how_many_are_significant(tested: Scores) -> None:
    cards = {card.label: card for card in headline_cards(tested)}
    card = cards["better than physics ensemble"]
    assert card.value == "75 / 90"
    assert "60 significantly better, 4 significantly worse" in card.detail
    assert "71\N{EN DASH}89 % better with resampled init times" in card.detail
    assert "significant" not in cards["better than climatology"].detail


def test_the_headline_is_one_sentence_with_its_confidence(tested: Scores, scores: Scores) -> None:
    assert headline(tested) == (
        "Better than physics ensemble in 75 of 90 combinations of variable and lead time: 60 significantly better, "
        "4 significantly worse; 71\N{EN DASH}89 % better with resampled init times."
    )
    assert headline(scores) == "Better than physics ensemble in 75 of 90 combinations of variable and lead time."


def test_counts_of_verification_are_those_of_the_report(tested: Scores, evidence: Evidence) -> None:
    won = replace(WON, better=7, worse=1, undefined=2)
    scores = replace(tested, wins={"physics_ensemble": won})
    report = compose_report(replace(evidence, scores=scores, maps=(), plumes=()))
    assert report.cards[0].value == "7 / 10"
    assert "better than physics ensemble in 7 of 10" in report.sections[0].pictures[0].alt


def test_tables_and_pictures_of_every_style_are_written(tested: Scores, evidence: Evidence, tmp_path) -> None:
    counts = counts_of(tested.table)
    shown = replace(evidence, scores=tested, counts=counts, maps=(), plumes=())
    publish(shown, tested.table, tmp_path, list(CardStyle))
    cards = ["scorecard", "scorecard_ecmwf", "scorecard_gencast"]
    assert sorted(path.stem for path in tmp_path.glob("*.png")) == cards
    assert sorted(path.stem for path in tmp_path.glob("*.pdf")) == cards
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "counts.csv"), counts, check_dtype=False)
    written = pd.read_csv(tmp_path / "scorecard.csv")
    rows = written[written["score"] == "crps_difference"]
    assert len(rows) == tested.difference("physics_ensemble").size
    assert set(rows["significant"].astype(bool)) == {True, False}
