"""Connected components of a small mask, and a mask without specks and pinholes.

NumPy only: clients of ONNX graphs have no OpenCV, which `masklet.postprocess` uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

SPECK = 0.1  # fraction of the largest component's area: smaller ones are removed
PINHOLE = 0.02  # fraction of the mask's area: smaller holes are filled

Cell = tuple[int, int]  # row and column


def remove_specks(
    mask: np.ndarray, positive: Iterable[Cell] = (), negative: Iterable[Cell] = ()
) -> np.ndarray:
    """A mask without components that are small compared to its largest one, and without small holes.

    Args:
        mask: Bool (h, w), at low resolution: the time grows with the number of rows.
        positive: Cells whose component is kept, however small.
        negative: Cells whose hole is kept.

    >>> mask = np.zeros((8, 8), bool)
    >>> mask[1:7, 1:5], mask[3, 7] = True, True
    >>> remove_specks(mask)[3].tolist(), remove_specks(mask, positive=[(3, 7)])[3].tolist()[5:]
    ([False, True, True, True, True, False, False, False], [False, False, True])
    """
    components = label_components(mask, diagonal=True)
    areas = np.bincount(components.ravel())
    areas[0] = 0
    stays = areas >= max(SPECK * areas.max(), 1)
    stays[[components[cell] for cell in positive]] = True
    stays[0] = False
    without_specks: np.ndarray = stays[components]

    gaps = label_components(~without_specks, diagonal=False)
    sizes = np.bincount(gaps.ravel())
    filled = sizes < PINHOLE * without_specks.sum()
    filled[np.concatenate([gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]])] = False  # not holes
    filled[[gaps[cell] for cell in negative]] = False
    filled[0] = False
    return without_specks | filled[gaps]


def label_components(mask: np.ndarray, *, diagonal: bool) -> np.ndarray:
    """Number the connected components of a mask from 1; 0 is outside the mask.

    Args:
        mask: Bool (h, w).
        diagonal: Whether cells that touch at a corner belong together.

    Returns:
        Int32 (h, w).

    >>> label_components(np.eye(3, dtype=bool), diagonal=True).diagonal().tolist()
    [1, 1, 1]
    >>> label_components(np.eye(3, dtype=bool), diagonal=False).diagonal().tolist()
    [1, 2, 3]
    """
    padded = np.pad(mask, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(padded, axis=1)
    on_rows, first_columns = np.nonzero(steps == 1)
    # Lists, since Python reads their numbers faster than those of arrays.
    rows, starts, ends = on_rows.tolist(), first_columns.tolist(), np.nonzero(steps == -1)[1].tolist()
    parents = list(range(len(rows)))
    reach = int(diagonal)
    above: Sequence[int] = ()
    first = 0
    for count in np.bincount(on_rows, minlength=len(mask)).tolist():
        runs = range(first, first + count)
        first = runs.stop
        for run in runs:
            for other in above:
                if starts[other] < ends[run] + reach and starts[run] < ends[other] + reach:
                    parents[_root(parents, other)] = _root(parents, run)
        above = runs
    roots = [_root(parents, run) for run in range(len(rows))]
    numbers = {root: number for number, root in enumerate(dict.fromkeys(roots), start=1)}
    labels = np.zeros(mask.shape, np.int32)
    for run, root in enumerate(roots):
        labels[rows[run], starts[run] : ends[run]] = numbers[root]
    return labels


def _root(parents: list[int], run: int) -> int:
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run
