import pytest

pytest.importorskip("dataquality")

from dataquality.watching import Outcome, State, Watch, look

WATCH = Watch("/data/scan_%05d.tif", 1, 5, timeout=10, timeout_first=30, burst=3, interval=1)


def there(*numbers):
    return {WATCH.path(number) for number in numbers}.__contains__


def test_numbers_from_a_recipe_may_be_text():
    watch = Watch.from_parameters({"pattern": "a_%03d.tif", "pattern-start": "1", "pattern-end": "300"})
    assert (watch.expected, watch.path(7)) == (300, "a_007.tif")


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"pattern": "a_%03d.tif", "pattern-start": 1}, "pattern-end"),
        ({"pattern": "a.tif", "pattern-start": 1, "pattern-end": 3}, "one number"),
        ({"pattern": "a_%03d.tif", "pattern-start": 3, "pattern-end": 1}, "empty"),
        ({"pattern": "a_%03d.tif", "pattern-start": "{first}", "pattern-end": 1}, "invalid literal"),
        ({"pattern": "a_%d.tif", "pattern-start": 1, "pattern-end": 1, "interval": 0}, "not positive"),
    ],
)
def test_bad_parameters_are_refused_with_their_reason(parameters, problem):
    with pytest.raises(ValueError, match=problem):
        Watch.from_parameters(parameters)


def test_first_timeout_falls_back_to_the_other():
    parameters = {"pattern": "%d", "pattern-start": 1, "pattern-end": 1, "timeout": 5}
    assert Watch.from_parameters(parameters).timeout_first == 5


def test_state_survives_its_message():
    state = State(3, 100.0, 104.5)
    assert State.from_payload(state.payload(), now=200.0) == state
    assert State.from_payload([], now=200.0) == State(0, 200.0, 200.0)


def test_images_are_taken_in_order_and_a_late_one_holds_up_the_rest():
    found, state, outcome = look(WATCH, State(0, 0, 0), 4.0, there(1, 3))
    assert (found, state, outcome) == ([1], State(1, 0, 4.0), Outcome.WAIT)


def test_a_full_burst_asks_for_another_look_at_once():
    found, state, outcome = look(WATCH, State(0, 0, 0), 4.0, there(1, 2, 3, 4))
    assert (found, state.seen, outcome) == ([1, 2, 3], 3, Outcome.MORE)
    found, state, outcome = look(WATCH, state, 4.0, there(1, 2, 3, 4))
    assert (found, state.seen, outcome) == ([4], 4, Outcome.WAIT)


def test_the_last_image_ends_the_watch():
    found, state, outcome = look(WATCH, State(3, 0, 0), 4.0, there(1, 2, 3, 4, 5))
    assert (found, state.seen, outcome) == ([4, 5], 5, Outcome.DONE)


@pytest.mark.parametrize(("seen", "limit"), [(0, 30), (2, 10)])
def test_it_gives_up_after_the_timeout_since_the_last_image(seen, limit):
    state = State(seen, 50.0, 100.0)
    assert look(WATCH, state, 100.0 + limit - 0.1, there())[2] is Outcome.WAIT
    assert look(WATCH, state, 100.0 + limit, there()) == ([], state, Outcome.TIMEOUT)
