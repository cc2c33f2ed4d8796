"""One prompt, run to its end: what is tried again after which error, and what comes of it (seeds D, F1)."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from ._prompt_options import PromptOptions
from ._query_result import PromptMetadata, QueryResult
from ._repair import unanswered
from ._run import CUT_SHORT, Run
from ._run_options import RunOptions, StopWhen
from ._transcript import append_to_log, transcript
from .backends import Backend
from .events import (
    AuthenticationError,
    BillingError,
    ContentBlockedError,
    InvalidOutputError,
    InvalidRequestError,
    LLMError,
    MaxOutputTokensError,
    Message,
    PermissionDeniedError,
    RateLimitError,
    Reply,
    Retrying,
    ServerError,
    StreamEvent,
    ToolCall,
    ToolResult,
    TotalTimeout,
    UnknownError,
    Usage,
    redact,
)
from .events._errors import unwrap

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger("asyncllm.prompt")

RAISED = (
    RateLimitError,
    AuthenticationError,
    PermissionDeniedError,
    InvalidRequestError,
    BillingError,
    ContentBlockedError,
)
"""Errors that trying again within a prompt does not mend: they are raised as they are."""


class Prompting:
    """One prompt under way. `run` is its first attempt; `backend_for` makes the backend of another, given how many failed,
    and `known` makes another known to the client, which may be closed.

    An attempt that broke is gone on with, not begun anew: from the conversation so far without the turn that broke. So no tool
    is run twice. Tries count anew after each step that came through.
    """

    def __init__(
        self,
        run: Run[Any],
        options: PromptOptions,
        backend_for: Callable[[int], Backend],
        known: Callable[[Run[Any]], Run[Any]],
    ) -> None:
        self._first = run
        self._options = options
        self._backend_for = backend_for
        self._known = known
        self._request = run._request
        self._run_options = run._options
        self._began = 0.0
        self._attempts = 0
        self._failures = 0  # in a row
        self._was_cut = False
        self._steps = 0  # of the attempts so far, without their broken turns
        self._usage: Usage | None = None  # what they cost, with those
        self._tools: Counter[str] = Counter()
        self._executed: set[str] = set()  # calls that the provider runs itself
        self._raised: BaseException | None = None  # by a function of the program's
        self.metadata = PromptMetadata(model=self._request.model, backend=run._backend.name)
        run._options = self._watched()

    async def result(self) -> QueryResult[Any]:
        """Raises the errors in RAISED, and what functions of the program raise."""
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        limit = self._request.timeout.total
        run = self._first
        while True:
            self._attempts += 1
            said = await self._attempt(run)
            spent = loop.time() - self._began
            if isinstance(said, Reply):
                return await self._outcome(self._noted(said, spent), None)
            error, kept, finished = said, *_kept(run)
            delay = self._delay(error, finished)
            error.partial = total = self._noted(run.partial, spent)
            if isinstance(error, RAISED) or self._is_the_programs(run, error, kept):
                await self._log(total, error)
                raise error
            if delay is None or (limit is not None and spent + delay >= limit):
                return await self._outcome(total, error)
            logger.info("%s; trying again in %.2f s", error, delay)
            self._show((Retrying(self._attempts, delay, error),))
            await asyncio.sleep(delay)
            self._steps += finished
            self._usage = total.usage
            left = None if limit is None else max(0.001, limit - (loop.time() - self._began))
            run = self._going_on(kept, left)

    # ---- one attempt

    async def _attempt(self, run: Run[Any]) -> Reply[Any] | LLMError:
        """The whole answer, or why there is none. Raises what functions of the program raise."""
        try:
            async with run:
                async for batch in run.batches():
                    self._show(batch)
                return _whole(await run.reply())
        except LLMError as error:
            if error is self._raised:
                raise
            return error
        except BaseExceptionGroup as group:
            leaf = unwrap(group)
            if group is self._raised or not isinstance(leaf, LLMError):
                raise leaf from group
            return leaf

    def _show(self, events: Iterable[StreamEvent]) -> None:
        show = self._options.on_event
        for event in events:
            if isinstance(event, ToolCall) and event.executed:
                self._tools[event.name] += 1
                self._executed.add(event.id)
            elif isinstance(event, ToolResult) and event.id not in self._executed:
                self._tools[event.name] += 1
            if show is not None:
                self._own(show, event)

    def _going_on(self, kept: list[Message], left: float | None) -> Run[Any]:
        """The next attempt: from here, with what is left of the limits."""
        first, request = self._first, self._request
        # a forced call is for the first step
        choice = request.tool_choice if not self._steps or request.tool_choice == "none" else None
        run: Run[Any] = Run(
            self._backend_for(self._failures),
            replace(request, messages=tuple(kept), timeout=replace(request.timeout, total=left), tool_choice=choice),
            first._toolbox,
            self._watched(),
            output=first._output,
            notes=() if self._steps else first._notes,
        )
        return self._known(run)

    def _watched(self) -> RunOptions:
        """The options of the run for the next attempt: what is left of the steps, and predicates that see all attempts."""
        given = self._run_options
        stops = tuple(partial(self._stops, stop) for stop in given.stop_when)
        return replace(given, max_steps=max(1, given.max_steps - self._steps), stop_when=stops)

    def _stops(self, stop: StopWhen, reply: Reply[object]) -> bool:
        return self._own(stop, self._over_all(reply))

    def _own(self, function: Callable[[T], R], value: T) -> R:
        """Call a function of the program's. What it raises is its own, and no failure of the model, whatever it is."""
        try:
            return function(value)
        except BaseException as error:
            self._raised = error
            raise

    # ---- after it

    def _delay(self, error: LLMError, finished: int) -> float | None:
        """Seconds until it is tried again; None to give up."""
        policy = self._options.policy
        if finished:
            self._failures = 0
        match error:
            case InvalidOutputError() | TotalTimeout():
                return None
            case MaxOutputTokensError():
                if self._was_cut or not policy.tries:
                    return None
                self._was_cut = True
                return 0.0
        self._failures += 1
        if isinstance(error, UnknownError):
            return 0.0 if self._failures <= policy.tries else None
        return policy.delay(self._failures, error)

    def _is_the_programs(self, run: Run[Any], error: LLMError, kept: list[Message]) -> bool:
        """Whether it comes from `approve`, while calls were made: some of them may have been carried out."""
        return bool(run._toolbox.specs and unanswered(kept)) and not isinstance(error, TotalTimeout)

    def _over_all(self, reply: Reply[Any]) -> Reply[Any]:
        """With what the attempts before this one did."""
        used, more = self._usage, reply.usage
        usage = more if used is None else used if more is None else used + more
        return replace(reply, usage=usage, steps=self._steps + reply.steps)

    def _noted(self, reply: Reply[Any], duration: float) -> Reply[Any]:
        total = self._over_all(reply)
        self.metadata = PromptMetadata(
            model=total.model or self.metadata.model,
            backend=total.backend or self.metadata.backend,
            tools=dict(self._tools),
            usage=total.usage,
            turns=total.steps,
            attempts=self._attempts,
            duration=duration,
            finish_reason=total.finish_reason,
            stopped=total.stopped,
        )
        return total

    async def _outcome(self, reply: Reply[Any], error: LLMError | None) -> QueryResult[Any]:
        if isinstance(error, TotalTimeout):
            limit = self._request.timeout.total
            error = TotalTimeout(f"the prompt took longer than {limit:g} s (timeout.total)", partial=reply)
        elif error is not None:
            error = error.with_traceback(None)  # who keeps the result would keep the stream and its buffers, too
        await self._log(reply, error)
        return QueryResult(
            result=reply.text or reply.refusal or "",
            returncode=0 if error is None else -1,
            stderr="" if error is None else redact(str(error)),
            stream_result=reply,
            success=error is None,
            error=error,
            output=None if error is not None else reply.output,
            metadata=self.metadata,
            messages=self._of_this_call(reply),
        )

    def _of_this_call(self, reply: Reply[Any]) -> list[Message]:
        asked = self._request.messages
        start = max((at for at, message in enumerate(asked) if message.role == "user"), default=0)
        return reply.messages[start:]

    async def _log(self, reply: Reply[Any], error: LLMError | None) -> None:
        folder = self._options.log_dir
        if folder is None:
            return
        from anyio import to_thread

        messages, facts = self._of_this_call(reply), self.metadata
        try:
            await to_thread.run_sync(_write_log, folder, messages, facts, error, abandon_on_cancel=True)
        except Exception as problem:  # noqa: BLE001  # the answer is what matters
            logger.warning("the transcript could not be added to the log in %s: %r", folder, problem)


def _whole(reply: Reply[Any]) -> Reply[Any]:
    """A reply that is an answer. Raises the error of one that is none."""
    who: dict[str, Any] = {"provider": reply.backend or None, "model": reply.model or None, "partial": reply}
    raw = reply.raw_finish_reason
    match reply.finish_reason:
        case "length" if reply.output is None:
            why = "the output limit (max_tokens) was reached before the answer was whole"
            raise MaxOutputTokensError(why, partial_text=reply.text, **who)
        case "content_filter":
            raise ContentBlockedError(f"the answer was blocked ({raw or 'content_filter'})", block_reason=raw, **who)
        case "error":
            raise ServerError(f"the provider ended its answer with an error ({raw or 'error'})", **who)
    return reply


def _kept(run: Run[Any]) -> tuple[list[Message], int]:
    """The conversation to go on with after a failure, without the turn that broke; and how many steps came through."""
    said = run.partial
    messages, steps = said.messages, said.steps
    whole = said.finish_reason is not None and said.finish_reason not in CUT_SHORT
    if steps and not whole:
        steps -= 1
    new = len(messages) > len(run._request.messages)
    if new and messages[-1].role == "assistant" and not (whole and said.tool_calls):
        return messages[:-1], min(steps, said.steps - 1)
    return messages, steps


def _write_log(folder: Path, messages: list[Message], facts: PromptMetadata, error: LLMError | None) -> None:
    usage = f", {facts.usage.total_tokens:,} tokens" if facts.usage is not None else ""
    end = "failed" if error is not None else facts.stopped or "done"
    what = f"{facts.backend}/{facts.model}: {end}, {facts.turns} turns, {facts.duration:.1f} s{usage}"
    failure = "" if error is None else f"\n[Error] {_line(f'{type(error).__name__}: {error}')}\n"
    heading = f"==== {datetime.now(UTC).isoformat(timespec='seconds')} {_line(what)}\n\n"
    append_to_log(folder, f"{heading}{transcript(messages)}{failure}\n")


def _line(text: str) -> str:
    """On one line, and harmless in a terminal: names and messages come from servers."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in redact(text))
