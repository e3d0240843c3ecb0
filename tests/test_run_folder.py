"""An output folder belongs to one run: earlier results stay until newer are complete; nothing mixes."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklet import run_folder
from masklet.errors import MediaError
from masklet.run_folder import Manifest, Run, RunFolder, check_folder, digest, remove_results


def make_run(name: str) -> Run:
    return Run("track", "1", {"name": name}, {"clip.mp4": "hash"})


def write(folder: RunFolder, name: str, count: int, *, fail: BaseException | None = None) -> None:
    """Write `count` numbered files and a list of them; perhaps fail in the middle."""
    with folder.writing() as place:
        (place / "masks").mkdir(exist_ok=True)
        for number in range(count):
            (place / "masks" / f"{number}.txt").write_text(name)
            if fail is not None and number == count // 2:
                raise fail
        (place / "list.json").write_text(json.dumps([name] * count))


def run(
    path: Path, name: str, count: int, *, fail: BaseException | None = None, overwrite: bool = False
) -> RunFolder:
    folder = RunFolder(path, make_run(name), ["masks", "list.json"], overwrite=overwrite)
    write(folder, name, count, fail=fail)
    return folder


def contents(path: Path) -> set[str]:
    """The names that the masks of a folder were written by, with their number."""
    files = list((path / "masks").iterdir())
    return {f"{len(files)} {file.read_text()}" for file in files}


def test_a_shorter_run_leaves_none_of_the_longer_one_s_files(tmp_path: Path) -> None:
    run(tmp_path, "long", 4)
    run(tmp_path, "short", 2)
    assert contents(tmp_path) == {"2 short"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.json", "masks", "run.json"]


def test_files_that_only_the_earlier_run_wrote_are_removed(tmp_path: Path) -> None:
    run(tmp_path, "first", 2)
    folder = RunFolder(tmp_path, make_run("second"), ["coco.json"])
    with folder.writing() as place:
        (place / "coco.json").write_text("{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coco.json", "run.json"]


@pytest.mark.parametrize("failure", [MediaError("damaged"), KeyboardInterrupt()])
def test_a_run_that_fails_leaves_complete_earlier_results(tmp_path: Path, failure: BaseException) -> None:
    first = run(tmp_path, "first", 4)
    with pytest.raises(type(failure)):
        run(tmp_path, "second", 4, fail=failure)
    assert first.is_done and contents(tmp_path) == {"4 first"}
    assert contents(tmp_path / "unfinished") == {"3 second"}
    second = RunFolder(tmp_path, make_run("second"), ["masks", "list.json"])
    assert second.find_results() == tmp_path / "unfinished" and not second.is_done


def test_a_run_that_fails_replaces_incomplete_earlier_results(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, name, 4, fail=KeyboardInterrupt())
        assert contents(tmp_path) == {f"3 {name}"} and not (tmp_path / "unfinished").exists()


def test_a_run_that_fails_before_its_first_file_leaves_no_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out", make_run("first"), ["masks"])
    with pytest.raises(MediaError), folder.writing() as place:
        (place / "masks").mkdir()
        raise MediaError("no frames")
    assert not (tmp_path / "out").exists()


def test_a_finished_run_is_recognised_until_something_changes(tmp_path: Path) -> None:
    folder = run(tmp_path, "first", 3)
    assert folder.is_done
    assert not RunFolder(tmp_path, make_run("other"), ["masks", "list.json"]).is_done
    (tmp_path / "masks" / "1.txt").unlink()
    assert not folder.is_done


def test_files_of_others_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "mine.png").write_text("mine")
    with pytest.raises(MediaError, match=r"masks already exists, and run.json does not list it"):
        run(tmp_path, "first", 2)
    assert [path.name for path in tmp_path.rglob("*")] == ["masks", "mine.png"]
    run(tmp_path, "first", 2, overwrite=True)
    assert contents(tmp_path) == {"2 first"}


def test_files_that_somebody_added_are_never_removed(tmp_path: Path) -> None:
    run(tmp_path, "first", 2)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "masks" / "mine.png").write_text("mine")
    with pytest.raises(MediaError, match="has 3 files, and the earlier run wrote only 2"):
        run(tmp_path, "second", 2)
    (tmp_path / "masks" / "mine.png").unlink()
    run(tmp_path, "second", 2)
    assert (tmp_path / "notes.txt").exists()


def test_overwriting_keeps_files_without_a_manifest_until_the_run_is_complete(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "0.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "new", 4, fail=KeyboardInterrupt(), overwrite=True)
    assert contents(tmp_path) == {"1 old"}


def test_temporary_files_of_killed_runs_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".overlay.0123abcd.part.mp4").write_text("half")
    (tmp_path / ".my.part.mp4").write_text("mine")
    run(tmp_path, "first", 2)
    assert [path.name for path in tmp_path.glob(".*")] == [".my.part.mp4"]


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    first = RunFolder(tmp_path, make_run("first"), ["masks"])
    second = RunFolder(tmp_path, make_run("second"), ["masks"])
    with first.writing(), pytest.raises(MediaError, match="another run is writing to"), second.writing():
        pass


@pytest.mark.parametrize("name", ["../outside", "/etc", ""])
def test_a_manifest_from_elsewhere_removes_nothing_outside(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    run(out, "first", 2)
    (tmp_path / "outside").mkdir()
    content = json.loads((out / "run.json").read_text())
    content["files"][name] = 1
    (out / "run.json").write_text(json.dumps(content))
    with pytest.raises(MediaError, match=r"was not written by masklet"):
        run(out, "second", 2)
    assert (tmp_path / "outside").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', "\x00", '{"run": {}, "files": {}}'])
def test_a_damaged_manifest_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(MediaError, match=r"was not written by masklet"):
        run(tmp_path, "first", 2)


def test_the_inputs_of_a_batch_are_removed_one_by_one(tmp_path: Path) -> None:
    run(tmp_path / "a" / "1", "first", 2)
    (tmp_path / "a" / "1" / "notes.txt").write_text("mine")
    remove_results(tmp_path / "a" / "1")
    assert [path.name for path in (tmp_path / "a" / "1").iterdir()] == ["notes.txt"]


def test_an_input_is_its_name_and_its_content(tmp_path: Path) -> None:
    for name, content in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).write_text(content)
    hashes = {name: digest(str(tmp_path / name), [tmp_path / name]) for name in "abc"}
    assert len(set(hashes.values())) == 3
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "a", tmp_path / "copy" / "a")
    assert digest(str(tmp_path / "copy" / "a"), [tmp_path / "copy" / "a"]) == hashes["a"]
    assert digest("http://host/a.mp4", []) != digest("http://host/b.mp4", [])


class Killed(BaseException):
    """Stands for SIGKILL: nothing is tidied up after it."""


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.booleans())
def test_a_kill_at_any_system_call_loses_no_complete_result(
    tmp_path_factory: pytest.TempPathFactory, calls: int, is_complete: bool
) -> None:
    """After a kill and a recovery, the folder has the old results or the new ones; the next run cleans up."""
    path = tmp_path_factory.mktemp("out")
    run(path, "first", 3)
    process = os.fork()
    if process == 0:  # the child dies at its n-th change of the file system
        left = calls

        def counted(function):
            def call(*arguments, **options):
                nonlocal left
                left -= 1
                if left < 0:
                    os._exit(9)
                return function(*arguments, **options)

            return call

        for name in ("replace", "unlink", "mkdir", "rmdir"):
            setattr(os, name, counted(getattr(os, name)))
        with suppress(BaseException):
            run(path, "second", 3, fail=None if is_complete else KeyboardInterrupt())
        os._exit(0)
    os.waitpid(process, 0)
    RunFolder(path, make_run("second"), ["masks", "list.json"]).recover()
    names = json.loads((path / "list.json").read_text())
    assert contents(path) == {f"3 {names[0]}"} and names in (["first"] * 3, ["second"] * 3)
    run(path, "third", 2)
    assert contents(path) == {"2 third"} and not (path / "unfinished").exists()


def test_a_killed_swap_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, "first", 4)
    with monkeypatch.context() as patch, pytest.raises(Killed):

        def killed(path: Path) -> None:
            raise Killed

        patch.setattr(run_folder, "remove_results", killed)
        run(tmp_path, "second", 2)
    assert not Manifest.read(tmp_path).is_complete
    second = RunFolder(tmp_path, make_run("second"), ["masks", "list.json"])
    second.recover()
    assert second.is_done and contents(tmp_path) == {"2 second"}


def test_a_swap_that_is_killed_at_its_very_end_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is in place but the folder that it came from, where nobody may look for the results."""
    run(tmp_path, "first", 4)
    remove = run_folder._remove

    def kill_at_stage(path: Path) -> None:
        if path.name == run_folder.STAGE:
            raise Killed
        remove(path)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(run_folder, "_remove", kill_at_stage)
        run(tmp_path, "second", 2)
    second = RunFolder(tmp_path, make_run("second"), ["masks", "list.json"])
    assert second.is_done and (tmp_path / "unfinished").exists()
    second.recover()
    assert second.is_done and contents(tmp_path) == {"2 second"}
    assert second.find_results() == tmp_path and not (tmp_path / "unfinished").exists()


def protect(path: Path, run: Run) -> None:
    check_folder(path, run)
    Manifest.protect(run, ["state.pt"]).write(path)


def test_nothing_but_the_same_run_follows_a_protected_one(tmp_path: Path) -> None:
    training = Run("train", "", {"preset": "decoder", "size": 1024}, {})
    protect(tmp_path, training)
    protect(tmp_path, replace(training, settings={"preset": "memory"}))  # nothing is there yet
    (tmp_path / "state.pt").touch()
    protect(tmp_path, replace(training, settings={"preset": "memory"}))
    with pytest.raises(
        MediaError, match=r"results of masklet train with other preset \(memory\) and size: choose"
    ):
        protect(tmp_path, training)
    for overwrite in (False, True):
        with pytest.raises(MediaError, match="has the results of masklet train: choose another folder"):
            run(tmp_path, "first", 2, overwrite=overwrite)


@pytest.mark.parametrize(
    ("name", "command"), [("training.json", "train"), ("proposals.json", "engine propose")]
)
def test_folders_of_earlier_versions_are_recognised(tmp_path: Path, name: str, command: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(MediaError, match=f"has the results of masklet {command}: choose another folder"):
        run(tmp_path, "first", 2)
    protect(tmp_path, Run(command, "", {}, {}))


def test_results_that_others_may_replace_are_not_trained_among(tmp_path: Path) -> None:
    run(tmp_path, "first", 2)
    with pytest.raises(MediaError, match="has the results of masklet track: choose another folder"):
        protect(tmp_path, Run("train", "", {}, {}))
