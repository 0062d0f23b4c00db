"""Every text architecture of the installed transformers, tiny and random, against plain references.

    python experiments/architectures.py --out docs/results/architectures.md [NAME ...]

For each: losses and gradients of both layouts against one sequence a strand without padding, and
decoded texts against an argmax over the whole sequence for each token, and `model.generate`.
Architectures are found in transformers' own list; what they need beyond the common sizes stands in
`SIZES`. One that takes longer than a minute is given up. Needs no network.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

import dcm
from dcm.causal_lm.calling import known
from dcm.causal_lm.generator_loss import generator_loss
from dcm.testing.doubles import byte_tokenizer

_SECONDS = 120
_COMMON: dict[str, Any] = {
    "vocab_size": 257,
    "bos_token_id": 256,
    "eos_token_id": 256,
    "pad_token_id": 0,
    "hidden_size": 64,
    "n_embd": 64,
    "d_model": 64,
    "num_hidden_layers": 2,
    "n_layer": 2,
    "num_layers": 2,
    "num_attention_heads": 4,
    "n_head": 4,
    "num_heads": 4,
    "attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "ffn_dim": 128,
    "max_position_embeddings": 256,
    "n_positions": 256,
    "head_dim": 16,
    "sliding_window": 16,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "initializer_range": 0.2,
    # Larger weights than a model is born with, so that a content makes a difference.
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "shared_expert_intermediate_size": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_d_state": 8,
    "mamba_chunk_size": 8,
    "chunk_size": 8,
    "state_size": 8,
}
_MAMBA2 = {"num_heads": 8, "head_dim": 16, "n_groups": 1, "expand": 2, "state_size": 8}
# Attention through a latent, whose heads have two parts.
_LATENT = {"num_key_value_heads": 4, "head_dim": 8}
_MIXED = {"layer_types": ["linear_attention", "full_attention"]}
SIZES: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 24},
    "opt": {"word_embed_proj_dim": 32},
    "gptj": {"rotary_dim": 8},
    "codegen": {"rotary_dim": 8},
    "falcon": {"alibi": True, "new_decoder_architecture": False},
    "phi3": {
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0] * 8,
            "long_factor": [4.0] * 8,
            "original_max_position_embeddings": 80,
        },
        "original_max_position_embeddings": 80,
    },
    "roberta": {"is_decoder": True, "pad_token_id": 1},
    "xlm-roberta": {"is_decoder": True, "pad_token_id": 1},
    "bert": {"is_decoder": False},
    "mixtral": {"sliding_window": None},
    "mamba2": _MAMBA2,
    "bamba": {"attn_layer_indices": [1]},
    "falcon_h1": {"mamba_d_ssm": 128},
    "granitemoehybrid": {
        "layer_types": ["mamba", "attention"],
        "shared_intermediate_size": 32,
    },
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "use_mamba_kernels": False,
    },
    "zamba": {
        "num_hidden_layers": 4,
        "layers_block_type": ["mamba", "hybrid"] * 2,
        "use_mamba_kernels": False,
    },
    "zaya": {"num_experts_per_tok": 1},
    "plbart": {"decoder_attention_heads": 4, "decoder_layers": 2, "decoder_ffn_dim": 128},
    "reformer": {
        "is_decoder": True,
        "attention_head_size": 16,
        "attn_layers": ["local", "lsh"],
        "axial_pos_shape": [16, 16],
        "axial_pos_embds_dim": [32, 32],
    },
    "zamba2": {
        "num_hidden_layers": 4,
        "layers_block_type": ["mamba", "mamba", "hybrid", "mamba"],
        "n_mamba_heads": 8,
        "num_mem_blocks": 1,
        "use_mem_rope": True,
        "num_key_value_heads": 4,
    },
    "nemotron_h": {
        "layers_block_type": ["mamba", "attention"],
        "mamba_num_heads": 8,
        "mamba_head_dim": 16,
        "ssm_state_size": 8,
        "n_groups": 1,
    },
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "qwen3_next": _MIXED,
    "qwen3_5_text": _MIXED,
    "qwen3_5_moe_text": _MIXED,
    "qwen4_exp_text": {
        **_MIXED,
        "indexer_n_heads": 8,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 16,
        "indexer_compress_ratio": 4,
    },
    "bailing_hybrid": _MIXED,
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "gemma3_text": {"num_hidden_layers": 6},
    "gemma3n_text": {
        "num_hidden_layers": 4,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 257,
        "num_kv_shared_layers": 1,
        "laurel_rank": 8,
        "intermediate_size": [128] * 4,
        "activation_sparsity_pattern": [0.0] * 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
    },
    "gemma4_text": {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 257},
    "deepseek_v32": {"index_topk": 16, "index_n_heads": 8, "index_head_dim": 16},
    "minicpm3": {"dim_model_base": 16},
    "llama4_text": {
        "attention_chunk_size": 16,
        "intermediate_size_mlp": 64,
        "num_hidden_layers": 4,
    },
    "ctrl": {"dff": 128},
    "xglm": {"num_layers": 2},
    "mpt": {"n_heads": 4, "n_layers": 2, "max_seq_len": 128},
    "jetmoe": {"kv_channels": 16},
    "cohere2": {"logit_scale": 0.25},
    "cohere": {"logit_scale": 0.0625},
    "xlstm": {"num_blocks": 2, "embedding_dim": 64, "num_heads": 4},
    "afmoe": {"num_shared_experts": 1, "num_dense_layers": 1},
    "ernie4_5_moe": {"moe_num_experts": 4, "moe_k": 2},
    "exaone4": {"num_hidden_layers": 4, "sliding_window_pattern": 4},
    "kimi_linear": {**_MIXED, "linear_head_dim": 16, "linear_num_heads": 4},
    "dots1": {"n_shared_experts": 1},
    "dbrx": {
        "n_heads": 4,
        "n_layers": 2,
        "max_seq_len": 256,
        "ffn_config": {
            "ffn_hidden_size": 64,
            "moe_num_experts": 4,
            "moe_top_k": 2,
            "ffn_act_fn": {"name": "silu"},
        },
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 10000.0},
    },
    "blt": {
        "encoder_hash_byte_group_vocab": 512,
        **{
            f"{part}_config": {
                "hidden_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "intermediate_size": 128,
                "hidden_size_global": 64,
            }
            for part in ("patcher", "encoder", "decoder", "global")
        },
    },
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}
    },
}
# Not Hugging Face text models that predict their next token: they read more than text.
_OTHERS = ("vl", "vision", "audio", "speech", "whisper", "musicgen", "blip", "git", "llava")
_OTHERS += ("fuyu", "emu3", "prophet", "moshi", "csm", "mllama", "multimodal")
# Drafters, which read another model's cache.
_OTHERS += ("assistant",)
_TEXTS = (
    "What is the capital of France, and which river flows through it?",
    "Paris, on the Seine",
    "Who was the first on the Moon, and when?",
    "Neil Armstrong, 1969",
)


def names() -> list[str]:
    """The architectures of the installed transformers, by the name of their configuration."""
    listed = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return sorted(name for name in listed if not any(other in name for other in _OTHERS))


def save_tiny(name: str, folder: str | Path) -> None:
    """Write an architecture, two layers of width 64 and random, with a byte tokenizer."""
    default = AutoConfig.for_model(name)
    default = default.get_text_config()
    known = {*default.to_dict(), *getattr(default, "attribute_map", {})}
    # Where two names mean one thing the older one is left out.
    doubled = set(getattr(default, "attribute_map", {}).values())
    options = {k: v for k, v in _COMMON.items() if k in known and k not in doubled}
    options |= {k: v for k, v in _COMMON.items() if k in doubled and k in default.to_dict()}
    options |= _LATENT if "qk_rope_head_dim" in known else {}
    own = SIZES.get(name, SIZES.get(default.model_type, {}))
    config = AutoConfig.for_model(default.model_type, **{**options, **own})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).float()
        with torch.no_grad():
            for parameter in model.parameters():
                spread = float(parameter.detach().std()) if parameter.dim() > 1 else 1.0
                if 0 < spread < 0.1:
                    parameter.mul_(0.15 / spread)
            if "gemma3n" in name:
                # Its layers' own embeddings are born without effect.
                for part, parameter in model.named_parameters():
                    if "correct_output_scale" in part:
                        parameter.normal_()
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)


def check(folder: str | Path) -> dict[str, Any]:
    """What dcm makes of a model, beside what the model makes of it by itself."""
    generator = dcm.find("generator", "transformers")(model=str(folder), device="cpu")
    lm = generator.lm
    modes, model, end = dcm.Modes(generator), lm.model, lm.end
    kinds = ["question", "answer"] * 2
    lead, ids = modes.vectors(kinds), [generator.encode(text) for text in _TEXTS]
    random = torch.Generator().manual_seed(1)
    base = torch.randn(2, 4, generator.width, generator=random) * generator.embedding_scale
    row = torch.tensor([0, 0, 1, 1])
    loss_off = gradient_off = 0.0
    limits, texts = [24, 20, 12, 24], 0
    for layout in ("prefix", "suffix"):
        content, alone = (base.clone().requires_grad_() for _ in range(2))
        strands = dcm.Strands(row, lead, ids, torch.ones(4), 2, layout, modes=kinds)
        scores = generator.score(content, strands)
        scores.nll.sum().backward()

        def prompt(j: int, own: torch.Tensor, layout: str = layout) -> torch.Tensor:
            parts = [lead[j][None], own[row[j]]]
            return torch.cat(parts if layout == "prefix" else parts[::-1])

        losses = [generator_loss(model, torch.tensor(ids[j]), prompt(j, alone)) for j in range(4)]
        torch.stack(losses).sum().backward()
        loss_off = max(loss_off, float((torch.stack(losses) - scores.nll).detach().abs().max()))
        off, size = (content.grad - alone.grad).norm(), alone.grad.norm()
        gradient_off = max(gradient_off, float(off / size))
        decoded = generator.decode(base[row], lead, limits, layout)
        for j, limit in enumerate(limits):
            texts += decoded[j] == lm.text(_chosen(model, prompt(j, base), limit, end))
    same = decoded = generator.decode(base[:1], lead[:1], 24)[0]
    # As transformers has it by default: some configurations force a last token, say.
    model.generation_config = transformers.GenerationConfig()
    try:
        whole = torch.cat([lead[:1], base[0]])[None]
        found = model.generate(
            inputs_embeds=whole,
            attention_mask=torch.ones(whole.shape[:2], dtype=torch.int64),
            max_new_tokens=24,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=end,
        )
        same = "same" if lm.text(found[0].tolist()) == decoded else "another"
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        same = "refuses vectors" if "inputs_embeds" in str(error) else "fails"
    shares = all(lm.shares_prompts("suffix", length) for length in (64, 128))
    return {
        "loss": loss_off,
        "gradient": gradient_off,
        "texts": f"{texts} of 8",
        "decoding": str(lm.tried.way(30)),
        "shares": shares,
        "generate": same,
    }


@torch.no_grad()
def _chosen(model: Any, prompt: torch.Tensor, limit: int, end: int) -> list[int]:
    """The argmax over the whole sequence, for each token anew."""
    embedding, found = model.get_input_embeddings(), []
    sequence = prompt[None]
    while len(found) < limit and end not in found[-1:]:
        # A copy: some models scale in place what they are fed.
        logits = model(inputs_embeds=sequence.clone(), **known(model, use_cache=False)).logits
        found.append(int(logits[0, -1].argmax()))
        sequence = torch.cat([sequence, embedding(torch.tensor([found[-1:]]))], 1)
    return found


def line(name: str) -> str:
    """An architecture's row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            save_tiny(name, folder)
        except Exception as error:  # noqa: BLE001 - each configuration has its own
            return f"| {name} | not built | {_short(error)} | | | | |"
        try:
            found = check(folder)
        except dcm.GeneratorError as error:
            return f"| {name} | refused | {_short(error)} | | | | |"
        except Exception as error:  # noqa: BLE001 - it belongs in the table
            return f"| {name} | **failed** | {_short(error)} | | | | |"
    right = found["loss"] < 1e-4 and found["gradient"] < 2e-3 and found["texts"] == "8 of 8"
    verdict = "right" if right else "**wrong**"
    return (
        f"| {name} | {verdict} | {found['loss']:.0e}, {found['gradient']:.0e} | {found['texts']} | "
        f"{found['decoding']} | {'yes' if found['shares'] else 'no'} | {found['generate']} |"
    )


def _short(error: Exception) -> str:
    text = " ".join(f"{error}".split()).replace("|", "/")
    text = text if isinstance(error, dcm.GeneratorError) else f"{type(error).__name__}: {text}"
    return text if len(text) <= 200 else f"{text[:197]}..."


def _work(names: Any, lines: Any) -> None:
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    while (name := names.get()) is not None:
        lines.put(line(name))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", help="architectures; all of them if none")
    parser.add_argument("--out", type=Path, help="a page whose table is replaced")
    options = parser.parse_args()
    asked, context = options.names or names(), multiprocessing.get_context("spawn")
    table = [
        "| architecture | dcm | loss, gradient off | texts | decoding | shared | `generate` |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    began, worker = time.perf_counter(), None
    for name in asked:
        if worker is None:
            given, lines = context.Queue(), context.Queue()
            worker = context.Process(target=_work, args=(given, lines), daemon=True)
            worker.start()
        given.put(name)
        try:
            table.append(lines.get(timeout=_SECONDS))
        except queue.Empty:  # it takes too long, or has died
            table.append(f"| {name} | given up | more than {_SECONDS} s | | | | |")
            worker.kill()
            worker = None
        print(table[-1], flush=True)
    if worker is not None:
        given.put(None)
        worker.join()
    seconds = time.perf_counter() - began
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    print(f"{len(asked)} architectures in {seconds:.0f} s, {versions}", file=sys.stderr)
    if options.out:
        page = options.out.read_text(encoding="utf-8")
        head, mark, _ = page.partition("<!-- table -->")
        options.out.write_text(head + mark + "\n\n" + "\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
