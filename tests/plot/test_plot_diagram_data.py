"""The diagrams of the page: their numbers are those of verification, and choices show them in the browser."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from browser import OpenReport, chromium
from selenium.webdriver.common.by import By
from test_plot_diagrams import CURVES

from fuxi_ens.plot import diagram_data
from fuxi_ens.plot.compose import Evidence
from fuxi_ens.plot.diagram_data import Diagrams, diagram_json
from fuxi_ens.plot.explorer import explorer_json
from fuxi_ens.plot.report import Report, write_report
from fuxi_ens.plot.table import Scores
from fuxi_ens.times import hours


def ranks_of(members: int) -> xr.DataArray:
    """Twice as many truths in the lowest rank; none of the second name at day 5."""
    counts = np.ones((2, 2, 1, members + 1))
    counts[..., 0] = 2.0
    counts[1, 1] = 0.0
    coords = {"name": ["z500", "t2m"], "lead_time": [hours(24), hours(120)], "region": ["global"]}
    return xr.DataArray(counts, coords, ("name", "lead_time", "region", "rank"))


RANKS = {"fuxi_ens": ranks_of(4), "physics_ensemble": ranks_of(9)}


@pytest.fixture
def data(scores: Scores) -> dict:
    return json.loads(diagram_json(Diagrams(RANKS, CURVES), scores))


def test_ranks_are_multiples_of_the_uniform_frequency(data: dict) -> None:
    assert data["leads"] == [24, 120]
    shown = data["ranks"]["fuxi_ens"]["global"]["z500"][0]
    assert shown == pytest.approx([5 * 2 / 6, *[5 / 6] * 4], rel=1e-3)
    assert data["ranks"]["fuxi_ens"]["global"]["t2m"] == [data["ranks"]["fuxi_ens"]["global"]["t2m"][0], None]
    assert len(data["ranks"]["physics_ensemble"]["global"]["z500"][0]) == 10


def test_events_have_the_points_of_the_curves(data: dict) -> None:
    assert [kind["label"] for kind in data["kinds"]] == ["above q90", "above q95"]
    missing, shown = data["events"]["above_q90"]["physics_ensemble"]["global"]["z500"]
    assert missing is None
    assert shown["o"] == pytest.approx(0.8 * np.array(shown["p"]), rel=1e-3)
    assert shown["c"] == [0.05] * 10
    assert (shown["f"][0], shown["f"][-1]) == (0.0, 1.0)
    assert data["events"]["above_q90"]["fuxi_ens"]["global"]["tp"] == [None, None]
    assert len(shown["v"]) == len(data["costs"])


def test_spectra_are_by_degree(data: dict) -> None:
    shown = data["spectra"]["fuxi_ens"]["z500"][1]
    assert shown["truth"] == pytest.approx(np.array(shown["degree"]) ** -3.0, rel=1e-3)


def test_nothing_to_show_is_no_text(scores: Scores) -> None:
    assert diagram_json(Diagrams({}, {}), scores) == ""


def test_systems_that_are_not_on_the_card_are_left_out(scores: Scores) -> None:
    made = json.loads(diagram_json(Diagrams({**RANKS, "stranger": RANKS["fuxi_ens"]}, {}), scores))
    assert list(made["ranks"]) == ["fuxi_ens", "physics_ensemble"]


def test_a_heavy_page_keeps_the_last_lead_time(scores: Scores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagram_data, "MOST_NUMBERS", 10)
    assert json.loads(diagram_json(Diagrams(RANKS, CURVES), scores))["leads"] == [120]


def test_the_text_is_safe_inside_a_script(scores: Scores) -> None:
    curves = {"fuxi_ens": CURVES["fuxi_ens"].assign_coords(quantile_event=["</script>", "above_q95"])}
    assert "</script>" not in diagram_json(Diagrams({}, curves), scores)


@pytest.fixture(scope="module")
def page(evidence: Evidence, tmp_path_factory: pytest.TempPathFactory):
    shown = Diagrams(RANKS, CURVES)
    report = Report(
        title="Page",
        lede="lede",
        cards=(),
        sections=(),
        numbers_json=explorer_json(evidence.scores, None, None),
        diagrams_json=diagram_json(shown, evidence.scores),
    )
    path: Path = write_report(tmp_path_factory.mktemp("page") / "report.html", report)
    with chromium() as driver:
        yield OpenReport(driver, path)


def lines(page: OpenReport, plane: str) -> dict[str, list[list[float]]]:
    """Points of the lines of a diagram, by system, in drawing units."""
    found = page.driver.find_elements(By.CSS_SELECTOR, f"#plane-{plane} polyline[data-system]")
    return {
        line.get_dom_attribute("data-system"): [
            [float(number) for number in point.split(",")] for point in line.get_dom_attribute("points").split()
        ]
        for line in found
    }


@pytest.mark.browser
def test_the_page_opens_with_ranks_and_without_complaint(page: OpenReport) -> None:
    page.choose("diagram-lead", "0")
    assert page.complaints() == []
    assert page.driver.find_element(By.ID, "distributions").is_displayed()
    drawn = lines(page, "ranks")
    assert set(drawn) == {"fuxi_ens", "physics_ensemble"}
    assert len(drawn["fuxi_ens"]) == 10
    # Nothing of events was verified at day 1.
    assert "not verified" in page.text("plane-roc")


@pytest.mark.browser
def test_a_choice_of_lead_event_and_system_draws_its_points(page: OpenReport) -> None:
    page.choose("diagram-lead", "1")
    page.choose("diagram-event", "above_q95")
    drawn = lines(page, "reliability")
    assert set(drawn) == {"fuxi_ens", "physics_ensemble"}
    width, height = 330 - 50 - 12, 270 - 10 - 40
    expected = [[50 + width * p, 230 - height * 0.9 * p] for p in (np.arange(10) + 0.5) / 10]
    np.testing.assert_allclose(drawn["fuxi_ens"], expected, atol=0.06)
    assert len(page.driver.find_elements(By.CSS_SELECTOR, "#plane-reliability .bar")) == 20
    page.choose("diagram-system", "physics_ensemble")
    assert set(lines(page, "roc")) == set(lines(page, "value")) == set(lines(page, "spectrum")) == {"physics_ensemble"}
    page.choose("diagram-system", "")


@pytest.mark.browser
def test_what_a_variable_lacks_is_said(page: OpenReport) -> None:
    page.choose("diagram-lead", "1")
    page.choose("diagram-name", "tp")
    assert lines(page, "reliability") == {}
    label = page.driver.find_element(By.ID, "plane-reliability").get_dom_attribute("aria-label")
    assert re.search("nothing for these choices", label)
    page.choose("diagram-name", "z500")


@pytest.mark.browser
def test_a_page_without_diagrams_has_no_section(page: OpenReport, evidence: Evidence, tmp_path: Path) -> None:
    bare = Report(title="t", lede="l", cards=(), sections=(), numbers_json=explorer_json(evidence.scores, None, None))
    address = page.driver.current_url
    page.driver.get(write_report(tmp_path / "bare.html", bare).as_uri())
    assert page.driver.find_elements(By.ID, "distributions") == []
    assert page.complaints() == []
    page.driver.get(address)
