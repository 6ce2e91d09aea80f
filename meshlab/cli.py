"""The command line: parse, call the Lab, print. Exit codes: 0 good, 1 the answer is no, 2 wrong use or input, 3 cannot
run here."""

from __future__ import annotations

import errno
import functools
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

import click
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from meshlab import __version__
from meshlab.errors import MeshlabError

if TYPE_CHECKING:
    import pandas as pd

    from meshlab.lab.session import Lab

_FOLDED_ROWS = 500
_err = Console(stderr=True, highlight=False)
_out = Console(highlight=False)

lab_name = click.option("--name", default="lab", show_default=True, help="Which lab.")
namespace_option = click.option("-n", "--namespace", default="", help="Namespace.")
output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True
)


def _one_file(_: click.Context, __: click.Parameter, files: tuple[str, ...]) -> str:
    """One `-f`: of several, all but one would go unread."""
    if len(files) > 1:
        raise click.BadParameter("give one; a folder holds several files, and `cat a b | meshlab ... -f -` joins them")
    return files[0] if files else ""


def _files(required: bool) -> Callable[[Any], Any]:
    return click.option(
        "-f", "--file", "file", multiple=True, required=required, callback=_one_file,
        help="File, folder, `-`, or sample:NAME.",
    )  # fmt: skip


class _Seconds(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """A positive, finite number (`nan` would wait for ever)."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds <= 1e9:
            self.fail(f"{value!r}: expected seconds, more than 0", param, ctx)
        return seconds


file_option = _files(required=True)


def _progress(text: str) -> None:
    _err.print(f"· {text}", style="dim", markup=False, soft_wrap=True)


def _attach(name: str) -> Lab:
    from meshlab.lab.session import Lab

    return Lab.attach(name, progress=_progress)


def show(rows: list[dict[str, Any]], output: str) -> None:
    """Print rows as a table, or as one JSON or YAML document with the frames' keys."""
    if output == "json":
        click.echo(json.dumps(rows, indent=1, default=str))
    elif output == "yaml":
        click.echo(yaml.safe_dump(json.loads(json.dumps(rows, default=str)), sort_keys=False), nl=False)
    elif not rows:
        _err.print("nothing to show")
    elif _out.is_terminal and len(rows) <= _FOLDED_ROWS:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in rows[0]:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(_cell(value)) for value in row.values()))
        _out.print(table)
    else:  # for grep and files no folding; of many rows it would take a millisecond each
        cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            click.echo("  ".join(map(str.ljust, line, widths)).rstrip())


def _cell(value: Any) -> str:
    """Text as it stands, on one line: a path that somebody asked for is no markup and moves no cursor."""
    text = "" if value is None else str(value)
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def show_one(row: dict[str, Any], output: str) -> None:
    """Print one object as a JSON or YAML document."""
    plain = json.loads(json.dumps(row, default=str))
    click.echo(json.dumps(plain) if output == "json" else yaml.safe_dump(plain, sort_keys=False).rstrip())


def show_frame(frame: pd.DataFrame, output: str) -> None:
    """Print a frame; in a table, columns that are empty throughout are left out."""
    if output == "table":
        frame = frame.dropna(axis="columns", how="all")
    show([{str(k): _plain(v) for k, v in row.items()} for row in frame.to_dict("records")], output)


def _plain(value: Any) -> Any:
    """A JSON value of a frame's cell: missing is null, numpy scalars are numbers, times are ISO 8601."""
    import pandas as pd

    if isinstance(value, list | tuple | dict):
        return value
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if isinstance(value, float):
        return round(float(value), 3)
    return value.item() if hasattr(value, "item") else value


def _reported(function: Callable[..., Any]) -> Callable[..., Any]:
    """One clear line for an error of ours, and its exit code."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except MeshlabError as error:
            _fail(str(error), error.exit_code)
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever read our output has seen enough; click knows what to do
                raise
            where = f": {error.filename}" if error.filename else ""
            _fail(f"{error.strerror or error}{where}\n  → meshlab doctor", 3)

    return call


def _fail(text: str, exit_code: int) -> NoReturn:
    from rich.markup import escape

    _err.print(f"[red]error:[/red] {escape(text)}", soft_wrap=True)
    sys.exit(exit_code)


class _Verbs(click.Group):
    """Every verb reports our errors in the same way."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        if cmd.callback is not None:
            cmd.callback = _reported(cmd.callback)
        super().add_command(cmd, name)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """meshlab: a service-mesh laboratory. `meshlab up`, then `meshlab apply -f sample:shop`.

    Completion: eval "$(_MESHLAB_COMPLETE=bash_source meshlab)" (or zsh_source, fish_source).
    """


@main.command()
@output_option
def doctor(output: str) -> None:
    """Can this machine run a lab? Says what is missing and the way out."""
    from meshlab.lab import doctor as checks

    found = checks.examine()
    show([check.row() for check in found], output)
    if any(check.state == "missing" for check in found):
        sys.exit(3)


@main.command()
@lab_name
@click.option("--nodes", default=2, show_default=True, type=click.IntRange(1, 9))
@click.option("--mode", type=click.Choice(["sidecar", "sidecarless", "none"]), default="sidecar", show_default=True)
@click.option("--runtime", type=click.Choice(["local", "kind", "kube"]), default="local", show_default=True)
@click.option("--svid-ttl", "svid_ttl_s", type=_Seconds(), default=86_400.0, show_default=True, help="Life of an SVID.")
@output_option
def up(name: str, nodes: int, mode: str, runtime: str, svid_ttl_s: float, output: str) -> None:
    """Bring a lab up (a lab that is up stays as it is)."""
    from meshlab.lab.session import Lab

    lab = Lab(name, nodes=nodes, mode=mode, runtime=runtime, svid_ttl_s=svid_ttl_s, progress=_progress).up()
    if output == "table":
        click.echo(f"{lab!r}\nnext: meshlab apply -f sample:shop")
    else:
        show_one({**asdict(Lab.attach(name).settings), "state": "up"}, output)


@main.command()
@lab_name
@output_option
def down(name: str, output: str) -> None:
    """Remove the lab and everything that it made."""
    from meshlab.lab.session import Lab

    Lab(name, progress=_progress).down()
    if output == "table":
        click.echo(f"lab {name} is down")
    else:
        show_one({"name": name, "state": "down"}, output)


@main.command()
@file_option
@lab_name
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until pods and proxies have settled.")
@click.option("--timeout", "timeout_s", type=_Seconds(), default=60.0, show_default=True)
@output_option
def apply(file: str, name: str, namespace: str, wait: bool, timeout_s: float, output: str) -> None:
    """Apply documents, all or nothing."""
    lab = _attach(name)
    changes = lab.apply(file, namespace=namespace)
    _show_changes(changes, output)
    if wait:
        lab.wait(timeout_s=timeout_s)


def _show_changes(changes: list[Any], output: str) -> None:
    if output == "table":
        for change in changes:
            click.echo(str(change))
        return
    rows = [{"kind": c.ref.kind, "namespace": c.ref.namespace, "name": c.ref.name, "verb": c.verb} for c in changes]
    show(rows, output)


@main.command()
@_files(required=False)
@click.argument("what", nargs=-1)
@lab_name
@click.option("-n", "--namespace", default="default", show_default=True)
@output_option
def delete(file: str, what: tuple[str, ...], name: str, namespace: str, output: str) -> None:
    """Delete what documents name (-f), or one object: KIND NAME."""
    if bool(file) == bool(what) or (what and len(what) != 2):
        raise click.UsageError("give either -f FILE or KIND NAME")
    lab = _attach(name)
    changes = lab.delete(file, namespace=namespace) if file else lab.remove(*what, namespace=namespace)
    _show_changes(changes, output)


@main.command()
@file_option
@output_option
def validate(file: str, output: str) -> None:
    """Check documents: no lab, no root, any operating system."""
    from meshlab.lab import sources
    from meshlab.model import documents

    text, name = sources.read(file)
    problems = documents.validate(text, name)
    if output == "table":
        for problem in problems:
            click.echo(str(problem))
    else:
        show([problem.row() for problem in problems], output)
    if any(problem.severity == "error" for problem in problems):
        sys.exit(2)
    if output == "table":
        click.echo(f"{name}: valid")


@main.command()
@click.argument("kind", default="pods")
@lab_name
@namespace_option
@output_option
def get(kind: str, name: str, namespace: str, output: str) -> None:
    """Show objects of a KIND: pods, services, deployments, httproutes, authorizationpolicies, ... of all namespaces, or
    of one. YAML gives the documents, as `apply` takes them."""
    lab = _attach(name)
    if output == "yaml":
        manifests = lab.manifests(kind, namespace=namespace)
        if not manifests:  # pods, say, that a Deployment made
            _err.print("no documents of this kind; -o table and -o json show what runs")
        click.echo(yaml.safe_dump_all(manifests, sort_keys=False), nl=False)
    else:
        show_frame(lab.get(kind, namespace=namespace), output)


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("pod")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@lab_name
@namespace_option
@click.option("-i", "--stdin", "interactive", is_flag=True, help="Pass standard input on, to its end.")
@click.option("--timeout", "timeout_s", type=_Seconds(), default=60.0, show_default=True)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def exec(  # noqa: A001
    pod: str, command: tuple[str, ...], name: str, namespace: str, interactive: bool, timeout_s: float, output: str
) -> None:
    """Run a command inside a pod: meshlab exec POD -- CMD. Ends with the command's exit code."""
    stdin = sys.stdin.buffer.read() if interactive else b""
    done = _attach(name).exec(pod, command, namespace=namespace, stdin=stdin, timeout_s=timeout_s)
    if output == "json":
        texts = {"stdout": done.stdout.decode(errors="replace"), "stderr": done.stderr.decode(errors="replace")}
        click.echo(json.dumps({"exit_code": done.exit_code, **texts}))
    else:
        sys.stdout.buffer.write(done.stdout)
        sys.stderr.buffer.write(done.stderr)
    sys.exit(done.exit_code)


@main.command()
@click.argument("pod")
@lab_name
@namespace_option
@click.option("-c", "--container", default="", help="`envoy` for the proxy.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def logs(pod: str, name: str, namespace: str, container: str, output: str) -> None:
    """Print a pod's output (or of `control-plane`, `cluster`)."""
    text = _attach(name).logs(pod, namespace=namespace, container=container)
    click.echo(json.dumps(text.splitlines()) if output == "json" else text, nl=output == "json")


def _header_pairs(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    if wrong := [value for value in values if ":" not in value]:
        raise click.BadParameter(f"{wrong[0]!r}: expected name: value")
    pairs = (value.partition(":") for value in values)
    return tuple((key.strip(), text.strip()) for key, _, text in pairs)


@main.command()
@click.argument("source")
@click.argument("url")
@lab_name
@namespace_option
@click.option("--tool", type=click.Choice(["meshlab", "wrk", "h2load"]), default="meshlab", show_default=True)
@click.option("--rate", type=float, help="Requests per second, open loop (meshlab).  [default: 50]")
@click.option("--duration", "duration_s", default=5.0, show_default=True, help="Seconds.")
@click.option("--profile", type=click.Choice(["constant", "poisson", "ramp", "burst"]), help="[default: constant]")
@click.option("--seed", type=int, help="Of the schedule (meshlab).  [default: 1]")
@click.option("--connections", type=int, help="At once (wrk, h2load).  [default: 16]")
@click.option("--threads", type=int, help="Of the tool (wrk, h2load).  [default: 1]")
@click.option("--streams", type=int, help="At once on a connection (h2load).  [default: 1]")
@click.option("--protocol", type=click.Choice(["http1", "http2"]), help="h2load.  [default: http2]")
@click.option("--method", default="GET", show_default=True)
@click.option("--body", help="Body of each request.")
@click.option("-H", "--header", "headers", multiple=True, callback=_header_pairs, help="name: value")
@output_option
def traffic(
    source: str, url: str, name: str, namespace: str, headers: tuple[tuple[str, str], ...], output: str, **options: Any
) -> None:
    """Push traffic FROM a pod or workload to a URL; exit code 1 when requests were lost."""
    given = {key: value for key, value in options.items() if value is not None}
    result = _attach(name).traffic(source, url, namespace=namespace, headers=headers, **given)
    if output == "table":
        show([{k: _flat(v) for k, v in result.summary.items()}], output)
    else:
        show_one(result.summary, output)
    if result.summary["failed"]:
        sys.exit(1)


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_flat(item)}" for key, item in value.items())
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _frame_verb(verb: str, help_text: str, columns: tuple[str, ...] = ()) -> None:
    """A verb that prints one frame; a table shows `columns` only, JSON and YAML show all."""

    @main.command(verb, help=help_text)
    @lab_name
    @output_option
    def command(name: str, output: str) -> None:
        frame = getattr(_attach(name), verb)()
        show_frame(frame[list(columns)] if columns and output == "table" else frame, output)


_frame_verb(
    "flows",
    "One row per request or connection that the proxies saw.",
    ("time", "reporter", "source_workload", "destination_service", "destination_workload", "protocol", "method", "path",
     "status", "verdict", "reason", "policy", "mtls", "latency_ms"),
)  # fmt: skip
_frame_verb("edges", "Who calls whom: rate, errors, latency, mTLS share.")
_frame_verb("proxies", "Configuration wanted and acknowledged by each proxy.")
_frame_verb("identities", "The SVIDs of the mesh (never a key).")
_frame_verb("resources", "CPU and memory of applications, proxies and daemons.")

if __name__ == "__main__":
    main()
