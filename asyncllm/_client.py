"""The client: a model, or several, behind one way of asking."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from msgspec.structs import replace

from ._input import NAMES, CallOptions, OptionsBesideOutput, headers_from, messages_from, request_from
from ._map import Map
from ._output import OutputSpec
from ._stream import Stream
from .backends import Backend, Failover, Retry, RetryPolicy, Settings, Timed, TokenProvider, make_backend
from .events import IncompleteStreamError, Input, InvalidRequestError, Reply
from .protocols import Request

if TYPE_CHECKING:
    import httpx2

    from ._run import Run
    from ._run_options import OptionsOfRun
    from .tools import Kept
    from .transports import FastTransport

T = TypeVar("T")


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
        retry: how many times a call that failed before its first content is repeated, or a :class:`RetryPolicy`.
        limits: of our connection pool (``httpx2.Limits``).
        extra_headers: sent with every request.
        options: defaults for every call (see :class:`CallOptions`), and options of the backend (for example `resource=`
            for azure, `think_tags=True` for a server that leaves reasoning in the text).

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
        **options: Any,
    ) -> None:
        self._limits = limits
        self._owned: httpx2.AsyncClient | FastTransport | None = None
        self._given: httpx2.AsyncClient | None = None
        self._maps: weakref.WeakSet[Map[Any]] = weakref.WeakSet()
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
        self._defaults = CallOptions(**{name: options.pop(name) for name in list(options) if name in NAMES})  # type: ignore[typeddict-item]
        self._check(self._defaults)
        settings = Settings(
            http=self._http,
            sdk_client=sdk_client,
            api_key=api_key,
            token_provider=token_provider,
            base_url=base_url,
            headers=headers_from(extra_headers),
            options=options,
        )
        policy = retry if isinstance(retry, RetryPolicy) else RetryPolicy(tries=_tries(retry))
        specs = [model] if isinstance(model, str) or not isinstance(model, Sequence) else list(model)
        if not specs:
            raise InvalidRequestError("a client needs at least one model")
        targets = [self._target(spec, settings, policy) for spec in specs]
        self._backend: Backend
        self._backend, self.model = targets[0]
        if len(targets) > 1:
            self._backend = Failover(targets)

    @staticmethod
    def _check(defaults: CallOptions) -> None:
        """Wrong defaults are told here, not at the first call."""
        if tools := defaults.get("tools"):
            from .tools import Toolbox

            Toolbox(tools)
        request_from("", "check", {**defaults, "tools": ()})

    @staticmethod
    def _target(spec: str | Backend, settings: Settings, policy: RetryPolicy) -> tuple[Backend, str]:
        if isinstance(spec, str):
            backend, model = make_backend(spec, settings)
        elif hasattr(spec, "stream"):
            backend, model = spec, spec.name
        else:
            raise InvalidRequestError(f"model must be 'provider/model' or a backend, not {type(spec).__name__}")
        return Retry(Timed(backend), policy), model

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
        request, spec = self._request(input, output, options)
        return Stream(self._backend, request, output=spec)

    def _request(self, input: Input, output: Any, options: Mapping[str, Any]) -> tuple[Request, OutputSpec | None]:
        merged = CallOptions(**{**self._defaults, **options, **({"output": output} if output is not None else {})})  # type: ignore[typeddict-item]
        return request_from(self.model, input, merged)

    def _whole(self, request: Request, spec: OutputSpec | None) -> Stream[Any]:
        """For who wants the whole answer: one that is not what `output=` asks for may be mended, as in a run."""
        if spec is None:
            return Stream(self._backend, request)
        from ._run import Run
        from ._run_options import RunOptions
        from .tools import Toolbox

        return Run(self._backend, request, Toolbox(request.tools), RunOptions(), output=spec)

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

        One :class:`Stream` of all steps (see :class:`Run`). `tools` are Python functions and MCP servers, which are run here, and
        schemas of tools that only you can execute: when the model calls one of those, the run ends with ``Stopped``, and goes on
        where it was when it is run again with `reply.messages` and your ToolResults. So does one that ended at `max_steps` or
        by `stop_when`. Calls of one step run at once. What goes wrong with a call is told to the model, and the run goes on.

        `timeout.total` limits the whole run, the other limits each answer of the model, `tool_timeout` each call. `tool_choice`
        is for the first step. An answer that is not what `output=` asks for may be mended once. What else there is:
        :class:`RunOptions`.

        Raises :class:`InvalidRequestError` at once for what makes no sense; where the stream is awaited, entered or iterated,
        the error of a server that cannot be reached, before anything is sent to the model, and what `approve` and `stop_when`
        raise.
        """
        from ._repair import repaired
        from ._run import Run
        from ._run_options import take_run_options
        from .tools import Kept, Toolbox

        plan = take_run_options(options)
        tools, kept = options.pop("tools", None), None
        if tools is None:
            tools = self._defaults.get("tools")
            kept = self._kept = self._kept or Kept()
        request, spec = self._request(input, output, {**options, "tools": ()})
        messages, notes = repaired(request.messages)
        return Run(
            self._backend,
            replace(request, messages=messages),
            Toolbox(tools, kept),
            plan,
            output=spec,
            notes=notes,
        )

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
        async with self._whole(*self._request(input, output, options)) as stream:
            return await stream.reply()

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
        request, spec = self._request("", output, options)

        async def ask(input: Input) -> Reply[Any]:
            async with self._whole(replace(request, messages=messages_from(input)), spec) as stream:
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


def _tries(retry: int) -> int:
    if isinstance(retry, bool) or not isinstance(retry, int) or retry < 0:
        raise InvalidRequestError(
            f"retry must be a number of tries after the first (0 = none) or a RetryPolicy, not {retry!r}"
        )
    return retry
