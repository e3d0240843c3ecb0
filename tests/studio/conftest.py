from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the studio needs its extra: pip install 'masklet[studio]'")

from studio.small import Caller, make_studio


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with Caller(make_studio(tmp_path_factory.mktemp("studio"))) as caller:
        yield caller


def postgres_programs() -> Path:
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    return programs[-1].parent


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A server of our own that listens on a socket in a folder, and on no port."""
    programs = postgres_programs()
    # Not among pytest's folders: another run of pytest takes back what others may read there.
    place = Path(tempfile.mkdtemp(prefix="masklet-postgres-"))
    # The server refuses to run as root.
    drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    if drop:
        shutil.chown(place, "postgres", "postgres")
    data = place / "data"

    def run(*command: str) -> None:
        done = subprocess.run([*drop, *command], cwd=place, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    run(str(programs / "initdb"), "--auth=trust", "--username=studio", "--no-sync", f"--pgdata={data}")
    options = f"-c listen_addresses='' -c unix_socket_directories='{place}' -c fsync=off"
    control = str(programs / "pg_ctl")
    run(control, "start", "--wait", f"--pgdata={data}", f"--log={place / 'log'}", f"--options={options}")
    try:
        yield f"postgresql://studio@/postgres?host={place}"
    finally:
        run(control, "stop", "--mode=immediate", f"--pgdata={data}")
        shutil.rmtree(place)
