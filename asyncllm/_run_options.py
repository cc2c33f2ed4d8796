"""How far a run goes, and how its calls are made: checked before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from ._input import OptionsBesideOutput
from .events import InvalidRequestError, Reply
from .tools._approval import Approve

StopWhen = Callable[[Reply[object]], bool]
"""Looks at the Reply so far, after the results of each step."""


class RunOptions(Struct, frozen=True):
    """What a run takes besides the options of its calls.

    Attributes:
        max_steps: answers of the model. The calls of the last one are still made.
        stop_when: the run goes no further once one of these says so, after the results of a step.
        approve: asked before each call (see :class:`asyncllm.Allow` and :class:`asyncllm.Deny`).
        tool_timeout: seconds that a call may take, where its tool has no limit of its own. None is no limit.
        tool_concurrency: calls of one step that run at once.
    """

    max_steps: int = 100
    stop_when: tuple[StopWhen, ...] = ()
    approve: Approve | None = None
    tool_timeout: float | None = 300.0
    tool_concurrency: int = 8


class OptionsOfRun(OptionsBesideOutput, total=False):
    """The options of :meth:`asyncllm.Client.run`: those of every call, and :class:`RunOptions`."""

    max_steps: int
    stop_when: StopWhen | Sequence[StopWhen] | None
    approve: Approve | None
    tool_timeout: float | None
    tool_concurrency: int


def take_run_options(options: dict[str, Any]) -> RunOptions:
    """Those of a run, taken out of `options`. Raises :class:`InvalidRequestError` for what makes no sense."""
    given = {name: options.pop(name) for name in RunOptions.__struct_fields__ if name in options}
    for name in ("max_steps", "tool_concurrency"):
        value = given.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidRequestError(f"{name} must be a whole number of at least 1, not {value!r}")
    limit = given.get("tool_timeout")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0):
        raise InvalidRequestError(f"tool_timeout must be a positive number of seconds or None, not {limit!r}")
    if given.get("approve") is not None and not callable(given["approve"]):
        raise InvalidRequestError(f"approve must be a function, not {type(given['approve']).__name__}")
    if "stop_when" in given:
        stops = given["stop_when"] or ()
        given["stop_when"] = stops = tuple(stops) if isinstance(stops, Sequence) else (stops,)
        for stop in stops:
            if not callable(stop):
                raise InvalidRequestError(f"stop_when must be a function or a list of functions, not {stop!r}")
    return RunOptions(**given)
