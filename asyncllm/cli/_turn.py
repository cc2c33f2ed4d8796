"""One answer: the run goes on in the loop's thread, and this one, which has the terminal, shows what comes of it.

Whoever is asked something, or edits a line, so keeps nothing waiting: not the calls that run, nor the servers' sessions. And
Ctrl-C arrives where the keys are read.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .._stream import Stream
from .._sync import _HandOver
from ..events import LLMError, Reply, StreamEvent
from ._approve import Approver
from ._background import Background
from ._interrupts import heard
from ._render import View


class Turn:
    def __init__(self, thread: Background, stream: Stream[Any], view: View, approver: Approver | None) -> None:
        self._thread = thread
        self._stream = stream
        self._view = view
        self._approver = approver

    def run(self) -> Reply[object]:
        """The reply, after it was shown. Raises the error with which it ends; after Ctrl-C, when all of it has stopped."""
        reply: Reply[object] | None = None
        hand_over = _HandOver(self._thread.loop)
        if self._approver is not None:
            self._approver.knock = lambda: hand_over.queue.put([])  # a batch like others, in its place among them
        pump = asyncio.run_coroutine_threadsafe(hand_over.pump(self._stream), self._thread.loop)
        try:
            while (batch := self._next(hand_over)) is not None:
                self._view.show(batch)
                if self._approver is not None:
                    self._approver.attend()
            pump.result()
            reply = self._thread.run(self._stream.reply)
            return reply
        except LLMError as error:
            self._view.fail(error)
            raise
        except BaseException:
            self._thread.run(self._stream.aclose)
            while self._next(hand_over) is not None:  # tools may need a moment to stop
                pass
            raise
        finally:
            self._view.end(reply)

    @staticmethod
    def _next(hand_over: _HandOver) -> list[StreamEvent] | None:
        with heard():
            return hand_over.take()

    @property
    def partial(self) -> Reply[object]:
        """What was said before it broke off."""
        return self._stream.partial
