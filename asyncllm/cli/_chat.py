"""`asyncllm chat`: one question, or a conversation on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence

from .._client import Client
from ..events import InvalidRequestError, LLMError, Message, Reply
from ._exits import report
from ._render import JSONView, TextView, View
from ._terminal import Screen

MakeView = Callable[[], View]


def question_from(prompt: str | None) -> str | None:
    """The prompt with what is piped in; None where a terminal can be asked instead."""
    terminal = sys.stdin is not None and sys.stdin.isatty()
    pieces = [] if prompt is None or prompt == "-" else [prompt]
    if sys.stdin is not None and (prompt == "-" or not terminal):
        pieces.append(sys.stdin.buffer.read().decode("utf-8", "replace").rstrip())
    question = "\n\n".join(piece for piece in pieces if piece.strip())
    if not question and (prompt is not None or not terminal):
        raise InvalidRequestError("there is no prompt: give one as an argument or on stdin")
    return question or None


def view_maker(screen: Screen, *, as_json: bool) -> MakeView:
    return JSONView if as_json else lambda: TextView(screen)


def one_question(runner: asyncio.Runner, client: Client, question: str, make_view: MakeView) -> None:
    runner.run(_turn(client, [Message("user", question)], make_view()))


def conversation(
    runner: asyncio.Runner, client: Client, make_view: MakeView, *, debug: bool, prompt_on_stdout: bool
) -> None:
    """Ask until an empty line or Ctrl-D. A question that fails is told and forgotten."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # gives input() its line editing

    history: Sequence[Message] = ()
    while question := _input(prompt_on_stdout):
        try:
            reply = runner.run(_turn(client, [*history, Message("user", question)], make_view()))
        except LLMError as error:
            report(error, debug=debug)
        else:
            history = reply.messages


def _input(prompt_on_stdout: bool) -> str:
    """A line from the terminal; "" at its end."""
    prompt = "> "
    if not prompt_on_stdout:
        print(prompt, end="", file=sys.stderr, flush=True)
        prompt = ""
    try:
        return input(prompt).strip()
    except EOFError:
        print(file=sys.stderr)
        return ""


async def _turn(client: Client, messages: Sequence[Message], view: View) -> Reply[object]:
    """One answer, shown as it comes. Raises the error with which it ends."""
    reply: Reply[object] | None = None
    # not `async with client.stream()`, which would hold the retries back until something came of them
    async with contextlib.aclosing(client.stream(messages)) as stream:
        try:
            async for batch in stream.batches():
                view.show(batch)
            reply = stream.partial
            return reply
        except LLMError as error:
            view.fail(error)
            raise
        finally:
            view.end(reply)
