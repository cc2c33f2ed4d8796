"""Events to the Messages wire: the decoder read backwards. Streamed, or as the one message that the same events add up to.

Source: the Anthropic API reference (streaming messages). Blocks stand one after another, as the API sends them; only calls
whose fragments come interleaved stay open beside each other.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ...events import (
    Audio,
    Citation,
    File,
    Finish,
    FinishReason,
    Image,
    RawEvent,
    ReasoningDelta,
    RefusalDelta,
    Retrying,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from .._finish import finish_reason
from .._json import to_json
from .._server_side import WireFrame
from ._errors import error_object

Data = dict[str, Any]

WORDS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
OWN_WORDS = frozenset(
    {
        *WORDS.values(),
        *("stop_sequence", "pause_turn", "model_context_window_exceeded", "compaction"),
    }
)


class MessagesEncoder:
    """The events of one answer to those of the wire. `model` and `id` stand until a StreamStart names others. What the wire
    has no word for (images, sound, retries, raw events, results of a caller's tools) is left out."""

    def __init__(self, *, model: str, id: str | None = None) -> None:
        self.done = False
        """Finish or StreamError is out: nothing may follow, and what does is ignored."""
        self._model = model
        self._id = id or f"msg_{uuid.uuid4().hex[:24]}"
        self._begun = False
        self._usage: Usage | None = None
        self._next = 0  # the index of the next block
        self._open = ""  # the type of the block that text would go on with, at index _next - 1
        self._citations = 0  # said in that block
        self._calls: dict[str, _SentCall] = {}
        self._executed: set[str] = set()

    def encode(self, event: StreamEvent) -> list[WireFrame]:
        if self.done:
            return []
        if isinstance(event, Usage):
            self._usage = event  # a snapshot: the last one is said, with the finish
            return []
        out: list[Data] = []
        self._say(event, out)
        if out and not self._begun and not isinstance(event, StreamError):
            self._begun = True
            out.insert(0, self._message_start())
        return [WireFrame(to_json(data), data["type"], _KINDS.get(data["type"], "chunk")) for data in out]

    def _say(self, event: StreamEvent, out: list[Data]) -> None:
        match event:
            case TextDelta(text=text, state=state):
                data = state.data if state is not None else {}
                if text:
                    self._piece("text", {"type": "text_delta", "text": text}, out)
                for citation in _list(data.get("citations"))[self._citations :]:
                    self._cite(citation, out)
                if state is not None and state.closes:
                    self._close(out)
            case RefusalDelta(text=text):
                self._piece("text", {"type": "text_delta", "text": text}, out)
            case ReasoningDelta(text=text, state=state):
                data = state.data if state is not None else {}
                if text:
                    self._piece("thinking", {"type": "thinking_delta", "thinking": text}, out)
                if isinstance(signature := data.get("signature"), str):
                    self._piece("thinking", {"type": "signature_delta", "signature": signature}, out)
                if state is not None and state.closes:
                    self._close(out)
                if isinstance(block := data.get("block"), Mapping):
                    self._block(dict(block), out)
            case ToolCallDelta(id=id, name=name, arguments=arguments):
                self._fragment(id, name, arguments, out)
            case ToolCall(executed=True):
                self._executed_call(event, out)
            case ToolCall():
                self._call(event, out)
            case ToolResult():
                self._result(event, out)
            case Citation():
                self._cite(event.raw if event.raw and "type" in event.raw else _citation(event), out)
            case File(file_id=id, state=state) if id is not None:
                kept = state.data.get("block") if state is not None else None
                self._block(kept if isinstance(kept, dict) else {"type": "container_upload", "file_id": id}, out)
            case StreamStart(model=model, id=id):
                self._model, self._id = model or self._model, id or self._id
                if not self._begun:
                    self._begun = True
                    out.append(self._message_start())
            case Finish():
                self._finish(event, out)
            case StreamError(error=error):
                self.done = True
                out.append({"type": "error", **error_object(error, None)})
            case Image() | Audio() | File() | Usage() | Retrying() | RawEvent():
                pass

    # ---- the message

    def _message_start(self) -> Data:
        message: Data = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**_input_counts(self._usage or Usage()), "output_tokens": 0},
        }
        return {"type": "message_start", "message": message}

    def _finish(self, event: Finish, out: list[Data]) -> None:
        self.done = True
        self._close(out)
        for call in self._calls.values():
            self._stop(call, out)
        details = dict(event.details or {})
        delta = {"stop_reason": stop_word(event), "stop_sequence": details.pop("stop_sequence", None), **details}
        usage = usage_object(self._usage) if self._usage is not None else {"output_tokens": 0}
        out.append({"type": "message_delta", "delta": delta, "usage": usage})
        out.append({"type": "message_stop"})

    # ---- blocks

    def _start(self, block: Data, out: list[Data]) -> int:
        self._close(out)
        for call in self._calls.values():
            if call.is_whole():  # another one may still be coming in between
                self._stop(call, out)
        index, self._next = self._next, self._next + 1
        out.append({"type": "content_block_start", "index": index, "content_block": block})
        return index

    def _close(self, out: list[Data]) -> None:
        if self._open:
            out.append({"type": "content_block_stop", "index": self._at})
        self._open, self._citations = "", 0

    def _piece(self, kind: str, delta: Data, out: list[Data]) -> None:
        if self._open != kind:
            empty = {"type": kind, kind: ""} if kind == "text" else {"type": kind, kind: "", "signature": ""}
            self._at = self._start(empty, out)
            self._open = kind
        out.append(_delta(self._at, delta))

    def _block(self, block: Data, out: list[Data]) -> None:
        """A block that comes whole."""
        out.append({"type": "content_block_stop", "index": self._start(block, out)})

    def _cite(self, citation: object, out: list[Data]) -> None:
        self._piece("text", {"type": "citations_delta", "citation": citation}, out)
        self._citations += 1

    # ---- calls and results

    def _fragment(self, id: str, name: str, arguments: str, out: list[Data]) -> None:
        call = self._calls.get(id)
        if call is None:
            call = self._calls[id] = _SentCall(id)
        call.name = name
        if arguments and not call.stopped:  # until then the name may go on: it can be said but once
            self._begin_call(call, {}, out)
            call.fragments.append(arguments)
            out.append(_delta(call.index, {"type": "input_json_delta", "partial_json": arguments}))

    def _begin_call(self, call: _SentCall, more: Mapping[str, object], out: list[Data]) -> None:
        if call.index < 0:
            block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}, **more}
            call.index = self._start(block, out)

    def _call(self, event: ToolCall, out: list[Data]) -> None:
        """All of a call that was not said in fragments; else only what they left out."""
        call = self._calls.get(event.id)
        if call is None:
            call = self._calls[event.id] = _SentCall(event.id)
        if call.stopped:
            return
        call.name = event.name
        self._begin_call(call, event.state.data if event.state is not None else {}, out)
        if not call.fragments and (raw := event.raw_arguments or (to_json(event.arguments) if event.arguments else "")):
            out.append(_delta(call.index, {"type": "input_json_delta", "partial_json": raw}))
        self._stop(call, out)

    def _stop(self, call: _SentCall, out: list[Data]) -> None:
        if not call.stopped:
            self._begin_call(call, {}, out)
            call.stopped = True
            out.append({"type": "content_block_stop", "index": call.index})

    def _executed_call(self, event: ToolCall, out: list[Data]) -> None:
        self._executed.add(event.id)
        block: Data = {"type": "server_tool_use", "id": event.id, "name": event.name}
        if event.state is not None and isinstance(kept := event.state.data.get("block"), Mapping):
            block = dict(kept)
        index = self._start({**block, "input": {}}, out)
        if raw := event.raw_arguments or (to_json(event.arguments) if event.arguments else ""):
            out.append(_delta(index, {"type": "input_json_delta", "partial_json": raw}))
        out.append({"type": "content_block_stop", "index": index})

    def _result(self, event: ToolResult, out: list[Data]) -> None:
        kept = event.state.data.get("block") if event.state is not None else None
        if isinstance(kept, Mapping):
            self._block(dict(kept), out)
        elif event.id in self._executed:
            kind = f"{event.name}_tool_result"
            failed = {"is_error": True} if event.is_error else {}
            self._block({"type": kind, "tool_use_id": event.id, "content": event.text, **failed}, out)


class _SentCall:
    """What the client knows of a call."""

    __slots__ = ("fragments", "id", "index", "name", "stopped")

    def __init__(self, id: str) -> None:
        self.id = id
        self.name = ""
        self.index = -1  # its block has not begun
        self.fragments: list[str] = []
        self.stopped = False

    def is_whole(self) -> bool:
        return not self.stopped and isinstance(_parsed("".join(self.fragments)), dict)


_KINDS: dict[str, Any] = {"message_delta": "finish", "message_stop": "done"}


def _delta(index: int, delta: Data) -> Data:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _parsed(raw: str) -> object:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None


def _citation(event: Citation) -> Data:
    """A citation of another provider, in the form of a web search."""
    return {
        "type": "web_search_result_location",
        "url": event.url,
        "title": event.title,
        "cited_text": event.quote,
        "encrypted_index": "",
    }


def stop_word(finish: Finish) -> str:
    """The provider's word, unless another wire's; else the one that means the same."""
    if finish.raw and (finish.raw in OWN_WORDS or finish_reason(finish.raw) == "other"):
        return finish.raw
    return WORDS.get(finish.reason, finish.reason)


def usage_object(usage: Usage) -> Data:
    """The `usage` of the wire. `estimated` and `cost` are ours."""
    shape = {
        **_input_counts(usage),
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }
    if usage.cost is not None:
        shape["cost"] = usage.cost
    return shape | {"estimated": True} if usage.estimated else shape


def _input_counts(usage: Usage) -> Data:
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    return {
        "input_tokens": max(0, usage.input_tokens - cached),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
    }


def message_body(events: Iterable[StreamEvent], *, model: str, id: str | None = None) -> bytes:
    """The body of an answer that is not streamed: what the frames of its stream add up to. Raises the error of a StreamError
    among the events."""
    encoder = MessagesEncoder(model=model, id=id)
    message: Data = {}
    blocks: dict[int, _SentBlock] = {}
    for event in events:
        if isinstance(event, StreamError):
            raise event.error
        for frame in encoder.encode(event):
            data = msgspec.json.decode(frame.data)
            match data["type"]:
                case "message_start":
                    message = data["message"]
                case "content_block_start":
                    blocks[data["index"]] = _SentBlock(data["content_block"])
                case "content_block_delta":
                    blocks[data["index"]].add(data["delta"])
                case "message_delta":
                    message |= data["delta"]
                    message["usage"] |= data["usage"]
    return to_json({**message, "content": [block.whole() for block in blocks.values()]}).encode()


class _SentBlock:
    """A block and the pieces that were said of it."""

    __slots__ = ("_block", "_citations", "_pieces")

    def __init__(self, block: Data) -> None:
        self._block = block
        self._pieces: list[str] = []
        self._citations: list[Any] = []

    def add(self, delta: Data) -> None:
        match delta:
            case {"text": piece} | {"thinking": piece} | {"partial_json": piece}:
                self._pieces.append(piece)
            case {"signature": signature}:
                self._block["signature"] = signature
            case {"citation": citation}:
                self._citations.append(citation)

    def whole(self) -> Data:
        block, said = self._block, "".join(self._pieces)
        if self._citations:
            block["citations"] = self._citations
        if block["type"] in ("text", "thinking") and said:
            block[block["type"]] = said
        elif said:
            parsed = _parsed(said)
            block["input"] = parsed if isinstance(parsed, dict) else {}
        return block
