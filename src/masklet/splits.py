"""Training and validation parts of a data set, in which an item's own name decides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def is_held_back(name: str, share: float, seed: str = "") -> bool:
    """Whether an item is for validation: its name decides, whatever else is in the data set.

    So items that are added later move no other one to another part. An item that is held back at a share is
    held back at every larger one.

    Args:
        name: Of the item.
        share: Of all items that are held back in the long run, 0 to 1; of few items it may be more or fewer.
        seed: Another text makes another split.

    Example:
        >>> [number for number in range(30) if is_held_back(f"{number}.jpg", 0.2)]
        [19, 26]
    """
    return _rank(name, seed) < share


def hold_back(
    items: Sequence[Item], name: Callable[[Item], str], share: float, most: int
) -> tuple[list[Item], list[Item]]:
    """Split items into those to train on and those to validate on; two or more items leave no part empty.

    Args:
        items: At least two.
        name: The name of an item.
        share: Of the items that are held back, 0 to 1.
        most: Items that are validated. Where there are many, a smaller share is held back.

    Returns:
        The items to train on, in their order, and those to validate on, in that of their hashes.
    """
    share = min(share, most / len(items))
    ranked = sorted(range(len(items)), key=lambda place: _rank(name(items[place]), ""))
    count = sum(is_held_back(name(item), share) for item in items)
    held = ranked[: min(max(count, 1), len(items) - 1)]
    training = [items[place] for place in sorted(set(ranked) - set(held))]
    return training, [items[place] for place in held[:most]]


def _rank(name: str, seed: str) -> float:
    """Where a name lies between 0 and 1."""
    digest = hashlib.sha256(f"{seed}{name}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:6]) / 2**48
