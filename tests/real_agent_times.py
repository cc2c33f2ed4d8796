"""How long the real coding agents take to their first word and to the end, cold and warm; `make test-agents` prints it.

Cold: a new client, so a new process. Warm: the next turn of the same session. The server answers at once: what is measured is
the program and what drives it. The median of three. Names of programs as arguments: only those.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _real_agents import MODEL, PROGRAMS, Place, program, scrubbed

from asyncllm import Client, LLMError, Message, TextDelta
from asyncllm.testing import Answer, Server

ROUNDS = 3
INTERFACES = {
    "claude": ("claude-code/any", ("stream-json", "print", "json", "text")),
    "codex": (f"codex/{MODEL}", ("app-server", "exec")),
    "opencode": (f"opencode/emu/{MODEL}", ("serve", "run", "text")),
}

Times = tuple[float, float]


async def timed(client: Client, conversation: list[Message]) -> tuple[Times, list[Message]]:
    """Seconds to the first word and to the end, and the conversation with the answer."""
    began = time.perf_counter()
    first = 0.0
    stream = client.stream(conversation)
    async for event in stream:
        if isinstance(event, TextDelta) and not first:
            first = time.perf_counter() - began
    whole = time.perf_counter() - began
    return (first, whole), (await stream.reply()).messages


async def rounds(model: str, options: dict[str, Any]) -> tuple[list[Times], list[Times]]:
    cold, warm = [], []
    for _ in range(ROUNDS):
        async with Client(model, **options) as client:
            times, said = await timed(client, [Message("user", "Say hello.")])
            cold.append(times)
            warm.append((await timed(client, [*said, Message("user", "Again.")]))[0])
    return cold, warm


def row(cold: list[Times], warm: list[Times]) -> str:
    medians = [statistics.median(times[at] for times in kind) for kind in (cold, warm) for at in (0, 1)]
    return "".join(f"{seconds:>12.2f} s" for seconds in medians)


async def main() -> None:
    print(f"{'':<24}{'cold: word':>14}{'whole':>14}{'warm: word':>14}{'whole':>14}")
    for name in sys.argv[1:] or PROGRAMS:
        if program(name) is None:
            print(f"{name}: not installed, not measured")
            continue
        model, interfaces = INTERFACES[name]
        for interface in interfaces:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                place = Place(Path(folder) / "machine")
                os.environ.clear()
                os.environ.update(scrubbed(place.home))
                async with Server(Answer.text("Hello there, this is a test.")) as server:
                    options = place.options(name, server, interface=interface)
                    try:
                        said = row(*await rounds(model, options))
                    except LLMError as error:
                        said = f"  {error}"
            print(f"{name}, {interface:<{22 - len(name)}}{said}", flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
