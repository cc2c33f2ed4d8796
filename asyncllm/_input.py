"""What a call takes, to what a backend is given: input and options are checked here, before a byte is sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast, get_args

import msgspec

from ._output import OutputSpec
from .events import Input, InvalidRequestError, Message, Part, Session, ToolResult
from .protocols import CacheTTL, ReasoningEffort, Request, Timeout, Tool
from .protocols.openai_chat import message_from_dict

if TYPE_CHECKING:
    from .tools import ToolLike


class OptionsBesideOutput(TypedDict, total=False):
    """The options of a call whose type does not depend on them."""

    system: str | None
    tools: Sequence[ToolLike]
    tool_choice: str | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop: str | Sequence[str] | None
    seed: int | None
    reasoning: ReasoningEffort | int | None
    cache: CacheTTL | None
    extra_body: Mapping[str, object]
    extra_headers: Mapping[str, str]
    timeout: float | Timeout | None
    session: Session | bytes | None
    raw: bool
    dump_failed: str | os.PathLike[str] | None


class CallOptions(OptionsBesideOutput, total=False):
    """The options of a call. Given to the client, they are the defaults of all its calls."""

    output: object


NAMES = frozenset(CallOptions.__annotations__)


def messages_from(given: Input) -> tuple[Message, ...]:
    """A conversation from a question, a message, or a list of messages, results of tools and OpenAI-style dicts."""
    if isinstance(given, str):
        return (Message("user", given),)
    if isinstance(given, Message):
        return (given,)
    if isinstance(given, Mapping):
        return (message_from_dict(given),)
    return _conversation(given)


def _conversation(given: object) -> tuple[Message, ...]:
    if not isinstance(given, Sequence) or isinstance(given, bytes | bytearray):
        raise InvalidRequestError(f"expected a string, a Message or a list of messages, not {type(given).__name__}")
    messages: list[Message] = []
    results: list[Part] = []  # those in a row are one message
    for at, item in enumerate(cast("Sequence[object]", given)):
        if isinstance(item, ToolResult):
            if not results:
                messages.append(Message("tool", results))
            results.append(item)
            continue
        results = []
        if isinstance(item, Message):
            messages.append(item)
        elif isinstance(item, Mapping):
            messages.append(message_from_dict(item, f"messages[{at}]"))
        else:
            raise InvalidRequestError(
                f"messages[{at}] must be a Message, a ToolResult or a dict with role and content, "
                f"not {type(item).__name__}"
            )
    if not messages:
        raise InvalidRequestError("there are no messages")
    return tuple(messages)


def folder_from(name: str, given: object) -> Path | None:
    """A directory that files are written to, where there is one."""
    if given is None:
        return None
    if not isinstance(given, str | os.PathLike) or not os.fspath(given):
        raise InvalidRequestError(f"{name} must be a directory, not {given!r}")
    return Path(os.fsdecode(given))


def timeout_from(given: float | Timeout | None) -> Timeout:
    """A number limits the whole call, None nothing but the connection."""
    if isinstance(given, Timeout):
        limits = given
    elif given is None:
        limits = Timeout(first_token=None, inter_token=None, total=None, idle=None)
    elif isinstance(given, int | float) and not isinstance(given, bool):
        limits = Timeout(total=float(given))
    else:
        raise InvalidRequestError(f"timeout must be seconds or a Timeout, not {type(given).__name__}")
    for name in Timeout.__struct_fields__:
        value = getattr(limits, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
            raise InvalidRequestError(f"timeout.{name} must be a positive number of seconds or None, not {value!r}")
    return limits


def request_from(model: str, given: Input, options: CallOptions) -> tuple[Request, OutputSpec | None]:
    """The Request of one call, and how its output is read. Raises :class:`InvalidRequestError` for what makes no sense."""
    output: OutputSpec | None = None
    fields: dict[str, Any] = {}
    for name, value in options.items():
        if name == "output":
            output = OutputSpec(value) if value is not None else None
        elif name == "dump_failed":
            pass  # is not part of what is asked
        elif (check := _CHECKS.get(name)) is not None:
            fields[name] = check(value)
        else:
            unknown = ", ".join(sorted(set(options) - NAMES))
            known = ", ".join(sorted(NAMES))
            raise InvalidRequestError(f"unknown option {unknown}; there are {known} (others go in extra_body=)")
    if output is not None:
        fields["output"] = output.request
    return Request(model=model, messages=messages_from(given), **fields), output


def _tools(tools: Sequence[ToolLike] | None) -> tuple[Tool, ...]:
    if not tools:
        return ()
    from .tools import specs_of

    return specs_of(tools)


def _whole(name: str, value: object, least: int | None = None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        raise InvalidRequestError(
            f"{name} must be a whole number{f' of at least {least}' if least else ''}, not {value!r}"
        )
    return value


def _number(name: str, value: object, low: float, high: float) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidRequestError(f"{name} must be a number from {low:g} to {high:g}, not {value!r}")
    return value


def _reasoning(value: object) -> object:
    efforts = get_args(ReasoningEffort)
    budget = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if value is not None and not budget and value not in efforts:
        raise InvalidRequestError(
            f"reasoning must be one of {', '.join(efforts)}, or a budget of tokens, not {value!r}"
        )
    return value


def _cache(value: object) -> object:
    if value is not None and value not in get_args(CacheTTL):
        raise InvalidRequestError(f"cache must be '5m' or '1h', not {value!r}")
    return value


def _mapping(name: str, value: object) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"{name} must be a dict, not {type(value).__name__}")
    try:
        msgspec.json.encode(value)
    except (TypeError, msgspec.MsgspecError) as error:
        raise InvalidRequestError(f"{name} is not JSON: {error}") from None
    return value


def headers_from(value: object) -> Mapping[str, str]:
    """Checked, with lower-case names, so that a call's header replaces the client's."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"extra_headers must be a dict, not {type(value).__name__}")
    for name, text in value.items():
        good = (
            isinstance(name, str)
            and isinstance(text, str)
            and name
            and f"{name}{text}".isprintable()
            and name.isascii()
        )
        if not good or not text.isascii():  # the value may be a secret: it is not shown
            raise InvalidRequestError(f"extra_headers: {name!r} or its value is not printable ASCII text")
    return {name.lower(): text for name, text in value.items()}


def _stop(value: object) -> tuple[str, ...]:
    stops = (value,) if isinstance(value, str) else () if value is None else value
    if not isinstance(stops, list | tuple) or not all(isinstance(stop, str) for stop in stops):
        raise InvalidRequestError(f"stop must be a string or a list of strings, not {value!r}")
    return tuple(stops)


def _session(value: object) -> Session | None:
    if value is not None and not isinstance(value, Session):
        raise InvalidRequestError(
            f"session must be a Session (reply.session), or the bytes of result.session, not {type(value).__name__}"
        )
    return value


def _as_is(value: object) -> object:
    return value


_CHECKS: dict[str, Callable[[Any], object]] = {
    "system": _as_is,
    "tools": _tools,
    "tool_choice": _as_is,
    "max_tokens": partial(_whole, "max_tokens", least=1),
    "temperature": partial(_number, "temperature", low=0, high=2),
    "top_p": partial(_number, "top_p", low=0, high=1),
    "stop": _stop,
    "seed": partial(_whole, "seed"),
    "reasoning": _reasoning,
    "cache": _cache,
    "extra_body": partial(_mapping, "extra_body"),
    "extra_headers": headers_from,
    "timeout": timeout_from,
    "session": _session,
    "raw": bool,
}
"""What each option becomes in the Request: checked, and in its one form."""
