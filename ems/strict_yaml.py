"""YAML as configs use it: plain values only, words stay words, and every mistake has a line number."""

from __future__ import annotations

import re
from typing import Any

import yaml

from ems.errors import InputError


def short(value: Any) -> str:
    """Show a value in one line of reasonable length, null and booleans alone in the words of YAML."""
    shown = {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))
    return shown if len(shown) <= 100 else f"{shown[:100]}…"


class _Loader(yaml.SafeLoader):
    """YAML in which `no` is Norwegian and 010 is ten; a key given twice, an alias or a tag is an error."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        problem = None
        if isinstance(event, yaml.events.AliasEvent):
            problem = "aliases (*name) are not supported; write the value out"
        elif getattr(event, "tag", None) is not None:
            problem = f"tags ({short(event.tag)}) are not supported; write the value plainly"
        if problem is not None:
            raise yaml.constructor.ConstructorError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        first_line: dict[str, int] = {}
        for key_node, _ in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in first_line:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"key {short(key)} is given twice; first on line {first_line[key]}",
                    key_node.start_mark,
                )
            first_line[key] = line
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Write YAML that `_Loader` reads back: what it takes for a number or null is quoted in strings."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml_1_2_scalars(resolver: type[_Loader] | type[_Dumper]) -> None:
    """Resolve only true/false, numbers (with exponents such as 1e-3) and null; leave all other words strings."""
    resolver.yaml_implicit_resolvers = {}
    for tag, pattern, first in (
        ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
        ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
        ("int", r"^[-+]?[0-9][0-9_]*$", "-+0123456789"),
        ("float", r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$", "-+0123456789."),
    ):
        resolver.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(str(loader.construct_scalar(node)).replace("_", ""))


_yaml_1_2_scalars(_Loader)
_yaml_1_2_scalars(_Dumper)
_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)


def parse_yaml(text: str, origin: str) -> tuple[Any, yaml.Node | None]:
    """Read one YAML document.

    Args:
        text: the document.
        origin: what messages call it, such as the file's name.

    Returns:
        Its value, and its node tree for `line_of`.

    Raises:
        InputError: it is not YAML, or uses what is not supported here. The message names origin and line.
    """
    try:
        node = _Loader(text).get_single_node()
        value = _Loader(text).get_single_data()
    except RecursionError:
        raise InputError(f"{origin}: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        line = f", line {mark.line + 1}" if mark else ""
        hint = "; indent with spaces" if "'\\t'" in problem else ""
        raise InputError(f"{origin}{line}: {' '.join(problem.split())[:300]}{hint}") from None
    return value, node


def line_of(node: yaml.Node | None, path: tuple[Any, ...]) -> int | None:
    """Find the line on which the key (or, for a missing one, its section) stands."""
    line = None
    for step in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(step)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line


def dump_yaml(value: Any) -> str:
    """Write plain values as YAML that `parse_yaml` reads back to equal ones."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
