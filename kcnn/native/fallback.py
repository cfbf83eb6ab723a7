"""The way back: where a native step fails, Keras' own takes that batch over, and the model for good."""

import logging
from typing import Any

from kcnn.native.graph import reason
from kcnn.native.program import failed_layer
from kcnn.native.steps import Steps

log = logging.getLogger("kcnn")

KINDS = ("train", "test", "predict")


class Functions:
    """The train, test and predict function of a Keras model: native ones, or Keras' own after the first that fails.

    What Keras' own step refuses too is the user's mistake: it is raised as Keras raises it, and the model stays native.
    """

    def __init__(self, steps: Steps) -> None:
        self.steps, self.model = steps, steps.model

    def install(self) -> None:
        """Give the model those that it has a use for: one that is not compiled, or all frozen, is not to train."""
        self.model.predict_function = self.predict
        if self.model.compiled:
            self.model.test_function = self.test
            if self.steps.trains:
                self.model.train_function = self.train

    def train(self, data: list[Any]) -> dict[str, Any]:
        """See `Steps.train`."""
        return dict(self._run("train", data))

    def test(self, data: list[Any]) -> dict[str, Any]:
        """See `Steps.test`."""
        return dict(self._run("test", data))

    def predict(self, data: list[Any]) -> Any:
        """See `Steps.predict`."""
        return self._run("predict", data)

    def _run(self, kind: str, data: list[Any]) -> Any:
        try:
            return getattr(self.steps, kind)(data)
        except Exception as error:
            if self.steps.half_applied():
                raise
            layer, why = failed_layer(error), reason(error)
            why = f"{layer} ({why})" if layer else why
        return self._by_keras(kind, data, why)

    def _by_keras(self, kind: str, data: list[Any], why: str) -> Any:
        ours = {f"{each}_function": getattr(self, each) for each in KINDS}
        ours = {name: function for name, function in ours.items() if getattr(self.model, name) == function}
        try:
            for name in ours:
                getattr(self.model, f"make_{name}")(force=True)
            result = getattr(self.model, f"{kind}_function")(data)
        except Exception:
            for name, function in ours.items():
                setattr(self.model, name, function)
            raise
        log.warning("%s goes on on Keras' own path, as a native step failed: %s.", self.model.name, why)
        return result
