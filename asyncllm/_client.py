"""The client: a model, or several, behind one way of asking."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from msgspec.structs import replace

from ._input import NAMES, CallOptions, OptionsBesideOutput, folder_from, headers_from, messages_from, request_from
from ._map import Map
from ._output import OutputSpec
from ._stream import Stream
from .backends import Backend, Failover, Retry, RetryPolicy, Settings, Timed, TokenProvider, make_backend
from .events import IncompleteStreamError, Input, InvalidRequestError, Reply, Session
from .protocols import Request

if TYPE_CHECKING:
    import os

    import httpx2

    from ._prompt_options import OptionsOfPrompt
    from ._query_result import PromptMetadata, QueryResult
    from ._run import Run
    from ._run_options import OptionsOfRun
    from .tools import Kept
    from .transports import FastTransport

T = TypeVar("T")
S = TypeVar("S", bound=Stream[Any])


class Client:
    """Streams from a model.

        async with Client("openai/gpt-5-mini") as client:
            stream = await client.stream("Why is the sky blue?")

    Args:
        model: "provider/model", a backend of your own, or a list of them: where one fails before any content of an answer,
            the next is asked.
        api_key, token_provider: the credentials; by default the provider's environment variable. A token provider, sync or
            async, is asked afresh for every request.
        base_url: another endpoint of the same wire.
        http_client: your own ``httpx2.AsyncClient``; an ``AsyncOpenAI`` / ``AsyncAzureOpenAI`` whose endpoint, credentials and
            proxies are used; or a ``genai.Client``, whose endpoint, headers and credentials are. Yours to close.
        retry: how many times a call that failed before its first content is repeated, or a :class:`RetryPolicy`; what of it
            holds for :meth:`prompt` is said there.
        limits: of our connection pool (``httpx2.Limits``).
        extra_headers: sent with every request.
        dump_failed: a directory in which each failed request is kept as a JSON file for its reader to find out why: messages,
            tools, options and the error, without credentials and images. Private files of at most 1 MB; the last 200.
        log_dir: a directory to whose log each :meth:`prompt` appends its transcript.
        options: defaults for every call (see :class:`CallOptions`): `system`, `timeout`, `max_tokens`, `temperature`, `tools`
            and so on. And options of the backend (for example `resource=` for azure, `think_tags=True` for a server that
            leaves reasoning in the text).

    It logs as `asyncllm.*`: `logging.getLogger("asyncllm").setLevel(...)` sets the level for all of it.

    One client may serve any number of streams at once, and one event loop after another. It is closed by its block or by
    :meth:`aclose`.
    """

    def __init__(
        self,
        model: str | Backend | Sequence[str | Backend],
        *,
        api_key: str | None = None,
        token_provider: TokenProvider | None = None,
        base_url: str | None = None,
        http_client: object = None,
        retry: int | RetryPolicy = 2,
        limits: httpx2.Limits | None = None,
        extra_headers: Mapping[str, str] | None = None,
        dump_failed: str | os.PathLike[str] | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        self._limits = limits
        self._owned: httpx2.AsyncClient | FastTransport | None = None
        self._given: httpx2.AsyncClient | None = None
        self._maps: weakref.WeakSet[Map[Any]] = weakref.WeakSet()
        self._streams: weakref.WeakSet[Stream[Any]] = weakref.WeakSet()
        self._kept: Kept | None = None
        sdk_client = None
        if http_client is not None:
            import httpx2

            from .backends._sdk import sdk_of

            if isinstance(http_client, httpx2.AsyncClient):
                self._given = http_client
            elif sdk_of(http_client) is not None:
                sdk_client = http_client
            else:
                kind = type(http_client).__name__
                raise InvalidRequestError(
                    f"http_client: {kind} is neither an httpx2.AsyncClient nor an SDK's client (AsyncOpenAI, genai.Client)"
                )
        ours = (
            NAMES if isinstance(options.get("session"), Session | bytes | None) else NAMES - {"session"}
        )  # else it is AWS's
        self._defaults = CallOptions(**{name: options.pop(name) for name in list(options) if name in ours})  # type: ignore[typeddict-item]
        settings = Settings(
            http=self._http,
            sdk_client=sdk_client,
            api_key=api_key,
            token_provider=token_provider,
            base_url=base_url,
            headers=headers_from(extra_headers),
            options=options,
        )
        self._retry = retry
        self._dump_failed = folder_from("dump_failed", dump_failed)
        self._log_dir = folder_from("log_dir", log_dir)
        self.last_metadata: PromptMetadata | None = None
        """Of the :meth:`prompt` that ended last, however it ended: model, tools, usage, turns. None before the first."""
        policy = RetryPolicy.of(retry)
        specs = [model] if isinstance(model, str) or not isinstance(model, Sequence) else list(model)
        if not specs:
            raise InvalidRequestError("a client needs at least one model")
        self._targets = [self._target(spec, settings) for spec in specs]
        self.model = self._targets[0][1]
        self._backend = self._backend_with(policy)
        self._check(self._defaults)

    def _check(self, defaults: CallOptions) -> None:
        """Wrong defaults are told here, not at the first call."""
        if tools := defaults.get("tools"):
            from .tools import Toolbox

            Toolbox(tools)
        self._request("check", None, {"tools": ()})

    @staticmethod
    def _target(spec: str | Backend, settings: Settings) -> tuple[Backend, str]:
        if isinstance(spec, str):
            backend, model = make_backend(spec, settings)
        elif hasattr(spec, "stream"):
            backend, model = spec, spec.name
        else:
            raise InvalidRequestError(f"model must be 'provider/model' or a backend, not {type(spec).__name__}")
        return Timed(backend), model

    def _backend_with(self, policy: RetryPolicy) -> Backend:
        targets = [(Retry(backend, policy), model) for backend, model in self._targets]
        return targets[0][0] if len(targets) == 1 else Failover(targets)

    def _asked(self, options: dict[str, Any], policy: RetryPolicy | None = None, *, earlier: int = 0) -> Backend:
        """Who is asked in a call with these options, and told of failures where that is wanted, after `earlier` ones."""
        backend = self._backend if policy is None else self._backend_with(policy)
        folder = folder_from("dump_failed", options.get("dump_failed", self._dump_failed))
        if folder is None:
            return backend
        from .backends._dump import Dumping

        return Dumping(backend, folder, earlier=earlier)

    def __repr__(self) -> str:
        return f"Client({self.provider}/{self.model})"

    @property
    def provider(self) -> str:
        return self._backend.name

    def _http(self) -> httpx2.AsyncClient | FastTransport:
        """What carries requests: the user's client, or ours, made for the first request.

        Our transport is used as it is; where a proxy is configured, httpx2's own does the work, through its client.
        """
        if self._given is not None:
            return self._given
        if self._owned is None:
            from .transports import DEFAULT_LIMITS, FastTransport, fallback_reason, http_client

            if fallback_reason() is None:
                self._owned = FastTransport(limits=self._limits or DEFAULT_LIMITS)
            else:
                self._owned = http_client(limits=self._limits)
        return self._owned

    @overload
    def stream(self, input: Input, *, output: type[T], **options: Unpack[OptionsBesideOutput]) -> Stream[T]: ...
    @overload
    def stream(
        self, input: Input, *, output: Mapping[str, object] | None = None, **options: Unpack[OptionsBesideOutput]
    ) -> Stream[object]: ...
    def stream(self, input: Input, *, output: Any = None, **options: Any) -> Stream[Any]:
        """Ask, and have the answer as it comes: ``await`` it or use it with ``async with`` (see :class:`Stream`).

        Raises :class:`InvalidRequestError` at once for input and options that make no sense; every other error comes where
        the stream is awaited, entered or iterated.
        """
        backend = self._asked(options)
        request, spec = self._request(input, output, options)
        return self._known(Stream(backend, request, output=spec))

    def _known(self, stream: S) -> S:
        """It breaks when the client is closed, whatever it waits for."""
        self._streams.add(stream)
        return stream

    def _request(self, input: Input, output: Any, options: Mapping[str, Any]) -> tuple[Request, OutputSpec | None]:
        merged = CallOptions(**{**self._defaults, **options, **({"output": output} if output is not None else {})})  # type: ignore[typeddict-item]
        input, merged["session"] = self._going_on(input, merged.get("session"))
        return request_from(self.model, input, merged)

    def _going_on(self, input: Input, session: object) -> tuple[Input, Session | None]:
        """The conversation that goes on, and where an agent keeps it."""
        if session is None:
            return input, getattr(input, "session", None)  # of a Conversation
        if isinstance(session, bytes):
            from ._conversation import Conversation

            before = Conversation.from_json(session)
            return [*before, *messages_from(input)], before.session
        known = [backend.name for backend, _ in self._targets]
        if isinstance(session, Session) and session.backend not in known:
            raise InvalidRequestError(f"this session is one of {session.backend}, not of {' or '.join(known)}")
        return input, session  # type: ignore[return-value]  # what it is is checked with the other options

    def _whole(self, backend: Backend, request: Request, spec: OutputSpec | None) -> Stream[Any]:
        """For who wants the whole answer: one that is not what `output=` asks for may be mended, as in a run."""
        if spec is None:
            return self._known(Stream(backend, request))
        from ._run import Run
        from ._run_options import RunOptions
        from .tools import Toolbox

        return self._known(Run(backend, request, Toolbox(request.tools), RunOptions(), output=spec))

    @overload
    def run(self, input: Input, *, output: type[T], **options: Unpack[OptionsOfRun]) -> Run[T]: ...
    @overload
    def run(
        self, input: Input, *, output: Mapping[str, object] | None = None, **options: Unpack[OptionsOfRun]
    ) -> Run[object]: ...
    def run(self, input: Input, *, output: Any = None, **options: Any) -> Run[Any]:
        """Ask, make the calls that the model asks for, tell it their results, and so on until it is done.

            async with client.run("Rain in Oslo?", tools=[weather, MCP("http://127.0.0.1:8000/mcp")]) as stream:
                reply = await stream.reply()

        One :class:`Stream` of all steps (see :class:`Run`). `tools` are Python functions and MCP servers, which are run here,
        and schemas of tools that only you can execute: when the model calls one of those, the run ends with ``Stopped``, and
        goes on where it was when it is run again with `reply.messages` and your ToolResults. So does one that ended at
        `max_steps` or by `stop_when`. Calls of one step run at once. What goes wrong with a call is told to the model, and
        the run goes on.

        `timeout.total` limits the whole run, the other limits each answer of the model, `tool_timeout` each call.
        `tool_choice` is for the first step. An answer that is not what `output=` asks for may be mended once. What else
        there is: :class:`RunOptions`.

        Raises :class:`InvalidRequestError` at once for what makes no sense; where the stream is awaited, entered or iterated,
        the error of a server that cannot be reached, before anything is sent to the model, and what `approve` and `stop_when`
        raise.
        """
        return self._run(self._asked(options), input, output, options)

    def _run(
        self, backend: Backend, input: Input, output: Any, options: dict[str, Any], kept: Kept | None = None
    ) -> Run[Any]:
        """`kept` keeps the servers among the tools of this call, if they are to be; those of the client it keeps itself."""
        from ._repair import repaired
        from ._run import Run
        from ._run_options import take_run_options
        from .tools import Kept, Toolbox

        plan = take_run_options(options)
        tools = options.pop("tools", None)
        if tools is None:
            tools = self._defaults.get("tools")
            kept = self._kept = self._kept or Kept()
        request, spec = self._request(input, output, {**options, "tools": ()})
        messages, notes = repaired(request.messages)
        run: Run[Any] = Run(
            backend,
            replace(request, messages=messages),
            Toolbox(tools, kept),
            plan,
            output=spec,
            notes=notes,
        )
        return self._known(run)

    @overload
    async def complete(self, input: Input, *, output: type[T], **options: Unpack[OptionsBesideOutput]) -> Reply[T]: ...
    @overload
    async def complete(
        self, input: Input, *, output: Mapping[str, object] | None = None, **options: Unpack[OptionsBesideOutput]
    ) -> Reply[object]: ...
    async def complete(self, input: Input, *, output: Any = None, **options: Any) -> Reply[Any]:
        """Ask, and have the whole answer: the fold of :meth:`stream`.

        An answer that is not what `output=` asks for may be mended once; then InvalidOutputError has its text.
        """
        async with self._whole(self._asked(options), *self._request(input, output, options)) as stream:
            return await stream.reply()

    @overload
    async def prompt(self, input: Input, *, output: type[T], **options: Unpack[OptionsOfPrompt]) -> QueryResult[T]: ...
    @overload
    async def prompt(
        self, input: Input, *, output: Mapping[str, object] | None = None, **options: Unpack[OptionsOfPrompt]
    ) -> QueryResult[object]: ...
    async def prompt(self, input: Input, *, output: Any = None, **options: Any) -> QueryResult[Any]:
        """Have something done: :meth:`run`, with patience, and one result of one shape whatever happened.

            result = await client.prompt("Rain in Oslo?", tools=[MCP("http://127.0.0.1:8000/weather/mcp")])
            print(result.result if result.success else result.stderr)

        What fails is tried again, from where it was: no tool is run twice. `retry`, here or in the client, says how often:

        - server errors, timeouts, broken connections and streams: after what the provider asks for, else min(5*2^n, 60)
          seconds (a :class:`RetryPolicy` has waits of its own); unknown errors: at once;
        - an answer that was cut at `max_tokens` (16000, unless the client or the call says): once;
        - no answer at all to the user's message: three times, after a second. It may be the answer, after that.

        Then the :class:`QueryResult` has `success=False`, the error, and what there was. Raised are rate limits, refused
        credentials and permissions, billing, invalid requests (a context that is too long among them) and blocked content,
        with `.partial`; and what `approve`, `stop_when` and `on_event` raise. `retry=0` tries nothing again.

        `timeout.total` limits all of it. What else there is: :class:`OptionsOfPrompt`.
        """
        from ._prompt import Prompting
        from ._prompt_options import MAX_TOKENS, take_prompt_options
        from .tools import Kept

        plan = take_prompt_options(options, retry=self._retry, log_dir=self._log_dir)
        if "max_tokens" not in self._defaults:
            options.setdefault("max_tokens", MAX_TOKENS)

        def backend_for(earlier: int) -> Backend:
            return self._asked(options, plan.within, earlier=earlier)

        kept = Kept()
        run = self._run(backend_for(0), input, output, options, kept)
        prompting = Prompting(run, plan, backend_for, self._known)
        try:
            return await prompting.result()
        finally:
            self.last_metadata = prompting.metadata
            await kept.close()

    @overload
    def map(
        self,
        inputs: Iterable[Input] | AsyncIterable[Input],
        *,
        output: type[T],
        concurrency: int = 16,
        **options: Unpack[OptionsBesideOutput],
    ) -> Map[T]: ...
    @overload
    def map(
        self,
        inputs: Iterable[Input] | AsyncIterable[Input],
        *,
        output: Mapping[str, object] | None = None,
        concurrency: int = 16,
        **options: Unpack[OptionsBesideOutput],
    ) -> Map[object]: ...
    def map(
        self,
        inputs: Iterable[Input] | AsyncIterable[Input],
        *,
        output: Any = None,
        concurrency: int = 16,
        **options: Any,
    ) -> Map[Any]:
        """Ask for each of many inputs, `concurrency` at once, and have the results as they finish (see :class:`Map`).

        The options, retries and timeouts are those of each call. Inputs are taken one by one, as calls can be started, from
        anything that can be iterated, without end or not: while `concurrency` results wait to be read no call is started, so
        less than twice as many inputs are ever on their way. A plain iterator is advanced in the event loop, and must not
        block it.

        Raises :class:`InvalidRequestError` at once for options that make no sense, before anything is sent. An input that
        makes none is an error in its result.
        """
        backend = self._asked(options)
        request, spec = self._request("", output, options)

        async def ask(input: Input) -> Reply[Any]:
            async with self._whole(backend, replace(request, messages=messages_from(input)), spec) as stream:
                return await stream.reply()

        results = Map(ask, inputs, concurrency=concurrency)
        self._maps.add(results)
        return results

    async def aclose(self) -> None:
        """Close all connections. Streams and maps that are still open break."""
        try:
            for results in list(self._maps):
                await results._break(
                    IncompleteStreamError("the client was closed before the end of the map", retryable=False)
                )
            why = "the client was closed before the end of the stream"
            broken = [stream._break(IncompleteStreamError(why, retryable=False)) for stream in self._streams]
            if len(broken) > 1:
                await asyncio.gather(*broken)  # at once: an agent has two seconds to stop
            elif broken:
                await broken[0]  # also under trio, whose calls have failed for want of asyncio
            if self._kept is not None:
                await self._kept.close()
            await self._backend.aclose()
        finally:
            if self._owned is not None:
                owned, self._owned = self._owned, None
                await owned.aclose()

    async def __aenter__(self) -> Self:
        from .backends import _http_source  # noqa: F401  # what the first request needs is loaded here, not in its time

        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
