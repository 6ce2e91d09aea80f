"""What an image name means without an image registry: built-in samples, or a command from the host's files."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from meshlab.errors import CannotRun
from meshlab.model.workloads import Container

_NGINX = """worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 10000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen {port} backlog=4096; location / {{ return 200 "{body}\\n"; }} }}
}}
"""


def command(container: Container, env: dict[str, str], folder: Path) -> list[str]:
    """The argv of a container. CannotRun for an image that is neither built in nor given a command."""
    if container.command:
        return [*container.command, *container.args]
    image = container.image.split(":")[0]
    if image == "meshlab/echo":
        return [sys.executable, "-m", "meshlab.samples.echo", *container.args]
    if image == "meshlab/nginx":
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if nginx is None:
            raise CannotRun("image meshlab/nginx needs nginx", hint="apt-get install nginx-light")
        port = env.get("PORT", "8080")
        if not port.isdecimal():
            raise CannotRun(f"image meshlab/nginx: PORT={port!r} is no number", hint="for example 8080")
        config = folder / "nginx.conf"
        config.write_text(_NGINX.format(folder=folder, port=port, body="x" * 199))
        return [nginx, "-c", str(config)]
    raise CannotRun(
        f"image {container.image!r} cannot be run here",
        hint="use meshlab/echo or meshlab/nginx, or give the container a `command` from the host's file system",
    )
