# SPDX-License-Identifier: GPL-3.0-or-later
"""Text-driven editing of a real image: its source, what shall be new in it, and the whole.

Section 3.3.2 of the paper, Eqs. 8 to 12, 24 and 25: the layers of the mask task, of which the first
is replayed from the inversion of the image, and the mask is where the network reads the word.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

from torch import Tensor
from torch.nn.functional import interpolate

from .. import pictures, words
from ..config import EditConfig
from ..errors import InvalidRequest
from ..models.attention_maps import Recorder, columns, foreground
from . import Artifacts, Progress
from .mask import layers, topmost
from .rivals import PAPER_GUIDANCE, Edited, rival_of
from .session import Session

LONGEST_SIDE = 2048  # pixels at which the model works
SHEET_CELL = 256  # pixels


def run(config: EditConfig, inputs: Mapping[str, bytes]) -> Generator[Progress, None, Artifacts]:
    """Edit the image; the result has its size in pixels.

    Raises InvalidRequest, MissingWeights, DeviceUnavailable, OutOfMemory or NumericalFailure.
    """
    image = pictures.read(inputs["image"], "inputs.image")
    pictures.require_aspect(image, "inputs.image", "picture")
    given = read_mask(inputs["mask"], image) if "mask" in inputs else None
    rival = rival_of(config, inputs)
    spans = [] if given is not None or rival else word_spans(config)
    yield Progress("load", 0, 1)
    session = Session("edit", config)
    model = session.model
    height, width = working_size(image, config.size, session.settings.image_size, model.scale * 8)
    size = (height // model.scale, width // model.scale)
    mask = None if given is None else topmost([given], *size)
    recorder = None
    if spans:
        readable = session.stable_diffusion
        tokens = columns(readable.tokenizer, config.source_prompt, spans)
        recorder = Recorder(readable.unet, tokens, size)

    with session.clock.measure("encode"):
        latent = model.encode(pictures.resize(image, height, width)[None])
    path = latent[None]
    if rival is None or rival.inverts:
        named = rival is None or rival.named
        path = yield from session.invert(latent, [config.source_prompt if named else ""], recorder)
    if recorder is not None:
        mask = foreground(recorder.soft_mask().cpu(), config.mask_threshold)

    if rival is not None:
        edited = yield from rival.edit(session, config, path)
    else:
        assert mask is not None
        edited = yield from synchronize(session, config, inputs, path, mask)
    yield Progress("write", 0, 1)
    files = draw(session, config, image, mask, edited)
    return session.finish(files, size=max(height, width))


def synchronize(
    session: Session, config: EditConfig, inputs: Mapping[str, bytes], path: Tensor, mask: Tensor
) -> Generator[Progress, None, Edited]:
    """The source, the target in the mask, the target everywhere: the last is the result.

    Paper: negative prompts are not said. The authors steer the whole image away from the source
    prompt and the part in the mask from nothing; so do we, unless one is given.
    """
    canvas = layers(mask, 2, whole=True)
    negative = config.negative_prompt
    unwanted = ["", config.source_prompt] if negative is None else [negative] * 2
    denoiser = session.guided([config.prompt] * 2, unwanted, PAPER_GUIDANCE)
    y = yield from session.synchronize(
        denoiser,
        canvas.overlap(),
        (mask.shape[0], mask.shape[1]),
        inputs,
        recorded=path,
        starts={0: path[0, 0], 2: path[0, 0]},
        picture=lambda y: y[2],
    )
    return Edited(y[2], y[0])


def read_mask(content: bytes, image: Tensor) -> Tensor:
    """What changes, (H, W) bool. Raises InvalidRequest if the mask is not shaped as the image."""
    mask = pictures.read_mask(content, "inputs.mask") > 0.5
    (tall, wide), (height, width) = mask.shape, image.shape[1:]
    if abs(tall * width - wide * height) > max(tall, wide, height, width):  # a pixel of rounding
        raise InvalidRequest(
            f"The mask has {wide} x {tall} pixels and the image {width} x {height}.",
            hint="Draw the mask on the image: white is what changes.",
            field="inputs.mask",
        )
    return mask


def word_spans(config: EditConfig) -> list[words.Span]:
    """Where the words stand that change, in characters of the source prompt."""
    if config.word is not None:
        return words.find(config.word, config.source_prompt)
    return words.changed(config.source_prompt, config.prompt)


def working_size(image: Tensor, longer: int | None, shorter: int, multiple: int) -> tuple[int, int]:
    """At what height and width in pixels the model works, in the aspect of (3, H, W)."""
    height, width = image.shape[1:]
    aspect = max(height, width) / min(height, width)
    longer = min(longer or round(shorter * aspect), LONGEST_SIDE)
    return pictures.fit(height, width, max(1, round(longer / aspect)), multiple)


def draw(
    session: Session, config: EditConfig, image: Tensor, mask: Tensor | None, edited: Edited
) -> Artifacts:
    """Decode to pictures of the image's size, and measure what changed outside the mask."""
    height, width = image.shape[1:]

    def decoded(latent: Tensor) -> Tensor:
        return pictures.resize(session.model.decode(latent[None])[0].cpu(), height, width)

    shown = {"before": image}
    with session.clock.measure("decode"):
        if edited.source is not None:
            shown["reconstruction"] = decoded(edited.source)
        after = decoded(edited.result)
    if mask is not None:
        shown["mask"] = interpolate(mask[None, None].float(), (height, width))[0].expand(3, -1, -1)
        outside = shown["mask"] == 0
        difference = float(((after - image).abs() * outside).sum() / outside.sum().clamp(min=1))
        session.results["background_difference"] = difference
    shown["after"] = after
    pixels = {name: pictures.to_bytes(picture) for name, picture in shown.items()}
    title = f"{config.source_prompt} -> {config.prompt}"
    sheet = pictures.contact_sheet([list(pixels.items())], title, SHEET_CELL)
    pixels["image"] = pixels.pop("after")
    del pixels["before"]
    return {f"{name}.png": pictures.png(picture) for name, picture in pixels.items()} | {
        "sheet.png": pictures.png(sheet)
    }
