"""Whether a call may run: somebody is asked first."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct

from ..events import InvalidRequestError, ToolCall


class Allow(Struct, frozen=True):
    """The call may run: with these `arguments` instead of the model's own, where some are given."""

    arguments: Mapping[str, object] | None = None


class Deny(Struct, frozen=True):
    """The call may not run. The model is told the `reason`, and goes on."""

    reason: str = "the user did not allow this call"


Approval = Allow | Deny | bool
Approve = Callable[[ToolCall], Awaitable[Approval] | Approval]
"""Asked before each call that would run, one at a time and in the order of the calls. A plain function is asked in a
thread, and may block. What it raises ends the run."""


async def ask(approve: Approve, call: ToolCall) -> Allow | Deny:
    answer: object
    if inspect.iscoroutinefunction(approve) or inspect.iscoroutinefunction(getattr(approve, "__call__", None)):  # noqa: B004
        answer = await approve(call)  # type: ignore[misc]
    else:
        from anyio import to_thread

        answer = await to_thread.run_sync(approve, call, abandon_on_cancel=True)
        if inspect.isawaitable(answer):
            answer = await answer
    match answer:
        case Allow() | Deny():
            return answer
        case bool():
            return Allow() if answer else Deny()
    raise InvalidRequestError(f"approve must answer with True, False, Allow() or Deny(), not {answer!r}")
