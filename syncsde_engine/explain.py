# SPDX-License-Identifier: GPL-3.0-or-later
"""What pydantic finds wrong with a parameter, said in one plain sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from .errors import InvalidRequest

KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "string_unicode": "a text in Unicode",
    "tuple_type": "a list",
    "dataclass_type": "a JSON object",
    "dict_type": "a JSON object",
    "model_type": "a JSON object",
    "int_parsing": "a whole number",
    "float_parsing": "a number",
}
LIMITS = {
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
    "greater_than": ("gt", "more than"),
    "less_than": ("lt", "less than"),
    "multiple_of": ("multiple_of", "a multiple of"),
}
LONGEST_SHOWN = 60  # characters of a wrong value


def explain(error: ValidationError, properties: Mapping[str, Any]) -> InvalidRequest:
    """Name all fields that are missing, or else the first that is wrong, and what is wanted.

    `properties` are those of the fields' JSON Schema.
    """
    wrong = error.errors(include_url=False)
    missing = [place_of(entry) for entry in wrong if entry["type"].startswith("missing")]
    if missing:
        told = f"{missing[0]} is" if len(missing) == 1 else f"{', '.join(missing)} are"
        hint = (
            f"It says {about(properties, missing[0])}."
            if missing[1:] == [] and missing[0] in properties
            else ""
        )
        return InvalidRequest(f"{told} missing.", hint=hint, field=missing[0].partition("[")[0])
    first = wrong[0]
    field = ".".join(str(part) for part in first["loc"]) or "parameters"
    about_it = about(properties, field.partition(".")[0])
    sentence, hint = said(first, place_of(first), about_it)
    return InvalidRequest(sentence, hint=hint, field=field)


def place_of(wrong: Any) -> str:
    """prompt_at[0][1]: what is wrong in a list is found by counting from 0, as in JSON."""
    place = wrong["loc"] or ("parameters",)
    return str(place[0]) + "".join(
        f".{part}" if isinstance(part, str) else f"[{part}]" for part in place[1:]
    )


def about(properties: Mapping[str, Any], name: str) -> str:
    return properties.get(name, {}).get("description", "")


def said(wrong: Any, name: str, description: str) -> tuple[str, str]:
    """One sentence and a hint. `wrong` is an entry of pydantic's list of errors."""
    kind, value, context = wrong["type"], wrong.get("input"), wrong.get("ctx", {})
    shown = repr(value)
    if len(shown) > LONGEST_SHOWN:
        shown = f"{shown[:LONGEST_SHOWN]}..."
    meaning = f"It says {description}." if description else ""
    if kind in KINDS:
        return f"{name} must be {KINDS[kind]} (got {shown}).", ""
    if kind in LIMITS:
        key, words = LIMITS[kind]
        return f"{name} must be {words} {context[key]:g} (got {shown}).", ""
    if kind in ("string_pattern_mismatch", "string_too_short") and not value.strip():
        return f"{name} is empty.", meaning
    if kind == "string_pattern_mismatch":
        return f"{name} cannot be {shown}.", f"Wanted: {description}." if description else ""
    if kind == "string_too_long":
        longest = context["max_length"]
        return f"{name} has {len(value)} characters, and at most {longest} are taken.", ""
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"There is no {name}.", meaning
    if kind == "literal_error":
        return f"{name} cannot be {shown}.", f"Choose {context['expected']}."
    if kind == "too_short":
        found, least = context["actual_length"], context["min_length"]
        entries = "entry" if found == 1 else "entries"
        return f"{name} has {found} {entries}, and at least {least} must be given.", meaning
    if kind == "too_long":
        most = context["max_length"]
        return f"{name} has more than {most} entries.", "Leave some out."
    return f"{name}: {wrong['msg'].removeprefix('Value error, ')} (got {shown}).", ""
