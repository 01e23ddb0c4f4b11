"""torch.compile, in place."""

import torch

from gan_lightning.errors import ConfigError
from gan_lightning.tasks.base import Task


def check_compiler(device: torch.device) -> None:
    """Raises ConfigError, within seconds, if torch.compile does not work on this machine."""
    try:
        torch.compile(_probe)(torch.zeros(8, device=device))
    except Exception as error:  # noqa: BLE001 - no C++ compiler, no Triton, too old a GPU: each fails in its own way
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ConfigError(f"compile=true: torch.compile does not work here ({reason.strip()}); choose compile=false"
                          ) from error


def compile_networks(task: Task) -> None:
    """Makes calls of G and D compiled ones. Names of weights stay, and `forward` stays as it was: penalties take that,
    since a compiled graph cannot be differentiated twice. An average of G that was copied before stays uncompiled too,
    so that samples of any number need no compiling."""
    step = getattr(task, "latent_step", None)
    if step is not None and step.differentiable:
        raise ConfigError("compile=true: task.latent_step differentiates twice, which compiled networks cannot be; "
                          "choose compile=false or task.latent_step.differentiable=false")
    # A network that grows has a graph for each of its stages.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 128)
    task.g.compile()
    task.d.compile()


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + 1
