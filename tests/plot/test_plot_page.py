"""The page in a browser: what a reader chooses is what it shows, and it needs nothing but its file."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import OpenReport, chromium
from score_world import counts_of, table_with_tests
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from fuxi_ens.plot.compose import Evidence
from fuxi_ens.plot.explorer import explorer_json
from fuxi_ens.plot.report import Picture, Report, Section, write_report
from fuxi_ens.plot.scorecard import scorecard
from fuxi_ens.plot.style import display_units
from fuxi_ens.plot.table import Scores, Systems
from fuxi_ens.verify.scorecard import write_csv

pytestmark = pytest.mark.browser
MINUS = "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def driver():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def table(score_table: pd.DataFrame) -> pd.DataFrame:
    return table_with_tests(score_table)


def evidence_of(table: pd.DataFrame, **changes: object) -> Evidence:
    scores = Scores(table, Systems("fuxi_ens", "physics_ensemble"))
    made = Evidence(scores, title="Page", period="1998", counts=counts_of(table), level=0.05)
    return replace(made, **changes)


def report_of(evidence: Evidence, *sections: Section) -> Report:
    """The page without the pictures, which are tested elsewhere and take time to draw."""
    return Report(
        title=evidence.title,
        lede="lede",
        cards=(),
        sections=sections,
        numbers_json=explorer_json(evidence.scores, evidence.counts, evidence.level),
        caveats=evidence.caveats,
        provenance=evidence.provenance,
    )


@pytest.fixture(scope="module")
def folder(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Report, with one picture, and table."""
    out = tmp_path_factory.mktemp("card")
    evidence = evidence_of(table)
    picture = Picture(scorecard(evidence.scores), "A scorecard")
    write_report(out / "report.html", report_of(evidence, Section("scorecard", "Scorecard", "text", [picture])))
    write_csv(table, out / "scorecard.csv")
    return out


@pytest.fixture(scope="module")
def written(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "scorecard.csv")


@pytest.fixture
def page(driver, folder: Path) -> OpenReport:
    return OpenReport(driver, folder / "report.html")


def written_score(written: pd.DataFrame, system: str, region: str, score: str) -> pd.DataFrame:
    """[name, day] of the file, whole days."""
    rows = written[(written["system"] == system) & (written["region"] == region) & (written["score"] == score)]
    rows = rows[rows["lead_time_hours"] % 24 == 0]
    shown = rows.pivot(index="name", columns="lead_time_hours", values="value")
    return shown.loc[list(dict.fromkeys(rows["name"]))]


def number(text: str) -> float:
    return float(text.replace(MINUS, "-"))


def numbers(rows: list[list[str]]) -> np.ndarray:
    return np.array([[number(text) for text in row] for row in rows])


def percent(written: pd.DataFrame, system: str, reference: str, region: str, score: str) -> np.ndarray:
    ours, theirs = (written_score(written, one, region, score) for one in (system, reference))
    return (100.0 * (ours / theirs - 1.0)).to_numpy()


def assert_shown(rows: list[list[str]], expected: np.ndarray) -> None:
    """Printed are a decimal below 10 %, none above; the page holds six digits of each score."""
    shown = numbers(rows)
    assert shown.shape == expected.shape
    assert (np.abs(shown - expected) <= np.where(np.abs(expected) < 10, 0.051, 0.501)).all()


def test_opens_from_a_file_without_network_and_without_complaint(page: OpenReport) -> None:
    assert page.driver.find_element(By.ID, "explore").is_displayed()
    assert page.complaints() == []
    assert page.requests() == []


def test_the_browser_would_refuse_to_load_anything_else(page: OpenReport) -> None:
    script = "const p = new Image(); p.src = 'http://127.0.0.1:9/x.png'; document.body.append(p); return null"
    page.driver.execute_script(script)
    assert any("Content Security Policy" in message for message in page.complaints())


def test_opens_with_our_forecast_against_the_baseline(page: OpenReport, written: pd.DataFrame) -> None:
    assert_shown(page.rows(), percent(written, "fuxi_ens", "physics_ensemble", "global", "crps"))
    assert "fuxi_ens against physics ensemble: better in 75 of 90" in page.text("count")


@pytest.mark.parametrize("region", ["global", "tropics"])
@pytest.mark.parametrize("score", ["crps", "rmse"])
@pytest.mark.parametrize("reference", ["physics_ensemble", "climatology", "persistence"])
def test_choices_show_the_numbers_of_the_file(
    page: OpenReport, written: pd.DataFrame, region: str, score: str, reference: str
) -> None:
    page.choose("region", region)
    page.choose("score", score)
    page.choose("reference", reference)
    assert_shown(page.rows(), percent(written, "fuxi_ens", reference, region, score))


def test_any_two_systems_can_be_compared(page: OpenReport, written: pd.DataFrame) -> None:
    page.choose("system", "climatology")
    page.choose("reference", "persistence")
    assert_shown(page.rows(), percent(written, "climatology", "persistence", "global", "crps"))
    assert "not tested" in page.text("count")
    assert "climatology" not in page.options("reference")


def test_scores_themselves_are_in_display_units(page: OpenReport, written: pd.DataFrame) -> None:
    page.choose("show", "value")
    stored = written_score(written, "fuxi_ens", "global", "crps")
    factors = np.array([display_units(name).factor for name in stored.index])
    np.testing.assert_allclose(numbers(page.rows()), stored.to_numpy() * factors[:, None], rtol=6e-3)


def test_a_skill_score_is_shown_in_hundredths(page: OpenReport, written: pd.DataFrame) -> None:
    page.choose("score", "crpss_climatology")
    ours, theirs = (
        written_score(written, system, "global", "crpss_climatology") for system in ("fuxi_ens", "physics_ensemble")
    )
    assert_shown(page.rows(), 100.0 * (ours - theirs).to_numpy())
    assert page.options("system") == ["fuxi_ens", "physics_ensemble"]
    color = page.cell(0, 3).value_of_css_property("background-color")
    red, _, blue = (int(part) for part in re.findall(r"\d+", color)[:3])
    assert blue > red


def test_all_lead_times_on_demand(page: OpenReport, written: pd.DataFrame) -> None:
    page.choose("reference", "climatology")
    assert len(page.rows()[0]) == 15
    page.choose("lead", "all")
    assert len(page.rows()[0]) == 60


def test_counts_are_those_of_verification(page: OpenReport, table: pd.DataFrame) -> None:
    page.choose("region", "tropics")
    counted = counts_of(table).set_index(["region", "reference", "score"]).loc["tropics", "physics_ensemble", "crps"]
    text = page.text("count")
    assert f"better in {counted['better']} of 90" in text
    assert f"Significantly better in {counted['significantly_better']}" in text
    assert f"significantly worse in {counted['significantly_worse']}" in text
    assert "71\N{EN DASH}89 %" in text


def test_doubtful_differences_are_hatched(page: OpenReport, table: pd.DataFrame) -> None:
    rows = table[(table["score"] == "crps_difference") & (table["reference"] == "physics_ensemble")]
    expected = (~rows.loc[rows["region"] == "global", "significant"].astype(bool)).sum()
    hatched = page.driver.find_elements(By.CSS_SELECTOR, "#heat td.doubtful")
    assert 0 < len(hatched) == expected < 90
    assert "gradient" in hatched[0].value_of_css_property("background-image")


def test_hover_shows_all_that_is_known_of_a_cell(page: OpenReport, written: pd.DataFrame) -> None:
    cell = page.cell(0, 3)
    ActionChains(page.driver).move_to_element(cell).perform()
    tip = page.text("tip")
    ours = written_score(written, "fuxi_ens", "global", "crps").loc["z500", 24.0]
    assert "Geopotential at 500 hPa, day 1 (24 h)" in tip
    assert f"fuxi_ens: {ours:.3g}" in tip
    assert "95 % interval of the difference" in tip
    assert "24 init times" in tip
    assert cell.get_dom_attribute("aria-label").splitlines()[0].startswith("Geopotential at 500 hPa")


def test_arrow_keys_move_through_the_table_and_enter_chooses(page: OpenReport) -> None:
    page.cell(0, 3).send_keys(Keys.ARROW_DOWN)
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    active = page.driver.switch_to.active_element
    assert (active.get_dom_attribute("data-row"), active.get_dom_attribute("data-column")) == ("1", "7")
    assert "Temperature at 850 hPa, day 2" in page.text("tip")
    active.send_keys(Keys.ENTER)
    assert "Temperature at 850 hPa" in page.text("curves-title")
    assert page.driver.find_elements(By.CSS_SELECTOR, "#heat td[tabindex='0']") == [active]
    active.send_keys(Keys.ESCAPE)
    assert page.text("tip") == ""


def test_every_control_has_a_label_and_is_reached_with_the_tab_key(page: OpenReport) -> None:
    selects = page.driver.find_elements(By.TAG_NAME, "select")
    assert len(selects) == 7
    assert all(select.accessible_name for select in selects)
    page.driver.find_element(By.ID, "region").click()
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    reached = []
    for _ in range(5):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(page.driver.switch_to.active_element.get_dom_attribute("id"))
    assert reached == ["score", "system", "reference", "show", "lead"]


def test_curves_can_be_read_off(page: OpenReport, written: pd.DataFrame) -> None:
    page.choose("name", "t2m")
    chart = page.driver.find_element(By.ID, "curves")
    assert len(chart.find_elements(By.TAG_NAME, "polyline")) == 4
    chart.send_keys(Keys.ARROW_RIGHT)
    tip = page.text("tip")
    rows = written[(written["name"] == "t2m") & (written["score"] == "crps") & (written["region"] == "global")]
    value = rows[(rows["system"] == "fuxi_ens") & (rows["lead_time_hours"] == 12)]["value"].item()
    assert tip.startswith("day 0.5, K")
    assert f"fuxi_ens: {value:.3g}" in tip


def test_the_difference_has_its_confidence(page: OpenReport) -> None:
    page.choose("name", "ws10m")
    assert "95 % interval" in page.text("difference-title")
    assert page.driver.find_elements(By.CSS_SELECTOR, "#difference .band")
    page.choose("reference", "persistence")
    assert "interval" not in page.text("difference-title")
    assert not page.driver.find_elements(By.CSS_SELECTOR, "#difference .band")


def test_prints_to_pdf_without_controls(page: OpenReport) -> None:
    content = base64.b64decode(page.driver.print_page())
    assert content.startswith(b"%PDF")
    assert len(content) > 50_000
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not page.driver.find_element(By.ID, "controls").is_displayed()
        assert page.driver.find_element(By.ID, "heat").is_displayed()
        assert not page.driver.find_element(By.TAG_NAME, "nav").is_displayed()
    finally:
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_nothing_is_wider_than_a_narrow_window(page: OpenReport) -> None:
    page.driver.set_window_size(500, 900)
    try:
        wide = page.driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
    finally:
        page.driver.set_window_size(1360, 1000)
    assert wide <= 0


def test_without_scripts_the_pictures_remain(driver, folder: Path) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page = OpenReport(driver, folder / "report.html")
        assert not driver.find_element(By.ID, "explore").is_displayed()
        pictures = driver.find_elements(By.CSS_SELECTOR, "#scorecard img")
        assert [picture.is_displayed() for picture in pictures] == [True]
        assert page.complaints() == []
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def opened(driver, tmp_path: Path, evidence: Evidence) -> OpenReport:
    page = OpenReport(driver, write_report(tmp_path / "report.html", report_of(evidence)))
    assert page.complaints() == []
    return page


def test_one_system_missing(driver, table: pd.DataFrame, tmp_path: Path) -> None:
    part = table[(table["system"] != "physics_ensemble") & (table["reference"] != "physics_ensemble")]
    page = opened(driver, tmp_path, evidence_of(part))
    assert page.options("reference") == ["climatology", "persistence"]
    assert "fuxi_ens against climatology" in page.text("count")


def test_our_forecast_alone(driver, table: pd.DataFrame, tmp_path: Path) -> None:
    part = table[(table["system"] == "fuxi_ens") & table["reference"].isna()]
    page = opened(driver, tmp_path, evidence_of(part, counts=None))
    assert page.text("count") == "There is no reference to compare with."
    assert number(page.rows()[0][0]) == pytest.approx(page_value(part, "z500", 24), rel=6e-3)


def page_value(table: pd.DataFrame, name: str, lead_hours: int) -> float:
    lead = pd.Timedelta(hours=lead_hours)
    rows = table[(table["name"] == name) & (table["lead_time"] == lead) & (table["score"] == "crps")]
    return rows[rows["region"] == "global"]["value"].iloc[0]


def test_a_single_init_time_has_no_significance(driver, table: pd.DataFrame, tmp_path: Path) -> None:
    columns = {"ci_low": np.nan, "ci_high": np.nan, "q": np.nan, "significant": False, "untested": "fewer than 10"}
    single = table.assign(**columns, n_init=1)
    counts = counts_of(single).assign(tested=0, low=np.nan, high=np.nan)
    page = opened(driver, tmp_path, evidence_of(single, counts=counts, level=None))
    assert "Significance could not be tested." in page.text("count")
    assert not page.driver.find_elements(By.CSS_SELECTOR, "#heat td.doubtful")
    ActionChains(driver).move_to_element(page.cell(1, 3)).perform()
    assert "not tested for significance" in page.text("tip")
    assert "1 init times" in page.text("tip")


def test_missing_values_are_dashes(driver, table: pd.DataFrame, tmp_path: Path) -> None:
    gap = (table["name"] == "msl") & (table["lead_time"] == pd.Timedelta(days=2)) & (table["system"] == "fuxi_ens")
    broken = table.assign(value=table["value"].mask(gap))
    page = opened(driver, tmp_path, evidence_of(broken))
    assert page.rows()[2][1] == "\N{EN DASH}"
    assert page.rows()[2][0] != "\N{EN DASH}"
    page.choose("name", "msl")
    assert page.complaints() == []


def test_names_are_text_and_never_code(driver, table: pd.DataFrame, tmp_path: Path) -> None:
    evil = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
    renamed = table.replace({"system": {"climatology": evil}, "reference": {"climatology": evil}})
    scores = Scores(renamed, Systems("fuxi_ens", "physics_ensemble", climatology=evil))
    evidence = evidence_of(renamed, scores=scores, title="A <b>bold</b> title", caveats=[evil], provenance={evil: evil})
    page = opened(driver, tmp_path, evidence)
    Select(driver.find_element(By.ID, "reference")).select_by_index(1)
    assert driver.title == "A <b>bold</b> title"
    assert "</script>" in page.text("count")
    assert not driver.find_elements(By.CSS_SELECTOR, "main img[src='x']")
