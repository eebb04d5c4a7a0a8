# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages say what is true: sentences, paths, fields and commands that they name exist."""

import ast
import dataclasses
import importlib.util
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from syncsde_engine import __version__
from syncsde_engine.config import CONFIGS, Viewpoint
from syncsde_engine.errors import SyncSDEError

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
SOURCES = ("syncsde_engine", "server", "blender_addon")


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "tools" / "docs_hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def sentences() -> tuple[str, ...]:
    """Every text in the source, with an ellipsis for each value that is put into it."""
    found = []
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(re.sub(r"%[rsd]", "…", node.value))
                elif isinstance(node, ast.JoinedStr):
                    parts = (getattr(part, "value", None) for part in node.values)
                    found.append("".join(p if isinstance(p, str) else "…" for p in parts))
    return tuple(found)


def exists(sentence: str) -> bool:
    return any(sentence in each for each in sentences())


def quoted() -> list[str]:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"^### `(.+)`$", page, re.MULTILINE)


def test_sentences_are_looked_for():
    assert len(quoted()) > 20
    assert exists("There is no model ….")
    assert not exists("There is no model at all.")


@pytest.mark.parametrize("sentence", quoted())
def test_error_messages_are_still_said(sentence):
    """Quoted is one sentence, or several that the program says one after the other."""
    parts = [sentence] if exists(sentence) else re.findall(r"\S.*?[.…](?= [A-Z]|$)", sentence)
    assert parts
    assert [part for part in parts if not exists(part)] == []


def test_every_code_of_an_error_is_explained():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    explained = {code: int(status) for code, status in re.findall(r"\| `(\w+)` \| (\d)", page)}
    real = {kind.code: kind.exit_code for kind in (SyncSDEError, *SyncSDEError.__subclasses__())}
    ours = {code: status for code, status in real.items() if code in explained}
    assert explained == ours
    for kind in SyncSDEError.__subclasses__():
        if kind.__module__ == SyncSDEError.__module__:
            assert kind.code in explained


@pytest.mark.parametrize("page", TEXTS, ids=lambda path: path.name)
def test_paths_exist(page):
    text = page.read_text(encoding="utf-8")
    starts = "syncsde_engine|server|blender_addon|training|tests|tools|examples|benchmarks|docs"
    named = set(re.findall(rf"(?<![\w/.])(?:{starts})/[\w./-]*\w/?", text))
    made = {"training/runs"}
    missing = {name for name in named - made if not (ROOT / name).exists()}
    assert not missing


@pytest.mark.parametrize("page", TEXTS, ids=lambda path: path.name)
def test_flags_exist(page, hooks):
    """Commands in blocks of code use flags that their help knows."""
    blocks = re.findall(r"^(?:    |\t)(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    text = "\n".join(blocks).replace("\\\n", " ")
    # What stands after --command is Blender's: test_command.py runs it.
    for command in re.findall(r"(?:^|(?<!--command)[\s;/])syncsde ([a-z][^\n;#]*)", text):
        name, *rest = command.split()
        if name == "seamless":  # the task of examples/seamless.py, which test_plugins.py runs
            continue
        words = (name, rest[0]) if name in ("submit", "models") else (name,)
        words = ("compare", rest[0]) if name == "compare" else words
        help_text = hooks.help_of(*words)
        for flag in re.findall(r"--[a-z][a-z-]+", command):
            assert re.search(rf"{flag}\b", help_text), (command, flag)


def test_the_reference_has_every_field_and_command(hooks):
    parameters, commands = hooks.parameters_page(), hooks.commands_page()
    tasks = re.split(r"^## ", parameters, flags=re.MULTILINE)
    shared = next(part for part in tasks if part.startswith("Every task"))
    for name, config in [*CONFIGS.items(), ("Viewpoint", Viewpoint)]:
        own = next(part for part in tasks if part.startswith(f"{name}\n"))
        for field in dataclasses.fields(config):
            assert f"| `{field.name}` |" in own + shared, (name, field.name)
    for command in hooks.commands():
        assert f"## syncsde {command}\n\n```text\nusage: syncsde {command}" in commands


def test_formulas_are_typeset_without_scripts(hooks):
    class Page:
        meta = {"math": True}  # noqa: RUF012

    text = hooks.on_page_markdown("Of $a_i$ the root:\n\n$$\\sqrt{a_i}$$\n", Page)
    html = hooks.on_page_content(f"<p>{text.split()[1]}</p><p>{text.split()[-1]}</p>", Page)
    assert "$" not in text
    assert html.count("<math") == 2
    assert "msqrt" in html


@pytest.mark.parametrize("name", ["CITATION.cff", "blender_manifest.toml", "pyproject.toml"])
def test_there_is_one_version(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.findall(r'^version(?:: | = ")([^"\n]*)', text, re.MULTILINE) == [__version__]


class Loads(HTMLParser):
    """What a browser fetches for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.found.append(given.get("src") or "")
        if tag == "link" and given.get("rel") not in ("next", "prev", "canonical"):
            self.found.append(given.get("href") or "")


def test_the_site_loads_nothing_from_elsewhere(tmp_path):
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)
    build(config)
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= len(PAGES)
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        assert loads.found
        assert not [url for url in loads.found if re.match(r"(https?:)?//", url)], page
