"""What the lab reads of the control plane, over its socket."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from meshlab.control.api import Api
from meshlab.telemetry.store import records
from meshlab.xds.conversation import CLUSTER, Answer
from tests.control.support import DANGLING, Control


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    async with Control(tmp_path) as made:
        runner = await Api(made.push, made.desk, made.flows, made.authority).serve(tmp_path / "control.sock")
        yield made
        await runner.cleanup()


@pytest.fixture
async def http(control: Control, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:  # noqa: ARG001
    connector = aiohttp.UnixConnector(str(tmp_path / "control.sock"))
    async with aiohttp.ClientSession("http://control", connector=connector) as session:
        yield session


async def test_the_socket_is_for_root_only(control: Control, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == 0o600
    assert control.push.version == ""


async def test_status_shows_the_version_and_every_problem(control: Control, http: aiohttp.ClientSession) -> None:
    await control.show()
    status = await (await http.get("/status")).json()
    assert (status["version"], status["revision"], status["problems"]) == (control.push.version, 1, [])
    await control.show(DANGLING)
    status = await (await http.get("/status")).json()
    assert status["revision"] == 2
    assert "nobody" in status["problems"][0]


async def test_rows_events_and_identities_are_read_as_they_are(control: Control, http: aiohttp.ClientSession) -> None:
    await control.show()
    control.desk.answered("shop/web-1", Answer(CLUSTER, "v", "why"), settled=False)
    control.desk.answered("shop/web-1", Answer(CLUSTER, "v", ""), settled=False)
    assert [row["nack"] for row in await (await http.get("/proxies")).json()] == ["", "why"]
    assert [event["n"] for event in await (await http.get("/config-events?after=1")).json()] == [2]
    identities = await (await http.get("/identities")).json()
    assert {row["serial"] for row in identities} == set(control.serials().values())
    assert "PRIVATE" not in await (await http.get("/identities")).text()
    assert len(await (await http.get("/peers")).json()) == 3


async def test_flows_and_the_bundle_are_read_as_they_are(control: Control, http: aiohttp.ClientSession) -> None:
    control.desk.logged("shop/web-1", b"raw", 3)
    [record] = records(await (await http.get("/flows")).read())
    assert (record.reporter, record.payload) == ("shop/web-1", b"raw")
    assert (await (await http.get("/counters")).json())["rows"] == {"shop/web-1": 3}
    assert await (await http.get("/trust-bundle")).text() == control.authority.bundle_pem
