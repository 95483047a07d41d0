"""Divergence: one result for each form in which it is stored, and one way to read them all."""

import math

import pytest

from lmc_lib.experiments.divergence import diverged_measurement, diverged_training, divergence, measured, sound
from lmc_lib.training import Diverged


@pytest.mark.parametrize(("stored", "step", "loss"), [
    ({"diverged": {"step": 7, "loss": "inf"}}, 7, math.inf),
    ({"diverged": {"step": 7, "loss": "nan", "in": "pre-training"}}, 7, math.nan),
    ({"diverged": [1], "step": 3, "loss": "2.5"}, 3, 2.5),
    ({"diverged": True, "step": 3, "loss": "nan"}, 3, math.nan),
    ({"diverged": True, "step": 9, "loss": "not finite on the line"}, 9, math.nan),
])  # fmt: skip
def test_every_stored_form_is_read(stored, step, loss):
    found = divergence(stored)
    assert (found.step, found.loss) == (step, pytest.approx(loss, nan_ok=True))
    with pytest.raises(Diverged, match=f"at step {step}"):
        sound(stored)


@pytest.mark.parametrize("stored", [
    {"steps": [0, 9]}, {"networks": 5, "diverged": []}, {"networks": 5, "diverged": [2], "runs": [1]}
])  # fmt: skip
def test_sound_results_are_no_divergence(stored):
    assert divergence(stored) is None
    assert sound(stored) == stored


def test_results_say_what_diverged():
    error = Diverged(4, math.inf)
    assert diverged_training(error).values == {"diverged": {"step": 4, "loss": "inf"}}
    assert diverged_measurement(error, [1]).values == {"diverged": [1], "step": 4, "loss": "inf"}


@pytest.mark.parametrize(("bad", "named"), [({0}, [0]), ({1}, [1]), ({2}, [2]), ({1, 2}, [1]), ({"all"}, [2])])
def test_a_measurement_names_the_first_network_that_diverged(bad, named):
    def fail(when):
        if when in bad:
            raise Diverged(4, math.nan)
        return when

    found = measured(range(3), fail, lambda *got: {"got": fail("all") and list(got)})
    assert found.values == {"diverged": named, "step": 4, "loss": "nan"}
    assert measured(range(3), lambda each: 2 * each, lambda *got: {"got": list(got)}).values == {"got": [0, 2, 4]}
