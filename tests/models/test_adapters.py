"""Adapters on any model: what is trained, in which blocks, by which words of a command line, former ones too."""

import re
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from tests.synthetic import adapted
from tests.test_session import config
from tightfit.memory.parts import trained_blocks, trained_parameters
from tightfit.memory.table import layer_table, parameter_bytes
from tightfit.models.adapters.adapter import Adapter, NoAdapter
from tightfit.models.adapters.lora import LoRA
from tightfit.models.adapters.mp_lora import MPLoRA
from tightfit.models.adapters.tt import TensorTrains
from tightfit.models.base import traits_of
from tightfit.models.lenet5 import lenet5
from tightfit.models.pointnet import pointnet
from tightfit.optimizers.base import Batch
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.rules.sgd import SGD
from tightfit.records.places import CONF
from tightfit.run.configuration import resolved
from tightfit.run.evaluate import cross_entropy
from tightfit.run.parts import check_parts
from tightfit.run.session import carry_out
from tightfit.run.spellings import in_todays_words

IMAGES = Batch(torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.arange(8), 0, 0.0)
EACH: dict[str, Adapter] = {"lora": LoRA(2, 4), "lora_8_bits": LoRA(2, 4, frozen_bits=8), "mp_lora": MPLoRA(2, 4)}
EACH["tt"] = TensorTrains(2, width=4, modes=2)
# Parameters whose gradient is zero while others are: those before the factor that an adapter begins with as zeros.
BEFORE_ZEROS = re.compile(r"lora_A|\.down\.|\.up\.core_[0-2]$")
each_adapter = pytest.mark.parametrize("adapter", EACH.values(), ids=EACH)


@each_adapter
def test_a_network_of_any_kind_begins_as_it_was_and_trains_the_adapter_alone(adapter: Adapter) -> None:
    plain, model = lenet5(10, 0), lenet5(10, 0)
    trained = adapter.inject(model, seed=0)
    torch.testing.assert_close(
        model(IMAGES.inputs), plain(IMAGES.inputs), atol=1e-2, rtol=1e-2
    )  # of 8 bits; else equal
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    assert trained == [name for name, _ in trained_parameters(model)]
    Backprop(0.1, SGD()).bind(model, cross_entropy, 0).step(IMAGES)
    moved = {name for name, weights in model.state_dict().items() if not torch.equal(weights, before[name])}
    assert moved == {name for name in trained if not BEFORE_ZEROS.search(name)}


@each_adapter
def test_parts_of_an_adapter_belong_to_the_block_of_their_layer(adapter: Adapter) -> None:
    model = adapted(lenet5(10, 0), adapter)
    assert list(trained_blocks(model)) == ["fc1", "fc2", "fc3"]
    table = layer_table(model, (1, 28, 28))
    assert table.weight_layers == 3
    everything = [*model.parameters(), *(buffer for name, buffer in model.named_buffers() if name.endswith("A"))]
    assert sum(row.parameters for row in table.rows) == sum(tensor.numel() for tensor in everything)
    before = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    learner = ElasticZO(lr=0.0, eps=1e-2, bp_lr=1.0, bp_layers=1).bind(model, cross_entropy, 0)
    learner.step(IMAGES)
    model = learner.resting_model()
    moved = {name for name, weights in model.named_parameters() if (weights - before[name]).abs().max() > 1e-4}
    assert moved
    assert all(name.startswith("fc3.") for name in moved)


def test_an_adapter_of_a_model_with_blocks_of_its_own_leaves_them() -> None:
    model = adapted(pointnet(10, 0), LoRA(2, targets="^fc|feature1"))
    assert list(trained_blocks(model)) == ["feature1", "fc1", "fc2", "fc3"]
    assert traits_of(model).scoring_batch == 32


def test_targets_are_names_or_an_expression_for_them() -> None:
    by_name, by_expression = (LoRA(2, targets=targets).inject(lenet5(10, 0), 0) for targets in (["fc1"], "fc[1]$"))
    assert by_name == by_expression
    assert len(by_name) == 2


def test_no_adapter_leaves_all_weights_to_train() -> None:
    model = lenet5(10, 0)
    assert NoAdapter().inject(model, 0) == [name for name, _ in model.named_parameters()]


@pytest.mark.parametrize("adapter", [LoRA(2), MPLoRA(2), TensorTrains()])
def test_a_model_without_linear_layers_is_refused(adapter: Adapter) -> None:
    with pytest.raises(ValueError, match="adapters belong to linear layers, but this model has none"):
        adapter.inject(nn.Sequential(nn.Conv2d(1, 2, 3)), 0)


def composed(*words: str) -> dict[str, Any]:
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return resolved(compose("config", overrides=in_todays_words(words)))


@pytest.mark.parametrize(
    ("words", "adapter", "settings"),
    [
        ("optimizer=mezo", "none", {}),
        ("optimizer=p_rge", "mp_lora", {"rank": 16, "alpha": 32, "targets": None}),
        ("optimizer=p_rge optimizer.rank=4 optimizer.alpha=8", "mp_lora", {"rank": 4, "alpha": 8}),
        ("model=llama_tiny_lora dataset=vader", "lora", {"rank": 8, "alpha": 16}),
        (
            "model=llama_tiny_lora dataset=vader model.lora.rank=2 model.frozen_bits=4",
            "lora",
            {"rank": 2, "frozen_bits": 4},
        ),
        ("model=llama_tiny_lora dataset=vader model.lora=null", "none", {}),
        ("model=llama_tiny_lora dataset=vader adapter=mp_lora adapter.rank=3", "mp_lora", {"rank": 3}),
        ("adapter=lora adapter.targets=fc", "lora", {"targets": "fc"}),
        ("optimizer=adazeta", "tt", {"rank": 5, "width": 64, "targets": None}),
        ("optimizer=adazeta adapter=lora", "lora", {"rank": 8}),
    ],
)
def test_words_choose_an_adapter(words: str, adapter: str, settings: dict[str, Any]) -> None:
    config = composed(*words.split())
    assert config["adapter"]["name"] == adapter
    assert settings.items() <= config["adapter"].items()
    check_parts(config)


def test_two_parts_that_choose_different_adapters_end_in_one_line(tmp_path: Any) -> None:
    words = ["model=llama_tiny_lora", "optimizer=p_rge", "dataset=vader", "tracker=local", f"paths.runs={tmp_path}"]
    small = {"_target_": "tests.synthetic.sentences", "name": "s", "template": "{text} It was {label}"}
    outcome = carry_out({**composed(*words), "dataset": small})
    assert outcome.reason.endswith("adapters, and this model has none; choose adapter=mp_lora")


def test_pretraining_trains_the_model_itself_and_an_adapter_comes_after(tmp_path: Any) -> None:
    mp_lora = {"_target_": "tightfit.models.adapters.mp_lora.MPLoRA", "name": "mp_lora", "rank": 2, "alpha": 4}
    p_rge = {"_target_": "tightfit.optimizers.p_rge.PRGE", "name": "p_rge", "lr": 0.1, "eps": 0.1}
    bp = config(tmp_path)["optimizer"]
    described = config(tmp_path, optimizer=p_rge, adapter=mp_lora, pretraining={"optimizer": bp})
    assert carry_out(described).status == "finished"
    with pytest.raises(ValueError, match=r"pretraining.adapter is not read: an adapter comes after"):
        carry_out({**described, "pretraining": {"optimizer": bp, "adapter": mp_lora}})


class Undivided(nn.Module):
    """No sequence, and says nothing of its blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(inputs).relu())


def test_layers_of_a_model_without_blocks_cannot_be_counted() -> None:
    with pytest.raises(ValueError, match="Undivided is no sequence and names no blocks, so bp_layers counts nothing"):
        ElasticZO(0.1, 0.1, bp_lr=0.1, bp_layers=1).bind(Undivided(), cross_entropy, 0)
    batch = Batch(torch.ones(2, 4), torch.tensor([0, 1]), 0, 0.0)
    for method in (MeZO(0.1, 0.1), ElasticZO(0.1, 0.1, bp_lr=0.1, bp_layers=0)):
        assert method.bind(Undivided(), cross_entropy, 0).step(batch).loss > 0
    assert parameter_bytes(layer_table(adapted(Undivided(), LoRA(2)), (4,)).rows) > 0


@pytest.mark.parametrize(("name", "value"), [("scoring_batch", 3), ("blocks", dict), ("input_dtype", torch.int8)])
def test_what_a_model_says_in_another_place_is_refused_and_not_ignored(name: str, value: Any) -> None:
    model: Any = Undivided()
    setattr(model, name, value)
    with pytest.raises(ValueError, match=rf"Undivided.{name} is not read; say it in traits = .*Traits\({name}=…\)"):
        traits_of(model)
    model = Undivided()
    model.traits = {name: value}
    with pytest.raises(ValueError, match=r"Undivided.traits is no Traits; write traits = Traits\(…\)"):
        traits_of(model)
