"""The runs of the first protocol as records: `python experiments/first_protocol.py`, from this repository's history.

Until commit 10f6927 a run was committed as a row of a table, without its settings. What names a run, its key, is the
sha256 of its settings, so that they can be found again: every sweep is composed as it was at the commits below, and
the settings whose digest is a recorded key are those of that run. What was not written down then (digests of weights
and data, the processor beyond its name) is not in these records.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LAST = "10f6927"  # the last commit of the first protocol: its results, and the settings of most runs
SINCE_CHANGED = {  # settings that were others when runs were recorded: the commit, and the sweeps of that time
    "4ac1046": ["elasticzo/tuning/full_zo"],
    "fa495a8": ["elasticzo/table1"],
    "b7cad44": ["elasticzo/tuning/full_zo_int8"],
    "d20efb5": ["elasticzo/table1_int8"],
    "52a1f56": ["elasticzo/table1_int8_star", "elasticzo/tuning/table2_int8"],
    "15ee574": ["elasticzo/loss_sign"],
    "1dcb63c": ["on_device_mezo/fine_tuning"],
}
UNCOUNTED = ("tracker", "paths")  # parts of a configuration that are in no key
ADDED = {"noise": "gaussian", "restore": "merged"}  # to optimizers after runs, with what those did: no part of a key
KINDS = ("parameters", "activations", "gradients", "errors", "optimizer_state", "total")
PEAKS = ("peak_live_bytes", "peak_live_inference_bytes", "measured_peak_bytes", "measured_inference_peak_bytes")
PHASES = ("forward", "backward", "perturb", "update")
RULES = {"BPSGD": "sgd", "BPAdam": "adam", "NITIBP": "niti", "ElasticZO": "sgd", "ElasticZOInt8": "niti"}


def first_key(config: Mapping[str, Any]) -> str:
    """The key that a run of these settings had under the first protocol."""
    dataset = {name: value for name, value in config["dataset"].items() if name not in ("folder", "cache", "title")}
    optimizer = {n: value for n, value in config["optimizer"].items() if n != "kernel" and ADDED.get(n) != value}
    return digest({**config, "dataset": dataset, "optimizer": optimizer})


def earliest_key(config: Mapping[str, Any]) -> str:
    """The key of the first six runs, made before places of data were left out of it."""
    return digest(config)


def digest(config: Mapping[str, Any]) -> str:
    counted = {name: value for name, value in config.items() if name not in UNCOUNTED}
    return hashlib.sha256(json.dumps(counted, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def main() -> None:
    tables = {path: rows_of(path) for path in committed_tables()}
    every = [row for rows in tables.values() for row in rows]
    wanted = {row["key"] for row in every}
    recorded = {(row["experiment"], row["profile"]) for row in every}
    found: dict[str, dict[str, Any]] = {}  # by key: the settings of a run, and what they were composed from
    for commit, names in {LAST: [], **SINCE_CHANGED}.items():
        for config, command in configurations(commit, names, recorded):
            known = {"config": config, "command": command, "settings_from": commit}
            found |= {key: known for key in (first_key(config), earliest_key(config)) if key in wanted}
        print(f"{commit}: settings of {len(found)} of {len(wanted)} runs are known", flush=True)
    for path, rows in tables.items():
        lines = [written({**record(row, found[row["key"]]["config"]), **found[row["key"]]}) for row in rows]
        (ROOT / path.replace("_runs.csv", ".jsonl")).write_text("".join(lines))


def written(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def git(*words: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True).stdout


def committed_tables() -> list[str]:
    paths = git("ls-tree", "-r", "--name-only", LAST, "experiments").decode().splitlines()
    return [path for path in paths if path.endswith("_runs.csv")]


def rows_of(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(git("show", f"{LAST}:{path}").decode())))


def configurations(
    commit: str, names: list[str], recorded: set[tuple[str, str]]
) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """As `sweep`, of all runs of the sweeps `names`, of all there were where none is named, as of `commit`.

    recorded: the experiments and their profiles that are of interest.
    """
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(git("archive", commit, "conf", "experiments"))) as archive:
            archive.extractall(folder, filter="data")
        root = Path(folder)
        sweeps = sorted(path for path in root.rglob("*.yaml") if "mode: MULTIRUN" in path.read_text())
        every = [str(path.relative_to(root / "experiments").with_suffix("")) for path in sweeps]
        for name, profile in itertools.product(names or every, sorted({profile for _, profile in recorded})):
            runs = sweep(root, [f"experiments={name}", f"profile={profile}"])
            yield from itertools.takewhile(lambda run: (run[0]["experiment"], run[0]["profile"]) in recorded, runs)


def sweep(root: Path, words: list[str]) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """The settings of each run of a sweep, resolved by the configurations in `root`, and the words they come from."""
    from hydra import compose, initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    os.environ["TIGHTFIT_ROOT"] = str(root)
    with initialize_config_dir(config_dir=str(root / "conf"), version_base="1.3"):
        swept = compose("config", overrides=words, return_hydra_config=True).hydra.sweeper.params
        parsed = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in swept.items()])
        choices = [
            [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
            if one.is_sweep_override()
            else [str(one.input_line)]
            for one in parsed
        ]
        for chosen in itertools.product(*choices):
            command = [*words, *chosen]
            config = OmegaConf.to_container(compose("config", overrides=command), resolve=True)
            assert isinstance(config, dict)
            yield {str(name): value for name, value in config.items() if name not in UNCOUNTED}, command


def record(row: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    """The record of the run in `row`, which had these settings."""
    names = ("final_accuracy", "best_accuracy", "initial_accuracy", "final_loss")
    times = ("train_seconds", "train_cpu_seconds", "eval_seconds")
    counts = ("steps", "forward_passes", "backward_passes")
    return {
        **{name: row[name] for name in ("key", "experiment", "status", "reason", "started_at", "commit")},
        "dirty": row["dirty"] == "True",
        "config": dict(config),
        "method": method_facts(row, config),
        "machine": present(row, ("cpu", "device", "python", "torch"), str) | present(row, ("cores", "threads"), int),
        "dataset": {"name": row["dataset"], "scored": row["split"]}
        | ({"scored_size": int(row["split_examples"])} if row["split_examples"] else {}),
        "model": {"name": row["model"]},
        "memory": {
            "analytic": {kind: int(row[f"{kind}_bytes"]) for kind in KINDS if row[f"{kind}_bytes"]},
            **present(row, ("batch_size", "budget_bytes", *PEAKS), int),
        },
        "phase_seconds": {phase: float(row[f"{phase}_seconds"]) for phase in PHASES if row[f"{phase}_seconds"]},
        "summary": present(row, (*names, *times), float) | present(row, counts, int),
        "protocol": 1,
        "schema": 2,
    }


def present(row: Mapping[str, str], names: tuple[str, ...], kind: type) -> dict[str, Any]:
    return {name: kind(row[name]) for name in names if row.get(name)}


def method_facts(row: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    """What the method was made of, by its class and settings: those of the smaller model, where that was trained."""
    while config["model"]["name"] != row["model"]:
        config = {**config, "smaller": None, **config["smaller"]}
    optimizer, model = config["optimizer"], config["model"]
    kind = optimizer["_target_"].rpartition(".")[2]
    plain = kind.removesuffix("Checkpointed")
    backward = backward_passes(plain, optimizer)
    is_plain = plain in ("BPSGD", "BPAdam")
    integers = plain in ("ElasticZOInt8", "ZOInt8", "NITIBP")
    probes = not is_plain and plain != "NITIBP"
    # In today's words: what was called gaussian is the stream of PyTorch's generator.
    drawn = {"gaussian": "torch_gaussian"}
    noise = "uniform" if integers else drawn.get(said := optimizer.get("noise", "gaussian"), said)
    arithmetic = "int8" if integers else model.get("dtype", "float32")
    lora = "lora" if model.get("lora") else None
    return {
        "backpropagates": backward > 0,
        "forward_passes": forward_passes(kind, optimizer),
        "backward_passes": backward,
        "queries": optimizer.get("queries", 1) if probes else 0,
        "noise": noise if probes else None,
        "rule": RULES.get(plain) if backward else None,
        "activations": ("kept" if kind == plain else "checkpointed") if is_plain else None,
        "adapter": "mp_lora" if plain == "PRGE" else lora,
        "arithmetic": arithmetic + (" with integer loss" if optimizer.get("loss_sign") == "integer" else ""),
    }


def backward_passes(kind: str, optimizer: Mapping[str, Any]) -> int:
    """Of a step."""
    if kind in ("BPSGD", "BPAdam", "NITIBP"):
        return 1
    return (2 if optimizer.get("bp_pass") == "mean" else 1) if optimizer.get("bp_layers") else 0


def forward_passes(kind: str, optimizer: Mapping[str, Any]) -> int:
    """Of a step."""
    if kind == "PRGE":
        sides = {"both": 1, "outer": 2, "inner": optimizer["queries"], "none": 2 * optimizer["queries"]}
        return sides[optimizer["parallel"]]
    if kind in ("BPSGD", "BPAdam", "NITIBP"):
        return 1
    return 2 * optimizer.get("queries", 1)  # a checkpointed step makes its forward pass twice


if __name__ == "__main__":
    main()
