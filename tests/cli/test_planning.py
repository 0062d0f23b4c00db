"""`dcm plan`."""

from __future__ import annotations

import json

import pytest

from dcm.cli.planning import bytes_of
from dcm.errors import UsageError


@pytest.fixture
def model(tmp_path):
    from transformers import AutoConfig

    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4}
    heads["num_experts_per_tok"] = 2
    AutoConfig.for_model("gpt_oss", vocab_size=257, **sizes, **heads).save_pretrained(tmp_path)
    return tmp_path


def test_it_says_what_fits(command, model) -> None:
    for given in (model, model / "config.json"):
        done = command("plan", "--model", str(given), "--memory", "1GiB", "--slots", "4")
        assert done.exit_code == 0, done.output
        lines = done.stdout.splitlines()
        assert "active" in lines[0]
        assert "K = 4" in lines[1]
        table = [line.split() for line in lines[3:9]]
        assert table[0][-3:] == ["lanes", "at", "most"]
        assert [line[0] for line in table[1:]] == ["as", "int8", "int4", "nf4", "mxfp4"]
        assert all(len(line) <= 80 for line in lines[3:9])


def test_a_checkpoint_in_four_bits_is_planned_as_it_is(command, model) -> None:
    config = json.loads((model / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4"}
    (model / "config.json").write_text(json.dumps(config))
    done = command("plan", "--model", str(model), "--memory", "1GiB")
    assert [line.split()[0] for line in done.stdout.splitlines()[4:5]] == ["mxfp4"]
    assert "int8" not in done.stdout


def test_a_checkpoint_in_block_fp8_stays_so_on_a_gpu(command, model) -> None:
    config = json.loads((model / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    (model / "config.json").write_text(json.dumps(config))
    found = {}
    for device in ("cuda", "cpu"):
        given = ("--model", str(model), "--memory", "1GiB", "--device", device)
        lines = command("plan", *given).stdout.splitlines()
        found[device] = [line.split()[0] for line in lines[4 : lines.index("", 3)]]
    assert found == {"cuda": ["block-fp8"], "cpu": ["as", "int8", "int4", "nf4", "mxfp4"]}


def test_a_model_that_does_not_fit_has_no_lanes(command, model) -> None:
    done = command("plan", "--model", str(model), "--memory", "100KiB", "--quantize", "int8")
    assert done.exit_code == 0
    assert "none" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--memory", "lots"), "no amount of memory"),
        (("--memory", "0GiB"), "no amount of memory"),
        (("--memory", "1GiB", "--quantize", "int3"), "Use one of: nf4"),
        (("--memory", "1GiB", "--dtype", "int8"), "no such dtype"),
        (("--memory", "1GiB", "--layout", "middle"), "no such layout"),
    ],
)
def test_what_cannot_be_is_bad_usage(command, model, options, words) -> None:
    done = command("plan", "--model", str(model), *options)
    assert done.exit_code == 2
    assert words in done.stderr


def test_a_folder_that_is_not_there_is_said_to_be_none(command, tmp_path) -> None:
    done = command("plan", "--model", str(tmp_path / "x"), "--memory", "1GiB")
    assert done.exit_code == 1
    assert "There is no such folder" in " ".join(done.stderr.split())


def test_amounts_of_memory() -> None:
    assert bytes_of("32GiB") == 32 * 2**30
    assert bytes_of("80 GB") == 80 * 10**9
    assert bytes_of("1.5gib") == 3 * 2**29
    with pytest.raises(UsageError):
        bytes_of("GiB")
