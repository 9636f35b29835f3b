"""Ansible's strategies sleep until a result is there (`tasks.ansible.waiting`)."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from tasks.ansible import waiting


def test_a_result_wakes_whoever_sleeps_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LONGEST_SECONDS", 3600.0)
    results = waiting.Results()
    sleeper = threading.Thread(target=waiting.sleep, args=(1.0,), daemon=True)
    sleeper.start()
    results.append("ok")
    sleeper.join()
    assert list(results) == ["ok"]


def test_a_result_that_comes_before_the_sleep_is_not_slept_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LONGEST_SECONDS", 3600.0)
    waiting.Results().append("ok")
    waiting.sleep(1.0)


def test_ansible_still_waits_where_it_is_replaced() -> None:
    """In a process of its own, since it changes what Ansible imported."""
    subprocess.run([sys.executable, "-c", REPLACED], check=True)


REPLACED = """
import inspect
from ansible.plugins import strategy
assert "time.sleep(C.DEFAULT_INTERNAL_POLL_INTERVAL)" in inspect.getsource(strategy.StrategyBase._wait_on_pending_results)
assert "self._results: deque" in inspect.getsource(strategy.StrategyBase.__init__)
from tasks.ansible import waiting
waiting.install()
assert strategy.time.sleep is waiting.sleep and strategy.deque is waiting.Results
"""
