"""Events to lines of /api/chat or one object, errors to its error body: the decoder read backwards."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from ...events import (
    ErrorKind,
    Finish,
    Image,
    LLMError,
    ReasoningDelta,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    fold,
    parse_call,
)
from .._classify import classify
from .._json import to_json
from .._server_side import WireFrame


class OllamaEncoder:
    """The events of one answer to its lines.

    A call is said whole, when it is complete. What the wire has no word for (ids of answers, refusals, citations, results of
    tools, retries, raw events) is left out. `created_at` is an RFC 3339 time.
    """

    def __init__(self, *, model: str, created_at: str | None = None) -> None:
        self.done = False
        """Finish or StreamError is out: nothing may follow, and what does is ignored."""
        self._model = model
        self._created_at = created_at or now()
        self._usage: Usage | None = None
        self._half: dict[str, list[ToolCallDelta]] = {}  # calls of which only deltas came yet

    def encode(self, event: StreamEvent) -> list[WireFrame]:
        if self.done:
            return []
        match event:
            case StreamStart(model=model):
                self._model = model or self._model
            case TextDelta(text=text):
                return [self._line({"content": text})]
            case ReasoningDelta(text=text):
                return [self._line({"content": "", "thinking": text})] if text else []
            case ToolCallDelta(id=id):
                self._half.setdefault(id, []).append(event)
            case ToolCall(executed=False):
                self._half.pop(event.id, None)
                call = call_object(event.id, event.name, event.raw_arguments, event.arguments)
                return [self._line({"content": "", "tool_calls": [call]})]
            case Image(data=bytes() as data):
                return [self._line({"content": "", "images": [base64.b64encode(data).decode()]})]
            case Usage():
                self._usage = event  # a snapshot: the last line says it
            case Finish():
                return [*self._calls(), self._end(event)]
            case StreamError(error=error):
                self.done = True
                return [WireFrame(to_json(error_object(error, None)))]
            case _:
                pass
        return []

    def _calls(self) -> list[WireFrame]:
        """Calls that were never said whole."""
        calls = [
            call_object(deltas[-1].id, deltas[-1].name, "".join(delta.arguments for delta in deltas))
            for deltas in self._half.values()
        ]
        return [self._line({"content": "", "tool_calls": [call]}) for call in calls]

    def _line(self, message: Mapping[str, object]) -> WireFrame:
        return WireFrame(to_json({**line_head(self._model, self._created_at, message), "done": False}))

    def _end(self, finish: Finish) -> WireFrame:
        self.done = True
        head = line_head(self._model, self._created_at, {"content": ""})
        return WireFrame(to_json({**head, **last_fields(finish, self._usage)}), kind="finish")


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def line_head(model: str, created_at: str, message: Mapping[str, object]) -> dict[str, object]:
    return {"model": model, "created_at": created_at, "message": {"role": "assistant", **message}}


def last_fields(finish: Finish, usage: Usage | None) -> dict[str, object]:
    """What only the last line has. A count of 0 is left out, as the server does; durations are not made up."""
    fields: dict[str, object] = {"done": True}
    word = finish.raw or ("stop" if finish.reason == "tool_calls" else finish.reason)
    if word != "other":
        fields["done_reason"] = word
    if usage is not None:
        counts = {"prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens}
        fields |= {name: count for name, count in counts.items() if count}
        if usage.estimated and any(counts.values()):
            fields["estimated"] = True
    return fields


def call_object(id: str, name: str, raw: str, arguments: Mapping[str, object] | None = None) -> dict[str, object]:
    """Arguments are an object. What is none goes as the text it is: no client may take it for good ones."""
    if arguments is None:
        arguments = parse_call(id, "f", raw).arguments
    return {"id": id, "function": {"name": name, "arguments": raw if arguments is None else arguments}}


def answer_body(events: Iterable[StreamEvent], *, model: str, created_at: str | None = None) -> bytes:
    """The object of an answer that is not streamed. Raises the error of a StreamError among the events."""
    reply = fold(_until_error(events))
    message: dict[str, object] = {"content": reply.text}
    if reply.reasoning:
        message["thinking"] = reply.reasoning
    if reply.tool_calls:
        message["tool_calls"] = [
            call_object(call.id, call.name, call.raw_arguments, call.arguments) for call in reply.tool_calls
        ]
    images = [part.data for part in reply.message.parts if isinstance(part, Image) and part.data is not None]
    if images:
        message["images"] = [base64.b64encode(data).decode() for data in images]
    finish = Finish(reply.finish_reason or "other", reply.raw_finish_reason)
    head = line_head(reply.model or model, created_at or now(), message)
    return to_json({**head, **last_fields(finish, reply.usage)}).encode()


def _until_error(events: Iterable[StreamEvent]) -> Iterator[StreamEvent]:
    for event in events:
        if isinstance(event, StreamError):
            raise event.error
        yield event


_ERRORS: dict[ErrorKind, tuple[int, str | None]] = {
    "rate_limit": (429, None),
    "authentication": (401, None),
    "permission": (403, None),
    "billing": (402, None),
    "invalid_request": (400, None),
    "not_found": (404, None),
    "context_length": (400, "context_length_exceeded"),
    "content_blocked": (400, "content_blocked"),
    "max_output": (400, "max_output"),
    "overloaded": (503, None),
    "server_error": (500, None),
    "timeout": (504, None),
    "connection": (502, "connection"),
    "protocol": (502, "protocol"),
    "unknown": (500, "unknown"),
}
"""kind -> HTTP status, and a code where the status does not say it. The wire has no codes: they are ours, as is `status`
inside a stream, and clients that do not know them lose nothing."""


def error_body(error: LLMError) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of an HTTP answer that says `error`. Its own status is kept if it is one of an error."""
    usual, _ = _ERRORS[error.kind]
    status = error.status if error.status is not None and 400 <= error.status < 600 else usual
    headers = {"content-type": "application/json; charset=utf-8", **_wait_headers(error)}
    if error.request_id:
        headers["x-request-id"] = error.request_id
    if error.retryable != error.default_retryable:
        headers["x-should-retry"] = "true" if error.retryable else "false"
    return status, to_json(error_object(error, status)).encode(), headers


def error_object(error: LLMError, status: int | None) -> dict[str, object]:
    """`{"error": "text"}`; inside a stream (no `status`) with what the head of an HTTP answer would say."""
    usual, code = _ERRORS[error.kind]
    shape: dict[str, object] = {"error": error.message or error.kind}
    if status is None:
        shape["status"] = error.status if error.status is not None and 400 <= error.status < 600 else usual
        if headers := _wait_headers(error):
            shape["metadata"] = {"headers": headers}
    if error.request_id:
        shape["request_id"] = error.request_id
    if said := error.code or code:
        shape["code"] = said
    if classify(shape, status=status).kind != error.kind:  # the provider's own words would be read as another kind
        shape["code"] = code
        if status is None:
            shape["status"] = usual
    return shape


def _wait_headers(error: LLMError) -> dict[str, str]:
    """`retry-after` in whole seconds, never too few, and the exact time beside it."""
    if error.retry_after is None:
        return {}
    return {"retry-after": str(math.ceil(error.retry_after)), "retry-after-ms": f"{error.retry_after * 1000:.0f}"}
