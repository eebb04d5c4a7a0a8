# SPDX-License-Identifier: GPL-3.0-or-later
# The libraries annotate less than they accept and return.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""Teaching the text encoder what captions speak of, before any picture is drawn.

Through the UNet alone the encoder learns this slowly: after 8500 steps a linear probe read the
material from the last word's state of only 0.57 of the captions, and "a red statue" and "a red
brick statue" gave the same picture. Told what a scene shows, it takes a minute.
"""

from __future__ import annotations

import logging
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from .captions import view_word, write_caption
from .landscapes import PLACES, SKIES
from .materials import COLORABLE, COLORS, MATERIALS
from .plan import Plan
from .scenes import KINDS, Scene, draw_scene
from .tokenizer import encode

log = logging.getLogger(__name__)

NONE = "none"  # of an attribute that a scene does not have, or that its caption cannot tell
CLASSES: dict[str, tuple[str, ...]] = {
    "kind": KINDS,
    "material": (*MATERIALS, NONE),
    "color": (*COLORS, NONE),
    "background": (*COLORS, NONE),
    "wall": (*MATERIALS, NONE),
    "wall color": (*COLORS, NONE),
    "place": (*PLACES, NONE),
    "time": (*SKIES, NONE),
    "view": ("front", "side", "back", "top", "bottom", NONE),
}
_SEEDS = 7_000_000_000  # no run's data set has these
_BATCH = 64
_RATE = 1e-3
_RIDGE = 1e-2  # of the states' mean square


def attributes(scene: Scene, caption: str) -> dict[str, str]:
    """What a caption says of its scene."""
    wall, wall_color = scene.wall or (NONE, NONE)
    place, time = scene.landscape or (NONE, NONE)
    view = view_word(scene.azimuth, scene.elevation)
    return {
        "kind": scene.kind,
        "material": scene.material or NONE,
        "color": (scene.color or NONE) if scene.material in COLORABLE else NONE,
        "background": scene.background or NONE,
        "wall": wall,
        "wall color": wall_color if wall in COLORABLE else NONE,
        "place": place,
        "time": time,
        "view": view if f", {view} view" in caption else NONE,
    }


def teach(text: CLIPTextModel, tokenizer: CLIPTokenizer, plan: Plan) -> float:
    """Train `text` in place to tell all attributes in its states from the last word on.

    Those are most of the states that the UNet looks at. Returns the share of attributes that a
    linear map reads from captions of the last step.
    """
    torch.manual_seed(plan.seed)
    heads = nn.ModuleDict(
        {name: nn.Linear(plan.text_width, len(classes)) for name, classes in CLASSES.items()}
    )
    parameters = [*text.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, _RATE, weight_decay=0.01)
    falling = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=plan.text_steps)
    right = 0.0
    text.train()
    for step in range(plan.text_steps):
        ids, labels = _captions(tokenizer, plan, step)
        states = text(ids).last_hidden_state
        ended = ids.eq(tokenizer.eos_token_id).cumsum(1) > 0
        weight = ended / ended.sum(1, keepdim=True)
        losses, hits = [], []
        for name, head in heads.items():
            logits, label = head(states), labels[name][:, None].expand(ids.shape)
            loss = F.cross_entropy(logits.movedim(-1, 1), label, reduction="none")
            losses.append((loss * weight).sum(1).mean())
            hits.append(((logits.argmax(-1) == label) * weight).sum(1).mean().item())
        torch.stack(losses).sum().backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        falling.step()
        right = sum(hits) / len(hits)
        if (step + 1) % 250 == 0:
            named = ", ".join(f"{n} {h:.2f}" for n, h in zip(CLASSES, hits, strict=True))
            log.info("text: step %d of %d, %s", step + 1, plan.text_steps, named)
    text.eval()
    return right


def _captions(tokenizer: CLIPTokenizer, plan: Plan, step: int) -> tuple[Tensor, dict[str, Tensor]]:
    rng = Random(plan.seed * 7_000_003 + step)
    scenes = [draw_scene(_SEEDS + rng.randrange(1 << 30), plan.shares) for _ in range(_BATCH)]
    captions = [write_caption(scene, rng) for scene in scenes]
    said = [attributes(scene, caption) for scene, caption in zip(scenes, captions, strict=True)]
    labels = {
        name: torch.tensor([classes.index(one[name]) for one in said])
        for name, classes in CLASSES.items()
    }
    return encode(tokenizer, captions, plan), labels


@torch.no_grad()
def fold(
    before: CLIPTextModel,
    after: CLIPTextModel,
    networks: list[nn.Module],
    tokenizer: CLIPTokenizer,
    plan: Plan,
) -> float:
    """Let networks that know the states of `before` read those of `after` as they were.

    The old states are a linear map of the new ones, in least squares, and the map goes into the
    cross-attention's keys and values. Returns the share of the old variance that is kept.
    """
    batches = [_captions(tokenizer, plan, step)[0] for step in range(1_000_000, 1_000_012)]
    ids = torch.cat(batches)
    old, new = (text(ids).last_hidden_state.flatten(0, 1).double() for text in (before, after))
    # No offset: keys and values have none. A little ridge, because after a layer norm states hardly
    # differ in some directions: without it weights grow a thousandfold and learn no more.
    covariance = new.T @ new
    ridge = _RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance))
    matrix = torch.linalg.solve(covariance + ridge, new.T @ old)  # new @ matrix is about old
    kept = 1 - (new @ matrix - old).square().sum() / (old - old.mean(0)).square().sum()
    for network in networks:
        for name, module in network.named_modules():
            if name.endswith(("attn2.to_k", "attn2.to_v")):
                module.weight.copy_((module.weight.double() @ matrix.T).float())
    return float(kept)
