"""What a prompt takes, and how often it tries: checked before anything is sent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from ._input import folder_from
from ._run_options import OptionsOfRun
from .backends import RetryPolicy
from .events import InvalidRequestError, StreamEvent

MAX_TOKENS = 16000
"""Of an answer, where neither the client nor the call says."""

EMPTY_TRIES = 3
"""How often a question is asked again that was answered with nothing."""

PATIENT = RetryPolicy(base=5.0, cap=60.0, jitter=0.0)
"""The waits of a prompt: min(5*2^n, 60) seconds."""

OnEvent = Callable[[StreamEvent], object]


class OptionsOfPrompt(OptionsOfRun, total=False):
    """The options of :meth:`asyncllm.Client.prompt`: those of a run, and these.

    `on_event` is called with each event as it comes: for showing something in the meantime. `session` may be that of an
    earlier :class:`asyncllm.QueryResult`, of this client or of another one, elsewhere: the conversation that this goes on
    with. `retry` and `log_dir` are those of the client, for this call.
    """

    on_event: OnEvent | None
    retry: int | RetryPolicy
    log_dir: str | os.PathLike[str] | None


class PromptOptions(Struct, frozen=True, kw_only=True):
    """What a prompt takes besides the options of its run."""

    policy: RetryPolicy
    on_event: OnEvent | None = None
    log_dir: Path | None = None

    @property
    def within(self) -> RetryPolicy:
        """For each request: failures are the prompt's to repeat, empty answers are not failures."""
        empty = self.policy.empty_tries or (EMPTY_TRIES if self.policy.tries else 0)
        return RetryPolicy(tries=0, empty_tries=empty, empty_delay=self.policy.empty_delay)


def take_prompt_options(options: dict[str, Any], *, retry: int | RetryPolicy, log_dir: object) -> PromptOptions:
    """Those of a prompt, taken out of `options`; `retry` and `log_dir` are the client's. Raises InvalidRequestError."""
    on_event = options.pop("on_event", None)
    if on_event is not None and not callable(on_event):
        raise InvalidRequestError(f"on_event must be a function, not {type(on_event).__name__}")
    return PromptOptions(
        policy=RetryPolicy.of(options.pop("retry", retry), PATIENT),
        on_event=on_event,
        log_dir=folder_from("log_dir", options.pop("log_dir", log_dir)),
    )
