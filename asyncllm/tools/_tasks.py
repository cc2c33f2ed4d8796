"""Waiting for what must not be left half done."""

from __future__ import annotations

import asyncio
from typing import Any


async def outlast(task: asyncio.Future[Any]) -> None:
    """Waits until `task` is done, whatever happens; where it was cancelled meanwhile, raises that afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
