"""Claude Code as a program that plays a script: what it says in its own form, and a client that drives it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from _agents import Player, Step, alive, drains, ends, player, reads, says, writes

from asyncllm import Client
from asyncllm.protocols.claude_code import folder_of

SESSION = "5e551011-0000-4000-8000-000000000001"
OTHER = "5e551011-0000-4000-8000-000000000002"
USER = '"type":"user"'
"""What stands in the line that says what the user says."""

ANSWERED = '"mcp_response"'
ALLOWED = '"behavior"'


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


TOOL = {"name": "add", "description": "Add two numbers.", "parameters": {"type": "object"}}


# ---- what it says


def line(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, "session_id": SESSION, "parent_tool_use_id": None, **fields}).encode() + b"\n"


def init(**fields: Any) -> bytes:
    return line("system", **{"subtype": "init", "mcp_servers": [], **fields})


def sse(kind: str, **fields: Any) -> bytes:
    """An event of the API."""
    return line("stream_event", event={"type": kind, **fields})


def begins(id: str = "msg_1") -> bytes:
    message = {"id": id, "type": "message", "role": "assistant", "model": "m-1", "content": [], "usage": {}}
    return sse("message_start", message=message)


def text(words: str, index: int = 0) -> bytes:
    block = {"type": "text", "text": ""}
    return (
        sse("content_block_start", index=index, content_block=block)
        + sse("content_block_delta", index=index, delta={"type": "text_delta", "text": words})
        + sse("content_block_stop", index=index)
    )


def calls(id: str, name: str, arguments: dict[str, Any] | str, index: int = 0) -> bytes:
    block = {"type": "tool_use", "id": id, "name": name, "input": {}}
    raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return (
        sse("content_block_start", index=index, content_block=block)
        + sse("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": raw})
        + sse("content_block_stop", index=index)
    )


def stops(reason: str = "end_turn") -> bytes:
    return sse("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 7}) + sse("message_stop")


def block(content: dict[str, Any], id: str = "msg_1", uuid: str = "a-1", **fields: Any) -> bytes:
    """A whole block of a message."""
    message = {"id": id, "type": "message", "role": "assistant", "model": "m-1", "content": [content]}
    return line("assistant", message=message, uuid=uuid, **fields)


def spoken(words: str, uuid: str = "a-1") -> bytes:
    return block({"type": "text", "text": words}, uuid=uuid)


def given(id: str, content: Any, *, is_error: bool = False, **fields: Any) -> bytes:
    """The result of a tool."""
    found = {"type": "tool_result", "tool_use_id": id, "content": content, "is_error": is_error}
    return line("user", message={"role": "user", "content": [found]}, uuid=f"r-{id}", **fields)


def asks(id: str, subtype: str, **request: Any) -> bytes:
    return line("control_request", request_id=id, request={"subtype": subtype, **request})


def wants(id: str, call: str, **arguments: Any) -> bytes:
    """It asks for our tool `add`."""
    params = {"name": "add", "arguments": arguments, "_meta": {"claudecode/toolUseId": call}}
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
    return asks(id, "mcp_message", server_name="asyncllm", message=message)


def replies(id: str, **response: Any) -> bytes:
    return line("control_response", response={"subtype": "success", "request_id": id, "response": response})


def retries(status: int | None = 529, word: str = "overloaded") -> bytes:
    fields = {"attempt": 1, "max_retries": 2, "retry_delay_ms": 500, "error_status": status, "error": word}
    return line("system", subtype="api_retry", **fields)


def result(words: str = "", *, cost: float = 0.5, tokens: int = 10, **fields: Any) -> bytes:
    usage = {"input_tokens": tokens, "output_tokens": 7, "cache_read_input_tokens": 60}
    whole = {"subtype": "success", "is_error": False, "result": words, "stop_reason": "end_turn", "usage": usage}
    return line("result", **{**whole, "total_cost_usd": cost, "terminal_reason": "completed", **fields})


def answer(words: str, *, number: int = 1, **fields: Any) -> bytes:
    """A whole turn, whose last message is called a-<number>."""
    id = f"msg_{number}"
    head = init() + begins(id) + text(words) + block({"type": "text", "text": words}, id, f"a-{number}")
    return head + stops() + result(words, cost=0.5 * number, **fields)


# ---- what it does


def turn(words: str, **more: Any) -> list[Step]:
    """One turn of a session that speaks both ways."""
    return [reads(USER), says(answer(words, **more))]


def once(*said: bytes, code: int = 0) -> list[Step]:
    """All of a program that is told once, and ends."""
    return [drains(), says(b"".join(said)), ends(code)]


def projects(cwd: Path | str) -> str:
    """In its HOME, the folder of a work directory's sessions."""
    return f".claude/projects/{folder_of(os.path.realpath(cwd))}"


def keeps(cwd: Path | str, *lines: dict[str, Any], id: str = SESSION) -> Step:
    """It writes its session down."""
    return writes(f"{projects(cwd)}/{id}.jsonl", file_of(*lines))


def file_of(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)


def entry(kind: str, uuid: str, words: str = "") -> dict[str, Any]:
    return {"type": kind, "uuid": uuid, "message": {"role": kind, "content": words}}


# ---- who drives it


class Stage:
    """The program, and the machine it runs on."""

    def __init__(self, root: Path, *runs: list[Step]) -> None:
        self.root = root
        self.home, self.work = root / "home", root / "work"
        for folder in (self.home, self.work):
            folder.mkdir(parents=True, exist_ok=True)
        self.fake: Player = player(root / "bin", "claude", *runs)

    def client(self, **options: Any) -> Client:
        where = {"executable": str(self.fake.path), "cwd": str(self.work), "home": str(self.home)}
        return Client("claude-code/m", **{**where, "retry": 0, "timeout": 20, **options})

    def argument(self, name: str, run: int = 0) -> str:
        """What the command line says after this."""
        argv = self.fake.runs[run].argv
        return argv[argv.index(name) + 1]

    def told(self, run: int = 0, kind: str = "user") -> list[dict[str, Any]]:
        return [line for line in self.fake.runs[run].told if line["type"] == kind]

    def said(self, run: int = 0) -> list[object]:
        """What the user has said to a process."""
        return [line["message"]["content"] for line in self.told(run)]

    def alive(self) -> list[int]:
        return [run.pid for run in self.fake.runs if alive(run.pid)]
