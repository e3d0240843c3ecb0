"""The page of limits states what the code has, and misses no limit."""

import dataclasses
import importlib
import re
from pathlib import Path

from masklet.studio.settings import Limits

REPO = Path(__file__).parents[1]
PAGE = (REPO / "docs" / "limits.md").read_text("utf-8")
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "s": 1, "": 1}
ROW = re.compile(
    r"^\| [^|]+ \| ([\d,.]+) ?([KMG]iB|s|) ?(?:\([^|]*\))? ?\|(?:[^|]*\|)? `([\w.]+)` \|$", re.MULTILINE
)
LIMIT_NAME = re.compile(r"^(MAX_\w+|\w+_BYTES|\w+_SECONDS)(?:: \w+)? = ", re.MULTILINE)
NOT_A_LIMIT = {  # names that look like one
    "masklet.auto.tracker.MAX_COVERED": "a share of a mask",
    "masklet.jobs.records.STRAGGLER_SECONDS": "when a report calls an item slow",
    "masklet.jobs.ray_driver.STATUS_SECONDS": "how often a status is written",
    "masklet.checkpoint.reading.MAX_NAME": "only shortens messages",
    "masklet.studio.routes.events.MAX_REASON": "only shortens messages",
    "masklet.studio.requests.MAX_HEAD": "the largest step number that a request may name",
    "masklet.studio.edits.COMMIT_SECONDS": "work in one transaction",
    "masklet.studio.app.MAINTENANCE_SECONDS": "how often the studio tidies",
    "masklet.studio.store.storage.QUOTA_SECONDS": "how old the measured size may be",
    "masklet.studio.inference.propagation.STOP_SECONDS": "that a stop waits for the frame in work",
    "masklet.media.readers.live_streams.STOP_SECONDS": "that the end of a program waits for a camera",
    "masklet.studio.store.uploads.WRITE_BYTES": "written at a time",
    "masklet.studio.store.uploads.QUOTA_BYTES": "between two looks at the quota",
    "masklet.studio.inference.decoder.CACHED_BYTES": "of frames, counted in the decoder's memory",
}


def stated_limits() -> dict[str, float]:
    """A page's names of limits, with their values in bytes, seconds or things."""
    return {
        name.replace("Limits.", "masklet.studio.settings.Limits."): float(number.replace(",", ""))
        * UNITS[unit]
        for number, unit, name in ROW.findall(PAGE)
    }


def value_of(name: str) -> float:
    """The value of a constant, or of a field of `Limits`."""
    module, _, constant = name.rpartition(".")
    if module.endswith(".Limits"):
        return getattr(Limits(), constant)
    return getattr(importlib.import_module(module), constant)


def test_the_page_states_the_values_in_the_code() -> None:
    stated = stated_limits()
    assert {name: value_of(name) for name in stated} == stated


def test_every_row_of_a_limit_can_be_read() -> None:
    rows = [line for line in PAGE.splitlines() if re.search(r"\| `(masklet|Limits)\.[\w.]+` \|$", line)]
    assert len(rows) == len(stated_limits()) > 60


def test_every_limit_of_the_studio_is_on_the_page() -> None:
    fields = {f"masklet.studio.settings.Limits.{field.name}" for field in dataclasses.fields(Limits)}
    assert fields - set(stated_limits()) == set()


def test_every_constant_with_a_limits_name_is_on_the_page() -> None:
    constants = set()
    for path in (REPO / "src" / "masklet").rglob("*.py"):
        module = ".".join(path.relative_to(REPO / "src").with_suffix("").parts).removesuffix(".__init__")
        constants |= {f"{module}.{name}" for name in LIMIT_NAME.findall(path.read_text("utf-8"))}
    assert constants - set(stated_limits()) - set(NOT_A_LIMIT) == set()


def test_tests_named_on_the_page_exist() -> None:
    for path in re.findall(r"`(tests/[\w/]+(?:\.py)?)`", PAGE):
        assert (REPO / path).exists()
