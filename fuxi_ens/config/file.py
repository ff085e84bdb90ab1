"""Reading a YAML run file and explaining what is wrong with it. Knows no section of the config."""

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fuxi_ens.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


def read_config(model: type[Model], path: str | Path, overrides: tuple[str, ...]) -> Model:
    """Parse, override, validate. Raises ConfigError that names the file, each bad key, and the likely meaning."""
    values = _read_yaml(Path(path))
    for override in overrides:
        _apply_override(values, override)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(model, detail) for detail in _own_mistakes(error.errors())]
        raise ConfigError(f"{path} is not a valid configuration:\n" + "\n".join(lines)) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {type(values).__name__}, expected a mapping of sections")
    return values


def _apply_override(values: dict[str, Any], override: str) -> None:
    """Set `a.b.0.c=value` in place; the value is read as YAML, list items by their index."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override {override!r} is not of the form section.key=value")
    *parents, last = key.split(".")
    node: Any = values
    for part in parents:
        node = node.setdefault(part, {}) if isinstance(node, dict) else _item(node, part, override)
    try:
        value = yaml.safe_load(text) if text else ""
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"override {override!r}: {text!r} is not valid YAML ({error}); quote it") from error
    if isinstance(node, dict):
        node[last] = value
    else:
        _item(node, last, override)
        node[int(last)] = value


def _item(node: Any, part: str, override: str) -> Any:
    if not isinstance(node, list) or not part.isdigit() or int(part) >= len(node):
        raise ConfigError(f"override {override!r}: there is no item {part!r} at that place")
    return node[int(part)]


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML's safe loader that refuses a key given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _own_mistakes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out that a list is too short when that is only because its items are wrong."""
    places = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if detail["type"] != "too_short"
        or not any(len(place) > len(detail["loc"]) and place[: len(detail["loc"])] == detail["loc"] for place in places)
    ]


def _explain(model: type[BaseModel], detail: ErrorDetails) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"  {where}: unknown key{_did_you_mean(model, detail['loc'])}"
    if detail["type"] == "missing":
        return f"  {where}: missing, and it has no default"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error":
        return f"  {where + ': ' if where else ''}{message}"
    return f"  {where}: {message}, got {detail['input']!r}"


def _did_you_mean(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    fields = list(_fields_at(model, location[:-1]))
    close = difflib.get_close_matches(str(location[-1]), fields, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known keys here: {', '.join(sorted(fields))}"


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> dict[str, Any]:
    """Field names of the section at `location`, found by walking the models' annotations."""
    current: Any = model
    for part in location:
        if isinstance(part, str) and isinstance(current, type) and issubclass(current, BaseModel):
            current = _inner_model(current.model_fields[part].annotation)
    return current.model_fields if isinstance(current, type) and issubclass(current, BaseModel) else {}


def _inner_model(annotation: Any) -> Any:
    """The section class inside `Section`, `tuple[Section, ...]` or `Annotated[...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None
