"""Read results.json back, so that a file from elsewhere is refused by name before it is compared with anything."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ems.errors import InputError

FORMAT_VERSION = 1
_LARGEST = 1_000_000_000_000
_NOTHING = type(None)
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("task", "protocol", "split", "direction", "language_set", "data_digest"), str),
    "margin": (str, _NOTHING),
    "k": (int, _NOTHING),
    "higher_is_better": bool,
    "columns": list,
    **dict.fromkeys(("scores", "means", "outcomes"), dict),
}


def _is_score(value: Any) -> bool:
    # Fractions, percent, counts of rows, or the logarithm that uniformity is, which is below 0; nothing else can be.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _is_outcome(value: Any) -> bool:
    score, of = (value.get("score"), value.get("of")) if isinstance(value, dict) else (None, None)
    if not isinstance(score, str) or not re.fullmatch("[0-9]+", score):
        return False
    if isinstance(of, int):
        return _is_score(of) and of >= 0
    return isinstance(of, str) and len(of) == len(score) and bool(re.fullmatch("[0-9]+", of))


def _check_record(where: str, record: Any) -> None:
    if not isinstance(record, dict):
        raise InputError(f"{where}: must be an object, not {record!r:.60}")
    for key, types in _TYPES.items():
        if key not in record:
            raise InputError(f"{where}: has no '{key}'")
        if not isinstance(record[key], types):
            raise InputError(f"{where}: '{key}' cannot be {record[key]!r:.60}")
    if not all(isinstance(column, str) for column in record["columns"]):
        raise InputError(f"{where}: 'columns' cannot be {record['columns']!r:.60}")
    members = record.get("members", {})
    if not isinstance(members, dict) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in members.values()
    ):
        raise InputError(f"{where}: 'members' cannot be {members!r:.60}")
    rows = [(kind, name, row) for kind in ("scores", "means", "outcomes") for name, row in record[kind].items()]
    for kind, name, row in rows:
        if not isinstance(row, dict):
            raise InputError(f"{where}: '{kind}' of {name} must be an object, not {row!r:.60}")
        if kind == "means" and not isinstance(row.get("languages"), int):
            raise InputError(f"{where}: 'means' of {name} does not say over how many 'languages'")
        for column in (column for column in record["columns"] if column in row):
            if not (_is_outcome if kind == "outcomes" else _is_score)(row[column]):
                raise InputError(f"{where}: '{kind}' of {name}, {column}, cannot be {row[column]!r:.60}")
            if kind == "outcomes" and column not in record["scores"].get(name, {}):
                raise InputError(f"{where}: 'outcomes' of {name}, {column}, have no score beside them")


def read_results(path: Path | str) -> dict[str, Any]:
    """Read results.json, as `ems.eval.output_folder.write_results` leaves it.

    Raises:
        InputError: no such file, not JSON, another format version, or entries that cannot be compared.
    """
    try:
        results = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    if not isinstance(results, dict) or "format" not in results:
        raise InputError(f"{path}: these are no results of `ems evaluate`; name its results.json")
    if results["format"] != FORMAT_VERSION:
        raise InputError(f"{path}: format {results['format']!r:.20}, but this version of ems reads {FORMAT_VERSION}")
    encoders = results.get("encoders")
    if not isinstance(encoders, list) or not encoders:
        raise InputError(f"{path}: no encoders in it")
    for encoder in encoders:
        if not isinstance(encoder, dict) or not isinstance(encoder.get("name"), str):
            raise InputError(f"{path}: an encoder has no name")
        if not isinstance(encoder.get("records"), list):
            raise InputError(f"{path}: encoder {encoder['name']} has no records")
        for number, record in enumerate(encoder["records"], 1):
            _check_record(f"{path}, {encoder['name']}, record {number}", record)
    return results
