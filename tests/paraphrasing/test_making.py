"""`dcm paraphrase` against servers that behave and that do not."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.paraphrasing.servers import Asked, Misbehaviour, Server, serving
from typer.testing import CliRunner, Result

from dcm import find
from dcm.cli.app import app

KEY = "sk-very-secret-0123456789"


def wordings(asked: Asked, count: int = 9) -> str:
    """A well-behaved reply: the text that was given, in frames."""
    found = re.search(r"^Answer: (.+)$", asked.prompt, re.MULTILINE)
    text = found[1] if found else re.search(r"^Question: (.+)$", asked.prompt, re.MULTILINE)[1]  # type: ignore[index]
    words = ("so", "well", "now", "then", "oh", "ah", "eh", "mm")
    return json.dumps([f"and {word} we say: {text}" for word in words[:count]])


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, KEY)


def call(server: Server | None, *more: str, limit: int = 3) -> Result:
    arguments = ["paraphrase", "--set", f"dataset.limit={limit}", "--model", "m"]
    arguments += ["--out", "variants.jsonl", "--n", "3"]
    if server is not None:
        arguments += ["--endpoint", server.endpoint]
    return CliRunner().invoke(app, [*arguments, *more])


def lines() -> list[dict[str, Any]]:
    text = Path("variants.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def summary() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("variants.summary.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("client", ["openai", "anthropic"])
def test_a_line_for_each_example_that_the_data_set_paraphrased_reads(client: str) -> None:
    with serving(wordings) as server:
        done = call(server, "--client", client, "--price-in", "2", "--price-out", "4")
    assert done.exit_code == 0, done.output
    samples = find("dataset", "samples")(limit=3)
    assert [line["id"] for line in lines()] == [example.id for example in samples]
    dataset = find("dataset", "paraphrased")(dataset=samples, path="variants.jsonl")
    for example, line in zip(dataset, lines(), strict=True):
        assert example.variants["question"] == tuple(line["question_variants"])
        assert [len(each) for each in example.variants.values()] == [3, 3]
    found = summary()
    assert found["requests"] == 6
    assert found["variants"] == {"answer": 9, "question": 9}
    assert (found["input_tokens"], found["output_tokens"]) == (60, 30)
    assert found["cost"] == pytest.approx((60 * 2 + 30 * 4) / 1e6)
    assert "9 paraphrases of 9 wanted" in done.output


def test_jsonl_reads_it_too() -> None:
    with serving(wordings) as server:
        assert call(server).exit_code == 0
    table = find("dataset", "jsonl")(
        path="variants.jsonl", id="id", variants="question_variants",
        answer_variants="answer_variants",
    )  # fmt: skip
    assert [len(example.variants["answer"]) for example in table] == [3, 3, 3]


def test_what_is_rejected_stands_there_with_its_reason() -> None:
    def answer(asked: Asked) -> str:
        original = re.search(r"^Question: (.+)$", asked.prompt, re.MULTILINE)[1]  # type: ignore[index]
        return json.dumps([original, *json.loads(wordings(asked, 1)), *json.loads(wordings(asked))])

    with serving(answer) as server:
        assert call(server, "--mode", "question").exit_code == 0
    for line in lines():
        assert len(line["question_variants"]) == 3
        assert line["answer_variants"] == []
        reasons = [each["reason"] for each in line["rejected"]]
        assert reasons[:2] == ["copy of the original", "duplicate"]
        assert set(reasons[2:]) == {"more than asked for"}
        assert line["rejected"][0] == {
            "mode": "question", "text": line["question"], "reason": "copy of the original",
        }  # fmt: skip
    assert summary()["rejected"]["duplicate"] == 3


def test_too_few_are_asked_for_again_with_those_that_are_there() -> None:
    def answer(asked: Asked) -> str:
        return wordings(asked, 1) if "too few" not in asked.prompt else wordings(asked)

    with serving(answer) as server:
        assert call(server, "--mode", "question", limit=1).exit_code == 0
    assert len(server.asked) == 2
    (line,) = lines()
    assert line["question_variants"][0] in server.asked[1].prompt
    assert len(line["question_variants"]) == 3


@pytest.mark.parametrize(
    "bad",
    [
        Misbehaviour(429, '{"error": {"message": "slow down"}}'),
        Misbehaviour(500, "oops"),
        Misbehaviour(503, ""),
        Misbehaviour(200, "{}", silence=1.5),
    ],
    ids=["429", "500", "503", "time-out"],
)
def test_a_server_that_fails_now_and_then_is_asked_again(bad: Misbehaviour) -> None:
    def answer(asked: Asked) -> str | Misbehaviour:
        return bad if asked.number % 3 == 1 else wordings(asked)

    with serving(answer) as server:
        done = call(server, "--timeout", "0.5", "--concurrency", "1", limit=2)
    assert done.exit_code == 0, done.output
    assert summary()["variants"] == {"answer": 6, "question": 6}
    assert len(server.asked) > 4


@pytest.mark.parametrize(
    "bad",
    ["", "I am sorry.", "<html>", "[1, 2", "[]", Misbehaviour(200, "no JSON"),
     Misbehaviour(200, "{}"), Misbehaviour(200, '{"choices": []}')],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("client", ["openai", "anthropic"])
def test_a_malformed_reply_is_counted_and_asked_for_again(
    bad: str | Misbehaviour, client: str
) -> None:
    def answer(asked: Asked) -> str | Misbehaviour:
        return bad if asked.number == 0 else wordings(asked)

    with serving(answer) as server:
        done = call(server, "--client", client, "--mode", "question", limit=1)
    assert done.exit_code == 0, done.output
    (line,) = lines()
    assert len(line["question_variants"]) == 3
    assert line["rejected"][0]["reason"] == "malformed reply"
    assert len(server.asked) == 2


def test_a_request_that_fails_for_good_leaves_the_others_and_is_made_up_for_later() -> None:
    broken = True

    def answer(asked: Asked) -> str | Misbehaviour:
        return (
            Misbehaviour(500) if broken and "glaciers-" and asked.number == 1 else wordings(asked)
        )

    with serving(answer) as server:
        first = call(server, "--retries", "0", "--concurrency", "1")
        assert first.exit_code == 1
        assert "asks for them again" in first.output
        assert summary()["failed"] == {"InternalServerError: Error code: 500": 1}
        assert [len(line["rejected"]) for line in lines()].count(0) == 0
        broken = False
        count = len(server.asked)
        again = call(server, "--retries", "0")
    assert again.exit_code == 0, again.output
    assert len(server.asked) == count + 1
    assert summary()["kept"] == 5
    assert all(len(line["question_variants"]) == 3 for line in lines())


def test_a_server_that_only_fails_is_left_alone() -> None:
    with serving(lambda _: Misbehaviour(500)) as server:
        done = call(server, "--retries", "0", limit=40)
    assert done.exit_code == 1
    assert "10 requests in a row have failed" in done.output
    assert "the same command goes on" in done.output
    assert len(server.asked) < 30
    assert not Path("variants.jsonl").exists()


@pytest.mark.parametrize("client", ["openai", "anthropic"])
@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_ends_it_at_once_and_shows_no_key(client: str, status: int) -> None:
    body = json.dumps({"error": {"type": "e", "message": f"no such key: {KEY}"}})
    with serving(lambda _: Misbehaviour(status, body)) as server:
        done = call(
            server, "--client", client, "--key-variable", "OPENAI_API_KEY", "--concurrency", "1"
        )
    assert done.exit_code == 1
    assert "refuses the request" in done.output
    assert "no such key: ***" in done.output
    assert len(server.asked) == 1
    assert KEY not in done.output


@pytest.mark.parametrize("client", ["openai", "anthropic"])
def test_a_key_goes_where_it_was_sent_and_into_no_file(client: str, tmp_path: Path) -> None:
    def answer(asked: Asked) -> str:
        return json.dumps([f"{KEY}, {asked.number}?", *json.loads(wordings(asked))])

    with serving(answer) as server:
        assert call(server, "--client", client).exit_code == 0
        assert not any(KEY in str(asked.headers) for asked in server.asked)
        server.asked.clear()
        done = call(
            server, "--client", client, "--key-variable", "OPENAI_API_KEY", "--n", "4", "--json"
        )
    assert server.asked
    assert all(KEY in str(asked.headers) for asked in server.asked)
    assert KEY not in done.output
    replies = Path("variants.replies.jsonl").read_text(encoding="utf-8")
    assert "***" in replies
    # What the server was told without a key it cannot have repeated; with one it is blotted out.
    told = [line for line in replies.splitlines() if KEY in line]
    assert len(told) == 6


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "needs an endpoint. Nothing was sent"),
        (("--endpoint", "localhost:80"), "the endpoint is no address"),
        (("--endpoint", "http://me:secret@host/v1"), "has a user, a query or a fragment"),
        (("--endpoint", "http://host/v1?key=secret"), "has a user, a query or a fragment"),
        (("--endpoint", "http://h/v1", "--key-variable", "NOT_SET"), "NOT_SET is not set"),
        (("--endpoint", "http://h/v1", "--client", "other"), "there is no client 'other'"),
        (("--endpoint", "http://h/v1", "--client", "local"), "'local' was given an endpoint"),
        (("--endpoint", "http://h/v1", "--mode", "context"), "--mode context was given"),
        (("--endpoint", "http://h/v1", "--set", "slots=3"), "Only the data set has fields"),
        (("--endpoint", "http://h/v1", "--prompts", "none.toml"), "none.toml cannot be read"),
    ],
)
def test_bad_usage_is_told_before_anything_is_sent(
    more: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("something was sent")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    done = call(None, *more)
    assert done.exit_code == 2
    assert message in done.output
    assert "secret@" not in done.output
    assert "key=secret" not in done.output
    assert not Path("variants.replies.jsonl").exists()


def test_prompts_of_ones_own() -> None:
    assert CliRunner().invoke(app, ["paraphrase", "--write-prompts", "p.toml"]).exit_code == 0
    text = Path("p.toml").read_text(encoding="utf-8")
    Path("p.toml").write_text(
        text.replace("Write {n} paraphrases of this question.", "Say it {n}x!")
    )
    with serving(wordings) as server:
        assert call(server, "--prompts", "p.toml", limit=1).exit_code == 0
    assert any("Say it 3x!" in asked.prompt for asked in server.asked)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Write {n} paraphrases of this q", "Write {count} q", "has the place {count}"),
        ("Question: {question}\n\nReply", "Reply", "'question' does not have its text"),
        ("system =", "sistem =", "has no prompts"),
        ("system =", "system", "are no TOML"),
    ],
)
def test_prompts_that_cannot_work_are_refused(old: str, new: str, message: str) -> None:
    CliRunner().invoke(app, ["paraphrase", "--write-prompts", "p.toml"])
    Path("p.toml").write_text(Path("p.toml").read_text(encoding="utf-8").replace(old, new, 1))
    done = call(None, "--endpoint", "http://h/v1", "--prompts", "p.toml")
    assert done.exit_code == 2
    assert message in done.output


def test_a_torn_line_of_kept_replies_is_dropped_and_asked_for_again() -> None:
    with serving(wordings) as server:
        assert call(server, limit=2).exit_code == 0
        whole = Path("variants.jsonl").read_bytes()
        kept = Path("variants.replies.jsonl")
        kept.write_bytes(kept.read_bytes()[:-20])
        Path("variants.jsonl").unlink()
        count = len(server.asked)
        assert call(server, limit=2).exit_code == 0
    assert len(server.asked) == count + 1
    assert Path("variants.jsonl").read_bytes() == whole
    assert [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]


def test_no_more_requests_at_once_than_asked() -> None:
    import threading

    running, most, lock = 0, 0, threading.Lock()

    def answer(asked: Asked) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.02)
        with lock:
            running -= 1
        return wordings(asked)

    with serving(answer) as server:
        assert call(server, "--concurrency", "2", limit=8).exit_code == 0
    assert most == 2
