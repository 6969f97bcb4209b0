"""What the README says is what the checkout holds."""

import re
import shlex
from pathlib import Path

import pytest

from analysis.figures import with_recorded_table
from tightfit.commands.verbs import VERBS
from tightfit.records.places import HOME as ROOT
from tightfit.run.spellings import in_todays_words

README = (Path(ROOT) / "README.md").read_text()


def test_table_is_made_from_the_committed_results() -> None:
    assert with_recorded_table(README) == README


def test_files_it_links_to_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (Path(ROOT) / link).exists()] == []


COMMANDS = [line for line in README.splitlines() if line.startswith("tightfit ") and " [" not in line]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_made_of_words_that_are_known(command: str) -> None:
    _, verb, *words = shlex.split(command, comments=True)
    assert verb in VERBS
    if verb not in ("plan", "explain"):  # which read their words themselves
        in_todays_words(VERBS[verb].read(words).of_a_run)
