"""Documents to nouns: YAML in, every problem at once or a `Mesh` out. Nothing here raises on bad input."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from meshlab.model import nouns, shapes
from meshlab.model.ids import DEFAULT_NAMESPACE
from meshlab.model.mesh import Mesh, Noun
from meshlab.model.shapes_core import NAME_PATTERN

MAX_BYTES = 4_000_000
_MAX_DEPTH = 40


@dataclass(frozen=True)
class Problem:
    """One thing wrong: where (source, document number from 1, object, field path), what, and the way out."""

    source: str
    document: int
    object: str
    path: str
    message: str
    hint: str = ""
    severity: str = "error"

    def __str__(self) -> str:
        where = f"{self.source}#{self.document}" if self.document else self.source
        parts = [part for part in (where, self.object, self.path) if part]
        text = f"{' '.join(parts)}: {self.message}"
        text = text if self.severity == "error" else f"{self.severity}: {text}"
        return f"{text} ({self.hint})" if self.hint else text

    def row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Loaded:
    """`manifests` carry their namespace and are in the order of the text; both are empty of what has a problem."""

    manifests: tuple[dict[str, Any], ...] = ()
    mesh: Mesh = field(default_factory=Mesh)
    problems: tuple[Problem, ...] = ()


class _Loader(yaml.SafeLoader):
    """YAML as JSON has it: keys are text (`8080:` as Kubernetes reads it), times stay text, no tags but JSON's own.
    Refuses duplicate keys and aliases (which can grow without bound)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases are not accepted", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
            # what Kubernetes' conversion to JSON does with `8080:` and `true:`
            if key_node.tag in _JSON_TAGS:
                key_node.tag = "tag:yaml.org,2002:str"
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} appears twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_JSON_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq"))
_Loader.yaml_constructors = {
    tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag is None or tag in _JSON_TAGS
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(text: str, source: str = "text", *, namespace: str = DEFAULT_NAMESPACE) -> Loaded:
    """Read multi-document YAML. `namespace` is for documents that name none."""
    if len(text) > MAX_BYTES:
        return Loaded(problems=(Problem(source, 0, "", "", f"more than {MAX_BYTES} characters"),))
    if not re.fullmatch(NAME_PATTERN, namespace := namespace or DEFAULT_NAMESPACE):
        return Loaded(problems=(Problem(source, 0, "", "", f"namespace {namespace[:80]!r}: expected {NAME_PATTERN}"),))
    problems: list[Problem] = []
    manifests: list[dict[str, Any]] = []
    found: dict[Any, Noun] = {}
    for number, raw in _documents(text, source, problems):
        found_here = list(dict.fromkeys(_problems(raw, source, number)))
        if found_here:
            problems += found_here
            continue
        manifest = _with_namespace(raw, namespace)
        made = noun(manifest)
        ref = nouns.ref(made)
        if ref in found:
            problems.append(Problem(source, number, str(ref), "metadata.name", "the same object appears twice"))
            continue
        found[ref] = made
        manifests.append(manifest)
    if not manifests and not problems:
        problems.append(Problem(source, 0, "", "", "no documents"))
    return Loaded(tuple(manifests), Mesh.of(found.values()), tuple(problems))


def _documents(text: str, source: str, problems: list[Problem]) -> Iterator[tuple[int, Any]]:
    """Number and content of each document that is not empty; where the text stops being YAML, a problem and the end."""
    number = 0
    try:
        for number, raw in enumerate(yaml.load_all(text, Loader=_Loader), 1):
            if raw is not None:
                yield number, raw
    except yaml.YAMLError as error:
        problems.append(_syntax(source, number + 1, error))
    except (RecursionError, ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        # PyYAML's own constructors fail so on `!!int x`, `!!bool x`, numbers of thousands of digits, deep nesting
        what = "nested too deeply" if isinstance(error, RecursionError) else f"a value that cannot be read: {error}"
        problems.append(Problem(source, number + 1, "", "", f"not YAML: {what}"))


def noun(manifest: Any) -> Noun:
    """The noun of a valid manifest."""
    shape, _ = shapes.KINDS[manifest["kind"]]
    return nouns.build(shape.model_validate(dict(manifest)))


def validate(text: str, source: str = "text") -> tuple[Problem, ...]:
    """Every problem of a text, field by field and across its documents. No lab, no root, any operating system."""
    from meshlab.model import checks

    loaded = load(text, source)
    return (*loaded.problems, *checks.check(loaded.mesh, source=source, alone=True))


def _syntax(source: str, number: int, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return Problem(source, number, "", where, f"not YAML: {getattr(error, 'problem', None) or error}")


def _with_namespace(raw: dict[str, Any], namespace: str) -> dict[str, Any]:
    if raw["kind"] == "Namespace":
        return raw
    return {**raw, "metadata": {**raw["metadata"], "namespace": raw["metadata"].get("namespace") or namespace}}


def _problems(raw: Any, source: str, number: int) -> Iterator[Problem]:
    if not isinstance(raw, dict):
        yield Problem(source, number, "", "", f"expected an object, found {type(raw).__name__}")
        return
    if _depth(raw) > _MAX_DEPTH:
        yield Problem(source, number, "", "", f"nested deeper than {_MAX_DEPTH}")
        return
    if (text := _unspeakable(raw)) is not None:
        yield Problem(
            source, number, "", "", f"a text that no program can be given: {text[:80]!a}", "no NUL, no surrogate"
        )
        return
    kind = raw.get("kind")
    if not isinstance(kind, str) or kind not in shapes.KINDS:
        yield Problem(source, number, "", "kind", f"unknown kind {kind!r}", _nearest(str(kind), shapes.KINDS))
        return
    metadata = raw.get("metadata")
    name = metadata.get("name", "?") if isinstance(metadata, dict) else "?"
    shape, versions = shapes.KINDS[kind]
    if raw.get("apiVersion") not in versions:
        message = f"expected {' or '.join(versions)}, found {raw.get('apiVersion')!r}"
        yield Problem(source, number, f"{kind}/{name}", "apiVersion", message)
        return
    try:
        shape.model_validate(raw)
    except ValidationError as error:
        for item in error.errors(include_url=False, include_context=False):
            yield _problem(item, shape, source, number, f"{kind}/{name}")


def _problem(item: Any, shape: type[BaseModel], source: str, number: int, thing: str) -> Problem:
    path = _path(item["loc"])
    if item["type"] == "extra_forbidden":
        known = _fields_at(shape, item["loc"][:-1])
        return Problem(source, number, thing, path, "unknown field", _nearest(str(item["loc"][-1]), known))
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "missing":
        message = "required field is missing"
    elif item["input"] is not None and not isinstance(item["input"], dict | list):
        message = f"{message}, found {_short(item['input'])}"
    return Problem(source, number, thing, path, message)


def _short(value: Any) -> str:
    try:
        return repr(value)[:80]
    except ValueError:  # an integer of more digits than Python prints
        return "a huge number"


def _path(location: tuple[Any, ...]) -> str:
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not part.startswith(("constrained-", "function-")) and part not in ("int", "str"):
            text += f".{part}" if text else part
    return text


def _fields_at(shape: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The field names that a shape has at a location."""
    here: Any = shape
    for part in location:
        if isinstance(part, int) or here is None:
            continue
        by_alias = {info.alias: info.annotation for info in here.model_fields.values()}
        here = _model_of(by_alias.get(part))
    return [info.alias or "" for info in here.model_fields.values()] if here is not None else []


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_of(inner)) is not None), None)


def _nearest(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]}?"
    return f"expected one of: {', '.join(known)}" if known else ""


def _unspeakable(value: Any) -> str | None:
    """A text (key or value) with NUL or half a surrogate pair: YAML can escape them, no process can be given them."""
    if isinstance(value, str):
        return value if re.search("[\x00\ud800-\udfff]", value) else None
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return next((found for item in inner if (found := _unspeakable(item)) is not None), None)


def _depth(value: Any) -> int:
    """Nesting of mappings and lists, counted without recursion."""
    deepest, level = 0, [value]
    while level and deepest <= _MAX_DEPTH:
        deepest += 1
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return deepest
