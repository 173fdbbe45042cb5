"""A decoder."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["FiLMDecoder"]


class FiLMDecoder(nn.Module):
    """The style scales and shifts the content's channels; upsampling convolutions make the image.

    (content (N, content_channels, h, w), style (N, style_dim)) to image (N, out_channels,
    h·scale_factor, w·scale_factor) in [-1, 1] (FiLM: Perez et al. 2018).
    """

    takes_style = True

    def __init__(
        self,
        content_channels: int,
        out_channels: int,
        scale_factor: int,
        style_dim: int,
        *,
        dim: int = 64,
    ) -> None:
        super().__init__()
        self.modulation = nn.Linear(style_dim, 2 * content_channels)
        self.body = nn.Sequential(
            nn.Conv2d(content_channels, dim, 3, padding=1, padding_mode="reflect"),
            nn.ReLU(),
            nn.Upsample(scale_factor=scale_factor, mode="nearest"),
            nn.Conv2d(dim, out_channels, 5, padding=2, padding_mode="reflect"),
            nn.Tanh(),
        )

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.modulation(style)[:, :, None, None].chunk(2, dim=1)
        return self.body(content * (1 + scale) + shift)
