"""A memory of very many items: how long it takes to open and to ask, and the memory it takes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from memory_data import Data

import dcm
from dcm.memory.contents import pack


def scale(memory: dcm.Memory, folder: Path, count: int, data: Data) -> dict[str, Any]:
    """Write a run of `count` items, the memory's own and copies with noise, and measure it."""
    from safetensors.torch import save_file

    path = folder / f"scale-{count}"
    if not path.exists():
        (path / "content").mkdir(parents=True)
        (path / "experiment.json").write_text(json.dumps(memory.experiments[0]))
        items, noise = list(memory.values()), torch.Generator().manual_seed(0)
        modes = {f"mode/{m}": items[0].mode_vector(m) for m in ("question", "answer")}
        shard: dict[str, torch.Tensor] = {}
        with (path / "results.jsonl").open("w", encoding="utf-8") as results:
            for place in range(count):
                item = items[place % len(items)]
                line, content = dict(item.line), item.content
                if place >= len(items):
                    question, answer = data.distractors[place % len(data.distractors)]
                    line |= {"id": f"copy-{place}", "question": question, "answer": answer}
                    content = content + 0.1 * content.std() * torch.randn(
                        content.shape, generator=noise
                    )
                file = f"content/{place // 512:05d}.safetensors"
                line["content"] = {"file": file, "key": f"content/{line['id']}"}
                shard[f"content/{line['id']}"] = pack(content, "int8")
                results.write(json.dumps(line) + "\n")
                if (place + 1) % 512 == 0 or place + 1 == count:
                    save_file({**shard, **modes}, path / file, metadata={"layout": "prefix"})
                    shard = {}
    questions = data.asked["paraphrase"][:10]
    code = [sys.executable, __file__, str(path), *questions]
    row: dict[str, Any] = {}
    for when in ("first", "again"):
        done = subprocess.run(code, capture_output=True, text=True, check=True)
        row[when] = json.loads(done.stdout.splitlines()[-1])
    return row


def measure(path: str, questions: Sequence[str]) -> None:
    """Open and ask a memory in a process of its own, and print what it took."""
    began = time.perf_counter()
    memory = dcm.open(path)
    count = len(memory)
    opened = time.perf_counter() - began
    memory.generator.score  # noqa: B018 - the model is loaded before anything is timed
    memory.ask(questions[0])
    seconds = []
    for question in questions:
        began = time.perf_counter()
        memory.ask(question)
        seconds.append(time.perf_counter() - began)
    found = {
        "items": count,
        "open_seconds": opened,
        "ask_seconds": float(np.median(seconds)),
        "slowest_ask_seconds": max(seconds),
        "peak_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    measure(sys.argv[1], sys.argv[2:])
