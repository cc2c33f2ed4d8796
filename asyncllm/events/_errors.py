"""The one error tree: what can go wrong with a call to a model, whatever the provider.

    LLMError
    ├── RateLimitError              429; .reset_time (UTC)
    ├── AuthenticationError         401, a missing or refused key
    ├── PermissionDeniedError       403
    ├── BillingError                402, quota used up; never retried
    ├── InvalidRequestError         400, 422
    │   ├── ContextLengthExceededError
    │   └── NotFoundError           404: no such model or endpoint
    ├── ContentBlockedError         .block_reason
    ├── MaxOutputTokensError        .partial_text
    ├── ServerError                 5xx
    │   ├── OverloadedError         503, 529
    │   ├── ConnectionFailedError   no connection, or it broke before an answer
    │   └── LLMTimeoutError
    │       ├── ConnectTimeout
    │       ├── FirstTokenTimeout
    │       ├── InterTokenTimeout
    │       └── TotalTimeout
    ├── ProtocolError               bytes that no such protocol allows
    │   ├── IncompleteStreamError   the stream ended before the model said it was done
    │   └── InvalidOutputError      the whole answer is not what `output=` asks for
    └── UnknownError

Branch on the class or on the fields, never on the text. Every error pickles whole, so that it crosses process and Ray
boundaries. Nothing here ever holds a credential: messages and bodies pass through :func:`redact` on the way in.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from ._fold import Reply

ErrorKind = Literal[
    "rate_limit",
    "authentication",
    "permission",
    "billing",
    "invalid_request",
    "not_found",
    "context_length",
    "content_blocked",
    "max_output",
    "overloaded",
    "server_error",
    "timeout",
    "connection",
    "protocol",
    "unknown",
]

MESSAGE_LIMIT = 300
"""Characters of a provider's message that are kept (seeds C)."""

BODY_LIMIT = 4096
"""Characters of an error body that are kept."""

_SECRET = re.compile(
    r"""(?ix)
    \b(bearer\s+)[\w.\-~+/=]{6,}
    | (["']?(?:api[-_]?key|x-api-key|authorization|access_token|client_secret)["']?\s*[:=]\s*["']?(?:(?:basic|token)\s+)?)
      (?!bearer\b)[^\s"',}&]{6,}
    | \b(sk|pk|gsk|xai|hf|ghp|nvapi|fw|csk|r8|AIza|ya29)([-_.]?)[\w\-]{16,}
    """
)


def redact(text: str) -> str:
    """`text` without anything that looks like a credential (providers do echo keys in their error messages)."""

    def mask(found: re.Match[str]) -> str:
        return (found[1] or found[2] or (found[3] or "") + (found[4] or "")) + "***"

    return _SECRET.sub(mask, text)


class LLMError(Exception):
    """Anything that went wrong with a call to a model.

    Attributes:
        kind: the row of the taxonomy, stable across providers (see :data:`ErrorKind`).
        message: the provider's own words, at most 300 characters, or ours.
        status: the HTTP status, where there was one.
        code: the provider's code or type, as sent.
        provider, model: who was asked for what.
        request_id: the provider's id of the request, for its support.
        retryable: whether the same request may succeed later.
        retry_after: seconds the provider asked to wait, where it did.
        body: the error body, clipped.
        partial: the Reply so far, where a stream broke; set by the Stream that raises.
    """

    kind: ClassVar[ErrorKind] = "unknown"
    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        code: str | None = None,
        provider: str | None = None,
        model: str | None = None,
        request_id: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        body: str | None = None,
        partial: Reply[object] | None = None,
    ) -> None:
        self.message = redact(message)
        self.status = status
        self.code = None if code is None else redact(code)
        self.provider = provider
        self.model = model
        self.request_id = None if request_id is None else redact(request_id)
        self.retryable = self.default_retryable if retryable is None else retryable
        self.retry_after = retry_after
        # clipped after masking, which could not see a key that was cut in two; twice as much is enough to look at
        self.body = None if body is None else redact(body[: 2 * BODY_LIMIT])[:BODY_LIMIT]
        self.partial = partial
        super().__init__(self.message)

    def __str__(self) -> str:
        where = "/".join(part for part in (self.provider, self.model) if part)
        facts = (("HTTP ", self.status), ("", self.code), ("request ", self.request_id))
        detail = ", ".join(f"{label}{fact}" for label, fact in facts if fact)
        said = f"{where}: {self.message}" if where else self.message
        return f"{said} ({detail})" if detail else said

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        state = self.__dict__.copy()
        if "__notes__" in state:  # a copy must not add its notes to ours
            state["__notes__"] = list(state["__notes__"])
        return _rebuild, (type(self), state)

    def to_dict(self) -> dict[str, object]:
        """The error as JSON-compatible data (without `partial`); :func:`error_from_dict` reads it back."""
        data: dict[str, object] = {"class": type(self).__name__, "kind": self.kind}
        for name, value in self.__dict__.items():
            if name.startswith("_") or name == "partial" or value is None:
                continue
            data[name] = value.isoformat() if isinstance(value, datetime) else value
        return data


def _rebuild(cls: type[LLMError], state: dict[str, Any]) -> LLMError:
    error = cls.__new__(cls, state["message"])
    error.args = (state["message"],)
    error.__dict__.update(state)
    return error


def error_from_dict(data: dict[str, object]) -> LLMError:
    """The error that :meth:`LLMError.to_dict` described; an unknown class becomes :class:`UnknownError`."""
    cls = _BY_NAME.get(str(data.get("class")), UnknownError)
    error = cls(str(data.get("message", "")))
    for name in error.__dict__.keys() & data.keys() - {"message", "partial"}:
        value = data[name]
        error.__dict__[name] = (
            datetime.fromisoformat(value) if name == "reset_time" and isinstance(value, str) else value
        )
    return error


class RateLimitError(LLMError):
    """Too many requests or tokens for now. `reset_time` is timezone-aware UTC."""

    kind: ClassVar[ErrorKind] = "rate_limit"
    default_retryable: ClassVar[bool] = True

    def __init__(self, message: str = "", *, reset_time: datetime | None = None, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.reset_time = None if reset_time is None else reset_time.astimezone(UTC)


class AuthenticationError(LLMError):
    """No key, or one that the provider refuses."""

    kind: ClassVar[ErrorKind] = "authentication"


class PermissionDeniedError(LLMError):
    """The key is known but may not do this."""

    kind: ClassVar[ErrorKind] = "permission"


class BillingError(LLMError):
    """No credit, or a spending limit is reached. Waiting does not help."""

    kind: ClassVar[ErrorKind] = "billing"


class InvalidRequestError(LLMError):
    """The request is wrong: ours before a byte was sent, or the provider's judgement of it."""

    kind: ClassVar[ErrorKind] = "invalid_request"


class ContextLengthExceededError(InvalidRequestError):
    """The input does not fit the model's context."""

    kind: ClassVar[ErrorKind] = "context_length"


class NotFoundError(InvalidRequestError):
    """No such model, deployment or endpoint."""

    kind: ClassVar[ErrorKind] = "not_found"


class ContentBlockedError(LLMError):
    """The provider refused the content. `block_reason` is its word for why."""

    kind: ClassVar[ErrorKind] = "content_blocked"

    def __init__(self, message: str = "", *, block_reason: str | None = None, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.block_reason = block_reason


class MaxOutputTokensError(LLMError):
    """The answer was cut at the output limit where a whole one was needed."""

    kind: ClassVar[ErrorKind] = "max_output"

    def __init__(self, message: str = "", *, partial_text: str = "", **fields: Any) -> None:
        super().__init__(message, **fields)
        self.partial_text = partial_text


class ServerError(LLMError):
    """The provider failed."""

    kind: ClassVar[ErrorKind] = "server_error"
    default_retryable: ClassVar[bool] = True


class OverloadedError(ServerError):
    """The provider has no capacity now."""

    kind: ClassVar[ErrorKind] = "overloaded"


class ConnectionFailedError(ServerError):
    """No connection could be made, or it broke before the answer began."""

    kind: ClassVar[ErrorKind] = "connection"


class LLMTimeoutError(ServerError):
    """A limit of :class:`asyncllm.Timeout` passed, or the provider said that one of its own did."""

    kind: ClassVar[ErrorKind] = "timeout"


class ConnectTimeout(LLMTimeoutError):
    """No connection within `Timeout.connect`."""


class FirstTokenTimeout(LLMTimeoutError):
    """Nothing of the answer within `Timeout.first_token`."""


class InterTokenTimeout(LLMTimeoutError):
    """The answer stopped for longer than `Timeout.inter_token`. Keep-alive comments do not count as an answer."""


class TotalTimeout(LLMTimeoutError):
    """The whole call, retries included, took longer than `Timeout.total`."""

    default_retryable: ClassVar[bool] = False


class ProtocolError(LLMError):
    """The provider sent what its protocol does not allow; the offending bytes, clipped, are in `body`."""

    kind: ClassVar[ErrorKind] = "protocol"
    default_retryable: ClassVar[bool] = True


class IncompleteStreamError(ProtocolError):
    """The stream ended before the model said that it was done. What arrived is in `partial`."""


class InvalidOutputError(ProtocolError):
    """The whole answer is not what `output=` asks for. Its text is in `partial.text`, and clipped in `body`."""

    default_retryable: ClassVar[bool] = False


class UnknownError(LLMError):
    """Nothing better is known."""

    kind: ClassVar[ErrorKind] = "unknown"


def _tree(cls: type[LLMError]) -> dict[str, type[LLMError]]:
    found = {cls.__name__: cls}
    for sub in cls.__subclasses__():
        found |= _tree(sub)
    return found


_BY_NAME = _tree(LLMError)

BY_KIND: dict[str, type[LLMError]] = {
    "rate_limit": RateLimitError,
    "authentication": AuthenticationError,
    "permission": PermissionDeniedError,
    "billing": BillingError,
    "invalid_request": InvalidRequestError,
    "not_found": NotFoundError,
    "context_length": ContextLengthExceededError,
    "content_blocked": ContentBlockedError,
    "max_output": MaxOutputTokensError,
    "overloaded": OverloadedError,
    "server_error": ServerError,
    "timeout": LLMTimeoutError,
    "connection": ConnectionFailedError,
    "protocol": ProtocolError,
    "unknown": UnknownError,
}
"""The class of each kind: codecs classify to a kind, and this makes the exception."""


def unwrap(error: BaseException) -> BaseException:
    """The first :class:`LLMError` inside (nested) exception groups, else the first leaf, else `error` itself."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [unwrap(inner) for inner in error.exceptions]
    return next((leaf for leaf in leaves if isinstance(leaf, LLMError)), leaves[0])
