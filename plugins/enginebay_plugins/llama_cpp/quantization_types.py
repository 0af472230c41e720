"""The GGUF types that llama.cpp makes."""

from enginebay import ModelFormat
from enginebay.spec import QuantizationType

_BITS = {
    "f16": 16.0,
    "bf16": 16.0,
    "q8_0": 8.5,
    "q6_k": 6.56,
    "q5_1": 6.04,
    "q5_k_m": 5.7,
    "q5_k_s": 5.57,
    "q5_0": 5.57,
    "q4_1": 5.1,
    "q4_k_m": 4.89,
    "iq4_nl": 4.68,
    "q4_k_s": 4.67,
    "q4_0": 4.64,
    "iq4_xs": 4.46,
    "q3_k_l": 4.3,
    "q3_k_m": 4.0,
    "iq3_m": 3.76,
    "iq3_s": 3.66,
    "q3_k_s": 3.64,
    "iq3_xs": 3.5,
    "iq3_xxs": 3.25,
    "q2_k": 3.16,
    "q2_k_s": 2.97,
    "iq2_m": 2.93,
    "iq2_s": 2.74,
    "q2_0": 2.68,
    "iq2_xs": 2.59,
    "tq2_0": 2.52,
    "iq2_xxs": 2.38,
    "tq1_0": 2.19,
    "iq1_m": 2.15,
    "iq1_s": 2.0,
    "q1_0": 1.48,
}
"""Bits per weight that llama.cpp plans for a model of Llama-3.1-8B's shapes; iq3_xxs with an importance matrix, as its
README lists it. In small models the embeddings weigh more, and rows that 256 does not divide get larger types."""

_NEED_MATRIX = {"iq3_xs", "iq3_xxs", "q2_k_s", "iq2_m", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s"}
"""llama.cpp refuses to make these without an importance matrix."""

TYPES = tuple(
    QuantizationType(
        name=name,
        format=ModelFormat.GGUF,
        bits=bits,
        engines=("llama_cpp", "xllamacpp"),
        calibration=name in _NEED_MATRIX,
    )
    for name, bits in _BITS.items()
)
