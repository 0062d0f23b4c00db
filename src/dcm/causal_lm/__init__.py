"""A Hugging Face causal language model behind continuous vectors.

Generator plugins that load such a model derive from `CausalLMGenerator`, which is abstract, and
say in `load` where the model comes from.
"""

from dcm.causal_lm.checkpointing import checkpoint_layers as checkpoint_layers
from dcm.causal_lm.framing import Framing as Framing
from dcm.causal_lm.generator import CausalLMGenerator as CausalLMGenerator
from dcm.causal_lm.loading import DTYPES as DTYPES
from dcm.causal_lm.model import CausalLM as CausalLM
from dcm.causal_lm.products import Compute as Compute
from dcm.causal_lm.quantised import QUANTIZE as QUANTIZE
from dcm.causal_lm.quantised import Quantize as Quantize
from dcm.causal_lm.weights import Weights as Weights
