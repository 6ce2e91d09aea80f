"""Where one lab keeps its files and sockets: everything below one folder, `/run/meshlab/<lab>` by default."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "MESHLAB_HOME"


@dataclass(frozen=True)
class Layout:
    """Paths of the lab `name`. The folder is 0711 root: the proxies' user may pass through, not list."""

    name: str
    home: Path

    @classmethod
    def of(cls, name: str) -> Layout:
        return cls(name, Path(os.environ.get(HOME_VARIABLE, "/run/meshlab")))

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
    def pods(self) -> Path:
        """One folder a pod, `<namespace>_<name>`."""
        return self.root / "pods"
