"""Python functions as tools: what can be one, where it runs, and how it ends."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio.to_thread
import pytest

from asyncllm import InvalidRequestError, Text
from asyncllm.tools import Report, RunnableTool, ToolError
from asyncllm.tools import _function as module
from asyncllm.tools._function import FunctionTool, tool


def silent(progress: float, total: float | None, message: str) -> None:
    """Nobody listens."""


async def ask(function: Callable[..., object], /, **arguments: object) -> object:
    """What the model is told of a call."""
    made = function if isinstance(function, FunctionTool) else FunctionTool(function)
    return await made.run(arguments, silent)


def names(function: FunctionTool[..., Any]) -> list[str]:
    properties = function.spec.parameters["properties"]
    assert isinstance(properties, dict)
    return list(properties)


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


async def add_later(a: int, b: int = 1) -> int:
    """Add two numbers, later."""
    await asyncio.sleep(0)
    return a + b


class Adder:
    """Adds to a number."""

    def __init__(self, base: int) -> None:
        self.base = base

    def __call__(self, a: int) -> int:
        return self.base + a

    def method(self, a: int) -> int:
        return self.base + a

    async def later(self, a: int) -> int:
        """Of its own."""
        return self.base + a

    @classmethod
    def of_class(cls, a: int) -> str:
        return f"{cls.__name__}{a}"

    @staticmethod
    def static(a: int) -> int:
        return a

    @tool(parameters={"type": "object"})
    def told(self, **numbers: int) -> int:
        return self.base + sum(numbers.values())

    @tool
    def made(self, a: int, /, b: int = 0) -> int:
        """Decorated."""
        return self.base + a + b


class LaterAdder(Adder):
    async def __call__(self, a: int) -> int:  # type: ignore[override]
        return self.base + a


# ---- what can be a tool


@pytest.mark.parametrize(
    ("function", "name", "description"),
    [
        (add, "add", "Add two numbers."),
        (add_later, "add_later", "Add two numbers, later."),
        (functools.partial(add, b=40), "add", "Add two numbers."),
        (functools.partial(functools.partial(add_later, b=39), b=40), "add_later", "Add two numbers, later."),
        (Adder(40), "Adder", "Adds to a number."),
        (LaterAdder(40), "LaterAdder", ""),
        (Adder(40).method, "method", ""),
        (Adder(40).later, "later", "Of its own."),
        (Adder(40).made, "made", "Decorated."),
        (functools.partial(Adder(40).later), "later", "Of its own."),
        (functools.partial(LaterAdder(40)), "LaterAdder", ""),
    ],
)
async def test_everything_that_can_be_called(function: Callable[..., object], name: str, description: str) -> None:
    """Its own name, its own docstring, and only the parameters that are left to fill in."""
    made = FunctionTool(function)
    assert isinstance(made, RunnableTool)
    assert (made.spec.name, made.spec.description) == (name, description)
    assert names(made)[0] == "a"
    assert await ask(made, a="2") in ("42", "3")
    assert made.timeout is None


async def test_lambdas_and_closures() -> None:
    """A lambda needs a name; a closure keeps what it closes over."""
    base = 40

    def plus(a: int) -> int:
        return base + a

    assert await ask(plus, a=2) == "42"
    assert await ask(FunctionTool(lambda a: a, name="same"), a=[1]) == "[1]"
    with pytest.raises(InvalidRequestError, match="name="):
        FunctionTool(lambda a: a)


async def test_what_a_partial_has_bound_is_not_the_models_to_choose() -> None:
    """Neither by position nor by keyword."""

    def delete(user: str, path: str, *, force: bool = False, dry: bool = True) -> str:
        return f"{user} {path} {force} {dry}"

    bound = FunctionTool(functools.partial(delete, "ada", force=True))
    assert names(bound) == ["path", "dry"]
    assert await ask(bound, path="/x") == "ada /x True True"
    for stolen in ({"user": "bob"}, {"force": False}):
        with pytest.raises(ToolError, match="unknown argument"):
            await bound.run({"path": "/x", **stolen}, silent)


async def test_methods_of_a_class() -> None:
    """Decorated or not, static, or of the class; a decorated method is bound to the object it is taken from."""
    assert await ask(Adder.of_class, a=1) == "Adder1"
    assert await ask(Adder.static, a=1) == "1"
    one, two = Adder(10), Adder(20)
    assert await ask(one.made, a=1, b=1) == "12"
    assert await ask(two.made, a=1) == "21"
    assert one.made(1, b=2) == 13
    assert await ask(one.told, a=1, b=2) == "13"
    assert names(one.made) == ["a", "b"]
    assert Adder.made(one, 5) == 15


async def test_a_decorated_function_is_called_as_before() -> None:
    """It keeps its name, docstring and signature; the decorator takes what the class does."""

    @tool
    def plain(a: int) -> int:
        """Plain."""
        return a * 2

    @tool(name="other", description="Something else.", timeout=3)
    async def named(a: int) -> int:
        """Named."""
        return a * 2

    assert plain(4) == 8
    assert await named(4) == 8
    assert (plain.__name__, plain.__doc__, str(inspect.signature(plain))) == ("plain", "Plain.", "(a: 'int') -> 'int'")
    assert (named.spec.name, named.spec.description, named.timeout) == ("other", "Something else.", 3)
    assert await ask(plain, a=4) == await ask(named, a=4) == "8"
    assert plain.spec is plain.spec
    assert repr(named) == "FunctionTool('other')"


async def test_a_tool_can_be_made_again_under_other_terms() -> None:
    """The same function; nothing of the first is left."""
    again = FunctionTool(FunctionTool(add_later, timeout=3), name="plus")
    assert (again.spec.name, again.timeout, names(again)) == ("plus", None, ["a", "b"])
    assert await ask(again, a=1) == "2"


async def test_decorators_that_say_what_they_wrap() -> None:
    """The signature is that of the wrapped function, and so is the module of its annotations."""

    def twice(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    assert names(FunctionTool(twice(add))) == ["a", "b"]
    assert await ask(twice(add), a=1) == "2"
    assert await ask(twice(add_later), a=1) == "2"  # what it returns is awaited


async def test_generators_are_refused() -> None:
    """They give many results, and a tool gives one."""

    def some() -> Iterator[int]:
        yield 1

    async def more() -> AsyncIterator[int]:
        yield 1

    class Object:
        def __call__(self) -> Iterator[int]:
            yield 1

    for function in (some, more, Object(), functools.partial(some)):
        with pytest.raises(InvalidRequestError, match="generator"):
            FunctionTool(function)


@pytest.mark.parametrize("wrong", [3, "add", None, Adder, int])
def test_what_is_no_function_is_refused(wrong: Any) -> None:
    """A class is none, though it can be called."""
    with pytest.raises(InvalidRequestError, match="a tool is a function"):
        FunctionTool(wrong)


async def test_an_explicit_schema() -> None:
    """It is told as it is, and the arguments are passed as they come, also to `**kwargs`; they are a copy."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}

    def anything(**kwargs: object) -> object:
        values = kwargs["a"]
        assert isinstance(values, list)
        values.append("changed")
        return kwargs

    made = FunctionTool(anything, parameters=schema)
    arguments: dict[str, object] = {"a": [1], "b": None}
    assert made.spec.parameters == schema
    assert await made.run(arguments, silent) == '{"a":[1,"changed"],"b":null}'
    assert arguments == {"a": [1], "b": None}
    with pytest.raises(ToolError, match="must be a JSON object, not list"):
        await made.run([1], silent)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="JSON Schema"):
        FunctionTool(anything, parameters="string")  # type: ignore[arg-type]


# ---- where it runs


async def test_async_functions_run_in_the_task_of_the_call() -> None:
    """On the loop, in the same task."""
    seen: list[object] = []

    async def here() -> None:
        seen.append((asyncio.current_task(), threading.get_ident()))

    await ask(here)
    assert seen == [(asyncio.current_task(), threading.get_ident())]


async def test_sync_functions_run_in_threads_with_the_context() -> None:
    """Two can wait for each other, and both see the context variables of the call."""
    request = contextvars.ContextVar("request", default="none")
    meet = threading.Barrier(2, timeout=30)

    def there() -> str:
        meet.wait()
        return f"{request.get()} {threading.get_ident() == home}"

    home = threading.get_ident()
    request.set("mine")
    assert await asyncio.gather(ask(there), ask(there)) == ["mine False"] * 2


async def test_what_a_sync_function_returns_may_be_awaited() -> None:
    """In the task of the call."""

    def start(a: int) -> Awaitable[object]:
        async def finish() -> object:
            return [a, asyncio.current_task() is caller]

        return finish()

    caller = asyncio.current_task()
    assert await ask(start, a=1) == "[1,true]"


async def test_threads_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third call waits for one of two threads."""
    monkeypatch.setattr(module, "THREADS", 2)
    meet = threading.Barrier(3, timeout=30)

    def together() -> str:
        try:
            meet.wait()
        except threading.BrokenBarrierError:
            return "two"
        return "three"

    calls = [asyncio.create_task(ask(together)) for _ in range(3)]
    while not (module._threads().statistics().tasks_waiting or any(call.done() for call in calls)):
        await asyncio.sleep(0)
    meet.abort()
    assert await asyncio.gather(*calls) == ["two"] * 3


async def test_tools_do_not_wait_for_the_threads_of_the_application() -> None:
    """Those may all be taken."""
    limiter = anyio.to_thread.current_default_thread_limiter()
    limiter.total_tokens = 1
    async with limiter:
        assert await ask(add, a=1) == "2"


def test_one_tool_in_many_loops() -> None:
    """One after another; nothing of a loop stays behind."""
    made = FunctionTool(add)
    assert [asyncio.run(made.run({"a": a}, silent)) for a in range(3)] == ["1", "2", "3"]


# ---- how it ends


class Odd(Exception):
    """The user's own."""


@pytest.mark.parametrize(
    "error", [Odd("x"), ToolError("in words"), TimeoutError(), KeyError("k"), StopAsyncIteration()]
)
async def test_exceptions_pass_through(error: Exception) -> None:
    """The loop tells the model; here they are what they were, with their traceback."""

    def fails() -> None:
        raise error

    async def fails_later() -> None:
        raise error

    for function in (fails, fails_later):
        with pytest.raises(type(error)) as raised:
            await ask(function)
        assert raised.value is error
        assert function.__name__ in [entry.name for entry in raised.traceback]


async def test_cancelling_an_async_function() -> None:
    """It is told, and may clean up."""
    entered, cleaned = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        try:
            entered.set()
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    call = asyncio.create_task(ask(waits))
    await entered.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert cleaned.is_set()


async def test_cancelling_a_sync_function_does_not_wait_for_it() -> None:
    """The thread is left to itself, and what it says afterwards is not heard."""
    entered, release, left = threading.Event(), threading.Event(), threading.Event()
    heard: list[float] = []

    def blocks(report: Report) -> None:
        report(1, None, "")
        entered.set()
        release.wait(30)
        report(2, None, "")
        left.set()

    call = asyncio.create_task(FunctionTool(blocks).run({}, lambda progress, total, message: heard.append(progress)))
    await asyncio.to_thread(entered.wait, 30)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not left.is_set()
    release.set()
    await asyncio.to_thread(left.wait, 30)
    await asyncio.sleep(0)
    assert heard == [1]


# ---- progress


async def test_progress() -> None:
    """A parameter with the type Report is not the model's; from a thread, too, the loop's side is called on the loop."""
    heard: list[object] = []

    def listen(progress: float, total: float | None, message: str) -> None:
        heard.append((progress, total, message, asyncio.current_task() is not None or threading.get_ident() == home))

    async def slowly(a: int, report: Report) -> int:
        report(a, 2, "half")
        return a

    def in_a_thread(a: int, *, report: Report | None = None) -> int:
        if report is not None:
            report(a, None, "")
        return a

    home = threading.get_ident()
    for function in (slowly, in_a_thread):
        made = FunctionTool(function)
        assert names(made) == ["a"]
        assert await made.run({"a": 1}, listen) == "1"
    assert heard == [(1, 2, "half", True), (1, None, "", True)]
    assert in_a_thread(1) == 1
    with pytest.raises(ToolError, match="unknown argument `report`"):
        await ask(in_a_thread, a=1, report=1)


def with_parts() -> Text:
    return Text("a")


def with_bytes() -> bytes:
    return b""


async def test_parts_come_through() -> None:
    """What the function returns goes through the conversion of results."""
    assert await ask(with_parts) == [Text("a")]
    with pytest.raises(ToolError, match="with_bytes must return text"):
        await ask(with_bytes)
