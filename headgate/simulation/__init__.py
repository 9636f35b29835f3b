"""A simulated Gerrit, executor and clock around the rules: `run(scenario, setting)` says what they would do, without any server."""

from headgate.simulation.replay import parse_recording, replay
from headgate.simulation.run import run
from headgate.simulation.scenario import BadScenario, Scenario, parse_scenario
from headgate.simulation.setting import Setting

__all__ = ["BadScenario", "Scenario", "Setting", "parse_recording", "parse_scenario", "replay", "run"]
