"""A simulated mount, its hosts and agents, and everything that can go wrong with them: one seed, one run.

    from coordinator.testing.simulation import World, simulated

    with simulated():
        for seed in range(1000):
            result = World(seed).run()
            assert not result.failures, result.report()

``python -m coordinator.testing.simulation --seed 7 --trace`` shows every call of one run.
"""

from __future__ import annotations

from coordinator.testing.simulation.library import simulated
from coordinator.testing.simulation.world import Result, World

__all__ = ["Result", "World", "simulated"]
