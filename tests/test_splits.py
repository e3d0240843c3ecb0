"""Items stay in their part of a data set, whatever is added."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from masklet.splits import hold_back, is_held_back

NAMES = st.lists(st.text(min_size=1, max_size=4), min_size=2, unique=True)


def test_shares_are_met_on_average() -> None:
    names = [f"frame {number}.jpg" for number in range(4000)]
    for share in (0.05, 0.2, 0.5):
        held = sum(is_held_back(name, share) for name in names) / len(names)
        assert abs(held - share) < 0.025
    assert not any(is_held_back(name, 0) for name in names) and all(is_held_back(name, 1) for name in names)


def test_a_larger_share_moves_items_one_way_and_a_seed_makes_another_split() -> None:
    names = [f"{number}.jpg" for number in range(400)]
    small, large = ({name for name in names if is_held_back(name, share)} for share in (0.1, 0.3))
    assert small < large
    assert small != {name for name in names if is_held_back(name, 0.1, "other ")}


@given(NAMES, NAMES, st.integers(1, 4))
def test_nothing_that_was_trained_on_is_validated_after_more_items_came(
    first: list[str], added: list[str], most: int
) -> None:
    names = list(dict.fromkeys(first + added))
    training, held = hold_back(first, str, 0.3, most)
    assert training and 0 < len(held) <= most and not set(training) & set(held)
    later, held_later = hold_back(names, str, 0.3, most)
    assert later and held_later and not set(later) & set(held_later)
    assert not set(training) & set(held_later) or len(first) == 2  # of two, one is always left to train on
    assert hold_back(names[::-1], str, 0.3, most)[1] == held_later


def test_names_that_are_no_text_have_a_part() -> None:
    assert not is_held_back("\udcff.jpg", 0) and is_held_back("\udcff.jpg", 1)
