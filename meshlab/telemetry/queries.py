"""The usual questions to a frame of flows: splits, refusals, ejections, what the clock says."""

from __future__ import annotations

import pandas as pd

from meshlab.telemetry.frames import is_error

_BACKEND = ["destination_namespace", "destination_service", "destination_workload"]


def split(flows: pd.DataFrame, service: str, *, namespace: str = "", source: str = "") -> pd.DataFrame:
    """How the calls for a Service were spread over workloads, as the callers' proxies chose: destination_workload,
    requests, percent. Calls that reached no backend are left out."""
    chosen = (flows["reporter"] == "source") & (flows["destination_service"] == service)
    if namespace:
        chosen &= flows["destination_namespace"] == namespace
    if source:
        chosen &= flows["source_workload"] == source
    seen = flows[chosen.fillna(False)]
    counts = seen.groupby("destination_workload", observed=True)["count"].sum().sort_values(ascending=False)
    frame = counts.rename("requests").reset_index()
    return frame.assign(percent=100.0 * frame["requests"] / max(int(frame["requests"].sum()), 1))


def by_route(flows: pd.DataFrame) -> pd.DataFrame:
    """The same per route: route, destination_service, destination_workload, requests, percent (of the route)."""
    keys = ["route", "destination_service"]
    seen = flows[flows["reporter"] == "source"].dropna(subset=["route", "destination_workload"])
    counts = seen.groupby([*keys, "destination_workload"], dropna=False, observed=True)["count"].sum()
    frame = counts.rename("requests").reset_index()
    total = frame.groupby(keys, dropna=False, observed=True)["requests"].transform("sum")
    return frame.assign(percent=100.0 * frame["requests"] / total)


def denied(flows: pd.DataFrame) -> pd.DataFrame:
    """What policy refused, one row per distinct call: source_workload, source_principal, destination_workload, method,
    path, reason, policy, rule, requests, first, last. Most frequent first."""
    keys = ["source_namespace", "source_workload", "source_principal", "destination_namespace", "destination_workload",
            "method", "path", "reason", "policy", "rule"]  # fmt: skip
    seen = flows[flows["verdict"] == "denied"]
    grouped = seen.groupby(keys, dropna=False, observed=True)
    frame = grouped.agg(requests=("count", "sum"), first=("time", "min"), last=("time", "max")).reset_index()
    return frame.sort_values("requests", ascending=False, ignore_index=True)


def ejections(flows: pd.DataFrame, *, quiet: str = "2s", errors: int = 3) -> pd.DataFrame:
    """Backends that seem to have been taken out: pods whose last `errors` calls failed or answered 5xx, and which then
    got none for `quiet` while the same caller went on calling the Service.

    An inference from rows (Envoy's own counter is `outlier_detection.ejections_active`): source_workload, columns of
    the backend, destination_pod, errors, ejected (time of its last call), calls_after (to the other pods since).
    """
    columns = ["source_workload", *_BACKEND, "destination_pod", "errors", "ejected", "calls_after"]
    seen = flows[(flows["reporter"] == "source")].dropna(subset=["destination_pod", "destination_service"])
    seen = seen.assign(wrong=is_error(seen)).sort_values("time", kind="stable")
    found = []
    for (source, service, _), calls in seen.groupby(
        ["source_workload", "destination_service", "destination_namespace"], dropna=False, observed=True
    ):
        for pod, own in calls.groupby("destination_pod", observed=True):
            last = own["time"].iloc[-1]
            after = calls[(calls["time"] > last) & (calls["destination_pod"] != pod)]
            if len(own) < errors or not own["wrong"].tail(errors).all() or after.empty:
                continue
            if after["time"].iloc[-1] - last < pd.Timedelta(quiet):
                continue
            first = own.iloc[-1]
            found.append([source, first["destination_namespace"], service, first["destination_workload"], pod,
                          int(own["wrong"].sum()), last, len(after)])  # fmt: skip
    return pd.DataFrame(found, columns=columns)


def over_time(flows: pd.DataFrame, *, every: str = "1s", reporter: str = "source") -> pd.DataFrame:
    """Rates per bucket of `every` and destination_workload: time, destination_workload, rate, error_rate, denied_rate
    (each per second). Buckets without a call are 0."""
    seen = flows[flows["reporter"] == reporter]
    target = seen["destination_workload"].fillna(seen["destination_service"]).fillna("(none)")
    columns = ["time", "destination_workload", "rate", "error_rate", "denied_rate"]
    if seen.empty:
        types = dict.fromkeys(columns[2:], "Float64") | {"time": "datetime64[ns, UTC]", columns[1]: "string"}
        return pd.DataFrame(columns=columns).astype(types)
    counts = pd.DataFrame(
        {
            "time": seen["time"].dt.floor(every),
            "destination_workload": target,
            "rate": seen["count"],
            "error_rate": seen["count"].where(is_error(seen), 0),
            "denied_rate": seen["count"].where((seen["verdict"] == "denied").astype(bool), 0),
        }
    )
    sums = counts.groupby(["time", "destination_workload"], observed=True).sum()
    times = pd.date_range(counts["time"].min(), counts["time"].max(), freq=every)
    names = sorted(counts["destination_workload"].unique())
    whole = sums.reindex(pd.MultiIndex.from_product([times, names], names=columns[:2]), fill_value=0)
    return (whole.astype("Float64") / pd.Timedelta(every).total_seconds()).reset_index()[columns]
