"""Shared by the tests of training."""

import pytest


@pytest.fixture
def no_pictures(monkeypatch):
    """They take longer than the training here."""
    for name in ("curves", "confusion"):
        monkeypatch.setattr(f"kcnn.plots.{name}", lambda *arguments: None)
