"""Directions that are no independent numbers: their law, their limits, and the same one for probe and update."""

from typing import Any

import pytest
import torch
from torch import nn

from tightfit.memory.table import layer_table
from tightfit.models.lenet5 import lenet5
from tightfit.numerics.noise import streams
from tightfit.numerics.noise.factored import rectangles
from tightfit.numerics.noise.flat import flat
from tightfit.numerics.noise.masked import BITS, packed, threshold_of
from tightfit.numerics.noise.streams import PIECE
from tightfit.optimizers.directions.independent import Independent
from tightfit.optimizers.directions.low_rank import LowRank
from tightfit.optimizers.directions.sparse import Sparse
from tightfit.optimizers.directions.subspace import Subspace
from tightfit.optimizers.mezo import MeZO
from tightfit.records.machine import has_numba
from tightfit.run.evaluate import cross_entropy

from .test_conformance import SHAPES, Model, at_rest, batch
from .test_contract import METHODS as CONTRACT
from .test_contract import bind, tiny_model, train, weights

MATRICES = [(3, 37), (1, 1, 10), (5, 2, 3, 3), (600, 53), (2, 2 * PIECE + 5), (1, 7), (7, 1)]
of_every_matrix = pytest.mark.parametrize("shape", MATRICES, ids=str)
both_restores = pytest.mark.parametrize("restore", ["merged", "exact"])


def moved(direction: Any, dtype: torch.dtype, restore: str, queries: int, shapes: Any = SHAPES) -> torch.Tensor:
    """The weights after three steps along given slopes."""
    model = Model(shapes, dtype)
    method = MeZO(0.1, 1e-2, queries=queries, restore=restore, direction=direction)
    learner = method.bind(model, lambda m, _: m().square().mean() * 100, seed=3)
    for step in range(3):
        learner.step(batch(step))
    learner.resting_model()
    return at_rest(model)


def stream_of(direction: Any, shape: tuple[int, ...], queries: int = 1) -> Any:
    parameter = nn.Parameter(torch.zeros(shape))
    return direction.perturbation([("weight", parameter)], 0, queries).streams[parameter]


def drawn(direction: Any, shape: tuple[int, ...], counter: int) -> torch.Tensor:
    return torch.cat(list(stream_of(direction, shape).draws(counter))).view(shape)


# What a direction is when its restriction restricts nothing.


@pytest.mark.filterwarnings("ignore:restore='merged' rounds")
@both_restores
@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mask_that_keeps_all_is_mezo_bit_for_bit(dtype: torch.dtype, queries: int, restore: str) -> None:
    for noise in ("gaussian", "rademacher"):
        masked = moved(Sparse(1.0, noise), dtype, restore, queries)
        assert torch.equal(masked, moved(Independent(noise), dtype, restore, queries))


@both_restores
def test_subspaces_that_are_the_whole_are_mezo_bit_for_bit(restore: str) -> None:
    whole = moved(Subspace(rank=1000), torch.float32, restore, 2, [(3, 37), (5, 2, 3, 3), (11,)])
    assert torch.equal(whole, moved(Independent(), torch.float32, restore, 2, [(3, 37), (5, 2, 3, 3), (11,)]))


@pytest.mark.parametrize("direction", [LowRank(), Subspace()])
def test_tensors_of_one_axis_move_as_by_mezo_bit_for_bit(direction: Any) -> None:
    vectors = [(), (17,), (40_003,)]
    factored = moved(direction, torch.float32, "merged", 2, vectors)
    assert torch.equal(factored, moved(Independent(), torch.float32, "merged", 2, vectors))


@pytest.mark.skipif(not has_numba(), reason="numba is not installed")
@pytest.mark.filterwarnings("ignore:restore='merged' rounds")
@both_restores
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "direction", [Sparse(0.4), Sparse(0.4, "rademacher"), Sparse(0.4, "gaussian_fast"), LowRank(3, 2), Subspace(3, 2)]
)
def test_compiled_pieces_are_the_same_to_the_bit(
    direction: Any, dtype: torch.dtype, restore: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = moved(direction, dtype, restore, 2, [*SHAPES, (300, 700)])
    monkeypatch.setattr(streams, "has_numba", lambda: False)
    assert torch.equal(compiled, moved(direction, dtype, restore, 2, [*SHAPES, (300, 700)]))


# Masks.


@both_restores
@pytest.mark.parametrize("queries", [1, 2])
def test_the_mask_is_that_of_the_weights_at_rest_at_both_ends_and_in_the_update(queries: int, restore: str) -> None:
    """Probes go ten times as far as weights are large: masks of perturbed weights would hardly agree."""
    model, seen = Model([(3, 37), (20_011,)]), []

    def objective(m: Any, _: Any) -> torch.Tensor:
        seen.append(m().detach().clone())
        return seen[-1].sum() / 10

    method = MeZO(0.001, 0.2, queries=queries, restore=restore, direction=Sparse(0.3, "rademacher"))
    learner = method.bind(model, objective, seed=0)
    thresholds = torch.tensor(learner.state_dict()["directions"])
    limits = thresholds[[0, 1, 1]].repeat_interleave(torch.tensor([111, 20_011, 20_011]))
    for step in range(5):
        learner.resting_model()
        before, seen[:] = at_rest(model), []
        learner.step(batch(step))
        learner.resting_model()
        small = before.abs() <= limits
        assert 0.02 < small.float().mean() < 0.35
        for weights_then in [*seen, at_rest(model)]:
            assert torch.equal(weights_then != before, small)


@both_restores
def test_large_weights_never_change_by_a_bit(restore: str) -> None:
    model = Model(SHAPES)
    learner = MeZO(0.01, 1e-2, restore=restore, direction=Sparse(0.25)).bind(
        model, lambda m, _: m().square().mean(), seed=0
    )
    before = [held.weight.detach().clone() for held in model.held]
    large = [w.abs() > limit for w, limit in zip(before, learner.state_dict()["directions"], strict=False)]
    for step in range(100):
        learner.step(batch(step))
    learner.resting_model()
    for held, was, frozen in zip(model.held, before, large, strict=False):
        assert torch.equal(held.weight[frozen].view(torch.int32), was[frozen].view(torch.int32))
        assert not torch.equal(held.weight[~frozen], was[~frozen])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1, 2, 17, PIECE + 1])
@pytest.mark.parametrize("keep", [1e-9, 0.25, 0.5, 0.999])
def test_the_threshold_is_the_magnitude_that_sorting_finds(keep: float, size: int, dtype: torch.dtype) -> None:
    values = torch.randn(size, generator=torch.Generator().manual_seed(size)).to(dtype)
    values[::3] = 0
    wanted = -(-int(keep * size * 1e9) // 10**9) or 1
    assert threshold_of(values, keep) == values.abs().sort().values[wanted - 1].item()


@pytest.mark.parametrize("size", [1, 8, 13, 4096])
def test_masks_survive_being_packed(size: int) -> None:
    mask = torch.rand(size, generator=torch.Generator().manual_seed(0)) < 0.3
    bits = packed(mask)
    assert bits.nbytes == -(-size // 8)
    assert torch.equal(BITS[bits.int()].view(-1)[:size], mask)


def test_thresholds_are_saved_with_the_weights_they_were_taken_of() -> None:
    whole, part = bind(CONTRACT["sparse_mezo"]), bind(CONTRACT["sparse_mezo"])
    train(whole, range(6))
    train(part, range(3))
    of_other_weights = CONTRACT["sparse_mezo"].optimizer.bind(tiny_model(seed=1), cross_entropy, 0)
    train(of_other_weights, range(2, 4))  # and has a mask for the next step already
    of_other_weights.load_state_dict(part.state_dict())
    train(of_other_weights, range(3, 6))
    assert torch.equal(weights(whole), weights(of_other_weights))


# Factors.


@of_every_matrix
@pytest.mark.parametrize("direction", [LowRank(4, 10), LowRank(1, 1), Subspace(4, 10)])
def test_pieces_are_those_of_the_product_of_the_factors(direction: Any, shape: tuple[int, ...]) -> None:
    stream = stream_of(direction, shape)
    left, right = (factor.double() for factor in stream.factors(7))
    assert torch.allclose(drawn(direction, shape, 7).flatten(), (left.T @ right).flatten().float(), atol=2e-6)


def test_rectangles_cover_a_range_once_and_in_order() -> None:
    for width, start, stop in [(5, 0, 15), (5, 3, 19), (100, 30, 60), (1, 2, 9), (7, 7, 14), (7, 6, 8)]:
        places = [
            row * width + column
            for rows, columns in rectangles(start, stop, width)
            for row in range(rows.start, rows.stop)
            for column in range(columns.start, columns.stop)
        ]
        assert places == list(range(start, stop))


def test_kernels_of_other_layouts_move_in_the_order_of_their_memory() -> None:
    kernel = nn.Parameter(torch.zeros(6, 4, 3, 3).to(memory_format=torch.channels_last))
    perturbation = LowRank(2, 5).perturbation([("weight", kernel)], 0, 1)
    perturbation.add_(1.0, step=0)
    assert torch.linalg.matrix_rank(flat(kernel.data).view(6, 36)) == 2


@pytest.mark.parametrize("direction", [LowRank(2, 5), Subspace(2, 5)])
def test_a_direction_is_of_its_rank_and_the_columns_stay_for_a_period(direction: Any) -> None:
    first, within, after = (drawn(direction, (20, 30), counter).double() for counter in (0, 4, 5))
    assert torch.linalg.matrix_rank(first, rtol=1e-4) == 2
    assert torch.linalg.matrix_rank(torch.cat([first, within]), rtol=1e-4) == 2
    assert torch.linalg.matrix_rank(torch.cat([first, after]), rtol=1e-4) == 4


def test_all_queries_of_a_step_share_the_columns() -> None:
    direction = LowRank(2, 5)
    stream = stream_of(direction, (20, 30), queries=3)
    columns = [stream.factors(counter)[1] for counter in (0, 14, 15)]
    assert torch.equal(columns[0], columns[1])
    assert not torch.equal(columns[0], columns[2])


@of_every_matrix
def test_bases_of_subspaces_are_orthonormal(shape: tuple[int, ...]) -> None:
    stream = stream_of(Subspace(3, 5), shape)
    for part, side, rank in zip(("rows", "columns"), stream.shape, stream.ranks, strict=True):
        basis = stream.orthonormal(part, 0, side, rank)
        assert torch.allclose(basis.T @ basis, torch.eye(rank, dtype=basis.dtype), atol=1e-12)


@pytest.mark.parametrize("direction", [LowRank(1, 1), LowRank(4, 1), Subspace(3, 1)])
@pytest.mark.parametrize("shape", [(6, 5), (2, 15), (30, 1)])
def test_directions_are_unbiased_and_as_long_as_independent_numbers(direction: Any, shape: tuple[int, int]) -> None:
    """E[⟨g, z⟩ z] = g, so also E‖z‖² = m n, over many periods."""
    count, stream = 4_000, stream_of(direction, shape)
    z = torch.stack([next(stream.draws(counter)) for counter in range(count)]).double()  # (count, m n)
    second = z.T @ z / count
    # Fourth moments of products of two normals are nine: an entry's error is at most sqrt(9 / count) = 0.047.
    assert (second - torch.eye(30)).abs().max() < 5 * 0.047


# What they hold, and what they refuse.


def test_bytes_are_those_of_bits_and_of_the_factors_of_the_largest_matrix() -> None:
    """LeNet-5: kernels 6 × 25 and 16 × 150, matrices 120 × 784, 84 × 120 and 10 × 84, and five biases."""
    rows = layer_table(lenet5(10, 0), (1, 28, 28)).rows
    sizes = [150, 6, 2400, 16, 120 * 784, 120, 84 * 120, 84, 840, 10]
    assert Sparse().bytes_held(rows, "merged") == sum(-(-size // 8) for size in sizes)
    assert LowRank(4).bytes_held(rows, "merged") == 4 * 4 * (120 + 784)
    assert LowRank(200).bytes_held(rows, "merged") == 4 * 120 * (120 + 784)
    assert Subspace(8).bytes_held(rows, "merged") == 4 * 8 * (120 + 784)
    assert LowRank(4).bytes_held(rows, "exact") == 4 * 4 * (120 + 784) + 4 * (120 * 784 + 120)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Sparse(0.0), "keep=0.0 but some weights must move; choose 0 < keep ≤ 1"),
        (lambda: Sparse(1.5), "keep=1.5"),
        (lambda: Sparse(0.5, "torch_gaussian"), "numbers='torch_gaussian'"),
        (lambda: LowRank(0), "rank=0 but it counts from 1; choose 1 or more"),
        (lambda: LowRank(1, 0), "period=0"),
        (lambda: Subspace(2.5), "rank=2.5"),
        (lambda: Subspace(2, -1), "period=-1"),
    ],
)
def test_settings_out_of_range_are_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        make()


@pytest.mark.parametrize("direction", [Sparse(), LowRank(), Subspace()])
def test_weights_that_counters_do_not_serve_are_refused_by_name(direction: Any) -> None:
    model = nn.Linear(3, 3).double()
    with pytest.raises(ValueError, match=r"weight is torch\.float64"):
        MeZO(0.1, 1e-3, direction=direction).bind(model, cross_entropy, seed=0)
