"""Strands packed into one sequence score as each does alone, whatever stands beside them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dcm import Strands
from dcm.causal_lm import CausalLM, packed, packing
from dcm.causal_lm.packing import pack, packed_numbers
from dcm.testing.doubles import TinyGenerator

# How many positions are rounded where steps are recorded.
ROUNDS = 1 << 16

PACKABLE = ["llama", "gpt2", "gpt_neox", "mistral", "gemma3_text", "gpt_oss"]
NOT_PACKABLE = ["mamba", "lfm2", "bloom", "falcon", "gemma2", "gpt_neo"]


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.3


def tokens(length, seed=0):
    """A target, closed by the end-of-text token."""
    return (*((place * 7 + 13 * seed) % 250 for place in range(length - 1)), 256)


def strands_of(layout, rows, lengths, modes=None, named=True):
    """Strands of so many tokens, under modes that are letters."""
    modes = modes or "ab" * len(rows)
    modes = modes[: len(rows)]
    return Strands(
        row=torch.tensor(rows),
        lead=torch.stack([noise(64, seed=ord(mode)) for mode in modes]),
        ids=[tokens(length, seed) for seed, length in enumerate(lengths)],
        weight=torch.ones(len(rows)),
        rows=max(rows) + 1,
        layout=layout,
        modes=list(modes) if named else (),
    )


def scored(score, content, strands, **options):
    """Losses, gradient of their sum, flags and margins."""
    leaf = content.clone().requires_grad_()
    scores = score(leaf, strands, **options)
    (gradient,) = torch.autograd.grad(scores.nll.sum(), leaf)
    return scores.nll.detach(), gradient, scores.exact, scores.margin


def assert_same(found, expected):
    """Losses each, and each row's gradient as a whole, to 1e-5 of themselves."""
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=0)
    off, whole = (found[1] - expected[1]).flatten(1).norm(dim=1), expected[1].flatten(1).norm(dim=1)
    assert (off <= 1e-5 * whole).all(), (off / whole).tolist()


@pytest.fixture
def rounds(monkeypatch):
    """Says up to how many positions sizes are rounded, as they are where steps are recorded."""
    real = packed.pack

    def to(most):
        monkeypatch.setattr(
            packed, "pack", lambda *a, **named: real(*a, **named | {"rounds": most})
        )

    return to


# Rows of one, two and three strands that do not stand side by side: under one mode and under two.
ROWS, MODES = [0, 1, 1, 0, 2, 3, 1, 2], "abaaabaa"
LENGTHS = [1, 12, 40, 9, 2, 1, 3, 25]


@pytest.mark.parametrize("slots", [1, 32])
@pytest.mark.parametrize("layout", ["prefix", "suffix"])
@pytest.mark.parametrize("name", PACKABLE)
def test_packed_strands_score_as_they_do_alone(name, layout, slots, build, reference, rounds):
    lm = build(name)
    content, strands = noise(4, slots, 64), strands_of(layout, ROWS, LENGTHS, MODES)
    expected = reference(lm.model, content, strands)
    for most in (0, ROUNDS):
        rounds(most)
        for shares in (True, False):
            lm = build(name)
            assert_same(
                scored(lm._packed.score, content, strands, shares=shares, step=True), expected
            )


@pytest.mark.parametrize("slots", [1, 32])
@pytest.mark.parametrize("layout", ["prefix", "suffix"])
def test_a_long_strand_beside_short_ones(layout, slots, build, reference):
    lm = build("mistral")
    content = noise(3, slots, 64)
    strands = strands_of(layout, [0, 0, 0, 1, 2], [1, 500, 4, 1, 30], "aabba")
    found = scored(lm._packed.score, content, strands, shares=True, step=True)
    assert_same(found, reference(lm.model, content, strands))


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
def test_strands_without_names_and_those_that_share_nothing(layout, rounds, build, reference):
    lm = build("llama")
    rounds(ROUNDS)
    for rows, named in (([0, 1, 2, 3], True), ([0, 0, 1, 2], False)):
        content, strands = noise(4, 3, 64), strands_of(layout, rows, [5, 1, 9, 2], "aaaa", named)
        found = scored(lm._packed.score, content, strands, shares=True, step=True)
        nll, gradient = reference(lm.model, content, strands)
        present = sorted(set(rows))
        assert_same((found[0], found[1][present]), (nll, gradient[present]))


def test_many_targets_behind_one_prompt_have_more_tokens_than_positions(rounds, build, reference):
    lm, rows = build("llama"), [0] * 300
    content, strands = noise(1, 2, 64), strands_of("prefix", rows, [2, 1, 3] * 100, "a" * 300)
    expected = reference(lm.model, content, strands)
    for most in (0, ROUNDS):
        rounds(most)
        lm = build("llama")
        assert_same(scored(lm._packed.score, content, strands, shares=True, step=True), expected)


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
def test_a_mode_alone_is_a_prompt(layout, build, reference):
    """What a baseline reads has no slots."""
    lm = build("llama", packed=True)
    content, strands = noise(3, 0, 64), strands_of(layout, [0, 0, 1, 2], [4, 1, 7, 2])
    with torch.no_grad():
        nll = lm.score(content, strands).nll
    assert lm.packs(layout, 8) == "shared"
    expected, _ = reference(lm.model, content.requires_grad_(), strands)
    torch.testing.assert_close(nll, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
@pytest.mark.parametrize("recorded", [False, True])
def test_the_generator_scores_packed_where_it_is_asked(
    layout, recorded, recordings, build, reference
):
    recordings.reset()
    lm = build("llama", packed=True)
    lm._packed._recordings.limit *= recorded
    strands = strands_of(layout, ROWS, LENGTHS, MODES)
    for seed in range(6):
        content = noise(4, 5, 64, seed=seed)
        assert_same(scored(lm.score, content, strands), reference(lm.model, content, strands))
    assert lm.packs(layout, 50) == "shared"
    assert recordings.made == recorded


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_row_that_is_not_finite_disturbs_no_other(layout, value, rounds, build):
    lm, strands = build("llama"), strands_of(layout, ROWS, LENGTHS, MODES)
    rounds(ROUNDS)
    good = noise(4, 5, 64)
    bad = good.clone()
    bad[1, 2, 3] = value
    expected = scored(lm._packed.score, good, strands, shares=True, step=True)
    found = scored(lm._packed.score, bad, strands, shares=True, step=True)
    others = strands.row != 1
    assert_same(
        (found[0][others], found[1][[0, 2, 3]]), (expected[0][others], expected[1][[0, 2, 3]])
    )
    assert not found[0][~others].equal(expected[0][~others])


def greedy(lm, prompts, count):
    """[n, count] the tokens that the model finds likeliest behind prompts [n, P, D]."""
    found = []
    for _ in range(count):
        token = lm.model(inputs_embeds=prompts).logits[:, -1].argmax(-1)
        found.append(token)
        prompts = torch.cat([prompts, lm.embed(token)[:, None]], 1)
    return torch.stack(found, 1)


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
def test_a_row_has_the_same_verdict_in_any_company(layout, build):
    """300 rows, packed by the dozens, by a few and alone, and padded."""
    count = 300
    lm, padded = build("llama", packed=True), build("llama", packed=False)
    random = torch.Generator().manual_seed(1)
    content, leads = noise(count, 4, 64), {mode: noise(64, seed=ord(mode)) for mode in "ab"}
    prompts = torch.stack([leads["b"]] * count)[:, None]
    parts = [prompts, content] if layout == "prefix" else [content, prompts]
    likely = greedy(lm, torch.cat(parts, 1), 6).tolist()
    targets = []
    for row in range(count):
        length, own = (int(torch.randint(1, 7, (1,), generator=random)) for _ in range(2))
        # Every other row is exact under mode b, and one in six but for its last token.
        wrong = [(likely[row][own - 1] + 1) % 256] if row % 6 == 0 else []
        exact = likely[row][: own - len(wrong)] + wrong if row % 2 == 0 else [row % 256] * own
        targets.append([tokens(length, row), tuple(exact)])

    def verdicts(lm, rows):
        strands = Strands(
            row=torch.arange(len(rows)).repeat_interleave(2),
            lead=torch.stack([leads["a"], leads["b"]] * len(rows)),
            ids=[ids for row in rows for ids in targets[row]],
            weight=torch.ones(2 * len(rows)),
            rows=len(rows),
            layout=layout,
            modes=["a", "b"] * len(rows),
        )
        with torch.no_grad():
            scores = lm.score(content[rows], strands)
        return zip(rows, scores.nll.view(-1, 2), scores.exact.view(-1, 2).tolist(), strict=True)

    def all_of(lm, size):
        order = torch.randperm(count, generator=random).tolist()
        groups = [order[first : first + size] for first in range(0, count, size)]
        found = {row: each for own in groups for row, *each in verdicts(lm, own)}
        nll = torch.stack([found[row][0] for row in range(count)])
        return nll, [found[row][1] for row in range(count)]

    nll, exact = all_of(padded, 50)
    assert 75 <= sum(each[1] for each in exact) <= 150
    for lanes in (40, 7, 1):
        other_nll, other = all_of(lm, lanes)
        assert other == exact
        torch.testing.assert_close(other_nll, nll, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", ["prefix", "suffix"])
@pytest.mark.parametrize("name", NOT_PACKABLE)
def test_what_cannot_be_packed_is_scored_padded(name, layout, build, reference):
    """Layers that carry one text over to the next, positions that a model counts for itself, caps
    and masks of its own: whatever it is made of, it shows when it is tried."""
    lm = build(name, packed=True)
    content, strands = noise(3, 3, 64), strands_of(layout, [0, 0, 1, 2], [12, 1, 5, 25], "abaa")
    found = scored(lm.score, content, strands)
    assert lm.packs(layout, 40) is None
    nll, gradient = reference(lm.model, content, strands)
    torch.testing.assert_close(found[0], nll, rtol=1e-5, atol=0)
    torch.testing.assert_close(found[1], gradient, rtol=1e-4, atol=1e-5 * gradient.abs().max())


def test_a_trial_that_memory_ended_is_made_again(monkeypatch, build):
    lm = build("llama", packed=True)
    whole, left = CausalLM._as_alone, [1]

    def runs_out_once(self, score, length, layout):
        if left and left.pop():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, score, length, layout)

    monkeypatch.setattr(CausalLM, "_as_alone", runs_out_once)
    with pytest.raises(torch.OutOfMemoryError):
        lm.packs("prefix", 10)
    assert lm.packs("prefix", 10) == "shared"


def test_a_cpu_packs_and_records_nothing_of_itself():
    lm = TinyGenerator().lm
    assert lm.packs("prefix", 10) is None
    assert lm.packs("suffix", 10) is None


drawn = st.lists(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 30)), min_size=1, max_size=4),
    min_size=1,
    max_size=6,
)


@given(drawn, st.data())
def test_each_target_token_is_predicted_once_from_what_stands_before_it_alone(texts, data):
    """Read back from the numbers: what the position that predicts a token sees, and where."""
    layout = data.draw(st.sampled_from(["prefix", "suffix"]))
    slots = data.draw(st.sampled_from([0, 1, 2, 5, 32]))
    shares, named = data.draw(st.booleans()), data.draw(st.booleans())
    rounds = data.draw(st.sampled_from([0, 200, ROUNDS]))
    drawn_rows = [(row, *text) for row, own in enumerate(texts) for text in own]
    rows, modes, lengths = zip(*data.draw(st.permutations(drawn_rows)), strict=True)
    strands = strands_of(layout, list(rows), lengths, "".join(modes), named)

    made = pack(strands, slots, shares=shares, rounds=rounds)
    sizes = made.sizes
    numbers = packed_numbers(sizes, made.numbers)

    total = sum(lengths)
    assert made.tokens == total <= sizes.tokens == len(numbers.targets) == len(numbers.predicting)
    assert made.lengths.tolist() == list(lengths)
    assert numbers.targets[:total].tolist() == [token for ids in strands.ids for token in ids]
    assert len(numbers.fed) == len(numbers.places) == sizes.positions
    assert len(numbers.prompt_start) == len(numbers.prompt_row) == sizes.prompts
    assert len(numbers.lead_start) == len(made.lead_strand) == sizes.leads
    assert sizes.rows >= max(rows) + 1
    assert (sizes.slots, sizes.prefix) == (slots, layout == "prefix")

    # Texts follow each other without a gap, and end with the sequence.
    starts_q, starts_k = numbers.starts_q, numbers.starts_k
    assert len(starts_q) == len(starts_k) == sizes.texts + 1
    assert starts_q[0] == starts_k[0] == 0
    assert (starts_q.diff() >= 0).all()
    assert (starts_k.diff() >= starts_q.diff()).all()
    assert starts_q[-1] == sizes.positions
    keys = numbers.keys.tolist() if sizes.keys else list(range(sizes.positions))
    assert starts_k[-1] <= len(keys)
    assert starts_k.diff().max() <= sizes.longest

    # What stands at each position.
    at = [("token", int(token)) for token in numbers.fed]
    for place, strand in zip(numbers.lead_start.tolist(), made.lead_strand.tolist(), strict=True):
        at[place] = ("mode", modes[strand])
    for start, row in zip(numbers.prompt_start.tolist(), numbers.prompt_row.tolist(), strict=True):
        at[start : start + slots] = [("slot", row, slot) for slot in range(slots)]

    predicting, place = numbers.predicting.tolist(), 0
    for row, mode, ids in zip(rows, modes, strands.ids, strict=True):
        prompt = [("slot", row, slot) for slot in range(slots)]
        prompt.insert(0 if layout == "prefix" else slots, ("mode", mode))
        for before in range(len(ids)):
            position = predicting[place]
            place += 1
            text = int(torch.searchsorted(starts_q, position, right=True)) - 1
            from_end = int(starts_q[text + 1]) - position
            seen = keys[int(starts_k[text]) : int(starts_k[text + 1]) - from_end + 1]
            expected = [*prompt, *(("token", token) for token in ids[:before])]
            assert [at[key] for key in seen] == expected
            assert numbers.places[seen].tolist() == list(range(len(expected)))
    if not shares:
        assert not sizes.keys


@given(st.lists(st.integers(1, 60), min_size=1, max_size=60), st.sampled_from([1, 32]), st.data())
def test_what_is_filled_up_is_little(lengths, slots, data):
    layout = data.draw(st.sampled_from(["prefix", "suffix"]))
    strands = strands_of(layout, list(range(len(lengths))), lengths)
    used = sum(lengths) + slots * len(lengths)
    exact, rounded = (pack(strands, slots, shares=True, rounds=n).sizes for n in (0, ROUNDS))
    assert used <= exact.positions <= used + slots + 64
    assert exact.tokens == sum(lengths)
    share = 1 / packing._IN_AN_OCTAVE
    assert used <= rounded.positions <= max(256, (used + slots) * (1 + share))
    assert exact.tokens <= rounded.tokens <= rounded.positions


def test_rounded_sizes_come_again():
    """Whoever is packed: a solve whose rows come and go has a few recordings, not hundreds."""
    random = torch.Generator().manual_seed(0)
    sizes = {False: set(), True: set()}
    for rows in range(1, 401):
        lengths = torch.randint(1, 40, (rows,), generator=random).tolist()
        strands = strands_of("prefix", list(range(rows)), lengths)
        for rounds, found in sizes.items():
            found.add(pack(strands, 8, shares=True, rounds=ROUNDS * rounds).sizes)
    assert len(sizes[False]) > 390
    assert len(sizes[True]) < 100


@pytest.mark.parametrize("recurs", [0, ROUNDS])
@pytest.mark.parametrize("shares", [False, True])
def test_no_position_is_looked_up_that_a_short_context_lacks(shares, recurs) -> None:
    """Nor of texts that fill up: of one beyond its table a GPU ends the process."""
    strands = strands_of("suffix", [0, 0, 1], [3, 5, 4])
    found = pack(strands, 20, shares=shares, rounds=recurs, context=32)
    assert int(packed_numbers(found.sizes, found.numbers).places.max()) < 32


def test_of_a_model_that_is_spread_over_devices_nothing_is_recorded(
    recordings, build, monkeypatch
) -> None:
    """A recording is of one device: each one that was tried would fail."""
    lm = build("llama", compiled=False, packed=True)
    assert lm._packed._recordings.limit > 0
    monkeypatch.setitem(
        lm.model._parameters, "elsewhere", torch.nn.Parameter(torch.zeros(1, device="meta"))
    )
    other = build("llama", compiled=False, packed=True)
    assert other._packed._recordings.limit == other._packed._recordings.rounds == 0
