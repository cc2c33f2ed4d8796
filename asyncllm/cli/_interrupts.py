"""Ctrl-C, heard where the thread with the terminal waits: for a key, or for the loop.

In the middle of anything else it would leave things half done: a call that was made and never awaited, a lock that nobody
gives back.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_waiting = False
_pressed = False


def _on_ctrl_c(number: int, frame: FrameType | None) -> None:
    global _pressed
    if _waiting or _pressed:  # whoever presses it twice does not want to wait for the right moment
        _pressed = False
        raise KeyboardInterrupt
    _pressed = True


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """In this block Ctrl-C raises KeyboardInterrupt only where :func:`heard` is. (Threads beside the main one hear none.)"""
    global _pressed
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, _on_ctrl_c)
    try:
        yield
    finally:
        _pressed = False
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Around what waits."""
    global _waiting, _pressed
    _waiting = True
    try:
        if _pressed:
            _pressed = False
            raise KeyboardInterrupt
        yield
    finally:
        _waiting = False
