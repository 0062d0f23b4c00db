"""make: paraphrases of every example of a data set, with as many requests at once as asked."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs

from dcm.errors import DcmError
from dcm.example import Example
from dcm.paraphrasing.filters import Filters
from dcm.paraphrasing.kept import Kept
from dcm.paraphrasing.prompts import MODES, Prompts
from dcm.paraphrasing.reply import texts_of
from dcm.paraphrasing.writer import Reply, Writer, WriterFailed, WriterRefused

Judge = Callable[[Example, str, str], bool]
"""Whether a text, given under a mode, means what the example's text means."""

_IN_A_ROW = 10  # failed requests after which nobody goes on asking
_SHOWN = 200  # characters of a reply that is kept as rejected


@attrs.define
class Made:
    """What making came to.

    Attributes:
        examples: examples done.
        variants: mode -> texts accepted.
        wanted: mode -> texts asked for.
        rejected: reason -> texts rejected.
        failed: reason -> requests that failed for good.
        requests: replies that came in this call.
        kept: replies that an earlier call has left.
        input_tokens: of all replies used, as the service counts; those it does not count are 0.
        output_tokens: likewise.
        uncounted: replies whose tokens the service did not count.
    """

    examples: int = 0
    variants: Counter[str] = attrs.field(factory=Counter)
    wanted: Counter[str] = attrs.field(factory=Counter)
    rejected: Counter[str] = attrs.field(factory=Counter)
    failed: Counter[str] = attrs.field(factory=Counter)
    requests: int = 0
    kept: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    uncounted: int = 0

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            name: dict(sorted(value.items())) if isinstance(value, Counter) else value
            for name, value in attrs.asdict(self, recurse=False).items()
        }


@attrs.frozen
class Maker:
    """How paraphrases are made.

    Attributes:
        writer: the model.
        model: its name, by which kept replies are known again.
        prompts: what it is asked.
        count: paraphrases wanted of each text.
        modes: of which texts: `question`, `answer`.
        filters: what is no paraphrase.
        judge: a last word on those that pass; None for none.
        attempts: how often a text is asked for, while too few paraphrases pass.
        concurrency: most requests at once.
        per_minute: most requests a minute; None for no limit.
        settings: whatever else a reply depends on, such as the temperature.
    """

    writer: Writer
    model: str
    prompts: Prompts
    count: int = 5
    modes: Sequence[str] = MODES
    filters: Filters = attrs.field(factory=Filters)
    judge: Judge | None = None
    attempts: int = 3
    concurrency: int = 8
    per_minute: float | None = None
    settings: str = ""


def make(
    maker: Maker,
    examples: Iterable[Example],
    out: Path,
    on_progress: Callable[[Made], None] | None = None,
) -> Made:
    """Make paraphrases of examples and write them to a JSONL file, a line an example.

    A line has `id`, `question`, `answer`, `question_variants`, `answer_variants`, and `rejected`:
    each rejected text with its mode and reason. The file is written as a whole at the end. Every
    reply is kept beside it, in "<name>.replies.jsonl", as soon as it comes: after a kill the same
    call goes on, and asks again only for what was in flight or had failed.

    Args:
        maker: how.
        examples: of what; in this order they are written.
        out: the file.
        on_progress: called after every example.

    Raises:
        WriterRefused: the service refuses all requests.
        DcmError: many requests in a row have failed.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = Kept(replies_path(out))
    return asyncio.run(_Making(maker, kept, out, on_progress).run(examples))


def replies_path(out: Path) -> Path:
    """Where the replies of a file of variants are kept."""
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.replies.jsonl")


class _Making:
    """One call of `make`."""

    def __init__(
        self, maker: Maker, kept: Kept, out: Path, on_progress: Callable[[Made], None] | None
    ) -> None:
        self.maker = maker
        self.kept = kept
        self.out = out
        self.on_progress = on_progress
        self.made = Made()
        self.in_a_row = 0
        self.stopped: DcmError | None = None
        self.next_start = 0.0

    async def run(self, examples: Iterable[Example]) -> Made:
        self.places = asyncio.Semaphore(self.maker.concurrency)
        temporary = self.out.with_name(f"{self.out.name}.tmp")
        # As many examples as keep all places taken, and no more: memory stays flat.
        under_way: deque[asyncio.Task[dict[str, Any]]] = deque()
        try:
            with temporary.open("w", encoding="utf-8") as file:
                for example in examples:
                    under_way.append(asyncio.create_task(self._example(example)))
                    if len(under_way) >= 2 * self.maker.concurrency:
                        await self._finish(under_way, file)
                while under_way:
                    await self._finish(under_way, file)
            temporary.replace(self.out)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            temporary.unlink(missing_ok=True)
            await self.maker.writer.close()
        return self.made

    async def _finish(self, under_way: deque[asyncio.Task[dict[str, Any]]], file: Any) -> None:
        """Write the first example's line."""
        line = await under_way[0]
        under_way.popleft()
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.made.examples += 1
        if self.on_progress:
            self.on_progress(self.made)

    async def _example(self, example: Example) -> dict[str, Any]:
        rejected: dict[str, list[dict[str, str]]] = {mode: [] for mode in self.maker.modes}
        variants = await asyncio.gather(
            *(self._variants(example, mode, rejected[mode]) for mode in self.maker.modes)
        )
        by_mode = dict(zip(self.maker.modes, variants, strict=True))
        return {
            "id": example.id,
            "question": example.question,
            "answer": example.answer,
            **{f"{mode}_variants": by_mode.get(mode, []) for mode in MODES},
            # In the order of modes, whichever was done first.
            "rejected": [each for mode in self.maker.modes for each in rejected[mode]],
        }

    async def _variants(
        self, example: Example, mode: str, rejected: list[dict[str, str]]
    ) -> list[str]:
        """The accepted paraphrases of one text; those rejected are added to `rejected`."""
        maker, accepted = self.maker, list[str]()
        self.made.wanted[mode] += maker.count

        def reject(text: str, reason: str) -> None:
            rejected.append({"mode": mode, "text": text[:_SHOWN], "reason": reason})
            self.made.rejected[reason] += 1

        for attempt in range(maker.attempts):
            if len(accepted) == maker.count:
                break
            try:
                reply = await self._reply(example, mode, attempt, accepted)
            except WriterFailed as error:
                self.made.failed[str(error)[:_SHOWN]] += 1
                break
            texts = texts_of(reply.text)
            if texts is None:
                reject(reply.text, "malformed reply")
            for text in texts or ():
                reason = maker.filters.reason(example, mode, text, accepted)
                if not reason and len(accepted) == maker.count:
                    reason = "more than asked for"
                if not reason and maker.judge is not None:
                    same = await asyncio.to_thread(maker.judge, example, mode, text)
                    reason = "" if same else "judged different"
                if reason:
                    reject(text, reason)
                else:
                    accepted.append(text)
        self.made.variants[mode] += len(accepted)
        return accepted

    async def _reply(
        self, example: Example, mode: str, attempt: int, taken: Sequence[str]
    ) -> Reply:
        """The reply to one request, from disk if it has come before."""
        maker = self.maker
        system, user = maker.prompts.ask(example, mode, maker.count, attempt, taken)
        asked = (maker.model, maker.settings, system, user, attempt)
        key = sha256(json.dumps(asked).encode()).hexdigest()[:32]
        reply = self.kept.get(key)
        if reply is None:
            async with self.places:
                await self._pace()
                if self.stopped:
                    raise self.stopped
                reply = await self._ask(system, user)
            about = {"id": example.id, "mode": mode, "attempt": attempt, "model": maker.model}
            self.kept.put(key, reply, **about)
            self.made.requests += 1
        else:
            self.made.kept += 1
        self.made.input_tokens += reply.input_tokens or 0
        self.made.output_tokens += reply.output_tokens or 0
        self.made.uncounted += reply.output_tokens is None
        return reply

    async def _ask(self, system: str, user: str) -> Reply:
        try:
            reply = await self.maker.writer.write(system, user)
        except WriterFailed as error:
            self.in_a_row += 1
            if self.stopped is None and self.in_a_row >= max(_IN_A_ROW, self.maker.concurrency):
                asked = f"{self.in_a_row} requests in a row have failed"
                self.stopped = DcmError(asked, f"The last: {error}")
            if self.stopped is not None:
                raise self.stopped from error
            raise
        except WriterRefused as error:
            self.stopped = self.stopped or error
            raise
        self.in_a_row = 0
        return reply

    async def _pace(self) -> None:
        """Wait until the next request may start."""
        if self.maker.per_minute is None:
            return
        now = asyncio.get_running_loop().time()
        start = max(now, self.next_start)
        self.next_start = start + 60 / self.maker.per_minute
        await asyncio.sleep(start - now)
