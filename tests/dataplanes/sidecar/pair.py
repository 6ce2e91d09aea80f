"""Two network namespaces joined by a link, each a pod with the plane's rules and its own Envoy, configured by the real
control rooms: documents go in, requests go over the wire."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from meshlab.dataplanes.envoy.flows import decode
from meshlab.dataplanes.sidecar import SidecarPlane
from meshlab.kit.loop import run
from meshlab.model.wire import PROXY_UID
from meshlab.model.world import Endpoint
from meshlab.telemetry.events import FlowEvent
from meshlab.telemetry.store import records
from meshlab.xds.server import AdsServer
from tests.compile.worlds import API, ENDPOINTS, WEB
from tests.control.support import Control

_WAIT_S = 30.0
_PODS = {one.pod: dataclasses.replace(one, ready=True) for one in ENDPOINTS if one.pod in (API, WEB)}


class Pair:
    """`with Pair()`: `client` is shop/web-1, `server` is shop/api-1 with echo on 8080 and 70 and one that speaks
    first on 90, behind the Service of `tests.compile.worlds`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="meshlab-pair-"))
        self.folder.chmod(0o755)
        self.endpoints: dict[str, Endpoint] = {"client": _PODS[WEB], "server": _PODS[API]}
        self._spaces = {role: f"mlt-{os.getpid()}-{role}" for role in self.endpoints}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._control: Control

    def __enter__(self) -> Pair:
        try:
            run(self._serve())
            self.apply(acknowledged=False)
            self._network()
            for role in self.endpoints:
                self._proxy(role)
            self._start("server", PORT="8080", BANNER_PORT="90")
            self._start("server", PORT="70")
            for role in self.endpoints:
                self.until(lambda role=role: self.status(role, "http://127.0.0.1:15021/healthz/ready") == "200")
            for port in (8080, 70):
                self.until(lambda port=port: self.status("server", f"http://127.0.0.1:{port}/") == "200")
            self.apply()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        run(self._stop())
        for space in self._spaces.values():
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _serve(self) -> None:
        self._control = await Control(self.folder, tuple(self.endpoints.values()), AdsServer).__aenter__()
        self._socket = self.folder / "ads.sock"

    async def _stop(self) -> None:
        await self._control.__aexit__()
        await self._control.server.stop()

    def apply(self, *texts: str, acknowledged: bool = True) -> None:
        """These documents and the services, until both proxies have them."""

        async def show() -> None:
            await self._control.show(*texts)
            assert self._control.push.problems == ()
            if not acknowledged:
                await self._control.server.start(self._socket, PROXY_UID)
                return
            async with asyncio.timeout(_WAIT_S):
                while not all(self._control.server.settled(str(one.pod)) for one in self.endpoints.values()):
                    await asyncio.sleep(0.01)

        run(show())

    @property
    def nacks(self) -> list[str]:
        return [event["error"] for event in self._control.desk.events if event["kind"] == "nack"]

    def flows(self, true: Callable[[FlowEvent], bool], count: int) -> list[FlowEvent]:
        """The flows of which it is true, once there are so many."""

        def found() -> list[FlowEvent]:
            kept = records(self._control.flows.read())
            events = (event for one in kept for event in decode(one.payload, one.reporter, self._control.desk.peers))
            return [event for event in events if true(event)]

        self.until(lambda: len(found()) >= count)
        return found()

    def run(self, role: str, *command: str) -> str:
        argv = ["ip", "netns", "exec", self._spaces[role], *command]
        return subprocess.run(argv, check=False, capture_output=True, timeout=60, text=True).stdout

    def curl(self, role: str, url: str, *options: str) -> str:
        return self.run(role, "curl", "-s", "-m", "5", *options, url)

    def status(self, role: str, url: str, *options: str) -> str:
        return self.curl(role, url, "-o", "/dev/null", "-w", "%{http_code}", *options)

    def until(self, true: Callable[[], bool]) -> None:
        """For what nobody announces."""
        end = time.monotonic() + _WAIT_S
        while not true():
            logs = {path.name: path.read_text()[-2000:] for path in self.folder.glob("*.log")}
            assert time.monotonic() < end, f"did not happen; {self.nacks} {logs}"
            time.sleep(0.02)

    def _start(self, role: str, **environment: str) -> None:
        log = (self.folder / f"{role}-{environment['PORT']}.log").open("wb")
        argv = ["ip", "netns", "exec", self._spaces[role], sys.executable, "-m", "meshlab.samples.echo"]
        env = {**os.environ, "NAME": role, **environment}
        self._processes.append(subprocess.Popen(argv, stdout=log, stderr=log, env=env))

    def _network(self) -> None:
        client, server = self._spaces.values()
        for space in (client, server):
            _ip("netns", "add", space)
        _ip("link", "add", "eth0", "netns", client, "type", "veth", "peer", "name", "eth0", "netns", server)
        for role, space in self._spaces.items():
            _ip("-n", space, "addr", "add", f"{self.endpoints[role].ip}/8", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", space, "link", "set", device, "up")
            _ip("-n", space, "route", "add", "default", "dev", "eth0")

    def _proxy(self, role: str) -> None:
        plan = SidecarPlane(self._socket, self._control.key.mint_for).plan(self.endpoints[role])
        space = ["ip", "netns", "exec", self._spaces[role]]
        local = (
            f"ip rule add fwmark {plan.local_mark} lookup 100 && ip route add local default dev lo table 100 && "
            "echo 1 > /proc/sys/net/ipv4/tcp_fwmark_accept && "
            "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done && nft -f -"
        )  # what a runtime does with `local_mark`
        subprocess.run([*space, "sh", "-ec", local], input=plan.rules.encode(), check=True)
        [companion] = plan.companions
        folder = self.folder / role
        folder.mkdir()
        for name, text in companion.files.items():
            (folder / name).write_text(text)
        argv = [word.replace("{dir}", str(folder)) for word in companion.argv]
        kept = ",".join(f"+{name}" for name in companion.capabilities)
        user = ["setpriv", f"--reuid={companion.uid}", f"--regid={companion.uid}", "--clear-groups",
                f"--inh-caps={kept}", f"--ambient-caps={kept}", "--"]  # fmt: skip
        log = (self.folder / f"{role}.log").open("wb")
        self._processes.append(subprocess.Popen([*space, *user, *argv], stdout=log, stderr=log))


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
