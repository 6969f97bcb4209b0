"""`tightfit VERB name=value …`: finds the verb, answers calls for help, and ends with one of four exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

from tightfit.commands.help import help_of, overview
from tightfit.commands.verbs import VERBS
from tightfit.commands.words import HELP, Said, Verb, WrongWords, asks_for_help, nearest
from tightfit.records.places import OWN, add_own_code, analysis

DONE, FAILED, WRONG_WORDS, INTERRUPTED = 0, 1, 2, 130  # exit codes
CONFIG_DIR = "--config-dir"


def main(words: Sequence[str] | None = None) -> int:
    """Do what `words`, by default those of the shell, ask for; the exit code."""
    try:
        code = obey(sys.argv[1:] if words is None else list(words))
        sys.stdout.flush()
    except BrokenPipeError:  # who reads the output has seen enough: `tightfit --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
        return FAILED
    return code


def obey(words: list[str]) -> int:
    """The same of given words."""
    if not words or words[0] in HELP:
        print(overview())
        return DONE
    verb = VERBS.get(words[0])
    if verb is None:
        return refuse(f"{words[0]} is no verb of tightfit; {nearest(words[0], VERBS)}choose {', '.join(VERBS)}")
    try:
        rest = taking_own_folder(words[1:])
        add_own_code()
        if asks_for_help(rest):
            print(help_of(verb))
            return DONE
    except ValueError as error:
        return refuse(str(error))
    try:
        return module_of(verb).main(rest)
    except ModuleNotFoundError as error:
        if not verb.module.startswith("analysis.") or not str(error.name).endswith(verb.module):
            raise
        return refuse(f"{verb.name} is not part of this version of tightfit")
    except KeyboardInterrupt:
        return INTERRUPTED


def forward(*words: str) -> None:
    """Do what the words of the shell ask for after `words`, and end the process: what former modules are now."""
    sys.exit(main([*words, *sys.argv[1:]]))


def module_of(verb: Verb) -> ModuleType:
    """Where `verb` is carried out; imported only now, for most wait for PyTorch."""
    room, _, name = verb.module.rpartition(".")
    return analysis(name) if room == "analysis" else importlib.import_module(verb.module)


def carry_out(
    verb: Verb, words: Sequence[str], do: Callable[[Said], int], expected: tuple[type[BaseException], ...] = ()
) -> int:
    """Do what `words` say to `verb`; the exit code. An error among `expected` is told in a line."""
    if asks_for_help(words):
        print(help_of(verb))
        return DONE
    try:
        return do(verb.read(words))
    except (WrongWords, *expected) as error:
        return told(error)


def told(error: BaseException) -> int:
    """Say what went wrong, of words or of work, in a line; the exit code."""
    if isinstance(error, WrongWords):
        return refuse(str(error))
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return FAILED


def refuse(reason: str) -> int:
    print(reason, file=sys.stderr)
    return WRONG_WORDS


def taking_own_folder(words: Sequence[str]) -> list[str]:
    """`words` without `--config-dir FOLDER`, which is one more of the user's folders of configurations."""
    rest, left = [], iter(words)
    for word in left:
        name, equals, folder = word.partition("=")
        if name != CONFIG_DIR:
            rest.append(word)
            continue
        folder = folder if equals else next(left, "")
        if not folder:
            raise WrongWords(f"{CONFIG_DIR} names no folder; write {CONFIG_DIR}=./my_conf")
        os.environ[OWN] = os.pathsep.join(filter(None, [os.environ.get(OWN), os.path.abspath(folder)]))
    return rest
