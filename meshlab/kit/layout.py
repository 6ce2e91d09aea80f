"""Where one lab keeps its files and sockets: everything below one folder, `/run/meshlab/<lab>` by default."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from meshlab.errors import MeshlabError

HOME_VARIABLE = "MESHLAB_HOME"
NAME_RULE = "[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?"
"""At most 20 characters: a lab's name is part of the names of folders, cgroups, namespaces and sockets."""
_SOCKET_PATH_MAX = 107


def check_name(name: str) -> str:
    """The name, if a lab may have it; MeshlabError with the rule otherwise."""
    if not re.fullmatch(NAME_RULE, name):
        raise MeshlabError(
            f"lab name {name[:80]!r}: expected {NAME_RULE}",
            hint="at most 20 lower-case letters, digits and dashes, a letter or digit first and last; e.g. lab-1",
        )
    return name


@dataclass(frozen=True)
class Layout:
    """Paths of the lab `name`. The folder is 0711 root: the proxies' user may pass through, not list."""

    name: str
    home: Path

    @classmethod
    def of(cls, name: str) -> Layout:
        """The layout of a lab below `MESHLAB_HOME`. MeshlabError for a name or a home that cannot be."""
        home = Path(os.environ.get(HOME_VARIABLE) or "/run/meshlab").absolute()
        found = cls(check_name(name), home)
        if len(os.fsencode(found.control_socket)) > _SOCKET_PATH_MAX:
            raise MeshlabError(
                f"{HOME_VARIABLE}={home}: the paths of the lab's sockets would be longer than {_SOCKET_PATH_MAX} bytes",
                hint=f"set {HOME_VARIABLE} to a shorter path",
            )
        return found

    @property
    def root(self) -> Path:
        return self.home / self.name

    @property
    def settings(self) -> Path:
        """JSON of `model.settings.Settings`, 0600."""
        return self.root / "settings.json"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.jsonl"

    @property
    def store(self) -> Path:
        """The wanted documents of the local runtime."""
        return self.root / "store.json"

    @property
    def ads_socket(self) -> Path:
        """gRPC: ADS and ALS, for the proxies (0660, group of the proxies' user)."""
        return self.root / "ads.sock"

    @property
    def control_socket(self) -> Path:
        """HTTP: the control plane's own API, for the lab (0600)."""
        return self.root / "control.sock"

    @property
    def cluster_socket(self) -> Path:
        """HTTP: the local runtime's API, the stand-in for the Kubernetes API server (0600)."""
        return self.root / "cluster.sock"

    @property
    def identity(self) -> Path:
        """Root and intermediate keys, token key; 0700."""
        return self.root / "identity"

    @property
    def flows(self) -> Path:
        return self.root / "flows"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def nodes(self) -> Path:
        """One folder a node."""
        return self.root / "nodes"

    @property
    def pods(self) -> Path:
        """One folder a pod, `<namespace>_<name>`."""
        return self.root / "pods"
