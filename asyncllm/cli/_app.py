"""The commands and their options. What they do is imported when they are run, so that `--help` is quick."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from .._version import __version__
from ..events import ConnectionFailedError
from ._exits import EPILOG, reported

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # it would show local variables, and one of them may be a key
    rich_markup_mode=None,
    epilog=EPILOG,
    help="Stream from any language model.",
)

Model = Annotated[str | None, typer.Option("--model", "-m", metavar="PROVIDER/MODEL", help="Whom to ask.")]
Provider = Annotated[str | None, typer.Option("--model", "-m", metavar="PROVIDER", help="Whose models.")]
BaseURL = Annotated[str | None, typer.Option("--base-url", metavar="URL", help="Another endpoint of the same wire.")]
APIKey = Annotated[str | None, typer.Option("--api-key", metavar="KEY", help="Better: the environment variable.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"asyncllm {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
]


@app.callback()
def _globals(
    context: typer.Context,
    version: Version = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print the trace of an error.")] = False,
) -> None:
    context.obj = debug


@app.command(epilog=EPILOG)
def chat(
    context: typer.Context,
    prompt: Annotated[str | None, typer.Argument(metavar="PROMPT", help="The question; `-` or a pipe: stdin.")] = None,
    model: Model = None,
    system: Annotated[str | None, typer.Option(help="Instructions that go before the conversation.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="The longest answer.")] = None,
    temperature: Annotated[float | None, typer.Option(help="From 0 to 2.")] = None,
    reasoning: Annotated[
        str | None, typer.Option(help="How much to think: none, minimal, low, medium, high, ...")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for the whole call.")] = None,
    base_url: BaseURL = None,
    api_key: APIKey = None,
    cwd: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where a coding agent works; by default, here.")
    ] = None,
    isolated: Annotated[
        bool, typer.Option("--isolated", help="A coding agent without your configuration, in a HOME of its own.")
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-o",
            metavar="NAME=VALUE",
            help="An option of the backend, its value in JSON or text. Repeatable.",
        ),
    ] = None,
    mcp: Annotated[
        list[str] | None,
        typer.Option(
            "--mcp", metavar="[NAME=]URL|COMMAND", help="An MCP server whose tools may be called. Repeatable."
        ),
    ] = None,
    mcp_header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]HEADER", help="'Name: value' for such a server; ${VARIABLE}: from the environment."
        ),
    ] = None,
    tool: Annotated[
        list[str] | None,
        typer.Option(
            "--tool", metavar="MODULE:FUNCTION", help="A Python function, or path/to/file.py:function. Repeatable."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Call tools without asking.")] = False,
    max_steps: Annotated[int, typer.Option(min=1, help="Answers of the model, tools between them.")] = 100,
    schema: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The answer is JSON for the JSON Schema in this file.")
    ] = None,
    history: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Go on with the conversation in this file, and keep it there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one event a line.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours (as does the variable NO_COLOR).")] = False,
) -> None:
    """Ask a model, and see its answer as it comes.

    Without a prompt, on a terminal: a conversation, until an empty line or Ctrl-D (/help tells more). Without a model: that of
    the first provider whose key is in the environment, else a local Ollama's, else a demo. Each call of a tool is asked for on
    the terminal, unless --yes.
    """
    from .._client import Client
    from . import _chat
    from ._agents import backend_options
    from ._background import Background
    from ._choose import choose
    from ._interrupts import listening
    from ._setup import Setup
    from ._terminal import Screen

    given: dict[str, Any] = {
        "system": system,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "reasoning": reasoning,
        "timeout": timeout,
    }
    options = {name: value for name, value in given.items() if value is not None}
    screen = Screen(color=not no_color)
    if as_json:
        screen.asks_on_out = False
    with reported(debug=context.obj):
        setup = Setup(tool or (), mcp or (), mcp_header or (), schema=schema, max_steps=max_steps, yes=yes)
        options = {**backend_options(option or (), cwd=cwd, isolated=isolated), **options}
        past = _chat.History(history)
        question = _chat.question_from(prompt)
        with listening(), contextlib.closing(Background()) as thread:
            if model is None:
                model, why = thread.run(lambda: choose(base_url=base_url, api_key=api_key))
                screen.note(f"{model}: {why}")
            client = Client(model, base_url=base_url, api_key=api_key, **options)
            try:
                chat = setup.chat(thread, client, screen, past, as_json=as_json)
                with chat.connected(setup.servers, quiet=as_json):
                    if question is None:
                        chat.converse(debug=context.obj)
                    elif chat.ask(question).stopped is not None:
                        raise typer.Exit(1)
            finally:
                thread.run(client.aclose)


@app.command(epilog=EPILOG)
def models(
    context: typer.Context,
    provider: Provider = None,
    base_url: BaseURL = None,
    api_key: APIKey = None,
) -> None:
    """List the models of a provider, by default of the one that `chat` would ask."""
    from ._choose import choose
    from ._models import list_models
    from ._terminal import one_line

    with reported(debug=context.obj), asyncio.Runner() as runner:
        if provider is None:
            provider = "openai-compatible" if base_url is not None else runner.run(choose())[0]
        name = provider.partition("/")[0]
        for model in runner.run(list_models(name, base_url=base_url, api_key=api_key)):
            typer.echo(f"{name}/{one_line(model)}")


@app.command()
def providers(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the providers and the coding agents, the variables that hold their keys, and whether those are set."""
    from ._providers import print_providers

    with reported(debug=context.obj):
        print_providers(as_json=as_json)


@app.command()
def doctor(context: typer.Context, model: Model = None) -> None:
    """Check this machine: versions, keys, network, limits, coding agents, and a tiny request to the demo model (and to -m).

    The exit code is 1 if a check fails.
    """
    from ._doctor import run_doctor

    with reported(debug=context.obj):
        good = run_doctor(model)
    if not good:
        raise typer.Exit(1)


@app.command()
def serve(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any free one.")] = 8080,
) -> None:
    """Serve the demo models over the OpenAI chat wire, until Ctrl-C."""
    from ..testing.__main__ import main as serve_demo

    with reported(debug=context.obj):
        try:
            serve_demo(["--port", str(port)])
        except OSError as error:
            raise ConnectionFailedError(
                f"cannot listen on port {port}: {error.strerror or error}; take another --port"
            ) from error
