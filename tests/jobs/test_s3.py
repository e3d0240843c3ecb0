"""A bucket: moto's S3 server on loopback, in an environment of its own, since its pins contradict ours.

The environment is made once, in .cache/moto; MASKLET_MOTO names the moto_server of another.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs as arrow

from masklet.jobs.manifest import read_manifest
from masklet.jobs.merge import merge_results
from masklet.jobs.plan import make_plan
from masklet.jobs.settings import JobSettings
from masklet.jobs.stores import Store
from masklet.jobs.tables import read_masks
from masklet.jobs.worker import Item, Worker

from .conftest import CLIPS, FRAMES

MOTO = ("moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5")
INSTALL_SECONDS = 600
ENVIRONMENT = Path(__file__).parents[2] / ".cache" / "moto"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def moto_server() -> Path:
    """The path of moto_server, installed on first use."""
    if named := os.environ.get("MASKLET_MOTO"):
        return Path(named)
    server, finished = ENVIRONMENT / "bin" / "moto_server", ENVIRONMENT / "finished"
    if not (finished.is_file() and finished.read_text() == str(MOTO)):
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        pip = [ENVIRONMENT / "bin" / "pip", "install", "--quiet", "--no-input", *MOTO]
        try:
            for command in ([sys.executable, "-m", "venv", ENVIRONMENT], pip):
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            pytest.skip(f"moto cannot be installed here: not done after {INSTALL_SECONDS} seconds")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"moto cannot be installed here: {error.stderr.strip().rpartition(chr(10))[2]}")
        finished.write_text(str(MOTO))
    return server


@pytest.fixture
def bucket(moto_server: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [str(moto_server), "-H", "127.0.0.1", "-p", str(port)],
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
        while not _accepts(port):
            assert server.poll() is None, "moto_server has ended"
            time.sleep(0.1)
        arrow.S3FileSystem(
            endpoint_override=os.environ["AWS_ENDPOINT_URL"], allow_bucket_creation=True
        ).create_dir("masklet-test")
        yield "s3://masklet-test"
    finally:
        server.kill()
        server.wait()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


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
        assert outcome.record is not None, outcome.error
        with store.open(outcome.record.masks.path) as file:
            assert len(list(read_masks(pa.PythonFile(file)))) == FRAMES
    broken = worker.run(Item(entries[-1]))
    assert (broken.record, broken.kind) == (None, "input")
    plan = make_plan(read_manifest(manifest), store)
    assert (len(plan.done), len(plan.waiting)) == (CLIPS, 1)
    assert merge_results(store, Store(str(tmp_path)), is_partial=True) == ["masks-00000.parquet"]
    assert len(store.names("masks")) == CLIPS
