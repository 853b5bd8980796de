"""The hidden factor: how it wanders, that frames carry it, and reading it back."""

import math

import numpy as np
import pytest
from refusals import refuses

from labutils.dance import make_data, read_light, room_light
from labutils.dance.light import DRIFT_STD, FLICKER_KEEP, FLICKER_STD
from labutils.dance.renderer import empty_room
from labutils.pictures import find_images, read_image


def test_light_wanders_as_documented():
    light = np.stack([room_light(3000, np.random.default_rng(k)) for k in range(30)])
    assert light.std() == pytest.approx(math.hypot(DRIFT_STD, FLICKER_STD), rel=0.1)
    assert 0.9 < light.std() * 155 < 1.5  # grey levels
    news = light[:, 1:] - light[:, :-1]  # what the last frame cannot tell is mostly the flicker's own
    assert news.std() == pytest.approx(FLICKER_STD * math.sqrt(2 * (1 - FLICKER_KEEP)), rel=0.1)
    assert 20 * math.log10(255 / (155 * light.std())) > 44  # PSNR in dB of a prediction that lacks only the light


def test_the_wall_tells_the_light_that_is_written(tmp_path):
    out = make_data(tmp_path / "d", 120, 1, test_sequences=0, supersample=1, workers=1, progress=False)
    light = read_light(out / "train/light.csv")
    wall = []
    for file in find_images(out / "train/train_img"):
        away = read_image(file, 32, 64)[0][:12] - empty_room(32, 64)[0][:12]
        wall.append(away[np.abs(away).max(-1) < 12].mean())
    assert light.shape == (120,) and np.corrcoef(wall, light)[0, 1] > 0.97


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "frame,light\n0\n", "frame,light\n0,bright\n"])
def test_what_is_not_the_hidden_factor(tmp_path, text):
    refuses(r"light\.csv cannot be read", read_light, tmp_path / "light.csv")
    (tmp_path / "light.csv").write_text(text)
    refuses("expected the header frame,light and numbers", read_light, str(tmp_path / "light.csv"))
    for odd in ("nan", "0" * 200_000):  # the csv module takes no fields above 131,072 characters
        (tmp_path / "light.csv").write_text(f"frame,light\n0,{odd}\n")
        refuses("expected the header frame,light and numbers", read_light, tmp_path / "light.csv")
