"""Half precision for two players."""

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor
from torch.optim import Optimizer

from gan_lightning.errors import TrainingDiverged

SMALLEST_SCALE = 2.0**-24
"""A gradient that overflows even at this scale is infinite in float32 as well."""


class TwoPlayerPrecision(MixedPrecision):
    """Autocast to bfloat16 or float16; in float16 each player's loss has a scale of its own.

    The gradients of D and of G differ by orders of magnitude, and so do the scales at which they fit float16
    (Micikevicius et al. 2018, sec. 3.2). An overflow therefore lowers that player's scale, skips that player's step,
    and is counted; the other player does not notice. Nothing here waits for the device.

    The module says whose turn it is: `module.moving`, "d" or "g".
    """

    def __init__(self, precision: str, device: str):
        super().__init__(precision, device, torch.amp.GradScaler(device) if precision == "16-mixed" else None)
        self.scalers: dict[str, torch.amp.GradScaler] = {}
        if self.scaler is not None:
            self.scalers = {"d": self.scaler, "g": torch.amp.GradScaler(device)}
        self._skipped: dict[str, Tensor] = {}

    def pre_backward(self, tensor: Tensor, module: Any) -> Tensor:
        if self.scalers:
            self.scaler = self.scalers[module.moving]
        return super().pre_backward(tensor, module)

    def optimizer_step(self, optimizer: Optimizer, model: Any, closure: Callable[[], Any], **kwargs: Any) -> Any:
        if not self.scalers:
            return super().optimizer_step(optimizer, model=model, closure=closure, **kwargs)
        player = model.moving
        self.scaler = self.scalers[player]
        before = self._scale(player).clone()
        result = super().optimizer_step(optimizer, model=model, closure=closure, **kwargs)
        # A scale falls if, and only if, a gradient was infinite or not a number.
        skipped = (self._scale(player) < before).float()
        self._skipped[player] = self._skipped[player] + skipped if player in self._skipped else skipped
        return result

    def check(self) -> None:
        """Raises TrainingDiverged if a player's gradients are infinite at any scale. Waits for the device."""
        for player, name in (("d", "discriminator"), ("g", "generator")):
            if player in self._skipped and float(self._scale(player)) < SMALLEST_SCALE:
                raise TrainingDiverged(f"gradients of the {name} are infinite or not a number at any scale of its loss")

    def statistics(self) -> dict[str, float]:
        """Each player's scale, and its steps skipped since the last call. Waits for the device."""
        values = {}
        for player, skipped in self._skipped.items():
            values |= {f"amp/{player}_scale": float(self._scale(player)), f"amp/{player}_skipped": float(skipped)}
        self._skipped = {}
        return values

    def _scale(self, player: str) -> Tensor:
        return self.scalers[player]._scale  # `get_scale()` would wait for the device

    def state_dict(self) -> dict[str, Any]:
        skipped = {player: float(skipped) for player, skipped in self._skipped.items()}
        return {"scalers": {player: scaler.state_dict() for player, scaler in self.scalers.items()}, "skipped": skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for player, state in state_dict["scalers"].items():
            if player in self.scalers:
                self.scalers[player].load_state_dict(state)
        self._skipped = {player: torch.tensor(skipped, device=self.device)
                         for player, skipped in state_dict["skipped"].items() if player in self.scalers}
