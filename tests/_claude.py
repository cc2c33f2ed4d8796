"""Recordings of Claude Code 2.1.197, replayed, and what came of them."""

from __future__ import annotations

import json
from typing import Any

from _agent_recordings import FOLDER as RECORDED
from _agent_recordings import NOW, counted
from _claude_rows import PLAIN, ROWS, Fault, Row

from asyncllm.events import (
    LLMError,
    Reply,
    Retrying,
    Session,
    StreamError,
    StreamEvent,
    StreamStart,
    ToolCall,
    ToolResult,
    check_order,
    fold,
)
from asyncllm.protocols.agents._exit import Exit
from asyncllm.protocols.claude_code import OutputDecoder, StreamDecoder

__all__ = ["NOW", "PLAIN", "ROWS"]

FOLDER = RECORDED / "claude"


def recorded(name: str) -> bytes:
    """Its standard output."""
    path = FOLDER / f"{name}.stdout"
    return path.read_bytes() if path.exists() else long(partial="partial" in name)


def exit_of(name: str, tail: bytes = b"") -> Exit:
    code = int((FOLDER / f"{name}.exit").read_text())
    return Exit(code, (FOLDER / f"{name}.stderr").read_text().strip(), tail)


def command_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.cmd").read_text())
    return found


def long(*, partial: bool) -> bytes:
    """200,000 characters in one line, and, before it, in many."""
    session, message = "aaaaaaaa-0000-4000-8000-000000000000", "msg_long"
    text = "word " * 40_000
    head = {"id": message, "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": None}
    counts = {"input_tokens": 12, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 2000}

    def line(kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": kind, **fields, "session_id": session, "parent_tool_use_id": None}

    inner: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**head, "content": [], "usage": {**counts, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word " * 5}}
            for _ in range(8_000)
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 42}},
        {"type": "message_stop"},
    ]
    lines: list[dict[str, Any]] = [
        {"type": "system", "subtype": "init", "session_id": session, "cwd": "/work-dir/work-claude", "mcp_servers": []},
        *(line("stream_event", event=event) for event in inner if partial),
        line(
            "assistant", message={**head, "content": [{"type": "text", "text": text}], "usage": {}}, uuid="cccccccc-1"
        ),
        {
            **line("result", subtype="success", is_error=False, result=text, stop_reason="end_turn"),
            "usage": {**counts, "output_tokens": 42},
            "total_cost_usd": 0.001641,
            "terminal_reason": "completed",
        },
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def new_decoder(name: str, before: StreamDecoder | None = None) -> StreamDecoder | OutputDecoder:
    session = Session(backend="claude-code", id="")
    if name in PLAIN:
        return OutputDecoder(session, PLAIN[name], clock=lambda: NOW)
    return StreamDecoder(session, cost=before.cost if before is not None else 0.0, clock=lambda: NOW)


def replay(name: str, pieces: list[list[bytes]], exit: Exit) -> list[list[StreamEvent]]:
    """The turns of a recording whose lines come in these pieces."""
    turns: list[list[StreamEvent]] = []
    decoder, events = new_decoder(name), list[StreamEvent]()
    waiting = list(pieces)
    while True:
        while waiting and not decoder.done:
            events += decoder.decode_lines(waiting.pop(0))
        rest = decoder.rest if isinstance(decoder, StreamDecoder) else []
        if not decoder.done or not (rest or waiting):
            turns.append(events + decoder.close(exit))
            return turns
        turns.append(events)
        assert isinstance(decoder, StreamDecoder)
        decoder, events = new_decoder(name, decoder), []
        waiting.insert(0, rest)


def whole(name: str) -> list[list[StreamEvent]]:
    *lines, tail = recorded(name).split(b"\n")
    return replay(name, [lines], exit_of(name, tail))


# ---- looking at what came


def agrees(events: list[StreamEvent], row: Row) -> None:
    """These events are what the row says."""
    check_order(events)
    last = events[-1]
    error = last.error if isinstance(last, StreamError) else None
    agrees_reply(fold(events), row)
    calls = [event for event in events if isinstance(event, ToolCall)]
    assert [(call.name, call.arguments) for call in calls] == list(row.calls)
    assert all(call.executed for call in calls)
    results = [event for event in events if isinstance(event, ToolResult)]
    assert [result.id for result in results] == [call.id for call in calls][: len(results)]
    assert [result.is_error for result in results] == [failed for _, failed in row.results]
    assert all(part in result.text for result, (part, _) in zip(results, row.results, strict=True))
    retried = [event.error for event in events if isinstance(event, Retrying)]
    assert [(type(each).__name__, each.status) for each in retried] == list(row.retries)
    agrees_error(error, row.fault)


def agrees_reply(reply: Reply[object], row: Row) -> None:
    assert reply.text == row.text
    assert reply.reasoning == row.reasoning
    assert reply.steps == row.steps
    assert reply.finish_reason == row.finish
    assert reply.warnings == row.warnings
    used = counted(reply)
    assert (used and (used.input_tokens, used.output_tokens, used.cost)) == row.usage
    if row.session:
        assert reply.session is not None
        assert reply.session.id.startswith(row.session)
        assert reply.session.turn.startswith(row.turn) if row.finish else not reply.session.turn
        assert reply.session.cwd.startswith("/work-dir/") or reply.session.turn == ""
    else:
        assert reply.session is None or not reply.session.id.startswith("-")


def agrees_error(error: LLMError | None, fault: Fault | None) -> None:
    if fault is None or error is None:
        assert error is fault is None
        return
    assert type(error).__name__ == fault.name
    assert (error.status, error.code) == (fault.status, fault.code)
    assert fault.request_id == "" or error.request_id == fault.request_id
    assert getattr(error, "reset_time", None) == fault.reset_time
    assert error.retryable is fault.retryable
    assert fault.says in error.message
    assert error.provider == "claude-code"


def starts(events: list[StreamEvent]) -> list[StreamStart]:
    return [event for event in events if isinstance(event, StreamStart)]
