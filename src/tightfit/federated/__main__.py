"""`tightfit federated serve`, `join` and `simulate`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tightfit.commands import DONE, carry_out
from tightfit.commands.verbs import FEDERATED
from tightfit.commands.words import Said, WrongWords, nearest, unknown
from tightfit.federated.client import Client, over_http, share_of
from tightfit.federated.contribution import NAME
from tightfit.federated.log import FederationLog
from tightfit.federated.service import server
from tightfit.federated.simulation import accuracy, simulate
from tightfit.federated.terms import terms_of
from tightfit.records.machine import commit
from tightfit.records.record import RunRecord, append_csv
from tightfit.run.checks import check_configuration
from tightfit.run.composed import composed
from tightfit.run.faults import EXPECTED
from tightfit.run.replay import to_keep, write_safetensors
from tightfit.run.session import build_task
from tightfit.run.start import EXPORTED
from tightfit.run.task import Task

LAST_PORT = 65535
# The words of each role, with what holds where they are left out; None: needed, or nothing.
ROUNDS = {"rounds": 20, "contributions": 10, "steps": 5}
TAKES: dict[str, dict[str, Any]] = {
    "serve": {"log": "federation.sqlite", "host": "127.0.0.1", "port": 8000, "patience": 600, **ROUNDS},
    "join": {"url": "http://127.0.0.1:8000", "client": None, "share": None, "patience": 600, "out": None},
    "simulate": {"log": None, "clients": 100, "faults": 0.0, "csv": None, **ROUNDS},
}


def main(words: Sequence[str]) -> int:
    return carry_out(FEDERATED, words, federated, EXPECTED)


def federated(said: Said) -> int:
    """Play the role that was said; the exit code."""
    role, *more = said.named
    if role not in TAKES:
        raise WrongWords(f"{role} is no role; {nearest(role, TAKES)}choose one of {', '.join(TAKES)}")
    if more:
        raise WrongWords(f"{more[0]} is no role beside {role}; choose one of {', '.join(TAKES)}")
    given = {name: value for name, value in said.settings.items() if value is not None}
    for name in given:
        if name not in TAKES[role]:
            raise WrongWords(unknown(f"federated {role}", name, TAKES[role]))
    settings = {**TAKES[role], **given}
    {"serve": serve, "join": join, "simulate": simulated}[role](settings, said.of_a_run)
    return DONE


def task_of(words: Sequence[str]) -> Task:
    """What the words of a run describe, built."""
    config = composed(words)
    check_configuration(config)
    return build_task(config, RunRecord(key="", experiment=config["experiment"], config=config))


def serve(settings: Mapping[str, Any], words: Sequence[str]) -> None:
    if settings["port"] > LAST_PORT:
        raise WrongWords(f"port={settings['port']} is no port; choose 1 to {LAST_PORT}")
    terms = terms_of(task_of(words), **{name: settings[name] for name in ROUNDS})
    log = FederationLog(Path(settings["log"]), terms, settings["patience"])
    try:
        with server(log, settings["host"], settings["port"]) as serving:
            host, port = serving.server_address[:2]
            print(
                f"serving http://{host}:{port} from round {log.round} of {terms.rounds}; stop it at any time",
                flush=True,
            )
            serving.serve_forever()
    finally:
        log.close()


def join(settings: Mapping[str, Any], words: Sequence[str]) -> None:
    name, url = settings["client"], settings["url"]
    if name is None:
        raise WrongWords("client is missing; write client=…, a name that no other client has")
    if not NAME.fullmatch(name):
        raise WrongWords(f"client={name} is no name; write 1 to 64 letters, digits, dots, - or _")
    if not is_address(url):
        raise WrongWords(f"url={url} is no address; write one such as {TAKES['join']['url']}")
    task = task_of(words)
    own = share_of(task, *settings["share"]) if settings["share"] else task
    client = Client(name, own, over_http(url, settings["patience"], print))
    client.take_part(print)
    print(f"over after {client.round} rounds: accuracy {accuracy(task):.2%}")
    if settings["out"]:
        path = Path(settings["out"]) / EXPORTED
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(path, to_keep(client.replica.model))
        print(f"{path}: for start_from={path.parent}")


def is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def simulated(settings: Mapping[str, Any], words: Sequence[str]) -> None:
    numbers = {name: settings[name] for name in ("clients", "faults", *ROUNDS)}

    def at(path: Path) -> dict[str, Any]:
        return simulate(lambda: task_of(words), path, **numbers)

    if settings["log"]:
        row = at(Path(settings["log"]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            row = at(Path(folder) / "federation.sqlite")
    if settings["csv"]:
        append_csv(Path(settings["csv"]), [{**row, "commit": commit()[0][:12]}], "the record of a simulation")
    for name, value in row.items():
        print(f"{name.replace('_', ' '):20}{value}")
