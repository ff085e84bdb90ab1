"""Chromium without network, driven by chromedriver, for tests of the page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser in which every host name resolves to nowhere."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium or chromedriver is not installed")
    options = Options()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--hide-scrollbars",
        "--force-device-scale-factor=1",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With the driver named, selenium does not look for one on the network.
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_window_size(1360, 1000)
    try:
        yield driver
    finally:
        driver.quit()


class OpenReport:
    """A report in the browser, as a reader uses it."""

    def __init__(self, driver: webdriver.Chrome, path: Path) -> None:
        self.driver = driver
        driver.get_log("browser"), driver.get_log("performance")
        driver.get(path.as_uri())

    def choose(self, control: str, value: str) -> None:
        """Choose an option of one of the page's selects by its value."""
        Select(self.driver.find_element(By.ID, control)).select_by_value(value)

    def options(self, control: str) -> list[str]:
        """Values one can choose."""
        found = Select(self.driver.find_element(By.ID, control)).options
        return [option.get_dom_attribute("value") for option in found]

    def rows(self) -> list[list[str]]:
        """What the cells of the table show."""
        cells = "[...row.querySelectorAll('td')].map(cell => cell.innerText)"
        script = f"return [...document.querySelectorAll('#heat tbody tr')].map(row => {cells})"
        return self.driver.execute_script(script)

    def cell(self, row: int, column: int) -> WebElement:
        """The cell of a row of names and a column of all lead times."""
        return self.driver.find_element(By.CSS_SELECTOR, f'#heat td[data-row="{row}"][data-column="{column}"]')

    def text(self, identifier: str) -> str:
        """What is visible of one element."""
        return self.driver.find_element(By.ID, identifier).text

    def complaints(self) -> list[str]:
        """Messages of the console since the page was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that the page asked for, beside itself and what is in it."""
        script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
        return [name for name in self.driver.execute_script(script) if not name.startswith("data:")]
