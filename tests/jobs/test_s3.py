"""A bucket: moto's S3 server on loopback, in an environment of its own, since its pins contradict ours.

MASKLET_MOTO names its moto_server; any that lies on the path may be too old.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs as arrow

from masklet.jobs.manifest import JobSettings, read_manifest
from masklet.jobs.report import merge_tables
from masklet.jobs.run import make_plan
from masklet.jobs.stores import Store
from masklet.jobs.tables import read_masks
from masklet.jobs.worker import Item, Worker

from .conftest import CLIPS, FRAMES

SERVER = os.environ.get("MASKLET_MOTO")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SERVER is None, reason="MASKLET_MOTO names no moto_server"),
]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [str(SERVER), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            monkeypatch.setenv(name, value)
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        arrow.S3FileSystem(
            endpoint_override=os.environ["AWS_ENDPOINT_URL"], allow_bucket_creation=True
        ).create_dir("masklet-test")
        yield "s3://masklet-test"
    finally:
        server.kill()
        server.wait()


def test_a_corpus_in_a_bucket(bucket: str, corpus: Path, settings: JobSettings, tmp_path: Path) -> None:
    """Manifest, videos and results are in S3; a second plan finds what is done, and merge reads it."""
    files = arrow.S3FileSystem(endpoint_override=os.environ["AWS_ENDPOINT_URL"])
    for path in [*corpus.glob("*.mp4"), corpus / "manifest.csv"]:
        with files.open_output_stream(f"masklet-test/in/{path.name}") as stream:
            stream.write(path.read_bytes())
    manifest, out = f"{bucket}/in/manifest.csv", f"{bucket}/out"
    store = Store(out)
    entries = read_manifest(manifest)
    assert entries[0].source == f"{bucket}/in/0.mp4"
    assert len(read_manifest(f"{bucket}/in/*.mp4")) == CLIPS + 1
    store.write_json("job.json", {"manifest": manifest, "settings": settings.to_json()})
    worker = Worker(settings, out)
    for entry in entries[:-1]:
        outcome = worker.run(Item(entry))
        assert outcome.status == "done", outcome.error
        with store.open(outcome.record["file"]) as file:
            assert len(list(read_masks(pa.PythonFile(file)))) == FRAMES
    broken = worker.run(Item(entries[-1]))
    assert (broken.status, broken.kind) == ("failed", "input")
    plan = make_plan(read_manifest(manifest), store)
    assert (len(plan.done), len(plan.waiting)) == (CLIPS, 1)
    assert merge_tables(store, Store(str(tmp_path)), is_partial=True) == ["masks-00000.parquet"]
    assert len(store.names("masks")) == CLIPS
