"""What every run starts with does not import PyTorch's compiler, which takes seconds."""

import subprocess
import sys

START_OF_A_RUN = """
import sys, torch
from tightfit.memory.measured import peak_live_bytes
from tightfit.memory.table import layer_table
from tightfit.models.lenet5 import lenet5
model = lenet5(10, seed=0)
layer_table(model, (1, 28, 28))
with torch.no_grad():
    peak_live_bytes(lambda: model(torch.zeros(2, 1, 28, 28)), model.parameters())
print("torch._dynamo" in sys.modules)
"""


def test_the_table_and_the_peak_of_a_small_model_leave_the_compiler_alone() -> None:
    assert subprocess.check_output([sys.executable, "-c", START_OF_A_RUN], text=True) == "False\n"
