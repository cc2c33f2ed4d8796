"""The tool loop: answers of the model and results of its calls, one after another, as one stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from msgspec.structs import replace

from ._limits import Limits
from ._output import OutputSpec
from ._repair import unanswered
from ._run_options import RunOptions
from ._stream import Output, Stream
from .backends import Backend, EventSource, Flow, flow_of, settled, tell_failure
from .events import (
    Finish,
    Fold,
    InvalidOutputError,
    InvalidRequestError,
    LLMError,
    Message,
    Reply,
    Retrying,
    Stopped,
    StopReason,
    StreamError,
    StreamEvent,
    StreamStart,
    ToolCall,
    has_content,
)
from .events._errors import unwrap
from .protocols import Request
from .tools._calls import Calls
from .tools._toolbox import Toolbox

CUT_SHORT = ("length", "content_filter", "error")
"""Finishes of an answer that was not finished: its calls are not run."""

REPAIRS = 1
"""How often the model may mend an answer that is not what `output=` asks for."""


class Run(Stream[Output]):
    """The stream of a run: steps one after another. Made by :meth:`asyncllm.Client.run`.

    It is a :class:`Stream`. After the Finish of a step that called tools come the ToolResults in the order of the calls, with
    ToolProgress among them, and then the next step. It ends with the Finish of a step without calls, or with Stopped.
    """

    _LAST = (Stopped, StreamError)

    def __init__(
        self,
        backend: Backend,
        request: Request,
        toolbox: Toolbox,
        options: RunOptions,
        *,
        output: OutputSpec | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__(backend, request, output=output)
        self._toolbox = toolbox
        self._options = options
        self._notes = notes

    def _open(self) -> EventSource:
        return _Steps(
            self._backend,
            self._request,
            self._toolbox,
            self._options,
            self._output,
            self._notes,
            fold=self._fold,
            limits=self._guard,
        )


class _Steps:
    """The loop as a source of events. What it decides on is the stream's own fold, to which every batch has been added before
    the next is asked for."""

    def __init__(
        self,
        backend: Backend,
        request: Request,
        toolbox: Toolbox,
        options: RunOptions,
        output: OutputSpec | None,
        notes: tuple[str, ...],
        *,
        fold: Fold,
        limits: Limits,
    ) -> None:
        self._backend = backend
        self._request = request
        self._before = request.messages
        self._toolbox = toolbox
        self._options = options
        self._output = output
        self._notes = notes
        self._fold = fold
        self._limits = limits
        self._step: EventSource | None = None
        self._ask: Callable[[], Awaitable[list[StreamEvent]]]
        self._calls: Calls | None = None
        self._repairs = 0
        self._closed = False
        self._next: Callable[[], Awaitable[list[StreamEvent]]] = self._begin
        """What is done next: one of the methods below. Each gives a batch, which may be empty, and says what follows."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[StreamEvent]:
        try:
            while not self._closed:
                if batch := await self._next():
                    return batch
            raise StopAsyncIteration
        except LLMError as error:
            await self.aclose()
            return [StreamError(error)]
        except BaseExceptionGroup as errors:  # of a task group in `approve` or `stop_when`
            await self.aclose()
            if isinstance(leaf := unwrap(errors), LLMError):
                return [StreamError(leaf)]
            raise leaf from errors
        except BaseException:
            await self.aclose()
            raise

    @property
    def flow(self) -> Flow | None:
        """That of an answer, which has nothing for the loop to decide until it ends."""
        return flow_of(self._step) if self._step is not None and self._next == self._answer else None

    # ---- what is done, in this order

    async def _begin(self) -> list[StreamEvent]:
        await self._toolbox.open()
        self._request = replace(self._request, tools=self._toolbox.specs)
        waiting = unanswered(self._request.messages)
        mine = self._start(waiting)
        if missing := [call for call in waiting if call not in mine]:
            calls = ", ".join(f"{call.name} ({call.id})" for call in missing)
            raise InvalidRequestError(
                f"the conversation ends with calls that only you can execute: {calls}; add a ToolResult for each of them"
            )
        self._next = self._results if mine else self._take_step
        return []

    async def _take_step(self) -> list[StreamEvent]:
        """A call to the model begins."""
        self._quiet()
        self._step = self._backend.stream(self._request)
        self._ask = self._step.__anext__
        self._next = self._answer
        return []

    async def _answer(self) -> list[StreamEvent]:
        batch = await self._ask()
        if self._notes:
            batch = [self._with_notes(event) for event in batch]
        if isinstance(batch[-1], Finish):
            self._next = self._decide
        elif not self._limits.answering and has_content(batch):
            assert self._step is not None
            self._step = settled(self._step)
            self._ask = self._step.__anext__
        return batch

    async def _decide(self) -> list[StreamEvent]:
        """The step is over: whether the run is."""
        self._quiet()
        assert self._step is not None
        await self._step.aclose()
        reply = self._reply()
        if reply.tool_calls and reply.finish_reason not in CUT_SHORT:
            self._start(reply.tool_calls)
            self._next = self._results
            return []
        if (error := self._unfit(reply)) is not None:
            self._repairs += 1
            complaint = (
                f"That is not a valid answer: {error.message}. Answer again, with the whole JSON and nothing else."
            )
            self._request = replace(self._request, messages=(*reply.messages, Message("user", complaint)))
            self._next = self._take_step
            return [Retrying(self._repairs, 0.0, error)]
        await self._end()
        return []

    async def _results(self) -> list[StreamEvent]:
        self._quiet()
        assert self._calls is not None
        batch = await self._calls.next()
        if batch is None:
            self._calls = None
            return await self._go_on()
        return batch

    async def _go_on(self) -> list[StreamEvent]:
        """The results are there: the next step, unless something stops the run."""
        reply = self._reply()
        stopped: StopReason | None = None
        if reply.tool_calls:
            stopped = "needs_results"
        elif reply.steps >= self._options.max_steps:
            stopped = "max_steps"
        elif any(stop(reply) for stop in self._options.stop_when):
            stopped = "stop_when"
        if stopped is not None:
            await self._end()
            return [Stopped(stopped)]
        # a forced call was for the first step: forced for ever, it would never come to an answer
        first = not reply.steps or self._request.tool_choice == "none"
        choice = self._request.tool_choice if first else None
        self._request = replace(self._request, messages=tuple(reply.messages), tool_choice=choice)
        self._next = self._take_step
        return []

    # ---- the parts of it

    def _reply(self) -> Reply[object]:
        return self._fold.reply(before=self._before)

    def _start(self, calls: Sequence[ToolCall]) -> list[ToolCall]:
        """Start the calls that are ours to answer: all but the valid ones of tools that only the caller can execute."""
        box = self._toolbox
        mine = [call for call in calls if call.invalid or box.get(call.name) is not None or not box.knows(call.name)]
        options = self._options
        self._calls = Calls(
            mine,
            box,
            approve=options.approve,
            timeout=options.tool_timeout,
            concurrency=options.tool_concurrency,
        )
        return mine

    def _unfit(self, reply: Reply[object]) -> InvalidOutputError | None:
        """What is wrong with the last answer, where the model may mend it."""
        if self._output is None or self._repairs >= REPAIRS or reply.finish_reason in CUT_SHORT or reply.refusal:
            return None
        try:
            self._output.parse(reply)
        except InvalidOutputError as error:
            error.partial = None  # it is told, not raised
            return error
        return None

    def _with_notes(self, event: StreamEvent) -> StreamEvent:
        if not isinstance(event, StreamStart):
            return event
        notes, self._notes = self._notes, ()
        return replace(event, warnings=(*notes, *event.warnings))

    def _quiet(self) -> None:
        """The model is not answering now: tools may take their time, and the next answer has its own first token."""
        self._limits.answering = False

    # ---- closing

    async def _end(self) -> None:
        """All has been said: how long servers take to be left is no reason to call the run too slow."""
        self._limits.stop()
        await self.aclose()

    async def failed(self, error: LLMError) -> None:
        await tell_failure(self._step, error)

    async def aclose(self) -> None:
        self._closed = True
        calls, self._calls = self._calls, None
        try:
            if calls is not None:
                await calls.cancel()
            if self._step is not None:
                await self._step.aclose()
        finally:
            await self._toolbox.close()

    def abort(self) -> None:
        self._closed = True
        if self._calls is not None:
            self._calls.cancel_soon()
        if self._step is not None:
            self._step.abort()
        self._toolbox.close_soon()
