"""Events to Converse stream frames or a whole Converse answer: the decoder read backwards.

Source: the model of the Bedrock runtime (ConverseStreamOutput, ConverseResponse).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...events import (
    Audio,
    Citation,
    File,
    Finish,
    FinishReason,
    Image,
    ProviderState,
    RawEvent,
    Reasoning,
    ReasoningDelta,
    RefusalDelta,
    Reply,
    Retrying,
    StreamError,
    StreamEvent,
    StreamStart,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
    fold,
)
from .._json import to_json
from .._server_side import WireFrame
from ._errors import stream_error
from ._media import IMAGES

WORDS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
    "error": "malformed_model_output",
    "other": "other",
}

STOP_REASONS = frozenset(
    {
        *WORDS.values(),
        "stop_sequence",
        "guardrail_intervened",
        "malformed_tool_use",
        "model_context_window_exceeded",
    }
)


class ConverseEncoder:
    """The events of one answer to its frames. What the wire has no word for (sound, files, retries) is left out."""

    def __init__(self) -> None:
        self.done = False
        """Finish or StreamError is out: nothing may follow, and what does is ignored."""
        self._begun = False
        self._next = 0  # index of the next block
        self._open: tuple[str, int] | None = None  # the kind and the index of a block of text or reasoning under way
        self._cited = False
        self._calls: dict[str, _SentCall] = {}
        self._executed: set[str] = set()
        self._usage: Usage | None = None

    def encode(self, event: StreamEvent) -> list[WireFrame]:
        """The frames that say `event`; with Finish also what ends the blocks before it, and the usage."""
        return [] if self.done else list(self._frames(event))

    def _frames(self, event: StreamEvent) -> Iterator[WireFrame]:
        match event:
            case Usage():
                self._usage = event  # a snapshot: the last one is said, after the end
                return
            case Audio() | File() | Retrying() | RawEvent():
                return
            case StreamError(error=error):
                self.done = True
                yield stream_error(error)
                return
        if not self._begun:
            self._begun = True
            yield _frame("messageStart", {"role": "assistant"})
        match event:
            case TextDelta(text=text) | RefusalDelta(text=text):
                if text:
                    if self._cited:
                        yield from self._stop()
                    yield from self._say("text", {"text": text})
            case ReasoningDelta(text=text, state=state):
                yield from self._reasoning(text, state)
            case Citation():
                yield from self._say("text", {"citation": citation_object(event)})
                self._cited = True  # it stands for the text before it: what follows is another block
            case ToolCallDelta(id=id, name=name, arguments=arguments):
                yield from self._piece(id, name, arguments, None)
            case ToolCall():
                yield from self._call(event)
            case ToolResult() if event.id in self._executed:
                yield from self._result(event)
            case Image(data=bytes() as data):
                block = _image(event.media_type, data)
                yield from self._block({"image": {"format": block["format"]}}, {"image": {"source": block["source"]}})
            case Finish(reason=reason, raw=raw):
                yield from self._end(
                    event, raw if raw in STOP_REASONS or (raw and reason == "other") else WORDS[reason]
                )
            case StreamStart() | ToolResult() | Image():
                return

    # ---- blocks

    def _say(self, kind: str, delta: Mapping[str, object]) -> Iterator[WireFrame]:
        """A delta of text or reasoning, whose blocks have no start."""
        if self._open is None or self._open[0] != kind:
            yield from self._stop()
            self._open = (kind, self._new())
        yield _frame("contentBlockDelta", {"contentBlockIndex": self._open[1], "delta": delta})

    def _stop(self) -> Iterator[WireFrame]:
        self._cited = False
        if self._open is not None:
            (_, index), self._open = self._open, None
            yield _frame("contentBlockStop", {"contentBlockIndex": index})

    def _new(self) -> int:
        self._next += 1
        return self._next - 1

    def _block(self, start: Mapping[str, object], *deltas: Mapping[str, object]) -> Iterator[WireFrame]:
        """A block that is whole."""
        yield from self._stop()
        index = self._new()
        yield _frame("contentBlockStart", {"contentBlockIndex": index, "start": start})
        for delta in deltas:
            yield _frame("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})
        yield _frame("contentBlockStop", {"contentBlockIndex": index})

    def _reasoning(self, text: str, state: ProviderState | None) -> Iterator[WireFrame]:
        if text:
            yield from self._say("reasoning", {"reasoningContent": {"text": text}})
        for name, value in sealed(state).items():
            yield from self._say("reasoning", {"reasoningContent": {name: value}})
        if state is not None and state.closes and self._open is not None and self._open[0] == "reasoning":
            yield from self._stop()

    def _piece(self, id: str, name: str, arguments: str, state: ProviderState | None) -> Iterator[WireFrame]:
        call = self._calls.get(id)
        if call is None:
            yield from self._stop()
            call = self._calls[id] = _SentCall(self._new())
            start = {"toolUse": {"toolUseId": id, "name": name, **_kind(state)}}
            yield _frame("contentBlockStart", {"contentBlockIndex": call.index, "start": start})
        if arguments and not call.ended:
            call.has_arguments = True
            delta = {"toolUse": {"input": arguments}}
            yield _frame("contentBlockDelta", {"contentBlockIndex": call.index, "delta": delta})

    def _call(self, event: ToolCall) -> Iterator[WireFrame]:
        """All of a call that was not said in deltas; else only what they left out."""
        sent = self._calls.get(event.id)
        missing = "" if sent is not None and sent.has_arguments else _arguments(event)
        yield from self._piece(event.id, event.name, missing, _executed(event))
        if event.executed:
            self._executed.add(event.id)
        yield from self._stop_call(self._calls[event.id])

    def _stop_call(self, call: _SentCall) -> Iterator[WireFrame]:
        if not call.ended:
            call.ended = True
            yield _frame("contentBlockStop", {"contentBlockIndex": call.index})

    def _result(self, event: ToolResult) -> Iterator[WireFrame]:
        block = result_block(event)
        content = block.pop("content")
        yield from self._block({"toolResult": block}, {"toolResult": content})

    # ---- the end

    def _end(self, event: Finish, word: str) -> Iterator[WireFrame]:
        self.done = True
        yield from self._stop()
        for call in self._calls.values():
            yield from self._stop_call(call)
        details = event.details or {}
        fields = {name: details[name] for name in ("additionalModelResponseFields",) if name in details}
        yield _frame("messageStop", {"stopReason": word, **fields}, kind="finish")
        if self._usage is not None:
            trace = {"trace": details["trace"]} if "trace" in details else {}
            yield _frame("metadata", {"usage": usage_object(self._usage), "metrics": {"latencyMs": 0}, **trace})


class _SentCall:
    """What the client knows of a call."""

    __slots__ = ("ended", "has_arguments", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        self.has_arguments = False
        self.ended = False


def _frame(event: str, data: Mapping[str, object], *, kind: Any = "chunk") -> WireFrame:
    return WireFrame(to_json(data), event, kind)


# ---- what both forms of an answer are made of


def sealed(state: ProviderState | None) -> dict[str, object]:
    """The parts of a reasoning's opaque state that this wire has a place for."""
    names = ("signature", "redactedContent")
    return {} if state is None else {name: state.data[name] for name in names if name in state.data}


def _arguments(call: ToolCall) -> str:
    """As they were sent, else the object; nothing for a tool without parameters."""
    return call.raw_arguments or (to_json(call.arguments) if call.arguments else "")


def _executed(call: ToolCall) -> ProviderState | None:
    return ProviderState("", {"type": "server_tool_use"}) if call.executed else call.state


def _kind(state: ProviderState | None) -> dict[str, object]:
    return {"type": state.data["type"]} if state is not None and "type" in state.data else {}


def result_block(result: ToolResult) -> dict[str, Any]:
    """As the provider said it, else its text."""
    said = result.state.data.get("toolResult") if result.state is not None else None
    if isinstance(said, Mapping):
        return {"content": [], **said}
    status = {"status": "error"} if result.is_error else {}
    return {"toolUseId": result.id, **status, "content": [{"text": result.text}]}


def citation_object(citation: Citation) -> dict[str, object]:
    if citation.raw is not None:
        return dict(citation.raw)
    found: dict[str, object] = {"title": citation.title, "sourceContent": [{"text": citation.quote}]}
    return {**found, "location": {"web": {"url": citation.url}}} if citation.url else found


def _image(media_type: str, data: bytes) -> dict[str, Any]:
    format = IMAGES.get(media_type, media_type.rpartition("/")[2])
    return {"format": format, "source": {"bytes": base64.b64encode(data).decode()}}


def usage_object(usage: Usage) -> dict[str, object]:
    """The `usage` of the wire, whose input is without what was read from or written to the cache. `estimated: true` is ours,
    and marks counts that no model reported."""
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    shape: dict[str, object] = {
        "inputTokens": max(0, usage.input_tokens - cached),
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokens": usage.cache_read_tokens,
        "cacheWriteInputTokens": usage.cache_write_tokens,
    }
    return shape | {"estimated": True} if usage.estimated else shape


# ---- a whole answer


def converse_body(events: Iterable[StreamEvent]) -> bytes:
    """The body of an answer that is not streamed. Raises the error of a StreamError among the events."""
    reply = fold(_until_error(events))
    content = [block for part in reply.message.parts for block in _part_blocks(part)]
    if reply.refusal:
        content.append({"text": reply.refusal})
    if reply.citations:
        content.append({"citationsContent": {"content": [], "citations": [*map(citation_object, reply.citations)]}})
    details = {name: value for name, value in (reply.finish_details or {}).items() if name != "usage"}
    body: dict[str, object] = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": _word(reply),
        "usage": usage_object(reply.usage or Usage()),
        "metrics": {"latencyMs": 0},
        **details,
    }
    return to_json(body).encode()


def _word(reply: Reply[object]) -> str:
    raw = reply.raw_finish_reason
    return raw if raw in STOP_REASONS else WORDS[reply.finish_reason or "other"]


def _part_blocks(part: object) -> Iterator[dict[str, object]]:
    match part:
        case Text(text=text) if text:
            yield {"text": text}
        case Reasoning(text=text, state=state):
            own = sealed(state)
            if text or "signature" in own:
                signature = {"signature": own["signature"]} if "signature" in own else {}
                yield {"reasoningContent": {"reasoningText": {"text": text, **signature}}}
            if "redactedContent" in own:
                yield {"reasoningContent": {"redactedContent": own["redactedContent"]}}
        case ToolCall():
            given = part.arguments if part.arguments is not None else part.raw_arguments
            call = {"toolUseId": part.id, "name": part.name, "input": given}
            yield {"toolUse": {**call, **_kind(_executed(part))}}
        case ToolResult():
            yield {"toolResult": result_block(part)}
        case Image(data=bytes() as data):
            yield {"image": _image(part.media_type, data)}


def _until_error(events: Iterable[StreamEvent]) -> Iterator[StreamEvent]:
    for event in events:
        if isinstance(event, StreamError):
            raise event.error
        yield event
