"""CUDA graphs themselves: recorded steps are what they are without. For machines with a GPU."""

from __future__ import annotations

import pytest
import torch
from dcm.causal_lm.graphs import Graphs

from dcm import Strands, find

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

LINES = [3, 8, 3, 4, 2, 3, 4, 7, 5, 3, 8, 1, 6]


def function(first, other):
    return first.sin().cumsum(1) + other[:, None, None]


def drawn(lines):
    first = torch.randn(lines, 5, 4, device="cuda", requires_grad=True)
    return first, torch.arange(lines * 1.0, device="cuda")


def result(run, first, other):
    found = run(first, other)[: len(first)]
    return found.detach().clone(), *torch.autograd.grad(found.square().sum(), first)


def same(one, other):
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(one, other, strict=True))


def test_results_and_gradients_are_those_without():
    graphs = Graphs(torch.device("cuda"), active=True)
    for lines in LINES:
        given = drawn(lines)
        run = lambda *given: graphs.run(function, "plain", *given)  # noqa: E731
        assert same(result(run, *given), result(function, *given))
    assert len(graphs._recorded) == 2  # of four lines, and of eight


def test_a_function_that_waits_goes_on_and_leaves_the_process_alone():
    def waits(first, other):
        assert first.sum().item() < 1e9
        return function(first, other)

    graphs = Graphs(torch.device("cuda"), active=True)
    for _ in range(6):
        given = drawn(3)
        run = lambda *given: graphs.run(waits, "waits", *given)  # noqa: E731
        assert same(result(run, *given), result(function, *given))
    assert not graphs._recorded
    assert torch.randn(3, device="cuda").isfinite().all()


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
def test_a_small_model_scores_as_without(layout):
    generator = find("generator", "nano")(device="cuda")
    texts = [generator.encode(text) for text in ("Who was it?", "she", "Where?", "in Rome")]
    lead = generator.embed(torch.tensor([5, 9, 5, 9], device="cuda"))
    row, weight = torch.tensor([0, 0, 1, 1], device="cuda"), torch.ones(4, device="cuda")
    strands = Strands(row, lead, texts, weight, 2, layout)
    content = torch.randn(2, 8, generator.width, device="cuda") * generator.embedding_scale
    found = {}
    for active in (False, True):
        graphs = Graphs(torch.device("cuda"), active=active)
        object.__setattr__(generator.lm, "graphs", graphs)
        for _ in range(6):
            leaf = content.clone().requires_grad_()
            nll = generator.score(leaf, strands).nll
            found[active] = nll.detach(), *torch.autograd.grad(nll.sum(), leaf)
    assert graphs._recorded
    assert same(found[False], found[True])
