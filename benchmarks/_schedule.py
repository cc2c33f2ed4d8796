"""When the streams of a drip group have their turns. The upstream keeps to it, and the worker compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Drip:
    """`events` text deltas for each stream of the group, one in every `interval` (ms), and its end one interval later."""

    group: str
    events: int
    interval: int

    @classmethod
    def parse(cls, model: str) -> Self:
        _, group, events, interval = model.split(":")
        return cls(group, int(events), int(interval))

    @property
    def model(self) -> str:
        return f"drip:{self.group}:{self.events}:{self.interval}"

    def turn(self, at: int, streams: int) -> int:
        """Milliseconds into each interval at which stream number `at` is served: they are spread evenly."""
        return at * self.interval // streams

    def end(self, at: int, streams: int) -> int:
        """Milliseconds from the start of the group to the end of stream number `at`."""
        return self.events * self.interval + self.turn(at, streams)
