"""The shape of the library: arrows point down, pure files stay pure, and every public name is there once."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import asyncllm

ROOT = Path(asyncllm.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LAYERS = ("events", "transports", "protocols", "backends", "tools")
ALLOWED = {
    "events": {"events"},
    "transports": {"events", "transports"},
    "protocols": {"events", "protocols"},
    "backends": {"events", "transports", "protocols", "backends", "testing", "_version"},
    "tools": {"events", "transports", "protocols", "tools", "_schema", "_strict", "_version"},
}
"""What each layer may import of ours. (backends: `demo/` runs the embedded server, and imports it when it is asked for.)"""

FRAMERS = {"_frames.py", "_sse.py", "_jsonl.py", "_eventstream.py", "_sniff.py"}
PURE = [
    path
    for path in FILES
    if path.relative_to(ROOT).parts[0] in ("events", "protocols")
    or (path.relative_to(ROOT).parts[0] == "transports" and path.name in FRAMERS)
]
name_of = {path: str(path.relative_to(ROOT)) for path in FILES}


def imports(path: Path, *, at_runtime: bool = False) -> Iterator[str]:
    """The absolute names of the modules that a file imports; `at_runtime`: only when it is imported itself."""
    package = ["asyncllm", *path.relative_to(ROOT).parent.parts]
    tree = ast.parse(path.read_text())
    nodes = list(_eager(tree)) if at_runtime else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            if node.module is None or module == "asyncllm":
                yield from (f"{module}.{alias.name}" for alias in node.names)
            else:
                yield module


def _eager(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _eager(node)


def ours(path: Path) -> set[str]:
    """The parts of asyncllm that a file imports, by the first name below it."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("asyncllm.")}


@pytest.mark.parametrize("path", [path for path in FILES if path.relative_to(ROOT).parts[0] in LAYERS], ids=name_of.get)
def test_arrows_point_down(path: Path) -> None:
    """A file of a layer imports its own layer and those below it, and nothing of what stands on top."""
    assert ours(path) <= ALLOWED[path.relative_to(ROOT).parts[0]]
    assert "asyncllm" not in set(imports(path))


@pytest.mark.parametrize("path", [path for path in FILES if path.parent == ROOT / "events"], ids=name_of.get)
def test_events_need_nothing_but_msgspec(path: Path) -> None:
    """The vocabulary imports the standard library and msgspec."""
    foreign = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names)
    assert foreign <= {"msgspec", "asyncllm"}


@pytest.mark.parametrize("path", PURE, ids=name_of.get)
def test_pure_files_are_pure(path: Path) -> None:
    """What does not await lives in a file that cannot: no async, no I/O library, no thread."""
    asynchronous = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    assert not [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, asynchronous)]
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & {
        "asyncio",
        "anyio",
        "httpx",
        "httpx2",
        "socket",
        "ssl",
        "threading",
        "subprocess",
        "urllib",
        "os",
    }


def test_pure_files_are_found() -> None:
    """The list of pure files is not empty by mistake."""
    assert {path.name for path in PURE} >= {*FRAMERS, "_fold.py", "_decode.py", "_encode.py", "_classify.py"}


@pytest.mark.parametrize("path", FILES, ids=name_of.get)
def test_files_are_short(path: Path) -> None:
    """No file above 450 lines."""
    assert len(path.read_text().splitlines()) <= 450


# ---- the public names


def type_checking_names() -> set[str]:
    """What the TYPE_CHECKING block of the package imports: what type checkers see."""
    (block,) = (
        node
        for node in ast.parse((ROOT / "__init__.py").read_text()).body
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    )
    return {
        f"{node.module}.{alias.asname or alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_the_three_lists_of_names_agree() -> None:
    """__all__, the lazy homes, and what type checkers see."""
    elsewhere = {name: home for home, names in asyncllm._HOMES.items() for name in names}
    homes = {f"{elsewhere.get(name, 'events')}.{name}" for name in asyncllm.__all__ if name != "__version__"}
    assert type_checking_names() == homes
    assert set(elsewhere) <= set(asyncllm.__all__)
    assert len(set(asyncllm.__all__)) == len(asyncllm.__all__)


@pytest.mark.parametrize("name", asyncllm.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    """It resolves to the thing of its home, `dir()` shows it, and classes and functions have a docstring of their own."""
    value = getattr(asyncllm, name)
    assert name in dir(asyncllm)
    home = next((home for home, names in asyncllm._HOMES.items() if name in names), "events")
    assert name == "__version__" or getattr(importlib.import_module(f"asyncllm.{home}"), name) is value
    if inspect.isclass(value):
        assert "__doc__" in vars(value)
        assert value.__doc__
        assert not value.__doc__.startswith(f"{name}(")  # what dataclasses make up
    elif inspect.isfunction(value):
        assert value.__doc__


@pytest.mark.parametrize("package", ["events", "transports", "protocols", "backends", "protocols.openai_chat"])
def test_packages_export_what_they_say(package: str) -> None:
    """Each __all__ is sorted without doubles, and each name resolves."""
    module = importlib.import_module(f"asyncllm.{package}")
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_a_name_that_is_not_there() -> None:
    """A plain AttributeError that names both."""
    for module in (asyncllm, importlib.import_module("asyncllm.transports")):
        with pytest.raises(AttributeError, match="hologram"):
            module.hologram  # noqa: B018


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after this."""
    script = f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT.parent, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {
    "docstring_parser",
    "jiter",
    "mcp",
    "httpx",
    "httpx2",
    "httptools",
    "openai",
    "pydantic",
    "anyio",
    "typer",
    "rich",
    "starlette",
    "boto3",
    "google",
}


@pytest.mark.req("seed-F6")
def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import asyncllm` costs next to nothing; SDKs are imported when they are used, and so is HTTP."""
    assert not loaded_by("import asyncllm") & {*HEAVY, "msgspec", "asyncio"}
    assert not loaded_by("import asyncllm.events, asyncllm.protocols, asyncllm.transports") & HEAVY


@pytest.mark.req("seed-F6")
def test_a_client_loads_no_sdk() -> None:
    """Only what a request needs."""
    sdks = HEAVY - {"httpx2", "httptools", "anyio"}
    assert not loaded_by("from asyncllm import Client; Client('openai/x', api_key='k')") & sdks
