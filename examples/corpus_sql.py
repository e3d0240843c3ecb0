"""A corpus: a manifest of clips and clicks, a job on this machine, Parquet, and questions in SQL.

pip install '.[jobs]' duckdb
python examples/corpus_sql.py
"""

import csv
import subprocess
import sys
from pathlib import Path

from masklet.cli import run_script

DEMO = Path(__file__).with_name("demo.mp4")
CLICKS = {"balloon": (188, 140), "other": (524, 110)}


def main(
    video: Path = DEMO,
    model: str = "nano",
    fps: float = 4,
    out: Path = Path("out/corpus_sql"),
) -> None:
    try:
        import duckdb  # asks Parquet files in SQL
    except ImportError:
        sys.exit("this needs DuckDB and Ray: pip install '.[jobs]' duckdb")

    out.mkdir(parents=True, exist_ok=True)
    manifest = out / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["source", "object", "class", "x", "y"])
        table.writerows([video.resolve(), name, name, x, y] for name, (x, y) in CLICKS.items())

    command = [sys.executable, "-m", "masklet", "jobs", "run", manifest, "--out", out / "job"]
    options = ["--model", model, "--fps", fps, "--actors", 1]
    job = subprocess.run([str(word) for word in (*command, *options)])
    if job.returncode:
        sys.exit(job.returncode)  # the job has printed why

    print(
        duckdb.sql(
            f"""select class, count(*) as frames, avg(area / (height * width)) as share, min(iou) as worst
            from '{out}/job/masks/*.parquet' where area > 0 group by class order by class"""
        )
    )


if __name__ == "__main__":
    run_script(main)
