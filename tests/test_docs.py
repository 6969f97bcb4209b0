"""The documentation is built without a warning, and has every verb, option and function there is."""

import html
import re
from pathlib import Path

import pytest

from tightfit.commands.verbs import VERBS
from tightfit.records.places import CONF
from tightfit.use import api

mkdocs = pytest.importorskip("mkdocs")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "docs" / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


def text_of(site: Path, page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", (site / f"{page}.html").read_text()))


def test_every_verb_and_option_is_in_the_reference(site: Path) -> None:
    verbs, options = text_of(site, "reference/verbs"), text_of(site, "reference/options")
    for name, verb in VERBS.items():
        assert f"tightfit {name} " in verbs
        assert verb.does in verbs
    for path in CONF.glob("*/*.yaml"):
        assert path.read_text().rstrip() in options


def test_what_python_offers_is_in_the_reference(site: Path) -> None:
    python = text_of(site, "reference/python")
    assert "train(model: " in python
    for name in ("status", "accuracy", "curve", "memory", "model", "predict", "weights"):
        member = vars(api.Result)[name]
        first = (member.__doc__ or getattr(member, "func", member).__doc__).splitlines()[0]
        assert first in python


def test_pages_take_nothing_from_another_place(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r"""<(?:script|link|img)[^>]+(?:src|href)=["']([^"']+)""", page.read_text())
        assert not [address for address in loaded if address.startswith(("http:", "https:", "//"))], page
