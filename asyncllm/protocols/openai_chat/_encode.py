"""Events to chat completion chunks or a whole completion, errors to the OpenAI error body: the decoder read backwards.

Source: the OpenAI API reference (chat completion object, chat completion chunk object, error codes). What other servers
added and clients read is written under its usual name: `reasoning_content`, `reasoning_details`, `extra_content`.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping

from ...events import (
    Audio,
    Citation,
    ErrorKind,
    File,
    Finish,
    Image,
    LLMError,
    ProviderState,
    RawEvent,
    Reasoning,
    ReasoningDelta,
    RefusalDelta,
    Reply,
    Retrying,
    Session,
    Stopped,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolProgress,
    ToolResult,
    Usage,
    fold,
)
from .._classify import classify
from .._decoder import DONE
from .._json import to_json
from .._server_side import WireFrame


def new_completion_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex[:24]}"


class ChatEncoder:
    """The events of one answer to its chunks.

    `model` and `id` stand until a StreamStart names others; `created` is Unix time in seconds. `include_usage` is the
    request's `stream_options.include_usage`. What the wire has no word for (tool results, retries, raw events) is left
    out; a gateway that runs tools says their results in its own way.
    """

    def __init__(
        self, *, model: str, id: str | None = None, created: int | None = None, include_usage: bool = True
    ) -> None:
        self.done = False
        """Finish or StreamError is out: nothing may follow, and what does is ignored."""
        self._created = int(time.time()) if created is None else created
        self._include_usage = include_usage
        self._tail = ',"usage":null}' if include_usage else "}"
        self._usage: Usage | None = None
        self._begun = False
        self._calls: dict[str, _SentCall] = {}
        self._name(model, id or new_completion_id())

    def encode(self, event: StreamEvent) -> list[WireFrame]:
        """The chunks that say `event`; after Finish also the usage chunk and "[DONE]"."""
        if self.done:
            return []
        texts = self._texts(event)
        if not isinstance(event, Finish):
            return [WireFrame(text) for text in texts]
        *begun, finish = texts
        frames = [*map(WireFrame, begun), WireFrame(finish, kind="finish")]
        if self._include_usage and self._usage is not None:
            usage = to_json(usage_object(self._usage))
            frames.append(WireFrame(f'{self._head},"choices":[],"usage":{usage}}}'))
        return [*frames, WireFrame(DONE, kind="done")]

    def _texts(self, event: StreamEvent) -> list[str]:
        match event:
            case TextDelta(text=text):
                return self._say({"content": text}, content="")
            case ReasoningDelta(text=text, state=state):
                thought: dict[str, object] = {"reasoning_content": text} if text else {}
                thought |= _own_state(state, "reasoning_details")
                return self._say(thought) if thought else []
            case RefusalDelta(text=text):
                return self._say({"refusal": text})
            case ToolCallDelta(id=id, name=name, arguments=arguments):
                return self._piece(id, name, arguments)
            case ToolCall(executed=False):
                return self._whole_call(event)
            case Usage():
                self._usage = event  # a snapshot: the last one is said, after the finish
                return []
            case Finish(reason=reason, raw=raw):
                return self._end(raw or reason)
            case StreamError(error=error):
                self.done = True
                return [error_text(error)]
            case StreamStart(model=model, id=id):
                self._name(model or self._model, id or self._id)
                return self._begin("")
            case ToolCall() | ToolResult() | Image() | Audio() | File() | Citation() | Retrying() | RawEvent():
                return []
            case ToolProgress() | Stopped() | Session():  # events of runs and of agents
                return []

    def _name(self, model: str, id: str) -> None:
        self._model, self._id = model, id
        head = {"id": id, "object": "chat.completion.chunk", "created": self._created, "model": model}
        self._head = to_json(head)[:-1]

    def _chunk(self, delta: Mapping[str, object], finish: str | None = None) -> str:
        choice = f'{{"index":0,"delta":{to_json(delta)},"logprobs":null,"finish_reason":{to_json(finish)}}}'
        return f'{self._head},"choices":[{choice}]{self._tail}'

    def _begin(self, content: str | None) -> list[str]:
        """The chunk that names the role, once, before anything else. Its `content` is null for what is not text."""
        if self._begun:
            return []
        self._begun = True
        return [self._chunk({"role": "assistant", "content": content})]

    def _say(self, delta: Mapping[str, object], *, content: str | None = None) -> list[str]:
        return [*self._begin(content), self._chunk(delta)]

    def _piece(self, id: str, name: str, arguments: str, state: ProviderState | None = None) -> list[str]:
        call = self._calls.get(id)
        function: dict[str, object] = {"arguments": arguments}
        piece: dict[str, object] = {"function": function, **_own_state(state, "extra_content")}
        if call is None:
            # numbered here: clients index a list with it, so that a gap is fatal to them
            call = self._calls[id] = _SentCall(len(self._calls), name)
            function["name"] = name
            piece |= {"id": id, "type": "function"}
        elif name != call.name and name.startswith(call.name):
            function["name"], call.name = name[len(call.name) :], name  # it came in pieces, and goes on in pieces
        call.has_arguments = call.has_arguments or bool(arguments)
        return self._say({"tool_calls": [{"index": call.index, **piece}]})

    def _whole_call(self, event: ToolCall) -> list[str]:
        """All of a call that was not said in deltas; else only what they left out."""
        sent = self._calls.get(event.id)
        missing = "" if sent is not None and sent.has_arguments else _arguments(event)
        if sent is not None and not missing and not _own_state(event.state, "extra_content"):
            return []
        return self._piece(event.id, event.name, missing, event.state)

    def _end(self, word: str) -> list[str]:
        self.done = True
        return [*self._begin(""), self._chunk({}, word)]


class _SentCall:
    """What the client knows of a call."""

    __slots__ = ("has_arguments", "index", "name")

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name
        self.has_arguments = False


def _arguments(call: ToolCall) -> str:
    """As they were sent, else the object; `{}` for a tool without parameters, since clients parse this string."""
    return call.raw_arguments or ("" if call.arguments is None else to_json(call.arguments))


def _own_state(state: ProviderState | None, name: str) -> dict[str, object]:
    """The part of a provider's opaque state that this wire has a place for."""
    return {name: state.data[name]} if state is not None and name in state.data else {}


def usage_object(usage: Usage) -> dict[str, object]:
    """The `usage` of the wire. `estimated: true` is ours, and marks counts that no model reported."""
    shape: dict[str, object] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
    if usage.cost is not None:
        shape["cost"] = usage.cost
    return shape | {"estimated": True} if usage.estimated else shape


def completion_body(
    answer: Reply[object] | Iterable[StreamEvent], *, model: str, id: str | None = None, created: int | None = None
) -> bytes:
    """The body of an answer that is not streamed.

    Raises the error of a StreamError among the events: send the `error_body` of it.

    `model` and `id` stand where the answer names no others; `created` is Unix time in seconds.
    """
    reply = answer if isinstance(answer, Reply) else fold(_until_error(answer))
    message: dict[str, object] = {
        "role": "assistant",
        "content": reply.text or (None if reply.tool_calls or reply.refusal is not None else ""),
        "refusal": reply.refusal,
    }
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    details = [part.state for part in reply.message.parts if isinstance(part, Reasoning)]
    if found := [item for state in details for item in _items(_own_state(state, "reasoning_details"))]:
        message["reasoning_details"] = found
    if reply.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(call)},
                **_own_state(call.state, "extra_content"),
            }
            for call in reply.tool_calls
        ]
    finish = reply.raw_finish_reason or reply.finish_reason
    body: dict[str, object] = {
        "id": reply.id or id or new_completion_id(),
        "object": "chat.completion",
        "created": int(time.time()) if created is None else created,
        "model": reply.model or model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
    }
    if reply.usage is not None:
        body["usage"] = usage_object(reply.usage)
    return to_json(body).encode()


def _until_error(events: Iterable[StreamEvent]) -> Iterator[StreamEvent]:
    for event in events:
        if isinstance(event, StreamError):
            raise event.error
        yield event


def _items(data: Mapping[str, object]) -> list[object]:
    details = data.get("reasoning_details")
    return details if isinstance(details, list) else []


_ERRORS: dict[ErrorKind, tuple[int, str, str | None]] = {
    "rate_limit": (429, "requests", "rate_limit_exceeded"),
    "authentication": (401, "invalid_request_error", "invalid_api_key"),
    "permission": (403, "permission_error", "permission_denied"),
    "billing": (429, "insufficient_quota", "insufficient_quota"),
    "invalid_request": (400, "invalid_request_error", None),
    "not_found": (404, "invalid_request_error", "model_not_found"),
    "context_length": (400, "invalid_request_error", "context_length_exceeded"),
    "content_blocked": (400, "invalid_request_error", "content_policy_violation"),
    "max_output": (400, "invalid_request_error", "max_output"),
    "overloaded": (503, "service_unavailable_error", "server_is_overloaded"),
    "server_error": (500, "server_error", None),
    "timeout": (504, "timeout_error", "timeout"),
    "connection": (502, "server_error", "connection"),
    "protocol": (502, "server_error", "protocol"),
    "unknown": (500, "server_error", "unknown"),
}
"""kind -> HTTP status, `type`, `code`: OpenAI's own words where it has them."""


def error_text(error: LLMError) -> str:
    """The chunk that says `error` inside a stream. The hint to wait rides where OpenRouter puts it."""
    return to_json({"error": _error_object(error, None)})


def error_body(error: LLMError) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of an HTTP answer that says `error`. Its own status is kept if it is one of an error."""
    usual = _ERRORS[error.kind][0]
    status = error.status if error.status is not None and 400 <= error.status < 600 else usual
    headers = {"content-type": "application/json", **_wait_headers(error)}
    if error.request_id:
        headers["x-request-id"] = error.request_id
    if error.retryable != error.default_retryable:
        headers["x-should-retry"] = "true" if error.retryable else "false"
    return status, to_json({"error": _error_object(error, status)}).encode(), headers


def _error_object(error: LLMError, status: int | None) -> dict[str, object]:
    _, type, code = _ERRORS[error.kind]
    shape: dict[str, object] = {"message": error.message, "type": type, "param": None, "code": error.code or code}
    if error.code and classify({"error": shape}, status=status).kind != error.kind:
        shape["code"] = code  # the provider's own word would be read as another kind
    if error.request_id:
        shape["request_id"] = error.request_id
    if status is None and (headers := _wait_headers(error)):
        shape["metadata"] = {"headers": headers}
    return shape


def _wait_headers(error: LLMError) -> dict[str, str]:
    """`retry-after` in whole seconds, never too few, and the exact time beside it."""
    if error.retry_after is None:
        return {}
    return {"retry-after": str(math.ceil(error.retry_after)), "retry-after-ms": f"{error.retry_after * 1000:.0f}"}
