"""What the README says is what the checkout holds."""

import re
from pathlib import Path

from analysis.figures import with_recorded_table
from tightfit.records.places import HOME as ROOT

README = (Path(ROOT) / "README.md").read_text()


def test_table_is_made_from_the_committed_results() -> None:
    assert with_recorded_table(README) == README


def test_files_it_links_to_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (Path(ROOT) / link).exists()] == []
