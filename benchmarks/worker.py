"""One client in a process of its own: JSON commands on stdin, JSON results on stdout.

    python -m benchmarks.worker CLIENT BASE_URL       CLIENT is a row of `clients/__init__.py`

    {"mode": "streams", "model": M, "streams": N}      N answers, one after another
    {"mode": "drip", "model": M, "streams": N}         N streams of a drip group at once, counted from when all are read
    {"mode": "hold", "streams": N}                     N streams that hang stay open from now on, each read by a task
    {"mode": "release"}                                those streams are cancelled
    {"mode": "sampled", "model": M, "every": N}        one answer, the resident set looked at after every N events
    {"mode": "resident"}                               the resident set

A result has `cpu` (seconds of this process, user and system, all threads) and `events`, or `kib`: the resident set, or what it
grew by. A drip also says how late its streams ended, `late` (ms after their schedule, one number a stream).

It runs where nothing but the client's own library is installed, and imports nothing else.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ._schedule import Drip
from .clients import ROWS, BenchmarkClient, make_client

AT_ONCE = 50
"""Connections opened at a time by "hold"."""
SETTLING = 0.05
"""Seconds for what is under way: the readers of a drip take what there is of their streams."""
TIME_LIMIT = 120.0
"""Seconds a command may take: a client that waits for a connection of its pool waits for ever."""


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


class Worker:
    def __init__(self, client: BenchmarkClient, base_url: str) -> None:
        self._client = client
        self._base_url = base_url
        self._held: list[asyncio.Task[int]] = []

    async def do(self, mode: str, **arguments: Any) -> dict[str, Any]:
        async with asyncio.timeout(TIME_LIMIT):
            match mode:
                case "streams":
                    return await self.streams(**arguments)
                case "drip":
                    return await self.drip(**arguments)
                case "hold":
                    return await self.hold(**arguments)
                case "release":
                    return await self.release()
                case "sampled":
                    return await self.sampled(**arguments)
                case "resident":
                    gc.collect()
                    return {"kib": resident_kib()}
        raise ValueError(f"unknown mode {mode!r}")

    async def streams(self, model: str, streams: int) -> dict[str, Any]:
        client, events = self._client, 0
        before = cpu_seconds()
        for _ in range(streams):
            events += await client.consume(await client.open(model))
        return {"cpu": cpu_seconds() - before, "events": events}

    async def drip(self, model: str, streams: int) -> dict[str, Any]:
        # one by one: a stream's turn is its place in this order
        opened = [await self._client.open(model) for _ in range(streams)]
        ends = [0.0] * streams
        readers = [asyncio.create_task(self._timed(stream, at, ends)) for at, stream in enumerate(opened)]
        await asyncio.sleep(SETTLING)
        begin = self._start(model)
        before = cpu_seconds()
        counts = await asyncio.gather(*readers)
        cpu = cpu_seconds() - before
        schedule = Drip.parse(model)
        late = [(end - begin) * 1000 - schedule.end(at, streams) for at, end in enumerate(ends)]
        return {"cpu": cpu, "events": sum(counts), "late": late}

    async def _timed(self, stream: Any, at: int, ends: list[float]) -> int:
        count = await self._client.consume(stream)
        ends[at] = time.monotonic()
        return count

    async def hold(self, streams: int) -> dict[str, Any]:
        await self.streams("one", 1)
        gc.collect()
        before = resident_kib()
        for at in range(0, streams, AT_ONCE):
            batch = await asyncio.gather(*(self._client.open("hang") for _ in range(min(AT_ONCE, streams - at))))
            self._held += [asyncio.create_task(self._client.consume(stream)) for stream in batch]
        await asyncio.sleep(6 * SETTLING)
        gc.collect()
        return {"kib": resident_kib() - before, "streams": streams}

    async def release(self) -> dict[str, Any]:
        held, self._held = self._held, []
        for task in held:
            task.cancel()
        await asyncio.wait(held)
        await asyncio.sleep(SETTLING)
        return {"streams": len(held)}

    async def sampled(self, model: str, every: int) -> dict[str, Any]:
        """For a client whose streams are iterators of events."""
        levels, events = [], 0
        async for _ in await self._client.open(model):
            events += 1
            if events % every == 0:
                levels.append(resident_kib())
        return {"levels": levels, "events": events}

    def _start(self, group: str) -> float:
        from http.client import HTTPConnection, HTTPSConnection

        address = urlsplit(self._base_url)
        kind = HTTPSConnection if address.scheme == "https" else HTTPConnection
        control = kind(address.netloc)
        control.request("POST", f"/start/{group}")
        begin = float(control.getresponse().read())
        control.close()
        return begin


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    if ROWS[name].loop != "uvloop":
        return asyncio.new_event_loop()
    from uvloop import new_event_loop

    return new_event_loop()


def main(name: str, base_url: str) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # some libraries print
    with asyncio.Runner(loop_factory=lambda: new_loop(name)) as runner:
        worker: Worker | None = None
        for line in sys.stdin:
            try:
                worker = worker or Worker(make_client(name, base_url), base_url)
                result = runner.run(worker.do(**json.loads(line)))
            except BaseException:  # a panic in Rust is no Exception
                result = {"error": traceback.format_exc()}
            print(json.dumps(result), file=results, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
