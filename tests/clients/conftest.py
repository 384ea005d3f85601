# SPDX-License-Identifier: Apache-2.0
"""The fixtures of the end-to-end tests (pacer, models, server), for tests that need packages of the registry."""
import importlib.util
import pathlib

_PATH = pathlib.Path(__file__).resolve().parents[1] / "e2e" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("e2e_fixtures", _PATH)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

pacer, run, models, server = _MODULE.pacer, _MODULE.run, _MODULE.models, _MODULE.server
