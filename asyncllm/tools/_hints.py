"""The types of a function's parameters: its annotations, evaluated where the function was written."""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

from ..events import InvalidRequestError


def underlying(function: Callable[..., object]) -> Callable[..., object]:
    """The plain function below partials, methods, callable objects and decorators that say what they wrap."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif (wrapped := getattr(function, "__wrapped__", None)) is not None:
            function = wrapped
        elif not isinstance(function, types.FunctionType | type) and (call := call_of(function)) is not None:
            function = call
        else:
            return function


def call_of(function: object) -> types.FunctionType | None:
    """What is run when an object is called, where its class says that in Python."""
    call = getattr(type(function), "__call__", None)  # noqa: B004 - not whether there is one, but which
    return call if isinstance(call, types.FunctionType) else None


def type_hint(function: Callable[..., object], parameter: inspect.Parameter, where: str) -> Any:
    """The type of a parameter, `Any` where it has no annotation.

    Names are looked up in the module of the function, and for a function in a function in the ones around it, as long as
    they run: a tool is best made where it is written. Raises InvalidRequestError for what cannot be evaluated.
    """
    if parameter.annotation is inspect.Parameter.empty:
        return Any
    origin = underlying(function)
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        hints = typing.get_type_hints(holder, getattr(origin, "__globals__", {}), _around(origin), include_extras=True)
    except Exception as error:  # an annotation is an expression, which may raise anything
        raise InvalidRequestError(
            f"{where}: parameter {parameter.name!r} has an annotation that cannot be evaluated: {error} "
            "(names that only type checkers import, and local ones of a function that has returned, are not there)"
        ) from error
    return hints[parameter.name]


def _around(function: Callable[..., object]) -> dict[str, Any]:
    """The names that a nested function sees: what it closes over, and the locals of the scopes around it that still run."""
    names: dict[str, Any] = {each.__name__: each for each in getattr(function, "__type_params__", ())}
    if not isinstance(function, types.FunctionType):
        return names
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # not bound yet
            pass
    frame: types.FrameType | None = sys._getframe(1) if "." in function.__qualname__ else None
    while frame is not None:
        scope = f"{frame.f_code.co_qualname}."
        if frame.f_globals is function.__globals__ and function.__qualname__.startswith(scope):
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names
