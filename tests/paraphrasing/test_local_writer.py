"""A model in this process that writes paraphrases."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

import dcm_nano
from dcm import DcmError
from dcm.paraphrasing import open_writer


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model with a chat template."""
    folder = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(Path(dcm_nano.__file__).parent / "model", folder)
    template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    return folder


def test_requests_of_one_moment_are_answered_together_and_each_by_itself(chat: Path) -> None:
    async def ask(batch: int) -> list[object]:
        writer = open_writer("local", str(chat), temperature=0, max_tokens=8, batch=batch)
        texts = ("Who?", "Where did the first of them stand?", "Why?")
        return list(await asyncio.gather(*(writer.write("Be brief.", text) for text in texts)))

    together, alone = asyncio.run(ask(8)), asyncio.run(ask(1))
    assert together == alone
    assert all(0 < reply.output_tokens <= 8 for reply in together)  # type: ignore[attr-defined]
    assert len({reply.input_tokens for reply in together}) > 1  # type: ignore[attr-defined]


def test_a_model_that_is_not_there_or_no_chat_model_is_told(chat: Path, tmp_path: Path) -> None:
    async def ask(model: Path) -> None:
        await open_writer("local", str(model)).write("s", "u")

    with pytest.raises(DcmError, match="cannot be loaded"):
        asyncio.run(ask(tmp_path))
    shutil.copytree(chat, tmp_path / "plain")
    (tmp_path / "plain" / "chat_template.jinja").unlink()
    with pytest.raises(DcmError, match="has no chat template"):
        asyncio.run(ask(tmp_path / "plain"))
