"""Splits a data set into training and validation parts by the items' names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def is_held_back(name: str, share: float, seed: str = "") -> bool:
    """Whether an item is for validation. Only its name decides, not the other items.

    So adding items does not move others to another part. An item that is held back at one share is also held
    back at every larger share.

    Args:
        name: The item's name.
        share: The expected fraction of items that are held back, 0 to 1; with few items it may differ.
        seed: Another seed makes another split.

    Example:
        >>> [number for number in range(30) if is_held_back(f"{number}.jpg", 0.2)]
        [19, 26]
    """
    return _rank(name, seed) < share


def hold_back(
    items: Sequence[Item], name: Callable[[Item], str], share: float, most: int
) -> tuple[list[Item], list[Item]]:
    """Split items into those to train on and those to validate on; with two or more items, no part is empty.

    Args:
        items: At least two.
        name: The name of an item.
        share: The fraction of items that are held back, 0 to 1.
        most: The maximum number of validation items. With many items, a smaller share is held back.

    Returns:
        The training items, in their order, and the validation items, in the order of their hashes.
    """
    share = min(share, most / len(items))
    ranked = sorted(range(len(items)), key=lambda place: _rank(name(items[place]), ""))
    count = sum(is_held_back(name(item), share) for item in items)
    held = ranked[: min(max(count, 1), len(items) - 1)]
    training = [items[place] for place in sorted(set(ranked) - set(held))]
    return training, [items[place] for place in held[:most]]


def _rank(name: str, seed: str) -> float:
    """A hash of a name as a number from 0 to 1."""
    digest = hashlib.sha256(f"{seed}{name}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:6]) / 2**48
