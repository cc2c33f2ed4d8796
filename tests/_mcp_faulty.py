"""An MCP server over HTTP, without any package, that misbehaves in its handshake or in a call, as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

Wire = asyncio.StreamWriter

HTML = b"<!DOCTYPE html><html>It works!</html>"


class Faulty:
    """`fault` is what it does wrong from now on, in the methods that begin with `where`; it has the tools `echo` and `ping`.

    `unauthorized`, `broken`: HTTP errors · `html`: a page · `not json`, `not mcp`: bodies of no sense · `no http`: other
    bytes · `hang up`: closes · `cut`: half an answer · `silent`: none · `another`: the answer to another question.
    """

    def __init__(self, fault: str = "", where: str = "tools/call") -> None:
        self.fault = fault
        self.where = where
        self.called: list[str] = []
        self.hit = asyncio.Event()
        self.url = ""
        self._wires: set[Wire] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Faulty]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/faulty/mcp"
        try:
            yield self
        finally:
            server.close()
            for wire in list(self._wires):
                wire.transport.abort()
            while self._wires:
                await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, wire: Wire) -> None:
        self._wires.add(wire)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await self._exchange(reader, wire):
                await wire.drain()
        self._wires.discard(wire)
        wire.close()

    async def _exchange(self, reader: asyncio.StreamReader, wire: Wire) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
        message = json.loads(await reader.readexactly(size) or b"null")
        if not head.startswith("post"):
            return _answer(wire, 405)
        method = message["method"]
        if self.fault and method.startswith(self.where):
            return await self._misbehave(reader, wire, message)
        if "id" not in message:
            return _answer(wire, 202)
        return _answer(wire, 200, self._said(method, message))

    def _said(self, method: str, message: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        match method:
            case "initialize":
                info = {"name": "faulty", "version": "1"}
                answer["result"] = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
            case "tools/list":
                answer["result"] = {"tools": [{"name": name, "inputSchema": {}} for name in ("echo", "ping")]}
            case "tools/call":
                name = message["params"]["name"]
                self.called.append(name)
                answer["result"] = {"content": [{"type": "text", "text": f"{name} of faulty"}]}
            case _:
                answer["error"] = {"code": -32601, "message": "Method not found"}
        return answer

    async def _misbehave(self, reader: asyncio.StreamReader, wire: Wire, message: dict[str, Any]) -> bool:
        self.called.append("fault")
        self.hit.set()
        match self.fault:
            case "unauthorized":
                return _answer(wire, 401, {"error": "who are you?"})
            case "broken":
                return _answer(wire, 500, {"error": "Internal Server Error"})
            case "html":
                return _answer(wire, 200, HTML, "text/html")
            case "not json":
                return _answer(wire, 200, b'{"jsonrpc": "2.0", "id": ')
            case "not mcp":
                return _answer(wire, 200, {"hello": ["world"]})
            case "no http":
                wire.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
            case "cut":
                wire.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{")
            case "another":
                return _answer(wire, 200, {"jsonrpc": "2.0", "id": 77777, "result": {"content": []}})
            case "silent":
                await reader.read()  # until they go
        return False


def _answer(wire: Wire, status: int, body: object = b"", kind: str = "application/json") -> bool:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    wire.write(f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
    return True
