"""What tightfit says of itself and of a verb."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from textwrap import fill
from typing import Any

from tightfit.commands.verbs import REPRODUCE, VERBS
from tightfit.commands.vocabulary import defaults, options
from tightfit.commands.words import Verb, Word

WIDTH, MOST = 110, 28  # characters of a line, and of its left column
EXIT_CODES = (
    "0 done (a run that diverged or was over its budget is a result), 1 a run or the work failed,\n"
    "  2 wrong words, nothing was done, 130 interrupted"
)


def overview() -> str:
    """The verbs, with a sentence each."""
    lines = rows((verb.name, verb.does) for verb in VERBS.values())
    return (
        "Which training method gives the best model, given this many bytes of memory and this much time?\n\n"
        f"tightfit VERB name=value …\n\n{lines}\n\ntightfit VERB --help   shows a verb's words and examples"
    )


def help_of(verb: Verb) -> str:
    """What `verb` does, its words with what holds where they are left out, examples and exit codes."""
    parts = [f"tightfit {' '.join([verb.name, *form(verb)])}", verb.does, fill(verb.about, WIDTH), words_of(verb)]
    if verb is REPRODUCE:
        parts.append(f"experiments\n{indented(experiments())}")
    parts += [f"examples\n{indented(verb.examples)}", f"exit codes\n  {EXIT_CODES}"]
    if verb.former:
        parts.append(f"`python -m {verb.former} …` still works; `tightfit {verb.name} …` is its form today.")
    return "\n\n".join(part for part in parts if part)


def form(verb: Verb) -> list[str]:
    """What is written after `verb`, in outline."""
    named = [f"{verb.named.replace(' ', '-').upper()}…"] if verb.named else []
    return [*named, *(f"{word.name}=…" for word in verb.words if word.is_needed), "name=value …"]


def words_of(verb: Verb) -> str:
    shown = [(spelled(word), word.meaning + (" (needed)" if word.is_needed else "")) for word in verb.words]
    if verb.takes_a_run:
        shown += of_a_run()
    return f"words\n{rows(shown)}" if shown else ""


def spelled(word: Word) -> str:
    return f"{word.name}={'…' if word.default is None else word.default}"


def of_a_run() -> list[tuple[str, str]]:
    """The words of a run: parts with their options, and settings with what they are where nothing is said."""
    names: dict[str, list[str]] = {}
    for option in options():
        group, _, name = option.rpartition("/")
        if not group.startswith("experiments/"):
            names.setdefault(group, []).append(name)
    names["experiments"] = ["see tightfit reproduce --help"]
    said = [(f"{name}={value}", ", ".join(names.pop(name, []))) for name, value in flat(defaults())]
    return [*said, *((f"{group}=…", ", ".join(among)) for group, among in names.items())]


def flat(settings: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Each setting by its full name, and its value as a command line has it."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{within}{name}.")
        else:
            yield within + name, "null" if value is None else str(value)


def experiments() -> list[str]:
    """Those that are whole: others are rows of them."""
    files = {option.removeprefix("experiments/"): path for option, path in options().items()}
    return [name for name, path in files.items() if "MULTIRUN" in path.read_text()]


def rows(pairs: Iterable[tuple[str, str]]) -> str:
    """Two columns; a long left one has a line of its own."""
    listed = list(pairs)
    width = min(MOST, max(len(left) for left, _ in listed))
    return "\n".join(row(left, right, width) for left, right in listed)


def row(left: str, right: str, width: int) -> str:
    margin = " " * (width + 4)
    said = fill(right, WIDTH, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False)
    return f"  {left}\n{said}".rstrip() if len(left) > width else f"  {left.ljust(width)}{said[width + 2 :]}".rstrip()


def indented(lines: Iterable[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)
