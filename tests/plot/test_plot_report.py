"""The report is one file that loads nothing, says what it must, and a browser can show it."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import pandas as pd
import pytest

from fuxi_ens.plot.compose import Evidence, compose_report
from fuxi_ens.plot.report import write_report
from fuxi_ens.plot.table import Scores, Systems

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ANCHORS = [
    "explore",
    "scorecard",
    "crps",
    "skill",
    "spread",
    "maps",
    "plume",
    "ranks",
    "numbers",
    "caveats",
    "provenance",
]


class Page(HTMLParser):
    """Collects what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.alts: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        self.tags.add(tag)
        self.references += [held[key] or "" for key in ("src", "href", "srcset", "data") if key in held]
        if tag == "img":
            self.alts.append(held.get("alt") or "")
        if tag == "section":
            self.ids.append(held["id"] or "")


@pytest.fixture(scope="module")
def report_path(evidence: Evidence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("report") / "report.html", compose_report(evidence))


def test_report_is_one_file_that_loads_nothing(report_path: Path) -> None:
    text = report_path.read_text(encoding="utf-8")
    page = Page(text)
    assert [path.name for path in report_path.parent.iterdir()] == ["report.html"]
    assert page.references
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    # The name of SVG's vocabulary is not an address that is loaded.
    without_images = re.sub(r"data:image/[^\"]+|http://www.w3.org/2000/svg", "", text)
    assert not re.search(r"https?://|url\(|@import|<script[^>]* src", without_images)
    assert report_path.stat().st_size < 5_000_000


def test_report_has_all_sections_and_alternative_texts(report_path: Path) -> None:
    page = Page(report_path.read_text(encoding="utf-8"))
    assert page.ids == ANCHORS
    assert [r.removeprefix("#") for r in page.references if r.startswith("#")] == ANCHORS
    # Scorecard, CRPS, skill, spread twice, two maps, plume, ranks.
    assert len(page.alts) == 9
    assert all(len(alt) > 20 for alt in page.alts)


def test_report_says_what_it_must(report_path: Path) -> None:
    text = report_path.read_text(encoding="utf-8")
    for part in (
        "75 / 90",
        "better than physics ensemble",
        "a nature run, not a reanalysis",
        "0.1.0 &lt;dirty&gt;",
    ):
        assert part in text


def test_report_without_baseline_and_fields(score_table: pd.DataFrame, tmp_path: Path) -> None:
    scores = Scores(score_table[score_table["system"] != "physics_ensemble"], Systems("fuxi_ens", "physics_ensemble"))
    report = compose_report(Evidence(scores, title="No baseline", period="1998"))
    assert [section.anchor for section in report.sections] == [
        "scorecard",
        "crps",
        "skill",
        "spread",
        "numbers",
    ]
    text = write_report(tmp_path / "report.html", report).read_text(encoding="utf-8")
    assert "physics" not in text
    assert "Read with care" not in text


def test_report_of_our_forecast_alone(score_table: pd.DataFrame) -> None:
    alone = Scores(score_table[score_table["system"] == "fuxi_ens"], Systems("fuxi_ens", "physics_ensemble"))
    report = compose_report(Evidence(alone, title="Alone", period="1998"))
    assert "no reference" in report.sections[0].text
    assert not report.sections[0].pictures


def run_chromium(page: Path, folder: Path, *options: str) -> str:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += [
        "--no-first-run",
        "--disable-sync",
        "--disable-dev-shm-usage",
        f"--user-data-dir={folder / 'profile'}",
    ]
    # Every host resolves to nowhere: what the page shows, it holds itself.
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.browser
def test_browser_reads_every_section(report_path: Path, tmp_path: Path) -> None:
    dom = run_chromium(report_path, tmp_path, "--dump-dom")
    assert Page(dom).ids == ANCHORS
    assert "Geopotential at 500 hPa" in dom


@pytest.mark.browser
def test_browser_draws_the_page(report_path: Path, tmp_path: Path) -> None:
    picture = tmp_path / "report.png"
    run_chromium(report_path, tmp_path, f"--screenshot={picture}", "--window-size=1200,2800", "--hide-scrollbars")
    pixels = matplotlib.image.imread(picture)[..., :3]
    assert pixels.shape[:2] == (2800, 1200)
    # The scorecard's dark red cells of persistence: present only when the picture inside the page was drawn.
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    assert ((red > 0.5) & (green < 0.15) & (blue < 0.25)).mean() > 0.01
