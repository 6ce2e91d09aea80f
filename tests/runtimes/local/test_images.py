"""Images: built in, or a command from the host's files; anything else is told what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from meshlab.errors import CannotRun
from meshlab.model.workloads import Container
from meshlab.runtimes.local import images


@pytest.mark.parametrize("image", ["meshlab/echo", "meshlab/echo:latest", "meshlab/echo:1.2"])
def test_the_echo_sample_is_a_module_of_this_python(image: str, tmp_path: Path) -> None:
    found = images.command(Container("app", image, args=("-x",)), {}, tmp_path)
    assert found == [sys.executable, "-m", "meshlab.samples.echo", "-x"]


def test_a_command_wins_over_any_image(tmp_path: Path) -> None:
    container = Container("app", "registry.example/any@sha256:1", command=("sleep",), args=("9",))
    assert images.command(container, {}, tmp_path) == ["sleep", "9"]
    assert images.command(Container("app", "meshlab/echo", command=("true",)), {}, tmp_path) == ["true"]


@pytest.mark.parametrize("image", ["nginx", "meshlab/other", "registry.example/meshlab/echo", ""])
def test_any_other_image_is_refused_with_what_to_do(image: str, tmp_path: Path) -> None:
    with pytest.raises(CannotRun) as caught:
        images.command(Container("app", image), {}, tmp_path)
    assert f"image {image!r} cannot be run here" in caught.value.message
    assert "meshlab/echo or meshlab/nginx" in caught.value.hint
    assert "`command`" in caught.value.hint


def test_nginx_listens_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: "/usr/sbin/nginx")
    found = images.command(Container("app", "meshlab/nginx"), {"PORT": "8081"}, tmp_path)
    assert found == ["/usr/sbin/nginx", "-c", str(tmp_path / "nginx.conf")]
    assert "listen 8081 " in (tmp_path / "nginx.conf").read_text()


def test_without_nginx_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(CannotRun, match="apt-get install nginx-light"):
        images.command(Container("app", "meshlab/nginx"), {}, tmp_path)


def test_a_port_that_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: "/usr/sbin/nginx")
    with pytest.raises(CannotRun, match="PORT"):
        images.command(Container("app", "meshlab/nginx"), {"PORT": "http; } evil"}, tmp_path)
