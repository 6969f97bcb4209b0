"""What the README says is what the checkout holds."""

import re
from pathlib import Path

from analysis.report import with_recorded_table
from tightfit.memory.budget import with_plain_sizes
from tightfit.reproduce import plan
from tightfit.run import ROOT
from tightfit.session import build

README = (Path(ROOT) / "README.md").read_text()


def test_table_is_made_from_the_committed_results() -> None:
    assert with_recorded_table(README) == README


def test_files_it_links_to_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (Path(ROOT) / link).exists()] == []


def test_runs_it_names_can_be_composed() -> None:
    commands = re.findall(r"^python -m tightfit\.run (?:-m )?([^#\n]+)", README, flags=re.MULTILINE)
    assert len(commands) > 3
    for command in commands:
        words = [word for word in command.split() if not word.startswith("hydra/launcher")]
        planned = plan(with_plain_sizes(words))
        assert planned
        for run in planned:
            build(run.config["optimizer"])


def test_make_targets_it_names_exist() -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (Path(ROOT) / "Makefile").read_text(), flags=re.MULTILINE)
    named = re.findall(r"make ([a-z][a-z0-9-]+)", README)
    assert named
    assert set(named) <= set(targets)
