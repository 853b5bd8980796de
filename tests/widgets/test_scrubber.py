"""The Python side of FrameScrubber: what it accepts, computes, sends and writes; and what all widgets' pages share."""

import base64
import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from refusals import refuses

from labutils import widgets
from labutils.config import LabConfig
from labutils.dataset import load_split
from labutils.errors import LabError
from labutils.images import Video
from labutils.metrics import CAP, psnr
from labutils.show import LabFigure
from labutils.widgets import Clip, FrameScrubber, page
from labutils.widgets.scrubber import decode, encode, error_colours, error_image, run_axis


def frames(count=6, seed=0, height=8, width=16):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def curve(data):
    return np.frombuffer(data, "<f4")


# -------------------------------------------------------------------------------------------------- what it sends


def test_frames_survive_the_journey_exactly():
    for video in (frames(), frames(1).repeat(40, 0), np.zeros((2, 1, 1, 3), np.uint8)):
        np.testing.assert_array_equal(decode(encode(video), video.shape), video)


def test_curves_are_those_of_frames_2_to_T():
    truth, prediction = frames(seed=1), frames(seed=2)
    prediction[3] = truth[3]
    sent = FrameScrubber.from_arrays(frames(), truth, prediction)._clips[0]
    expected = psnr(prediction, truth)[1:]
    assert expected[2] == CAP
    np.testing.assert_allclose(curve(sent["psnr"][0]), expected, rtol=1e-6)
    copy = sent["baselines"][0]
    np.testing.assert_allclose(curve(copy["psnr"]), psnr(truth[[0] * 5], truth[1:]), rtol=1e-6)
    assert (copy["name"], copy["label"]) == ("copy_first", "copy of the first frame")


def test_a_given_curve_is_shown_as_it_is():
    given = np.linspace(20, 30, 5)
    clip = Clip("a", frames(), {"p": frames(seed=1)}, frames(seed=2), {"p": given}, {"mean_frame": given + 1})
    sent = FrameScrubber([clip])._clips[0]
    np.testing.assert_allclose(curve(sent["psnr"][0]), given)
    assert [b["name"] for b in sent["baselines"]] == ["copy_first", "mean_frame"]


def test_without_truth_there_is_no_curve():
    sent = FrameScrubber.from_arrays(frames(), None, frames(seed=1))._clips[0]
    assert sent["truth"] is None and sent["psnr"] == [None] and sent["baselines"] == []


def test_a_full_video_travels_in_less_than_4_MB(dance):
    video = load_split(dance, "train", LabConfig(DR=str(dance), quiet=True))
    noise = np.random.default_rng(9).normal(2, 1, video.frames.shape)
    prediction = np.clip(np.rint(video.frames * 0.97 + noise), 0, 255).astype(np.uint8)
    scrubber = FrameScrubber.from_arrays(video.labels, video.frames, prediction)
    part = len(video.frames) / 630  # the noise is there, so the bound means something
    assert sum(map(len, scrubber._clips[0]["frames"])) > part * 1e6 and scrubber.nbytes <= part * 4e6


def test_index_run_and_sequence_stay_in_range():
    clips = [Clip(name, frames(n), {"a": frames(n), "b": frames(n)}) for name, n in (("long", 9), ("short", 4))]
    scrubber = FrameScrubber(clips, index=8)
    for index, kept in ((8, 8), (99, 8), (-3, 0), (7, 7)):
        scrubber.index = index
        assert scrubber.index == kept
    scrubber.sequence = 1
    assert scrubber.index == 3
    scrubber.run, scrubber.sequence = 5, -1
    assert (scrubber.run, scrubber.sequence) == (1, 0)
    scrubber.set_state({"index": 50, "sequence": 1})  # what a browser may send in one message
    assert (scrubber.index, scrubber.sequence) == (3, 1)
    text = repr(scrubber)
    assert "'short'" in text and "frame 4 of 4" in text and len(text) < 120


@pytest.mark.parametrize(
    ("names", "axis", "order"),
    [
        (["epoch 10", "epoch 2", "epoch 4"], "epoch", ["epoch 2", "epoch 4", "epoch 10"]),
        (["course", "fast"], "", ["course", "fast"]),
        (["epoch 10", "step 2"], "", ["epoch 10", "step 2"]),
        (["epoch 10"], "", ["epoch 10"]),
        (["10", "2"], "", ["10", "2"]),
    ],
)
def test_checkpoints_become_an_axis_in_the_order_of_their_number(names, axis, order):
    assert run_axis(names) == (axis, order)
    videos = {name: frames(seed=k) for k, name in enumerate(names)}
    scrubber = FrameScrubber.from_arrays(frames(), frames(), videos)
    assert scrubber.runs == order and scrubber.runs[scrubber.run] == order[-1 if axis else 0]
    first = scrubber._clips[0]["frames"][0]
    np.testing.assert_array_equal(decode(first, frames().shape), videos[order[0]])


def test_runs_together_keep_their_order_and_have_a_row_each():
    videos = {name: frames(12, k) for k, name in enumerate(("future 2", "future 1", "pose"))}
    scrubber = FrameScrubber.from_arrays(frames(12, 8), frames(12, 9), videos, together=True)
    assert scrubber.runs == list(videos) and scrubber._axis == "" and scrubber.run == 0
    figure = scrubber.figure(columns=3)
    pictures = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(pictures) == 5 * 3
    for row, video in enumerate(videos.values(), start=2):
        np.testing.assert_array_equal(pictures[3 * row + 2], video[11])
    drawn = [line.get_ydata() for line in figure.axes[-1].lines[1:]]
    np.testing.assert_allclose(drawn, [scrubber.clips[0].psnr[name] for name in videos])
    assert len(scrubber.figure(columns=3, run=1).axes) == 4 * 3 + 1  # one run: with its error
    assert FrameScrubber.from_arrays(frames(), None, {"a": frames()}, together=True).figure().axes


def report(videos, shift=0):
    sequences = []
    for k, video in enumerate(videos):
        baselines = {"copy_first": np.full(5, 18.0), "copy_previous": np.full(5, 30.0)} if video.has_truth else {}
        values = np.full(5, 20.0 + k) if video.has_truth else None
        prediction = frames(seed=k + shift)
        sequences.append(SimpleNamespace(name=video.name, prediction=prediction, psnr=values, baselines=baselines))
    return SimpleNamespace(sequences=sequences)


def test_from_report():
    known = Video("1", frames(seed=7), frames(seed=8))
    hidden = Video("2", frames(seed=7)[:1], frames(seed=8))
    scrubber = FrameScrubber.from_report(report([known, hidden]), [known, hidden])
    assert scrubber.sequences == ["1", "2"] and scrubber._clips[1]["truth"] is None
    np.testing.assert_allclose(curve(scrubber._clips[0]["psnr"][0]), 20.0)
    assert [b["name"] for b in scrubber._clips[0]["baselines"]] == ["copy_first", "copy_previous"]
    several = FrameScrubber.from_report({"epoch 2": report([known], 3), "epoch 1": report([known])}, [known])
    assert several.runs == ["epoch 1", "epoch 2"]
    with pytest.raises(LabError, match=r"about the sequences \['1', '2'\].* are \['1'\]"):
        FrameScrubber.from_report(report([known, hidden]), [known])


# ----------------------------------------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(truth=frames(5)), "'jump': truth has 5 frames .* expected 6 frames .*frame 1 missing"),
        (dict(predictions={"p": frames(6, width=8)}), r"'jump': prediction 'p' has 6 frames of \(8, 8, 3\)"),
        (dict(predictions={"p": frames() / 255.0}), r"'jump': prediction 'p' is float64 .*expected uint8.*255 \* x"),
        (dict(pose=frames().transpose(0, 3, 1, 2)), r"'jump': pose is uint8 \(6, 3, 8, 16\); .*\(T, H, W, 3\)"),
        (dict(pose=frames(1), predictions={"p": frames(1)}), "'jump': pose has 1 frame; .* at least 2"),
        (dict(predictions={}), "'jump' has no prediction"),
        (dict(psnr={"p": np.zeros(6)}), r"'jump': psnr of 'p' has shape \(6,\); expected \(5,\)"),
        (dict(psnr={"q": np.zeros(5)}), "'jump': psnr is given for .'q'."),
        (dict(baselines={"mean_frame": np.zeros(4)}), r"'jump': baseline 'mean_frame' has shape \(4,\)"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    refuses(message, Clip, **{"name": "jump", "pose": frames(), "predictions": {"p": frames()}, **change})


def test_sequences_must_have_the_same_runs():
    refuses("at least one Clip", FrameScrubber, [])
    with pytest.raises(LabError, match=r"'two' has predictions of \['q'\].*\['p'\]"):
        FrameScrubber([Clip("one", frames(), {"p": frames()}), Clip("two", frames(), {"q": frames()})])


# ----------------------------------------------------------------------------------------- colours, pages, stills


def test_error_colours_rise_in_lightness_and_tell_the_sign():
    colours, signed = error_colours()
    size = colours.astype(float) @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(np.convolve(size, np.ones(9) / 9, "valid")) > 0) and size[0] < 20 and size[-1] > 225
    np.testing.assert_array_equal(colours[0], signed[255])
    truth = np.full((1, 1, 1, 3), 100, np.uint8)
    too_dark, too_bright = (
        error_image(truth + np.uint8(d), truth, 4, signed=True)[0, 0, 0].astype(int) for d in (216, 40)
    )
    assert too_dark[2] > too_dark[0] + 50 and too_bright[0] > too_bright[2] + 50
    for difference, entry in ((51, 204), (90, 255)):
        np.testing.assert_array_equal(error_image(truth + np.uint8(difference), truth, 4)[0, 0, 0], colours[entry])


def test_page_holds_everything_and_asks_for_nothing(tmp_path):
    clip = Clip("</script><b>& name", frames(), {"p": frames(seed=1)}, frames(seed=2))
    path = tmp_path / "deep" / "page.html"
    FrameScrubber([clip], index=3).to_html(path, title="A <title>", after="<p>end</p>")
    text = path.read_text(encoding="utf-8")
    code = text.replace('"http://www.w3.org/2000/svg"', "")  # the name of a vocabulary, nothing is fetched from there
    assert not re.search(r"https?:|//cdn|\bimport\b\s*[({\"']|\bfetch\(|XMLHttpRequest|@import|\burl\(|\beval\(", code)
    assert not re.search(r"<(script|img|link|iframe)[^>]*\s(src|href)=[\"'](?!data:)", text)
    assert "default-src 'none'" in text and text.count("A &lt;title&gt;") == 2 and "<p>end</p>" in text
    assert len(re.findall(r"</script>", text)) == len(re.findall(r"<script", text)) == 2
    values = json.loads(re.search(r'<script type="application/json">(.*?)</script>', text, re.S)[1])
    assert values["index"] == 3 and values["sequences"] == ["</script><b>& name"]
    truth = base64.b64decode(values["_clips"][0]["truth"]["$bytes"])
    np.testing.assert_array_equal(decode(truth, clip.truth.shape), clip.truth)
    assert "layout" not in values and "_esm" not in values


def test_page_of_several_widgets_holds_the_module_once():
    one = FrameScrubber.from_arrays(frames(), frames(), frames())
    text = widgets.render_page("two", ["<h1>two</h1>", one, one])
    assert text.count('data-widget="FrameScrubber"><script') == 2 and text.count("class Frames") == 1


WIDGETS = {  # name in labutils.widgets -> how a small one is made
    "FrameScrubber": lambda: FrameScrubber([Clip("noise", frames(40), {"p": frames(40, 1)}, frames(40, 2))]),
    "ScheduleExplorer": lambda: widgets.ScheduleExplorer(),
    "ReparameterizationExplorer": lambda: widgets.ReparameterizationExplorer(),
}


@pytest.mark.parametrize("name", WIDGETS)
def test_a_stored_notebook_has_a_picture_beside_the_view(name):
    """What GitHub shows where there is no kernel; the other widgets' pictures are tested with them."""
    widget = WIDGETS[name]()
    data, _ = widget._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == widget.model_id
    picture = base64.b64decode(data["image/png"])
    assert 0 < len(picture) <= page.STILL_BYTES and data["text/plain"] == repr(widget)
    width, height = widget.figure().get_size_inches()
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "PNG" and image.width / image.height == pytest.approx(width / height, abs=0.02)
    json.dumps(data)  # as it travels


def test_a_picture_that_is_too_large_loses_colours_then_dots():
    figure = LabFigure(figsize=(8, 4))
    figure.add_axes((0, 0, 1, 1)).imshow(np.random.default_rng(0).random((400, 800, 3)), aspect="auto")
    full = page.still(figure, 10**9)
    fewer, smaller = page.still(figure, len(full) // 2), page.still(figure, len(full) // 4)
    sizes = [Image.open(io.BytesIO(png)).size for png in (full, fewer, smaller)]
    assert sizes[0] == sizes[1] == (880, 440) and sizes[2][0] < 880
    assert len(fewer) <= len(full) // 2 and len(smaller) <= len(full) // 4


def test_a_widget_that_cannot_be_drawn_is_shown_all_the_same():
    data, _ = type("Blank", (page.LabWidget,), {})()._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data and "image/png" not in data


@pytest.mark.parametrize("truth", [True, False])
def test_figure_is_a_strip_over_the_curve(truth):
    clip = Clip("dance", frames(12), {"p": frames(12, 1), "q": frames(12, 2)}, frames(12, 3) if truth else None)
    scrubber = FrameScrubber([clip], scale=2)
    figure = scrubber.figure(columns=5, run=1)
    assert isinstance(figure, Figure) and figure._repr_png_()[:4] == b"\x89PNG"
    pictures = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    rows = 4 if truth else 2
    assert len(pictures) == rows * 5 and len(figure.axes) - len(pictures) == truth
    assert [axes.get_title() for axes in figure.axes[:5]] == ["1 (given)", "4", "7", "9", "12"]
    np.testing.assert_array_equal(pictures[(rows // 2) * 5 + 4], clip.predictions["q"][11])
    if truth:
        np.testing.assert_array_equal(pictures[15 + 4], error_image(clip.predictions["q"][11], clip.truth[11], 2))
        np.testing.assert_allclose(figure.axes[-1].lines[1].get_ydata(), clip.psnr["q"])
    for wrong in (dict(columns=1), dict(run=2), dict(sequence=-1)):
        refuses("columns must be at least 2", scrubber.figure, **wrong)
