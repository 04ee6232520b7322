"""Put into words what is wrong with a configuration: the key, the value found, and the nearest valid one."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ems.errors import nearest
from ems.strict_yaml import short


def suggestion(word: str, choices: Any) -> str:
    """Name the choice that is spelled like a word, or all of them where none is."""
    close = nearest(word, choices, at_least=0.5)
    return f"did you mean {close!r}?" if close else "choose from " + ", ".join(map(repr, choices))


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """Find the model that a field holds, alone, in a list, or among alternatives."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _section_in(part))), None)


def _keys_at(schema: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] | None = schema
    for name in path:
        if isinstance(name, str) and model is not None:
            model = _section_in(model.model_fields[name].annotation) if name in model.model_fields else None
    return list(model.model_fields) if model is not None else []


def _explain(schema: type[BaseModel], error: Any) -> tuple[tuple[Any, ...], str]:
    """Put one pydantic error into words: the key's path, and what is wrong with it."""
    place = error["loc"]
    # Items of lists are alternatives; after the number of the item, pydantic names the alternative it tried.
    path = tuple(step for i, step in enumerate(place) if not (i and isinstance(place[i - 1], int)))
    if error["type"] == "extra_forbidden":
        parent, unknown = path[:-1], str(path[-1])
        where = f" in {'.'.join(map(str, parent))}" if parent else ""
        return path, f"unknown key {short(unknown)}{where}; {suggestion(unknown, _keys_at(schema, parent))}"
    name = ".".join(map(str, path))
    if error["type"] == "missing":
        return path, f"{name} is missing; it has no default"
    problem = error["msg"].removeprefix("Value error, ")
    found = "" if error["type"] == "value_error" else f", not {short(error['input'])}"
    return path, f"{name}: {problem}{found}" if name else problem


def complaints_of(schema: type[BaseModel], value: dict[str, Any]) -> list[tuple[tuple[Any, ...], str]]:
    """List what is wrong with a configuration, what a person would fix first in front.

    Args:
        schema: that it has to fit.
        value: the nested mapping.

    Returns:
        For each mistake the path of its key and one line; empty where the value fits.
    """
    try:
        schema.model_validate(value)
    except ValidationError as error:
        # An entry of a list that is a mapping was not meant as a string, the alternative that is tried first.
        found = sorted(error.errors(), key=lambda e: e["type"] == "string_type" and isinstance(e["input"], dict))
        return [_explain(schema, one) for one in found]
    return []
