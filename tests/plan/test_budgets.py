"""What fits into a device: its end is exact, and near what the papers say."""

import re

import pytest

from tightfit.plan.models import llama2
from tightfit.records.places import CONF

from .asked import only, plan


def test_what_a_device_keeps_for_its_system_is_not_planned_with(capsys) -> None:
    for reserve, left in (("1GiB", 5), ("2GiB", 4)):
        row = only(capsys, "device=phone_6gb", f"device.reserve={reserve}", "optimizer=mezo")
        assert row["budget_bytes"] == left * 2**30


@pytest.mark.parametrize("device", sorted(path.stem for path in (CONF / "memory_budget").glob("*.yaml")))
def test_a_device_with_a_speed_says_where_it_is_published(device: str) -> None:
    text = (CONF / "memory_budget" / f"{device}.yaml").read_text()
    for name in ("flops_per_second", "bytes_per_second"):
        if f"\n{name}: " in text:
            assert re.search(r"data sheet|brief|white paper", text, re.IGNORECASE)


def test_a_device_of_unknown_speed_has_no_seconds(capsys) -> None:
    assert only(capsys, "device=phone_4gb", "optimizer=mezo")["seconds_at_peak"] is None


IN_FLOAT32 = [f"assumptions.{kind}_bytes=4" for kind in ("weight", "gradient", "activation")]


def test_a_phone_of_12_gb_trains_opt_1_3b_by_mezo_and_not_by_adam(capsys) -> None:
    """As PocketLLM has it; the larger part of its 6.5 GB is the weights."""
    adam, mezo = plan(
        capsys,
        "device=phone_12gb",
        "model=opt_1_3b",
        "optimizer=bp_adam,mezo",
        *IN_FLOAT32,
        "assumptions.master_bytes=0",
    )
    assert (adam["fits"], adam["largest_batch"]) == (False, 0)
    assert mezo["fits"]
    assert mezo["total_bytes"] > 4 * 1_315_758_080


def test_llama2_7b_by_mezo_lands_near_the_17_gb_of_the_paper(capsys) -> None:
    row = only(capsys, "device=17GB", "model=llama2_7b", "optimizer=mezo", "assumptions.logits=none")
    assert row["total_bytes"] / 1e9 == pytest.approx(17.1, abs=0.06)  # by a reading: rho 0.15, batch 8, 512 positions


@pytest.mark.parametrize("method", ["bp_adam", "bp_adam_checkpointed", "elastic_zo", "mezo", "p_rge"])
def test_the_largest_of_each_fits_and_one_more_does_not(capsys, method: str) -> None:
    words = ("device=4GiB", "model=smollm2_135m", f"optimizer={method}")
    found = only(capsys, *words)

    def fits(s: int, b: int) -> bool:
        return only(capsys, *words, f"dataset.sequence_length={s}", f"training.batch_size={b}")["fits"]

    assert fits(512, found["largest_batch"])
    assert not fits(512, found["largest_batch"] + 1)
    assert fits(found["largest_sequence"], 8)
    assert not fits(found["largest_sequence"] + 1, 8)


def test_the_largest_of_the_family_fits_and_the_next_does_not(capsys) -> None:
    words = ("device=17GB", "optimizer=mezo", "model=llama2_7b")
    place = only(capsys, *words)["largest_model"].removeprefix("llama2_").split("x")[0]
    for blocks, fits in ((int(place), True), (int(place) + 1, False)):
        member = llama2(blocks)
        shape = {name: getattr(member, name) for name in ("layers", "width", "heads", "feed_forward")}
        assert only(capsys, *words, *(f"model.{name}={value}" for name, value in shape.items()))["fits"] is fits
