"""AdaZeta is a composition: MeZO of tensor trains, along directions that become more as the paper's do."""

from hydra import compose, initialize_config_dir

from tightfit.models.adapters.tt import TensorTrains
from tightfit.optimizers.mezo import MeZO
from tightfit.records.places import CONF
from tightfit.run.configuration import resolved
from tightfit.run.parts import build, without_descriptions


def test_directions_grow_with_epochs_between_one_and_the_most() -> None:
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        config = resolved(compose("config", overrides=["optimizer=adazeta"]))
    method, adapter = (build(without_descriptions(config[part])) for part in ("optimizer", "adapter"))
    assert isinstance(method, MeZO)
    assert isinstance(adapter, TensorTrains)
    epochs = (0, 3.9, 4, 15.9, 16, 400.5, 899.9, 900, 10_000)  # ⌊0.5 √epoch⌋
    assert [method.queries_at(epoch) for epoch in epochs] == [1, 1, 1, 1, 2, 10, 14, 15, 15]
