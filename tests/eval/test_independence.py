"""Evaluation stands alone: it needs an object with encode(), not a trainer."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import ems.eval


def test_evaluation_and_mining_load_neither_the_trainer_nor_its_settings_nor_faiss():
    code = (
        "import sys, ems.mining, ems.eval.suite, ems.eval.bitext, ems.eval.retrieval; "
        "print([name for name in ('faiss', 'ems.training', 'ems.config') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_of_evaluation_names_the_trainer_or_its_settings():
    for path in Path(ems.eval.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.startswith(("ems.training", "ems.config")) for name in names), path
