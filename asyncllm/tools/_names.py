"""Names of tools that every provider accepts, and of the servers they come from. Pure: nothing here counts or remembers.

A name has letters, digits, `_` and `-`, begins with a letter or `_`, and has at most 64 characters: what OpenAI, Anthropic,
Bedrock and Gemini all take. What had to be changed or cut ends with a hash of what it was, so that two names never become
one, and so that a conversation of yesterday has the names of today.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

LONGEST = 64
"""Characters of a name."""

_LEGAL = re.compile(rf"[a-zA-Z_][a-zA-Z0-9_-]{{0,{LONGEST - 1}}}", re.ASCII)
_OTHER = re.compile(r"[^a-zA-Z0-9_-]+", re.ASCII)


def unique_name(wanted: str, taken: Container[str], identity: str) -> str:
    """`wanted` as it is where it is legal and free; else made legal, with a hash of `identity` (and of `wanted`) at its end.

    `identity` tells two things of one wanted name apart: the same every time for the same thing.
    """
    if wanted not in taken and _LEGAL.fullmatch(wanted):
        return wanted
    return _hashed(wanted, taken, f"{identity}\0{wanted}")


def wire_names(tools: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The name `server__tool` of each (server, tool), all different, whatever the order they come in."""
    wanted = {tool: "__".join(tool) for tool in tools}
    times = Counter(wanted.values())
    names = {tool: name for tool, name in wanted.items() if times[name] == 1 and _LEGAL.fullmatch(name)}
    taken = set(names.values())
    for tool in sorted(wanted.keys() - names.keys()):
        names[tool] = _hashed(wanted[tool], taken, "\0".join(tool))
        taken.add(names[tool])
    return {tool: names[tool] for tool in wanted}


def _hashed(wanted: str, taken: Container[str], seed: str) -> str:
    stem = legal(wanted)
    while True:
        digest = hashlib.sha256(seed.encode("utf-8", "surrogatepass")).hexdigest()
        name = f"{stem[: LONGEST - 9]}_{digest[:8]}"
        if name not in taken:
            return name
        seed = digest


def legal(text: str) -> str:
    """`text` with `_` for what no name may have, not cut."""
    name = _OTHER.sub("_", text) or "_"
    return name if name[0].isalpha() or name[0] == "_" else f"_{name}"


# ---- what a server is called that was given no name

_RUNNERS = {"npx", "pnpx", "bunx", "uvx", "pipx", "npm", "pnpm", "yarn", "bun", "uv", "deno", "node", "tsx", "ts-node"}
"""Programs that run the package or the file that their arguments name."""

_SUBCOMMANDS = {"run", "exec", "dlx", "tool", "x"}
_TAKES_VALUE = {
    *(
        "-p",
        "--package",
        "--from",
        "--with",
        "--with-editable",
        "--with-requirements",
        "--python",
        "--index-url",
        "--spec",
    ),
    *("--index", "--directory", "--project", "--prefix", "-C", "--extra", "--group", "--env-file", "-r", "--require"),
    *("--import", "--loader", "-X", "-W"),
}
_PYTHON = re.compile(r"(python|pypy)[\d.]*", re.IGNORECASE)
_PROGRAM = re.compile(r"\.(exe|cmd|bat|com|py|pyz|js|mjs|cjs|ts|sh|jar)$", re.IGNORECASE)
_SAYS_NOTHING = {"index", "main", "__main__", "dist", "build", "src", "lib", "bin", "out"}
_ENDPOINT = re.compile(r"mcp|sse|api|v\d+", re.IGNORECASE)


def name_of_url(url: str) -> str:
    """`http://host:8000/weather/mcp` -> `weather`; without such a path, the host."""
    parts = urlsplit(url)
    said = [segment for segment in parts.path.split("/") if segment and not _ENDPOINT.fullmatch(segment)]
    return legal(unquote(said[-1]) if said else parts.hostname or "server")


def name_of_command(command: Sequence[str]) -> str:
    """What a command runs: `uvx x` -> `x`, `npx -y @scope/server-x@1` -> `server-x`, `python path/x.py` -> `x`."""
    program = _base(command[0])
    arguments = list(command[1:])
    if _PYTHON.fullmatch(program):
        what = _of_python(arguments)
    elif program in _RUNNERS:
        what = _first(arguments)
        if what is not None and _PYTHON.fullmatch(what):  # uv run python -m x
            what = _of_python(arguments[arguments.index(what) + 1 :])
        elif what is not None and not what.startswith((".", "/")) and "@" in what[1:]:
            what = what[0] + what[1:].partition("@")[0]  # the version of a package
    else:
        what = None
    return legal(_base(what) if what else program)


def _of_python(arguments: list[str]) -> str | None:
    if "-m" in arguments[:-1] and _first(arguments) == arguments[arguments.index("-m") + 1]:
        module = arguments[arguments.index("-m") + 1]
        return module.removesuffix(".__main__").replace(".", "_")
    return None if "-c" in arguments else _first(arguments)


def _first(arguments: list[str]) -> str | None:
    """The first argument that is neither an option nor the value of one, nor a subcommand of the runner."""
    skip = False
    for at, argument in enumerate(arguments):
        if skip:
            skip = False
        elif argument.startswith("-"):
            skip = argument in _TAKES_VALUE
        elif argument not in _SUBCOMMANDS or at == len(arguments) - 1:
            return argument
    return None


def _base(path: str) -> str:
    """The last part of a path that says something, without the suffix of a program."""
    parts = [
        _PROGRAM.sub("", part) for part in PurePosixPath(path.replace("\\", "/")).parts if part not in ("/", "..", ".")
    ]
    said = [part for part in parts if part.lower() not in _SAYS_NOTHING]
    return (said or parts or [path])[-1]
