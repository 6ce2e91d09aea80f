"""AuthorizationPolicy to Envoy's RBAC: a deny filter, then an allow filter (Istio's order and implicit deny).

The source principal is the URI SAN that the peer's certificate proved; without mesh TLS there is none.
On TCP an ALLOW rule that asks for something of HTTP matches nothing, a DENY rule is judged by the rest of it.
Where a pod has policies, a TCP client must speak before the application is dialled (see `http.tcp_proxy`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac

from meshlab.compile.xds import http
from meshlab.compile.xds.rbac_rules import Scope, rule_policy
from meshlab.compile.xds.resources import packed
from meshlab.model.ids import ROOT_NAMESPACE
from meshlab.model.policies import Action, AuthorizationPolicy
from meshlab.model.world import Endpoint, World

_FILTERS = {Action.DENY: "meshlab.rbac.deny", Action.ALLOW: "meshlab.rbac.allow"}


def http_filters() -> list[Any]:
    """Both filters, empty: what they enforce rides on the routes, see `route_settings`."""
    return [hcm.HttpFilter(name=name, typed_config=packed(http_rbac.RBAC())) for name in _FILTERS.values()]


def route_settings(world: World, endpoint: Endpoint) -> Mapping[str, Any]:
    """Filter -> its rules for this pod, for `typed_per_filter_config`; no entry where no policy selects the pod."""
    found = {}
    for action, name in _FILTERS.items():
        rules = _rules(world, endpoint, action, layer7=True)
        if rules is not None:
            # The same rules as shadow tell the logs which ALLOW rule let a request in.
            shadow = rules if action == Action.ALLOW else None
            found[name] = packed(http_rbac.RBACPerRoute(rbac=http_rbac.RBAC(rules=rules, shadow_rules=shadow)))
    return found


def network_filters(world: World, endpoint: Endpoint) -> list[Any]:
    made = []
    for action, name in _FILTERS.items():
        rules = _rules(world, endpoint, action, layer7=False)
        if rules is not None:
            shadow = rules if action == Action.ALLOW else None
            config = network_rbac.RBAC(rules=rules, shadow_rules=shadow, stat_prefix=f"tcp_{action.lower()}.")
            made.append(http.network_filter(name, config))
    return made


def _rules(world: World, endpoint: Endpoint, action: Action, *, layer7: bool) -> Any:
    """All rules of one action; None without a policy. ALLOW policies without a rule that fits still deny the rest."""
    selected = [one for one in world.mesh.all(AuthorizationPolicy) if one.action == action and _selects(one, endpoint)]
    if not selected:
        return None
    rules = rbac_pb2.RBAC(action=action.value)
    for policy in selected:
        scope = Scope(policy.namespace, world.trust_domain, layer7, deny=action == Action.DENY)
        for index, rule in enumerate(policy.rules):
            made = rule_policy(rule, scope)
            if made is not None:
                rules.policies[f"ns[{policy.namespace}]-policy[{policy.name}]-rule[{index}]"].CopyFrom(made)
    return rules


def _selects(policy: AuthorizationPolicy, endpoint: Endpoint) -> bool:
    in_scope = policy.namespace in (endpoint.pod.namespace, ROOT_NAMESPACE)
    return in_scope and policy.selector.items() <= endpoint.labels.items()
