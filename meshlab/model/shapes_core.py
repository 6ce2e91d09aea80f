"""What all shapes share: the strict base, names, ports, texts, regexes, durations, metadata."""

from __future__ import annotations

import ipaddress
import re
import warnings
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?(?:P?[=<!>]|<[=!]|\()?.|.", re.DOTALL)
_REFUSED = re.compile(r"\\[1-9]|\(\?(?:[=!>(]|<[=!]|P[=>])")
_UNITS_MS = {"h": 3_600_000.0, "m": 60_000.0, "s": 1_000.0, "ms": 1.0}
_DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")


def re2(text: str) -> str:
    """A pattern that RE2, which Envoy uses, takes: no lookaround, backreferences, atomic groups or conditions.
    ValueError says why not. (Syntax: https://github.com/google/re2/wiki/Syntax)"""
    if any(_REFUSED.match(token) for token in _TOKEN.findall(text)):
        raise ValueError("lookaround and backreferences are not in RE2, which Envoy uses")
    # RE2's own spellings, in Python's words; what Python then refuses, RE2 refuses too
    words = re.sub(r"\(\?<(?=\w)", "(?P<", text).replace(r"\z", r"\Z")
    words = re.sub(r"\\[pP](\{\^?\w+\}|\w)", r"\\w", words)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(words)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    except (OverflowError, RecursionError):
        raise ValueError("not a regular expression that RE2 takes: too large") from None
    if any(int(n) > 1000 for n in re.findall(r"(?<!\\)\{(?:\d+,)?(\d{1,9})(?:,\d*)?\}", text)):
        raise ValueError("RE2 repeats at most 1000 times")
    return text


def _duration(text: str) -> str:
    if not _DURATION.fullmatch(text):
        raise ValueError("expected a Gateway API duration such as 500ms, 2s or 1m30s")
    return text


def milliseconds(duration: str) -> float:
    """A Gateway API duration (GEP-2257) in milliseconds."""
    return sum(float(number) * _UNITS_MS[unit] for number, unit in re.findall(r"([0-9]+)(ms|h|m|s)", duration))


def address_block(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("expected an address or a block such as 10.0.0.0/8") from None
    return text


def port_text(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError("expected a port number between 1 and 65535, as text")
    return text


def cluster_ip(text: str) -> str:
    if text not in ("", "None"):
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            raise ValueError("expected an IPv4 address, or None for a headless Service") from None
    return text


def rollout_bound(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}%", value):
        return value
    raise ValueError("expected a number of pods or a percentage such as 25%")


NAME_PATTERN = r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?"
Name = Annotated[str, StringConstraints(pattern=f"^{NAME_PATTERN}$")]
Int = Annotated[int, Field(strict=True)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
PortText = Annotated[str, AfterValidator(port_text)]
Labels = dict[str, str]
Duration = Annotated[str, AfterValidator(_duration)]
ClusterIP = Annotated[str, AfterValidator(cluster_ip)]
RolloutBound = Annotated[int | str, BeforeValidator(rollout_bound)]
ProbePath = Annotated[str, StringConstraints(pattern=r"^/[!-~]*$")]
EnvName = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")]
Block = Annotated[str, AfterValidator(address_block)]
Texts = Annotated[list[Annotated[str, StringConstraints(min_length=1)]], Field(max_length=4096)]


class Shape(BaseModel):
    """Unknown fields are errors. A field that is null counts as left out, as in Kubernetes, but for `strict_null`:
    a policy's `from:` with nothing behind it would otherwise match everybody."""

    model_config = ConfigDict(
        extra="forbid", alias_generator=to_camel, populate_by_name=False, frozen=True, allow_inf_nan=False
    )
    strict_null: ClassVar[bool] = False

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        if cls.strict_null or not isinstance(value, dict):
            return value
        known = {info.alias for info in cls.model_fields.values()}
        return {key: item for key, item in value.items() if item is not None or key not in known}


class Metadata(Shape):
    name: Name
    namespace: Name | None = None
    labels: Labels = Field(default={})
    annotations: Labels = Field(default={})
    creation_timestamp: str | float | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None


class LabelSelector(Shape):
    match_labels: Labels = Field(default={})
