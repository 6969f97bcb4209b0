"""Pages of the reference, from what the program says of itself: its help, the options in conf/, and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from tightfit.commands.help import help_of
from tightfit.commands.verbs import VERBS
from tightfit.records.places import CONF, EXPERIMENTS
from tightfit.use import api


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages: mkdocs calls this before it reads any."""
    pages = {"verbs": verbs(), "options": options(), "python": python(), "papers": papers()}
    for name, content in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files


def verbs() -> str:
    """What `tightfit VERB --help` shows, for each verb."""
    return "\n\n".join(["# Verbs", *(f"## {name}\n\n{block(help_of(verb))}" for name, verb in VERBS.items())])


def options() -> str:
    """Every option of conf/, by its group, as its file has it: the comments in it say what a setting means."""
    parts = ["# Options", "An option is chosen by `group=name`, a setting of it by `group.setting=value`."]
    for group in sorted({path.parent for path in CONF.rglob("*.yaml")} - {CONF}):
        parts.append(f"## {group.relative_to(CONF)}")
        parts += [f"### {path.stem}\n\n{block(path.read_text())}" for path in sorted(group.glob("*.yaml"))]
    return "\n\n".join(parts)


def python() -> str:
    """The docstrings of what `import tightfit` offers."""
    parts = ["# From Python", block(inspect.cleandoc(api.__doc__ or ""))]
    parts += [f"## tightfit.train\n\n{block(said(api.train))}", f"## Result\n\n{block(said(api.Result))}"]
    parts += [f"### {name}\n\n{block(inspect.cleandoc(text))}" for name, text in members(api.Result)]
    return "\n\n".join(parts)


def said(what: type | object) -> str:
    assert callable(what)
    return f"{getattr(what, '__name__', '')}{inspect.signature(what)}\n\n{inspect.getdoc(what)}"


def members(kind: type) -> Iterator[tuple[str, str]]:
    for name, member in vars(kind).items():
        if not name.startswith("_") and (text := inspect.getdoc(member)) and not isinstance(member, str):
            yield name, text


def papers() -> str:
    """The paragraphs with which the folder of each paper or question begins."""
    parts = [
        "# Papers and questions",
        "Each has a folder in `experiments/`: its sweeps, its notes and its records.",
    ]
    for path in sorted(EXPERIMENTS.glob("*/README.md")):
        title, _, rest = path.read_text().partition("\n")
        first = next((each for each in re.split(r"\n\s*\n", rest.strip()) if each and not each.startswith("#")), "")
        plain = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", first)  # links lead out of the site
        parts.append(f"## {title.lstrip('# ')}\n\n{plain}\n\nIn `{path.relative_to(EXPERIMENTS.parent)}`.")
    return "\n\n".join(parts)


def block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"
