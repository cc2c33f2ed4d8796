"""Our messages as the turns of the Messages API: blocks, and what goes back to whom it came from.

Source: the Anthropic API reference (create a message), the guides to tool use, vision, PDF and extended thinking.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
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
from .._history import own, safe_id, turns

Block = dict[str, Any]

IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
FILES_BETA = "files-api-2025-04-14"


class Conversation:
    """What was said so far, block by block. `warnings` name what was left out."""

    def __init__(self, provider: str) -> None:
        self.system: list[str] = []
        self.turns: list[Block] = []
        self.warnings: list[str] = []
        self.betas: list[str] = []
        self._provider = provider
        self._ran: set[str] = set()  # ids of calls that the provider ran and that go back to it
        self._toolsets: dict[str, object] = {}  # of calls that came from a toolset: their results name it, too

    def add(self, messages: tuple[Message, ...]) -> None:
        for at, message in enumerate(messages):
            _check_places(message, f"messages[{at}]")
        for role, parts in turns(messages):
            if role == "system":
                self._say_system(parts)
                continue
            blocks: list[Block] = []
            for part, where in parts:
                block = self._asked(part, where) if role == "user" else self._answered(part, where)
                if block is not None:
                    blocks.append(block)
            if role == "user":
                blocks.sort(key=lambda block: block["type"] != "tool_result")  # they come first, or are refused
            if blocks:
                self.turns.append({"role": role, "content": blocks})

    def _say_system(self, parts: list[tuple[Part, str]]) -> None:
        for part, where in parts:
            assert isinstance(part, Text)
            if self.turns:
                self.warnings.append(f"{where}: the system message was moved to the front")
            if part.text.strip():
                self.system.append(part.text)

    # ---- the user's side

    def _asked(self, part: Part, where: str) -> Block | None:
        match part:
            case ToolResult():
                return self._result(part, where)
            case Text(text=text):  # blocks of blanks are refused
                return {"type": "text", "text": text} if text.strip() else None
            case Image():
                return {"type": "image", "source": _image(part, where)}
            case File():
                return self._document(part, where)
            case _:
                raise InvalidRequestError(f"{where}: {self._provider} takes no {type(part).__name__} from a user")

    def _result(self, part: ToolResult, where: str) -> Block:
        content: object = part.content
        if not isinstance(part.content, str):
            found = [self._asked(item, where) for item in part.content]
            content = [block for block in found if block is not None]
        block: Block = {"type": "tool_result", "tool_use_id": safe_id(part.id), "content": content}
        if part.is_error:
            block["is_error"] = True
        if (toolset := self._toolsets.get(part.id)) is not None:
            block["toolset_name"] = toolset
        return block

    def _document(self, part: File, where: str) -> Block:
        kind = "image" if part.media_type.startswith("image/") else "document"
        source: Block
        if part.file_id is not None:
            self.betas.append(FILES_BETA)
            source = {"type": "file", "file_id": part.file_id}
        elif not part.data:
            raise InvalidRequestError(f"{where}: a File needs data or a file_id")
        elif kind == "image":
            source = _image(Image(data=part.data, media_type=part.media_type), where)
        elif part.media_type == "application/pdf":
            source = _base64(part.data, part.media_type)
        elif part.media_type.startswith("text/") or part.media_type == "application/json":
            try:
                text = part.data.decode()
            except UnicodeDecodeError:
                raise InvalidRequestError(f"{where}: the text of File {part.name!r} is not UTF-8") from None
            source = {"type": "text", "media_type": "text/plain", "data": text}
        else:
            raise InvalidRequestError(
                f"{where}: {self._provider} takes PDF, text and images as files, not {part.media_type}"
            )
        block: Block = {"type": kind, "source": source}
        if kind == "document" and part.name != "file":
            block["title"] = part.name
        return block

    # ---- the model's side

    def _answered(self, part: Part, where: str) -> Block | None:
        state = own(part.state, self._provider)
        kept = state.get("block")
        match part:
            case Text(text=text):
                if not text.strip():
                    return None
                return {"type": "text", "text": text, **_some(state, "citations")}
            case Reasoning(text=text):
                if isinstance(kept, Mapping):
                    return dict(kept)
                # what another provider thought, or what was cut before its signature, cannot be said here (E7, E9)
                return (
                    {"type": "thinking", "thinking": text, **_some(state, "signature")}
                    if state.get("signature")
                    else None
                )
            case ToolCall(executed=False):
                return self._call(part, state)
            case ToolCall() if isinstance(kept, Mapping):
                self._ran.add(part.id)
                return dict(kept)
            case ToolResult() if isinstance(kept, Mapping) and part.id in self._ran:
                return dict(kept)
            case File() if isinstance(kept, Mapping):
                return dict(kept)
            case _:  # what another provider's model made or ran
                self.warnings.append(f"{where}: the assistant's {type(part).__name__} was left out")
                return None

    def _call(self, part: ToolCall, state: Mapping[str, object]) -> Block:
        if (toolset := state.get("toolset_name")) is not None:
            self._toolsets[part.id] = toolset
        name = re.sub(r"[^a-zA-Z0-9_-]", "_", part.name)[:128] or "unknown"
        more = _some(state, "caller", "toolset_name")
        # an invalid call goes back without arguments: its result says what was wrong
        return {"type": "tool_use", "id": safe_id(part.id), "name": name, "input": part.arguments or {}, **more}


def _some(state: Mapping[str, object], *names: str) -> Block:
    return {name: state[name] for name in names if name in state}


def _check_places(message: Message, where: str) -> None:
    """Parts that no message of this role can hold, on any provider."""
    calls = {part.id for part in message.parts if isinstance(part, ToolCall)}
    for part in message.parts:
        if message.role == "tool":
            wrong = not isinstance(part, ToolResult)
        elif message.role == "assistant":
            wrong = isinstance(part, ToolResult) and part.state is None and part.id not in calls
        elif message.role == "system":
            wrong = not isinstance(part, Text)
        else:
            wrong = isinstance(part, Reasoning | ToolCall | ToolResult | Audio)
        if wrong and isinstance(part, ToolResult):
            raise InvalidRequestError(f"{where}: results of tools go in a message of role 'tool'")
        if wrong and message.role == "tool":
            raise InvalidRequestError(f"{where}: a tool message holds ToolResult parts, not {type(part).__name__}")
        if wrong:
            raise InvalidRequestError(f"{where}: a {message.role} message cannot hold {type(part).__name__}")


def _image(part: Image, where: str) -> Block:
    if part.url is not None and not part.url.startswith("data:"):
        return {"type": "url", "url": part.url}
    if part.url is not None:
        head, comma, data = part.url.partition(",")
        if not comma or not head.endswith(";base64"):
            raise InvalidRequestError(f"{where}: expected a URL of the form data:<type>;base64,<data>")
        source = {"type": "base64", "media_type": head[5:-7], "data": data}
    elif not part.data:
        raise InvalidRequestError(f"{where}: an Image needs a url or data")
    else:
        source = _base64(part.data, part.media_type)
    if source["media_type"] not in IMAGES:
        raise InvalidRequestError(f"{where}: images are JPEG, PNG, GIF or WebP here, not {source['media_type']}")
    return source


def _base64(data: bytes, media_type: str) -> Block:
    return {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}
