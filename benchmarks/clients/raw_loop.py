"""The floor of a run with tools: the floor's streams, and a loop around them by hand that checks nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from ._client import MESSAGES
from ._functions import FUNCTIONS, SCHEMAS
from ._minimal import Arguments, Call, Text
from .raw import Connection, RawClient


class RawLoopClient(RawClient):
    async def open(self, model: str) -> Any:
        body: dict[str, Any] = {
            "messages": [*MESSAGES],
            "model": model,
            "tools": SCHEMAS,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return body, await self._post(msgspec.json.encode(body))

    async def consume(self, stream: Any) -> int:
        body: dict[str, Any]
        connection: Connection
        body, connection = stream
        messages: list[dict[str, Any]] = body["messages"]
        seen = 0
        while True:
            pieces, calls = await self._step(connection)
            seen += pieces
            if not calls:
                return seen
            messages.append({"role": "assistant", "tool_calls": [_as_json(call, raw) for call, raw in calls]})
            runs = (FUNCTIONS[call.name](**msgspec.json.decode(raw)) for call, raw in calls)
            for (call, _), result in zip(calls, await asyncio.gather(*runs), strict=True):
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
                seen += 1
            connection = await self._post(msgspec.json.encode(body))

    async def _step(self, connection: Connection) -> tuple[int, list[tuple[Call, str]]]:
        """The pieces of text, and the calls with their arguments."""
        pieces = 0
        calls: dict[int, Call] = {}
        arguments: dict[int, list[str]] = {}
        async for event in self._events(connection):
            if isinstance(event, Text):
                pieces += 1
            elif isinstance(event, Call):
                calls[event.index] = event
                arguments[event.index] = []
            elif isinstance(event, Arguments):
                arguments[event.index].append(event.text)
        return pieces, [(call, "".join(arguments[index])) for index, call in calls.items()]


def _as_json(call: Call, arguments: str) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
