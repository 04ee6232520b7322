"""The style sheet of report.html: one quiet page, light or dark as the reader's system is."""

from __future__ import annotations

from ems.eval.report.charts import HEAT_LEVELS

# Colours of the families of scripts and of the kinds of errors: after Okabe and Ito, "Color Universal Design", 2008,
# darkened or lightened to a contrast of at least 3 to 1 with the page.
_LIGHT = {
    "page": "#fbfbfa", "panel": "#ffffff", "ink": "#1b2127", "muted": "#5d6771", "line": "#e2e5e8", "head": "#f2f4f5",
    "accent": "#1f5fa8", "better": "#0a7a50", "worse": "#b3361b", "open": "#6b747d", "heat": "#12508f",
    "heat-ink": "#ffffff",
    "latin": "#1f6fb8", "cyrillic": "#c8500b", "caucasus": "#7a55c0", "semitic": "#93720a", "indic": "#0b8462",
    "southeast": "#c03a86", "east": "#262c33", "other": "#818a93",
}  # fmt: skip
_DARK = {
    "page": "#14171a", "panel": "#1a1e22", "ink": "#e4e7ea", "muted": "#9aa4ad", "line": "#2c3238", "head": "#20252a",
    "accent": "#7db4ef", "better": "#4cc795", "worse": "#ef8a6c", "open": "#919ba5", "heat": "#8cc4ff",
    "heat-ink": "#10161c",
    "latin": "#6fb3f2", "cyrillic": "#f58f4b", "caucasus": "#b79cf2", "semitic": "#dcb73d", "indic": "#46c7a1",
    "southeast": "#f087be", "east": "#eef0f2", "other": "#8b949d",
}  # fmt: skip
_COLOURS = (
    "latin",
    "cyrillic",
    "caucasus",
    "semitic",
    "indic",
    "southeast",
    "east",
    "other",
    "better",
    "worse",
    "open",
)
_KINDS = ("latin", "cyrillic", "semitic", "indic", "southeast", "caucasus")

_RULES = """
* { box-sizing: border-box; }
html { color-scheme: light dark; -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", "Noto Sans", Arial, sans-serif; }
main, .top, footer { max-width: 1180px; margin: 0 auto; padding: 0 24px; }
h1 { font-size: 26px; font-weight: 650; letter-spacing: -0.015em; margin: 36px 0 4px; }
h2 { font-size: 21px; font-weight: 650; letter-spacing: -0.01em; margin: 0 0 4px; }
h4 { font-size: 14px; font-weight: 650; margin: 30px 0 6px; }
p { margin: 6px 0; max-width: 46em; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
section { margin: 44px 0 0; padding-top: 26px; border-top: 1px solid var(--line); }
.muted, .note, small { color: var(--muted); font-weight: 400; }
.note { font-size: 13px; }
.encoders { list-style: none; margin: 14px 0 0; padding: 0; display: grid; gap: 4px; }
.encoders code { color: var(--muted); font-size: 12.5px; overflow-wrap: anywhere; }
.encoders strong { font-weight: 600; overflow-wrap: anywhere; }
.badge { display: inline-block; min-width: 1.5em; padding: 0 .35em; margin-right: .45em; border-radius: 4px;
  background: var(--ink); color: var(--page); font-size: 11.5px; line-height: 1.55; font-weight: 650;
  text-align: center; }
.facts { list-style: none; padding: 0; margin: 6px 0 14px; display: flex; flex-wrap: wrap; gap: 2px 18px;
  font-size: 13px;
  color: var(--muted); }
.facts b { color: var(--ink); font-weight: 500; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 8px 0; max-width: 100%; background:
  linear-gradient(90deg, transparent, var(--page) 60%) right / 40px 100% no-repeat local,
  linear-gradient(90deg, transparent, var(--line)) right / 14px 100% no-repeat scroll; }
:is(.scroll, summary, button, a, select, pre):focus-visible {
  outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 2px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums lining-nums; font-size: 14px; }
th, td { padding: 4px 14px 4px 0; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line);
  vertical-align: middle; }
thead th { font-size: 12.5px; font-weight: 600; color: var(--muted); vertical-align: bottom; padding-bottom: 5px; }
tbody th { font-weight: 500; }
.number span { display: inline-block; min-width: 2.75em; text-align: right; }
.number small { display: inline-block; min-width: 6.6em; padding-left: .7em; text-align: left; font-size: 12px; }
.wide small { min-width: 7.6em; }
tbody tr:hover { background: var(--head); }
tr.over th { border-bottom: 0; padding-bottom: 0; color: var(--ink); overflow: hidden; text-overflow: ellipsis;
  max-width: 22em; }
tr.difference th { font-weight: 400; }
.sortable thead tr:last-child button { all: unset; cursor: pointer; }
.sortable thead tr:last-child button:hover { color: var(--ink); text-decoration: underline; }
th[aria-sort=ascending] button::after { content: " ▴"; }
th[aria-sort=descending] button::after { content: " ▾"; }
tbody th { position: sticky; left: 0; background: var(--page); z-index: 1; }
.t-better { color: var(--better); font-weight: 600; }
.t-worse { color: var(--worse); font-weight: 600; }
.swatch { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 7px; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 3px 18px; margin: 4px 0; padding: 0; font-size: 13px;
  color: var(--muted); }
.legend b:not(.badge) { color: var(--ink); font-weight: 600; }
.legend .mark { margin-right: 5px; vertical-align: -2px; }
.minus { margin-right: .45em; }
.legend .badge { margin-right: .4em; }
svg rect, .heat path { shape-rendering: crispEdges; }
svg { display: block; }
.legend svg { display: inline-block; }
svg text { font-size: 11px; fill: var(--muted); font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--line); }
svg .tick, svg .zero { stroke: var(--muted); }
svg .zero { stroke-dasharray: 2 2; }
svg .bar { stroke-width: 1.5; opacity: .55; }
svg .form { fill: var(--page); stroke-width: 1.5; }
svg .disc { stroke: var(--page); stroke-width: .6; }
svg [data-tip]:hover .bar { opacity: 1; stroke-width: 2.5; }
.area { stroke-width: 1.2; }
.a-translations { fill: var(--latin); fill-opacity: .5; stroke: var(--latin); background: var(--latin); }
.a-others { fill: var(--other); fill-opacity: .3; stroke: var(--other); background: var(--other); }
.heat text { font-size: 10.5px; }
figure { margin: 12px 0 20px; }
figcaption { font-size: 13px; color: var(--muted); display: flex; flex-wrap: wrap; gap: 4px 2px; align-items: center; }
figcaption .chart { margin-left: 14px; }
.figures { display: flex; flex-wrap: wrap; gap: 0 36px; }
.figures figure { max-width: 100%; }
.figures > figure > svg { max-width: 100%; height: auto; }
details { margin: 12px 0; }
summary { cursor: pointer; color: var(--accent); font-size: 14px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); gap: 12px;
  margin: 10px 0; }
.card { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px 12px;
  min-width: 0; }
.card p { margin: 0 0 6px; font-size: 13px; }
.card dl { margin: 0; }
.card dt { font-size: 12px; color: var(--muted); display: flex; justify-content: space-between;
  font-variant-numeric: tabular-nums; }
.card dd { margin: 0 0 6px; overflow-wrap: anywhere; font-size: 14px; line-height: 1.45; }
.skipped { font-size: 13px; columns: 2; }
pre { font-size: 12px; overflow: auto; max-height: 22em; background: var(--head); padding: 10px 14px;
  border-radius: 6px; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 14px; }
footer p { max-width: none; margin: 48px 0 40px; padding-top: 18px; border-top: 1px solid var(--line);
  color: var(--muted); font-size: 13px; }
select { font: inherit; font-size: 13px; background: var(--panel); color: var(--ink); border: 1px solid var(--line);
  border-radius: 5px; padding: 2px 6px; margin: 8px 0 0; }
#tip { position: fixed; pointer-events: none; background: var(--ink); color: var(--page); font-size: 12.5px;
  padding: 3px 9px;
  border-radius: 5px; max-width: 26em; z-index: 9; font-variant-numeric: tabular-nums; }
@media (max-width: 640px) {
  main, .top, footer { padding: 0 14px; }
  h1 { font-size: 22px; margin-top: 22px; }
  .skipped { columns: 1; }
  section { margin-top: 30px; padding-top: 20px; }
}
@media print { details { display: block; } .scroll { overflow: visible; } }
"""


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}: {value}; " for name, value in colours.items())


def style_sheet() -> str:
    """Return the CSS of the page."""
    lines = [f":root {{ {_variables(_LIGHT)}}}"]
    lines.append(f"@media (prefers-color-scheme: dark) {{ :root {{ {_variables(_DARK)}}} }}")
    lines.append(_RULES)
    for name in _COLOURS:
        lines.append(f".f-{name} {{ fill: var(--{name}); }} .s-{name} {{ stroke: var(--{name}); }}")
        lines.append(f".b-{name} {{ background: var(--{name}); }}")
    lines.append(".f-plain { fill: var(--ink); } .s-plain { stroke: var(--ink); }")
    for number, name in enumerate(_KINDS):
        lines.append(f".k{number} {{ fill: var(--{name}); background: var(--{name}); }}")
    for level in range(HEAT_LEVELS + 1):
        lines.append(f".h{level} {{ fill: var(--heat); fill-opacity: {0.04 + 0.96 * level / HEAT_LEVELS:.3f}; }}")
    for scheme, darkest in (("light", 0.72), ("dark", 0.52)):  # where either colour of text is equally legible
        names = ", ".join(f".heat .n{level}" for level in range(HEAT_LEVELS + 1))
        over = ", ".join(f".heat .n{level}" for level in range(HEAT_LEVELS + 1) if level > darkest * HEAT_LEVELS)
        rules = f"{names} {{ fill: var(--ink); }} {over} {{ fill: var(--heat-ink); }}"
        lines.append(f"@media (prefers-color-scheme: {scheme}) {{ {rules} }}")
    return "\n".join(lines)
