"""The only room that knows bcc, in a process of its own: compile a text, load its programs, pin them, tell layouts.

`python -m meshlab.dataplanes.sidecarless.kernel FOLDER`: the C text on stdin, JSON on stdout; maps and programs are
pinned in FOLDER. The compiler (LLVM) takes 100 MB that the agent need not carry: `loader.py` starts it, opens the pins.

bcc is Debian's (python3-bpfcc, pure ctypes; the `bcc` of PyPI is another thing), so it is imported from Debian's folder
even inside a virtual environment, and only when it is needed.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from meshlab.dataplanes.sidecarless import headers, libbpf
from meshlab.dataplanes.sidecarless.headers import BINDINGS
from meshlab.dataplanes.sidecarless.hooks import HOOKS, Hook
from meshlab.errors import CannotRun

TABLES = (
    "counters",
    "current",
    "pods",
    "addresses",
    "services",
    "backends",
    "endpoints",
    "rules",
    "flows",
    "originals",
    "edges",
    "paths",
    "events",
)
"""The maps whose layout Python needs."""
_HOW_TO_GET = "apt-get install python3-bpfcc linux-headers-amd64"
_FLAGS = ("-Wno-everything", "-O2")
_OFFSETS = ("skc_flags",)
"""Of struct sock_common, which every socket begins with."""
_WITHOUT_ATTACH_TYPE = (3, 13)
"""Those of links and sockops are loaded for any."""


@functools.cache
def _bcc() -> ModuleType:
    folder = BINDINGS
    spec = importlib.util.spec_from_file_location(
        "bcc", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None or not folder.is_dir():
        raise CannotRun("the sidecarless plane needs Debian's bcc bindings", hint=_HOW_TO_GET)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    try:
        spec.loader.exec_module(module)
    except (ImportError, OSError) as error:
        del sys.modules["bcc"]
        raise CannotRun(f"bcc cannot be loaded: {error}", hint=_HOW_TO_GET) from error
    return module


def compile_and_load(text: str, folder: Path) -> dict[str, Any]:
    """Load every program of the text and pin it as `prog-<name>`; the maps pin themselves, or are used again where they
    are pinned. Gives the maps' layouts as bcc describes them. CannotRun where the machine lacks something."""
    bcc = _bcc()
    offsets = libbpf.kernel_offsets("sock_common", _OFFSETS)
    defines = [f"-DOFFSET_{name.upper()}={offset}" for name, offset in offsets.items()]
    with headers.prepared() as tree:
        os.environ[headers.VARIABLE] = str(tree)
        try:
            module = bcc.BPF(text=text.encode(), cflags=[*_FLAGS, *defines])
            for name, hook in HOOKS.items():
                program = module.load_func(name.encode(), hook.program_type, attach_type=_attach_type(hook))
                libbpf.pin(program.fd, folder / f"prog-{name}")
        except Exception as error:  # bcc raises nothing narrower
            raise CannotRun(str(error)) from error
    return {name: _described(bcc, module, name) for name in TABLES}


def _attach_type(hook: Hook) -> int:
    return -1 if hook.program_type in _WITHOUT_ATTACH_TYPE else hook.attach_type


def _described(bcc: ModuleType, module: Any, name: str) -> list[Any]:
    word = name.encode()
    return [
        json.loads(bcc.lib.bpf_table_key_desc(module.module, word)),
        json.loads(bcc.lib.bpf_table_leaf_desc(module.module, word)),
    ]


def main() -> None:
    try:
        answer: dict[str, Any] = {"layouts": compile_and_load(sys.stdin.read(), Path(sys.argv[1]))}
    except CannotRun as error:
        answer = {"error": error.message, "hint": error.hint}
    print(json.dumps(answer), flush=True)
    os._exit(0)  # nothing of bcc's own clearing up


if __name__ == "__main__":
    main()
