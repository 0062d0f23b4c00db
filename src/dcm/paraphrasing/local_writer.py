"""A Hugging Face model in this process."""

from __future__ import annotations

import asyncio
from functools import cached_property
from pathlib import Path
from typing import Any

from dcm.errors import GeneratorError
from dcm.paraphrasing.writer import Reply, Writer


class LocalWriter(Writer):
    """Samples replies of a chat model, several prompts at a time.

    Args:
        model: a folder, or a name on the hub.
        temperature: of sampling; 0 is greedy.
        max_tokens: most tokens of a reply.
        batch: how many prompts at a time.
    """

    def __init__(self, model: str, temperature: float, max_tokens: int, batch: int) -> None:
        self._name = model
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._batch = batch
        self._waiting: list[tuple[str, str, asyncio.Future[Reply]]] = []
        self._working: asyncio.Task[None] | None = None

    async def write(self, system: str, user: str) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((system, user, future))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        """Answer what waits, until nothing does."""
        try:
            while self._waiting:
                await asyncio.sleep(0)  # whoever asks in the same breath comes along
                batch, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
                try:
                    prompts = [(system, user) for system, user, _ in batch]
                    replies = await asyncio.to_thread(self._generate, prompts)
                except Exception as error:  # noqa: BLE001 - whoever waits is told
                    for _, _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for (_, _, future), reply in zip(batch, replies, strict=True):
                    if not future.done():
                        future.set_result(reply)
        finally:
            self._working = None

    def _generate(self, prompts: list[tuple[str, str]]) -> list[Reply]:
        import torch

        tokenizer, model = self._loaded
        texts = [
            tokenizer.apply_chat_template(
                [{"role": "system", "content": system}, {"role": "user", "content": user}],
                add_generation_prompt=True,
                tokenize=False,
            )
            for system, user in prompts
        ]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs = inputs.to(model.device)
        sampling: dict[str, Any] = {"do_sample": False}
        if self._temperature > 0:
            sampling = {"do_sample": True, "temperature": self._temperature}
        with torch.no_grad():
            found = model.generate(
                **inputs,
                max_new_tokens=self._max_tokens,
                pad_token_id=tokenizer.pad_token_id,
                **sampling,
            )
        written = found[:, inputs["input_ids"].shape[1] :]
        lengths = inputs["attention_mask"].sum(1).tolist()
        return [
            Reply(
                tokenizer.decode(ids, skip_special_tokens=True),
                length,
                int((ids != tokenizer.pad_token_id).sum()),
            )
            for ids, length in zip(written, lengths, strict=True)
        ]

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Tokenizer and model."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        local = Path(self._name).exists()
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                self._name, local_files_only=local, padding_side="left"
            )
            model = AutoModelForCausalLM.from_pretrained(
                self._name, local_files_only=local, dtype="auto"
            )
        except (OSError, ValueError) as error:
            asked = f"the model {self._name!r} cannot be loaded"
            raise GeneratorError(asked, str(error), "Check its name") from error
        if tokenizer.chat_template is None:
            asked = f"the model {self._name!r} has no chat template"
            raise GeneratorError(asked, "It was not made to follow instructions", "Take another")
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        device = "cuda" if torch.cuda.is_available() else "cpu"
        # A processor without bfloat16 products is faster in float32.
        return tokenizer, (model.to(device) if device == "cuda" else model.float()).eval()
