"""Images and videos from a web server, and what is live and what is stored."""

from __future__ import annotations

import functools
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest

from masklet.errors import MediaError
from masklet.media import is_still, open_frames, read_image, stream
from media.made import clip, number, numbered

COUNT = 62


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


class Live(http.server.BaseHTTPRequestHandler):
    """A camera that sends JPEGs for ever, 50 a second, and never says how long."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        file = self.server.jpeg
        try:
            while True:
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(file)}\r\n\r\n"
                self.wfile.write(head.encode() + file + b"\r\n")
                time.sleep(0.02)
        except OSError:
            pass

    def log_message(self, *arguments: object) -> None:
        pass


def serve(handler: type) -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    for suffix in ("mp4", "mkv", "ts"):
        clip(folder / f"clip.{suffix}", COUNT)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(numbered(9)).save(folder / "turned.png", exif=exif)
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    for server in serve(functools.partial(Files, directory=str(folder))):
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_stream_of_a_stored_video_has_every_frame(url: str, suffix: str) -> None:
    frames = stream(f"{url}/clip.{suffix}")
    numbers = []
    for image in frames:
        numbers.append(number(image))
        time.sleep(0.005)  # slower than the file arrives
    assert numbers == list(range(COUNT))
    assert frames.time(COUNT - 1) == pytest.approx(
        (COUNT - 1) / 25, abs=1e-3
    ) and frames.fps == pytest.approx(25)


def test_frames_of_a_url(url: str) -> None:
    frames = open_frames(f"{url}/clip.mp4")
    assert len(frames) == COUNT and number(frames[40]) == 40 and number(frames[3]) == 3


def test_an_image_of_a_url_is_read_as_its_file_is(url: str, folder: Path) -> None:
    image = f"{url}/turned.png"
    assert (read_image(image) == read_image(folder / "turned.png")).all()
    assert is_still(image) and len(open_frames(image)) == 1
    assert (open_frames(image)[0] == read_image(image)).all()


def test_what_is_not_there(url: str) -> None:
    for name in ("gone.png", "gone.mp4"):
        for read in (read_image, open_frames, stream):
            with pytest.raises(MediaError, match=rf"{name}"):
                read(f"{url}/{name}")
    with pytest.raises(MediaError, match="cannot be fetched"):
        read_image("http://127.0.0.1:9/a.png")
    with pytest.raises(MediaError, match="must begin with http"):
        read_image("rtsp://127.0.0.1/a.png")


@pytest.mark.parametrize(
    "address", ["http://[", "http://127.0.0.1/a b.png", "http://127.0.0.1/a\r\nX: 1.png"]
)
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(MediaError, match="cannot be fetched"):
        read_image(address)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(MediaError) as refusal:
        read_image("http://me:secret@127.0.0.1:9/a.png")
    assert "secret" not in str(refusal.value)


class CutShort(http.server.BaseHTTPRequestHandler):
    """A body in chunks, of which the last does not come."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"ff\r\nhalf")
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_body_that_is_cut_short() -> None:
    for server in serve(CutShort):
        with pytest.raises(MediaError, match="cannot be fetched: IncompleteRead"):
            read_image(f"http://127.0.0.1:{server.server_port}/a.png")


def test_a_camera_over_http_gives_its_newest_frame(folder: Path) -> None:
    for server in serve(Live):
        PIL.Image.fromarray(numbered(4)).save(folder / "live.jpg", quality=95)
        server.jpeg = (folder / "live.jpg").read_bytes()
        frames = stream(f"http://127.0.0.1:{server.server_port}/camera.mjpg")
        assert number(next(frames)) == 4
        time.sleep(0.3)
        next(frames)
        assert frames.time(1) > 0.15, "timed by the clock"


def hls(*parts: str) -> str:
    head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n"
    return head + "".join(f"#EXTINF:2.6,\n{part}\n" for part in parts) + "#EXT-X-ENDLIST\n"


PLAYLISTS = {
    "absolute.m3u8": lambda elsewhere: hls(str(elsewhere)),
    "address.m3u8": lambda elsewhere: hls(f"file://{elsewhere}"),
    "beside.m3u8": lambda elsewhere: hls("clip.ts"),
    "live.m3u8": lambda elsewhere: hls("clip.ts").removesuffix("#EXT-X-ENDLIST\n"),
    "named.ts": lambda elsewhere: hls(str(elsewhere)),
    "list.ffconcat": lambda elsewhere: "ffconcat version 1.0\nfile clip.ts\n",
    "camera.sdp": lambda elsewhere: "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 5004 RTP/AVP 26\n",
    "dash.mpd": lambda elsewhere: "<?xml version='1.0'?>\n<MPD type='static'><Period/></MPD>",
    "vlc.xspf": lambda elsewhere: (
        f"<?xml version='1.0'?>\n<playlist><location>{elsewhere}</location></playlist>"
    ),
}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("elsewhere") / "secret.ts", 8)


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_on_this_machine_is_refused_in_a_sentence(
    folder: Path, elsewhere: Path, name: str
) -> None:
    """FFmpeg would read what it names, from any folder, without a word."""
    path = folder / name
    path.write_text(PLAYLISTS[name](elsewhere))
    for source in (path, str(path), f"file://{path}", path.read_bytes()):
        for opened in (open_frames, stream):
            with pytest.raises(MediaError, match="is a playlist, which lists other files"):
                opened(source)
    with pytest.raises(MediaError, match="is a playlist"):
        stream(f"file://{path}", live=True)


def test_a_playlist_on_a_web_server_reaches_the_server_and_no_file(
    folder: Path, url: str, elsewhere: Path
) -> None:
    (folder / "good.m3u8").write_text(hls("clip.ts"))
    (folder / "mixed.m3u8").write_text(hls("clip.ts", f"file://{elsewhere}"))
    (folder / "bad.m3u8").write_text(hls(f"file://{elsewhere}"))
    (folder / "list.ffconcat").write_text(f"ffconcat version 1.0\nfile {elsewhere}\n")
    for name in ("good.m3u8", "mixed.m3u8"):
        assert len(list(stream(f"{url}/{name}"))) == COUNT
    for name in ("bad.m3u8", "list.ffconcat"):
        with pytest.raises(MediaError):
            stream(f"{url}/{name}")


def test_a_video_whose_name_looks_like_an_address_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg takes what stands before a colon for a protocol."""
    clip(tmp_path / "clip.mp4", 8)
    monkeypatch.chdir(tmp_path)
    for name in ("12:30:05.mp4", "concat:clip.mp4", "http:clip.mp4", "file:clip.mp4", "a%03d.mp4", "-i.mp4"):
        (tmp_path / "clip.mp4").rename(tmp_path / name)
        assert len(open_frames(name)) == 8
        (tmp_path / name).rename(tmp_path / "clip.mp4")
