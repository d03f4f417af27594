import pytest

pytest.importorskip("dataquality")

import numpy as np
from dataquality import images, simulate
from dataquality.grid import Grid
from dataquality.simulate import Frame
from dataquality.spots import find_spots


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.mark.parametrize("number", [0, 1, 40, 110])
def test_it_finds_the_spots_that_were_simulated(rng, number):
    found = find_spots(simulate.expose(Frame(1, number, beam=True), rng)).number
    assert abs(found - number) <= 2


def test_plain_noise_of_any_level_has_no_spots(rng):
    for level in (0.01, 1, 100):
        assert find_spots(rng.poisson(level, (200, 200)).astype(np.int32)).number <= 1


def test_a_spot_is_found_where_it_is(rng):
    image = rng.poisson(2, (100, 100)).astype(np.int32)
    image[40:43, 70:73] += 50
    found = find_spots(image)
    assert found.number == 1
    assert found.positions[0] == pytest.approx((41, 71), abs=0.5)
    assert found.counts[0] == pytest.approx(9 * 52, rel=0.2)
    assert found.background == pytest.approx(2, rel=0.1)


def test_gaps_and_dead_pixels_are_neither_spots_nor_surroundings(rng):
    image = rng.poisson(20, (100, 100)).astype(np.int32)
    image[50:60] = images.GAP_PIXEL
    image[20, 20] = images.DEAD_PIXEL
    assert find_spots(image).number == 0


def test_a_single_hot_pixel_is_no_spot(rng):
    image = rng.poisson(2, (100, 100)).astype(np.int32)
    image[30, 30] = 500
    assert find_spots(image).number == 0


def test_a_blank_image_has_nearly_no_background(rng):
    assert find_spots(simulate.expose(Frame(1, 0, beam=False), rng)).background < 0.05


def test_a_scan_has_crystals_and_blank_frames():
    frames = list(simulate.plan(Grid(20, 15)))
    assert [frame.number for frame in frames] == list(range(1, 301))
    assert sum(not frame.beam for frame in frames) == 6
    assert max(frame.spots for frame in frames) > 90
    assert sum(frame.spots == 0 for frame in frames) > 100


def test_a_grid_runs_back_and_forth():
    grid = Grid.parse("3x2")
    assert [grid.place(n) for n in range(1, 7)] == [(0, 0), (1, 0), (2, 0), (2, 1), (1, 1), (0, 1)]


@pytest.mark.parametrize("text", ["", "3", "3x", "0x4", "axb", "-1x2"])
def test_a_grid_must_be_two_numbers(text):
    with pytest.raises(ValueError, match="20x15"):
        Grid.parse(text)


def test_an_image_comes_back_as_it_was_written_and_leaves_nothing_else(tmp_path, rng):
    pixels = simulate.expose(Frame(1, 5, beam=True), rng)
    images.write(tmp_path / "scan_00001.tif", pixels, "# header")
    assert np.array_equal(images.read(tmp_path / "scan_00001.tif"), pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["scan_00001.tif"]


def test_nobody_sees_half_an_image(tmp_path, rng, monkeypatch):
    def cut_off(*_):
        raise OSError

    monkeypatch.setattr(images.os, "replace", cut_off)
    with pytest.raises(OSError):
        images.write(tmp_path / "scan_00001.tif", simulate.expose(Frame(1, 5, beam=True), rng))
    assert not (tmp_path / "scan_00001.tif").exists()
    assert not list(tmp_path.glob("scan_*"))
