# SPDX-License-Identifier: GPL-3.0-or-later
"""What mkdocs cannot do itself: formulas without scripts, and the reference, from the source.

The reference is made anew in every build of the commands' `--help` and of the tasks' Configs, so it
cannot be behind them. Formulas, `$...$` and `$$...$$` on pages with `math: true`, become MathML.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import io
import json
import os
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import TypeAdapter

from syncsde_engine.cli import COMMANDS, main
from syncsde_engine.config import CONFIGS, Sampling, Viewpoint

WIDTH = 92  # characters of help texts
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)
PLACE = "formula-{}-here"
NESTED = {"models": ("list", "show"), "compare": tuple(CONFIGS)}  # commands with commands


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of the source."""
    for name, content in (("commands", commands_page()), ("parameters", parameters_page())):
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Put places where formulas go, so that Markdown does not read them."""
    if not page.meta.get("math"):
        return markdown
    formulas: list[str] = []

    def place(found: re.Match[str]) -> str:
        block, inline = found.groups()
        formula = convert(block or inline, display="block" if block else "inline")
        formulas.append(f'<div class="formula">{formula}</div>' if block else formula)
        return PLACE.format(len(formulas) - 1)

    page.meta["formulas"] = formulas
    return FORMULA.sub(place, markdown)


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Put the formulas into their places."""
    for number, formula in enumerate(page.meta.get("formulas", ())):
        place = PLACE.format(number)
        html = html.replace(f"<p>{place}</p>", formula).replace(place, formula)
    return html


def commands_page() -> str:
    """Every command's help, as a page."""
    parts = [
        "# Commands",
        "Made from the program: what `syncsde COMMAND --help` prints.",
        help_of(),
    ]
    for command in commands():
        parts += [f"## syncsde {command}", help_of(command)]
        if command != "compare":  # its tasks take what the tasks themselves take
            for action in NESTED.get(command, ()):
                parts += [f"### syncsde {command} {action}", help_of(command, action)]
    parts += [
        "## Exit codes",
        "0 done, 1 internal, 2 bad input, 3 model, device or engine not available, 4 out of "
        "memory, 5 cancelled, 6 partly done (`compare`, `batch`).",
    ]
    return "\n\n".join(parts) + "\n"


def commands() -> list[str]:
    """Names of all commands, the tasks first."""
    above = sorted(each.name for each in importlib.metadata.entry_points(group=COMMANDS))
    return [*CONFIGS, "compare", "batch", "replay", "verify", "models", "library", *above]


@cache
def help_of(*command: str) -> str:
    """What `syncsde COMMAND --help` prints, as a block of code."""
    printed, columns = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main([*command, "--help"])
    finally:
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns
    return f"```text\n{printed.getvalue().strip()}\n```"


def parameters_page() -> str:
    """Every field of every task's Config, as a page."""
    shared = {field.name for field in dataclasses.fields(Sampling)}
    parts = [
        "# Parameters",
        "Made from `syncsde_engine/config.py`. These are the fields of a job, in JSON (`--job "
        "FILE.json`, the engine's HTTP interface) and in Python; a flag of the command line is "
        "called the same, with hyphens: `inverse_lambda` is `--inverse-lambda`.",
        "## Every task",
        table(Sampling, shared),
    ]
    for task, config in CONFIGS.items():
        names = {field.name for field in dataclasses.fields(config)}
        standard = {field.name: field.default for field in dataclasses.fields(Sampling)}
        changed = {
            field.name
            for field in dataclasses.fields(config)
            if field.name in shared and field.default != standard[field.name]
        }
        named = ", ".join(f"`{name}`" for name in config.inputs) or "none"
        optional = ", ".join(numbered(config.optional_inputs))
        parts += [
            f"## {task}",
            f"{(config.__doc__ or '').strip()} Files: {named}; optional: {optional}.",
            table(config, names - shared | changed | ({"strategy"} if task == "edit" else set())),
        ]
    parts += ["## Viewpoint", "An entry of `viewpoints`.", table(Viewpoint)]
    return "\n\n".join(parts) + "\n"


def numbered(names: Sequence[str]) -> list[str]:
    """Names as code; of some that differ by a number, the first and the last."""
    series: dict[str, list[str]] = {}
    for name in names:
        series.setdefault(re.sub(r"_\d+$", "_", name), []).append(f"`{name}`")
    return [f"{some[0]} to {some[-1]}" if len(some) > 1 else some[0] for some in series.values()]


def table(config: type, names: set[str] | None = None) -> str:
    """The fields of a dataclass, or those named, as a Markdown table."""
    schema = TypeAdapter(config).json_schema()
    required = schema.get("required", [])
    rows = ["| field | type | default | |", "| --- | --- | --- | --- |"]
    for name, field in schema["properties"].items():
        if names is not None and name not in names:
            continue
        standard = "required" if name in required else shown(field.get("default"))
        text = field.get("description", "").replace("|", "\\|")
        rows.append(f"| `{name}` | {kind(field)} | {standard} | {text} |")
    return "\n".join(rows)


def shown(value: object) -> str:
    """A default as code; nothing where there is none."""
    if value is None or value == [] or value == "":
        return ""
    return f"`{json.dumps(value)}`" if isinstance(value, bool | list) else f"`{value}`"


def kind(field: dict[str, Any]) -> str:
    """A type of the schema in words, with its limits."""
    if "anyOf" in field:
        parts = [part for part in field["anyOf"] if part.get("type") != "null"]
        return " or ".join(kind(part) for part in parts)
    if "$ref" in field:
        return "[viewpoint](#viewpoint)"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        if "prefixItems" in field:
            return f"[{', '.join(kind(part) for part in field['prefixItems'])}]"
        most = f", at most {field['maxItems']}" if "maxItems" in field else ""
        return f"list of {kind(field['items'])}{most}"
    names = {"integer": "whole number", "string": "text", "boolean": "true or false"}
    return names.get(field["type"], str(field["type"])) + limits(field)


def limits(field: dict[str, Any]) -> str:
    """The range of a number, in words."""
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum"))
    if low is None or abs(low) >= 1e30:  # a coordinate
        return ""
    above = "above " if "exclusiveMinimum" in field else ""
    if high is None:
        return f", {above}{low}" if above else f", from {low}"
    below = "below " if "exclusiveMaximum" in field else ""
    more = f", a multiple of {field['multipleOf']}" if "multipleOf" in field else ""
    return f", {above}{low} to {below}{high}{more}"
