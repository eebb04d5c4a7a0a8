# SPDX-License-Identifier: GPL-3.0-or-later
"""A prompt as the words that a small network knows."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidRequest

log = logging.getLogger(__name__)
# Words that say nothing of a motion.
SILENT = frozenset(
    re.findall(
        r"\w+",
        "a an the person someone somebody man woman human figure he she they his her their is and "
        "then in to with of on both up down arms",
    )
)


@dataclass(frozen=True)
class KnownWords:
    """Words, each with the forms in which it is written."""

    forms: Mapping[str, Sequence[str]]

    def encode(self, prompt: str) -> Tensor:
        """Which words are in a prompt, (K,) float32 of 0 and 1; all 0 for an empty one.

        Others are left out with a warning. Raises InvalidRequest if none is known.
        """
        number = {form: i for i, forms in enumerate(self.forms.values()) for form in forms}
        number |= {word: i for i, word in enumerate(self.forms)}
        found = torch.zeros(len(self.forms))
        written = re.findall(r"[a-z]+", prompt.lower())
        unknown = [word for word in written if word not in number and word not in SILENT]
        for word in written:
            if word in number:
                found[number[word]] = 1
        if written and not found.any():
            raise InvalidRequest(
                f"The model knows no word of {prompt!r}.",
                hint=f"It knows: {', '.join(self.forms)}.",
                field="prompt",
            )
        if unknown:
            log.warning("words that the model does not know are left out: %s", ", ".join(unknown))
        return found
