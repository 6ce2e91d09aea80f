"""Two network namespaces joined by a link, each a pod with the plane's rules, its own Envoy and a test CA's SVID."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshlab.compile.xds import check, compile_pod
from meshlab.compile.xds.resources import SECRET
from meshlab.compile.xds.secrets import BUNDLE, SVID, bundle_resource, svid_resource
from meshlab.dataplanes.sidecar import SidecarPlane
from meshlab.kit.layout import Layout
from meshlab.model.snapshot import Resource
from meshlab.model.world import PodId, World
from tests.dataplanes.ads import Ads

_READY_S = 30.0


class Authority:
    """A root that signs SVIDs of an hour."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test root")])
        self._name = name
        self.root = self._build(name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=None), None)

    def _build(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, basic: x509.BasicConstraints, uri: str | None
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        hour = datetime.timedelta(hours=1)
        builder = x509.CertificateBuilder(self._name, name, key, x509.random_serial_number(), now - hour, now + hour)
        builder = builder.add_extension(basic, critical=True)
        if uri:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
            builder = builder.add_extension(names, critical=True)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def secrets(self, uri: str) -> Mapping[str, Resource]:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._build(x509.Name([]), key.public_key(), x509.BasicConstraints(ca=False, path_length=None), uri)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {SVID: svid_resource(SVID, leaf, private), BUNDLE: bundle_resource(BUNDLE, self.root)}


class Pair:
    """`with Pair(world, client, server)`: both pods run; `run("client", ...)` gives a command's output."""

    def __init__(self, world: World, client: PodId, server: PodId) -> None:
        self.world = world
        self.pods = {"client": client, "server": server}
        self.folder = Path(tempfile.mkdtemp(prefix="meshlab-pair-"))
        self.folder.chmod(0o755)
        self.ads: dict[str, Ads] = {}
        self._authority = Authority()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._spaces = {role: f"mlt-{os.getpid()}-{role[0]}" for role in self.pods}

    def __enter__(self) -> Pair:
        try:
            self._network()
            for role in self.pods:
                self._proxy(role)
            for role in self.pods:
                self._wait(role)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for ads in self.ads.values():
            ads.close()
        for space in self._spaces.values():
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, role: str, *command: str) -> None:
        log = (self.folder / f"{role}-app.log").open("ab")
        argv = ["ip", "netns", "exec", self._spaces[role], *command]
        self._processes.append(subprocess.Popen(argv, stdout=log, stderr=log))

    def run(self, role: str, *command: str) -> str:
        argv = ["ip", "netns", "exec", self._spaces[role], *command]
        done = subprocess.run(argv, check=False, capture_output=True, timeout=60, text=True)
        return done.stdout

    def log(self, role: str) -> str:
        return (self.folder / f"{role}.log").read_text()

    def update(self, world: World) -> None:
        self.world = world
        for role, ads in self.ads.items():
            ads.update(compile_pod(world, self.pods[role]).resources)

    def _network(self) -> None:
        client, server = self._spaces.values()
        for space in (client, server):
            _ip("netns", "add", space)
        _ip("link", "add", "eth0", "netns", client, "type", "veth", "peer", "name", "eth0", "netns", server)
        for role, space in self._spaces.items():
            endpoint = self.world.endpoint(self.pods[role])
            assert endpoint is not None
            _ip("-n", space, "addr", "add", f"{endpoint.ip}/8", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", space, "link", "set", device, "up")
            _ip("-n", space, "route", "add", "default", "dev", "eth0")

    def _proxy(self, role: str) -> None:
        endpoint = self.world.endpoint(self.pods[role])
        assert endpoint is not None
        layout = Layout(role, self.folder)
        layout.root.mkdir(mode=0o755)
        snapshot = compile_pod(self.world, self.pods[role])
        assert check(snapshot) == ()
        secrets = self._authority.secrets(str(self.world.identity(endpoint)))
        self.ads[role] = Ads(layout.ads_socket, {**snapshot.resources, SECRET: secrets})
        plan = SidecarPlane(layout, lambda one: f"token-of-{one.pod.name}").plan(endpoint)
        space = ["ip", "netns", "exec", self._spaces[role]]
        subprocess.run([*space, "nft", "-f", "-"], input=plan.rules.encode(), check=True)
        companion = plan.companions[0]
        for name, text in companion.files.items():
            (layout.root / name).write_text(text)
            os.chown(layout.root / name, companion.uid, companion.uid)
        argv = [word.replace("{dir}", str(layout.root)) for word in companion.argv]
        user = ["setpriv", f"--reuid={companion.uid}", f"--regid={companion.uid}", "--clear-groups", "--"]
        log = (self.folder / f"{role}.log").open("wb")
        self._processes.append(subprocess.Popen([*space, *user, *argv], stdout=log, stderr=log))

    def _wait(self, role: str) -> None:
        end = time.monotonic() + _READY_S
        while self.status(role, "http://127.0.0.1:15021/healthz/ready") != "200":
            if time.monotonic() > end:
                raise AssertionError(f"{role} never became ready: {self.ads[role].nacks}\n{self.log(role)}")
            time.sleep(0.1)

    def status(self, role: str, url: str, *options: str) -> str:
        return self.run(role, *curl(url, *options)).strip()


def curl(url: str, *options: str) -> Sequence[str]:
    return ["curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", *options, url]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
