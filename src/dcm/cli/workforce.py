"""Workforce: which engine a command line asks for."""

from __future__ import annotations

import os
from typing import Any

import attrs

from dcm.engines import Engine, Local, Ray, engine_of, visible_cards
from dcm.errors import UsageError
from dcm.serial import Description


@attrs.frozen
class Workforce:
    """What a command was told of workers.

    Attributes:
        engine: a name; None for `local` where that is of use.
        workers: how many.
        address: of a Ray cluster.
        gpus_per_worker: cards that each gets.
    """

    engine: str | None = None
    workers: int | None = None
    address: str | None = None
    gpus_per_worker: float | None = None

    def find(self) -> Engine | None:
        """The engine that was asked for; None where none was.

        Raises:
            UsageError: an option that it has not.
        """
        name = self.engine or (None if self.workers is None else "local")
        given = {key: value for key, value in attrs.asdict(self).items() if value is not None}
        given.pop("engine", None)
        options: dict[str, Any] = {
            "local": ("workers", "gpus_per_worker"),
            "ray": ("workers", "address", "gpus_per_worker"),
        }
        for key in given:
            if key not in options.get(name or "", ()):
                option = f"--{key.replace('_', '-')}"
                asked = f"{option} was given" + (f" with --engine {name}" if name else "")
                engines = [each for each, keys in options.items() if key in keys]
                raise UsageError(asked, "", f"Give --engine {' or '.join(engines)}")
        if name == "local":
            gpus = self.gpus_per_worker
            if gpus is not None and gpus != int(gpus):
                asked = f"--gpus-per-worker {gpus:g} was given"
                raise UsageError(asked, "", "Parts of a card are shared by --engine ray alone")
            return Local(workers=self.workers, gpus_per_worker=int(gpus or 1))
        if name == "ray":
            return Ray(self.workers, self.address, self.gpus_per_worker)
        return engine_of(name) if name else None

    def arguments(self) -> list[str]:
        """The options that were given, to give them again."""
        return [
            word
            for key, value in attrs.asdict(self).items()
            if value is not None
            for word in (f"--{key.replace('_', '-')}", f"{value}")
        ]


def default_engine(*forms: Description) -> Engine | None:
    """`local` where this machine has several GPUs and the experiments leave open which they use."""
    # Under torchrun or srun every rank would start workers on all cards.
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or not all(_open_to_all(form) for form in forms):
        return None
    return Local() if len(visible_cards()) > 1 else None


def _open_to_all(form: Description) -> bool:
    generator = form.get("generator", {})
    params = generator.get("params", {}) if isinstance(generator, dict) else {}
    spread = params.get("device_map") or params.get("tp_plan")
    return params.get("device", "auto") in ("auto", "cuda") and not spread
