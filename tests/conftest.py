"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data sets; where it is missing, CI fails and others skip."""
    folder = Path(os.environ.get("DCM_TEST_DATA") or ROOT / ".." / "shared" / "data")
    if not folder.is_dir():
        message = f"no real data at {folder}: set DCM_TEST_DATA"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder
