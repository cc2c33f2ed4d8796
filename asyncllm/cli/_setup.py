"""What the options of `chat` ask for, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from .._client import Client
from .._output import OutputSpec
from ..events import InvalidRequestError
from ..tools import RunnableTool, Toolset
from ._approve import Approver, require_terminal
from ._background import Background
from ._chat import Chat, History
from ._render import JSONView, OutputView, TextView, View
from ._terminal import Screen
from ._tools import function_tool, servers


class Setup:
    """Raises InvalidRequestError for what cannot be."""

    def __init__(
        self,
        tools: Sequence[str],
        targets: Sequence[str],
        headers: Sequence[str],
        *,
        schema: Path | None,
        max_steps: int,
        yes: bool,
    ) -> None:
        self._asks = bool(tools or targets) and not yes
        if self._asks:
            require_terminal()
        found = servers(targets, headers)
        self._tools: list[RunnableTool | Toolset] = [*map(function_tool, tools), *found]
        self.servers = [server.name for server in found]
        self._options: dict[str, Any] = {"max_steps": max_steps}
        if schema is not None:
            self._options["output"] = schema_from(schema)

    def chat(self, thread: Background, client: Client, screen: Screen, history: History, *, as_json: bool) -> Chat:
        approver = Approver(screen, self._server_of) if self._asks else None

        def make_view() -> View:
            if as_json:
                return JSONView()
            return (OutputView if "output" in self._options else TextView)(screen, approver)

        return Chat(
            thread,
            client,
            screen,
            make_view,
            history=history,
            tools=self._tools,
            approver=approver,
            options=self._options,
        )

    def _server_of(self, tool: str) -> str | None:
        """The server that a name was made for: it begins with the server's, or else it is a function's."""
        return max((name for name in self.servers if tool.startswith(f"{name}__")), key=len, default=None)


def schema_from(file: Path) -> dict[str, object]:
    """The JSON Schema in a file. Raises InvalidRequestError with its name."""
    try:
        schema = msgspec.json.decode(file.read_bytes(), type=dict[str, object])
        OutputSpec(schema)
    except OSError as error:
        raise InvalidRequestError(f"--schema {file}: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise InvalidRequestError(f"--schema {file}: is not the JSON of a schema: {error}") from error
    except InvalidRequestError as error:
        raise InvalidRequestError(f"--schema {file}: {error.message}") from error
    return schema
