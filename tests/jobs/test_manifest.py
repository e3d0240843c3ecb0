"""Manifests in every form say the same, and say what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from masklet.errors import MaskletError, PromptError
from masklet.jobs.manifest import read_manifest
from masklet.jobs.settings import Cluster, JobSettings


def test_csv_json_lines_and_parquet_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        "source,frame,object,class,x,y\nclips/a.mp4,0,dog,pet,20,24\nclips/b.mp4,,,,,\n"
    )
    (tmp_path / "m.jsonl").write_text(
        '{"source": "clips/a.mp4", "frame": 0, "object": "dog", "class": "pet", "positive": [[20.0, 24.0]]}\n'
        '{"source": "clips/b.mp4"}\n'
    )
    rows = [
        {"source": "clips/a.mp4", "frame": 0, "object": "dog", "class": "pet", "x": 20.0, "y": 24.0},
        {"source": "clips/b.mp4", "frame": None, "object": None, "class": None, "x": None, "y": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    manifests = [read_manifest(str(tmp_path / name)) for name in ("m.csv", "m.jsonl", "m.parquet")]
    assert [[entry.id for entry in entries] for entries in manifests] == [
        [entry.id for entry in manifests[0]]
    ] * 3
    first, second = manifests[0]
    assert first.source == f"{tmp_path}/clips/a.mp4"
    assert dict(first.rows[0].values) == {"positive": [[20.0, 24.0]]}
    assert second.rows == ()


def test_prompts_of_one_source_are_one_entry(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("source,object,x,y\na.mp4,1,3,4\na.mp4,2,5,6\n")
    (entry,) = read_manifest(str(tmp_path / "m.csv"))
    assert [row.object for row in entry.rows] == [1, 2]


def test_a_folder_and_a_glob_are_manifests(corpus: Path) -> None:
    names = ["0.mp4", "1.mp4", "2.mp4", "broken.mp4"]
    for manifest in (str(corpus), f"{corpus}/*.mp4"):
        assert [Path(entry.source).name for entry in read_manifest(manifest)] == names


def test_videos_of_a_folder_by_name(tmp_path: Path) -> None:
    names = ["a.mp4", "b.MKV", "c.gif", "d.m2ts", "e.png"]
    for name in [*names, ".f.mp4", "notes.txt"]:
        (tmp_path / name).touch()
    assert [Path(entry.source).name for entry in read_manifest(str(tmp_path))] == names


def test_a_manifest_may_be_in_any_file_system() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/jobs-manifest/m.csv", b"source,detections\na.mp4,a.json\n")
    memory.pipe("/jobs-manifest/a.mp4", b"")
    (entry,) = read_manifest("memory://jobs-manifest/m.csv")
    assert (entry.source, entry.detections) == (
        "memory://jobs-manifest/a.mp4",
        "memory://jobs-manifest/a.json",
    )
    assert [entry.source for entry in read_manifest("memory://jobs-manifest/*.mp4")] == [entry.source]


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("m.csv", "source,colour\na.mp4,red\n", "has unknown keys: colour. Allowed are"),
        ("m.csv", "x,y\n1,2\n", "has no column source in its first line. It has x, y"),
        ("m.csv", "source;x;y\na.mp4;1;2\n", "Columns are separated by commas"),
        ("m.csv", "source,x,y\n,1,2\n", "line 2 has no source"),
        ("m.csv", "source,x,y\na.mp4,nan,2\n", "line 2: positive"),
        ("m.csv", "source,x0,y0,x1,y1\na.mp4,9,9,5,5\n", "line 2: box"),
        (
            "m.jsonl",
            '{"source": "a.mp4", "positive": [1, 2]}',
            r"line 1: positive .* one click is \[\(x, y\)\]",
        ),
        ("m.jsonl", '{"source": "a.mp4", "box": "no"}', "line 1: box"),
        ("m.csv", "source\n", "lists no source"),
        (
            "m.csv",
            "source,x,y,x\na.mp4,1,2,3\n",
            "has a column twice in its first line. Got source, x, y, x",
        ),
        ("m.csv", "source,x,y\na.mp4,1,\n", "expected numbers"),
        ("m.jsonl", "{", "is not JSON"),
        ("m.parquet", "nonsense", "is not Parquet"),
        ("m.csv", "source,detections\na.mp4,b.json\na.mp4,c.json\n", "line 3: .*a.mp4 has other detections"),
        ("m.csv", "source,object,class\na.mp4,dog,pet\n", "line 2 has object and class but no click"),
        ("m.csv", "source,object,x,y\na.mp4,2147483648,1,2\n", "line 2: object is at most 2147483647"),
        ("m.csv", "source,x,y,detections\na.mp4,1,2,b.json\n", "prompts and detections"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PromptError, match=message):
        read_manifest(str(tmp_path / name))


def test_a_column_with_gaps_holds_whole_numbers(tmp_path: Path) -> None:
    """pandas makes floats of them, and NaN of the gaps; two long ids must not become one."""
    nan = float("nan")
    rows = [
        {"source": "a.mp4", "frame": 1000001.0, "object": 1234567.0, "x": 1234.5678, "y": 2.0, "label": 1.0},
        {"source": "a.mp4", "frame": 1000001.0, "object": 1234568.0, "x": 1234.5678, "y": 2.0, "label": nan},
        {"source": "b.mp4", "frame": nan, "object": nan, "x": nan, "y": nan, "label": nan},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "flat.parquet")
    lists = [{"source": "a.mp4", "frame": 3.0, "object": 7.0, "positive": [[1.5, 2.5]]}, {"source": "b.mp4"}]
    pq.write_table(pa.Table.from_pylist(lists), tmp_path / "lists.parquet")
    first, second = read_manifest(str(tmp_path / "flat.parquet"))
    assert [(row.frame, row.object) for row in first.rows] == [(1000001, 1234567), (1000001, 1234568)]
    assert first.rows[0].values == {"positive": [[1234.5678, 2.0]]}
    assert second.rows == ()
    (row,) = read_manifest(str(tmp_path / "lists.parquet"))[0].rows
    assert (row.frame, row.object, row.values["positive"]) == (3, 7, [[1.5, 2.5]])


def test_texts_keep_their_line_breaks(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('source,object,x,y\na.mp4,"one\ntwo",1,2\n"b\u2028.mp4",x,1,2\n')
    (tmp_path / "m.jsonl").write_text('{"source": "b\u2028.mp4", "object": "x", "box": [1, 1, 5, 5]}\n')
    first, second = read_manifest(str(tmp_path / "m.csv"))
    assert first.rows[0].object == "one\ntwo"
    (third,) = read_manifest(str(tmp_path / "m.jsonl"))
    assert Path(second.source).name == Path(third.source).name == "b\u2028.mp4"


def test_a_missing_manifest_is_said(tmp_path: Path) -> None:
    for name in ("m.csv", "nothing"):
        with pytest.raises(PromptError, match=f"there is no .*{name}"):
            read_manifest(str(tmp_path / name))
    (tmp_path / "list.txt").write_text("a.mp4")
    for name in ("list.txt", "*.mp4"):
        with pytest.raises(PromptError, match="is not a manifest and contains no videos"):
            read_manifest(str(tmp_path / name))


def test_globs_have_question_marks_and_brackets_and_no_hidden_files(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "cc.mp4", ".hidden.mp4", "[x].mp4"):
        (tmp_path / name).touch()

    def names(manifest: str) -> list[str]:
        return [Path(entry.source).name for entry in read_manifest(f"{tmp_path}/{manifest}")]

    assert names("?.mp4") == names("[ab].mp4") == ["a.mp4", "b.mp4"]
    assert names("[x].mp4") == ["[x].mp4"], "a file that is there is itself"
    assert names("*.mp4") == names("") == ["[x].mp4", "a.mp4", "b.mp4", "cc.mp4"]


def test_one_path_in_two_spellings_is_one_source(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("source,object,x,y\nclips/a.mp4,1,3,4\n./clips//a.mp4,2,5,6\n")
    (entry,) = read_manifest(str(tmp_path / "m.csv"))
    assert entry.source == f"{tmp_path}/clips/a.mp4" and len(entry.rows) == 2
    spellings = (f"{tmp_path}/clips/../a.mp4", f"file://{tmp_path}/a.mp4", f"{tmp_path}//a.mp4", "a.mp4")
    rows = [f"{source},{number},3,4" for number, source in enumerate(spellings, 1)]
    (tmp_path / "m.csv").write_text("\n".join(["source,object,x,y", *rows]))
    (entry,) = read_manifest(str(tmp_path / "m.csv"))
    assert entry.source == f"{tmp_path}/a.mp4" and len(entry.rows) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (JobSettings(fps=0), "fps must be a number above 0"),
        (JobSettings(max_objects=0), "max_objects must be at least 1"),
        (JobSettings(every=-3), "every must be at least 1"),
        (Cluster(actors=0), "actors must be at least 1"),
        (Cluster(cpus_per_actor=0), "cpus_per_actor must be a number above 0"),
        (Cluster(gpus_per_actor=-1), "gpus_per_actor must be a number from 0\\."),
        (Cluster(timeout=float("nan")), "timeout must be a number above 0"),
        (Cluster(attempts=0), "attempts must be at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused_before_the_start(
    options: JobSettings | Cluster, message: str
) -> None:
    with pytest.raises(MaskletError, match=message):
        options.check()


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("object", [b"dog"]),
        ("object", [True]),
        ("object", [2**62]),
        ("class", [b"dog"]),
        ("class", [["dog"]]),
        ("mask", [{"size": [4, 4], "counts": [4, 12]}]),
    ],
)
def test_cells_that_are_no_text_or_number_name_nothing(
    tmp_path: Path, column: str, values: list[object]
) -> None:
    columns = {"source": ["a.mp4"], "x": [3.0], "y": [4.0], column: values}
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    with pytest.raises(PromptError, match=f"row 0: {column} (must be text or a number|is at most)"):
        read_manifest(str(tmp_path / "m.parquet"))


def test_a_column_that_is_there_twice_is_named(tmp_path: Path) -> None:
    columns = [pa.array(["a.mp4"]), pa.array([1.0]), pa.array([2.0]), pa.array([9.0])]
    table = pa.Table.from_arrays(columns, names=["source", "x", "y", "x"])
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(PromptError, match=r"m\.parquet has the column x twice\. Remove one of them\.$"):
        read_manifest(str(tmp_path / "m.parquet"))
