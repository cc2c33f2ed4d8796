"""What it costs to import the library, in fresh interpreters."""

from __future__ import annotations

import json

from .._processes import Machine
from .._series import Series, Table

NEVER = ("openai", "pydantic", "anyio.from_thread")
"""What asyncllm must not load."""

_CODE = """
import json, resource, sys
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
before = cpu()
{code}
print(json.dumps([cpu() - before, [name for name in {never!r} if name in sys.modules]]))
"""
_MAKE = "import asyncllm\nclient = asyncllm.Client('openai/gpt-5-mini', api_key='x')\n"
_IMPORTS = {
    "asyncllm": _MAKE,
    "asyncllm, ready to send": _MAKE + "import asyncio\nasyncio.run(client.__aenter__())",
    "httpx2": "import httpx2",
    "openai": "import openai",
}


def imports(machine: Machine, quick: bool) -> list[Table]:
    """What the interpreter itself costs is not counted."""
    rows = {name: Series() for name in _IMPORTS}
    for at in range(-1, 5 if quick else 9):
        for name, code in _IMPORTS.items():
            seconds, loaded = json.loads(machine.output_of(_CODE.format(code=code, never=NEVER)))
            if name.startswith("asyncllm") and loaded:
                raise AssertionError(f"{name} imports {', '.join(loaded)}")
            if at >= 0:
                rows[name].values.append(seconds * 1000)
    return [Table("imports", "importing the library (and making a client, for asyncllm)", "CPU ms", rows)]
