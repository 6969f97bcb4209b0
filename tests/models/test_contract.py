"""What every option of conf/model must do. A new one joins by its file there; what it reads is told by its traits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hydra import compose, initialize_config_dir
from torch import nn

from tests.models.test_language_model import LLAMA, WORDS, bert, tokenizer_of_words
from tightfit.datasets.batches import Batches, encoding_for
from tightfit.datasets.dataset import Dataset
from tightfit.datasets.routes import cache_folder
from tightfit.memory.parts import trained_blocks, trained_parameters
from tightfit.memory.table import layer_table
from tightfit.models.adapters.mp_lora import MPLoRA
from tightfit.models.base import blocks_of_modules, has_blocks, traits_of
from tightfit.models.int8_layers import Int8Sequential
from tightfit.models.packaged import MINILM, SMOLLM2
from tightfit.optimizers.base import Batch, Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.elastic_zo_int8 import ElasticZOInt8
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.niti_bp import NITIBP
from tightfit.optimizers.rules.sgd import SGD
from tightfit.program.program import TrainingStep
from tightfit.records.places import CONF
from tightfit.run.checkpoint import weights_digest
from tightfit.run.configuration import resolved
from tightfit.run.evaluate import cross_entropy, score
from tightfit.run.parts import build, build_dataset, build_tokenizer, without_descriptions
from tightfit.run.session import build_model

# For the classes of the data set below: 10, of clouds 3.
PARAMETERS = {
    "LeNet5": 107_786,
    "LeNet5Int8": 107_550,
    "LeNet5QAS": 107_786,
    "PointNet": 818_088 - 37 * 257,
    "VisionTransformer": 305_034,
}
PACKAGED = {"smollm2_135m": SMOLLM2, "smollm2_135m_lora": SMOLLM2, "minilm_l6": MINILM}
OPTIONS = [
    pytest.param(path.stem, marks=[pytest.mark.slow] if path.stem in PACKAGED else [])
    for path in sorted((Path(CONF) / "model").glob("*.yaml"))
]
WORDS_OF = {
    "minilm_l6": ["bad", "good"],  # a head answers
    "hf_causal_lm": ["bad", "good"],
    "hf_masked_lm": ["bad", "good"],
    "hf_classifier": ["bad", "good"],
}
IMAGES = {"_target_": "tests.synthetic.bars", "name": "bars", "count": 32}
CLOUDS = {"_target_": "tests.synthetic.boxes", "name": "boxes", "count": 32}
TEXTS = {"_target_": "tests.synthetic.sentences", "name": "sentences", "template": "{text} It was {label}"}


@dataclass(frozen=True)
class Subject:
    make: Callable[[], nn.Module]  # the model as a run builds it, adapter and all
    dataset: Dataset

    def batch(self) -> Batch:
        batches = Batches(self.dataset, 8, 0, "cpu", encoding_for(self.make(), self.dataset))
        return Batch(*batches.batch(0), step=0, epoch=0.0)


@cache
def folder_with(option: str, parent: Path) -> Path:
    """A folder with random weights, of the kind that `option` loads."""
    folder = parent / option
    folder.mkdir()
    if option == "hf_masked_lm":
        return bert(folder)
    settings = {**LLAMA, "vocab_size": len(WORDS)}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings)).save_pretrained(folder)
    return tokenizer_of_words(folder)


@pytest.fixture(scope="module", params=OPTIONS)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    option = request.param
    if option in PACKAGED and not (cache_folder(None) / PACKAGED[option]).exists():
        pytest.skip(f"the package of {option} was not fetched; a run of model={option} fetches it")
    words = [f"model={option}"]
    if option.startswith("hf_"):
        words.append(f"model.name={folder_with(option, tmp_path_factory.getbasetemp())}")
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        config: dict[str, Any] = resolved(compose("config", overrides=words))
    texts = {**TEXTS, "verbalizers": WORDS_OF.get(option, ["terrible", "great"])}
    config["dataset"] = texts if "tokenizer" in config["model"] else CLOUDS if option == "pointnet" else IMAGES
    tokenizer = build_tokenizer(config)
    dataset = build_dataset(config, tokenizer)
    adapter = build(without_descriptions(config["adapter"]))
    return Subject(lambda: build_model(config, dataset, tokenizer, adapter), dataset)


@pytest.fixture
def model(subject: Subject) -> nn.Module:
    return subject.make()


def test_it_is_the_same_again_from_its_seed(subject: Subject, model: nn.Module) -> None:
    assert weights_digest(subject.make()) == weights_digest(model)


def test_what_is_trained_lies_in_blocks_and_nothing_else_requires_gradients(model: nn.Module) -> None:
    trained = trained_parameters(model)
    blocks = trained_blocks(model)
    assert has_blocks(model)
    assert blocks_of_modules(model).keys() == {name for name, _ in model.named_modules()}
    assert [id(each) for block in blocks.values() for each in block] == [id(each) for _, each in trained]
    asking = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert isinstance(model, Int8Sequential) or asking == {name for name, _ in trained}


def test_its_table_has_all_parameters_and_as_many_layers_as_blocks(subject: Subject, model: nn.Module) -> None:
    table = layer_table(model, subject.dataset.example_shape)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert sum(row.parameters for row in table.rows) == count
    assert sum(row.trained_elements for row in table.rows) == sum(each.numel() for _, each in trained_parameters(model))
    assert table.weight_layers == len(trained_blocks(model))
    assert count == PARAMETERS.get(type(model).__name__, count)


def test_it_takes_what_its_encoding_makes_and_answers_each_class(subject: Subject, model: nn.Module) -> None:
    inputs = subject.batch().inputs
    assert inputs.dtype == traits_of(model).input_dtype
    with torch.no_grad():
        assert model(inputs).float().shape == (8, subject.dataset.classes)
    result = score(model, subject.dataset.test, encoding_for(model, subject.dataset))
    assert 0 <= result.accuracy <= 1
    assert torch.tensor(result.loss).isfinite()


def steps_of(model: nn.Module) -> list[Optimizer]:
    if isinstance(model, Int8Sequential):
        return [ElasticZOInt8(15, 0.33), NITIBP(bits=4)]
    if traits_of(model).rounded_to:
        return [MeZO(1.0, 1.0), Backprop(0.05, SGD())]
    return [MeZO(1e-4, 1e-3, clip=10.0), Backprop(1e-3, SGD())]


def test_a_step_of_either_kind_moves_what_is_trained_and_keeps_the_loss_finite(subject: Subject) -> None:
    batch = subject.batch()
    for place, optimizer in enumerate(steps_of(subject.make())):
        model = subject.make()
        trained = {name for name, _ in trained_parameters(model)}
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        learner = optimizer.bind(model, cross_entropy, 0)
        losses = [learner.step(batch).loss for _ in range(3)]
        moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
        assert torch.tensor(losses).isfinite().all()
        assert moved
        assert moved <= trained
        assert not place or isinstance(model, Int8Sequential) or losses[-1] < losses[0]  # along the gradient it falls


def has_linear_layers(model: nn.Module) -> bool:
    """Where adapters may belong, of PyTorch's kind: GPT-2's are not."""
    left_alone, block_of = traits_of(model).unadapted, blocks_of_modules(model)
    return any(type(part) is nn.Linear and block_of[name] not in left_alone for name, part in model.named_modules())


def test_with_adapters_that_programs_know_it_is_a_program(subject: Subject, model: nn.Module) -> None:
    if traits_of(model).frozen or not has_linear_layers(model):
        return
    MPLoRA(2, 4).inject(model, 0)
    batch = subject.batch()
    step = TrainingStep(model.eval(), 0, "rademacher", 2)
    with torch.no_grad():
        losses = step(*step.example(batch.inputs, batch.labels))
        plain = cross_entropy(subject.make().eval(), batch)
    torch.testing.assert_close(losses.mean(), plain, rtol=0.05, atol=0.05)  # B begins at zero, and eps is 0.01
