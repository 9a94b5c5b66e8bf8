"""Whole numbers and flags of a config.json, with the defaults that Transformers has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.predict.model_types import default

LARGEST = 10_000_000
"""No width, depth or vocabulary of a model is larger: a figure beyond is a mistake."""


class UncountedModel(UserError):
    """The trainer can load the model, and the closed form does not know its layers."""


class Sizes:
    """Reads positive whole numbers and flags from a config, or from its class's defaults."""

    def __init__(self, config: Mapping[str, Any], family: str, name: str) -> None:
        """Read `config` of `family` (its `model_type`); `name` is the model's, for messages."""
        self.family = family
        self._config, self._name = config, name

    def __call__(self, key: str, otherwise: int | None = None) -> int:
        """Return a positive whole number.

        `otherwise`: where neither config nor class names one. Raises UserError for anything else.
        """
        value = self._value(key)
        value = otherwise if value is None else value
        if type(value) is not int or not 1 <= value <= LARGEST:
            problem = "is missing" if value is None else f"is {value!r}"
            raise UserError(f"the config of {self._name} cannot be read: {key} {problem}")
        return value

    def first(self, *keys: str) -> int:
        """Return the number under the first of these keys that the config has, else its default."""
        named = [key for key in keys if self._config.get(key) is not None]
        known = [key for key in keys if default(self.family, key) is not None]
        return self(next(iter([*named, *known, *keys])))

    def flag(self, key: str) -> bool:
        """Return whether the config, or else its class, says so."""
        return bool(self._value(key))

    def _value(self, key: str) -> Any:
        return self._config[key] if key in self._config else default(self.family, key)
