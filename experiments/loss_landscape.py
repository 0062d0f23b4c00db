"""What does the loss look like around contents, and does a flat place decode better?

    python experiments/loss_landscape.py --data ../shared/data
    python experiments/loss_landscape.py --data ../shared/data --model FOLDER --slots 4

Of several attempts at pairs, from noise: the loss along the straight lines between attempts at a
pair (the barrier is its largest excess over the line between the ends); along random directions,
by the share of the content's length that it is moved; on a plane of two attempts and a random
direction, for one pair; and the largest eigenvalues of the Hessian, by power iteration with
gradients on both sides of the content. Sharpness, the largest eigenvalue, is held against the
margin and against how much noise and what rounding a content bears before it is not exact.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import torch
from found import SETS, Found, contents, gradients, losses
from kit import Deadline, Record, about, generator, options, say, spread, write
from torch import Tensor

from dcm import Generator
from dcm.protocol.statistics import bootstrap, rate, spearman

_POINTS = 21
_RADII = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
_PLANE = 17
_STEP = 1e-2  # of a content's length, to either side for a product with the Hessian


def barriers(model: Generator, found: Sequence[Found]) -> Record:
    """The loss on the lines between attempts at one pair."""
    by_pair: dict[str, list[Found]] = {}
    for each in found:
        by_pair.setdefault(f"{each.set} {each.example.id}", []).append(each)
    lines = [both for own in by_pair.values() for both in combinations(own, 2)]
    if not lines:
        return {}
    shares = torch.linspace(0, 1, _POINTS)
    points = torch.cat(
        [torch.lerp(a.content[None], b.content[None], shares[:, None, None]) for a, b in lines]
    )
    measured = losses(model, points, [a.example for a, _ in lines for _ in shares])
    loss = measured.loss.view(-1, _POINTS)
    straight = torch.lerp(loss[:, :1], loss[:, -1:], shares)
    barrier = (loss - straight).amax(1)
    exact = measured.exact.float().view(-1, _POINTS)
    record = {
        "lines": len(lines),
        "barrier": bootstrap(barrier.tolist()).as_json(),
        "least_barrier": float(barrier.min()),
        "share_of_the_line_that_is_exact": bootstrap(exact.mean(1).tolist()).as_json(),
        "shares": shares.tolist(),
        "loss": loss.mean(0).tolist(),
        "loss_quartiles": loss.quantile(torch.tensor([0.25, 0.75]), 0).tolist(),
    }
    say(f"barriers between attempts: {record['barrier']['value']:.2f} nats, the least "
        f"{record['least_barrier']:.2f}, of {len(lines)} lines")  # fmt: skip
    return record


def radii(model: Generator, found: Sequence[Found], directions: int) -> tuple[Record, list[float]]:
    """The loss along random directions; and for each content the radius up to which it is exact."""
    draw = torch.Generator().manual_seed(0)
    own = torch.stack([each.content for each in found])
    length = own.flatten(1).norm(dim=1)[:, None, None]
    exact, curve = [], []
    for _ in range(directions):
        way = torch.randn(own.shape, generator=draw)
        way = way / way.flatten(1).norm(dim=1)[:, None, None] * length
        points = torch.stack([own + radius * way for radius in _RADII], 1).flatten(0, 1)
        measured = losses(model, points, [each.example for each in found for _ in _RADII])
        curve.append(measured.loss.view(-1, len(_RADII)))
        exact.append(measured.exact.view(-1, len(_RADII)))
    loss, held = torch.stack(curve).mean(0), torch.stack(exact).float().mean(0)
    # Up to the first radius at which most directions are not exact any more.
    borne = ((held > 0.5).float().cumprod(1) * torch.tensor(_RADII)).amax(1)
    record = {
        "radii": list(_RADII),
        "loss": loss.mean(0).tolist(),
        "exact": [rate((held[:, k] > 0.5).tolist()).as_json() for k in range(len(_RADII))],
        "borne": spread(borne.tolist()),
    }
    say(f"a random move is borne up to {record['borne']['median']:.2f} of the length (median)")
    return record, borne.tolist()


def plane(model: Generator, found: Sequence[Found]) -> Record:
    """The loss on a plane: from one attempt to another, and in a random direction."""
    first = found[0]
    others = [
        each
        for each in found
        if (each.set, each.example.id) == (first.set, first.example.id) and each is not first
    ]
    draw = torch.Generator().manual_seed(1)
    random = torch.randn(first.content.shape, generator=draw)
    random *= first.content.norm() / random.norm()
    along = others[0].content - first.content if others else random.flip(0)
    x, y = torch.linspace(-0.5, 1.5, _PLANE), torch.linspace(-1, 1, _PLANE)
    points = torch.stack([first.content + a * along + b * random for b in y for a in x])
    measured = losses(model, points, [first.example] * len(points))
    return {
        "x": x.tolist(),
        "y": y.tolist(),
        "x_is": "from one attempt (0) to another (1)" if others else "a random direction",
        "y_is": "a random direction, in lengths of the content",
        "loss": measured.loss.view(_PLANE, _PLANE).tolist(),
        "exact": measured.exact.view(_PLANE, _PLANE).tolist(),
        "question": first.example.question,
    }


def curvature(
    model: Generator, found: Sequence[Found], count: int, rounds: int, deadline: Deadline
) -> Tensor:
    """[R, count]: the eigenvalues of the Hessian that are largest in size, in nats; fewer columns
    where the time was up.

    Contents are measured in units of their length, so that an eigenvalue says how much the loss
    bends when a content is moved by its length.
    """
    own = torch.stack([each.content for each in found])
    examples = [each.example for each in found]
    length = own.flatten(1).norm(dim=1)[:, None, None]
    draw = torch.Generator().manual_seed(2)
    known: list[Tensor] = []
    values = []
    for _ in range(count):
        way = _unit(torch.randn(own.shape, generator=draw), known)
        value = torch.zeros(len(own))
        for _ in range(rounds):
            if deadline.passed:
                say(f"eigenvalue {len(values) + 1}: the time is up")
                return torch.stack(values, 1) if values else own.new_zeros(len(own), 0)
            move = _STEP * way * length
            ahead = gradients(model, own + move, examples)
            behind = gradients(model, own - move, examples)
            bent = (ahead - behind) * length / (2 * _STEP)
            value = (bent * way).flatten(1).sum(1)
            way = _unit(bent, known)
        known.append(way)
        values.append(value)
        say(f"eigenvalue {len(values)}: {value.median():.3g} (median)")
    return torch.stack(values, 1)


def _unit(vectors: Tensor, known: Sequence[Tensor]) -> Tensor:
    """Vectors [R, K, D] of length one, square to those that are known."""
    for other in known:
        vectors = vectors - (vectors * other).flatten(1).sum(1)[:, None, None] * other
    return vectors / vectors.flatten(1).norm(dim=1).clamp(min=1e-30)[:, None, None]


def rounded(model: Generator, found: Sequence[Found]) -> dict[str, list[bool]]:
    """Which contents are still exact when they are kept in fewer bits."""
    own = torch.stack([each.content for each in found])
    examples = [each.example for each in found]
    kept = {"bfloat16": own.bfloat16().float()}
    for bits in (8, 6, 4):
        most = 2 ** (bits - 1) - 1
        scale = own.abs().amax(-1, keepdim=True) / most
        kept[f"int{bits}"] = (own / scale).round() * scale
    return {name: losses(model, each, examples).exact.tolist() for name, each in kept.items()}


def against(found: Sequence[Found], sharpness: Sequence[float], others: Record) -> Record:
    """Sharpness against what it might tell: rank correlations, and means of those that hold."""
    margins = [each.margin for each in found]
    steps = [float(each.steps) for each in found]
    record: Record = {
        "margin": spearman(sharpness, margins),
        "steps": spearman(sharpness, steps),
        "borne": spearman(sharpness, others["borne"]),
        "margin_and_borne": spearman(margins, others["borne"]),
        "rounded": {},
    }
    for name, held in others["rounded"].items():
        flags = [float(each) for each in held]
        record["rounded"][name] = {
            "exact": rate(held).as_json(),
            "sharpness": spearman(sharpness, flags),
            "margin": spearman(margins, flags),
        }
    told = ", ".join(
        f"{name} {value:+.2f}" for name, value in record.items() if isinstance(value, float)
    )
    say(f"rank correlation of sharpness with: {told}")
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Find contents and look around them."""
    asked = parsed(arguments)
    deadline = Deadline(asked.seconds)
    model = generator(asked)
    found = contents(model, asked, deadline)
    record = about(asked, model, contents=len(found))
    if len(found) < 2:
        write(asked.out, record)
        return
    record["barriers"] = barriers(model, found)
    record["plane"] = plane(model, found)
    record["radii"], borne = radii(model, found, asked.directions)
    write(asked.out, {**record, "seconds": deadline.spent})
    held = rounded(model, found)
    values = curvature(model, found, asked.eigenvalues, asked.rounds, deadline)
    record["eigenvalues"] = [spread(column.tolist()) for column in values.T]
    measured = values.shape[1] > 0
    sharpness = values[:, 0].tolist() if measured else [None] * len(found)
    # What does not vary is correlated with nothing.
    ranked = [each or 0.0 for each in sharpness]
    record["against"] = against(found, ranked, {"borne": borne, "rounded": held})
    record["points"] = [
        {"id": each.example.id, "set": each.set, "attempt": each.attempt, "margin": each.margin,
         "steps": each.steps, "sharpness": sharp, "borne": far}
        for each, sharp, far in zip(found, sharpness, borne, strict=True)
    ]  # fmt: skip
    write(asked.out, {**record, "seconds": deadline.spent})
    say(f"All figures are in {asked.out}")


def parsed(arguments: Sequence[str] | None) -> Namespace:
    """The options."""
    parser = options(__doc__, Path(__file__).stem)
    add = parser.add_argument
    add("--sets", nargs="+", choices=SETS, default=["squad"], help="default squad")
    add("--pairs", type=int, default=30, metavar="N", help="of each set; default 30")
    add("--attempts", type=int, default=3, metavar="N", help="at each pair; default 3")
    add("--slots", type=int, default=4, metavar="K", help="default 4")
    add("--max-steps", type=int, default=300, metavar="N", help="of an attempt; default 300")
    add("--directions", type=int, default=5, metavar="N", help="random ones; default 5")
    add("--eigenvalues", type=int, default=3, metavar="N", help="default 3")
    add("--rounds", type=int, default=20, metavar="N", help="of power iteration; default 20")
    add("--optimizer", default="adam text_scale=0", help='default "adam text_scale=0"')
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
