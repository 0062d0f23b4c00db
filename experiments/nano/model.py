"""The bundled model's shape (Qwen2), written for fast training.

Parameters carry the names that ``transformers`` gives them, so that a state dict saved here loads
there. Weights are float32 and are cast to the compute type inside the forward pass.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """Sizes of the model."""

    vocabulary: int = 4096
    width: int = 256
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    mlp: int = 832
    positions: int = 1024
    rope_theta: float = 10_000.0
    epsilon: float = 1e-6

    @property
    def head(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


class RMSNorm(nn.Module):
    """Root-mean-square norm, computed in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D], same type."""
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.epsilon)
        return (y * self.weight).to(x.dtype)


class Attention(nn.Module):
    """Causal attention with grouped key-value heads and rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv = shape.kv_heads * shape.head
        self.q_proj = nn.Linear(shape.width, shape.width)
        self.k_proj = nn.Linear(shape.width, kv)
        self.v_proj = nn.Linear(shape.width, kv)
        self.o_proj = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[R, T, D] -> [R, T, D]; ``cos``, ``sin`` [T, head]."""
        s, parts = self.shape, (self.q_proj, self.k_proj, self.v_proj)
        weight = torch.cat([p.weight for p in parts]).to(x.dtype)
        bias = torch.cat([p.bias for p in parts]).to(x.dtype)
        joint = functional.linear(x, weight, bias).unflatten(-1, (-1, s.head)).transpose(1, 2)
        q, k, v = joint.split((s.heads, s.kv_heads, s.kv_heads), dim=1)
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        repeat = s.heads // s.kv_heads
        k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return functional.linear(y.transpose(1, 2).flatten(2), self.o_proj.weight.to(x.dtype))


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding of [R, H, T, head], halves rotated against each other."""
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat((-second, first), dim=-1) * sin).to(x.dtype)


class MLP(nn.Module):
    """Gated feed-forward layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.mlp, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.mlp, bias=False)
        self.down_proj = nn.Linear(shape.mlp, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[R, T, D] -> [R, T, D]."""
        weight = torch.cat([self.gate_proj.weight, self.up_proj.weight]).to(x.dtype)
        gate, up = functional.linear(x, weight).chunk(2, dim=-1)
        return functional.linear(functional.silu(gate) * up, self.down_proj.weight.to(x.dtype))


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = MLP(shape)
        self.input_layernorm = RMSNorm(shape.width, shape.epsilon)
        self.post_attention_layernorm = RMSNorm(shape.width, shape.epsilon)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[R, T, D] -> [R, T, D]."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embedding, layers and final norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.width, shape.epsilon)


class Nano(nn.Module):
    """The whole model; the output matrix is the embedding matrix."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape, compute: torch.dtype) -> None:
        super().__init__()
        self.shape, self.compute = shape, compute
        self.model = Decoder(shape)
        frequency = shape.rope_theta ** -(torch.arange(0, shape.head, 2).double() / shape.head)
        angle = torch.outer(torch.arange(shape.positions).double(), frequency)
        angle = torch.cat((angle, angle), dim=-1)
        self.register_buffer("cos", angle.cos().to(compute), persistent=False)
        self.register_buffer("sin", angle.sin().to(compute), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                small = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * shape.layers) ** 0.5 if small else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Rows [R, T + 1] -> (nll [R, T] of the last T tokens in nats, log partition [R, T])."""
        source, target = ids[:, :-1], ids[:, 1:]
        embedding = self.model.embed_tokens.weight.to(self.compute)
        x = functional.embedding(source, embedding)
        cos, sin = self.cos[: source.shape[1]], self.sin[: source.shape[1]]
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        logits = functional.linear(self.model.norm(x), embedding).float()
        partition = torch.logsumexp(logits, dim=-1)
        chosen = logits.gather(-1, target[..., None]).squeeze(-1)
        return partition - chosen, partition


def export(model: Nano, tokenizer: Path, out: Path) -> None:
    """Write the model in bfloat16 with its configuration and tokenizer, for ``transformers``."""
    out.mkdir(parents=True, exist_ok=True)
    s = model.shape
    state = {k: v.detach().to("cpu", torch.bfloat16).contiguous() for k, v in model_state(model)}
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": s.vocabulary,
        "hidden_size": s.width,
        "intermediate_size": s.mlp,
        "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads,
        "num_key_value_heads": s.kv_heads,
        "hidden_act": "silu",
        "max_position_embeddings": s.positions,
        "rms_norm_eps": s.epsilon,
        "rope_theta": s.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": s.rope_theta},
        "initializer_range": 0.02,
        "attention_dropout": 0.0,
        "tie_word_embeddings": True,
        "use_cache": True,
        "use_sliding_window": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "dtype": "bfloat16",
    }
    generation = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "do_sample": False}
    for name, content in (("config", config), ("generation_config", generation)):
        (out / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (tokenizer / name).resolve() != (out / name).resolve():
            shutil.copyfile(tokenizer / name, out / name)


def model_state(model: Nano) -> list[tuple[str, Tensor]]:
    """Names and values of all parameters."""
    return [(name, parameter.data) for name, parameter in model.named_parameters()]
