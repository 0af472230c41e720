"""CTranslate2's tensors as arrays."""

from __future__ import annotations

from typing import Any

import ctranslate2
import numpy as np
from numpy.typing import NDArray


def as_array(view: Any) -> NDArray[np.float32]:
    """A `StorageView` in main memory, in float32."""
    if view.device != "cpu":
        view = view.to_device(ctranslate2.Device.cpu)
    if view.dtype != ctranslate2.DataType.float32:
        view = view.to(ctranslate2.DataType.float32)
    return np.asarray(view)
