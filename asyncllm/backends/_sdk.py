"""A user's own ``openai`` client as the carrier: its endpoint, credentials, headers and proxies; its bytes, read by us."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

import httpx2
import msgspec

from ..events import InvalidRequestError, LLMError
from ..protocols import Encoded, Timeout, classify_response
from ._carrier import Answer, transport_failure

SDK_WIRES: dict[str, tuple[str, ...]] = {
    "openai": ("openai_chat", "openai_responses"),
    "google-genai": ("gemini",),
}
"""The SDKs whose clients are accepted, and the wires that each can carry."""


def sdk_of(client: object) -> str | None:
    """Which SDK's client this is, without importing any; None for anything else."""
    if hasattr(client, "chat") and hasattr(client, "with_options"):
        return "openai"
    if any(kind.__module__.startswith("google.genai") for kind in type(client).__mro__):
        return "google-genai"
    return None


Call = Callable[[Any, Encoded, dict[str, Any]], Any]
"""A client of the SDK, what is to be sent, and how; gives the manager of a response that nobody has read."""


def _chat(client: Any, encoded: Encoded, how: dict[str, Any]) -> Any:
    body = msgspec.json.decode(encoded.body)
    model, messages = body.pop("model"), body.pop("messages")
    body.pop("stream", None)
    create = client.chat.completions.with_streaming_response.create
    return create(model=model, messages=messages, stream=True, extra_body=body, **how)


def _respond(client: Any, encoded: Encoded, how: dict[str, Any]) -> Any:
    body = msgspec.json.decode(encoded.body)
    body.pop("stream", None)
    return client.responses.with_streaming_response.create(stream=True, extra_body=body, **how)


def _retrieve(client: Any, encoded: Encoded, how: dict[str, Any]) -> Any:
    path, _, query = encoded.path.partition("?")
    id = unquote(path.removeprefix("/responses/"))
    return client.responses.with_streaming_response.retrieve(id, stream=True, extra_query=dict(parse_qsl(query)), **how)


_CALLS: dict[tuple[str, str], Call] = {
    ("POST", "/chat/completions"): _chat,
    ("POST", "/responses"): _respond,
    ("GET", "/responses"): _retrieve,
}


class OpenAICarrier:
    """Drives ``with_streaming_response``: one request, no retries of the SDK's own, and never its models (65 µs each)."""

    def __init__(self, client: Any, provider: str) -> None:
        self._client = client.with_options(max_retries=0)
        self._provider = provider

    async def send(self, encoded: Encoded, token: str, headers: Mapping[str, str], timeout: Timeout) -> Answer:
        import openai

        where = encoded.path if encoded.method == "POST" else encoded.path.rpartition("/")[0]
        call = _CALLS.get((encoded.method, where))
        if call is None:
            raise InvalidRequestError(f"an openai client cannot carry requests of {self._provider}")
        how = {
            "extra_headers": {**encoded.headers, **headers} or None,
            "timeout": httpx2.Timeout(timeout.idle, connect=timeout.connect),
        }
        try:
            # the response is closed by the Answer: the manager's own exit does nothing else
            response = await call(self._client, encoded, how).__aenter__()
        except openai.APIStatusError as error:
            raise _status_error(error, self._provider, _model(encoded)) from error
        except openai.APIConnectionError as error:
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            raise transport_failure(
                cause, provider=self._provider, model=_model(encoded), where=str(self._client.base_url)
            ) from error
        return Answer(response.http_response)

    async def aclose(self) -> None:
        """Nothing: the client is its owner's to close."""


def _model(encoded: Encoded) -> str:
    return str(msgspec.json.decode(encoded.body)["model"]) if encoded.body else ""


def _status_error(error: Any, provider: str, model: str) -> LLMError:
    response = error.response
    try:
        content = response.content
    except httpx2.ResponseNotRead:
        content = msgspec.json.encode(error.body)
    return classify_response(response.status_code, response.headers, content, provider=provider, model=model)
