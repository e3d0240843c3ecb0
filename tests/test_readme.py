"""What the README and the pages show works: their Python runs, their commands parse."""

import inspect
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import PIL.Image
import pytest
import tifffile
import torch
import typer

import masklet
import masklet.media
from masklet.checkpoint import PUBLISHED
from masklet.cli import app
from masklet.config import SIZES, toy

REPO = Path(__file__).parents[1]
README = (REPO / "README.md").read_text("utf-8")
LENGTH = 58  # frames of the cut clip
PAGES = {path.name: path.read_text("utf-8") for path in [REPO / "README.md", *REPO.glob("docs/*.md")]}


def blocks(page: str, language: str) -> Iterator[tuple[int, str]]:
    """Fenced code with the line that it starts on."""
    for match in re.finditer(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        yield page.count("\n", 0, match.start()) + 2, match[1]


def commands(page: str) -> Iterator[list[str]]:
    """The words of each indented line that calls masklet; one that ends in ... is left to the reader."""
    for line in re.findall(r"^    masklet (.+)$", page, re.MULTILINE):
        words = shlex.split(line, comments=True)
        if words[-1] != "...":
            yield words


def run(page: str) -> dict[str, object]:
    """What a page's Python leaves behind; it runs from top to bottom, as a reader would try it."""
    names: dict[str, object] = {}
    for line, block in blocks(PAGES[page], "python"):
        exec(compile("\n" * (line - 1) + block, page, "exec"), names)
    return names


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages speak of: a cut clip, a toy for every model, a camera on the clip."""
    film = list(islice(masklet.media.open_frames(REPO / "examples" / "demo.mp4"), LENGTH))
    source = masklet.media.open_frames(film)
    with masklet.media.OverlayVideo(tmp_path / "examples" / "demo.mp4", source) as video:
        for frame, image in enumerate(film):
            nothing = torch.zeros(0)
            masks = masklet.Masks(frame, (), torch.zeros(0, 1, 1), source.size, nothing, nothing)
            video.write(image, masks)
    (tmp_path / "examples" / "demo_masks.json").symlink_to(REPO / "examples" / "demo_masks.json")
    PIL.Image.fromarray(film[0]).save(tmp_path / "image.jpg")

    model = masklet.Sam2(toy()).eval()
    torch.nn.init.constant_(model.mask_decoder.score_head.layers[-1].bias, 10.0)  # it always finds something
    monkeypatch.setattr(masklet, "load", create_autospec(masklet.load, return_value=model))
    camera = create_autospec(masklet.media.stream, return_value=iter(film[:32]))
    monkeypatch.setattr(masklet.media, "stream", camera)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run("README.md")
    said = capsys.readouterr().out.splitlines()
    assert said[:LENGTH] == [f"{frame} (360, 640)" for frame in range(LENGTH)]
    assert said[LENGTH].startswith("(360, 640) tensor(")
    assert (place / "mine.pt").is_file()
    results, tracker, video = names["results"], names["tracker"], names["video"]
    assert isinstance(results, dict) and sorted(results) == list(range(LENGTH))
    assert isinstance(tracker, masklet.Tracker) and tracker.ids == (2,)
    assert isinstance(video, masklet.VideoSession) and set(video.script) == {0, 56}


@pytest.mark.parametrize(("page", "package"), [("results.md", "tqdm"), ("integrations.md", "supervision")])
def test_the_pages_about_results_run(place: Path, page: str, package: str) -> None:
    pytest.importorskip(package)
    (place / "photo.jpg").symlink_to(place / "image.jpg")
    (place / "clip.mp4").symlink_to(place / "examples" / "demo.mp4")
    names = run(page)
    if page == "results.md":
        tracked, masks = names["tracked"], names["masks"]
        assert isinstance(tracked, masklet.MaskIterator) and len(tracked) == LENGTH
        assert isinstance(masks, masklet.Masks) and masks.frame == LENGTH - 1
    else:
        answer = names["answer"]
        assert callable(answer) and set(answer((place / "photo.jpg").read_bytes(), 20, 30)) == {"masks"}
        assert (place / "sam2.safetensors").is_file()


def test_the_page_about_policies_runs(place: Path) -> None:
    (place / "dog.mp4").symlink_to(place / "examples" / "demo.mp4")
    names = run("policies.md")
    assert isinstance(names["Confident"], type) and issubclass(names["Confident"], masklet.Recency)


def test_the_page_about_microscopes_runs(place: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 4095, (6, 2, 120, 140), dtype=np.uint16)
    sizes = {f"PhysicalSize{axis}": size for axis, size in (("X", 0.5), ("Y", 0.5), ("Z", 2))}
    axes = {"axes": "ZCYX", "Channel": {"Name": ["DAPI", "GFP"]}, **sizes}
    tifffile.imwrite(place / "stack.ome.tif", stack, ome=True, metadata=axes)
    (place / "slide.tif").symlink_to(place / "image.jpg")
    names = run("microscopy.md")
    labels, volume = names["labels"], names["volume"]
    assert isinstance(volume, float) and volume == sum(int(row["area"]) for row in names["rows"]) * 0.5
    assert isinstance(labels, np.ndarray) and labels.shape == (360, 640)
    assert tifffile.imread(place / "out" / "labels.ome.tif").shape == (6, 120, 140)


def test_the_model_card_measures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overlaps = run("nano.md")["overlaps"]
    assert isinstance(overlaps, list) and len(overlaps) == LENGTH
    assert capsys.readouterr().out == f"mean J {sum(overlaps[1:]) / (LENGTH - 1):.3f}\n"


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = chain(project["dependencies"], *project["optional-dependencies"].values())
    names = {re.split(r"[\[>]", each)[0] for each in wanted} - {"masklet"}
    said = re.split(r"[^\w-]+", PAGES["why.md"])
    assert sorted(name for name in names if name not in said) == []


def test_the_first_screen_shows_install_python_and_an_image() -> None:
    first = "\n".join(README.splitlines()[:20])
    assert "`pip install .`" in first and "`make demo`" in first
    [(_, block)] = blocks(first, "python")
    assert len([line for line in block.splitlines() if line]) <= 6
    [image] = re.findall(r"!\[.+\]\((.+)\)", first)
    assert (REPO / image).stat().st_size <= 150_000


@pytest.mark.parametrize("page", PAGES)
def test_commands_parse(page: str) -> None:
    group = typer.main.get_command(app)
    for name, *words in commands(PAGES[page]):
        command = group.commands[name]  # type: ignore[attr-defined]
        command.make_context(name, words)


def test_a_wrong_command_is_found() -> None:
    group = typer.main.get_command(app)
    [words] = commands("# Page\n\n    masklet track VIDEO --pint 188,140 --out there  # no\n")
    with pytest.raises(Exception, match="--pint"):
        group.commands["track"].make_context("track", words[1:])  # type: ignore[attr-defined]


def test_names_in_the_text_exist() -> None:
    """`video.undo()` and the like, in running text."""
    text = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
    calls = re.findall(r"`video\.(\w+)\(", text)
    assert calls
    for call in calls:
        assert inspect.isfunction(getattr(masklet.VideoSession, call))
    for name in re.findall(r"`masklet\.(\w+)[.`(]", text):
        assert hasattr(masklet, name) or find_spec(f"masklet.{name}")


def test_the_model_table() -> None:
    rows = re.findall(r"^\| (`.+`) \| (.+?) \| (.+?) \|", README, re.MULTILINE)
    listed = {name: row for names, *row in rows for name in re.findall(r"`([^`]+)`", names)}
    assert set(listed) == {"nano", *PUBLISHED}
    for size, config in SIZES.items():
        with torch.device("meta"):
            count = sum(weight.numel() for weight in masklet.Sam2(config).parameters())
        for name in (name for name in listed if name.split("hiera-")[-1] == size):
            assert listed[name] == [f"{count / 1e6:.1f} M", f"{config.image_size} px"]
