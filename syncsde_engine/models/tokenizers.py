# SPDX-License-Identifier: GPL-3.0-or-later
"""CLIP's tokenizer, for models that come without one."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

from transformers import CLIPTokenizer

MERGES = Path(__file__).parent / "clip" / "merges.txt.gz"
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
TOKENS = 49408
WINDOW = 77
PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes that stand for themselves


def clip_tokenizer(pad: str = END) -> CLIPTokenizer:
    """That of all text encoders of Stable Diffusion 1, 2 and XL; they differ in what they pad with.

    Its 49408 tokens are 256 bytes, the same at the end of a word, what is merged, and two marks.
    """
    merges = gzip.decompress(MERGES.read_bytes()).decode("utf-8").splitlines()
    others = (chr(256 + number) for number in range(256))
    letters = [chr(byte) for byte in PRINTABLE]
    letters += [next(others) for byte in range(256) if byte not in PRINTABLE]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += ["".join(pair.split()) for pair in merges] + [BEGIN, END]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, pairs = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        numbered = {word: number for number, word in enumerate(words)}
        vocabulary.write_text(json.dumps(numbered), encoding="utf-8")
        pairs.write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
        return CLIPTokenizer(str(vocabulary), str(pairs), model_max_length=WINDOW, pad_token=pad)
