"""What objects are called in files that sort them by kind: categories, classes, labels."""

from __future__ import annotations

from collections.abc import Mapping

Names = Mapping[int, str]  # object id -> what a person calls it; several may be called the same

UNNAMED = "object"


class Kinds:
    """A number from 0 on for each name; objects without one are of the kind "object".

    >>> kinds = Kinds({1: "dog", 2: "ball", 3: "dog"})
    >>> [kinds.number(id) for id in (3, 2, 9)], kinds.all
    ([0, 1, 2], ['dog', 'ball', 'object'])
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._numbers = {name: number for number, name in enumerate(dict.fromkeys(names.values()))}

    @property
    def all(self) -> list[str]:
        return list(self._numbers)

    def name(self, id: int) -> str:
        return self._names.get(id, UNNAMED)

    def number(self, id: int) -> int:
        return self._numbers.setdefault(self.name(id), len(self._numbers))
