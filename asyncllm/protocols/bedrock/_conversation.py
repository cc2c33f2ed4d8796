"""A conversation as the wire wants it: turns that alternate and begin with the user's, results first, no blank text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ...events import (
    Audio,
    File,
    Image,
    InvalidRequestError,
    Message,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from .._history import executed_elsewhere, own, safe_id, turns
from ._media import audio_block, file_block, image_block

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")

NOTHING = "(nothing)"
"""What a tool gave that gave nothing: blank text is refused."""


class Conversation:
    """The messages, encoded: `system` texts, `messages`, and the names of the `tools` that were called."""

    def __init__(self, messages: Iterable[Message], provider: str, warnings: list[str]) -> None:
        self.system: list[str] = []
        self.messages: list[dict[str, Any]] = []
        self.tools: dict[str, None] = {}
        self._provider = provider
        self._warnings = warnings
        self._documents: set[str] = set()
        messages = tuple(messages)
        for at, message in enumerate(messages):
            self._check(message, f"messages[{at}]")
        for role, parts in turns(messages):
            if role == "system":
                self._system(parts)
            else:
                self._turn(role, parts)

    def _check(self, message: Message, where: str) -> None:
        if message.role == "user" and not any(
            not isinstance(part, Text) or part.text.strip() for part in message.parts
        ):
            raise InvalidRequestError(f"{where}: {self._provider} refuses a message without content")
        if message.role == "tool":
            for part in message.parts:
                if not isinstance(part, ToolResult):
                    raise InvalidRequestError(f"{where}: a tool message holds ToolResult parts, not {_kind(part)}")
        if message.name:
            self._warnings.append(f"{where}: a message has no name on this wire; {message.name!r} was left out")

    def _system(self, parts: list[tuple[Part, str]]) -> None:
        for part, where in parts:
            if not isinstance(part, Text):
                raise InvalidRequestError(f"{where}: a system message holds text, not {_kind(part)}")
            if part.text.strip():
                if self.messages:
                    self._warnings.append(f"{where}: a system message inside the conversation was moved to its start")
                self.system.append(part.text)

    def _turn(self, role: str, parts: list[tuple[Part, str]]) -> None:
        say = self._assistant if role == "assistant" else self._user
        blocks = [block for part, where in parts for block in say(part, where, parts)]
        if not blocks:
            return  # a ghost turn (B9)
        last = self.messages[-1] if self.messages else None
        if last is None and role == "assistant":
            raise InvalidRequestError(f"{parts[0][1]}: a conversation with {self._provider} begins with a user message")
        if last is not None and last["role"] == role:  # what was between them is left out or moved
            last["content"] += blocks
        else:
            self.messages.append({"role": role, "content": blocks})
        if role == "user":
            self.messages[-1]["content"].sort(key=lambda block: "toolResult" not in block)

    # ---- the user's turn

    def _user(self, part: Part, where: str, parts: object) -> list[dict[str, Any]]:
        match part:
            case Text(text=text):
                return [{"text": text}] if text.strip() else []
            case Image():
                return [image_block(part, where)]
            case Audio():
                return [audio_block(part, where)]
            case File():
                return [file_block(part, where, self._documents)]
            case ToolResult():
                return [self._result(part, where)]
            case _:
                raise InvalidRequestError(f"{where}: a user message cannot hold {_kind(part)}")

    def _result(self, part: ToolResult, where: str) -> dict[str, Any]:
        given = [Text(part.content)] if isinstance(part.content, str) else part.content
        content: list[dict[str, Any]] = []
        for inner in given:
            if isinstance(inner, Image):
                content.append(image_block(inner, where))
            elif inner.text.strip():
                content.append({"text": inner.text})
        block: dict[str, Any] = {"toolUseId": safe_id(part.id), "content": content or [{"text": NOTHING}]}
        if part.is_error:
            block["status"] = "error"
        return {"toolResult": block}

    # ---- the assistant's turn

    def _assistant(self, part: Part, where: str, parts: list[tuple[Part, str]]) -> list[dict[str, Any]]:
        match part:
            case Text(text=text):
                return [{"text": text}] if text.strip() else []
            case Reasoning():
                return self._reasoning(part)
            case ToolCall(executed=False):
                return [{"toolUse": self._call(part)}]
            case ToolCall() if not executed_elsewhere(part, self._provider):
                call = {"toolUseId": part.id, "name": part.name, "input": part.arguments or {}}
                return [{"toolUse": {**call, **own(part.state, self._provider)}}]
            case ToolResult() if isinstance(result := own(part.state, self._provider).get("toolResult"), Mapping):
                return [{"toolResult": dict(result)}]
            case ToolResult() if not executed_elsewhere(part, self._provider) and not _is_answer(part, parts):
                raise InvalidRequestError(f"{where}: results of tools go in a message of role 'tool'")
            case Image() if own(part.state, self._provider):
                return [image_block(part, where)]
            case _:  # what another provider's model made or ran: this wire has no place for it
                self._warnings.append(f"{where}: the assistant's {_kind(part)} was left out")
                return []

    def _reasoning(self, part: Reasoning) -> list[dict[str, Any]]:
        """To whom it came from, under its signature; what is not signed (cut, or another model's) is refused (E7, E9)."""
        state = own(part.state, self._provider)
        blocks: list[dict[str, Any]] = []
        if signature := state.get("signature"):
            blocks.append({"reasoningContent": {"reasoningText": {"text": part.text, "signature": signature}}})
        if sealed := state.get("redactedContent"):
            blocks.append({"reasoningContent": {"redactedContent": sealed}})
        return blocks

    def _call(self, part: ToolCall) -> dict[str, Any]:
        name = part.name
        if not TOOL_NAME.fullmatch(name):
            name = re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64] or "unknown"
        self.tools[name] = None
        # what is not an object would be refused; the result says what was wrong with it
        return {"toolUseId": safe_id(part.id), "name": name, "input": part.arguments or {}}


def _is_answer(part: ToolResult, parts: list[tuple[Part, str]]) -> bool:
    return any(isinstance(call, ToolCall) and call.id == part.id for call, _ in parts)


def _kind(part: Part) -> str:
    return type(part).__name__
