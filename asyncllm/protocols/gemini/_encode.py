"""Events to GenerateContentResponse chunks or one whole response: the decoder read backwards.

Source: the Gemini API reference (GenerateContentResponse).
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from ...events import (
    Audio,
    Citation,
    File,
    Finish,
    FinishReason,
    Image,
    ProviderState,
    ReasoningDelta,
    RefusalDelta,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
    parse_call,
)
from .._finish import finish_reason
from .._json import to_json
from .._server_side import WireFrame
from ._calls import CODE
from ._citations import byte_offset
from ._errors import block_of, error_object
from ._usage import usage_metadata

_WORDS: dict[FinishReason, str] = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "error": "MALFORMED_RESPONSE",
    "other": "OTHER",
}
_EXECUTED = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")

Parts = list[dict[str, Any]]


class GeminiEncoder:
    """The events of one answer to its chunks.

    `model` and `id` stand until a StreamStart names others. Calls are said whole, so their deltas wait for their end. What
    the wire has no word for (results of a caller's tools, retries, raw events) is left out.
    """

    def __init__(self, *, model: str, id: str | None = None) -> None:
        self.done = False
        """Finish or StreamError is out: nothing may follow, and what does is ignored."""
        self._model, self._id = model, id or uuid.uuid4().hex[:22]
        self._usage: Usage | None = None
        self._deltas: dict[str, list[ToolCallDelta]] = {}
        self._texts: list[str] = []
        self._citations: list[Citation] = []
        self._malformed = ""
        self._begun = False

    def encode(self, event: StreamEvent) -> list[WireFrame]:
        if self.done:
            return []
        match event:
            case StreamStart(model=model, id=id):
                self._model, self._id = model or self._model, id or self._id
                return []
            case Finish():
                self.done = True
                return [WireFrame(to_json(self._last(event)), kind="finish")]
            case StreamError():
                self.done = True
                return self._error(event)
            case _:
                parts = self._parts(event)
                self._begun = self._begun or bool(parts)
                return (
                    [WireFrame(to_json(self._chunk({"content": {"role": "model", "parts": parts}})))] if parts else []
                )

    def body(self, events: Iterable[StreamEvent]) -> dict[str, Any]:
        """The whole response. Raises the error of a StreamError, except where it says that the prompt was blocked."""
        said: Parts = []
        last = Finish("other")
        for event in events:
            if isinstance(event, StreamError):
                feedback = None if said else block_of(event.error)
                if feedback is None:
                    raise event.error
                return self._chunk(None, promptFeedback=feedback)
            if isinstance(event, Finish):
                last = event
            elif isinstance(event, StreamStart):
                self.encode(event)
            else:
                for part in self._parts(event):
                    _join(said, part)
        chunk = self._last(last)
        (candidate,) = chunk["candidates"]
        for part in candidate["content"]["parts"]:
            _join(said, part)
        candidate["content"]["parts"] = said
        return chunk

    # ---- chunks

    def _chunk(self, candidate: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
        chunk: dict[str, Any] = {} if candidate is None else {"candidates": [{**candidate, "index": 0}]}
        chunk |= {**more, "modelVersion": self._model, "responseId": self._id}
        return chunk

    def _last(self, event: Finish) -> dict[str, Any]:
        parts = [part for id in list(self._deltas) for part in self._whole(id, None)]
        word = event.raw or ""
        if not word.isupper() or finish_reason(word) != finish_reason(_WORDS[event.reason]):
            # another provider's word; STOP is also the word for calls
            word = word if word.isupper() and event.reason == "other" else _WORDS[event.reason]
        details = dict(event.details or {})
        if self._malformed and not parts and event.reason in ("stop", "tool_calls", "other"):
            word = "MALFORMED_FUNCTION_CALL"
            details = {"finishMessage": f"Malformed function call: {self._malformed}"}
        elif self._malformed and event.reason == "tool_calls":
            word = "MALFORMED_FUNCTION_CALL"
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "finishReason": word, **details}
        if self._citations:
            candidate["groundingMetadata"] = self._grounding()
        return self._chunk(candidate, **self._counts())

    def _counts(self) -> dict[str, Any]:
        if self._usage is None:
            return {}
        counts = usage_metadata(self._usage)
        return {"usageMetadata": {**counts, "estimated": True} if self._usage.estimated else counts}

    def _error(self, event: StreamError) -> list[WireFrame]:
        counts = self._counts()
        feedback = None if self._begun else block_of(event.error)
        if feedback is not None:
            return [WireFrame(to_json(self._chunk(None, promptFeedback=feedback, **counts)))]
        before = [WireFrame(to_json(self._chunk(None, **counts)))] if counts else []
        return [*before, WireFrame(to_json({"error": error_object(event.error, None)}))]

    def _grounding(self) -> dict[str, Any]:
        """Sources as chunks, and the places of those that have one, in bytes of the text."""
        text = "".join(self._texts)
        chunks: Parts = []
        supports: Parts = []
        for at, citation in enumerate(self._citations):
            source = {"uri": citation.url, "title": citation.title}
            chunks.append(
                {"retrievedContext": {**source, "text": citation.quote}} if citation.quote else {"web": source}
            )
            if citation.end is not None:
                start, end = citation.start or 0, citation.end
                segment = {
                    "startIndex": byte_offset(text, start),
                    "endIndex": byte_offset(text, end),
                    "text": text[start:end],
                }
                supports.append({"segment": segment, "groundingChunkIndices": [at]})
        return {"groundingChunks": chunks, **({"groundingSupports": supports} if supports else {})}

    # ---- parts

    def _parts(self, event: StreamEvent) -> Parts:
        match event:
            case TextDelta(text=text, state=state):
                self._texts.append(text)
                signed = _signature(state)
                return [{"text": text, **signed}] if text or signed else []
            case RefusalDelta(text=text):  # there is no other word for it
                self._texts.append(text)
                return [{"text": text}]
            case ReasoningDelta(text=text, state=state):
                signed = _signature(state)
                return [{"text": text, "thought": True, **signed}] if text or signed else []
            case ToolCallDelta():
                self._deltas.setdefault(event.id, []).append(event)
                return []
            case ToolCall(executed=True):
                return [_executed(event, event.state) or _new_call(event)]
            case ToolCall():
                return self._whole(event.id, event)
            case ToolResult():
                own = _executed(event, event.state)
                return [own] if own is not None else [_new_result(event)] if event.name == CODE else []
            case Image() | Audio() | File():
                return [_media(event)]
            case Usage():
                self._usage = event  # a snapshot: the last one is said
                return []
            case Citation():
                self._citations.append(event)
                return []
            case _:
                return []

    def _whole(self, id: str, call: ToolCall | None) -> Parts:
        """A call whose end was said, or is implied by the end of the answer."""
        deltas = self._deltas.pop(id, [])
        if call is None:
            raw = "".join(delta.arguments for delta in deltas)
            call = parse_call(id, deltas[-1].name, raw)
        if call.arguments is None:
            self._malformed = f"{call.name}({call.raw_arguments})"  # arguments that are no JSON cannot be said
            return []
        function: dict[str, Any] = {"name": call.name, "args": call.arguments}
        return [{"functionCall": {"id": call.id, **function} if call.id else function, **_signature(call.state)}]


def _signature(state: ProviderState | None) -> dict[str, Any]:
    signature = state.data.get("thoughtSignature") if state is not None else None
    return {"thoughtSignature": signature} if isinstance(signature, str) else {}


def _executed(event: ToolCall | ToolResult, state: ProviderState | None) -> dict[str, Any] | None:
    """The part as the server said it, where the state has it."""
    data: Mapping[str, object] = state.data if state is not None else {}
    name = next((name for name in _EXECUTED if name in data), None)
    return None if name is None else {name: data[name], **_signature(state)}


def _new_call(call: ToolCall) -> dict[str, Any]:
    arguments = call.arguments or {}
    if call.name == CODE:
        code = {"language": str(arguments.get("language", "PYTHON")), "code": str(arguments.get("code", ""))}
        return {"executableCode": {**code, "id": call.id}}
    return {"toolCall": {"id": call.id, "toolType": call.name.upper(), "args": arguments}}


def _new_result(result: ToolResult) -> dict[str, Any]:
    outcome = "OUTCOME_FAILED" if result.is_error else "OUTCOME_OK"
    return {"codeExecutionResult": {"outcome": outcome, "output": result.text, "id": result.id}}


def _media(event: Image | Audio | File) -> dict[str, Any]:
    thought = {"thought": True} if event.state is not None and event.state.data.get("thought") is True else {}
    beside = {**thought, **_signature(event.state)}
    if isinstance(event, Audio):
        return {"inlineData": {"mimeType": f"audio/{event.format}", "data": _base64(event.data)}, **beside}
    uri = event.url if isinstance(event, Image) else event.file_id
    if uri is not None:
        return {"fileData": {"mimeType": event.media_type, "fileUri": uri}, **beside}
    return {"inlineData": {"mimeType": event.media_type, "data": _base64(event.data or b"")}, **beside}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _join(parts: Parts, part: dict[str, Any]) -> None:
    """Texts without signatures that follow each other are one part of a whole response."""
    last = parts[-1] if parts else {}
    both = [{name: value for name, value in item.items() if name != "text"} for item in (last, part)]
    if "text" in last and "text" in part and both[0] == both[1] and "thoughtSignature" not in both[0]:
        parts[-1] = {**part, "text": last["text"] + part["text"]}
    else:
        parts.append(part)
