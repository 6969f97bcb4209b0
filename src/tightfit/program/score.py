"""Score adapters that a device trained, in the framework: `python -m tightfit.device_score run=… adapters=…`.

The model and the data are built as the run's record says; only the adapters come from the file. Say `trust=true`
where the record names a model or a data set that is code of your own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tightfit.datasets.stream import encoding_for
from tightfit.models.adapters.mp_lora import adapters_of
from tightfit.program.export import folder_of, prepared
from tightfit.run.evaluate import Score, cross_entropy, score
from tightfit.run.session import EXPECTED, check_code
from tightfit.settings import asks_for_help, read_settings, without_trust


def score_adapters(folder: Path, path: Path) -> Score:
    """Accuracy and loss, on the scored split, of the run's model with the adapters in `path`.

    Raises ValueError when they are not of this model.
    """
    from safetensors.torch import load_file  # of the extra `export`

    _, optimizer, run = prepared(folder)
    optimizer.bind(run.task.model, cross_entropy, run.task.seed)
    trained, own = load_file(path), {f"{name}.B": adapter.B for name, adapter in adapters_of(run.task.model).items()}
    shapes = [{name: tuple(B.shape) for name, B in each.items()} for each in (trained, own)]
    if shapes[0] != shapes[1]:
        different = sorted(set(shapes[0].items()) ^ set(shapes[1].items()))
        raise ValueError(f"{path} does not fit the run's model: {len(different)} differences, as {different[0]}")
    with torch.no_grad():
        for name, B in own.items():
            B.copy_(trained[name])
    return score(run.task.model, run.scored, encoding_for(run.task.model, run.task.dataset))


def main(arguments: list[str]) -> int:
    if asks_for_help(arguments):
        print(__doc__)
        return 0
    try:
        words, trusted = without_trust(arguments)
        settings = read_settings(words, {"run": "", "adapters": ""})
        folder, path = folder_of(str(settings["run"])), Path(str(settings["adapters"]))
        check_code(folder, trusted)
        result = score_adapters(folder, path)
    except EXPECTED as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"accuracy {result.accuracy:.2%}, loss {result.loss:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
