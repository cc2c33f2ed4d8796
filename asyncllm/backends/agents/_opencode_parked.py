"""A turn that stood still until its results came, and whose process did not: the session goes on without it."""

from __future__ import annotations

from abc import abstractmethod

from ...protocols.agents._turn import GONE, Turn, results_turn
from ._agent import AgentBackend, Channel


class OpencodeChannel(Channel):
    @property
    @abstractmethod
    def gone(self) -> bool:
        """Whether nothing can come any more."""


class OpencodeBackend(AgentBackend):
    def _unparked(self, turn: Turn) -> Channel | None:
        channel = super()._unparked(turn)
        if isinstance(channel, OpencodeChannel) and channel.gone:
            self._close_soon(channel)
            return None
        return channel


def told_results(turn: Turn) -> tuple[str, ...]:
    """The warning for a turn that begins with results that something waited for."""
    return () if turn.session is None or results_turn(turn.request) is None else (GONE,)
