"""What the recordings of several coding agents have in common: what a model said to them, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from asyncllm.events import Reply, Usage

FOLDER = Path(__file__).parent / "fixtures" / "agents"
NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
"""When those of Claude Code and of Codex were made, to the hour."""

HELLO = "Hello, this is a scripted answer from the emulator."
TRUNCATED = "Hello, this is a scripted answer"
BRIEFLY = "I should answer briefly."
USING = "Let me use the tool."
UNICODE = "naïve 日本語 😀 \u2028 sep \x85 nel\nline two"


def counted(reply: Reply[object]) -> Usage | None:
    """What an agent has said that it used; None: nothing, or it is our estimate."""
    return reply.usage if reply.usage is not None and not reply.usage.estimated else None
