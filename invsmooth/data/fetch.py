"""Download a published data set. pooch stores and checks the files. An interrupted download is resumed.
A file appears under its name only when it is complete and matches its checksum; before, it is in ``.partial``."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import pooch
import requests
import urllib3
from filelock import FileLock
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from invsmooth.core.errors import DataError
from invsmooth.core.files import write_text
from invsmooth.data.archives import check_archive
from invsmooth.data.published import Published

log = logging.getLogger(__name__)
# Checksums of archives without a published one: recorded at the first download, compared at every later one.
RECORD = "checksums.txt"
BLOCK = 2**16  # bytes read at a time: the most that an interruption loses


class BrokenOffError(requests.RequestException):
    """A failed answer after which another attempt is worth it."""


@dataclass(frozen=True)
class Patience:
    """How long to try a download."""

    attempts: int = 5  # for each file; two at a server that cannot be reached
    wait: float = 1.0  # seconds before the second attempt, doubled at each further one up to 30
    timeout: float = 30.0  # seconds without an answer or a byte after which an attempt counts as failed


def fetch(data: Published, root: Path, mirror: str | None = None, patience: Patience | None = None) -> None:
    """Download what is missing of ``data`` to ``root/<name of the set>``, from the published address or
    a ``mirror`` of its host. One of several processes does, the others wait.
    Raises: DataError: the server cannot be reached, refuses, or sends something else. Incomplete files
        are kept in ``.partial`` for the next attempt."""
    folder = root / data.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            missing = [data.url.rsplit("/", 1)[1]] if data.is_archive else data.files
            if missing := [name for name in missing if not (folder / name).is_file()]:
                download(data, missing, folder, mirror, patience or Patience())
    except OSError as error:
        raise DataError(f"{data.name} cannot be written to {folder.absolute()}: {error}") from error


def download(data: Published, names: list[str], folder: Path, mirror: str | None, patience: Patience) -> None:
    pooch.get_logger().setLevel(logging.WARNING)
    partial = folder / ".partial"
    partial.mkdir(exist_ok=True)
    for left in (p for p in partial.iterdir() if re.fullmatch(r"tmp\w+", p.name)):  # pooch's, of a killed process
        left.unlink()
    log.info("fetching %s: %d files to %s", data.name, len(names), folder.absolute())
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn()) as progress, requests.Session() as session:
        sizes = [data.checksums[name][1] for name in names if name in data.checksums]
        total = sum(sizes) or None  # that of an archive comes from the server
        task = progress.add_task(f"fetching {data.name}", total=total)

        def report(done: int, size: int | None) -> None:
            progress.update(task, advance=done, total=total or size)

        for name in names:
            url = mirrored(data.url if data.is_archive else data.url + quote(name), mirror)
            receive = Resuming(partial / f"{name}.part", session, patience, report)
            checksum = recorded_checksum(folder / name) if data.is_archive else data.checksums[name][0]
            known = f"sha256:{checksum}" if checksum else None
            try:
                whole = Path(pooch.retrieve(url, known, name, partial, None, receive))
            except DataError:
                raise
            except (requests.RequestException, ValueError) as error:
                raise DataError(f"{url} cannot be fetched: {reason(error)}") from error
            if data.is_archive:
                try:
                    check_archive(whole)
                except DataError:
                    whole.unlink()
                    raise
                if checksum is None:
                    record = folder / RECORD
                    said = record.read_text(encoding="utf-8") if record.is_file() else ""
                    write_text(record, f"{said}{pooch.file_hash(str(whole))} {name}")
            os.replace(whole, folder / name)
    with suppress(OSError):  # a part of another archive may still be there
        partial.rmdir()


def recorded_checksum(archive: Path) -> str | None:
    record = archive.with_name(RECORD)
    lines = record.read_text(encoding="utf-8").splitlines() if record.is_file() else []
    return next((line.split(" ", 1)[0] for line in lines if line.split(" ", 1)[1] == archive.name), None)


def mirrored(url: str, mirror: str | None) -> str:
    """``url`` with scheme and host of ``mirror``, whose path comes before its own."""
    if not mirror:
        return url
    base, own = urlsplit(mirror), urlsplit(url)
    return urlunsplit((base.scheme, base.netloc, base.path.rstrip("/") + own.path, "", ""))


def reason(error: BaseException) -> str:
    """The innermost message of an error, in one line."""
    while isinstance(error, requests.ConnectionError) and error.args and isinstance(error.args[0], Exception):
        error = getattr(error.args[0], "reason", None) or error.args[0]
    return " ".join(str(error).split()).rstrip(".")


def gives_up(state: RetryCallState, attempts: int) -> bool:
    """Whether to stop trying. A server that cannot be reached, as without internet, gets two attempts."""
    error = state.outcome.exception() if state.outcome else None
    cause = error.args[0] if error is not None and error.args else None
    unreachable = isinstance(error, requests.ConnectionError) and isinstance(cause, urllib3.exceptions.MaxRetryError)
    return state.attempt_number >= (min(2, attempts) if unreachable else attempts)


class Resuming:
    """A downloader for pooch that resumes ``part``, left by an earlier attempt or process.
    It resumes only if the file is still the same (its ETag or date, kept beside ``part``). Otherwise it starts over."""

    def __init__(
        self, part: Path, session: requests.Session, patience: Patience, report: Callable[[int, int | None], None]
    ) -> None:
        self.part, self.validator = part, part.with_name(f"{part.name}.validator")
        self.session, self.patience, self.report, self.reported = session, patience, report, 0

    def progress(self, position: int, size: int | None) -> None:
        self.report(position - self.reported, size)
        self.reported = position

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        for attempt in Retrying(
            retry=retry_if_exception_type((BrokenOffError, requests.ConnectionError, requests.Timeout)),
            stop=lambda state: gives_up(state, self.patience.attempts),
            wait=wait_exponential(self.patience.wait, max=30),
            before_sleep=lambda state: log.info("%s: %s; trying again", url, reason(state.outcome.exception())),  # type: ignore
            reraise=True,
        ):
            with attempt:
                self.receive(url)
        os.replace(self.part, output_file)
        self.validator.unlink(missing_ok=True)

    def receive(self, url: str) -> None:
        """One attempt: request the rest, or all, and append it. Raises: requests.RequestException, DataError."""
        have = self.part.stat().st_size if self.part.is_file() and self.validator.is_file() else 0
        headers = {"Accept-Encoding": "identity"}  # no compression: lengths are those of the file
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": self.validator.read_text(encoding="utf-8")}
        self.part.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.session.get(url, headers=headers, stream=True, timeout=self.patience.timeout) as answer:
                start = self.check(answer, have)
                length = answer.headers.get("Content-Length")
                size = start + int(length) if length else None
                self.progress(start, size)
                with self.part.open("ab" if start else "wb") as part:
                    for block in answer.iter_content(BLOCK):
                        part.write(block)
                        self.progress(part.tell(), size)
        except requests.exceptions.ChunkedEncodingError as error:
            raise BrokenOffError(f"the answer broke off: {reason(error)}") from error

    def check(self, answer: requests.Response, have: int) -> int:
        """Number of bytes of the file before this answer."""
        goes_on = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if answer.status_code == 416 or (answer.status_code == 206 and not goes_on):
            self.part.unlink(missing_ok=True)
            raise BrokenOffError("the server cannot go on where the download broke off")
        if answer.status_code == 429 or answer.status_code >= 500:
            raise BrokenOffError(f"the server answers {answer.status_code} {answer.reason}")
        if answer.status_code >= 400:
            raise DataError(f"{answer.url} cannot be fetched: the server answers {answer.status_code} {answer.reason}")
        if "text/html" in answer.headers.get("Content-Type", ""):
            raise DataError(f"{answer.url} cannot be fetched: the server sends a web page instead of the file")
        if answer.status_code == 206:
            return have
        self.part.unlink(
            missing_ok=True
        )  # before the validator: a kill in between must not join two versions of a file
        validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if validator and not validator.startswith("W/"):  # a weak one does not promise the same bytes
            self.validator.write_text(validator, encoding="utf-8")
        else:
            self.validator.unlink(missing_ok=True)
        return 0
