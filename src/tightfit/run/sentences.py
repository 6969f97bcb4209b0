"""What a run says of its data before it trains, and of itself when it has ended, read from its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tightfit.memory.budget import readable
from tightfit.records.record import RunRecord


def of_data(dataset: Mapping[str, Any]) -> str:
    """How much there is to train on and to score, and what a model that knows nothing would reach.

    dataset: as a record has it, see `Dataset.balance`.
    """
    trained, scored = dataset["train_counts"], dataset["scored_counts"]
    dropped = next((count for name, count in dataset.items() if name.endswith("_dropped")), 0)
    return (
        f"{sum(trained):,} examples to train on and {sum(scored):,} of {dataset['scored']} to score, in "
        f"{dataset['classes']} classes of {spread(scored)}; always answering the most frequent one is right for "
        f"{dataset['majority_accuracy']:.2%}" + (f"; {dropped:,} were dropped" if dropped else "")
    )


def spread(counts: list[int]) -> str:
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def of_end(record: RunRecord, folder: object) -> str:
    """How the run ended, with what it reached and what it took."""
    end = f"{record.status}: {record.reason}" if record.reason else record.status
    summary, memory, dataset = record.summary, record.memory, record.dataset
    if "final_accuracy" not in summary:
        return end if record.reason else f"{end} in {folder}"
    baseline = dataset.get("majority_accuracy")
    told = [
        f"{dataset['scored']} accuracy {summary['final_accuracy']:.2%} (best {summary['best_accuracy']:.2%}"
        + (f", most frequent class {baseline:.2%})" if baseline is not None else ")"),
        *of_metrics(summary),
        f"batch {memory['batch_size']}",
        f"peak {readable(summary['peak_bytes'])} of "
        + (f"{readable(memory['budget_bytes'])}" if memory["budget_bytes"] else "unlimited memory"),
        f"{summary['train_seconds']:.1f} s of training",
    ]
    if "kept_step" in summary:
        told.append(f"kept are the weights of step {summary['kept_step']:,}")
    return f"{end}; {', '.join(told)}; in {folder}"


def of_metrics(summary: Mapping[str, Any]) -> list[str]:
    """The metrics beside accuracy, where they are on record: one class that is never answered shows in the recall."""
    if "final_macro_f1" not in summary:
        return []
    found = [recall for recall in summary["final_recall"] if recall is not None]
    lowest = f"lowest recall of a class {min(found):.2%}"
    return [f"macro F1 {summary['final_macro_f1']:.3f}", f"Matthews {summary['final_matthews']:.3f}", lowest]
