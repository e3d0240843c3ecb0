"""Runs over one or many inputs: skips finished ones, shows a progress bar, and lists failures at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import typer

from masklet.cli.items import Item, take_shard
from masklet.cli.options import ModelOptions, terminal_text
from masklet.errors import MaskletError, MediaError
from masklet.files import check_writable, make_folder
from masklet.run_folder import Manifest, Run, RunFolder, check_folder, digest, remove_results

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from masklet.media import Frames
    from masklet.model import Sam2

Value = TypeVar("Value")


class Work(Protocol):
    """One input, opened and checked, so that errors are found before slow work starts."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that determine the results, as JSON."""
        ...

    @property
    def files(self) -> Sequence[str]:
        """The files and folders that it writes."""
        ...

    def run(self, model: Sam2, folder: Path, bar: ProgressBar) -> None:
        """Write the results to a folder."""
        ...


class ProgressBar:
    """One bar on the terminal: the frames of one input, or the inputs of many.

    A command opens it before slow imports.

    Attributes:
        count: The number of inputs.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress: Progress = Progress(
            *columns, console=Console(stderr=True), redirect_stdout=False, redirect_stderr=False
        )
        self.count = 1
        self._has_begun = False
        self._done = 0
        self._passes = (0, 1)
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressBar:
        if self._progress.console.is_terminal:
            self._show("starting", 0, None)
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop drawing before other text is printed."""
        if self._task is not None:
            self._progress.live.transient = not self._has_begun
            self._progress.stop()

    def begin(self, description: str, *, passes: int = 1) -> None:
        """Start an input, over which `track` runs a number of times."""
        self._passes = (0, passes)
        self._has_begun = True
        self._show(description, self._done, self.count if self.count > 1 else None)

    def end(self) -> None:
        """Finish an input."""
        self._done += 1
        if self.count > 1:
            self._show(None, self._done, self.count)

    def track(self, values: Iterable[Value], count: int, description: str) -> Iterator[Value]:
        """Pass values on, and show their progress."""
        for number, value in enumerate(values):
            yield value
            self.update((number + 1) / max(1, count), count, description)
        self._passes = (self._passes[0] + 1, self._passes[1])

    def update(self, share: float, count: int, description: str) -> None:
        """Show a fraction of the input's frames as done."""
        if self.count == 1:
            self._show(description, round(share * count), count)
        else:
            number, passes = self._passes
            self._show(None, self._done + min(1.0, (number + share) / passes), self.count)

    def print(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(terminal_text(text), markup=False, highlight=False, soft_wrap=True)

    def _show(self, description: str | None, completed: float, total: int | None) -> None:
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task(terminal_text(description or ""), total=total)
        self._progress.update(self._task, completed=completed)
        if total is not None:
            self._progress.update(self._task, total=total)
        if description is not None:
            self._progress.update(self._task, description=terminal_text(description))


@dataclass
class Runner:
    """Runs a command over its inputs.

    Attributes:
        command: Its name.
        out: The folder for results.
        open: Opens and checks an input.
        network: The model; it is loaded once, when first needed.
        settings: Options that determine the results of every input.
        bar: Shows progress.
        overwrite: Run finished inputs again.
    """

    command: str
    out: Path
    open: Callable[[Item], Work]
    network: ModelOptions
    settings: Mapping[str, Any]
    bar: ProgressBar
    overwrite: bool = False
    _model: Sam2 | None = None

    def run(self, all_items: list[Item], shard: str | None) -> None:
        """Run the items of a shard. A single input raises its error; for many, a table lists the failures.

        Args:
            all_items: The inputs of all shards.
            shard: "i/n"; None for all.

        Raises:
            typer.Exit: 1 if one of many inputs failed; 130 after an interruption.
        """
        items = take_shard(all_items, shard)
        self.bar.count = len(items)
        if len(all_items) != 1 or all_items[0].name:
            self._run_many(items, all_items)
        elif items:
            self._run_item(items[0], self.out)

    def _run_many(self, items: Sequence[Item], all_items: Sequence[Item]) -> None:
        failures: Failures = []
        earlier = self._start_batch(all_items)
        done = 0
        for item in items:
            self.bar.begin(item.title)
            with collect_failures(item, failures):
                done += self._run_item(item, self.out / item.name)
            self.bar.end()
        finished = len(items) - len(failures)
        done_text = f", {done} of them by an earlier run" if done else ""
        self.bar.close()
        self.bar.print(f"{finished} of {len(items)} inputs are done{done_text}: {self.out}")
        if failures:
            print_failures(failures)
            self._explain_missing_files(all_items)
            raise typer.Exit(1)
        self._end_batch(all_items, earlier)

    def _run_item(self, item: Item, path: Path) -> bool:
        """Run one input; returns whether it was already done."""
        work = self.open(item)
        _check_input_stays(item, path, work.files)
        folder = RunFolder(path, self._describe(item, work), work.files, overwrite=self.overwrite)
        folder.recover()
        if folder.is_done and not self.overwrite:
            if not item.name:
                self.bar.close()
                self.bar.print(
                    f"{path} already has the complete results of this run: --overwrite runs it again."
                )
                _print_paths(path, work.files)
            return True
        if self._model is None:
            self._model = self.network.load()
            self.bar.print(self.network.describe(self._model))
        with self._report(folder, work, item), folder.writing() as place:
            work.run(self._model, place, self.bar)
        return False

    @property
    def _settings(self) -> dict[str, Any]:
        return {**self.network.to_json(), **self.settings}

    def _describe(self, item: Item, work: Work) -> Run:
        import masklet

        version = str(masklet.__version__)
        inputs = {item.source: digest(item.source, item.files())}
        return Run(self.command, version, {**self._settings, **work.settings}, inputs)

    @contextmanager
    def _report(self, folder: RunFolder, work: Work, item: Item) -> Iterator[None]:
        """Print the folder of the results, also after an interruption."""
        try:
            yield
        except KeyboardInterrupt:
            self.bar.close()
            place = folder.find_results()
            if place not in (None, folder.path):
                typer.echo(
                    f"interrupted; the earlier results in {folder.path} are kept, the new partial ones are "
                    "in:",
                    err=True,
                )
            else:
                typer.echo("interrupted; the partial results are kept:", err=True)
            _print_paths(place, work.files)
            raise typer.Exit(130) from None
        except BaseException:
            self.bar.close()
            _print_paths(folder.find_results(), work.files)
            raise
        if not item.name:
            self.bar.close()
            _print_paths(folder.path, work.files)

    def _start_batch(self, items: Sequence[Item]) -> Manifest | None:
        """Add the items to OUT/run.json; returns what was listed there before."""
        check_writable(self.out)
        earlier = check_folder(self.out, self._describe_batch(items), replaces=True)
        make_folder(self.out)
        files = {**(earlier.files if earlier else {}), **{item.name: None for item in items}}
        self._write_manifest(items, files, is_complete=False)
        return earlier

    def _end_batch(self, items: Sequence[Item], earlier: Manifest | None) -> None:
        """After all inputs are done, remove other results of an earlier run from OUT."""
        manifests = [Manifest.read(self.out / item.name) for item in items]
        if not all(manifest is not None and manifest.is_complete for manifest in manifests):
            return  # other shards are still running
        names: dict[str, int | None] = dict.fromkeys(item.name for item in items)
        merged = self._merge(items, earlier)
        if merged:
            paths = ", ".join(str(self.out / name) for name in merged)
            self.bar.print(f"for all inputs together: {paths}")
        names |= dict.fromkeys(merged, 1)
        for name in (earlier.files if earlier else {}).keys() - names.keys():
            remove_results(self.out / name)
            with suppress(OSError):
                (self.out / name).parent.rmdir()  # an input folder that is now empty
        self._write_manifest(items, names, is_complete=True)

    def _explain_missing_files(self, items: Sequence[Item]) -> None:
        """After failures, print which files of all inputs are missing."""
        from masklet.media.writers.merging import MERGES

        names = [name for name in MERGES if any((self.out / item.name / name).exists() for item in items)]
        if names:
            self.bar.print(
                f"not written yet for all inputs together: {', '.join(names)}. Fix the inputs above or "
                "remove them, and run the same command again."
            )

    def _merge(self, items: Sequence[Item], earlier: Manifest | None) -> list[str]:
        """Merge the inputs' results in formats for whole data sets into OUT; returns the files' names."""
        from masklet.media.writers.merging import MERGES

        folders = {item.name.split("/")[0] for item in items}
        merged = []
        for name, merge in MERGES.items():
            files = {item.name: self.out / item.name / name for item in items}
            if name in folders or not all(file.exists() for file in files.values()):
                continue
            target = self.out / name
            if target.exists():
                if not (self.overwrite or (earlier is not None and name in earlier.files)):
                    self.bar.print(f"{target} is not from this run, and is kept: --overwrite replaces it.")
                    continue
                remove_results(target)
            merge(files, target)
            merged.append(name)
        return merged

    def _write_manifest(
        self, items: Sequence[Item], files: Mapping[str, int | None], *, is_complete: bool
    ) -> None:
        run = self._describe_batch(items)
        Manifest(run, run.key, files, is_complete).write(self.out)

    def _describe_batch(self, items: Sequence[Item]) -> Run:
        import masklet

        inputs = {item.source: item.name for item in items}
        return Run(self.command, str(masklet.__version__), self._settings, inputs)


def _check_input_stays(item: Item, folder: Path, files: Sequence[str]) -> None:
    """Refuse an input that the results would replace, such as the overlay of an earlier run."""
    # Not resolve(), which fails on circular links.
    results = {Path(os.path.realpath(folder / name)) for name in files}
    sources = item.files()
    if len(sources) > 1 and Path(os.path.realpath(folder)) in {file.parent.resolve() for file in sources}:
        raise MediaError(
            f"{folder} is the folder of the input's images: choose another folder for the results."
        )
    for file in sources:
        file = file.resolve()
        if not results.isdisjoint((file, *file.parents)):
            raise MediaError(
                f"the results in {folder} would replace the input {item.source}: choose another folder for "
                "the results."
            )


def _print_paths(folder: Path | None, files: Sequence[str]) -> None:
    for name in files:
        if folder is not None and (folder / name).exists():
            path = str(folder / name)
            typer.echo(terminal_text(path) if sys.stdout.isatty() else path)


Failures = list[tuple[Item, str]]  # and why


@contextmanager
def collect_failures(item: Item, failures: Failures) -> Iterator[None]:
    """Record why one of many inputs failed, and continue with the others."""
    try:
        yield
    except typer.Exit:
        raise  # interrupted
    except (MaskletError, typer.BadParameter) as error:
        failures.append((item, getattr(error, "message", str(error))))
    except (OSError, RuntimeError, ValueError, ArithmeticError, LookupError) as error:
        failures.append((item, f"{type(error).__name__}: {error}"))


def print_failures(failures: Failures) -> None:
    """Print a table of the inputs that failed."""
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("input", overflow="fold"), Column("why it failed", overflow="fold"))
    for item, message in failures:
        table.add_row(terminal_text(item.source), terminal_text(message))
    Console(stderr=True, markup=False).print(table)


def print_intensity_range(frames: Frames, bar: ProgressBar) -> None:
    """Print which intensities of a source of more than 8 bits became black and white."""
    if frames.intensity_range is not None:
        low, high = frames.intensity_range
        bar.print(f"{frames.name}: {low:g} becomes black and {high:g} white; --intensity-range changes this")
