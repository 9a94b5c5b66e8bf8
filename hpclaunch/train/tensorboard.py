"""TensorBoard, for which a full disk costs the curves and not the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers.integrations import TensorBoardCallback

from hpclaunch.run.events import is_full


class FullDiskTensorBoard(TensorBoardCallback):  # type: ignore[misc]  # transformers is untyped here
    """Starts a new file once there is space again; what was logged meanwhile may be lost."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Open the file."""
        self._unless_full(
            lambda: super(FullDiskTensorBoard, self).on_train_begin(args, state, control, **more)
        )

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        """Write what was logged."""
        self._unless_full(
            lambda: super(FullDiskTensorBoard, self).on_log(args, state, control, logs=logs, **more)
        )

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Close the file."""
        self._unless_full(
            lambda: super(FullDiskTensorBoard, self).on_train_end(args, state, control, **more)
        )

    def _unless_full(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError as error:
            if not is_full(error):
                raise
            self.tb_writer = None
