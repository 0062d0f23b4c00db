"""Every text architecture of the installed transformers, tiny and random, against plain references.

    python experiments/architectures.py --out docs/results/architectures.md [NAME ...]

For each: losses and gradients of both layouts against one sequence a strand without padding, and
decoded texts against an argmax over the whole sequence for each token, and `model.generate`.
Architectures are found in transformers' own list; what they need beyond the common sizes stands in
`SIZES`. One that takes longer than a minute is given up. Needs no network.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from architecture_sizes import COMMON, LATENT, SIZES
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

import dcm
from dcm.causal_lm.calling import known
from dcm.causal_lm.generator_loss import generator_loss
from dcm.testing.doubles import byte_tokenizer

_SECONDS = 120
# Not Hugging Face text models that predict their next token: they read more than text.
_OTHERS = ("vl", "vision", "audio", "speech", "whisper", "musicgen", "blip", "git", "llava")
_OTHERS += ("fuyu", "emu3", "prophet", "moshi", "csm", "mllama", "multimodal")
# Drafters, which read another model's cache.
_OTHERS += ("assistant",)
_TEXTS = (
    "What is the capital of France, and which river flows through it?",
    "Paris, on the Seine",
    "Who was the first on the Moon, and when?",
    "Neil Armstrong, 1969",
)


def names() -> list[str]:
    """The architectures of the installed transformers, by the name of their configuration."""
    listed = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return sorted(name for name in listed if not any(other in name for other in _OTHERS))


def save_tiny(name: str, folder: str | Path) -> None:
    """Write an architecture, two layers of width 64 and random, with a byte tokenizer."""
    default = AutoConfig.for_model(name)
    default = default.get_text_config()
    known = {*default.to_dict(), *getattr(default, "attribute_map", {})}
    # Where two names mean one thing the older one is left out.
    doubled = set(getattr(default, "attribute_map", {}).values())
    options = {k: v for k, v in COMMON.items() if k in known and k not in doubled}
    options |= {k: v for k, v in COMMON.items() if k in doubled and k in default.to_dict()}
    options |= LATENT if "qk_rope_head_dim" in known else {}
    own = SIZES.get(name, SIZES.get(default.model_type, {}))
    config = AutoConfig.for_model(default.model_type, **{**options, **own})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).float()
        with torch.no_grad():
            for parameter in model.parameters():
                spread = float(parameter.detach().std()) if parameter.dim() > 1 else 1.0
                if 0 < spread < 0.1:
                    parameter.mul_(0.15 / spread)
            if "gemma3n" in name:
                # Its layers' own embeddings are born without effect.
                for part, parameter in model.named_parameters():
                    if "correct_output_scale" in part:
                        parameter.normal_()
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)


def check(folder: str | Path) -> dict[str, Any]:
    """What dcm makes of a model, beside what the model makes of it by itself."""
    generator = dcm.find("generator", "transformers")(model=str(folder), device="cpu")
    lm = generator.lm
    modes, model, end = dcm.Modes(generator), lm.model, lm.end
    kinds = ["question", "answer"] * 2
    lead, ids = modes.vectors(kinds), [generator.encode(text) for text in _TEXTS]
    random = torch.Generator().manual_seed(1)
    base = torch.randn(2, 4, generator.width, generator=random) * generator.embedding_scale
    row = torch.tensor([0, 0, 1, 1])
    loss_off = gradient_off = 0.0
    limits, texts = [24, 20, 12, 24], 0
    for layout in ("prefix", "suffix"):
        content, alone = (base.clone().requires_grad_() for _ in range(2))
        strands = dcm.Strands(row, lead, ids, torch.ones(4), 2, layout, modes=kinds)
        scores = generator.score(content, strands)
        scores.nll.sum().backward()

        def prompt(j: int, own: torch.Tensor, layout: str = layout) -> torch.Tensor:
            parts = [lead[j][None], own[row[j]]]
            return torch.cat(parts if layout == "prefix" else parts[::-1])

        losses = [generator_loss(model, torch.tensor(ids[j]), prompt(j, alone)) for j in range(4)]
        torch.stack(losses).sum().backward()
        loss_off = max(loss_off, float((torch.stack(losses) - scores.nll).detach().abs().max()))
        off, size = (content.grad - alone.grad).norm(), alone.grad.norm()
        gradient_off = max(gradient_off, float(off / size))
        decoded = generator.decode(base[row], lead, limits, layout)
        for j, limit in enumerate(limits):
            texts += decoded[j] == lm.text(_chosen(model, prompt(j, base), limit, end))
    same = decoded = generator.decode(base[:1], lead[:1], 24)[0]
    # As transformers has it by default: some configurations force a last token, say.
    model.generation_config = transformers.GenerationConfig()
    try:
        whole = torch.cat([lead[:1], base[0]])[None]
        found = model.generate(
            inputs_embeds=whole,
            attention_mask=torch.ones(whole.shape[:2], dtype=torch.int64),
            max_new_tokens=24,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=end,
        )
        same = "same" if lm.text(found[0].tolist()) == decoded else "another"
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        same = "refuses vectors" if "inputs_embeds" in str(error) else "fails"
    shares = all(lm.shares_prompts("suffix", length) for length in (64, 128))
    return {
        "loss": loss_off,
        "gradient": gradient_off,
        "texts": f"{texts} of 8",
        "decoding": str(lm.tried.way(30)),
        "shares": shares,
        "generate": same,
    }


@torch.no_grad()
def _chosen(model: Any, prompt: torch.Tensor, limit: int, end: int) -> list[int]:
    """The argmax over the whole sequence, for each token anew."""
    embedding, found = model.get_input_embeddings(), []
    sequence = prompt[None]
    while len(found) < limit and end not in found[-1:]:
        # A copy: some models scale in place what they are fed.
        logits = model(inputs_embeds=sequence.clone(), **known(model, use_cache=False)).logits
        found.append(int(logits[0, -1].argmax()))
        sequence = torch.cat([sequence, embedding(torch.tensor([found[-1:]]))], 1)
    return found


def line(name: str) -> str:
    """An architecture's row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            save_tiny(name, folder)
        except Exception as error:  # noqa: BLE001 - each configuration has its own
            return f"| {name} | not built | {_short(error)} | | | | |"
        try:
            found = check(folder)
        except dcm.GeneratorError as error:
            return f"| {name} | refused | {_short(error)} | | | | |"
        except Exception as error:  # noqa: BLE001 - it belongs in the table
            return f"| {name} | **failed** | {_short(error)} | | | | |"
    right = found["loss"] < 1e-4 and found["gradient"] < 2e-3 and found["texts"] == "8 of 8"
    verdict = "right" if right else "**wrong**"
    return (
        f"| {name} | {verdict} | {found['loss']:.0e}, {found['gradient']:.0e} | {found['texts']} | "
        f"{found['decoding']} | {'yes' if found['shares'] else 'no'} | {found['generate']} |"
    )


def _short(error: Exception) -> str:
    text = " ".join(f"{error}".split()).replace("|", "/")
    text = text if isinstance(error, dcm.GeneratorError) else f"{type(error).__name__}: {text}"
    return text if len(text) <= 200 else f"{text[:197]}..."


def _work(names: Any, lines: Any) -> None:
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    while (name := names.get()) is not None:
        lines.put(line(name))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", help="architectures; all of them if none")
    parser.add_argument("--out", type=Path, help="a page whose table is replaced")
    options = parser.parse_args()
    asked, context = options.names or names(), multiprocessing.get_context("spawn")
    table = [
        "| architecture | dcm | loss, gradient off | texts | decoding | shared | `generate` |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    began, worker = time.perf_counter(), None
    for name in asked:
        if worker is None:
            given, lines = context.Queue(), context.Queue()
            worker = context.Process(target=_work, args=(given, lines), daemon=True)
            worker.start()
        given.put(name)
        try:
            table.append(lines.get(timeout=_SECONDS))
        except queue.Empty:  # it takes too long, or has died
            table.append(f"| {name} | given up | more than {_SECONDS} s | | | | |")
            worker.kill()
            worker = None
        print(table[-1], flush=True)
    if worker is not None:
        given.put(None)
        worker.join()
    seconds = time.perf_counter() - began
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    print(f"{len(asked)} architectures in {seconds:.0f} s, {versions}", file=sys.stderr)
    if options.out:
        page = options.out.read_text(encoding="utf-8")
        head, mark, _ = page.partition("<!-- table -->")
        options.out.write_text(head + mark + "\n\n" + "\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
