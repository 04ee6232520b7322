"""The script of report.html: tables that sort, texts beside the pointer, a filter; the page reads well without it."""

from __future__ import annotations

SCRIPT = """
"use strict";
(() => {
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    [...[...table.tHead.rows].at(-1).cells].forEach((head, column) => {
      if (head.classList.contains("fixed")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const numeric = [...body.rows].some((row) => row.cells[column].dataset.value !== undefined);
        const before = head.getAttribute("aria-sort");
        const order = before === null ? (numeric ? "descending" : "ascending")
          : before === "ascending" ? "descending" : "ascending";
        for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const rows = [...body.rows].map((row) => [value(row, column), row]);
        rows.sort((a, b) => sign * compare(a[0], b[0]));
        body.append(...rows.map((pair) => pair[1]));
      });
    });
  }

  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const show = (text, event) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const x = Math.min(event.clientX + 14, window.innerWidth - box.width - 6);
    const below = event.clientY + 18 + box.height <= window.innerHeight;
    const y = below ? event.clientY + 18 : event.clientY - box.height - 8;
    tip.style.transform = `translate(${Math.max(4, x)}px, ${y}px)`;
  };
  tip.style.left = tip.style.top = "0";

  const cellText = (group, event) => {
    const svg = group.ownerSVGElement;
    const box = svg.getBoundingClientRect();
    const size = Number(group.dataset.cell);
    const column = Math.floor((event.clientX - box.left - Number(group.dataset.left)) / size);
    const row = Math.floor((event.clientY - box.top - Number(group.dataset.top)) / size);
    const rows = group.dataset.rows.split("\\t"), columns = group.dataset.columns.split("\\t");
    const text = group.dataset.grid.split(";")[row]?.split(",")[column];
    return text ? `${rows[row]} \\u2192 ${columns[column]}: ${text}` : "";
  };
  document.addEventListener("pointermove", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const marked = target?.closest("[data-tip]"), grid = target?.closest("[data-grid]");
    const text = marked ? marked.dataset.tip : grid ? cellText(grid, event) : "";
    if (text) show(text, event); else tip.hidden = true;
  });

  for (const cards of document.querySelectorAll(".filtered")) {
    const names = new Map();
    for (const card of cards.children) names.set(card.dataset.language, card.querySelector("b").textContent);
    if (names.size < 2) continue;
    const select = document.createElement("select");
    select.setAttribute("aria-label", "language of the query");
    select.append(new Option("all languages", ""));
    const sorted = [...names].sort((a, b) => a[1].localeCompare(b[1]));
    select.append(...sorted.map(([code, name]) => new Option(name, code)));
    select.addEventListener("change", () => {
      for (const card of cards.children) card.hidden = select.value !== "" && card.dataset.language !== select.value;
    });
    cards.before(select);
  }
})();
"""
