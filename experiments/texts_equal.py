"""Is a content worth the same outside of dcm: losses and texts of the plain model of transformers?

    python experiments/texts_equal.py --data ../shared/data --model FOLDER
    python experiments/texts_equal.py --data ../shared/data --model FOLDER --pairs 5 --double

Pairs of SQuAD are optimised and certified by a run. Its contents are read from the run's files with
safetensors alone and given to a model that transformers loads anew:

- texts: `model.generate(inputs_embeds=[mode, c])`, greedy, has to write each target verbatim;
- losses: of each target behind [mode, c], by dcm and by transformers' own `labels=`; with
  `--double` both beside those of the same weights in float64.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from kit import Record, about, generator, options, say, write
from safetensors import safe_open
from torch import Tensor

import dcm
from dcm import Experiment, Strands, find

_BATCH = 20


class Certified(NamedTuple):
    """A target that a run has certified: what stands in front [K+1, D], and its tokens."""

    id: str
    prompt: Tensor
    content: Tensor
    lead: Tensor
    text: str
    ids: tuple[int, ...]


def certified(run: Path, model: dcm.Generator) -> Iterator[Certified]:
    """Every certified target of a run, from its files."""
    for line in (run / "results.jsonl").read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        if not found["certified"]:
            continue
        with safe_open(run / found["content"]["file"], "pt") as file:
            content = file.get_tensor(found["content"]["key"])
            for mode in ("question", "answer"):
                lead = file.get_tensor(f"mode/{mode}")
                prompt, text = torch.cat([lead[None], content]), found[mode]
                ids = tuple(model.encode(text))
                yield Certified(found["id"], prompt, content, lead, text, ids)


@torch.no_grad()
def generated(plain: Any, some: list[Certified], end: int) -> list[list[int]]:
    """What the model writes behind prompts of one length, by its own `generate`."""
    prompts = torch.stack([each.prompt for each in some]).to(plain.device, plain.dtype)
    found = plain.generate(
        inputs_embeds=prompts,
        attention_mask=torch.ones(prompts.shape[:2], dtype=torch.int64, device=plain.device),
        max_new_tokens=max(len(each.ids) for each in some) + 4,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
    )
    return [own.tolist() for own in found]


@torch.no_grad()
def own_loss(plain: Any, each: Certified) -> float:
    """The model's own loss of the target, by `labels=`."""
    ids = torch.tensor(each.ids, device=plain.device)
    prompt = each.prompt.to(plain.device, plain.dtype)
    sequence = torch.cat([prompt, plain.get_input_embeddings()(ids)])[None]
    labels = torch.tensor([[-100] * len(prompt) + list(each.ids)], device=plain.device)
    return float(plain(inputs_embeds=sequence, labels=labels).loss)


@torch.no_grad()
def double_loss(double: Any, each: Certified, table: Any) -> float:
    """The loss in float64, of the embeddings that the model in float32 is fed."""
    ids = torch.tensor(each.ids, device=double.device)
    embedded = table(ids).to(double.device).double()
    sequence = torch.cat([each.prompt.to(double.device).double(), embedded])[None]
    logits = double(inputs_embeds=sequence).logits[0, len(each.prompt) - 1 : -1]
    # transformers' own loss is taken in float32 whatever the model computes in.
    return float(torch.nn.functional.cross_entropy(logits.double(), ids))


@torch.no_grad()
def our_loss(model: dcm.Generator, each: Certified) -> float:
    """The same by dcm."""
    device = model.device
    strands = Strands(
        row=torch.zeros(1, dtype=torch.int64, device=device),
        lead=each.lead[None].to(device),
        ids=[each.ids],
        weight=torch.ones(1, device=device),
        rows=1,
    )
    return float(model.score(each.content[None].to(device), strands).nll)


def figures(off: list[float]) -> Record:
    """Largest and median difference."""
    return {"most": max(off), "median": median(off)}


def compare(asked: Namespace, model: Any, run: Path) -> Record:
    """Texts and losses of all that the run has certified."""
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(asked.model, dtype=model.dtype)
    plain = plain.to(model.device).eval()
    some = list(certified(run, model))
    wrong = []
    for start in range(0, len(some), _BATCH):
        part = some[start : start + _BATCH]
        for each, ids in zip(part, generated(plain, part, model.lm.end), strict=True):
            text = model.text(ids)
            if text != each.text:
                wrong.append({"id": each.id, "target": each.text, "generated": text})
    ours = [our_loss(model, each) for each in some]
    plains = [own_loss(plain, each) for each in some]
    record: Record = {
        "texts": len(some),
        "same": len(some) - len(wrong),
        "wrong": wrong,
        "nats": {"most": max(plains), "median": median(plains)},
        "dcm_plain": figures([abs(a - b) for a, b in zip(ours, plains, strict=True)]),
    }
    if asked.double:
        table = plain.get_input_embeddings()
        double = AutoModelForCausalLM.from_pretrained(asked.model, dtype=torch.float64)
        double = double.to(model.device).eval()
        true = [double_loss(double, each, table) for each in some]
        record["dcm_double"] = figures([abs(a - b) for a, b in zip(ours, true, strict=True)])
        record["plain_double"] = figures([abs(a - b) for a, b in zip(plains, true, strict=True)])
    return record


def main() -> int:
    """Run, certify, compare; 1 where a text is another or a pair is not certified."""
    parser = options(__doc__ or "", "texts_equal")
    parser.add_argument("--pairs", type=int, default=100, metavar="N", help="the first N")
    parser.add_argument("--slots", type=int, default=32, metavar="K")
    parser.add_argument("--double", action="store_true", help="losses in float64, too")
    asked = parser.parse_args()
    if not asked.model:
        parser.error("--model is needed")
    asked.dtype = asked.dtype or "float32"
    model = generator(asked)
    with TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        summary = Experiment(
            generator=model,
            dataset=find("dataset", "squad")(
                path=str(asked.data / "squad_v2/dev-v2.0.json"), limit=asked.pairs
            ),
            slots=asked.slots,
            lanes=asked.lanes,
            seed=asked.seed,
        ).run(run)
        say(f"{summary['certified_rate']:.0%} of {summary['finished']} pairs certified")
        record = about(asked, model, pairs=summary["finished"], certified=summary["certified_rate"])
        record |= compare(asked, model, run)
    write(asked.out, record)
    say(json.dumps({key: record[key] for key in record if key not in ("options", "machine")}))
    return int(record["same"] < record["texts"] or summary["certified_rate"] < 1)


if __name__ == "__main__":
    raise SystemExit(main())
