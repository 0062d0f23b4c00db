"""A tiny random Llama model as a GGUF file, quantised as those that people share are.

Needs the package gguf.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize

from dcm.testing.doubles import END, byte_tokenizer

_WIDTH, _LAYERS, _HEADS, _INNER = 64, 2, 4, 128


def save_tiny_gguf(path: Path, seed: int = 0) -> Path:
    """Write it to `path`: matrices in Q4_1, norms in float32, bytes as tokens, a chat template."""
    path.parent.mkdir(parents=True, exist_ok=True)
    by_id = {id: token for token, id in byte_tokenizer().get_vocab().items()}
    # One merge, since a tokenizer of this kind has some.
    tokens = [by_id[id] for id in range(256)] + ["th", END]
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(_LAYERS)
    writer.add_context_length(256)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS // 2)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.NORMAL] * (len(tokens) - 1) + [TokenType.CONTROL])
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_chat_template("<user>{{ messages[0].content }}</user>")
    random = np.random.default_rng(seed)

    def matrix(name: str, lines: int, columns: int) -> None:
        values = random.normal(0, 0.3, (lines, columns)).astype(np.float32)
        kind = GGMLQuantizationType.Q4_1
        writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)

    matrix("token_embd.weight", len(tokens), _WIDTH)
    writer.add_tensor("output_norm.weight", np.ones(_WIDTH, np.float32))
    for layer in range(_LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(_WIDTH, np.float32))
        for name, lines, columns in (
            ("attn_q", _WIDTH, _WIDTH),
            ("attn_k", _WIDTH // 2, _WIDTH),
            ("attn_v", _WIDTH // 2, _WIDTH),
            ("attn_output", _WIDTH, _WIDTH),
            ("ffn_gate", _INNER, _WIDTH),
            ("ffn_up", _INNER, _WIDTH),
            ("ffn_down", _WIDTH, _INNER),
        ):
            matrix(f"blk.{layer}.{name}.weight", lines, columns)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
