"""`masklet evaluate policies`: one table, and a strip of a win and a loss for each policy."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import masklet
from masklet.cli import app
from masklet.media import read_image
from masklet.synthetic import suites
from masklet.tracking.policies import POLICIES
from toy_models import toy_network


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of one short clip; the suites are as small."""
    monkeypatch.setattr(suites, "CLIPS", 1)
    monkeypatch.setattr(suites, "FRAMES", 7)
    monkeypatch.setattr(suites, "SIDE", 64)
    monkeypatch.setattr(suites, "SUITES", {"lookalikes": suites.lookalikes})
    return suites.render(tmp_path / "data")["lookalikes"]


def test_policies_stand_side_by_side(tmp_path: Path, data: Path) -> None:
    (data / "lookalikes-0").rename(data / "mine")
    masklet.save(toy_network(), tmp_path / "toy.safetensors")
    command = ["evaluate", "policies", str(data), "--out", str(tmp_path / "out"), "--device", "cpu"]
    answer = CliRunner().invoke(app, [*command, "--model", str(tmp_path / "toy.safetensors")])
    assert answer.exit_code == 0, answer.output
    table = (tmp_path / "out" / "table.md").read_text()
    for name in (*POLICIES, "recency, cuts"):
        assert table.count(f"| {name} | 2 |") == 2
    text, strips = table.splitlines(), sorted(path.name for path in (tmp_path / "out" / "strips").iterdir())
    assert len(strips) == sum(line.startswith("![") for line in text) <= 2 * len(POLICIES)
    for name in strips:
        assert f"](strips/{name})" in table
        assert read_image(tmp_path / "out" / "strips" / name).shape == (256, 6 * 128, 3)
    assert "gated" in (tmp_path / "out" / "report.html").read_text()


def test_a_baseline_has_no_policies(tmp_path: Path, data: Path) -> None:
    command = ["evaluate", "policies", str(data), "--out", str(tmp_path / "out"), "--model", "flow"]
    answer = CliRunner().invoke(app, command)
    assert "flow is a baseline: choose a model" in str(answer.exception)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--policy", "gated"), "remove --policy and --cuts"),
        (("--cuts",), "remove --policy and --cuts"),
        (("--given", "box"), "use --given only with video"),
    ],
)
def test_what_is_said_of_one_policy(tmp_path: Path, words: tuple[str, ...], part: str) -> None:
    command = ["evaluate", "policies", str(tmp_path), "--out", str(tmp_path / "out"), *words]
    answer = CliRunner().invoke(app, command, env={"COLUMNS": "300"})
    assert answer.exit_code == 2 and part in answer.output


def test_a_misspelt_policy_gets_a_sentence(tmp_path: Path) -> None:
    for command in (["evaluate", "video", str(tmp_path)], ["track", "clip.mp4", "--point", "1,1"]):
        answer = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out"), "--policy", "samuray"])
        assert answer.exit_code != 0
        assert "Did you mean samurai?" in str(answer.exception)
