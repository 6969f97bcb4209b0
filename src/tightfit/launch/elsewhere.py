"""One run of a sweep on another machine, which has the configuration and the file system and nothing else of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tightfit.records.places import add_own_code
from tightfit.run.faults import EXPECTED
from tightfit.run.session import carry_out


def outcome_of(config: Mapping[str, Any], words: Sequence[str]) -> tuple[str, str]:
    """How the run that `config` describes ended, and why, in words that need none of our classes to be read."""
    add_own_code()
    try:
        outcome = carry_out(config, words)
    except EXPECTED as error:
        return "failed", str(error)
    return outcome.status, outcome.reason


class Resumable:
    """The same as a job that submitit puts into the queue again when its time is over, or another needs its place."""

    def __call__(self, config: Mapping[str, Any], words: Sequence[str]) -> tuple[str, str]:
        try:
            return outcome_of(config, words)
        except KeyboardInterrupt as stop:  # the job is to end, and nobody begins it again
            return "failed", str(stop)

    def checkpoint(self, config: Mapping[str, Any], words: Sequence[str]) -> Any:
        from submitit.helpers import DelayedSubmission  # of the extra `slurm`

        return DelayedSubmission(self, config, words)
