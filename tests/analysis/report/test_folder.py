"""The folder that is made: nothing missing, nothing foreign, hostile names harmless, numbers those of the tables."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from analysis.load import load_each, read_folder
from analysis.page import Backed, Page, Table, table
from analysis.render.html import html
from analysis.render.latex import latex
from analysis.report import committed
from analysis.report.make import make
from analysis.report.own import load_own
from analysis.report.run_page import address
from analysis.tables import NO_RUNS
from tests.analysis.miniature import make_run
from tests.rewritten import rewritten

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\\input{/etc/passwd}\n\n%$_^~{}\ud800"


class Found(HTMLParser):
    """The tags, the attributes and the words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture
def made(tmp_path: Path, own_runs: Path) -> Path:
    return make(tmp_path / "report", load_own(own_runs)).parent


def pages(folder: Path) -> dict[Path, Found]:
    return {path: Found(path.read_text()) for path in folder.rglob("*.html")}


def test_every_link_leads_to_a_file_of_the_folder_and_every_id_is_one(made: Path) -> None:
    known = {path.resolve(): found for path, found in pages(made).items()}
    for path, found in known.items():
        assert len(found.ids) == len(set(found.ids))
        for name, value in found.attributes:
            if name in ("href", "src") and value != "data:,":
                file, _, place = value.partition("#")
                target = (path.parent / file).resolve() if file else path
                assert target.is_relative_to(made.resolve())
                assert target.exists(), value
                if place and target.suffix == ".html":
                    assert place in known[target].ids


def test_every_run_has_a_page_with_its_evidence(made: Path, own_runs: Path) -> None:
    keys = {path.parent.name for path in own_runs.rglob("run.json")}
    assert {path.stem for path in (made / "runs").iterdir()} == keys
    for key in keys:
        text = (made / "runs" / f"{key}.html").read_text()
        for said in ("Example CPU", "commit 0123456789ab", "sha256", "route", "The command that makes it again"):
            assert said in text
    packed = re.search(r'id="packed">(.*?)</script>', (made / "index.html").read_text(), re.DOTALL)
    assert packed is not None
    assert {row[1] for row in json.loads(packed[1])["rows"]} == keys


def test_no_page_asks_anything_of_a_network(made: Path) -> None:
    for path in made.rglob("*.*"):
        if path.suffix in (".html", ".css", ".js"):
            assert not re.search(r"https?://|@import|\bfetch\b|\bimport\b|innerHTML|\beval\b", path.read_text()), path


def test_data_are_the_numbers_of_the_table(made: Path) -> None:
    data = pd.read_csv(made / "tables" / "answer.csv").dropna(subset="accuracy_mean")
    text = Found((made / "index.html").read_text()).words
    assert len(data)
    for mean, spread, n in zip(data["accuracy_mean"], data["accuracy_spread"], data["accuracy_n"], strict=True):
        assert f"{mean:.2f} ± {spread:.2f} ({n:.0f})" in text
    assert len(pd.read_csv(made / "runs.csv")) == len(list((made / "runs").iterdir()))


def test_hostile_names_are_words_and_nothing_else(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs", "scratch", "full_zo", "x", [0.1, 0.5], cell=None, optimizer={"name": HOSTILE})
    with rewritten(folder) as content:
        content |= {"reason": HOSTILE, "command": [f"optimizer={HOSTILE}"], "commit": HOSTILE}
        content["machine"]["cpu"] = HOSTILE
    record, rows = read_folder(folder)
    record.key = "../../" + HOSTILE  # which no folder's record may have, but a mirror's may
    out = make(tmp_path / "report", load_each([("a mirror", lambda: (record, rows))])).parent
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "report"}
    for found in pages(out).values():
        assert "img" not in found.tags
        assert not [name for name, _ in found.attributes if name.startswith("on")]
        assert found.tags.count("script") <= 2
        assert "<img src=x onerror=alert(1)>" in found.words
    for path in (out / "tables").glob("*.tex"):
        assert "\\input" not in path.read_text()
        assert "\n\n%" not in path.read_text()
    test_every_link_leads_to_a_file_of_the_folder_and_every_id_is_one(out)


def test_what_concerns_the_user_alone_is_in_no_file(tmp_path: Path) -> None:
    own = {"paths": {"runs": "/home/somebody"}, "tracker": {"entity": "somebody"}}
    make_run(tmp_path / "runs", "scratch", "full_zo", "x", [0.1, 0.5], **own)
    out = make(tmp_path / "report", load_own(tmp_path / "runs")).parent
    assert not [path for path in out.rglob("*.*") if "somebody" in path.read_text()]


def test_what_is_made_again_has_nothing_left_of_before_and_nothing_else_is_written_over(
    tmp_path: Path, own_runs: Path, runs: Path, made: Path
) -> None:
    make(made, load_own(runs))
    assert len(list((made / "runs").iterdir())) == 4
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds something that is no report; name a new or an empty folder"):
        make(tmp_path / "full", load_own(runs))
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_the_same_records_make_the_same_files(tmp_path: Path, made: Path, own_runs: Path) -> None:
    again = make(tmp_path / "again", load_own(own_runs)).parent
    for path in made.rglob("*.*"):
        assert path.read_bytes() == (again / path.relative_to(made)).read_bytes()


def test_a_cell_leads_to_the_one_run_or_to_each_of_several() -> None:
    shown = table(("", "a", "b"), [("m", Backed("1.0", ["k"]), Backed("2.0", ["k", "l", "gone"]))])
    text = html(Page("t", (shown,), ""), {"k": "runs/k.html", "l": "runs/l.html"})
    assert '<td><a href="runs/k.html">1.0</a></td>' in text
    assert re.search(r'<td>2\.0 .*<a href="runs/k.html">1</a> <a href="runs/l.html">2</a></span></td>', text)
    assert latex(Page("t", (shown,), "")).count("1.0 & 2.0") == 1


@pytest.mark.parametrize("key", ["../x", "a/b", "", "x" * 65, "a\nb", ".."])
def test_a_key_that_is_no_plain_word_leaves_no_folder(key: str) -> None:
    assert re.fullmatch(r"runs/[0-9a-f]{12}\.html", address(key))


def test_evaluations_come_as_they_were_recorded(made: Path, own_runs: Path) -> None:
    rows = sum(path.read_bytes().count(b"\n") for path in own_runs.rglob("evals.jsonl"))
    assert len(pd.read_csv(io.StringIO((made / "evals.csv").read_text()))) == rows


@pytest.mark.slow
def test_the_report_of_the_committed_records_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = make(tmp_path / "report").parent
    test_every_link_leads_to_a_file_of_the_folder_and_every_id_is_one(out)
    every = committed.load_committed()
    keys = {key for records in every.values() for key in records.full}
    assert len(list((out / "runs").iterdir())) == len(keys)
    monkeypatch.setattr(committed, "figures", lambda *_: "")
    listed = [section for section, _ in committed.sections(every, {})]
    shown = [section.page for section in listed if section.page is not None]
    assert all(page.provenance != NO_RUNS for page in shown)
    assert {"elasticzo-table1", "blanks"} <= {section.slug for section in listed}
    cells = [
        cell for page in shown for part in page.parts if isinstance(part, Table) for row in part.rows for cell in row
    ]
    behind = [cell for cell in cells if isinstance(cell, Backed)]
    assert len(behind) > 200
    assert all(keys.issuperset(cell.runs) for cell in behind)
    assert not [cell for cell in behind if re.match(r"\d+\.\d+ (±|\()", cell) and not cell.runs]
