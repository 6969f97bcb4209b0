"""A worker that torchrun starts for a test: runs the configuration in a file, and may kill itself at a step, once."""

import json
import os
import signal
import sys
from pathlib import Path

from tightfit.optimizers.base import Batch, Report
from tightfit.optimizers.zeroth_order import ZerothOrderLearner
from tightfit.run.group import rank
from tightfit.run.session import carry_out


def killing_itself_at(step: int) -> None:
    """The second worker is killed as it begins this step, unless it was restarted."""
    stepping = ZerothOrderLearner.step

    def step_or_die(learner: ZerothOrderLearner, batch: Batch) -> Report:
        if batch.step == step and rank() == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        return stepping(learner, batch)

    ZerothOrderLearner.step = step_or_die  # type: ignore[method-assign]


if __name__ == "__main__":
    if len(sys.argv) > 2:
        killing_itself_at(int(sys.argv[2]))
    sys.exit(carry_out(json.loads(Path(sys.argv[1]).read_text())).status == "failed")
