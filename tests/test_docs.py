"""What texts promise exists: commands and options, sections that comments refer to, files that links point to."""

import re
from pathlib import Path

import pytest
import typer

from pipelines.__main__ import app

ROOT = Path(__file__).parents[1]
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("slurm/*")])
CODE = sorted(path for folder in ("fuxi_ens", "pipelines", "tests", "configs") for path in ROOT.glob(f"{folder}/**/*"))


def commands(group, prefix=()):
    """Command names as tuples, (`data`, `statistics`), with the options of each."""
    found = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, (*prefix, name))
        else:
            found[(*prefix, name)] = {option for parameter in command.params for option in parameter.opts}
    return found


COMMANDS = commands(typer.main.get_command(app))
GROUPS = {name[:1] for name in COMMANDS if len(name) > 1}


def sections(text):
    """Numbers of a document's headings, and of the rows of its numbered tables."""
    headings = re.findall(r"^#+ ([0-9.]+) ", text, re.MULTILINE)
    return set(headings) | set(re.findall(r"^\| (9\.[0-9]+) ", text, re.MULTILINE))


def references(pattern):
    """(file, section) of all references in the code; `2.2, 2.4` and `2.3 to 2.5` are two each."""
    found = set()
    for path in CODE:
        if path.suffix in (".py", ".yaml") and path != Path(__file__):
            for numbers in re.findall(pattern, path.read_text()):
                found |= {(path.name, number) for number in re.findall(r"\d+(?:\.\d+)?", numbers)}
    return found


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_options_in_texts_exist(text):
    for first, second, rest in re.findall(r"fuxi-ens ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?([^`\n]*)", text.read_text()):
        name = (first, second) if (first, second) in COMMANDS else (first,)
        if name in GROUPS and not second:
            continue
        assert name in COMMANDS, f"fuxi-ens {first} {second}"
        unknown = set(re.findall(r"--[a-z-]+", rest)) - COMMANDS[name] - {"--help"}
        assert not unknown, f"fuxi-ens {' '.join(name)} has no {unknown}"


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(text):
    for target in re.findall(r"\]\(([^)#:]+)\)", text.read_text()):
        assert (text.parent / target).exists(), target


@pytest.mark.parametrize(
    ("document", "pattern"),
    [
        ("model.md", r"model\.md,? (?:sections? )?(\d[\d.]*(?:(?:, | to )\d[\d.]*)*)"),
        ("verification.md", r"verification\.md,? (?:sections? )?(\d[\d.]*)"),
    ],
)
def test_sections_that_comments_name_exist(document, pattern):
    known = sections((ROOT / "docs" / document).read_text())
    found = references(pattern)
    assert len(found) > 5
    assert not {(file, number) for file, number in found if number not in known}
