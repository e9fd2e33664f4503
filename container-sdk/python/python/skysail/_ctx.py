"""What surrounds a call of a model."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Dict, Optional, Union

__all__ = ["Ctx"]


class Ctx:
    """The model's names and files, and the time that the batch at hand has left.

    >>> ctx = Ctx("/srv/digits", "digits", "3")
    >>> str(ctx.path("w.npy")), ctx.model, ctx.version
    ('/srv/digits/w.npy', 'digits', '3')
    >>> ctx.remaining()
    inf
    """

    __slots__ = ("directory", "model", "version", "rows", "_deadline", "_failed")

    #: The directory of the model's files: ``--path``, by default the current one.
    directory: Path
    #: The name under which the model is served; ``local`` where it is not served.
    model: str
    #: The version under which the model is served; ``0`` where it is not served.
    version: str
    #: Rows in the batch at hand; 0 outside of a batch.
    rows: int

    def __init__(
        self, directory: Union[str, Path] = ".", model: str = "local", version: str = "0"
    ) -> None:
        self.directory = Path(directory)
        self.model = model
        self.version = version
        self.rows = 0
        self._deadline = math.inf
        self._failed: Dict[int, str] = {}

    def path(self, name: Union[str, Path] = "") -> Path:
        """The file ``name`` in the model's directory."""
        return self.directory / name

    def remaining(self) -> float:
        """Seconds until the last deadline in the batch; 0.0 when it has passed, ``inf`` outside of
        a batch with a deadline. What is answered later reaches nobody."""
        if self._deadline == math.inf:
            return math.inf
        return max(0.0, self._deadline - time.monotonic())

    def fail_row(self, row: int, message: str) -> None:
        """Fails ``row`` of the batch, counted from 0, with a message for whoever asked; the other
        rows stand. What is returned for the row is not used. The first message of a row stays."""
        if not 0 <= row < self.rows:
            raise IndexError(f"row {row} was failed, the batch has {self.rows} rows")
        self._failed.setdefault(int(row), str(message))

    def _begin(self, rows: int, remaining: Optional[float]) -> None:
        self.rows = rows
        self._deadline = math.inf if remaining is None else time.monotonic() + remaining
        if self._failed:
            self._failed = {}
