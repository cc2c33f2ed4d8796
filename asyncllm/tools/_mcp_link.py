"""The streams between the mcp package and a server, on which a session sees the end of its connection."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, cast

import anyio
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCNotification, JSONRPCResponse, jsonrpc_message_adapter

from ..events import ProtocolError
from ._mcp_content import repair_listing
from ._mcp_stdio import ServerProcess

BANNER = 1000
"""Lines without a message among them after which a command is not believed to speak MCP."""


class Link:
    """A transport of the mcp package; `lost` is called when it brings no more messages."""

    def __init__(self, transport: Any, lost: Callable[[], None]) -> None:
        self._transport = transport
        self._lost = lost

    async def __aenter__(self) -> tuple[_Reader, Any]:
        reader, writer = await self._transport.__aenter__()
        return _Reader(reader, self._lost), writer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return cast("bool | None", await self._transport.__aexit__(kind, error, trace))


class _Reader:
    """Listings are repaired on the way, before the mcp package refuses one as a whole for the schema of one tool."""

    def __init__(self, stream: Any, lost: Callable[[], None]) -> None:
        self._stream = stream
        self._lost = lost

    @property
    def last_context(self) -> contextvars.Context | None:
        return getattr(self._stream, "last_context", None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return _repaired(await self._stream.__anext__())
        except Exception:  # StopAsyncIteration, too
            self._lost()
            raise

    async def receive(self) -> SessionMessage | Exception:
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stream.__aexit__(*exc_info)


def _repaired(item: SessionMessage | Exception) -> SessionMessage | Exception:
    if isinstance(item, SessionMessage) and isinstance(item.message, JSONRPCResponse):
        result = item.message.result
        if isinstance(result, Mapping) and "tools" in result:
            repair_listing(result)
    return item


class Pipes:
    """The two streams of a process, as a transport of the mcp package."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process

    async def __aenter__(self) -> tuple[PipeReader, PipeWriter]:
        return PipeReader(self._process), PipeWriter(self._process)

    async def __aexit__(self, *exc_info: object) -> None: ...


class PipeReader:
    """What the mcp package reads messages from. A line that is no message is passed over: servers do print banners."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process
        self._unread = 0

    async def receive(self) -> SessionMessage:
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        while (line := await self._process.read()) is not None:
            if not line.strip():
                continue
            try:
                message = SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
            except ValueError:
                self._process.is_garbage(line)
                self._unread += 1
                if self._unread > BANNER and not self._process.spoke:
                    raise ProtocolError(f"{BANNER} lines and no message of MCP among them") from None
                continue
            self._process.spoke = True
            return message
        raise StopAsyncIteration

    async def aclose(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None: ...


class PipeWriter:
    """What the mcp package writes messages to."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process

    async def send(self, item: SessionMessage, /) -> None:
        line = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode()
        # a notification waits for nobody: that a call was cancelled can be told to a server that does not read
        try:
            await self._process.write(line + b"\n", wait=not isinstance(item.message, JSONRPCNotification))
        except BrokenPipeError:
            raise anyio.BrokenResourceError from None

    async def aclose(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None: ...
