# SPDX-License-Identifier: GPL-3.0-or-later
# The libraries annotate less than they accept and return.
# pyright: reportArgumentType=false
"""A small CLIP tokenizer: merges learned from our captions, other text spelled in bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTokenizer

from .captions import write_caption
from .plan import Plan
from .scenes import draw_scene

START, END = "<|startoftext|>", "<|endoftext|>"
_SUFFIX = "</w>"
_CAPTIONS = 20_000


def train_tokenizer(plan: Plan) -> CLIPTokenizer:
    """Learn the merges and return the stock tokenizer class around them."""
    # The stock class brings its own text clean-up; learning must see words exactly as using will.
    stock = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(models.BPE(end_of_word_suffix=_SUFFIX))
    learner.normalizer, learner.pre_tokenizer = stock.normalizer, stock.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    fixed = [*alphabet, *(letter + _SUFFIX for letter in alphabet)]
    trainer = trainers.BpeTrainer(
        vocab_size=plan.vocabulary,
        end_of_word_suffix=_SUFFIX,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    learner.train_from_iterator(_captions(plan.seed), trainer)
    merges = [_pair(entry) for entry in _learned_merges(learner)]
    merges = merges[: plan.vocabulary - len(fixed) - 2]
    # The byte alphabet comes first and complete, with and without the end of a word.
    tokens = dict.fromkeys([*fixed, *(a + b for a, b in merges), START, END])
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=merges,
        model_max_length=plan.text_length,
    )


def encode(tokenizer: CLIPTokenizer, captions: list[str], plan: Plan) -> Tensor:
    """Token ids, (N, text_length) long; what is longer is cut."""
    encoded = tokenizer(
        captions,
        padding="max_length",
        truncation=True,
        max_length=plan.text_length,
        return_tensors="pt",
    )
    return encoded.input_ids


def _captions(seed: int) -> Iterator[str]:
    rng = Random(seed)
    for _ in range(_CAPTIONS):
        yield write_caption(draw_scene(rng.randrange(1 << 30)), rng)


def _learned_merges(learner: Tokenizer) -> list:
    return json.loads(learner.to_str())["model"]["merges"]


def _pair(entry: str | list[str]) -> tuple[str, str]:
    first, second = entry.split(" ") if isinstance(entry, str) else entry
    return first, second
