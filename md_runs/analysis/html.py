"""The report as one HTML file that needs no other: figures inside, no script, fit to be printed."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape

from md_runs.analysis.section import Section, Table

FOOTER = "Numbers behind each figure: the CSV file of the same name. Made by polcalc analyse."
CSS = """
:root {
  --ink: #1c2430; --soft: #5d6877; --line: #d9dee5; --paper: #ffffff; --wash: #f5f7fa;
  --accent: #0072b2; --warn: #9a5b00;
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--wash); color: var(--ink);
  font: 15px/1.55 system-ui, "Segoe UI", Helvetica, Arial, sans-serif;
}
main {
  max-width: 880px; margin: 32px auto; padding: 44px 56px 56px; background: var(--paper);
  border: 1px solid var(--line);
}
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 44px 0 6px; padding-top: 14px; border-top: 1px solid var(--line); }
p { margin: 6px 0 12px; }
.subtitle, .caption, footer { color: var(--soft); font-size: 13.5px; }
nav { margin: 20px 0 8px; font-size: 13.5px; columns: 3; column-gap: 24px; }
nav a { display: block; color: var(--accent); text-decoration: none; padding: 1px 0; }
nav a:hover { text-decoration: underline; }
figure { margin: 14px 0 8px; text-align: center; }
img { max-width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table {
  border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums;
  margin: 8px 0 4px;
}
th {
  text-align: left; font-weight: 600; border-bottom: 1.5px solid var(--ink);
  padding: 4px 14px 4px 0; vertical-align: bottom;
}
td { border-bottom: 1px solid var(--line); padding: 4px 14px 4px 0; vertical-align: top; }
td:first-child { white-space: nowrap; }
.warning {
  border-left: 3px solid #e69f00; background: #fff8ea; color: var(--warn); padding: 7px 12px;
  margin: 8px 0; font-size: 13.5px;
}
footer { margin-top: 44px; padding-top: 14px; border-top: 1px solid var(--line); }
@media (max-width: 700px) { main { margin: 0; padding: 22px 18px; border: 0; } nav { columns: 2; } }
@media print {
  body { background: none; font-size: 10.5pt; }
  main { border: 0; margin: 0; padding: 0; max-width: none; }
  figure, table { break-inside: avoid; }
  h2 { break-after: avoid; }
  nav { display: none; }
}
"""


def render(
    title: str,
    subtitle: str,
    runs: Table,
    sections: Sequence[Section],
    images: Mapping[str, bytes],
    left_out: Sequence[str],
) -> str:
    """Write the report.

    Parameters
    ----------
    runs : Table            what was analysed
    images                  PNG of each section, by key
    left_out                reasons why a section is not there
    """
    body = "\n".join(_section(section, images[section.key]) for section in sections)
    contents = "".join(
        f'<a href="#{section.key}">{escape(section.title)}</a>' for section in sections
    )
    reasons = "".join(_warning(reason) for reason in left_out)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{CSS}</style>
</head>
<body>
<main>
<h1>{_formulas(title)}</h1>
<p class="subtitle">{escape(subtitle)}</p>
{_table(runs)}
{reasons}
<nav>{contents}</nav>
{body}
<footer>{FOOTER}</footer>
</main>
</body>
</html>
"""


def _section(section: Section, image: bytes) -> str:
    encoded = base64.b64encode(image).decode("ascii")
    warnings = "".join(_warning(text) for text in section.warnings)
    return f"""<section id="{section.key}">
<h2>{escape(section.title)}</h2>
<figure><img alt="{escape(section.title)}" src="data:image/png;base64,{encoded}"></figure>
<p class="caption">{escape(section.text)}</p>
{warnings}
{_table(section.table)}
</section>"""


def _warning(text: str) -> str:
    return f'<p class="warning">{escape(text)}</p>'


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    header = "".join(f"<th>{escape(str(cell))}</th>" for cell in table.header)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{header}</tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _formulas(text: str) -> str:
    """Set the numbers of chemical formulas low."""
    return re.sub(r"(?<=[A-Za-z])(\d+)", r"<sub>\1</sub>", escape(text))


def _cell(value: object) -> str:
    """Escape a cell; 10^-5 becomes a superscript."""
    text = escape(str(value))
    before, caret, exponent = text.partition("10^")
    return f"{before}10<sup>{exponent.replace('-', '−')}</sup>" if caret else text
