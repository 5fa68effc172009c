"""What tests of the project share: the wheel, built once."""

from __future__ import annotations

import pytest

from tests.support.packaging import ROOT, build


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))
