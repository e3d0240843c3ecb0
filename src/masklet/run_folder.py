"""An output folder that belongs to one run, described by its run.json.

If another run may follow, as in `masklet track`, `RunFolder` writes it to `unfinished/` beside the earlier
results, and replaces them when it is complete. An interrupted run replaces only incomplete results.

If users or later steps continue from the results, as in `masklet train`, the manifest is protected:
`check_folder` refuses every other run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from masklet.errors import MediaError
from masklet.files import (
    StrPath,
    atomic_write,
    check_writable,
    make_folder,
    remove_unfinished,
    write_errors,
)

MANIFEST = "run.json"
STAGE = "unfinished"
BEFORE_MANIFESTS = {"training.json": "train", "proposals.json": "engine propose"}  # commands, by their files
_BLOCK = 2**20
_SHORT = 24  # characters of a setting that a message shows


@dataclass(frozen=True)
class Run:
    """Everything that determines a run's results.

    Attributes:
        command: The command's name.
        version: masklet's version; "" if other versions may continue the run.
        settings: Options and prompts, as JSON values.
        inputs: For each input, a hash of its name and content.
    """

    command: str
    version: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]

    @cached_property
    def key(self) -> str:
        """Equal for runs with the same results."""
        content = [self.command, self.version, self.settings, sorted(self.inputs.values())]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    def changes_from(self, earlier: Run) -> list[str]:
        """The names of differences from an earlier run of the command, with their values if these are
        short."""
        if self != earlier and not (earlier.settings or earlier.inputs):
            return ["settings or inputs"]  # manifests of earlier versions do not say which
        now = json.loads(json.dumps({**self.settings, "version": self.version}))
        before = {**earlier.settings, "version": earlier.version}
        changes = list[str]()
        for name in now:
            value = before.get(name)
            if value != now[name]:
                is_shown = value not in (None, "") and len(str(value)) < _SHORT
                changes.append(f"{name} ({value})" if is_shown else name)
        if sorted(self.inputs.values()) != sorted(earlier.inputs.values()):
            changes.append("inputs")
        return changes


@dataclass(frozen=True)
class Manifest:
    """The content of run.json.

    Attributes:
        run: The run.
        key: The run's key.
        files: The files and folders that it writes, and the number of files in each; None while it runs.
        is_complete: Whether all of them are complete.
        replaces: Files and folders of the previous run, while this run's files replace them.
        is_protected: Whether no other run may use the folder once one of the files exists.
    """

    run: Run
    key: str
    files: Mapping[str, int | None]
    is_complete: bool = False
    replaces: tuple[str, ...] | None = None
    is_protected: bool = False

    @classmethod
    def protect(cls, run: Run, files: Iterable[str]) -> Manifest:
        """The manifest of a run whose folder no other run may use."""
        return cls(run, run.key, dict.fromkeys(files), is_protected=True)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The folder's manifest; None if there is none."""
        path = folder / MANIFEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            replaces = content["replaces"]
            return cls(
                Run(**content["run"]),
                str(content["key"]),
                {
                    _entry(name): None if count is None else int(count)
                    for name, count in content["files"].items()
                },
                bool(content["is_complete"]),
                None if replaces is None else tuple(map(_entry, replaces)),
                bool(content.get("is_protected", False)),
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise MediaError(f"{path.parent} cannot be used: {reason}.") from error
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise MediaError(
                f"{path} was not written by masklet: move it away, or choose another folder."
            ) from error

    def write(self, folder: Path) -> None:
        with atomic_write(folder / MANIFEST) as part:
            part.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def check_folder(
    folder: Path,
    run: Run,
    *,
    replaces: bool = False,
    before: Callable[[], Manifest | None] = lambda: None,
    advice: str = "choose another folder.",
) -> Manifest | None:
    """Raise if the folder has results of another run that this run must not replace or continue.

    Args:
        folder: The folder for the results; it may be missing.
        run: The run to start or continue.
        replaces: Whether the run can take the place of another command's results.
        before: Reads the results of a version of masklet that did not write run.json.
        advice: Ends the message.

    Returns:
        The manifest of the run whose results are in the folder; None if there are none.

    Raises:
        MediaError: The folder belongs to another run.
    """
    earlier = Manifest.read(folder) or before()
    for name, command in BEFORE_MANIFESTS.items() if earlier is None else ():
        if command != run.command and (folder / name).exists():
            refuse_other_run(folder, run, Run(command, "", {}, {}), advice)
    if earlier is None or not any((folder / name).exists() for name in earlier.files):
        return None
    if earlier.is_protected or not (replaces or earlier.run.command == run.command):
        refuse_other_run(folder, run, earlier.run, advice)
    return earlier


def refuse_other_run(place: StrPath, run: Run, earlier: Run, advice: str = "choose another folder.") -> None:
    """Raise if the existing results belong to another run than the one that starts.

    Raises:
        MediaError: They belong to another run.
    """
    if run.command != earlier.command:
        raise MediaError(f"{place} has the results of masklet {earlier.command}: {advice}")
    if changes := run.changes_from(earlier):
        raise MediaError(
            f"{place} has the results of masklet {run.command} with other {' and '.join(changes)}: {advice}"
        )


def read_settings_file(path: Path, run: Run, files: Iterable[str]) -> Manifest | None:
    """The manifest of a run whose settings an earlier version wrote to a JSON file; None if the file is
    missing.

    Args:
        path: The file.
        run: The run that is about to start; the earlier one differs only in its settings.
        files: The files that the earlier one wrote.
    """
    try:
        settings = dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise MediaError(f"{path} cannot be read: {error}. Choose another folder.") from error
    return Manifest.protect(replace(run, settings=settings), files)


class RunFolder:
    """A folder for the results of one run, which another run may replace.

    Args:
        path: The folder; it is made when the run starts to write.
        run: The run.
        files: Names of the files and folders that the run writes.
        overwrite: Run even if the results are complete, and replace files that no run.json lists.

    Raises:
        MediaError: The folder cannot be written, or belongs to a run whose folder no other run may use.

    Example:
        >>> import tempfile
        >>> folder = RunFolder(tempfile.mkdtemp(), Run("demo", "1", {}, {}), ["note.txt"])
        >>> with folder.writing() as place:
        ...     _ = (place / "note.txt").write_text("all of it")
        >>> folder.is_done, sorted(file.name for file in folder.path.iterdir())
        (True, ['note.txt', 'run.json'])
    """

    def __init__(self, path: StrPath, run: Run, files: Iterable[str], *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self._run = run
        self._files = tuple(map(_entry, files))
        self._overwrite = overwrite
        check_writable(self.path)
        check_folder(self.path, run, replaces=True)

    @property
    def is_done(self) -> bool:
        """Whether the folder has the complete results of the same run."""
        manifest = Manifest.read(self.path)
        if manifest is None or not manifest.is_complete or manifest.key != self._run.key:
            return False
        return all(_count(self.path / name) == count for name, count in manifest.files.items())

    def recover(self) -> None:
        """Complete the move of results that a killed run had started."""
        manifest = Manifest.read(self.path)
        if manifest is None:
            return
        if manifest.replaces is not None:
            with _lock(self.path):
                self._finish_swap()
        elif manifest.is_complete and Manifest.read(self.path / STAGE) == manifest:
            with _lock(self.path):
                _remove(self.path / STAGE)  # its results are in place; only the manifest was left

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """The folder to write to. On success the results are moved into place; otherwise an earlier run's
        complete results are kept.

        Raises:
            MediaError: Another process writes to the folder, or this run would replace files that no run
                wrote.
        """
        if not self._overwrite:
            self._check_ownership()
        is_new = not self.path.exists()
        make_folder(self.path)
        with _lock(self.path):
            self._finish_swap()
            remove_unfinished(self.path, recursive=False)
            earlier = Manifest.read(self.path) or self._find_unlisted()
            place = self._begin(earlier)
            try:
                yield place
            except BaseException:
                self._end(place, earlier, is_complete=False)
                if is_new:
                    with suppress(OSError):
                        self.path.rmdir()  # only an empty one
                raise
            self._end(place, earlier, is_complete=True)

    def find_results(self) -> Path | None:
        """The folder with this run's results, complete or not: the folder itself, or `unfinished`."""
        for place in (self.path / STAGE, self.path):
            manifest = Manifest.read(place)
            if manifest is not None and manifest.key == self._run.key:
                return place
        return None

    def _find_unlisted(self) -> Manifest | None:
        """A manifest of files that no run.json lists and that this run may replace; None if there are
        none."""
        files = {name: None for name in self._files if (self.path / name).exists()}
        return Manifest(self._run, "", files, is_complete=True) if files else None

    def _begin(self, earlier: Manifest | None) -> Path:
        started = Manifest(self._run, self._run.key, dict.fromkeys(self._files))
        stage = self.path / STAGE
        if stage.exists():
            _remove(stage)
        if earlier is None:
            started.write(self.path)
            return self.path
        with write_errors(stage):
            stage.mkdir()
        started.write(stage)
        return stage

    def _end(self, place: Path, earlier: Manifest | None, *, is_complete: bool) -> None:
        files = {name: _count(place / name) for name in self._files}
        files = {name: count for name, count in files.items() if count}
        for name in set(self._files) - files.keys():
            _remove(place / name)  # an empty folder
        ended = Manifest(self._run, self._run.key, files, is_complete)
        if not files and not is_complete:
            (place / MANIFEST).unlink(missing_ok=True)
            if place != self.path:
                _remove(place)
            return
        ended.write(place)
        if place != self.path and earlier and (is_complete or not earlier.is_complete):
            replace(ended, is_complete=False, replaces=tuple(earlier.files)).write(self.path)
            self._finish_swap()

    def _finish_swap(self) -> None:
        """Move staged results into place. If this run is killed meanwhile, the next one completes the
        move."""
        manifest = Manifest.read(self.path)
        if manifest is None or manifest.replaces is None:
            return
        stage = self.path / STAGE
        staged = Manifest.read(stage) or replace(manifest, replaces=None)
        with write_errors(self.path):
            for name in manifest.replaces:
                if name not in manifest.files or (stage / name).exists():
                    remove_results(self.path / name)
            for name in manifest.files:
                if (stage / name).exists():
                    (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(stage / name, self.path / name)
        staged.write(self.path)
        _remove(stage)

    def _check_ownership(self) -> None:
        """Raise if the run would replace files that no run wrote."""
        manifest = Manifest.read(self.path)
        owned = {} if manifest is None else {**manifest.files, STAGE: None}
        if manifest is not None and manifest.replaces is not None:
            owned |= dict.fromkeys(manifest.replaces)
        for name in (*self._files, STAGE):
            path = self.path / name
            if path.exists() and name not in owned:
                raise MediaError(
                    f"{path} already exists, and {MANIFEST} does not list it: move it away, choose another "
                    "folder, or replace it with --overwrite."
                )
        for name, count in owned.items():
            if count is not None and _count(self.path / name) > count:
                raise MediaError(
                    f"{self.path / name} has {_count(self.path / name)} files, and the earlier run wrote "
                    f"only {count}: move the others away, choose another folder, or replace all with "
                    "--overwrite."
                )


def remove_results(path: Path) -> None:
    """Remove a file or folder that a run wrote; if a folder has a run.json, only the files listed there."""
    manifest = Manifest.read(path) if path.is_dir() else None
    if manifest is None:
        _remove(path)
        return
    for name in manifest.files:
        remove_results(path / name)
    _remove(path / MANIFEST)
    with suppress(OSError):
        path.rmdir()  # unless it has other files


def _remove(path: Path) -> None:
    with write_errors(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def digest(source: str, files: Iterable[Path]) -> str:
    """A hash of an input's name and content.

    Args:
        source: A path, glob or URL.
        files: Its files; none for a URL, for which the text is hashed.
    """
    name = source if "://" in source else Path(source).name
    content = hashlib.sha256(name.encode(errors="surrogateescape"))
    for file in files:
        content.update(f"\0{file.name}\0{file.stat().st_size}\0".encode(errors="surrogateescape"))
        with open(file, "rb") as stream:
            while block := stream.read(_BLOCK):
                content.update(block)
    return content.hexdigest()


def _entry(name: str) -> str:
    """Check that a name is below the folder, so that a foreign run.json cannot remove other files."""
    path = Path(name)
    if path.is_absolute() or not path.parts or ".." in path.parts:
        raise ValueError(f"{name} is not a path below the folder")
    return str(path)


def _count(path: Path) -> int:
    """The number of files in a folder and its subfolders; 1 for a file, 0 if it does not exist."""
    if path.is_dir():
        return sum(file.is_file() for file in path.rglob("*"))
    return int(path.is_file())


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder, if the system supports it."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MediaError(
                f"another run is writing to {folder}: wait for it, or choose another folder."
            ) from None
        except OSError:
            pass  # some network folders have no locks
        yield
    finally:
        os.close(descriptor)
