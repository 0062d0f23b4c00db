"""Static decoding: greedy generation whose every token is the same step, recorded once.

A cache that grows gives each token another shape, so that a GPU is told kernel by kernel what to
do, and waits for most of it. In a cache of a fixed size a step is always the same: as a CUDA
graph it is started at once, and the next one need not wait for Python to see the token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dcm.causal_lm.capture import beside, mend, recorded
from dcm.causal_lm.decoding import prompts
from dcm.causal_lm.devices import spread
from dcm.causal_lm.positions import stated_context
from dcm.causal_lm.rounding import Rounding
from dcm.causal_lm.trials import last_logits
from dcm.memory_limit import allowed_on_gpu, gives_way, is_out_of_memory, make_way

if TYPE_CHECKING:
    from dcm.strands import Layout

# Tokens between two looks at whether all texts have ended.
_LOOK = 2

# Fewer lines, and fewer tokens, make a batch no faster.
_SHORT = 16

# Tokens of a trial: one that is made as it is, one that is recorded, and two that repeat it.
_TRIED = 4

# More lines are computed, not waited for, so that fewer are filled up.
_MANY = 256

# The part of a GPU's memory that caches of recorded steps may keep.
_SHARE = 0.05


class StaticDecoding:
    """Decodes batches of prompts of one length.

    Args:
        model: a Hugging Face causal language model.
        end: the token that ends a text.
    """

    def __init__(self, model: Any, end: int) -> None:
        self._model = model
        self._end = end
        self._most = stated_context(model)
        self._steps: dict[tuple[int, int], _Steps] = {}
        self._holds: dict[int, bool] = {}
        self._share = _SHARE
        self._spread = spread(model)
        gives_way(self)

    def let_go(self) -> bool:
        """Memory ran out: keep half as much from now on; whether anything was kept."""
        if not self._steps:
            return False
        self._steps.clear()
        self._share /= 2
        return True

    def decode(
        self, content: Tensor, lead: Tensor, limits: Sequence[int], layout: Layout
    ) -> list[list[int]] | None:
        """As `decode_greedily`; None where that should do it.

        Because the model's steps are not those of a growing cache, or memory does not hold the
        smallest cache of a fixed size, which has lines for more texts than there may be.
        """
        try:
            return self._decoded(content, lead, limits, layout)
        except Exception as error:
            if not is_out_of_memory(error) or len(content) > _SHORT:
                raise  # fewer at once may fit
        # Out of the handler, whose traceback would keep what was computed alive.
        return self.decode(content, lead, limits, layout) if make_way() else None

    def _decoded(
        self, content: Tensor, lead: Tensor, limits: Sequence[int], layout: Layout
    ) -> list[list[int]] | None:
        longest = content.shape[1] + 1 + max(limits)
        if self._spread or not self._is_true(self._length(longest)):
            return None
        try:
            return self._written(prompts(content, lead, layout), limits)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            # The model's code waits for the GPU, which no recording can.
            self._holds.update(dict.fromkeys(self._holds, False))
            return None

    def _written(self, prompt: Tensor, limits: Sequence[int]) -> list[list[int]]:
        """The texts behind prompts [N, P, D]; those that are over leave after 16 tokens, 32 ..."""
        texts: list[list[int]] = [[] for _ in limits]
        here, before, done = list(range(len(limits))), None, 0
        on: list[int] = []
        while here:
            end = min(max(limits[place] for place in here), max(_SHORT, 2 * done))
            key = _lines(len(here)), self._length(prompt.shape[1] + end)
            steps = self._steps.pop(key, None) or _Steps(self._model, self._end, *key)
            if before is None:
                steps.begin(prompt)
            else:
                steps.go_on(before, on)
            left = [limits[place] - done for place in here]
            for place, tokens in zip(here, steps.write(left, end - done), strict=True):
                texts[place] = _text([*texts[place], *tokens][: limits[place]], self._end)
            self._keep(key, steps)
            on = [
                number
                for number, place in enumerate(here)
                if len(texts[place]) == end < limits[place] and texts[place][-1] != self._end
            ]
            here, before, done = [here[number] for number in on], steps, end
        return texts

    def _keep(self, key: tuple[int, int], steps: _Steps) -> None:
        """Keep the latest steps for the next batch, as many as may be."""
        if self._model.device.type != "cuda":
            return  # there is nothing to record
        self._steps[key] = steps
        most = self._share * allowed_on_gpu(self._model.device)
        while self._steps and sum(each.bytes for each in self._steps.values()) > most:
            del self._steps[next(iter(self._steps))]

    def _length(self, longest: int) -> int:
        """Positions of a cache for texts of up to `longest`.

        Not beyond what the model takes: of a position that it has not a CPU raises an error, and a
        GPU ends the process.
        """
        return min(_power(longest), max(longest, self._most or _power(longest)))

    @torch.no_grad()
    def _is_true(self, length: int) -> bool:
        """Whether a cache of this size gives the logits of no cache, and a recording the steps.

        Tried once.
        """
        # Where a longer one holds, to its end, so does a shorter one.
        if any(held for known, held in self._holds.items() if known >= length):
            return True
        if length not in self._holds:
            model, embedding = self._model, self._model.get_input_embeddings()
            # To its end: a window of attention, say, shows where a text is longer.
            count = length - 1
            ids = torch.arange(2 * count, device=model.device).view(2, count) % len(
                embedding.weight
            )
            embedded = embedding(ids)
            try:
                cache = _cache(model, length)
                parts = [embedded[:, :-3], *embedded[:, -3:].split(1, 1)]
                found = [_logits(model, part, cache)[:, -1] for part in parts][-1]
                # Of all positions the logits would be gigabytes.
                true = last_logits(model, 1, inputs_embeds=embedded)[:, -1]
                off = (found.float() - true.float()).abs().max()
                rounding = Rounding.of(embedding.weight.dtype).decoding
                near = bool(off <= rounding * true.float().abs().max())
                self._holds[length] = near and self._records(embedded, length)
            except Exception as error:  # whatever a model's own code raises
                if is_out_of_memory(error):
                    raise
                self._holds[length] = False
        return self._holds[length]

    def _records(self, embedded: Tensor, length: int) -> bool:
        """Whether recorded steps write what the same steps write as they are.

        A model, or its cache, may count in Python, which a recording would repeat as it stood.
        """
        if self._model.device.type != "cuda":
            return True
        most = min(_TRIED, length - 1)
        prompt, limits = embedded[:, : length - most], [most] * len(embedded)
        found = []
        for records in (False, True):
            steps = _Steps(self._model, self._end, _SHORT, length, records=records)
            steps.begin(prompt)
            found.append((steps.write(limits, most), steps.kept))
        (tokens, kept), (own_tokens, own_kept) = found
        return tokens == own_tokens and all(map(torch.equal, kept, own_kept))


class _Steps:
    """The steps of `lines` texts of up to `length` positions, in memory of their own.

    Args:
        records: whether a GPU records them.
    """

    def __init__(
        self, model: Any, end: int, lines: int, length: int, *, records: bool = True
    ) -> None:
        self._model = model
        self._records = records and model.device.type == "cuda"
        self._end = end
        self._lines = lines
        self._cache = _cache(model, length)
        device = model.device
        self._chosen = torch.zeros(lines, dtype=torch.int64, device=device)
        self._written = torch.zeros(length, lines, dtype=torch.int64, device=device)
        self._ended = torch.zeros(lines, dtype=torch.bool, device=device)
        self._count = torch.zeros(1, dtype=torch.int64, device=device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._made = 0  # tokens since these texts are here

    @property
    def kept(self) -> list[Tensor]:
        """What the cache holds."""
        layers = [layer for layer in self._cache.layers if layer.is_initialized]
        return [each for layer in layers for each in (layer.keys, layer.values)]

    @property
    def bytes(self) -> int:
        """Of the cache."""
        return sum(each.nbytes for each in self.kept)

    def begin(self, prompt: Tensor) -> None:
        """Read prompts [n, P, D], and write the first token behind each."""
        self._cache.reset()
        self._restart(len(prompt))
        prompt = torch.nn.functional.pad(prompt, (0, 0, 0, 0, 0, self._lines - len(prompt)))
        embedding = self._model.get_input_embeddings()
        self._choose(_logits(self._model, prompt.to(embedding.weight.dtype), self._cache))
        self._made = 1

    def go_on(self, other: _Steps, numbers: Sequence[int]) -> None:
        """Go on with the texts of these numbers of `other`, which may be these steps."""
        index = torch.tensor(numbers, device=self._chosen.device)
        chosen = other._chosen[index]
        if self is not other:
            self._cache.reset()
        for own, its in zip(self._cache.layers, other._cache.layers, strict=True):
            if not its.is_initialized:  # it reads what another layer keeps
                continue
            keys, values = its.keys[index], its.values[index]
            if not own.is_initialized:
                missing = (0, 0) * 3 + (0, self._lines - len(index))
                own.lazy_initialization(
                    *(torch.nn.functional.pad(e, missing) for e in (keys, values))
                )
            own.keys[: len(index), :, : keys.shape[2]] = keys
            own.values[: len(index), :, : values.shape[2]] = values
            own.cumulative_length.copy_(its.cumulative_length)
        self._restart(len(index))
        self._chosen[: len(index)] = chosen

    def _restart(self, texts: int) -> None:
        self._count.zero_()
        self._ended.zero_()
        self._ended[texts:] = True  # texts that fill up
        self._made = 0

    def write(self, limits: Sequence[int], most: int) -> list[list[int]]:
        """Up to `most` tokens of each text, fewer where all are over, some beyond their end."""
        while self._made < most:
            if self._made % _LOOK == 0 and self._all_over(limits, self._made):
                break
            self._next()
            self._made += 1
        return self._written[: self._made, : len(limits)].t().tolist()

    def _all_over(self, limits: Sequence[int], count: int) -> bool:
        ended = self._ended.tolist()
        return all(over or limit <= count for over, limit in zip(ended, limits, strict=False))

    def _next(self) -> None:
        """One more token of each text."""
        if not self._records:
            self._step()
        elif self._graph is None:
            self._step()  # as it is, which loads what the recording needs
            self._graph = self._recorded()
        else:
            self._graph.replay()

    def _recorded(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream(self._chosen.device)  # type: ignore[no-untyped-call]
        try:
            with beside(stream), recorded(graph):
                self._step()
        except RuntimeError:
            mend(stream)
            raise
        return graph

    def _step(self) -> None:
        embedded = self._model.get_input_embeddings()(self._chosen)[:, None]
        self._choose(_logits(self._model, embedded, self._cache))

    def _choose(self, logits: Tensor) -> None:
        self._chosen.copy_(logits[:, -1].argmax(-1))
        self._ended.logical_or_(self._chosen == self._end)
        self._written.index_copy_(0, self._count, self._chosen[None])
        self._count.add_(1)


def _cache(model: Any, length: int) -> Any:
    """A cache for `length` positions in which nothing is counted in Python.

    A layer with a window counts so, as it drops what has left it; the masks hide that, too.

    Raises:
        TypeError: a layer keeps something else than keys and values.
    """
    from transformers import StaticCache
    from transformers.cache_utils import StaticLayer, StaticSlidingWindowLayer

    cache = StaticCache(config=model.config, max_cache_len=length)
    cache.layers = [
        StaticLayer(length) if type(layer) is StaticSlidingWindowLayer else layer
        for layer in cache.layers
    ]
    others = {type(layer).__name__ for layer in cache.layers if type(layer) is not StaticLayer}
    if others:
        raise TypeError(f"caches of {', '.join(sorted(others))} are not of a fixed size")
    return cache


def _logits(model: Any, embedded: Tensor, cache: Any) -> Tensor:
    found: Tensor = model(
        inputs_embeds=embedded, past_key_values=cache, use_cache=True, logits_to_keep=1
    ).logits
    return found


def _lines(count: int) -> int:
    """How many lines a batch of so many texts has: few numbers, so that its steps come again."""
    power = 1 << (count - 1).bit_length()
    step = power // 8 if count > _MANY else power
    return max(_SHORT, -(-count // step) * step)


def _power(number: int) -> int:
    return int(max(64, 1 << (number - 1).bit_length()))


def _text(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens
