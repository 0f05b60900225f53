"""The parts of obeying signals that need no training; the commands: tests/cli/test_interruption.py."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from invsmooth.core.signals import Interrupted, Obedience


def run(code: str) -> subprocess.CompletedProcess[str]:
    # The children of a shell's background job ignore SIGINT.
    start = (
        "import os, signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from invsmooth.core.signals import SIGNALS, Interrupted\nSIGNALS.install()\n"
    )
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def signals() -> Iterator[Obedience]:
    own = Obedience()
    yield own
    own.uninstall()


def test_the_error_says_which_signal_and_survives_another_process() -> None:
    error = pickle.loads(pickle.dumps(Interrupted(143)))
    assert (str(error), error.code) == ("SIGTERM", 143)
    assert not isinstance(error, Exception)


def test_a_call_that_python_cannot_interrupt() -> None:
    """A computation in C of half an hour: the process ends from outside the main thread, with its last words."""
    done = run("""
import hashlib, threading
SIGNALS.last_words.append(lambda name: os.write(1, f"noted {name}".encode()))
SIGNALS.go_on = lambda: "go on"
threading.Timer(0.5, lambda: (os.write(1, f"{time.time()} ".encode()), os.kill(os.getpid(), signal.SIGTERM))).start()
hashlib.pbkdf2_hmac("sha256", b"", b"", 2 * 10**9)
""")
    sent, noted = done.stdout.split(" ", 1)
    assert (done.returncode, noted, done.stderr) == (143, "noted SIGTERM", "interrupted by SIGTERM: go on\n")
    assert time.time() - float(sent) < 5


def test_code_that_swallows_the_error_meets_it_again() -> None:
    done = run("""
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(9)
except BaseException:
    pass
SIGNALS.stop()
""")
    assert done.returncode == 143


def test_a_short_batch_is_finished_and_a_long_one_is_not() -> None:
    held = """
SIGNALS.held, began = True, time.monotonic()
os.kill(os.getpid(), signal.SIGINT)
try:
    time.sleep({})
    SIGNALS.stop()
except Interrupted as error:
    print(error.code, time.monotonic() - began)
"""
    for seconds, until in ((0.3, (0.3, 1.4)), (30, (1.4, 4))):
        code, took = run(held.format(seconds)).stdout.split()
        assert code == "130"
        assert until[0] <= float(took) < until[1]


def test_a_forked_child_has_its_own_signals() -> None:
    """It dies of its signal, and the parent hears nothing of it."""
    done = run("""
if (child := os.fork()) == 0:
    time.sleep(30)
    os._exit(0)
time.sleep(0.5)
os.kill(child, signal.SIGTERM)
print(os.waitpid(child, 0)[1], SIGNALS.pending)
time.sleep(4)
print("lives")
""")
    assert done.stdout == f"{int(signal.SIGTERM)} None\nlives\n"


def test_a_handler_of_somebody_else_stays(signals: Obedience) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup sets it
    try:
        signals.install()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == signals.handle
    finally:
        signals.uninstall()
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGTERM) != signals.handle


def test_what_was_replaced_comes_back(signals: Obedience) -> None:
    signals.install()
    signal.signal(signal.SIGTERM, lambda *_: None)  # as Lightning does
    signals.install()
    assert signal.getsignal(signal.SIGTERM) == signals.handle


def test_obeyed_within_a_block_alone(signals: Obedience) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signals.obeyed():
        with signals.obeyed():
            pass
        assert signal.getsignal(signal.SIGTERM) == signals.handle
    assert signal.getsignal(signal.SIGTERM) == before
    assert signals.pipe is None


def test_how_to_go_on_is_that_of_the_place(signals: Obedience) -> None:
    signals.pending = signal.SIGTERM
    with signals.saying(lambda: "never"):
        pass
    with pytest.raises(Interrupted), signals.saying(lambda: "from batch 3"):
        signals.stop()
    assert signals.told() == "interrupted by SIGTERM: from batch 3"
    signals.go_on = lambda: str(1 / 0)
    assert signals.told() == "interrupted by SIGTERM"
