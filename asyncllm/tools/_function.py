"""Python functions as tools."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from msgspec.structs import replace

from ..events import InvalidRequestError
from ..protocols import Tool
from ._content import content_of
from ._docstring import read_docstring
from ._hints import call_of, underlying
from ._signature import Signature, check_object, read_signature
from ._tool import Content, Report

if TYPE_CHECKING:
    from anyio import CapacityLimiter
    from anyio.lowlevel import RunVar

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R", covariant=True)
S = TypeVar("S")

THREADS = 40
"""Sync functions that run at once in one event loop."""


class FunctionTool(Generic[P, R]):
    """A function that a model may call, and that can still be called as it was.

    The model is told its name, its docstring, and a JSON Schema of its parameters: type hints say what they are (anything
    that msgspec or pydantic knows; no hint is any JSON), the docstring or `Annotated[int, "in days"]` what they mean. Its
    arguments are converted to these types, and the model is told where that fails. An async function is awaited in the task
    of the call; any other runs in a thread, with the context variables of the call, and goes on alone if the call is
    cancelled. A parameter with the type :data:`Report` is given the way to tell of progress.

    What it returns is what the model is told: text, :class:`Text` and :class:`Image` parts or a list of them, or whatever is
    JSON. What it raises, the model is told, too.

    Args:
        function: a function, bound method, partial or callable object. Generators, and `*args` or `**kwargs`, are refused.
        name, description: instead of its own.
        timeout: seconds for one call; None takes the limit of the run.
        strict: whether providers are asked to keep to the schema. Each parameter is required then; null takes its default.
        parameters: a JSON Schema of an object, instead of the signature's. Arguments are passed as keywords, unchecked.

    Raises:
        InvalidRequestError: for what no model can be told of; it names the function and the parameter.
    """

    __wrapped__: Callable[..., object]

    def __init__(
        self,
        function: Callable[P, R],
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
        strict: bool | None = None,
        parameters: Mapping[str, object] | None = None,
    ) -> None:
        known: Signature | None = None
        if isinstance(function, FunctionTool):  # the same function under other terms
            known, function = function._signature, cast("Callable[P, R]", function.__wrapped__)
        below = _without_partials(function)
        plain = underlying(function)
        own_name = str(getattr(below, "__name__", type(below).__name__))
        where = f"{own_name}()"
        if isinstance(function, type) or not callable(function):
            raise InvalidRequestError(f"a tool is a function, not {function!r}")
        if name is None and own_name == "<lambda>":
            raise InvalidRequestError("a lambda has no name that a model could call it by: give it one with name=")
        if _is(inspect.isgeneratorfunction, below) or _is(inspect.isasyncgenfunction, below):
            raise InvalidRequestError(
                f"{where} is a generator, and a tool gives one result: return a list, or the whole text"
            )
        self._function = function
        self._timeout = timeout
        self._is_async = _is(inspect.iscoroutinefunction, below)
        self._strict = strict
        self._signature: Signature | None = None
        doc = plain.__doc__ or (type(below).__doc__ if plain is call_of(below) else None)
        summary, descriptions = read_docstring(doc)
        if parameters is None and known is not None:
            self._signature = replace(known, strict=strict is True)
        elif parameters is None:
            self._signature = read_signature(function, where, descriptions, strict=strict is True)
        elif not isinstance(parameters, Mapping):
            raise InvalidRequestError(f"{where}: parameters must be the JSON Schema of an object")
        self._name = name or own_name
        self._description = summary if description is None else description
        self._parameters = parameters or {}
        self._spec: Tool | None = None
        functools.update_wrapper(cast("Any", self), plain, updated=())
        self.__wrapped__ = function

    @property
    def spec(self) -> Tool:
        """What the model is told of it."""
        if self._spec is None:
            parameters = self._parameters if self._signature is None else self._signature.schema()
            self._spec = Tool(self._name, self._description, parameters, self._strict)
        return self._spec

    @property
    def timeout(self) -> float | None:
        """Seconds for one call; None takes the limit of the run."""
        return self._timeout

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, without any of this."""
        return self._function(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type) -> FunctionTool[P, R]: ...

    @overload
    def __get__(
        self: FunctionTool[Concatenate[S, Q], R], instance: S, owner: type | None = None
    ) -> FunctionTool[Q, R]: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """A method, bound to its object, is a tool, too."""
        if instance is None or not isinstance(self._function, FunctionType):
            return self
        method = copy.copy(self)
        method._function = method.__wrapped__ = self._function.__get__(instance, owner)
        method._spec = None
        if self._signature is not None:
            method._signature = self._signature.without_first()
        return method

    async def run(self, arguments: dict[str, object], report: Report) -> Content:
        """Call it with what a model sent. Raises ToolError for arguments that do not fit, and whatever the function raises."""
        running = True
        loop = asyncio.get_running_loop()

        def tell(progress: float, total: float | None, message: str) -> None:
            if running:
                report(progress, total, message)

        def tell_from_thread(progress: float, total: float | None, message: str) -> None:
            loop.call_soon_threadsafe(tell, progress, total, message)

        args, kwargs = self._bind(arguments, tell if self._is_async else tell_from_thread)
        try:
            result = await self._result(functools.partial(self._function, *args, **kwargs))
        finally:
            running = False  # a thread that was given up has nothing more to say
        return content_of(result, self._name)

    def _bind(self, arguments: dict[str, object], report: Report) -> tuple[list[Any], dict[str, Any]]:
        if self._signature is not None:
            return self._signature.bind(arguments, report)
        return [], copy.deepcopy(check_object(arguments))

    async def _result(self, call: Callable[[], object]) -> object:
        if self._is_async:
            return await cast("Any", call())
        from anyio import to_thread

        result = await to_thread.run_sync(call, abandon_on_cancel=True, limiter=_threads())
        return await result if inspect.isawaitable(result) else result

    def __repr__(self) -> str:
        return f"FunctionTool({self._name!r})"


def _without_partials(function: Callable[..., object]) -> Callable[..., object]:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _is(kind: Callable[[object], bool], function: object) -> bool:
    """Whether a function, or what is run when an object is called, is of a kind."""
    return kind(function) or kind(call_of(function))


@functools.cache
def _limiters() -> RunVar[CapacityLimiter]:
    from anyio.lowlevel import RunVar

    return RunVar("asyncllm.tools")


def _threads() -> CapacityLimiter:
    """The limiter of this event loop: ours, so that tools never wait for the application's own threads, nor it for them."""
    from anyio import CapacityLimiter

    try:
        return _limiters().get()
    except LookupError:
        limiter = CapacityLimiter(THREADS)
        _limiters().set(limiter)
        return limiter


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    strict: bool | None = None,
    parameters: Mapping[str, object] | None = None,
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    strict: bool | None = None,
    parameters: Mapping[str, object] | None = None,
) -> Any:
    """Make a function a tool: `@tool`, or `@tool(name=..., timeout=...)`. See :class:`FunctionTool`."""

    def make(function: Callable[..., Any]) -> FunctionTool[..., Any]:
        return FunctionTool(function, name, description, timeout, strict, parameters)

    return make if function is None else make(function)
