# SPDX-License-Identifier: GPL-3.0-or-later
"""Which words of a prompt an edit is about. Spans are (start, end) in characters."""

from __future__ import annotations

import difflib
import re

from .errors import InvalidRequest

Span = tuple[int, int]

WORD = re.compile(r"\w+(?:['’-]\w+)*")  # noqa: RUF001, the apostrophe people paste
ARTICLES = ("a", "an", "the")


def find(words: str, prompt: str) -> list[Span]:
    """Everywhere that `words` stand in the prompt, in whatever case. Raises InvalidRequest."""
    gaps = r"\s+".join(re.escape(word) for word in words.split())
    spans = [match.span() for match in re.finditer(rf"(?<!\w){gaps}(?!\w)", prompt, re.IGNORECASE)]
    if not spans:
        raise InvalidRequest(
            f"The word {words!r} is not in the source prompt {prompt!r}.",
            hint="Name what changes as the source prompt calls it.",
            field="word",
        )
    return spans


def changed(source: str, target: str) -> list[Span]:
    """The words of `source` that `target` replaces or leaves out, without articles.

    Raises InvalidRequest if there are none.
    """
    old = list(WORD.finditer(source))
    before, after = ([word.lower() for word in WORD.findall(text)] for text in (source, target))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    gone = [
        index
        for kind, begin, end, _, _ in matcher.get_opcodes()
        if kind in ("replace", "delete")
        for index in range(begin, end)
        if before[index] not in ARTICLES
    ]
    if not gone:
        raise InvalidRequest(
            f"No word of the source prompt {source!r} is missing in {target!r}, so it is not clear "
            "what changes.",
            hint="Set word to the words of the source prompt whose place is to change, or give a "
            "mask.",
            field="word",
        )
    return [old[index].span() for index in gone]
