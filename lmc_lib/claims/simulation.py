"""How often a criterion is wrong: its verdicts on simulated evidence."""

__all__ = ["rates_of_rule"]

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from lmc_lib.claims.interval import estimate
from lmc_lib.claims.verdict import SUPPORTED, judge
from lmc_lib.definitions import Claim


def rates_of_rule(
    claim: Claim, *, raw: float, aligned: float, spread: float, replicas: int = 5, draws: int = 1000, seed: int = 0
) -> float:
    """Simulates barriers of all pairs of replicas and returns how often the criterion says "supported".

    The barrier of the pair ``(i, j)`` is ``centre + spread * (u_i + u_j + e_ij) / sqrt(3)`` with standard normal
    effects of the networks and of the pair, cut at 0: pairs that share a network are correlated, as real ones are.

    Args:
        claim: the claim whose criterion uses the quantities ``raw``, ``aligned`` and ``connected``.
        raw: centre of the barriers without a permutation.
        aligned: centre of the barriers under the permutation found.
        spread: standard deviation of a pair's barrier around its centre.
        replicas: number of networks.
        draws: number of simulated studies.
        seed: stream of the simulation.
    """
    from lmc_lib import rng  # noqa: PLC0415 -- loads torch, which verdicts have no use for

    generator = rng.numpy_stream(seed, "rates of rule", claim.id, str(aligned))
    bound = claim.bound("aligned")
    verdicts = []
    for _ in range(draws):
        barriers = _barriers(aligned, spread, replicas, generator)
        evidence = {"raw": (_barriers(raw, spread, replicas, generator), "median"), "aligned": (barriers, "median")}
        evidence["connected"] = (np.where(np.isnan(barriers), np.nan, barriers <= bound), "mean")
        estimates = {
            name: estimate(values, rng=generator, statistic=statistic, resamples=300)
            for name, (values, statistic) in evidence.items()
        }
        verdicts.append(judge(claim, "simulated", estimates).verdict)
    return verdicts.count(SUPPORTED) / draws


def _barriers(
    centre: float, spread: float, replicas: int, generator: np.random.Generator
) -> Float[ndarray, "replicas replicas"]:
    networks = generator.standard_normal(replicas)
    noise = np.triu(generator.standard_normal((replicas, replicas)), 1)
    matrix = centre + spread * (networks[:, None] + networks + noise + noise.T) / np.sqrt(3)
    np.fill_diagonal(matrix, np.nan)
    return np.asarray(np.maximum(matrix, 0.0))
