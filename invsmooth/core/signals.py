"""SIGTERM, SIGINT (Ctrl-C) and SIGHUP end the program within seconds, wherever it is.

Python runs a signal's handler between two of its instructions, in the main thread. There ours raises
:class:`Interrupted`, so that files are closed and checkpoints saved. Two cases need more:

* A call into C++ (the backward pass of a large batch, a matrix decomposition) can last minutes, and
  Python comes to no instruction meanwhile. A thread gets the signal through a pipe. If the main
  thread has raised nothing after ``UNTIL_RAISED`` seconds, the thread notes the interruption in
  run.json and ends the process. What was saved before stays as it is. A call that keeps Python's
  global lock stops this thread, too; torch, numpy and scipy release it in long calls.
* Code that swallows the error, or a clean-up that hangs: the thread ends the process after
  ``UNTIL_ENDED`` seconds.

A handler that somebody else set (submitit's, nohup's) stays."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

OBEYED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
UNTIL_HELD_NO_LONGER = 1.5
UNTIL_CHILDREN_ENDED = 2.5
UNTIL_RAISED = 3.5
UNTIL_ENDED = 20.0


class Interrupted(SystemExit):
    """The process was told to end; ``code`` 128 + number of the signal, as shells have it.

    No Exception, which would be a failure of the work. No KeyboardInterrupt either, of which
    Lightning makes exit code 1."""

    def __init__(self, code: int) -> None:
        super().__init__(code)

    def __str__(self) -> str:
        return signal.Signals(int(str(self.code)) - 128).name


class Obedience:
    """What this process does about signals. There is one: :data:`SIGNALS`.

    Attributes:
        pending: the signal that came; None for none.
        raised: whether :class:`Interrupted` was raised for it.
        held: whether to wait a little: the program comes to a place where it calls :meth:`stop`.
        go_on: tells how the user goes on after an interruption.
        last_words: called before the process is ended from outside the main thread.
        children: processes that compute with this one; they get its signals."""

    def __init__(self) -> None:
        self.pending: int | None = None
        self.raised = self.held = False
        self.go_on: Callable[[], str] = str
        self.last_words: list[Callable[[str], None]] = []
        self.children: list[subprocess.Popen[bytes]] = []
        self.before: dict[int, Any] = {}  # the handlers that ours replaced
        self.pipe: tuple[int, int] | None = None

    def install(self) -> None:
        """Obey from now on. Called again, it puts back handlers that a library replaced. In the main thread only."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in OBEYED:
            if number in self.before:
                signal.signal(number, self.handle)
            elif signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                self.before[number] = signal.signal(number, self.handle)
        if self.pipe is None and self.before:
            self.pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
            os.set_blocking(self.pipe[0], True)
            os.set_blocking(self.pipe[1], False)
            signal.set_wakeup_fd(self.pipe[1], warn_on_full_buffer=False)
            threading.Thread(target=self.watch, args=self.pipe, daemon=True, name="signals").start()

    def uninstall(self) -> None:
        """As before :meth:`install`."""
        with contextlib.suppress(ValueError):  # not the main thread
            for number, handler in self.before.items():
                signal.signal(number, handler)
            if self.pipe is not None:
                signal.set_wakeup_fd(-1)
                os.close(self.pipe[1])
        self.pipe, self.before, self.pending, self.raised, self.held = None, {}, None, False, False

    def forget(self) -> None:
        """In a forked child: it shares the parent's pipe, and has nothing to say."""
        self.uninstall()
        self.children, self.last_words, self.go_on = [], [], str

    @contextmanager
    def obeyed(self) -> Iterator[None]:
        """Within the block signals are obeyed, also in a process that does not begin with a command of ours."""
        own = not self.before
        self.install()
        try:
            yield
        finally:
            if own and self.pending is None:
                self.uninstall()

    def handle(self, number: int, frame: FrameType | None) -> None:
        first, self.pending = self.pending is None, number if self.pending is None else self.pending
        if first:
            self.tell_children(number)
        if self.raised or (first and self.held):  # raised: it is cleaning up already
            return
        self.stop()

    def stop(self) -> None:
        """Raises: Interrupted, if a signal came. For places that come by often, in case something swallowed it."""
        if self.pending is not None:
            self.raised = True
            raise Interrupted(128 + self.pending)

    @contextmanager
    def saying(self, go_on: Callable[[], str]) -> Iterator[None]:
        """Within the block (and after it, if it is interrupted) this tells how to go on."""
        before, self.go_on = self.go_on, go_on
        yield
        self.go_on = before

    @contextmanager
    def at_the_end(self, word: Callable[[str], None]) -> Iterator[None]:
        self.last_words.append(word)
        try:
            yield
        finally:
            self.last_words.remove(word)

    def told(self) -> str:
        """The line that says what happened and how to go on."""
        name = "a signal" if self.pending is None else signal.Signals(self.pending).name
        try:
            how = self.go_on()
        except Exception:  # a file that it reads is gone
            how = ""
        return f"interrupted by {name}" + (f": {how}" if how else "")

    def tell_children(self, number: int) -> None:
        for child in self.children:
            with contextlib.suppress(OSError):
                child.send_signal(number)
        # Lightning watches them, and would kill this process, which still has to save, when they end.
        self.children.clear()
        told = [p for p in multiprocessing.active_children() if not p.daemon and p.pid is not None]
        for own in told:  # daemons (loaders of data) end with this process
            with contextlib.suppress(OSError):
                os.kill(own.pid or 0, signal.SIGTERM)
        # joblib would kill its workers, which still have to save.
        until = time.monotonic() + UNTIL_CHILDREN_ENDED
        while any(p.is_alive() for p in told) and time.monotonic() < until:
            time.sleep(0.05)

    def watch(self, reads: int, writes: int) -> None:
        while self.pipe == (reads, writes):
            came = [n for n in os.read(reads, 64) if n in self.before]
            if came:
                self.see_to_it(came[0])
        os.close(reads)

    def see_to_it(self, number: int) -> None:
        began, again = time.monotonic(), False
        while self.pipe is not None:
            waited = time.monotonic() - began
            if waited > UNTIL_ENDED or (waited > UNTIL_RAISED and not self.raised):
                self.end(number)
            if waited > UNTIL_HELD_NO_LONGER and self.held and not self.raised and not again:
                again = True
                os.kill(os.getpid(), number)  # the second one is obeyed at once
            time.sleep(0.05)

    def end(self, number: int) -> None:
        """End this process from another thread than the main one."""
        self.pending = number if self.pending is None else self.pending
        self.tell_children(number)
        for word in self.last_words[::-1]:
            with contextlib.suppress(Exception):
                word(signal.Signals(number).name)
        # Not print: the main thread may hold the lock of the stream.
        with contextlib.suppress(OSError):
            os.write(2, f"{self.told()}\n".encode())
        os._exit(128 + number)


SIGNALS = Obedience()
os.register_at_fork(after_in_child=SIGNALS.forget)


@contextmanager
def going_on(how: str) -> Iterator[None]:
    """A command whose work is the block: a signal ends it with its exit code, and the line that says ``how`` to go on."""
    SIGNALS.install()
    try:
        with SIGNALS.saying(lambda: how):
            yield
    except Interrupted as stop:
        leave(stop)
    finally:
        if SIGNALS.pending is None:
            SIGNALS.uninstall()


def leave(stop: Interrupted) -> NoReturn:
    """Say how to go on, and end the process. All is closed by now; Python would take seconds to
    take torch apart on a busy machine."""
    if os.environ.get("LOCAL_RANK", "0") == "0":  # of several processes, the first one says it
        sys.stderr.write(f"{SIGNALS.told()}\n")
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(128 + SIGNALS.pending if SIGNALS.pending else int(str(stop.code)))
