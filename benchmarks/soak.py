"""Is anything left behind by streams that are cut short? One after another, and many at once with random cancels.

    python -m benchmarks.soak [--streams 100000] [--at-once 1000]

Prints what is left of connections and tasks, and the resident memory on the way. Exit code 1 if anything leaked. What streams
that come to their end leave behind is the mode "flat" of `benchmarks.run`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import resource
import sys
import time

from asyncllm import Client

from ._processes import upstream
from .worker import resident_kib

GROWTH_KIB = 2048
"""What the resident set may grow by between the first tenth and the end: allocators round."""


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def one_after_another(client: Client, streams: int) -> bool:
    """Every fourth is cancelled before its end, every fourth closed after its first event."""
    chooser = random.Random(1)
    first = 0
    begun = time.perf_counter()
    for number in range(1, streams + 1):
        match chooser.randrange(4):
            case 0:
                task = asyncio.create_task(client.complete("Hi"))
                for _ in range(chooser.randrange(6)):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            case 1:
                async with client.stream("Hi") as stream:
                    await anext(stream)
            case _:
                await client.complete("Hi")
        if number % (streams // 10) == 0:
            gc.collect()
            now = resident_kib()
            first = first or now
            print(f"  {number:>7} streams, {now} KiB resident, {time.perf_counter() - begun:.0f} s", flush=True)
    return resident_kib() - first <= GROWTH_KIB


async def at_once(client: Client, hanging: Client, count: int) -> bool:
    """Waves of `count` streams, half of them silent ones that only a cancel ends; the rest cancelled at random."""
    chooser = random.Random(2)
    levels = []
    for wave in range(10):
        tasks = [asyncio.create_task((hanging if at % 2 else client).complete("Hi")) for at in range(count)]
        await asyncio.sleep(chooser.random())
        for at, task in enumerate(tasks):
            if at % 2 or chooser.random() < 0.2:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        gc.collect()
        levels.append(resident_kib())
        done = sum(not task.cancelled() for task in tasks)
        print(
            f"  wave {wave}: {done} of {count} whole, {levels[-1]} KiB resident, {len(asyncio.all_tasks())} task",
            flush=True,
        )
    return levels[-1] - levels[2] <= GROWTH_KIB


async def soak(base_url: str, streams: int, count: int) -> bool:
    before_tasks, before_descriptors = len(asyncio.all_tasks()), descriptors()
    async with (
        Client("openai/one", base_url=base_url, api_key="x", retry=0) as client,
        Client("openai/hang", base_url=base_url, api_key="x", retry=0) as hanging,
    ):
        print(f"{streams} streams one after another")
        flat = await one_after_another(client, streams)
        print(f"{count} streams at once, ten times")
        flat = await at_once(client, hanging, count) and flat
    await asyncio.sleep(0.1)
    left_tasks, left = len(asyncio.all_tasks()) - before_tasks, descriptors() - before_descriptors
    print(f"left behind: {left_tasks} tasks, {left} descriptors; memory {'flat' if flat else 'GREW'}")
    # the loop's own pipe and the epoll descriptor are there from the start
    return flat and left_tasks == 0 and left <= 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=100_000)
    parser.add_argument("--at-once", type=int, default=1000)
    chosen = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with upstream() as machine:
        return 0 if asyncio.run(soak(machine.base_url, chosen.streams, chosen.at_once)) else 1


if __name__ == "__main__":
    sys.exit(main())
