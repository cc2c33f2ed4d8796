"""`--tool`, `--mcp` and `--mcp-header`: from what is typed to what a run takes."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..events import InvalidRequestError
from ..tools import RunnableTool, Toolset

if TYPE_CHECKING:
    from ..tools._mcp import MCP

_NAMED = re.compile(r"([A-Za-z0-9_-]+)=(.+)", re.DOTALL)
_HEADER = re.compile(r"(?:([A-Za-z0-9_-]+)=)?([A-Za-z0-9!#$%&'*+.^_`|~-]+):(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$\{(\w+)\}")


# ---- functions


def function_tool(given: str) -> RunnableTool | Toolset:
    """What `module:function` or `path/to/file.py:function` names. Raises InvalidRequestError with the fix."""
    place, colon, name = given.rpartition(":")
    if not colon or not place or not name:
        raise InvalidRequestError(f"--tool {given}: write module:function or path/to/file.py:function")
    module = _module(given, place)
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            near = difflib.get_close_matches(name, names, 1) or names[:5]
            there = f"; did you mean {' or '.join(near)}?" if near else ""
            raise InvalidRequestError(f"--tool {given}: {place} has no {name}{there}") from None
    from ..protocols import Tool
    from ..tools._toolbox import tool_from

    try:
        tool = tool_from(found, name)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"--tool {given}: {error.message}") from error
    if isinstance(tool, Tool):
        raise InvalidRequestError(f"--tool {given}: is the schema of a tool, and no function that could be called")
    return tool


def _module(given: str, place: str) -> ModuleType:
    if "" not in sys.path and os.getcwd() not in sys.path:  # as for `python -m`
        sys.path.insert(0, os.getcwd())
    is_file = place.endswith(".py") or "/" in place or os.sep in place
    try:
        return _from_file(Path(place)) if is_file else importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{place}.".startswith(f"{error.name}."):
            hint = f" (a file: {place}.py:...)" if Path(f"{place}.py").exists() else ""
            raise InvalidRequestError(f"--tool {given}: there is no module {error.name}{hint}") from error
        raise InvalidRequestError(f"--tool {given}: {place} needs {error.name}, which is not installed") from error
    except FileNotFoundError as error:
        raise InvalidRequestError(f"--tool {given}: there is no file {error.filename or place}") from error
    except (Exception, SystemExit) as error:
        raise InvalidRequestError(
            f"--tool {given}: importing {place} failed: {type(error).__name__}: {error}; --debug shows where"
        ) from error


def _from_file(path: Path) -> ModuleType:
    """The module in a file, once; what lies beside it can be imported, as when it is run."""
    path = path.resolve(strict=True)
    name = path.as_posix().replace(".", "_")  # no other module has it
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is not a file of Python code")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


# ---- servers


def servers(targets: Sequence[str], headers: Sequence[str]) -> list[MCP]:
    """The servers of `--mcp`, each with those of `--mcp-header` that are for it. Raises InvalidRequestError.

    A target is a URL or a command, with `name=` before it where it is to be called that. A header is `Name: value`, with the
    name of its server and `=` before it where there are several; `${VARIABLE}` in its value is taken from the environment. No
    message has a value in it.
    """
    if not targets:
        if headers:
            raise InvalidRequestError("--mcp-header is for a server: name one with --mcp")
        return []
    if importlib.util.find_spec("mcp") is None:
        raise InvalidRequestError("--mcp needs the extra: pip install 'asyncllm[mcp]'")
    from ..tools._mcp import MCP

    named = [_named(target) for target in targets]
    given = _headers(headers, [name or MCP(target).name for name, target in named])
    made = [
        MCP(target, name=name, headers=given[at]) if at in given else MCP(target, name=name)
        for at, (name, target) in enumerate(named)
    ]
    names = [server.name for server in made]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidRequestError(f"two servers have the name {twice[0]}: name one with --mcp NAME=...")
    return made


def _named(target: str) -> tuple[str | None, str]:
    found = _NAMED.fullmatch(target)
    return (found[1], found[2].strip()) if found else (None, target)


def _headers(headers: Sequence[str], names: Sequence[str]) -> dict[int, dict[str, str]]:
    """By the place of the server."""
    given: dict[int, dict[str, str]] = {}
    for text in headers:
        found = _HEADER.fullmatch(text.strip())
        if found is None:  # what is no header may still hold a secret: it is not shown
            raise InvalidRequestError("--mcp-header: write it as 'Name: value', or as 'SERVER=Name: value'")
        whose, name, value = found.groups()
        if whose is None and len(names) > 1:
            raise InvalidRequestError(
                f"--mcp-header {name}: there are {len(names)} servers, say whose it is: '{names[0]}={name}: ...'"
            )
        if whose is not None and whose not in names:
            raise InvalidRequestError(f"--mcp-header {name}: no server is called {whose}: there are {', '.join(names)}")
        given.setdefault(names.index(whose or names[0]), {})[name] = _VARIABLE.sub(_variable, value.strip())
    return given


def _variable(found: re.Match[str]) -> str:
    if (value := os.environ.get(found[1])) is None:
        raise InvalidRequestError(f"--mcp-header: the variable {found[1]} is not set")
    return value
