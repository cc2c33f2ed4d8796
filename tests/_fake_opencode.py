"""opencode, played from its recordings: what it is started as says which. Runs without the packages of the tests.

FAKE is JSON: `folder` of the recordings, `run` or `serve` with the name of one, and what goes wrong (see the code).
What it is told is appended to the file `log`, one JSON object a line. With `composed`, the server plays no recording: it
answers with what it has heard, keeps sessions, calls a tool of ours (`call`), or stops where the test wants it to (`hold`).
"""

import base64
import json
import os
import queue
import signal
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PLAN = json.loads(os.environ["FAKE"])
TURNS: Any = None
LOCK = threading.Lock()
WAITING = []


def log(**what):
    with LOCK, open(PLAN["log"], "a") as file:
        file.write(json.dumps(what) + "\n")


def recorded(name):
    path = os.path.join(PLAN["folder"], name)
    with open(path, "rb") as file:
        return file.read()


def run():
    name = PLAN["run"]
    given = sys.stdin.buffer.read()
    log(
        argv=sys.argv[1:],
        stdin=len(given),
        start=given[:200].decode(),
        cwd=os.getcwd(),
        env=dict(os.environ),
        pid=os.getpid(),
    )
    if PLAN.get("unread"):
        time.sleep(3600)
    out = recorded(PLAN.get("stdout", name + ".stdout"))
    config = json.loads(os.environ["OPENCODE_CONFIG_CONTENT"])
    if "call" in PLAN and b"result of" not in given:
        server = next(server for name, server in config["mcp"].items() if name.startswith("asyncllm"))
        start, _, out = out.partition(b"\n")
        sys.stdout.buffer.write(start + b"\n")
        sys.stdout.flush()
        out = out.replace(b"Hello, this", called(server, *PLAN["call"]).encode() + b", this")
    sys.stdout.buffer.write(out)
    sys.stdout.flush()
    sys.stderr.buffer.write(recorded(name + ".stderr"))
    sys.stderr.flush()
    code = int(recorded(name + ".exit"))
    if code < 0:
        with open(PLAN["ready"], "w") as file:  # a fifo: the test ends what nothing else ends
            file.write(str(os.getpid()))
        while True:
            signal.pause()
    sys.exit(code)


class Events:
    """What each client of the stream of events is still to be told."""

    def __init__(self):
        self.queues = []

    def push(self, line):
        for waiting in self.queues:
            waiting.put(line)


EVENTS = Events()


class Turns:
    """The recorded events of each session, in turns: a turn begins with a message of the user."""

    def __init__(self, name):
        self.sessions, self.held = {}, {}
        for line in recorded(name + ".sse").decode().split("\n"):
            moment, _, event = line.partition(" ")
            if not event:
                continue
            given = json.loads(event)["properties"]
            id, info = given.get("sessionID"), given.get("info", {})
            if id is None:
                continue
            turns = self.sessions.setdefault(id, [])
            new = info.get("role") == "user" and info["id"] not in [turn[0] for turn in turns]
            if new:
                turns.append((info["id"], []))
            if turns:
                turns[-1][1].append((float(moment), event))
        calls = [json.loads(line) for line in recorded(name + ".http").decode().split("\n") if line]
        self.made = [call["response"] for call in calls if call["path"] == "/session"]
        self.aborts = {call["path"].split("/")[2]: call["t"] for call in calls if call["path"].endswith("/abort")}

    def prompt(self, id):
        _, events = self.sessions[id].pop(0)
        at = self.aborts.get(id)
        for moment, event in events:
            if at is not None and moment >= at and not PLAN.get("unheld"):
                self.held.setdefault(id, []).append(event)
            else:
                EVENTS.push(event)

    def abort(self, id):
        for event in self.held.pop(id, []):
            EVENTS.push(event)


class Composed:
    """Sessions that this program makes up itself."""

    def __init__(self):
        self.servers, self.kept = {}, os.path.join(os.environ["HOME"], "sessions.json")
        self.known = {}
        if os.path.exists(self.kept):
            with open(self.kept) as file:
                self.known = json.load(file)

    def session(self, id):
        if id not in self.known:
            try:
                with open(os.path.join(os.environ["HOME"], "imported.json")) as file:
                    state = json.load(file)
            except OSError:
                return None
            if state["info"]["id"] != id:
                return None
            self.known[id] = state["messages"]
        return self.known[id]

    def new(self, messages=()):
        id = f"ses_{len(self.known)}{os.path.basename(os.environ['HOME'])}"
        self.known[id] = list(messages)
        return id

    def add(self, id, role, text):
        made = {
            "info": {"id": f"msg_{len(self.known[id]):04}", "role": role},
            "parts": [{"type": "text", "text": text}],
        }
        self.known[id].append(made)
        with LOCK, open(self.kept, "w") as file:
            json.dump(self.known, file)
        return made["info"]["id"]

    def prompt(self, id, body):
        def say(kind, **properties):
            EVENTS.push(json.dumps({"type": kind, "properties": {"sessionID": id, **properties}}))

        def message(of, role):
            say("message.updated", info={"id": of, "role": role, "providerID": "emu", "modelID": "emu-1"})

        def part(of, name, **more):
            say("message.part.updated", part={"id": f"prt_{of}_{name}", "messageID": of, **more})

        def finish(of, reason):
            part(of, "end", type="step-finish", reason=reason, tokens={"input": 3, "output": 2}, cost=0.5)

        heard = " | ".join(p["text"] for m in self.known[id] for p in m["parts"] if m["info"]["role"] == "user")
        said = "".join(p.get("text", "") for p in body["parts"])
        message(self.add(id, "user", said), "user")
        say("session.status", status={"type": "busy"})
        of = self.add(id, "assistant", "")
        message(of, "assistant")
        part(of, "start", type="step-start")
        text = f"after [{heard}] heard [{said}]"
        if "call" in PLAN and self.servers and "result of" not in said:
            name, arguments = PLAN["call"]
            (server, config), *_ = sorted(self.servers.items())
            call = {"type": "tool", "callID": "call_1", "tool": f"{server}_{name}"}
            part(of, "call", **call, state={"status": "running", "input": arguments})
            result = called(config, name, arguments)
            part(of, "call", **call, state={"status": "completed", "input": arguments, "output": result})
            finish(of, "tool-calls")
            of = self.add(id, "assistant", "")
            message(of, "assistant")
            text = f"it is {result}"
        part(of, "text", type="text", text="")
        say("message.part.delta", partID=f"prt_{of}_text", messageID=of, field="text", delta=text)
        if PLAN.get("hold"):
            return
        self.known[id][-1]["parts"] = [{"type": "text", "text": text}]
        part(of, "text", type="text", text=text)
        finish(of, "stop")
        say("session.status", status={"type": "idle"})
        say("session.idle")

    def abort(self, id):
        EVENTS.push(json.dumps({"type": "session.idle", "properties": {"sessionID": id}}))

    def answer(self, method, path, body):
        """Status and body of what is asked, or None for a prompt."""
        _, _, id, *rest = [*path.split("/"), "", ""]
        if path == "/session":
            return 200, {"id": self.new(), "directory": os.getcwd()}
        if path == "/mcp":
            self.servers[body["name"]] = body["config"]
            return 200, {body["name"]: {"status": "connected"}}
        if not path.startswith("/session"):
            return 200, True
        if (messages := self.session(id)) is None:
            return 404, {"name": "NotFoundError", "data": {"message": "Session not found"}}
        match rest[0], method:
            case "fork", _:
                upto = [m["info"]["id"] for m in messages].index(body["messageID"]) if body else len(messages)
                return 200, {"id": self.new(messages[:upto]), "directory": os.getcwd()}
            case "message", "GET":
                return 200, messages
            case "message", _:
                self.known[id] = [m for m in messages if m["info"]["id"] != rest[1]]
            case _:
                return 200, {"id": id, "directory": os.getcwd()}
        return 200, True


def called(config, name, arguments):
    """The result of a tool of an MCP server."""
    asking = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    headers = {**config["headers"], "content-type": "application/json", "accept": "application/json, text/event-stream"}
    request = urllib.request.Request(config["url"], json.dumps(asking).encode(), headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        data = answer.read().decode()
    line = next(line for line in data.split("\n") if line.startswith(("data: {", "{")))
    return json.loads(line.removeprefix("data: "))["result"]["content"][0]["text"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        pass

    def do(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.partition("?")[0]
        log(method=self.command, path=path, query=self.path.partition("?")[2], body=json.loads(body) if body else None)
        password = os.environ["OPENCODE_SERVER_PASSWORD"]
        if self.headers.get("authorization") != "Basic " + base64.b64encode(f"opencode:{password}".encode()).decode():
            self.answer(401, b"")
        elif path == "/event":
            self.events()
        elif PLAN.get("composed") and path.endswith("/prompt_async"):
            self.answer(204, b"")
            threading.Thread(target=TURNS.prompt, args=(path.split("/")[2], json.loads(body)), daemon=True).start()
        elif PLAN.get("composed") and not path.endswith("/abort"):
            status, found = TURNS.answer(self.command, path, json.loads(body) if body else None)
            self.answer(status, json.dumps(found).encode())
        elif path == "/session":
            if PLAN.get("refuse"):
                self.answer(500, b'{"name":"UnknownError","data":{"message":"Unexpected server error."}}')
            else:
                self.answer(200, TURNS.made.pop(0).encode())
        elif path.endswith("/prompt_async"):
            self.answer(204, b"")
            id = path.split("/")[2]
            if PLAN.get("die"):
                os._exit(3)
            if PLAN.get("cut"):
                EVENTS.push(None)
            elif PLAN.get("ask"):
                for kind, name in (("permission", "per_1"), ("question", "que_1")):
                    EVENTS.push(
                        json.dumps({"type": kind + ".asked", "properties": {"id": name, "sessionID": "ses_child"}})
                    )
                WAITING.append(id)
            else:
                TURNS.prompt(id)
        elif path.endswith("/abort") and PLAN.get("deaf"):
            threading.Event().wait()
        elif path.endswith("/abort"):
            TURNS.abort(path.split("/")[2])
            self.answer(200, b"true")
        elif path.endswith(("/reply", "/reject")):
            self.answer(200, b"true")
            if path.endswith("/reject"):
                TURNS.prompt(WAITING.pop())
        elif path.endswith("/message"):
            self.answer(200, b'[{"info":{"id":"msg_1","role":"user"},"parts":[]}]')
        elif path == "/mcp":
            self.answer(200, json.dumps(PLAN.get("mcp", {})).encode())
        elif path.startswith("/session/ses_missing"):
            self.answer(404, b'{"name":"NotFoundError","data":{"message":"Session not found: ses_missing"}}')
        else:
            directory = PLAN.get("directory", os.getcwd())
            self.answer(200, json.dumps({"id": path.rpartition("/")[2], "directory": directory}).encode())

    do_GET = do_POST = do_PATCH = do_DELETE = do

    def answer(self, status, body):
        self.send_response(status)
        if status != 204:
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def events(self):
        told = queue.SimpleQueue()
        EVENTS.queues.append(told)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        line = '{"type":"server.connected","properties":{}}'
        while line is not None:
            self.wfile.write(b"data: " + line.encode() + b"\n\n")
            self.wfile.flush()
            line = told.get()
        self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


def serve():
    global TURNS
    log(argv=sys.argv[1:], cwd=os.getcwd(), env=dict(os.environ), pid=os.getpid())
    if PLAN.get("mute"):
        if os.path.exists(PLAN["ready"]):
            with open(PLAN["ready"], "w") as file:
                file.write(str(os.getpid()))
        while True:
            signal.pause()
    if PLAN.get("broken"):
        sys.stderr.write("\x1b[91mError: \x1b[0mno such thing\n")
        sys.exit(1)
    TURNS = Composed() if PLAN.get("composed") else Turns(PLAN["serve"])
    server = Server(("127.0.0.1", 0), Handler)
    print(f"opencode server listening on http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


match sys.argv[1]:
    case "run":
        run()
    case "serve":
        serve()
    case "export":
        log(argv=sys.argv[1:])
        if PLAN.get("export"):
            sys.stdout.buffer.write(recorded(PLAN["export"]))
        else:
            sys.exit("Session not found")
    case "import":
        with open(sys.argv[2]) as state:
            log(
                argv=sys.argv[1:],
                mode=oct(os.stat(sys.argv[2]).st_mode & 0o777),
                state=json.load(state),
                cwd=os.getcwd(),
            )
        with open(sys.argv[2]) as state, open(os.path.join(os.environ["HOME"], "imported.json"), "w") as file:
            file.write(state.read())
        sys.stdout.buffer.write(recorded("import_new_home.stdout"))
