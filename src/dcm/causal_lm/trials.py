"""Trials: what may be done with a model is tried with it, once, and never looked up by its name.

Windows and chunks of attention, layers that are no attention, positions that a model counts for
itself or stretches with the length of what it reads: each is harmless in one way of running a model
and wrong in another, and what a model is called says little of it. So every way of running it that
is faster than the plainest is compared with the plainest before it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dcm.causal_lm.calling import known, named
from dcm.causal_lm.decoding import Reader, Way
from dcm.causal_lm.generator_loss import generator_loss
from dcm.causal_lm.rounding import Rounding, rounded_again
from dcm.errors import GeneratorError
from dcm.memory_limit import is_out_of_memory
from dcm.strands import Layout, Strands, StrandScores

Score = Callable[[Tensor, Strands], StrandScores]
"""A way of scoring strands behind contents [R, K, D]."""

# Slots of the contents in a trial, and tokens of its short strands.
_SLOTS, _SHORT = 4, 5

# Draws of texts where one is off in few bits, and what rounding may explain at the most: what reads
# other positions than it should is further off than this share of a gradient.
_DRAWS, _FAR = 5, 0.5


def scores_as_alone(
    model: Any, score: Score, length: int, layout: Layout, *, count: int = 2
) -> bool:
    """Whether a way of scoring gives each strand the loss and the gradient that it has alone.

    Alone is one sequence without padding. A row has a strand almost as long as `length` and short
    ones before and behind it, so that what reaches only so far (a window of attention) or begins
    only there (sparse attention, stretched positions) shows up to that length, as does what leaks
    from one strand into the next.

    In few bits a gradient may be far off by a router of experts that turns with a rounding, now and
    then: so where the first one is off, several are compared, by their medians, with how far
    rounding alone takes them. What is wrong is wrong each time.

    Args:
        model: a Hugging Face causal language model.
        score: the way of scoring; where it cannot do it at all, it raises.
        length: positions that all strands of a row take together with their content.
        layout: where the mode vector stands.
        count: strands of a row.
    """
    limit = Rounding.of(model.dtype)
    off = _off(model, score, length, layout, count)
    if off is None:
        return False
    if off.loss <= limit.loss and max(off.gradients) <= limit.gradient:
        return True
    if model.dtype.itemsize > 2:
        return False
    found = [off]
    for draw in range(1, _DRAWS):
        another = _off(model, score, length, layout, count, draw)
        if another is None:
            return False
        found.append(another)
    rounded = median(each.rounded for each in found[1:])
    most = min(limit.gradient + 2 * rounded, _FAR)
    return median(each.loss for each in found) <= limit.loss and all(
        median(row) <= most for row in zip(*(each.gradients for each in found), strict=True)
    )


class _Off(NamedTuple):
    """How far a way of scoring is from each strand alone, as shares.

    Attributes:
        loss: of the largest loss.
        gradients: of the norm of a row's gradient. Row by row: a strand alone is right whatever
            stands in other rows.
        rounded: likewise, the most that rounding alone made of those alone.
    """

    loss: float
    gradients: tuple[float, ...]
    rounded: float


@torch.enable_grad()
def _off(
    model: Any, score: Score, length: int, layout: Layout, count: int, draw: int = 0
) -> _Off | None:
    """How far it is for one draw of texts; None where it cannot score them."""
    content, strands = _rows(model, length, layout, count, draw)
    content.requires_grad_()

    def alone() -> tuple[Tensor, Tensor]:
        losses = torch.stack(
            [
                generator_loss(model, torch.tensor(ids, device=lead.device), prompt)
                for ids, lead, prompt in zip(
                    strands.ids, strands.lead, _prompts(content, strands), strict=True
                )
            ]
        )
        return losses.detach(), torch.autograd.grad(losses.sum(), content)[0]

    try:
        nll = score(content, strands).nll
        (gradient,) = torch.autograd.grad(nll.sum(), content)
    except Exception as error:  # whatever a model's own code raises
        if is_out_of_memory(error):
            raise
        return None
    losses, true = alone()

    def apart(other: Tensor) -> tuple[float, ...]:
        norms = [each.flatten(1).norm(dim=1) for each in (other - true, true)]
        return tuple((norms[0] / norms[1]).nan_to_num(torch.inf).tolist())

    rounded = 0.0
    if draw:
        with rounded_again(model):
            rounded = max(apart(alone()[1]))
    return _Off(
        loss=float((nll.detach() - losses).abs().max() / losses.abs().max()),
        gradients=apart(gradient),
        rounded=rounded,
    )


def reads_vectors(model: Any) -> bool:
    """Whether embeddings say all of a token: whether a model fed them is the model fed the ids.

    Some look up more by a token's id than its embedding.

    Raises:
        GeneratorError: the model takes no vectors, or none but embeddings.
    """
    ids = some_ids(model, 24)[None]
    by_ids = states(model, input_ids=ids)
    embedded = model.get_input_embeddings()(ids)
    asked = f"{type(model).__name__} cannot be fed vectors"
    if not named(model, "inputs_embeds"):
        there = "Its forward has no `inputs_embeds`"
        raise GeneratorError(asked, there, "Use another model")
    try:
        by_vectors = states(model, inputs_embeds=embedded)
        # Contents are no token's embedding.
        states(model, inputs_embeds=embedded + embedded.flip(1))
    except Exception as error:  # whatever a model's own code raises
        if is_out_of_memory(error):
            raise
        there = f"It says: {' '.join(str(error).split())[:200]}"
        raise GeneratorError(asked, there, "Use another model") from error
    # The same numbers by the same kernels.
    return alike(by_vectors, by_ids, Rounding.of(torch.float32).states)


def is_causal(model: Any, length: int) -> bool:
    """Whether no position sees those behind it, in a sequence of `length` positions."""
    ids = some_ids(model, length)
    other = ids.clone()
    half = length // 2
    other[half:] = ids[half:].flip(0).roll(3)
    embedded = model.get_input_embeddings()(torch.stack([ids, other]))
    found = states(model, inputs_embeds=embedded)[:, :half]
    return alike(found[0], found[1], Rounding.of(model.dtype).states)


def is_steady(model: Any, least: int, length: int) -> bool:
    """Whether positions are read alike however many stand behind them, from `least` to `length`.

    Where they are not (positions that are stretched once there are many, choices among all keys),
    padding on the right is not nothing, and what was read into a cache is not what would be read
    now.
    """
    embedded = model.get_input_embeddings()(some_ids(model, length))[None]
    whole = states(model, inputs_embeds=embedded)
    return all(
        alike(
            whole[:, :first],
            states(model, inputs_embeds=embedded[:, :first]),
            Rounding.of(model.dtype).states,
        )
        for first in (least, (least + length) // 2)
    )


def reads_on(model: Any, way: Way, prompt: int) -> bool:
    """Whether a way of reading on gives what reading the whole gives, after texts leave, too.

    Four texts of two prompts, read once each and doubled; two of them leave.

    Args:
        model: a Hugging Face causal language model.
        way: the way.
        prompt: positions of the prompt.
    """
    ids = torch.stack([some_ids(model, prompt + 4), some_ids(model, prompt + 4, 1)])
    behind = torch.stack([some_ids(model, 4, place) for place in range(2, 6)])
    place = torch.tensor([0, 1, 1, 0], device=ids.device)
    ids = torch.cat([ids[place, :prompt], behind], 1)
    embedded = model.get_input_embeddings()(ids)
    try:
        reader, kept = Reader(model, way), torch.arange(4, device=ids.device)
        if way.chooses:
            reader.read(embedded[:2, :prompt])
            reader.keep(place)
        else:
            reader.read(embedded[:, :prompt])
        found = []
        for step in range(4):
            if step == 2 and way.chooses:
                kept = kept[[1, 3]]
                reader.keep(torch.tensor([1, 3], device=ids.device))
            own = embedded[kept, prompt + step, None]
            found.append(reader.read(own))
        whole = last_logits(model, 4, inputs_embeds=embedded)
        expected = [whole[:, step] for step in range(2)] + [whole[kept, step] for step in (2, 3)]
    except Exception as error:  # whatever a model's own code raises
        if is_out_of_memory(error):
            raise
        return False
    return alike(torch.cat(found), torch.cat(expected), Rounding.of(model.dtype).decoding)


class GradientError(NamedTuple):
    """How far a gradient is from the true one.

    Attributes:
        share: of the true one's norm.
        rounding: how much of that the measurement itself may have made, likewise.
    """

    share: float
    rounding: float


def gradient_error(model: Any) -> GradientError:
    """How far the gradient in the content is from the true one.

    Some layers compute on bare numbers and drop the gradient without a word. Four contents are
    moved a little each way along random directions, and how the logits behind them move is
    compared, along as many random directions of theirs, with what the gradient says. Of several
    step widths the best counts: small ones are rounded away in few bits, large ones leave the
    tangent. How far two of them are apart tells how much is rounding: in few bits, through many
    layers, it is a good part.
    """
    embedding = model.get_input_embeddings()
    random = torch.Generator().manual_seed(0)
    ids = torch.stack([some_ids(model, 2 * _SLOTS, place) for place in range(4)])
    start = embedding(ids).float()
    content = start[:, :_SLOTS].clone()

    def noise(shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=random).to(content.device)

    def moved(by: Tensor) -> Tensor:
        sequence = torch.cat([content + by, start[:, _SLOTS:]], 1).to(embedding.weight.dtype)
        return last_logits(model, 1, inputs_embeds=sequence)[:, -1].float()

    along = noise(content.shape) * content.std()
    with torch.enable_grad():
        by = torch.zeros_like(content).requires_grad_()
        found = moved(by)
        if not found.requires_grad:
            return GradientError(1.0, 0.0)
        weight = noise(found.shape)
        (gradient,) = torch.autograd.grad((weight * found).sum(), by, allow_unused=True)
    if gradient is None:
        return GradientError(1.0, 0.0)
    said = (gradient * along).flatten(1).sum(1)
    errors, slopes = [], []
    for width in (1e-4, 1e-3, 1e-2, 0.05, 0.2):
        with torch.no_grad():
            slope = (moved(width * along) - moved(-width * along)) / (2 * width)
        off = (weight * slope).sum(1) - said
        errors.append(off.abs() / slope.norm(dim=1).clamp(min=1e-30))
        slopes.append(slope)
    apart = [
        float((one - other).norm() / other.norm().clamp(min=1e-30))
        for one, other in pairwise(slopes)
    ]
    # The best of each content: near some a router's choice turns, in one width or another.
    best = torch.stack(errors).amin(0)
    return GradientError(float(best.square().mean().sqrt()), min(apart))


def alike(one: Tensor, other: Tensor, share: float) -> bool:
    """Whether states differ by that share of their norm at most; what is not finite does not."""
    return bool((one - other).float().norm() <= share * other.float().norm())


def some_ids(model: Any, count: int, first: int = 0) -> Tensor:
    """[count] token ids spread over the vocabulary, other ones for each `first`."""
    table = model.get_input_embeddings().weight
    return (torch.arange(count, device=table.device) * 97 + 31 * first + 3) % len(table)


def states(model: Any, **given: Tensor) -> Tensor:
    """The last hidden states of all positions, or the logits where the model gives no states."""
    base = getattr(model, "base_model", model)
    if base is not model:
        try:
            out = base(**_fresh(given), **known(base, use_cache=False))
        except TypeError:
            out = None
        if isinstance(getattr(out, "last_hidden_state", None), Tensor):
            found: Tensor = out.last_hidden_state
            return found
    return last_logits(model, 0, **given)


def last_logits(model: Any, last: int, **given: Tensor) -> Tensor:
    """Logits of the last positions, or of all."""
    options: dict[str, Any] = known(model, use_cache=False, logits_to_keep=last)
    options |= _fresh(given)
    logits: Tensor = model(**options).logits
    return logits[:, -last:]


def _fresh(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies: some models scale what they are fed in place."""
    return {name: value.clone() for name, value in given.items()}


def _rows(model: Any, length: int, layout: Layout, count: int, draw: int) -> tuple[Tensor, Strands]:
    """Contents [2, K, D] and the strands of two rows, the long one last and first."""
    embedding, rows = model.get_input_embeddings(), 2
    device = embedding.weight.device
    short = [_SHORT] * (count - 1)
    modes = count if layout == "suffix" else 1
    long = max(_SHORT, length - _SLOTS - modes - sum(short))
    lengths = [[*short, long], [long, *short]]

    with torch.no_grad():
        content = embedding(some_ids(model, rows * _SLOTS, 29 * draw)).float()
        content = content.view(rows, _SLOTS, -1)
        leads = embedding(some_ids(model, modes, 5)).float()
    targets = [
        tuple(some_ids(model, number, 7 + 3 * place + row + 29 * draw).tolist())
        for row, own in enumerate(lengths)
        for place, number in enumerate(own)
    ]
    places = list(range(modes)) * (rows * count // modes)
    return content, Strands(
        row=torch.arange(rows, device=device).repeat_interleave(count),
        lead=leads[places],
        ids=targets,
        weight=torch.ones(len(targets), device=device),
        rows=rows,
        layout=layout,
        modes=[str(place) for place in places],
    )


def _prompts(content: Tensor, strands: Strands) -> list[Tensor]:
    """[K+1, D] of each strand."""
    found = []
    for row, lead in zip(strands.row.tolist(), strands.lead, strict=True):
        parts = [lead[None], content[row]]
        found.append(torch.cat(parts if strands.layout == "prefix" else parts[::-1]))
    return found
