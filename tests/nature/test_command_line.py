"""The command line: what a user reads who lacks the extra, mistypes, or asks for help."""

import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fuxi_ens.errors import UserError
from pipelines import nature_run

runner = CliRunner()


def test_help_teaches() -> None:
    result = runner.invoke(nature_run.app, ["--help"])
    assert result.exit_code == 0
    for word in ("run", "ensemble", "sample", "kill -9", "nature-run"):
        assert word in result.output


@pytest.mark.parametrize("command", [["run", "d"], ["ensemble", "d", "e", "--init-time", "1997-01-02"]])
def test_a_missing_extra_is_one_message(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    result = runner.invoke(nature_run.app, command)
    assert isinstance(result.exception, UserError)
    assert "pip install 'fuxi-ens[nature-run]'" in str(result.exception)


def test_a_sample_without_a_run_is_one_message(tmp_path: Path) -> None:
    result = runner.invoke(nature_run.app, ["sample", str(tmp_path), str(tmp_path), "--output", str(tmp_path)])
    assert isinstance(result.exception, UserError)
    assert "holds no nature run" in str(result.exception)
