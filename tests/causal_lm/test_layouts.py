"""Whatever a file holds, a data set reads it or says what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dcm
from dcm import DatasetError, TaskDataset


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


_SQUAD = {
    "data": [
        {
            "title": "T",
            "paragraphs": [
                {
                    "context": "A b.",
                    "qas": [
                        {
                            "id": "1",
                            "question": "q?",
                            "is_impossible": False,
                            "answers": [{"text": "A", "answer_start": 0}],
                        }
                    ],
                }
            ],
        }
    ]
}
_TRIVIA = {
    "Data": [{"QuestionId": "1", "Question": "q?", "Answer": {"Value": "a", "Aliases": ["b"]}}],
    "Version": 1.0,
}
_NQ = {
    "example_id": 1,
    "question_text": "q",
    "document_text": "<P> a b c </P>",
    "annotations": [
        {
            "short_answers": [{"start_token": 1, "end_token": 2}],
            "long_answer": {"start_token": 0, "end_token": 4},
            "yes_no_answer": "NONE",
        }
    ],
}
_HOTPOT = [
    {
        "_id": "1",
        "question": "q?",
        "answer": "a",
        "type": "bridge",
        "supporting_facts": [["T", 0]],
        "context": [["T", ["a."]], ["U", ["b."]]],
    },
    {
        "question": "q?",
        "answer": "a",
        "supporting_facts": {"title": ["T"], "sent_id": [0]},
        "context": {"title": ["T"], "sentences": [["a."]]},
    },
]
_PAIR = {"question": "q", "answer": "a", "id": "1", "context": "c", "variants": ["p", "r"]}
LAYOUTS: list[tuple[str, str, Any]] = [
    ("squad", "json", _SQUAD),
    ("squad-paraphrased", "json", _SQUAD),
    ("triviaqa", "json", _TRIVIA),
    (
        "triviaqa",
        "json",
        {"question": "q", "question_id": "1", "answer": {"value": "a", "aliases": []}},
    ),
    ("triviaqa", "json", {"context": "Question: q\nAnswer:", "answer": "a", "aliases": ["b"]}),
    ("triviaqa", "json", {"id": "1", "question": "q", "golden_answers": ["a"]}),
    ("triviaqa", "text", 'q\t"[\'a\', ""b""]"\nq2\t[\'a\']\n'),
    ("natural-questions", "json", {"question": "q", "answer": ["a", "b"]}),
    ("natural-questions", "json", _NQ),
    ("natural-questions", "text", "q\t['a', \"b\"]\n"),
    ("hotpotqa", "json", _HOTPOT),
    ("jsonl", "json", _PAIR),
    ("csv", "text", 'question,answer,id,context,variants\nq,a,1,c,\n"q,\n2",a,2,"""c",p\n'),
]
layouts = pytest.mark.parametrize(
    ("name", "kind", "content"),
    LAYOUTS,
    ids=[f"{name}-{i}" for i, (name, *_) in enumerate(LAYOUTS)],
)


def opened(name: str, path: Path | str, **fields: Any) -> TaskDataset:
    """The data set of this name that reads this file, with all columns where it has columns."""
    if name in ("jsonl", "csv"):
        fields |= {"id": "id", "context": "context", "variants": "variants"}
    if name == "squad-paraphrased":
        fields = {"paraphrases": str(path)} | fields
    found: TaskDataset = dcm.find("dataset", name)(path=str(path), **fields)
    return found


def survives(path: Path, name: str) -> None:
    """A parser must not let anything but a DatasetError out, and its examples can be graded."""
    choices: list[dict[str, Any]] = [{}, {"on_error": "skip"}, {"limit": 1}]
    choices.append({"limit": 2, "seed": 1})
    if name == "squad-paraphrased":
        whole = str(write(path.with_name("whole"), json.dumps(_SQUAD)))
        choices += [{"path": whole}, {"path": whole, "on_error": "skip"}, {"paraphrases": whole}]
    for fields in choices:
        source = fields.pop("path", path)
        dataset = opened(name, source, **fields)
        try:
            for example in dataset:
                dataset.grade(example, example.question)
        except DatasetError as error:
            message = str(error)
            assert str(path) in message or message.startswith("the set is empty")


def replaced(value: Any, draw: Any) -> Any:
    """A JSON value with one of its parts replaced or dropped."""
    if isinstance(value, list | dict) and value and draw(st.integers(0, 3)):
        copy = value.copy()
        key = draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
        if draw(st.integers(0, 9)):
            copy[key] = replaced(value[key], draw)
        else:
            del copy[key]
        return copy
    return draw(json_values)


@st.composite
def mutated(draw: Any, content: bytes) -> bytes:
    """Bytes with a few places cut, doubled, overwritten or filled in."""
    for _ in range(draw(st.integers(1, 3))):
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(content))] * 2)))
        piece = draw(
            st.sampled_from([b"", content[start:end] * 2, b"\0", b'"', b"\\", b"[", b"}", b"\xff"])
            | st.binary(max_size=8)
        )
        content = content[:start] + piece + content[end:]
    return content


@layouts
@given(source=st.data())
def test_no_content_lets_another_error_out(
    tmp_path_factory: pytest.TempPathFactory, name: str, kind: str, content: Any, source: Any
) -> None:
    whole = content if kind == "text" else json.dumps(content)
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    survives(write(path, whole), name)
    if kind == "json":
        part = json.dumps(replaced(content, source.draw), ensure_ascii=source.draw(st.booleans()))
        survives(write(path, part.encode("utf-8", "surrogatepass")), name)
    survives(write(path, source.draw(mutated(whole.encode()))), name)
    survives(write(path, source.draw(st.binary(max_size=60))), name)


@layouts
def test_every_layout_is_usable_as_it_is_written_here(
    tmp_path: Path, name: str, kind: str, content: Any
) -> None:
    path = write(tmp_path / "whole", content if kind == "text" else json.dumps(content))
    assert len(opened(name, path)) >= 1


@pytest.mark.parametrize("name", sorted({name for name, _, _ in LAYOUTS}))
@pytest.mark.parametrize("opening", ["[", '{"data": [', '{"Data": [{"a": ', '{"a": '])
def test_deep_nesting_is_no_hang(tmp_path: Path, name: str, opening: str) -> None:
    path = write(tmp_path / "nested", opening + "[" * 500_000 + "]" * 500_000)
    with pytest.raises(DatasetError, match="/nested"):
        len(opened(name, path))
