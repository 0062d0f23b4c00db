"""Row-steps a second: dcm's solver and a plain loop over pairs, in the same run.

A row-step is one forward and backward pass of one row: of both its targets, where the objective
is joint. The loop is what one writes without a library: Adam on one pair at a time, a model call
with `labels=` for each of its two modes.

    python experiments/benchmarks/throughput.py                        # the bundled model
    python experiments/benchmarks/throughput.py --shape qwen2.5-7b --dtype bfloat16 --lanes 64
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import attrs
import torch
from torch import Tensor

import dcm
from dcm.causal_lm import CausalLM, CausalLMGenerator
from dcm.provenance import device_name, peak_memory
from dcm.solver import Stats
from dcm.testing.doubles import byte_tokenizer

SHAPES: dict[str, tuple[str, dict[str, int]]] = {
    "qwen2.5-7b": (
        "qwen2",
        {
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
    ),
    "qwen2.5-14b": (
        "qwen2",
        {
            "vocab_size": 152064,
            "hidden_size": 5120,
            "intermediate_size": 13824,
            "num_hidden_layers": 48,
            "num_attention_heads": 40,
            "num_key_value_heads": 8,
        },
    ),
    "pythia-160m": (
        "gpt_neox",
        {
            "vocab_size": 50304,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        },
    ),
}


@attrs.frozen
class Shape(CausalLMGenerator):
    """A model of a known shape with random weights and a byte tokenizer.

    Attributes:
        shape: a key of `SHAPES`.
        dtype_name: what it computes in.
        device_name: where.
    """

    shape: str
    dtype_name: str
    device_name: str

    def load(self) -> CausalLM:
        from transformers import AutoConfig, AutoModelForCausalLM

        architecture, sizes = SHAPES[self.shape]
        config = AutoConfig.for_model(architecture, **sizes, bos_token_id=256, eos_token_id=256)
        with torch.device(self.device_name):
            model = AutoModelForCausalLM.from_config(config, dtype=self.dtype)
        return CausalLM(model.eval().requires_grad_(requires_grad=False), byte_tokenizer())

    @property
    def device(self) -> torch.device:
        return torch.device(self.device_name)

    @property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype_name)  # type: ignore[no-any-return]


def examples(count: int, tokens: int) -> list[dcm.Example]:
    """Pairs of random letters, each text of `tokens` bytes with its end."""
    random = torch.Generator().manual_seed(0)
    letters = torch.randint(97, 123, (count, 2, tokens - 1), generator=random).tolist()
    return [
        dcm.Example(id=str(number), question=bytes(one).decode(), answer=bytes(other).decode())
        for number, (one, other) in enumerate(letters)
    ]


def solver(generator: Any, args: argparse.Namespace, steps: int) -> dict[str, float]:
    """Row-steps a second of the solver, after a warm-up of the same shapes."""
    pairs = examples(args.lanes, args.tokens)
    modes = dcm.Modes(generator, args.layout)
    adam = dcm.find("optimizer", "adam")()

    def run(steps: int) -> tuple[Stats, float]:
        stats = Stats()
        synchronize(generator)
        began = time.perf_counter()
        for _ in dcm.solve(
            generator,
            pairs,
            # More than a model can reach: every row runs all its steps.
            criterion=dcm.find("criterion", "exact")(margin=1e9),
            optimizer=adam,
            slots=args.slots,
            max_steps=steps,
            lanes=args.lanes,
            modes=modes,
            stats=stats,
        ):
            pass
        synchronize(generator)
        return stats, time.perf_counter() - began

    run(2)
    stats, seconds = run(steps)
    return {
        "row_steps_per_second": stats.row_steps / seconds,
        "useful_share": stats.useful_row_steps / stats.row_steps,
        "lanes": stats.lanes,
        "seconds": seconds,
    }


def loop(generator: Any, args: argparse.Namespace, steps: int) -> dict[str, float]:
    """Row-steps a second of Adam on one pair at a time, through Hugging Face's `labels=`."""
    model, device = generator.lm.model, generator.device
    (pair,) = examples(1, args.tokens)
    targets = [torch.tensor(generator.encode(text)) for text in (pair.question, pair.answer)]
    modes = dcm.Modes(generator).vectors(["question", "answer"])
    content = (torch.randn(args.slots, generator.width) * generator.embedding_scale).to(device)
    content.requires_grad_()
    adam = torch.optim.Adam([content], lr=0.01)

    def step() -> None:
        adam.zero_grad()
        loss = sum(
            labelled_loss(model, content, mode, target.to(device))
            for mode, target in zip(modes, targets, strict=True)
        )
        loss.backward()  # type: ignore[union-attr]
        adam.step()

    step()
    synchronize(generator)
    began = time.perf_counter()
    for _ in range(steps):
        step()
    synchronize(generator)
    seconds = time.perf_counter() - began
    return {"row_steps_per_second": steps / seconds, "seconds": seconds}


def labelled_loss(model: Any, content: Tensor, mode: Tensor, target: Tensor) -> Tensor:
    """Hugging Face's own loss of one target behind [mode, content]."""
    embedded = model.get_input_embeddings()(target)
    prompt = torch.cat([mode[None], content]).to(embedded.dtype)
    ignored = torch.full((len(prompt),), -100, device=target.device)
    labels = torch.cat([ignored, target])[None]
    loss: Tensor = model(inputs_embeds=torch.cat([prompt, embedded])[None], labels=labels).loss
    return loss


def product_ceiling(generator: Any, args: argparse.Namespace) -> float:
    """FLOP/s of plain matrix products of the model's largest shape, all positions at once."""
    config = generator.lm.model.config
    lines = args.lanes * 2 * (args.slots + args.tokens)
    left = torch.randn(lines, config.hidden_size, device=generator.device).to(generator.dtype)
    right = torch.randn(config.hidden_size, config.intermediate_size, device=generator.device)
    right = right.to(generator.dtype)
    for _ in range(3):
        left @ right
    synchronize(generator)
    began, count = time.perf_counter(), 30
    for _ in range(count):
        left @ right
    synchronize(generator)
    return 2 * lines * left.shape[1] * right.shape[1] * count / (time.perf_counter() - began)


def flop_per_row_step(generator: Any, args: argparse.Namespace) -> float:
    """4 x parameters touched x tokens: forward and activation gradient, logits at targets only."""
    model = generator.lm.model
    table = model.get_input_embeddings().weight.numel()
    body = (
        sum(p.numel() for p in model.model.parameters()) - table if hasattr(model, "model") else 0
    )
    if not body:
        body = sum(p.numel() for p in model.parameters()) - 2 * table
    shared = args.slots if args.layout == "suffix" else 2 * (args.slots + 1) - 2
    positions = shared + 2 * args.tokens
    return 4.0 * (body * positions + table * 2 * args.tokens)


def synchronize(generator: Any) -> None:
    """Wait for the device."""
    if generator.device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=sorted(SHAPES), help="default: the bundled model")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--slots", type=int, default=32, help="K (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=16, help="of a target (default: %(default)s)")
    parser.add_argument("--lanes", type=int, default=64, help="(default: %(default)s)")
    parser.add_argument("--layout", choices=("prefix", "suffix"), default="prefix")
    parser.add_argument("--steps", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if args.shape:
        generator: Any = Shape(args.shape, args.dtype, args.device)
    else:
        generator = dcm.find("generator", "nano")(dtype=args.dtype, device=args.device)
    generator.lm  # noqa: B018 - loads it
    ours, plain = solver(generator, args, args.steps), loop(generator, args, args.steps)
    flops = ours["row_steps_per_second"] * flop_per_row_step(generator, args)
    ceiling = product_ceiling(generator, args)
    result = {
        "solver": ours,
        "loop": plain,
        "ratio": ours["row_steps_per_second"] / plain["row_steps_per_second"],
        "flop_per_second": flops,
        "product_ceiling": ceiling,
        "share_of_ceiling": flops / ceiling,
        "peak_memory_bytes": peak_memory(str(generator.device)),
        "hardware": device_name(str(generator.device)),
        "model": args.shape or "nano",
        "settings": {key: getattr(args, key) for key in ("slots", "tokens", "layout", "dtype")},
    }
    if args.json:
        print(json.dumps(result))
        return
    print(
        f"{result['model']}, K={args.slots}, {args.tokens} tokens a target, {args.layout}, "
        f"{args.dtype}, {result['hardware']}"
    )
    print(f"solver  {ours['row_steps_per_second']:10.1f} row-steps/s  {ours['lanes']:.0f} lanes")
    print(f"loop    {plain['row_steps_per_second']:10.1f} row-steps/s")
    print(f"ratio   {result['ratio']:10.1f}")
    print(
        f"{flops / 1e12:.3g} of {ceiling / 1e12:.3g} TFLOP/s that plain products of the same "
        f"shapes sustain: {flops / ceiling:.0%}; {result['peak_memory_bytes'] / 2**30:.1f} GiB"
    )


if __name__ == "__main__":
    main()
