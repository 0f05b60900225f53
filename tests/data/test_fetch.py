"""Downloads from a server that breaks off, stalls, refuses and sends rubbish: a successful retry or one clear error, and
never anything half-made under the name of a file."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from invsmooth.core.errors import DataError
from invsmooth.data.fetch import BLOCK, Patience, fetch, mirrored
from invsmooth.data.obtain import find_or_fetch, obtain
from invsmooth.data.published import Published
from tests.data.server import Server, serving

FILES = {f"{k}.png": os.urandom(300_000 + k) for k in range(3)}
HASTY = Patience(attempts=4, wait=0.01, timeout=0.5)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as running:
        yield running


def loose(server: Server) -> Published:
    """A set of three files with known checksums."""
    server.files = {f"/set/{name}": content for name, content in FILES.items()}
    known = {name: (hashlib.sha256(content).hexdigest(), len(content)) for name, content in FILES.items()}
    return Published("tiny", ("tiny",), tuple(FILES), known, "", f"{server.url}/set/")


def zipped(server: Server, members: dict[str, bytes] | None = None) -> Published:
    """The same three files as an archive without a known checksum."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in (members or {f"Tiny/{name}": content for name, content in FILES.items()}).items():
            archive.writestr(name, content)
    server.files = {"/Tiny.zip": stream.getvalue()}
    return Published("tiny", ("tiny/Tiny", "Tiny"), tuple(FILES), {}, "", f"{server.url}/Tiny.zip")


def names(root: Path) -> set[str]:
    """What lies below ``root``, but for the lock."""
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and p.name != ".lock"}


def test_files_are_fetched_once(server: Server, tmp_path: Path) -> None:
    data = loose(server)
    found = find_or_fetch(data, tmp_path, patience=HASTY)
    assert {name: file.path.read_bytes() for name, file in found.items()} == FILES
    assert names(tmp_path) == {f"tiny/{name}" for name in FILES}
    assert not (tmp_path / "tiny" / ".partial").exists()
    find_or_fetch(data, tmp_path)
    assert len(server.requests) == 3


def test_only_what_is_missing_is_fetched(server: Server, tmp_path: Path) -> None:
    data = loose(server)
    find_or_fetch(data, tmp_path, patience=HASTY)
    (tmp_path / "tiny" / "1.png").unlink()
    find_or_fetch(data, tmp_path, patience=HASTY)
    assert [server.served(f"/set/{name}") for name in FILES] == [1, 2, 1]


def test_an_archive_is_read_as_it_is_and_its_checksum_recorded(server: Server, tmp_path: Path) -> None:
    data = zipped(server)
    found = find_or_fetch(data, tmp_path, patience=HASTY)
    assert {name: file.open().read() for name, file in found.items()} == FILES
    assert names(tmp_path) == {"tiny/Tiny.zip", "tiny/checksums.txt"}
    checksum, name = (tmp_path / "tiny" / "checksums.txt").read_text().split()
    assert (checksum, name) == (hashlib.sha256(server.files["/Tiny.zip"]).hexdigest(), "Tiny.zip")


def test_an_archive_that_has_changed_since_it_was_first_fetched_is_refused(server: Server, tmp_path: Path) -> None:
    find_or_fetch(zipped(server), tmp_path, patience=HASTY)
    (tmp_path / "tiny" / "Tiny.zip").unlink()
    changed = zipped(server, {f"Tiny/{name}": content[::-1] for name, content in FILES.items()})
    with pytest.raises(DataError, match="does not match the known hash"):
        find_or_fetch(changed, tmp_path, patience=HASTY)
    assert names(tmp_path) == {"tiny/checksums.txt"}


@pytest.mark.parametrize("fault", ["break", "stall", 500, 503, 429])
def test_passing_faults_are_tried_again(server: Server, tmp_path: Path, fault: str | int) -> None:
    data = loose(server)
    server.faults = {"/set/1.png": [fault]}
    found = find_or_fetch(data, tmp_path, patience=HASTY)
    assert {name: file.path.read_bytes() for name, file in found.items()} == FILES
    assert server.served("/set/1.png") == 2


def test_a_broken_download_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    data = loose(server)
    server.faults = {"/set/0.png": ["break"]}
    find_or_fetch(data, tmp_path, patience=HASTY)
    assert server.requests[:2] == [("/set/0.png", None), ("/set/0.png", f"bytes={2 * BLOCK}-")]


def test_a_later_process_goes_on_where_an_earlier_one_gave_up(server: Server, tmp_path: Path) -> None:
    data = zipped(server)
    server.faults = {"/Tiny.zip": ["break"] * 2}
    with pytest.raises(DataError, match="broke off"):
        fetch(data, tmp_path, patience=Patience(attempts=1, wait=0.01))
    assert names(tmp_path) == {"tiny/.partial/Tiny.zip.part", "tiny/.partial/Tiny.zip.part.validator"}
    find_or_fetch(data, tmp_path, patience=HASTY)
    whole_blocks = len(server.files["/Tiny.zip"]) // 2 // BLOCK
    assert server.requests[1] == ("/Tiny.zip", f"bytes={whole_blocks * BLOCK}-")
    assert names(tmp_path) == {"tiny/Tiny.zip", "tiny/checksums.txt"}


@pytest.mark.parametrize("case", ["no validator", "server starts over", "server goes on elsewhere", "part is too long"])
def test_where_going_on_is_not_possible_it_starts_over(server: Server, tmp_path: Path, case: str) -> None:
    data = loose(server)
    server.faults = {
        "/set/0.png": [
            "break",
            {"server starts over": "no range", "server goes on elsewhere": "other range"}.get(case, ""),
        ]
    }
    server.etag = case != "no validator"
    if case == "part is too long":
        server.faults = {}
        part = tmp_path / "tiny" / ".partial" / "0.png.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(bytes(400_000))
        part.with_name("0.png.part.validator").write_text('"1"')
    find_or_fetch(data, tmp_path, patience=HASTY)
    assert (tmp_path / "tiny" / "0.png").read_bytes() == FILES["0.png"]


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ([404], "404 Not Found"),
        ([403], "403 Forbidden"),
        (["html"], "a web page instead of the file"),
        (["wrong"], "does not match the known hash"),
        (["short"], "does not match the known hash"),
        ([500] * 9, "the server answers 500"),
        (["break"] * 9, "broke off"),
        (["other range"] * 9, "the server cannot go on where the download broke off"),
        (["stall"] * 9, "timed out"),
    ],
)
def test_lasting_faults_end_in_one_error_and_nothing_half_made(
    server: Server, tmp_path: Path, faults: list[str | int], message: str
) -> None:
    data = loose(server)
    server.faults = {"/set/1.png": faults}
    with pytest.raises(DataError, match=message) as error:
        find_or_fetch(data, tmp_path, patience=Patience(attempts=2, wait=0.01, timeout=0.3))
    told = str(error.value)
    assert f"{server.url}/set/1.png" in told
    assert str(tmp_path) in told
    assert "data=bundled" in told
    # What is whole stays; of the other file nothing is there but, maybe, a part to go on with.
    assert {n for n in names(tmp_path) if ".partial" not in n} == {"tiny/0.png"}
    passing = (
        "the server answers 500",
        "broke off",
        "timed out",
        "the server cannot go on where the download broke off",
    )
    assert server.served("/set/1.png") == (2 if message in passing else 1)
    server.faults = {}
    assert len(find_or_fetch(data, tmp_path, patience=HASTY)) == 3


@pytest.mark.parametrize(
    ("members", "cut", "message"),
    [
        ({"../evil.png": b"1"}, 0, "a path out of the archive"),
        (None, 500, "cannot be read as a zip archive"),
        ({"Tiny/0.png": b"only one"}, 0, "2 of 3 files are missing"),
    ],
)
def test_archives_that_cannot_be_used(
    server: Server, tmp_path: Path, members: dict[str, bytes] | None, cut: int, message: str
) -> None:
    data = zipped(server, members)
    server.files["/Tiny.zip"] = server.files["/Tiny.zip"][: -cut or None]
    with pytest.raises(DataError, match=message):
        find_or_fetch(data, tmp_path, patience=HASTY)
    assert not list(tmp_path.parent.rglob("evil.png"))
    if "missing" not in message:  # an archive that is whole, though not what was expected, is kept
        assert names(tmp_path) == set()


def test_without_a_server_the_message_comes_soon(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        data = Published(
            "tiny", ("tiny", "Tiny"), ("0.png",), {"0.png": ("0" * 64, 1)}, "", "http://unused.invalid/set/"
        )
        started = time.monotonic()
        with pytest.raises(DataError, match="and the download failed") as error:
            find_or_fetch(
                data, tmp_path, mirror=f"http://127.0.0.1:{taken.getsockname()[1]}", patience=Patience(wait=0.1)
            )
    assert time.monotonic() - started < 5
    for part in (
        f"tiny is not in {tmp_path}",
        "looked for tiny, Tiny",
        "/set/0.png",
        "data.root=FOLDER",
        "data=bundled",
    ):
        assert part in str(error.value)


def test_a_named_folder_is_never_filled(server: Server, tmp_path: Path) -> None:
    data = loose(server)
    with pytest.raises(DataError, match=r"python -m invsmooth\.data prepare tiny --root") as error:
        obtain(data, tmp_path)
    assert f"tiny is not in {tmp_path}" in str(error.value)
    assert not server.requests
    assert not list(tmp_path.iterdir())


def test_mirror_takes_the_place_of_the_host() -> None:
    url = "http://data.vision.ee.ethz.ch/cvl/DIV2K/DIV2K_valid_HR.zip"
    assert mirrored(url, None) == url
    assert mirrored(url, "https://mirror.example/sets/") == "https://mirror.example/sets/cvl/DIV2K/DIV2K_valid_HR.zip"


def fetch_in_process(data: Published, root: Path, ready: multiprocessing.Barrier) -> None:  # type: ignore[valid-type]
    ready.wait()
    find_or_fetch(data, root)


@pytest.mark.parametrize("kind", ["loose", "zipped"])
def test_processes_at_once_fetch_once(server: Server, tmp_path: Path, kind: str) -> None:
    data = loose(server) if kind == "loose" else zipped(server)
    server.delay = 0.2
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(3)
    processes = [context.Process(target=fetch_in_process, args=(data, tmp_path, ready)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [p.exitcode for p in processes] == [0, 0, 0]
    assert len(server.requests) == len(server.files)


def test_a_killed_download_leaves_nothing_that_looks_whole(server: Server, tmp_path: Path) -> None:
    data = loose(server)
    server.delay = 0.3
    code = f"""if True:
        from pathlib import Path
        from invsmooth.data.fetch import fetch
        from invsmooth.data.published import Published
        fetch({data!r}, Path({str(tmp_path)!r}))
    """
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    while len(server.requests) < 2:
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    whole = {n for n in names(tmp_path) if ".partial" not in n}
    assert whole < {f"tiny/{name}" for name in FILES}
    for name in whole:
        assert (tmp_path / name).read_bytes() == FILES[Path(name).name]
    server.delay = 0
    assert len(find_or_fetch(data, tmp_path, patience=HASTY)) == 3
