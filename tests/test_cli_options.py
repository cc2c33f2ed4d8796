"""`--tool`, `--mcp`, `--schema` and `--history` in this process: what they accept, and what is said of what they do not."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from _cli import asked, chat, closed_port, nothing_from_outside
from _mcp import served
from _runs import DONE, call, calls

from asyncllm import InvalidOutputError, InvalidRequestError, ToolCall, ToolProgress, ToolResult
from asyncllm.cli import _describe, _setup, _terminal
from asyncllm.cli._render import Tools
from asyncllm.cli._tools import function_tool, servers
from asyncllm.testing import Answer, ReceivedRequest, Server, serve_in_thread
from asyncllm.tools import RunnableTool


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """In an empty directory; what is imported from there is forgotten."""
    nothing_from_outside(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def server() -> Iterator[Server]:
    with serve_in_thread(Answer.text("Hello")) as serving:
        yield serving


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(text)


RAIN = "def rain(city: str) -> bool:\n    return True\n"


# ---- --tool


def test_functions_are_named_by_module_or_file(tmp_path: Path) -> None:
    """A module of the current directory or a package, a file with its neighbours, a method: each is a tool."""
    write("own.py", RAIN)
    write(
        "package/inner.py",
        f"import beside\n\nclass Sky:\n    @staticmethod\n    def rain(city: str) -> bool: ...\n\n{RAIN}",
    )
    write("package/beside.py", "")
    for given in ("own:rain", "own.py:rain", "./own.py:rain", "package/inner.py:rain", "package/inner.py:Sky.rain"):
        tool = function_tool(given)
        assert isinstance(tool, RunnableTool), given
        assert tool.spec.name == "rain"


def test_a_file_is_run_once() -> None:
    """Two functions of one file share its state."""
    write(
        "own.py",
        "from pathlib import Path\nwith Path('count').open('a') as count:\n    count.write('x')\ndef a(): ...\ndef b(): ...\n",
    )
    function_tool("own.py:a")
    function_tool("./own.py:b")
    assert Path("count").read_text() == "x"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("own.py", "write module:function or path/to/file.py:function"),
        (":rain", "write module:function"),
        ("own.py:", "write module:function"),
        ("own:snow", "own has no snow"),
        ("own:rein", "did you mean rain?"),
        ("own:Sky.rain", "own has no Sky"),
        ("own:text", "must be a function, an MCP server, a Tool or an OpenAI-style dict, not str"),
        ("own:schema", "is the schema of a tool, and no function"),
        ("own:Kind", "not Kind"),
        ("nothing:rain", "there is no module nothing"),
        ("nothing.at.all:rain", "there is no module nothing"),
        ("inner/own:rain", "there is no file"),
        ("nothing.py:rain", "there is no file"),
        ("needs:rain", "needs needs something_else, which is not installed"),
        ("broken.py:rain", "importing broken.py failed: ZeroDivisionError"),
        ("leaves.py:rain", "importing leaves.py failed: SystemExit: 3"),
        ("wrong.py:rain", "importing wrong.py failed: SyntaxError"),
        ("data.d/x:rain", "data.d/x"),
    ],
)
def test_what_is_no_function_is_said(given: str, said: str) -> None:
    """Wrong usage, with the option as it was typed and what to write instead; nothing ends the program."""
    write("own.py", f"{RAIN}\ntext = 'x'\nschema = {{'name': 'x', 'parameters': {{}}}}\nclass Kind: ...\n")
    write("needs.py", "import something_else\n")
    write("broken.py", "1 / 0\n")
    write("leaves.py", "raise SystemExit(3)\n")
    write("wrong.py", "def\n")
    write("data.d/x", "no code")
    with pytest.raises(InvalidRequestError) as error:
        function_tool(given)
    assert error.value.message.startswith(f"--tool {given}: ")
    assert said in error.value.message


def test_a_wrong_function_is_wrong_usage(server: Server) -> None:
    """The command says it in one line and ends with 2, before anything is sent."""
    result = chat(server, "Hi", "--yes", "--tool", "nothing:rain")
    assert (result.exit_code, result.stdout, server.requests) == (2, "", [])
    assert result.stderr == "error: --tool nothing:rain: there is no module nothing\n"


# ---- --mcp


def test_servers_are_named() -> None:
    """A URL or a command, with or without a name before it; the = of a query is none of ours."""
    targets = [
        "http://127.0.0.1/sky/mcp",
        "wind=http://127.0.0.1/?a=b",
        "uvx mcp-server-time --tz=UTC",
        "t=python x.py",
    ]
    found = servers(targets, [])
    assert [server.name for server in found] == ["sky", "wind", "mcp-server-time", "t"]
    assert "python" in repr(found[3])


@pytest.mark.parametrize(
    ("targets", "headers", "said"),
    [
        (["a=http://h/mcp", "a=http://g/mcp"], [], "two servers have the name a"),
        (["ftp://h/mcp"], [], "begins with http:// or https://"),
        (["'"], [], "cannot be split"),
        ([], ["A: s3cret"], "--mcp-header is for a server"),
        (["http://h/mcp"], ["s3cret"], "write it as 'Name: value'"),
        (["http://h/mcp"], ["A s3cret: s3cret"], "write it as 'Name: value'"),
        (["a=http://h/mcp", "b=http://g/mcp"], ["Auth: s3cret"], "say whose it is: 'a=Auth: ...'"),
        (["a=http://h/mcp"], ["b=Auth: s3cret"], "no server is called b: there are a"),
        (["a=http://h/mcp"], ["Auth: ${NOT_SET_s3}"], "the variable NOT_SET_s3 is not set"),
        (["python x.py"], ["Auth: s3cret"], "headers= is for servers with a URL"),
        (["http://h/mcp"], ["Auth: s3cret\x01"], "Auth"),
    ],
)
def test_what_is_no_server_is_said(targets: list[str], headers: list[str], said: str) -> None:
    """Wrong usage, and no value of a header in any message."""
    with pytest.raises(InvalidRequestError) as error:
        servers(targets, headers)
    assert said in error.value.message
    assert "s3cret" not in error.value.message


def test_mcp_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package one line says what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidRequestError, match=r"pip install 'asyncllm\[mcp\]'"):
        servers(["http://h/mcp"], [])


@pytest.mark.req("seed-E1")
def test_a_server_over_http(server: Server) -> None:
    """Its tool is called, and the model is told the result."""
    server.play([calls(call("everyday__add", a=1, b=2)), DONE])
    with served() as everyday:
        result = chat(server, "1 + 2?", "--yes", "--mcp", everyday.url)
    assert (result.exit_code, result.stdout) == (0, "It is 21 degrees.\n")
    assert "tool result: everyday__add: 3\n" in result.stderr
    assert asked(server)["messages"][-1]["content"] == "3"


def test_headers_reach_their_server_and_nobody_else(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server refuses the key: it was sent, the model was asked nothing, and no message has the key in it."""
    seen: list[ReceivedRequest] = []

    def refuse(request: ReceivedRequest) -> Answer:
        seen.append(request)
        return Answer.error(status=401)

    monkeypatch.setenv("SKY_KEY", "s3cret-2")
    with serve_in_thread(refuse, any_path=True) as sky, served() as other:
        headers = ["--mcp-header", "sky=X-Key: s3cret-1", "--mcp-header", "sky=Authorization: Bearer ${SKY_KEY}"]
        target = f"sky={sky.base_url}/mcp"
        result = chat(server, "Hi", "--yes", "--mcp", target, *headers, "--mcp", other.url)
    assert result.exit_code == 3
    assert {request.headers["x-key"] for request in seen} == {"s3cret-1"}
    assert {request.headers["authorization"] for request in seen} == {"Bearer s3cret-2"}
    assert result.stderr.splitlines()[0] == "connecting to sky, everyday ..."
    assert "--mcp-header 'Authorization: Bearer ...' gives it a key" in result.stderr
    assert "s3cret" not in result.output
    assert server.requests == []


def test_a_server_that_is_not_there(server: Server) -> None:
    """One line with its name, its address and what to look at."""
    result = chat(server, "Hi", "--yes", "--mcp", f"http://127.0.0.1:{closed_port()}/sky/mcp")
    assert (result.exit_code, server.requests) == (5, [])
    assert result.stderr.splitlines()[1].startswith("error: the MCP server sky (http://127.0.0.1:")
    assert result.stderr.endswith("; does it run, and is the --mcp right?\n")


# ---- --schema


CITY = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["name", "people"],
}
OSLO = '```json\n{"name": "Oslo\x9b", "people": 700000}\n```'


@pytest.fixture
def schema() -> str:
    Path("city.json").write_text(json.dumps(CITY))
    return "city.json"


def test_an_answer_by_schema(server: Server, schema: str) -> None:
    """The schema is sent; stdout has the JSON alone, on one line for programs."""
    server.play(Answer.text(OSLO))
    result = chat(server, "Oslo?", "--schema", schema)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"name": "Oslo\x9b", "people": 700000}
    assert result.stdout.count("\n") == 1
    assert asked(server)["response_format"]["json_schema"]["schema"]["properties"] == CITY["properties"]


def test_an_answer_by_schema_on_a_terminal(server: Server, schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """People see it indented, and without control characters."""
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda self: self.name == "<stdout>", raising=False)
    server.play(Answer.text(OSLO))
    result = chat(server, "Oslo?", "--schema", schema)
    assert result.stdout == '{\n  "name": "Oslo",\n  "people": 700000\n}\n'


@pytest.mark.req("seed-B10")
def test_an_answer_that_does_not_fit_is_mended(server: Server, schema: str) -> None:
    """The first one is shown beside the answer, and only what fits is on stdout."""
    server.play([Answer.text('{"name": "Oslo"}'), Answer.text('{"name": "Oslo", "people": 1}')])
    result = chat(server, "Oslo?", "--schema", schema)
    assert (result.exit_code, result.stdout) == (0, '{"name":"Oslo","people":1}\n')
    assert '{"name": "Oslo"}\n' in result.stderr
    assert "without the required people; the model is asked to mend it" in result.stderr


def test_an_answer_that_never_fits(server: Server, schema: str) -> None:
    """Its own exit code, nothing on stdout, the text and what is wrong with it on stderr."""
    server.play([Answer.text("no"), Answer.text("I said no")])
    result = chat(server, "Oslo?", "--schema", schema)
    assert (result.exit_code, result.stdout) == (6, "")
    assert "I said no\nerror: the answer is not a valid output: " in result.stderr
    assert "what came is not" not in result.stderr
    events = chat(server, "Oslo?", "--schema", schema, "--json").stdout.splitlines()
    assert json.loads(events[-1])["error"]["class"] == InvalidOutputError.__name__


def test_an_answer_by_schema_after_tools(server: Server, schema: str) -> None:
    """What is said before a call is no answer: it stands beside it."""
    write("own.py", RAIN)
    server.play([calls(call("rain", city="Oslo"), text="I look."), Answer.text('{"name": "Oslo", "people": 1}')])
    result = chat(server, "Oslo?", "--schema", schema, "--tool", "own:rain", "--yes")
    assert (result.exit_code, result.stdout) == (0, '{"name":"Oslo","people":1}\n')
    assert result.stderr.startswith('I look.\ntool call: rain(city="Oslo")\ntool result: rain: true\n2 steps in ')


def test_a_stopped_run_has_no_output(server: Server, schema: str) -> None:
    """At the limit of steps there is no answer to print."""
    write("own.py", RAIN)
    server.play(calls(call("rain", city="Oslo")))
    result = chat(server, "Oslo?", "--schema", schema, "--tool", "own:rain", "--yes", "--max-steps", "1")
    assert (result.exit_code, result.stdout) == (1, "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"{", "is not the JSON of a schema"),
        (b"[]", "Expected `object`"),
        (b"\xff", "not the JSON"),
    ],
)
def test_a_wrong_schema_is_wrong_usage(server: Server, content: bytes | None, said: str) -> None:
    """One line with the file and what is wrong with it, before anything is sent."""
    if content is not None:
        Path("x.json").write_bytes(content)
    result = chat(server, "Hi", "--schema", "x.json")
    assert (result.exit_code, server.requests) == (2, [])
    assert result.stderr.startswith("error: --schema x.json: ")
    assert said in result.stderr


# ---- --history


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("other.json", "other.json: this is not a saved conversation of asyncllm"),
        ("folder", "--history folder: Is a directory"),
        ("nowhere/chat.json", "--history nowhere/chat.json: there is no such directory"),
    ],
)
def test_a_wrong_history_is_wrong_usage(server: Server, file: str, said: str) -> None:
    """Told before anything is sent; the file is left as it is."""
    Path("other.json").write_text("{}")
    Path("folder").mkdir()
    result = chat(server, "Hi", "--history", file)
    assert (result.exit_code, server.requests) == (2, [])
    assert said in result.stderr
    assert Path("other.json").read_text() == "{}"


# ---- in words


def test_calls_in_words() -> None:
    """On one line, cut where it is long, with nothing in it that could be taken for something else."""
    line = _describe.call_line(ToolCall("1", "a", {"x": "é\n\x1b\u202e", "y": [1, None]}))
    assert line == r'tool call: a(x="é\n\u001b\u202e", y=[1, null])'
    long = _describe.call_line(ToolCall("1", "n" * 100, {str(at): "v" * 100 for at in range(100)}))
    assert len(long) < 600
    assert "(20 more characters)" in long
    assert _describe.call_line(ToolCall("1", "a b\n", {})) == r'tool call: "a b\n"()'
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert _describe.as_json({"x": deep}) == "(too deep to be shown)"
    while deep:  # not by recursion
        deep = deep.pop()


def test_many_arguments_are_counted() -> None:
    """Where somebody decides, what is not shown is said to be there, and can be shown."""
    many = {f"a{at}": at for at in range(100)}
    lines, cut = _describe.argument_lines(many, 80)
    assert (lines[-1], cut) == ("  ... 70 more arguments", True)
    lines, cut = _describe.argument_lines(many, 80, whole=True)
    assert (len(lines), cut) == (100, False)
    wide, _ = _describe.argument_lines({"a": "雨" * 100}, 40)
    assert all(_width(line) < 40 for line in wide)


def _width(text: str) -> int:
    return sum(2 if char > "\u2e80" else 1 for char in text)


def test_results_and_progress_in_words() -> None:
    """Short ones on a line; of long ones the beginning; nothing is nothing."""
    lines = [
        *_describe.result_lines(ToolResult("1", "a", "")),
        *_describe.result_lines(ToolResult("1", "a", "x" * 600)),
    ]
    assert lines == ["tool result: a: (nothing)", "tool result: a:", f"  {'x' * 500}", "  ... 100 more characters"]
    assert _describe.progress_line(ToolProgress("1", "a", 0.5, None, "go\r\non")) == "a: 0.5, go on"
    assert _describe.progress_line(ToolProgress("1", "a", 1, 4)) == "a: 1 of 4"


def test_which_tools_were_used() -> None:
    """How often, and how often without success."""
    tools = Tools()
    for name, is_error in [("a", False), ("b", True), ("a", True), ("c", False), ("a", False)]:
        tools.add(ToolResult("1", name, "", is_error))
    assert str(tools) == "a x3 (1 failed), b (failed), c"


def test_nobody_is_asked_without_keys_and_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without stdin or stderr has no terminal; keys that cannot be forgotten are no error."""
    monkeypatch.setattr(sys, "stdin", None)
    assert _terminal.no_terminal_to_ask_on()
    with Path(__file__).open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        _terminal.forget_typed_ahead()
        assert _terminal.no_terminal_to_ask_on()


def test_a_schema_is_read_as_it_is(schema: str) -> None:
    """What is in the file is what is asked for."""
    assert _setup.schema_from(Path(schema)) == CITY == msgspec.json.decode(Path(schema).read_bytes())
