"""Large models on one GPU: memory, lanes, row-steps a second, and how true the gradient is.

Weights are random, of the published shapes, drawn on the GPU: nothing is read or fetched. Each line
is a process of its own, under the memory that its line names. Columns:

    GiB          most memory that torch held while the solver ran, and what `dcm plan` computes for
                 as many lanes
    rows/s       row-steps a second of the solver, K = 32, two targets of 16 tokens
    loop, ratio  the same of a plain loop over pairs, on the same model
    gradient     of the loss in the contents: its distance from that of the same (dequantised)
                 weights in float32, as a share of its norm; of the shape with two layers

    python experiments/benchmarks/models.py                 # all lines, some 8 minutes on an H100
    python experiments/benchmarks/models.py --only nf4      # those with "nf4" in their name
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from typing import Any

import attrs
import torch
from common import Cell, Record, hardware, reset_peak, table
from shapes import Shape
from throughput import limit_memory, loop, solver
from torch import Tensor

import dcm
from dcm.causal_lm import CausalLM, Quantize
from dcm.causal_lm.planning import plan, shape_of
from dcm.causal_lm.products import Compute
from dcm.running.provenance import peak_memory


@attrs.frozen
class Case:
    """A line of the table.

    Attributes:
        name: what it is called.
        shape: a key of `shapes.SHAPES`.
        memory: GiB that torch may take; None for all.
        lanes: most rows at once; None for what the solver finds.
        quantize: in what the layers' weights are kept.
        compute: what linear layers multiply in during steps.
        compiled: whether layers are compiled; None when it pays, which a few steps do not.
    """

    name: str
    shape: str
    memory: float | None = None
    lanes: int | None = None
    quantize: Quantize | None = None
    compute: Compute | None = None
    compiled: bool | None = None


CASES = (
    Case("Qwen2.5-7B bf16", "qwen2.5-7b", lanes=192, compiled=True),
    Case("Qwen2.5-7B nf4", "qwen2.5-7b", 12, quantize="nf4"),
    Case("Qwen2.5-7B fp8 steps", "qwen2.5-7b", lanes=192, compute="fp8", compiled=True),
    Case("gpt-oss-20b mxfp4", "gpt-oss-20b", 24, quantize="mxfp4"),
    Case("gpt-oss-120b mxfp4", "gpt-oss-120b", 78, quantize="mxfp4"),
    Case("Qwen2.5-14B bf16", "qwen2.5-14b", 32, compiled=True),
    Case("gpt-oss-20b bf16", "gpt-oss-20b", lanes=64, compiled=True),
    # Not of the plan; left out where the time is up.
    Case("Qwen2.5-7B torchao-fp8", "qwen2.5-7b", 16, lanes=16, quantize="torchao-fp8"),
    Case("Qwen2.5-7B int8", "qwen2.5-7b", 16, lanes=16, quantize="int8"),
    Case("Qwen2.5-7B torchao-int8", "qwen2.5-7b", 16, lanes=16, quantize="torchao-int8"),
    Case("Qwen2.5-7B int4", "qwen2.5-7b", 12, lanes=8, quantize="int4"),
    # Small enough for a CPU.
    Case("tiny bf16", "tiny-moe", lanes=2),
    Case("tiny mxfp4", "tiny-moe", lanes=2, quantize="mxfp4"),
    Case("tiny int4", "tiny-moe", lanes=2, quantize="int4"),
    Case("tiny nf4", "tiny-moe", lanes=2, quantize="nf4"),
)


def measure(case: Case, args: argparse.Namespace) -> Record:
    """The figures of one line."""
    device = torch.device(args.device)
    torch.manual_seed(0)
    error = gradient_error(case, args)
    gc.collect()  # its models are in circles
    generator = Shape(
        case.shape, "bfloat16", args.device, case.compute, case.compiled, quantize=case.quantize
    )
    model = generator.lm.model
    if device.type == "cuda":
        torch.cuda.empty_cache()
        if case.memory:
            limit_memory(case.memory, device)
    reset_peak(device)
    given = argparse.Namespace(
        tokens=16,
        lanes=case.lanes,
        steps=args.steps,
        objective="joint",
        layout=args.layout,
        slots=32,
    )
    ours = solver(generator, given)
    peak = peak_memory(args.device)
    plain = loop(generator, given)
    planned = plan(
        shape_of(generator.config, torch.bfloat16),
        int((case.memory or 80) * 2**30),
        layout=args.layout,
        quantize=case.quantize,
        compute=case.compute,
        compiled=generator.lm.regions.active,
    )
    return {
        "parameters": sum(each.numel() for each in model.parameters()),
        "weights_bytes": sum(each.nbytes for each in model.parameters()),
        "peak_bytes": peak,
        "planned_bytes": planned.peak(ours["lanes"]),
        "planned_lanes": planned.lanes,
        "lanes": ours["lanes"],
        "solver": ours,
        "loop": plain,
        "ratio": ours["row_steps_per_second"] / plain["row_steps_per_second"],
        "gradient_error": error,
        "hardware": hardware(device),
        "torch": torch.__version__,
    }


def gradient_error(case: Case, args: argparse.Namespace) -> float:
    """The distance of a gradient from the true one, as a share of its norm."""
    sizes = {"num_hidden_layers": 2, "vocab_size": 4096}
    generator = Shape(
        case.shape, "bfloat16", args.device, case.compute, quantize=case.quantize, sizes=sizes
    )
    found = gradient(generator.lm, generator.width)
    reference = Shape(case.shape, "float32", args.device, sizes=sizes).lm
    dequantise(generator.lm.model, reference.model)
    expected = gradient(reference, generator.width)
    return float((found - expected).norm() / expected.norm())


def gradient(lm: CausalLM, width: int) -> Tensor:
    """[R, K, D]: that of the losses of some strands, as the solver takes it."""
    device = lm.model.device
    random = torch.Generator().manual_seed(0)
    content = (torch.randn(4, 32, width, generator=random) * 0.02).to(device).requires_grad_()
    rows, tokens = 4, 16
    ids = torch.randint(0, 256, (2 * rows, tokens), generator=random).tolist()
    strands = dcm.Strands(
        row=torch.arange(rows, device=device).repeat_interleave(2),
        lead=(torch.randn(2 * rows, width, generator=random) * 0.02).to(device),
        ids=[tuple(each) for each in ids],
        weight=torch.ones(2 * rows, device=device),
        rows=rows,
    )
    (found,) = torch.autograd.grad(lm.score(content, strands).nll.sum(), content)
    return found.detach()


@torch.no_grad()
def dequantise(model: Any, reference: Any) -> None:
    """Give a float32 model the weights that another one stands for."""
    places = dict(model.named_modules())
    own = dict(model.named_parameters())
    for name, module in reference.named_modules():
        if isinstance(module, torch.nn.Linear):
            # What the layer makes of unit vectors: exact, since they are multiplied by 1.
            unit = torch.eye(module.in_features, dtype=torch.bfloat16, device=model.device)
            bias = 0 if module.bias is None else places[name].bias
            module.weight.data = (places[name](unit) - bias).t().float().contiguous()
            del unit
        for kind, value in module.named_parameters(recurse=False):
            full = f"{name}.{kind}" if name else kind
            if value.ndim == 3:
                value.data = getattr(places[name], kind).float()
            elif not (isinstance(module, torch.nn.Linear) and kind == "weight"):
                value.data = own[full].float()


def line(case: Case, found: Record) -> list[Cell]:
    gib = 2**30
    return [
        case.name,
        "all" if case.memory is None else f"{case.memory:g}",
        f"{found['peak_bytes'] / gib:.1f}",
        f"{found['planned_bytes'] / gib:.1f}",
        found["lanes"],
        found["planned_lanes"],
        found["solver"]["row_steps_per_second"],
        found["loop"]["row_steps_per_second"],
        found["ratio"],
        f"{found['gradient_error']:.1e}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="lines with this in their name; default the large models'")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--layout", choices=("prefix", "suffix"), default="suffix")
    parser.add_argument("--steps", type=int, default=3, help="timed (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=460, help="begin no line after so many")
    parser.add_argument("--line-seconds", type=float, default=150, help="of one line, at most")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        (case,) = [each for each in CASES if each.name == args.case]
        print(json.dumps(measure(case, args)))
        return
    chosen = [
        case
        for case in CASES
        if (args.only.lower() in case.name.lower() if args.only else "tiny" not in case.name)
    ]
    began, rows, seen = time.monotonic(), [], ""
    for case in chosen:
        if time.monotonic() - began > args.seconds:
            print(f"{case.name}: left out, the time is up", flush=True)
            continue
        command = [sys.executable, __file__, "--case", case.name, "--device", args.device]
        command += ["--layout", args.layout, "--steps", str(args.steps)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=args.line_seconds
            )
        except subprocess.TimeoutExpired:
            print(f"{case.name}: not done in {args.line_seconds:.0f} s", flush=True)
            continue
        seconds = time.monotonic() - began
        if done.returncode:
            reason = "\n    ".join(done.stderr.strip().splitlines()[-8:])
            print(f"{case.name}: FAILED ({seconds:.0f} s)\n    {reason}", flush=True)
            continue
        text = done.stdout.strip().splitlines()[-1]
        print(f"{case.name} ({seconds:.0f} s): {text}", flush=True)
        found = json.loads(text)
        rows.append(line(case, found))
        seen = f"{found['hardware']}, torch {found['torch']}, {args.layout}, K = 32"
    head = [
        "",
        "given",
        "GiB",
        "planned",
        "lanes",
        "planned",
        "rows/s",
        "loop",
        "ratio",
        "gradient",
    ]
    print(f"\n{seen}\n\n{table(head, rows)}")


if __name__ == "__main__":
    main()
