"""Turn results.json into something to read: Markdown for a terminal or a commit, and one HTML page to look at."""

from ems.eval.report.html import to_html
from ems.eval.report.markdown import to_markdown

__all__ = ["to_html", "to_markdown"]
