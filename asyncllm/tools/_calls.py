"""The calls of one turn under way: each in a task, their results in the order of the calls."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import deque
from collections.abc import Sequence

from ..events import StreamEvent, ToolCall, ToolProgress, ToolResult, redact
from ..events._errors import unwrap
from ._approval import Approve, Deny, ask
from ._content import sendable
from ._tool import Content, RunnableTool, ToolError
from ._toolbox import Toolbox

logger = logging.getLogger("asyncllm.tools")

SHOWN = 2000
"""Characters of an exception's message that the model is told."""


class Calls:
    """Runs `calls`; :meth:`next` gives what they say. Knows nothing of the run, which may be dropped while they work.

    What goes wrong is a result with `is_error`, and the others go on: arguments that are no JSON object, a tool that is not
    there, a call that was denied, an exception of the tool, a call that takes too long.
    """

    def __init__(
        self,
        calls: Sequence[ToolCall],
        toolbox: Toolbox,
        *,
        approve: Approve | None,
        timeout: float | None,
        concurrency: int,
    ) -> None:
        self._toolbox = toolbox
        self._approve = approve
        self._timeout = timeout
        self._running = asyncio.Semaphore(concurrency)
        self._asking = asyncio.Lock()  # people are asked one thing at a time
        self._progress: dict[
            str, ToolProgress
        ] = {}  # the last of each call: a tool may tell of more than anybody reads
        self._news = asyncio.Event()
        self._tasks = deque(asyncio.create_task(self._answer(call), name=f"tool {call.name}") for call in calls)
        for task in self._tasks:
            task.add_done_callback(self._wake)

    def _wake(self, task: asyncio.Task[ToolResult]) -> None:
        self._news.set()

    async def next(self) -> list[StreamEvent] | None:
        """What is new: progress, and the results of calls before which none is missing. None when all have been said.

        Raises what `approve` raised. Where it raises, or is cancelled, nothing runs any more.
        """
        try:
            while self._tasks:
                self._news.clear()
                batch: list[StreamEvent] = [*self._progress.values()]
                self._progress.clear()
                for task in self._tasks:
                    if task.done():
                        task.result()  # raises, whichever call it is
                while self._tasks and self._tasks[0].done():
                    batch.append(self._tasks.popleft().result())
                if batch:
                    return batch
                await self._news.wait()
        except _Quit as quit:
            await self.cancel()
            raise quit.reason from None
        except BaseException:
            await self.cancel()
            raise
        return None

    async def cancel(self) -> None:
        """Cancel what still runs, and wait until it is gone. Idempotent."""
        tasks = self.cancel_soon()
        while pending := [task for task in tasks if not task.done()]:
            await asyncio.wait(pending)

    def cancel_soon(self) -> list[asyncio.Task[ToolResult]]:
        tasks = list(self._tasks)
        self._tasks.clear()
        self._progress.clear()
        for task in tasks:
            task.cancel()
            task.add_done_callback(_seen)
        return tasks

    async def _answer(self, call: ToolCall) -> ToolResult:
        try:
            return ToolResult(call.id, call.name, await self._content(call))
        except ToolError as error:
            return ToolResult(call.id, call.name, error.content, is_error=True)

    async def _content(self, call: ToolCall) -> Content:
        if call.arguments is None:
            raise ToolError(f"the tool was not called: {call.invalid}")
        tool = self._toolbox.get(call.name)
        if tool is None:
            known = ", ".join(spec.name for spec in self._toolbox.specs) or "none at all"
            raise ToolError(f"there is no tool {call.name!r}; there are: {known}")
        arguments = call.arguments
        if self._approve is not None:
            async with self._asking:
                try:
                    decision = await ask(self._approve, call)
                except (KeyboardInterrupt, SystemExit) as reason:
                    raise _Quit(reason) from None
            if isinstance(decision, Deny):
                raise ToolError(f"the tool was not called: {decision.reason}")
            if decision.arguments is not None:
                arguments = dict(decision.arguments)
        async with self._running:
            return await self._run(tool, call, arguments)

    async def _run(self, tool: RunnableTool, call: ToolCall, arguments: dict[str, object]) -> Content:
        limit = self._timeout if tool.timeout is None else tool.timeout
        running = True

        def report(progress: float, total: float | None, message: str) -> None:
            if not running:  # a thread that was given up may not know
                return
            self._progress[call.id] = ToolProgress(call.id, call.name, progress, total, message)
            self._news.set()

        scope = asyncio.timeout(limit)
        try:
            async with scope:
                return await tool.run(arguments, report)
        except ToolError:
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise ToolError("the tool was cancelled from within") from None
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever it is, the model is told
            leaf = unwrap(error)
            if isinstance(leaf, ToolError):
                raise leaf from None
            if isinstance(error, TimeoutError) and scope.expired():
                raise ToolError(f"the tool took longer than {limit:g} s and was given up") from None
            if logger.isEnabledFor(logging.INFO):
                logger.info("tool %s failed: %s", call.name, redact("".join(traceback.format_exception(error))))
            text = redact(f"{type(leaf).__name__}: {leaf}".removesuffix(": "))
            raise ToolError(sendable(text[:SHOWN])) from None
        finally:
            running = False


class _Quit(Exception):
    """Whoever was asked wants to leave the program. A task that raised that itself would end the event loop in its middle."""

    def __init__(self, reason: BaseException) -> None:
        self.reason = reason


def _seen(task: asyncio.Task[ToolResult]) -> None:
    """A task that nobody will ask any more: what it raised is not news for the loop's handler."""
    if not task.cancelled():
        task.exception()
