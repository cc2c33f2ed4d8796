"""The JSON-RPC of `codex app-server`, sans-IO: one JSON object a line, without the word "jsonrpc"; both sides ask.

Source: `codex app-server generate-ts --experimental` of 0.169.0.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ...events import InvalidRequestError, LLMError, NotFoundError, UnknownError
from .._json import to_json
from ..agents._words import parse_line

METHOD_NOT_FOUND = -32601
INVALID = (-32600, -32602)


class Note(Struct, frozen=True):
    """A notification, of a thread or ("") of them all."""

    thread: str
    method: str
    params: dict[str, Any]


class Ask(Struct, frozen=True):
    """A request of the server: answer `id` with :func:`answer`, or :func:`refuse`."""

    thread: str
    id: object
    method: str
    params: dict[str, Any]


class Response(Struct, frozen=True):
    """What one of our requests came to."""

    id: object
    result: dict[str, Any]
    error: LLMError | None = None


Incoming = Note | Ask | Response


def read_line(line: bytes) -> Incoming | None:
    """What a line says; None for one that is no message."""
    message = parse_line(line)
    if not isinstance(message, dict):
        return None
    method, id = message.get("method"), message.get("id")
    if isinstance(method, str):
        given = message.get("params")
        params: dict[str, Any] = given if isinstance(given, dict) else {}
        thread = _thread(params)
        return Note(thread, method, params) if id is None else Ask(thread, id, method, params)
    if id is None:
        return None
    if isinstance(error := message.get("error"), dict):
        return Response(id, {}, _error(error))
    result = message.get("result")
    return Response(id, result if isinstance(result, dict) else {})


def request(id: int, method: str, params: dict[str, Any]) -> bytes:
    return _line({"method": method, "id": id, "params": params})


def notification(method: str) -> bytes:
    return _line({"method": method})


def answer(id: object, result: dict[str, Any]) -> bytes:
    return _line({"id": id, "result": result})


def refuse(ask: Ask) -> bytes:
    """The answer to what nobody here can allow: a denial in the form of the request. None is ever left unanswered: the agent
    would wait for ever."""
    match ask.method:
        case "item/commandExecution/requestApproval" | "item/fileChange/requestApproval":
            return answer(ask.id, {"decision": "decline"})
        case "execCommandApproval" | "applyPatchApproval":  # before the threads and turns
            return answer(ask.id, {"decision": {"denied": {"rejection": "nobody is there to allow it"}}})
        case "item/permissions/requestApproval":
            return answer(ask.id, {"permissions": {}, "scope": "turn"})
        case "mcpServer/elicitation/request":
            return answer(ask.id, {"action": "decline", "content": None, "_meta": None})
        case "item/tool/requestUserInput":
            return answer(ask.id, {"answers": {}})
        case "item/tool/call":
            words = f"there is no tool {ask.params.get('tool', '')!r} now"
            return answer(ask.id, {"contentItems": [{"type": "inputText", "text": words}], "success": False})
        case _:
            error = {"code": METHOD_NOT_FOUND, "message": f"{ask.method} is not supported"}
            return _line({"id": ask.id, "error": error})


def _line(message: dict[str, Any]) -> bytes:
    return to_json(message).encode() + b"\n"


def _thread(params: dict[str, Any]) -> str:
    thread = params.get("threadId") or params.get("conversationId")
    if isinstance(thread, str):
        return thread
    inner = params.get("thread")
    id = inner.get("id") if isinstance(inner, dict) else None
    return id if isinstance(id, str) else ""


def _error(error: dict[str, Any]) -> LLMError:
    words, code = str(error.get("message", "the app-server refused")), error.get("code")
    lost = ("no rollout found", "thread not found", "not found:", "no such thread")
    if any(phrase in words for phrase in lost):
        return NotFoundError(words, code=str(code))
    return (InvalidRequestError if code in INVALID else UnknownError)(words, code=str(code))
