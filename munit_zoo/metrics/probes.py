"""What a code knows that it should not: probes that predict factors from codes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["probe_accuracy"]


def probe_accuracy(codes: Tensor, classes: Tensor, levels: int, *, ridge: float = 1e-2) -> float:
    """Share of held-out codes (N, D) from which a probe tells the class (N,).

    The probe is kernel ridge regression onto one-hot classes with a Gaussian kernel of median
    width, on standardised codes; every other code is held out. No training, no chance.
    Not a number for fewer than four codes.
    """
    if len(codes) < 4:
        return float("nan")
    x = codes.detach().cpu().double()
    train, test = x[0::2], x[1::2]
    mean, deviation = train.mean(0), train.std(0)
    varying = deviation > 1e-8
    if not bool(varying.any()):
        majority = torch.bincount(classes[0::2].cpu(), minlength=levels).argmax()
        return float((classes[1::2].cpu() == majority).double().mean())
    train, test = (
        (part[:, varying] - mean[varying]) / deviation[varying] for part in (train, test)
    )
    between = torch.cdist(train, train).square()
    width = between[between > 0].median() if bool((between > 0).any()) else torch.tensor(1.0)
    kernel = torch.exp(-between / width)
    target = F.one_hot(classes[0::2].cpu(), levels).double()
    kernel.diagonal().add_(ridge)
    weights = torch.linalg.solve(kernel, target - target.mean(0))
    seen = torch.exp(-torch.cdist(test, train).square() / width) @ weights + target.mean(0)
    return float((seen.argmax(1) == classes[1::2].cpu()).double().mean())
