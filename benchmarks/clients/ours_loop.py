"""asyncllm's run with tools, every event iterated; and the same loop by hand, around `Client.stream`."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncllm

from ._client import MESSAGES, count
from ._functions import FUNCTIONS, SCHEMAS
from .ours import AsyncLLMClient


class RunClient(AsyncLLMClient):
    """`Client.run`, which is given the functions as they are."""

    async def open(self, model: str) -> asyncllm.Stream[object]:
        return await self._client(model).run(MESSAGES, tools=[*FUNCTIONS.values()])

    async def consume(self, stream: asyncllm.Stream[object]) -> int:
        return await count(stream, (asyncllm.TextDelta, asyncllm.ToolResult))


class ByHandClient(AsyncLLMClient):
    """What a run costs without the loop: three streams, and as little as can be between them."""

    async def open(self, model: str) -> Any:
        client = self._client(model)
        return client, await client.stream(MESSAGES, tools=SCHEMAS)

    async def consume(self, stream: Any) -> int:
        client: asyncllm.Client
        asked: asyncllm.Stream[object]
        client, asked = stream
        seen = 0
        while True:
            seen += await count(asked, (asyncllm.TextDelta, asyncllm.TextDelta))
            reply = await asked.reply()
            if not reply.tool_calls:
                return seen
            results = await asyncio.gather(*map(_result, reply.tool_calls))
            seen += len(results)
            asked = await client.stream([*reply.messages, *results], tools=SCHEMAS)


async def _result(call: asyncllm.ToolCall) -> asyncllm.ToolResult:
    return asyncllm.ToolResult(call.id, call.name, await FUNCTIONS[call.name](**(call.arguments or {})))
