"""An MCP server without any package, in the protocol of 2025 over its pipes: starts in a moment, and misbehaves on demand.

What it does is said by its arguments: `slow` (answers nothing), `deaf` (ignores the end of its input, and SIGTERM),
`children` (leaves one behind, which ignores SIGTERM, too), `banner` (prints before it speaks), `garbage`, `quit` (ends at
once, with words on its standard error), `long` (a line without end), `noisy` (fills its standard error), `pages` (300 tools),
`odd` (schemas of no objects), `endless` (pages for ever), `toolless`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

HOW = set(sys.argv[1:])
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}
TOOLS = ["echo", "die", "hang", "pid", "env", "refuse", "shout", "cancelled", "grow", "quit_after_answer"]
cancelled: list[Any] = []
grown: list[str] = []


def send(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def listed(params: dict[str, Any]) -> dict[str, Any]:
    if "odd" in HOW:
        schemas = [{}, {"type": "string"}, None, {"properties": {}}, {"type": ["object", "null"]}]
        return {"tools": [{"name": f"odd{at}", "inputSchema": schema} for at, schema in enumerate(schemas)]}
    if "endless" in HOW:
        return {"tools": [], "nextCursor": "on"}
    if "pages" in HOW:
        at = int(params.get("cursor") or 0)
        tools = [{"name": f"tool{n}", "inputSchema": SCHEMA, "description": "d" * 100_000} for n in range(at, at + 30)]
        return {"tools": tools, "nextCursor": str(at + 30) if at + 30 < 300 else ""}
    return {"tools": [{"name": name, "description": name, "inputSchema": SCHEMA} for name in TOOLS + grown]}


def called(name: str, arguments: dict[str, Any], call: Any) -> Any:
    text = str(arguments.get("text", ""))
    if name == "die":
        os._exit(3)
    if name == "env":
        text = json.dumps(dict(os.environ))
    if name == "pid":
        text = str(os.getpid())
    if name == "shout":
        text = text * 3_000_000
    if name == "cancelled":
        text = json.dumps(cancelled)
    if name == "grow":
        grown.append(text)
        send(method="notifications/tools/list_changed")
    return {"content": [{"type": "text", "text": text}]}


def answer(message: dict[str, Any]) -> None:
    method, params, call = message.get("method"), message.get("params") or {}, message.get("id")
    if method == "notifications/cancelled":
        cancelled.append(params.get("requestId"))
    if call is None or "slow" in HOW:
        return
    if method == "initialize":
        capabilities = {} if "toolless" in HOW else {"tools": {"listChanged": True}}
        info = {"name": "plain", "version": "1"}
        send(id=call, result={"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": info})
    elif method == "tools/list" and "toolless" not in HOW:
        send(id=call, result=listed(params))
    elif method == "tools/call" and params["name"] == "refuse":
        send(id=call, error={"code": -32000, "message": "not today, sk-abcdefghijklmnopqrstuvwxyz"})
    elif method == "tools/call" and params["name"] != "hang":
        send(id=call, result=called(params["name"], params.get("arguments") or {}, call))
        if params["name"] == "quit_after_answer":
            os._exit(0)
    elif method != "tools/call":
        send(id=call, error={"code": -32601, "message": "Method not found"})


def main() -> None:
    if "quit" in HOW:
        sys.exit(f"no database at postgres://localhost; the token is {os.environ.get('SECRET_TOKEN')}")
    if "deaf" in HOW or "children" in HOW:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "children" in HOW:
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"]
        )  # has our pipes, and ignores SIGTERM as we do
    if "banner" in HOW:
        print("Welcome to the plain server!\n\nhttps://example.com", flush=True)
    while "garbage" in HOW:
        print("<html>this is no MCP</html>", flush=True)
    while "long" in HOW:
        sys.stdout.write("x" * 1_000_000)
    if "noisy" in HOW:
        sys.stderr.write("n" * 5_000_000)
    for line in sys.stdin:
        answer(json.loads(line))
    while "deaf" in HOW:
        time.sleep(600)


main()
