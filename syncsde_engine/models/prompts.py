# SPDX-License-Identifier: GPL-3.0-or-later
"""Prompts as the tokens of a text encoder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

log = logging.getLogger(__name__)


def tokenize(tokenizer: Any, prompts: Sequence[str], window: int) -> Any:
    """Tokenize to `window` tokens each, padded: `input_ids` and `attention_mask`, (N, window).

    What is longer than the window is cut off at its end, with a warning.
    """
    whole = tokenizer(list(prompts), verbose=False).input_ids
    cut = [ids[window - 1 : -1] for ids in whole if len(ids) > window]
    if cut:
        lost = dict.fromkeys(tokenizer.decode(ids).strip() for ids in cut)
        log.warning(
            "prompts are cut to the model's %d tokens; lost: %s",
            window,
            "; ".join(repr(words) for words in lost),
        )
    return tokenizer(
        list(prompts),
        padding="max_length",
        truncation=True,
        max_length=window,
        return_tensors="pt",
    )
