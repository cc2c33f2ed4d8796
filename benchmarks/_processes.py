"""The upstream and the workers as child processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def environment() -> dict[str, str]:
    """Ours, without proxies: they would be between the client and loopback."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    path = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": path}


def spawn(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=ROOT,
    )


class WorkerProcess:
    def __init__(self, client: str, base_url: str, flags: tuple[str, ...]) -> None:
        self.client = client
        self._process = spawn("-m", "benchmarks.worker", client, base_url, *flags)

    def do(self, mode: str, **arguments: Any) -> dict[str, float]:
        """Run one command. The worker has the machine to itself meanwhile: we wait."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"mode": mode, **arguments}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker of {self.client} ended")
        result: dict[str, Any] = json.loads(line)
        if "error" in result:
            raise RuntimeError(f"{self.client}, {mode} {arguments}:\n{result['error']}")
        return result

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Machine:
    """A running upstream, and workers for it."""

    def __init__(self, base_url: str, flags: tuple[str, ...]) -> None:
        self._base_url = base_url
        self._flags = flags

    @contextmanager
    def workers(self, clients: tuple[str, ...]) -> Iterator[list[WorkerProcess]]:
        with ExitStack() as stack:
            workers = []
            for client in clients:
                worker = WorkerProcess(client, self._base_url, self._flags)
                stack.callback(worker.close)
                workers.append(worker)
            yield workers


@contextmanager
def upstream(flags: tuple[str, ...] = ()) -> Iterator[Machine]:
    process = spawn("-m", "benchmarks.upstream")
    assert process.stdout is not None
    try:
        yield Machine(f"http://127.0.0.1:{int(process.stdout.readline())}/v1", flags)
    finally:
        process.kill()
        process.communicate()
