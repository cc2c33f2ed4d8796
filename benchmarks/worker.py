"""One client in a process of its own: JSON commands on stdin, JSON results on stdout.

    python -m benchmarks.worker CLIENT BASE_URL [--uvloop]

    {"mode": "streams", "model": M, "streams": N}      N answers, one after another
    {"mode": "drip", "model": M, "streams": N}         N streams of a drip group at once; their opening is not counted
    {"mode": "hold", "streams": N}                     N streams that hang stay open from now on, each read by a task

A result has `cpu` (seconds of this process, user and system) and `events`, or `kib`, the growth of the resident set.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import socket
import sys
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .clients import BenchmarkClient, make_client

AT_ONCE = 50
"""Connections opened at a time by "hold"."""


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

    async def do(self, mode: str, **arguments: Any) -> dict[str, float]:
        match mode:
            case "streams":
                return await self.streams(**arguments)
            case "drip":
                return await self.drip(**arguments)
            case "hold":
                return await self.hold(**arguments)
        raise ValueError(f"unknown mode {mode!r}")

    async def streams(self, model: str, streams: int) -> dict[str, float]:
        client, events = self._client, 0
        before = cpu_seconds()
        for _ in range(streams):
            events += await client.consume(await client.open(model))
        return {"cpu": cpu_seconds() - before, "events": events}

    async def drip(self, model: str, streams: int) -> dict[str, float]:
        opened = await asyncio.gather(*(self._client.open(model) for _ in range(streams)))
        before = cpu_seconds()
        self._start(model)
        counts = await asyncio.gather(*(self._client.consume(stream) for stream in opened))
        return {"cpu": cpu_seconds() - before, "events": sum(counts)}

    async def hold(self, streams: int) -> dict[str, float]:
        await self.streams("one", 1)
        gc.collect()
        before = resident_kib()
        for at in range(0, streams, AT_ONCE):
            batch = await asyncio.gather(*(self._client.open("hang") for _ in range(min(AT_ONCE, streams - at))))
            self._held += [asyncio.create_task(self._client.consume(stream)) for stream in batch]
        await asyncio.sleep(0.3)
        gc.collect()
        return {"kib": resident_kib() - before, "streams": streams}

    def _start(self, group: str) -> None:
        address = urlsplit(self._base_url)
        with socket.create_connection((address.hostname, address.port)) as control:
            control.sendall(f"POST /start/{group} HTTP/1.1\r\ncontent-length: 0\r\n\r\n".encode())
            control.recv(100)


def new_loop(uvloop: bool) -> asyncio.AbstractEventLoop:
    if not uvloop:
        return asyncio.new_event_loop()
    from uvloop import new_event_loop

    return new_event_loop()


def main(name: str, base_url: str, *flags: str) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with asyncio.Runner(loop_factory=lambda: new_loop("--uvloop" in flags)) as runner:
        worker = Worker(make_client(name, base_url), base_url)
        for line in sys.stdin:
            try:
                result: dict[str, Any] = dict(runner.run(worker.do(**json.loads(line))))
            except Exception:
                result = {"error": traceback.format_exc()}
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
