"""Waits between tries, noted instead of waited."""

from __future__ import annotations

import asyncio

import pytest

SHORTEST = 0.4
"""Seconds from which a wait is one between tries."""


def noted_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits from now on, in seconds; none of them takes any time."""
    waits: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        if seconds >= SHORTEST:
            waits.append(seconds)
        await sleep(0 if seconds >= SHORTEST else seconds)

    monkeypatch.setattr(asyncio, "sleep", note)
    return waits
