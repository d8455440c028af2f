"""SOAP: Adam in the directions in which the gradients of a layer vary independently (Vyas et al., 2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

EPSILON = 1e-8
RENEWAL = 10  # updates between two renewals of the directions


class SOAP(torch.optim.Optimizer):
    """Adam, taken to a basis of its own for each layer.

    Adam scales every weight's gradient by that weight's own history, as if weights varied independently. Those of a
    convolution do not: neighbouring taps and channels see much the same. SOAP turns the gradient G of each layer, as a
    matrix [outputs, inputs * taps], so that its rows and columns no longer vary together, lets Adam take its step
    there, and turns the step back:

        L <- b L + (1 - b) G G^T,    R <- b R + (1 - b) G^T G,    L = U_L D_L U_L^T,    R = U_R D_R U_R^T
        G' = U_L^T G U_R,    M' = U_L^T M U_R,    V <- b V + (1 - b) G'^2,    W <- W - lr U_L (M' / sqrt(V)) U_R^T

    M is the mean of the gradients, kept as they come; M and V are corrected for having begun at zero, as Adam's are.
    The first gradient only tells the directions; no step is taken on it. L and R move slowly, so their eigenvectors are
    followed by one step of the power method and a QR decomposition every few updates.

    Args:
        parameters: of any shape; what comes after the first dimension is taken as one.
        lr: step size.
        betas: b for the mean M, and for V, L and R.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float] = (0.95, 0.95)):
        super().__init__(parameters, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:
        """One update of every parameter that has a gradient; `closure` is there for torch's interface, and unused."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                rows = len(weight) if weight.dim() > 1 else 1
                state, gradient = self.state[weight], weight.grad.reshape(rows, -1)
                if not state:
                    _begin(state, gradient, group["betas"][1])
                    continue
                change = _update(state, gradient, group["betas"])
                weight.sub_(change.view(weight.shape), alpha=group["lr"])


def _begin(state: dict, gradient: Tensor, beta: float) -> None:
    """Directions from a first gradient."""
    state["updates"] = 0
    state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
    state["left"], state["right"] = (1 - beta) * gradient @ gradient.T, (1 - beta) * gradient.T @ gradient
    for side in ("left", "right"):  # eigenvalues descending
        state[f"{side}_basis"] = torch.linalg.eigh(state[side].double())[1].flip(1).to(gradient.dtype)


def _update(state: dict, gradient: Tensor, betas: tuple[float, float]) -> Tensor:
    """What to subtract from the weights, at step size 1; [outputs, inputs * taps]."""
    state["updates"] += 1
    left, right = state["left_basis"], state["right_basis"]
    turned = left.T @ gradient @ right
    state["mean"].lerp_(gradient, 1 - betas[0])
    state["square"].lerp_(turned.square(), 1 - betas[1])
    mean, square = (
        moment / (1 - beta ** state["updates"])
        for moment, beta in zip((left.T @ state["mean"] @ right, state["square"]), betas, strict=True)
    )
    change = left @ (mean / (square.sqrt() + EPSILON)) @ right.T
    state["left"].lerp_(gradient @ gradient.T, 1 - betas[1])
    state["right"].lerp_(gradient.T @ gradient, 1 - betas[1])
    if state["updates"] % RENEWAL == 0:
        state["square"] = state["square"][_renew(state, "left")][:, _renew(state, "right")]
    return change


def _renew(state: dict, side: str) -> Tensor:
    """Follow the eigenvectors of a side: sorted by what they now explain, one step of the power method, then QR.

    Returns:
        The order in which the old directions went in: V has to follow.
    """
    factor, basis = state[side], state[f"{side}_basis"]
    order = (basis * (factor @ basis)).sum(0).argsort(descending=True, stable=True)
    state[f"{side}_basis"] = torch.linalg.qr(factor @ basis[:, order])[0]
    return order
