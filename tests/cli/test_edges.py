"""The command line's own edges: version, help, completion, repeated options, signals, finished runs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

from masklet.backends import ENGINES
from masklet.backends.native import library
from masklet.cli import app
from masklet.cli.commands import GROUPS
from masklet.media import FORMATS, read_masklets
from masklet.tracking.policies import POLICIES

from .conftest import LENGTH, Run
from .written import CLICK, results


def test_the_version(run: Run) -> None:
    answer = run("--version")
    assert answer.code == 0 and answer.out == f"masklet {version('masklet')}\n"


SEGMENT = 'segment "$1"/frames/0.png --point 20,24 --model "$1"/toy.safetensors --out "$2"'


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (f"-m masklet {SEGMENT} >&-", 0, ""),
        (f"-m masklet {SEGMENT} <&- >&- 2>&-", 0, ""),
        ("-m masklet models > /dev/full", 1, "masklet: output cannot be written"),
        (f"-m masklet {SEGMENT} > /dev/full", 1, "masklet: output cannot be written"),
    ],
)
def test_streams_that_take_nothing(
    shelf: Path, tmp_path: Path, command: str, code: int, message: str
) -> None:
    shell = ["bash", "-c", f'"$0" {command}', sys.executable, shelf, tmp_path / "out"]
    done = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert done.returncode == code and "Traceback" not in done.stderr
    assert message in done.stderr
    assert (tmp_path / "out" / "mask.png").exists() == ("segment" in command)


def test_a_deleted_working_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    answer = run("models")
    assert answer.code == 1 and "the current folder was deleted" in answer.err
    os.chdir("/")  # where the fixture can leave from


def test_short_help(run: Run) -> None:
    assert run("-h").out == run("--help").out
    assert "Usage" in run("track", "-h").out


@pytest.mark.parametrize(
    ("command", "names"),
    [("track", (*POLICIES, *FORMATS, *ENGINES)), ("segment", ENGINES), ("evaluate", tuple(POLICIES))],
)
def test_help_lists_what_the_registries_hold(run: Run, command: str, names: tuple[str, ...]) -> None:
    text = run(command, "--help").out
    assert all(name in text for name in names) and "{" not in text.split("Arguments")[1]


def _commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    for word, part in getattr(command, "commands", {}).items():
        yield from _commands(part, f"{name} {word}".strip())
    if not hasattr(command, "commands"):
        yield name, command


COMMANDS = dict(_commands(typer.main.get_command(app)))
GROUPED = (
    "track",
    "segment",
    "everything",
    "studio",
    "train",
    "evaluate",
    "jobs run",
    "jobs resume",
    "engine demo",
)


@pytest.mark.parametrize("name", GROUPED)
def test_help_shows_every_option_in_a_group(run: Run, name: str) -> None:
    text = run(*name.split(), "--help").out
    panels = re.findall("^╭─ ([A-Z][a-z]+) ─", text, re.MULTILINE)
    assert panels[0] == "Arguments" or name in ("jobs resume", "engine demo")
    groups = [panel for panel in panels if panel != "Arguments"]
    assert "Options" not in groups, "an option is in none of masklet.cli.commands.GROUPS"
    assert groups == [group for group in GROUPS if group in groups]
    shown = text.partition("─ " + groups[0])[2]
    assert all(param.opts[0] in shown for param in COMMANDS[name].params if param.param_type_name == "option")


def test_long_lists_of_options_are_in_groups_and_each_is_in_one() -> None:
    long = {name for name, command in COMMANDS.items() if len(command.params) > 14}
    assert long and long <= set(GROUPED)
    named = Counter(name for names in GROUPS.values() for name in names)
    assert set(named.values()) == {1}
    options = {option for command in COMMANDS.values() for param in command.params for option in param.opts}
    assert set(named) - options == {"--help"}


def test_an_engine_that_does_not_exist_is_refused(run: Run, shelf: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out", "--model", shelf / "toy.safetensors", "--engine", "warp")
    answer = run("track", shelf / "clip.mp4", *CLICK, *out)
    assert answer.code == 2 and "there is no engine 'warp'. Choose from auto, torch, kernels," in answer.err


def test_the_chosen_engine_runs_and_is_written_down(run: Run, shelf: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out", "--model", shelf / "toy.safetensors", "--device", "cpu")
    assert run("track", shelf / "clip.mp4", *CLICK, *out, "--engine", "torch").code == 0
    assert '"engine": "torch"' in (tmp_path / "out" / "run.json").read_text()


def test_help_lists_the_recipes(run: Run) -> None:
    text = run("train", "--help").out
    assert all(name in text for name in ("nano", "finetune", "lora", "images", "mae"))


@pytest.mark.parametrize(
    "words",
    [
        ("--box", "1,2,9,9", "--box", "3,4,9,9"),
        (*CLICK, "--frame", "1", "--frame", "2"),
        (*CLICK, "--out", "other"),
        (*CLICK, "--policy=gated", "--policy", "samurai"),
    ],
)
def test_an_option_that_cannot_be_repeated(
    run: Run, shelf: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    answer = run("track", shelf / "clip.mp4", *words, "--out", tmp_path / "out")
    assert answer.code == 2 and "can be used only once" in answer.err
    assert not (tmp_path / "out").exists()


def test_completion_of_commands_and_formats() -> None:
    def complete(words: str) -> list[str]:
        variables = {
            "_MASKLET_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
        code = "import sys; sys.argv = ['masklet']; from masklet.cli import main; main()"
        answer = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return answer.stdout.split()

    assert "track" in complete("masklet tr")
    assert complete("masklet track --format coc") == ["coco"]


def test_a_finished_run_says_so(run: Run, shelf: Path, tmp_path: Path) -> None:
    command = (
        "track",
        shelf / "clip.mp4",
        *CLICK,
        "--model",
        shelf / "toy.safetensors",
        "--out",
        tmp_path / "out",
    )
    first, second = run(*command), run(*command)
    assert second.code == 0 and "already has the complete results of this run" in second.err
    assert second.out == first.out
    assert "already" not in run(*command, "--overwrite").err


def test_a_shorter_video_leaves_nothing_of_a_longer_one(run: Run, shelf: Path, tmp_path: Path) -> None:
    options = (*CLICK, "--model", shelf / "toy.safetensors", "--out", tmp_path / "out")
    assert run("track", shelf / "clip.mp4", *options).code == 0
    assert run("track", shelf / "clip.mp4", *options, "--fps", 12.5).code == 0
    assert len(results(tmp_path / "out")) == LENGTH // 2


@pytest.mark.parametrize("source", ["out/overlay.mp4", "out/masks", "out/masks/*.png"])
def test_an_input_that_the_results_would_replace_is_refused(
    run: Run, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    model = ("--model", shelf / "toy.safetensors", "--out", "out")
    assert run("track", shelf / "clip.mp4", *CLICK, *model).code == 0
    before = {path: path.read_bytes() for path in Path("out").rglob("*.*")}
    answer = run("track", source, *CLICK, *model)
    assert answer.code == 1 and "the results in out would replace the input" in answer.err
    assert {path: path.read_bytes() for path in Path("out").rglob("*.*")} == before


def test_results_never_go_among_the_input_s_images(
    run: Run, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the next run would take them for input."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shelf / "frames", "frames")
    before = sorted(Path("frames").iterdir())
    for source in ("frames", "frames/*.png"):
        answer = run(
            "track", source, *CLICK, "--model", shelf / "toy.safetensors", "--out", "frames/../frames"
        )
        assert answer.code == 1 and "is the folder of the input's images" in answer.err
    assert sorted(Path("frames").iterdir()) == before


@pytest.mark.parametrize("command", ["track", "everything"])
def test_a_folder_of_images_and_a_video_is_not_guessed_at(
    run: Run, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shelf / "frames", "both")
    shutil.copy(shelf / "clip.mp4", "both")
    prompt = CLICK if command == "track" else ()
    answer = run(command, "both", *prompt, "--model", shelf / "toy.safetensors", "--out", "out")
    assert answer.code == 1 and "select one kind, such as both/*.mp4 or both/*.png." in answer.err
    assert not Path("out").exists()


def test_files_of_others_in_the_folder_are_refused(run: Run, shelf: Path, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "00000.png").write_text("mine")
    answer = run("track", shelf / "clip.mp4", *CLICK, "--model", shelf / "toy.safetensors", "--out", tmp_path)
    assert answer.code == 1 and "masks already exists" in answer.err
    assert (tmp_path / "masks" / "00000.png").read_text() == "mine"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_signals_end_as_ctrl_c_does(shelf: Path, tmp_path: Path, name: str) -> None:
    """The overlay and COCO of what was done are there, and no temporary file."""
    out, number = tmp_path / "out", getattr(signal, name)
    code = f"""
import os, signal, sys, masklet
for sent in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(sent, signal.SIG_DFL)  # whoever started the tests may ignore them, as nohup does
signal.signal(signal.SIGINT, signal.default_int_handler)
from masklet.cli import main
tracked = masklet.track
def interrupted(*arguments, **options):
    for masks in tracked(*arguments, **options):
        yield masks
        if masks.frame == 2:
            os.kill(os.getpid(), {int(number)})
masklet.track = interrupted
main()
"""
    words = [
        "track",
        str(shelf / "clip.mp4"),
        *CLICK,
        "--model",
        str(shelf / "toy.safetensors"),
        "--out",
        str(out),
    ]
    formats = [word for format in ("masklets", "palette", "overlay", "coco") for word in ("--format", format)]
    command = [sys.executable, "-c", code, *words, *formats]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 128 + number, answer.stderr
    assert "interrupted; the partial results are kept" in answer.stderr and "Traceback" not in answer.stderr
    assert len(list(read_masklets(out / "masklets.json"))) == 3
    names = sorted(path.name for path in out.iterdir())
    assert names == ["coco.json", "masklets.json", "masks", "overlay.mp4", "run.json"]


@pytest.mark.skipif(
    not library.cpu_flags() >= library.REQUIRED or library.find_prebuilt() is not None,
    reason="nothing is compiled here",
)
def test_the_first_use_says_that_kernels_are_compiled(shelf: Path, tmp_path: Path) -> None:
    compiler = tmp_path / "bin" / "g++"
    compiler.parent.mkdir()
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o700)
    paths = {"PATH": f"{compiler.parent}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    words = [
        "segment",
        shelf / "frames" / "0.png",
        "--model",
        shelf / "toy.safetensors",
        *CLICK,
        "--out",
        tmp_path / "out",
    ]
    answer = subprocess.run(
        [sys.executable, "-m", "masklet", *map(str, words)],
        env=os.environ | paths,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    lines = answer.stderr.splitlines()
    assert sum("compiling the kernels for this CPU once" in line for line in lines) == 1
    assert sum("the kernels do not build" in line for line in lines) == 1  # what runs instead, and why


def test_an_unknown_model_leaves_no_folder(run: Run, shelf: Path, tmp_path: Path) -> None:
    answer = run("track", shelf / "clip.mp4", *CLICK, "--model", "nope", "--out", tmp_path / "out")
    assert answer.code == 1 and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_help_is_quick() -> None:
    """At most three times what the help of a program without commands takes, whatever the processor."""
    masklet_help = "import sys; sys.argv = ['masklet', '--help']; from masklet.cli import main; main()"
    plain_help = "import sys, typer; sys.argv = ['plain', '--help']; typer.run(lambda: None)"
    assert min(_processor_times(masklet_help)) < 3 * min(_processor_times(plain_help))


def _processor_times(code: str) -> list[float]:
    """Seconds of processor time that three runs of a program take."""
    spent = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        after = os.times()
        spent.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )
    return spent


def test_nohup_is_respected(shelf: Path, tmp_path: Path) -> None:
    """A signal that the caller has ignored, as nohup does with SIGHUP, does not end a run."""
    code = """
import os, signal, sys, masklet
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from masklet.cli import main
tracked = masklet.track
def hung_up(*arguments, **options):
    for masks in tracked(*arguments, **options):
        os.kill(os.getpid(), signal.SIGHUP)
        yield masks
masklet.track = hung_up
main()
"""
    words = ["track", str(shelf / "clip.mp4"), *CLICK, "--model", str(shelf / "toy.safetensors")]
    command = [sys.executable, "-c", code, *words, "--out", str(tmp_path / "out")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert len(results(tmp_path / "out")) == LENGTH


def test_segment_says_that_it_looks_at_the_first_frame_of_a_video(
    run: Run, shelf: Path, tmp_path: Path
) -> None:
    model = ("--model", shelf / "toy.safetensors")
    answer = run("segment", shelf / "clip.mp4", *CLICK, *model, "--out", tmp_path / "out")
    assert (
        f"clip.mp4 has {LENGTH} frames, and only the first is segmented. To track" in answer.out + answer.err
    )


SLOW = {
    "track": ("track", "clip.mp4", "--point", "1,1", "--out", "out"),
    "segment": ("segment", "a.png", "--point", "1,1", "--out", "out"),
    "everything": ("everything", "a.png", "--out", "out"),
    "studio": ("studio", "--no-browser", "--data", "data"),
    "train": ("train", "finetune", "data", "--out", "out"),
    "evaluate": ("evaluate", "video", "data", "--out", "out"),
    "export": ("export", "onnx", "nano", "--out", "out"),
    "models": ("models", "--explain"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("words", SLOW.values(), ids=SLOW)
def test_a_command_shows_that_it_has_begun_before_torch_is_imported(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """A torch that takes for ever to import stands in the way; the terminal is not empty meanwhile."""
    import pty

    blocked = tmp_path / "blocked" / "torch"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("import time\nwhile True:\n    time.sleep(1)\n")
    path = os.pathsep.join([str(blocked.parent), *sys.path])
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "masklet", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    try:
        text = b""
        while b"starting" not in text:
            text += os.read(master, 4096)  # an OSError where the command ends without a word
    finally:
        process.kill()
        process.wait()
        os.close(master)


def test_an_output_folder_that_is_a_link_to_itself(run: Run, shelf: Path, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    frames, model = shelf / "frames", shelf / "toy.safetensors"
    answer = run("track", str(frames), "--point", "20,24", "--model", str(model), "--out", str(loop))
    assert answer.code == 1 and f"{loop} cannot be written" in answer.err
