"""Where do contents lie, beside the model's tokens and beside each other?

    python experiments/embedding_space.py --data ../shared/data
    python experiments/embedding_space.py --data ../shared/data --model FOLDER --slots 8

Of several attempts at pairs of several sets, from noise: how far a slot is from the nearest token
and from the span of the nearest tokens (the token manifold, near there), how long slots are,
whether attempts at a pair, pairs of a topic and pairs of a set lie together, what is lost when a
slot is left out or zero, and how much attention contents get. Beside them stand noise of the same
length, the contents' own starts, and other tokens.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch
from attention_sinks import sinks
from found import SETS, Found, contents, losses
from kit import Deadline, Record, about, generator, options, say, write
from torch import Tensor

from dcm import Generator
from dcm.protocol.statistics import bootstrap, paired_difference, rate

_NEAREST = 16
_SAMPLE = 400  # slots and tokens whose distances are measured


def table(model: Generator) -> Tensor:
    """[V, D] float32 on the CPU: the tokens' input embeddings."""
    ids = torch.arange(model.vocabulary, device=model.device)
    return model.embed(ids).float().cpu()


def distances(vectors: Tensor, tokens: Tensor, *, own: bool = False) -> Record:
    """How near vectors [N, D] are to tokens [V, D]: by angle, and to the span of the nearest.

    Args:
        vectors: of them at most 400 are measured.
        tokens: every token's embedding.
        own: the vectors are tokens, so that the nearest is left out: it is the token itself.
    """
    unit = torch.nn.functional.normalize(tokens, dim=1)
    vectors = vectors[torch.randperm(len(vectors), generator=torch.Generator().manual_seed(0))]
    vectors = vectors[:_SAMPLE]
    direction = torch.nn.functional.normalize(vectors, dim=1)
    near = (direction @ unit.T).topk(_NEAREST + own, dim=1)
    cosine, places = near.values[:, own:], near.indices[:, own:]
    span = unit[places].mT  # [N, D, 16]
    # Of the direction, what no mixture of the nearest tokens gives.
    mixed = torch.linalg.lstsq(span.double(), direction[..., None].double()).solution
    outside = (direction.double()[..., None] - span.double() @ mixed)[..., 0].norm(dim=1)
    return {
        "nearest_cosine": bootstrap(cosine[:, 0].tolist()).as_json(),
        "outside_the_span": bootstrap(outside.tolist()).as_json(),
    }


def nearness(model: Generator, found: Sequence[Found], tokens: Tensor) -> Record:
    """The distances of contents, of what they began as, of noise and of tokens."""
    slots = torch.cat([each.content for each in found])
    starts = torch.cat([each.start for each in found])
    draw = torch.Generator().manual_seed(1)
    record = {
        "content": distances(slots, tokens),
        "start": distances(starts, tokens),
        "way": distances(slots - starts, tokens),
        "noise": distances(torch.randn(slots.shape, generator=draw), tokens),
        "tokens": distances(tokens, tokens, own=True),
    }
    for name, each in record.items():
        near, far = each["nearest_cosine"], each["outside_the_span"]
        say(f"{name}: cosine to the nearest token {near['value']:.3f}, outside the span of the "
            f"{_NEAREST} nearest {far['value']:.3f}")  # fmt: skip
    return record


def norms(found: Sequence[Found], tokens: Tensor) -> Record:
    """How long slots are, in mean lengths of a token, by place; and how far they have moved."""
    token = float(tokens.norm(dim=1).mean())
    by_slot = torch.stack([each.content.norm(dim=1) for each in found]) / token
    moved = torch.stack([(each.content - each.start).norm(dim=1) for each in found]) / token
    began = torch.stack([each.start.norm(dim=1) for each in found]) / token
    record = {
        "token_norm": token,
        "content": bootstrap(by_slot.mean(1).tolist()).as_json(),
        "start": bootstrap(began.mean(1).tolist()).as_json(),
        "moved": bootstrap(moved.mean(1).tolist()).as_json(),
        "by_slot": by_slot.mean(0).tolist(),
    }
    say(f"a slot is {record['content']['value']:.2f} tokens long, began with "
        f"{record['start']['value']:.2f} and moved {record['moved']['value']:.2f}")  # fmt: skip
    return record


def together(found: Sequence[Found]) -> Record:
    """Whether attempts at a pair, pairs of a topic and of a set lie together: mean cosines.

    Each content's way from its start is compared; `nearest_is` is the share of contents whose
    nearest other one is of the same pair or set, beside what chance gives.
    """
    record = {}
    for name, of in (("content", _content), ("way", _way)):
        flat = torch.stack([of(each).flatten() for each in found])
        unit = torch.nn.functional.normalize(flat, dim=1)
        cosine = (unit @ unit.T).fill_diagonal_(float("nan"))
        pair = _same([f"{each.set} {each.example.id}" for each in found])
        topic = _same([_topic(each, place) for place, each in enumerate(found)])
        of_set = _same([each.set for each in found])
        shown = {
            "same pair": pair,
            "same topic": topic & ~pair,
            "same set": of_set & ~topic & ~pair,
            "other set": ~of_set,
        }
        each_row = {
            label: [value for row, mask in zip(cosine, chosen, strict=True)
                    for value in _mean(row, mask)]
            for label, chosen in shown.items()
        }  # fmt: skip
        nearest = cosine.nan_to_num(-2).argmax(1)
        rows = torch.arange(len(found))
        # Among those of other pairs, so that attempts at one pair do not speak for its set.
        other = cosine.masked_fill(pair, -2).nan_to_num(-2).argmax(1)
        record[name] = {
            "cosine": {label: bootstrap(values).as_json() for label, values in each_row.items()},
            "nearest_is_of_the_pair": rate(pair[rows, nearest].tolist()).as_json(),
            "nearest_other_pair_is_of_the_set": rate(of_set[rows, other].tolist()).as_json(),
            "chance_of_the_set": fmean(
                float((of_set & ~pair)[row].sum() / (~pair)[row].sum().clamp(min=1)) for row in rows
            ),
        }
        spoken = ", ".join(
            f"{label} {each['value']:.3f}"
            for label, each in record[name]["cosine"].items()
            if each["value"] is not None
        )
        say(f"mean cosine of {name}s: {spoken}")
    return record


def _content(each: Found) -> Tensor:
    return each.content


def _way(each: Found) -> Tensor:
    return each.content - each.start


def _topic(each: Found, place: int) -> str:
    """The article of a SQuAD pair; others have a topic of their own."""
    context = each.example.metadata.get("title") or each.example.context
    return str(context) if context else f"{place}"


def _same(labels: Sequence[str]) -> Tensor:
    numbers = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    own = torch.tensor([numbers[label] for label in labels])
    return own[:, None] == own[None]


def _mean(row: Tensor, mask: Tensor) -> list[float]:
    chosen = row[mask & ~row.isnan()]
    return [float(chosen.mean())] if len(chosen) else []


def left_out(model: Generator, found: Sequence[Found]) -> Record:
    """What is lost when a slot is zero, or is not there: nats of both texts, and exactness."""
    examples = [each.example for each in found]
    points = torch.stack([each.content for each in found])
    whole = losses(model, points, examples)
    slots = points.shape[1]
    record: Record = {"whole": bootstrap(whole.loss.tolist()).as_json(), "zero": [], "absent": []}
    lost = []
    for slot in range(slots):
        zero = points.clone()
        zero[:, slot] = 0
        kept = [place for place in range(slots) if place != slot]
        for name, changed in (("zero", zero), ("absent", points[:, kept])):
            if not changed.shape[1]:
                continue
            after = losses(model, changed, examples)
            more = paired_difference(whole.loss.tolist(), after.loss.tolist())
            still = rate(after.exact.tolist()).as_json()
            record[name].append({"slot": slot, "more": more.as_json(), "exact": still})
            if name == "zero":
                lost.append(after.loss - whole.loss)
    ranked = torch.stack(lost, 1).sort(1, descending=True).values
    # How unequal slots are within one content: the share of what is lost that the first ones hold.
    share = ranked.clamp(min=0).cumsum(1) / ranked.clamp(min=0).sum(1, keepdim=True).clamp(min=1e-9)
    record["share_of_the_most_important"] = share.mean(0).tolist()
    told = ", ".join(f"{each['more']['value']:.2f}" for each in record["zero"])
    say(f"nats lost by a zero in slot 1 .. {slots}: {told}")
    return record


def picture(found: Sequence[Found]) -> Record:
    """The directions of the contents' ways from their starts, on their two principal axes."""
    flat = torch.stack([_way(each).flatten() for each in found])
    flat = torch.nn.functional.normalize(flat, dim=1)
    middle = flat - flat.mean(0)
    left, sizes, _ = torch.linalg.svd(middle, full_matrices=False)
    shares = (sizes**2 / (sizes**2).sum()).tolist()
    places = left[:, :2] * sizes[:2]
    return {
        "explained": shares[:10],
        "dimensions_for_half": 1 + sum(1 for k in range(len(shares)) if sum(shares[: k + 1]) < 0.5),
        "points": [
            {"x": x, "y": y, "set": each.set, "id": each.example.id, "attempt": each.attempt}
            for (x, y), each in zip(places.tolist(), found, strict=True)
        ],
    }


def parsed(arguments: Sequence[str] | None) -> Namespace:
    """The options."""
    parser = options(__doc__, Path(__file__).stem)
    add = parser.add_argument
    add("--sets", nargs="+", choices=SETS, default=list(SETS), help="default all")
    add("--pairs", type=int, default=30, metavar="N", help="of each set; default 30")
    add("--attempts", type=int, default=3, metavar="N", help="at each pair; default 3")
    add("--slots", type=int, default=8, metavar="K", help="default 8")
    add("--max-steps", type=int, default=300, metavar="N", help="of an attempt; default 300")
    add("--optimizer", default="adam text_scale=0", help='default "adam text_scale=0"')
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Find contents and look at them."""
    asked = parsed(arguments)
    deadline = Deadline(asked.seconds)
    model = generator(asked)
    found = contents(model, asked, deadline)
    record = about(asked, model, contents=len(found))
    record["machine"]["seconds_to_find"] = deadline.spent
    tokens = table(model)
    parts = {
        "nearness": lambda: nearness(model, found, tokens),
        "norms": lambda: norms(found, tokens),
        "together": lambda: together(found),
        "picture": lambda: picture(found),
        "left_out": lambda: left_out(model, found),
        "attention": lambda: sinks(model, found),
    }
    for name, part in parts.items():
        if len(found) < 2:
            break
        # What is looked at takes seconds: it is done although the time for finding is up.
        record[name] = part()
        write(asked.out, {**record, "seconds": deadline.spent})
    say(f"All figures are in {asked.out}")


if __name__ == "__main__":
    main()
