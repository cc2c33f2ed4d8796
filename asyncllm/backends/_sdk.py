"""A user's own ``openai`` client as the carrier: its endpoint, credentials, headers and proxies; its bytes, read by us."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2
import msgspec

from ..events import LLMError
from ..protocols import Encoded, Timeout, classify_response
from ._carrier import Answer, transport_failure


class OpenAICarrier:
    """Drives ``with_streaming_response``: one request, no retries of the SDK's own, and never its models (65 µs each)."""

    def __init__(self, client: Any, provider: str) -> None:
        self._client = client.with_options(max_retries=0)
        self._provider = provider

    async def send(self, encoded: Encoded, token: str, headers: Mapping[str, str], timeout: Timeout) -> Answer:
        import openai

        body = msgspec.json.decode(encoded.body)
        model, messages = body.pop("model"), body.pop("messages")
        body.pop("stream")
        call = self._client.chat.completions.with_streaming_response.create(
            model=model,
            messages=messages,
            stream=True,
            extra_body=body,
            extra_headers={**encoded.headers, **headers} or None,
            timeout=httpx2.Timeout(timeout.idle, connect=timeout.connect),
        )
        try:
            # the response is closed by the Answer: the manager's own exit does nothing else
            response = await call.__aenter__()
        except openai.APIStatusError as error:
            raise _status_error(error, self._provider, model) from error
        except openai.APIConnectionError as error:
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            raise transport_failure(
                cause, provider=self._provider, model=model, where=str(self._client.base_url)
            ) from error
        return Answer(response.http_response)

    async def aclose(self) -> None:
        """Nothing: the client is its owner's to close."""


def _status_error(error: Any, provider: str, model: str) -> LLMError:
    response = error.response
    try:
        content = response.content
    except httpx2.ResponseNotRead:
        content = msgspec.json.encode(error.body)
    return classify_response(response.status_code, response.headers, content, provider=provider, model=model)
