"""Element-wise functions."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

__all__ = ["ELU", "GELU", "SELU", "LeakyReLU", "NoActivation", "PReLU", "ReLU", "SiLU", "Tanh"]


class ReLU(nn.ReLU):
    """max(x, 0)."""

    def __init__(self) -> None:
        super().__init__()


class LeakyReLU(nn.LeakyReLU):
    """x where positive, `negative_slope` x elsewhere (Maas et al. 2013)."""

    def __init__(self, *, negative_slope: float = 0.2) -> None:
        super().__init__(negative_slope)


class PReLU(nn.PReLU):
    """Leaky ReLU with one learned slope (He et al. 2015). init: the slope to start from."""

    def __init__(self, *, init: float = 0.25) -> None:
        super().__init__(init=init)


class ELU(nn.ELU):
    """x where positive, `alpha` (exp(x) - 1) elsewhere (Clevert et al. 2016)."""

    def __init__(self, *, alpha: float = 1.0) -> None:
        super().__init__(alpha)


class SELU(nn.SELU):
    """Scaled exponential linear unit (Klambauer et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()


class Tanh(nn.Tanh):
    """Hyperbolic tangent, to [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()


class GELU(nn.GELU):
    """Gaussian error linear unit (Hendrycks & Gimpel 2016). approximate: `tanh` is faster."""

    def __init__(self, *, approximate: Literal["none", "tanh"] = "none") -> None:
        super().__init__(approximate)


class SiLU(nn.SiLU):
    """x · sigmoid(x) (Elfwing et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()


class NoActivation(nn.Module):
    """x itself."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x
