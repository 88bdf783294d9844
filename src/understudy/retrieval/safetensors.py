"""Weights in a safetensors file: 8 bytes that say how long the JSON head is, the head, the numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

__all__ = ["read_tensors"]

_HEAD_BYTES_MAX: Final = 1024 * 1024
_KINDS: Final = {"F16": "<f2", "F32": "<f4"}


class _Tensor(Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


_HEAD: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TENSOR: Final = msgspec.json.Decoder(_Tensor)


def read_tensors(path: Path) -> Mapping[str, NDArray[np.float32]]:
    """The tensors of half and single precision, all as single. Raises `ValueError` for other and for cut files."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    if not 8 < start <= min(len(content), _HEAD_BYTES_MAX):
        raise ValueError(f"{path.name} is no safetensors file")
    tensors = {}
    try:
        for name, described in _HEAD.decode(content[8:start]).items():
            if name == "__metadata__":
                continue
            tensor = _TENSOR.decode(described)
            if tensor.dtype in _KINDS:
                begin, end = tensor.data_offsets
                numbers = np.frombuffer(content[start + begin : start + end], _KINDS[tensor.dtype])
                tensors[name] = numbers.reshape(tensor.shape).astype(np.float32)
    except (ValueError, msgspec.MsgspecError) as error:
        raise ValueError(f"{path.name} is cut off, or no safetensors file") from error
    return tensors
