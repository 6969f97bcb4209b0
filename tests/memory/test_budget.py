import pytest

from tightfit.memory.budget import MemoryBudget, OverBudget, largest, parse_size, readable, with_plain_sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MB", 512 * 10**6),
        ("1.5MiB", 1572864),
        ("17 GB", 17 * 10**9),
        (4096, 4096),
        ("4096", 4096),
        ("2KiB", 2048),
        (None, None),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str | int | None, size: int | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["12XB", "MiB", "", "1..5MB", "twelve", "1,5MB"])
def test_what_is_not_a_size_is_refused_with_the_units(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a size; write a number and one of B, KB"):
        parse_size(text)


@pytest.mark.parametrize("text", ["-1MB", "0", "-0.5GiB"])
def test_sizes_must_be_positive(text: str) -> None:
    with pytest.raises(ValueError, match="more than zero"):
        MemoryBudget("custom", text)


def test_unknown_accounting_is_refused() -> None:
    with pytest.raises(ValueError, match="decided_by='guess'"):
        MemoryBudget("custom", "1MB", decided_by="guess")


def test_enforcing_no_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="enforce=true but unlimited has no size"):
        MemoryBudget("unlimited", enforce=True)


@pytest.mark.parametrize(
    ("decided_by", "enforce", "deciding"),
    [
        ("all_buffers_live", False, {"all_buffers_live"}),
        ("peak_live", False, {"peak_live"}),
        ("peak_live", True, {"peak_live", "measured"}),
        ("measured", False, {"measured"}),
        ("all_buffers_live", True, {"all_buffers_live", "measured"}),
        ("measured", True, {"measured"}),
    ],
)
def test_a_need_is_refused_by_the_accountings_that_have_a_say(
    decided_by: str, enforce: bool, deciding: set[str]
) -> None:
    budget = MemoryBudget("custom", 100, decided_by, enforce)
    for accounting in ("all_buffers_live", "peak_live", "measured"):
        budget.check(100, accounting)
        if accounting in deciding:
            with pytest.raises(OverBudget, match=rf"needs 101 B of 100 B \(custom, {accounting}\)"):
                budget.check(101, accounting)
        else:
            budget.check(101, accounting)


def test_budget_allows_exactly_its_size() -> None:
    budget = MemoryBudget("custom", 100)
    assert budget.allows(100)
    assert not budget.allows(101)
    assert MemoryBudget("unlimited").allows(10**18)


def test_the_largest_is_the_last_that_fits() -> None:
    for last in range(12):
        assert largest(lambda batch, last=last: batch <= last, most=10) == min(last, 10)


def test_refusal_states_need_budget_and_accounting() -> None:
    assert MemoryBudget("tiny", "1.5MiB").refusal(5 * 2**20) == "needs 5 MiB of 1.5 MiB (tiny, all_buffers_live)"


@pytest.mark.parametrize(
    ("size", "text"), [(512, "512 B"), (2048, "2 KiB"), (1572864, "1.5 MiB"), (3 * 2**30, "3 GiB")]
)
def test_bytes_are_shown_in_binary_units(size: int, text: str) -> None:
    assert readable(size) == text


@pytest.mark.parametrize("sizes", ["512MB", "17GB", "1.5GiB", "4096", "512MB,17GB", "-1MB", "12XB"])
def test_plain_sizes_on_the_command_line_become_the_option_of_any_size(sizes: str) -> None:
    assert with_plain_sizes(["seed=1", f"memory_budget={sizes}"]) == [
        "seed=1",
        "memory_budget=custom",
        f"memory_budget.size={sizes}",
    ]


@pytest.mark.parametrize(
    "argument", ["memory_budget=rpi_zero2_512mb", "memory_budget=phone", "memory_budget.size=1MB", "-m", "seed=0,1"]
)
def test_other_arguments_stay_as_they_are(argument: str) -> None:
    assert with_plain_sizes([argument]) == [argument]


def test_sizes_and_names_in_one_sweep_are_refused() -> None:
    with pytest.raises(ValueError, match="mixes sizes and names"):
        with_plain_sizes(["memory_budget=unlimited,17GB"])
