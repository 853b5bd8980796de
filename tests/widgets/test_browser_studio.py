"""PoseStudio in a real JupyterLab: joints by mouse and keyboard, recording, key poses, GIF; pages without kernel."""

import numpy as np
import pytest
from browser import fits, opened, running_browser, running_notebook, shown_frame, until  # noqa: F401, a fixture

from labutils.checkpoint import load_model
from labutils.dance import JOINT_NAMES, LIMBS, draw_pose, rest_pose
from labutils.widgets import PoseStudio

pytestmark = pytest.mark.browser
WRIST, ELBOW, SHOULDER = (JOINT_NAMES.index(n) for n in ("l_wrist", "l_elbow", "l_shoulder"))
REST = rest_pose()

# A model that has learned for seconds paints the empty room; half of it made of the pose, it shows one.
CELLS = """\
import numpy as np, torch
from labutils.checkpoint import load_model
from labutils.dance import rest_pose
from labutils.dataset import load_split
from labutils.widgets import PoseStudio
torch.set_num_threads(1)
model = load_model(CHECKPOINT)
model.Generator.out.weight.data[:4], model.Generator.out.bias.data[:4] = 0, 2  # opacity
video = load_split(DATA, "val", model.cfg.replace(DR=DATA, quiet=True))
probe = PoseStudio(model, video, feed="first")
for _ in range(16):
    here, there = (probe.step(rest_pose() + [x, 0]).astype(int) for x in (0, 8))
    if abs(here - there).max() < 80:
        model.label_transformation.conv.weight.data *= 2
====
studio = PoseStudio(model, video, gif="dance.gif", keep_lengths=False, feed="first")
studio"""


@pytest.fixture(scope="module")
def running(browser, dance, trained, tmp_path_factory):
    """A notebook that shows a studio; its kernel ends in the last test that uses it."""
    folder, paths = tmp_path_factory.mktemp("lab"), {"CHECKPOINT": str(trained / "last.ckpt"), "DATA": str(dance)}
    with running_notebook(browser, folder, CELLS, **paths) as tab:
        assert until(lambda: root(tab).get_attribute("data-alive") == "true")
        yield tab


@pytest.fixture
def tab(running):
    """The notebook, the figure at rest, nothing under way between Python and the browser."""

    def joints():
        return np.array(running.value("studio.joints"))

    assert until(lambda: np.abs(joints() - places(running)).max() < 1e-4)
    if np.abs(joints() - REST).max() > 1e-4:
        running.python("studio.joints = rest_pose().tolist()")
        assert until(lambda: np.abs(places(running) - REST).max() < 1e-5)
    running.python("studio.hidden = []")
    return running


@pytest.fixture
def element(tab):
    return root(tab)


def root(tab):
    return getattr(tab, "page", tab).locator(".lab-studio")


def places(tab):
    """Where the joints are drawn, (18, 2) in pixels of the label."""
    return np.array(
        root(tab).evaluate(
            """e => [...Array(18).keys()].map(j => {
                 const m = e.querySelector(`[data-joint="${j}"]`).transform.baseVal[0].matrix;
                 return [m.e, m.f];
               })"""
        )
    )


def on_page(tab, place):
    """A place in the label as coordinates of the page."""
    box = root(tab).locator(".lp-figure").bounding_box()
    return box["x"] + place[0] * box["width"] / 64, box["y"] + place[1] * box["height"] / 32


def drag(tab, start, *stops, pause=0):
    mouse = tab.page.mouse
    mouse.move(*on_page(tab, start))
    mouse.down()
    for stop in stops:
        mouse.move(*on_page(tab, stop))
        tab.page.wait_for_timeout(pause)
    mouse.up()


def canvas(tab, panel):
    return shown_frame(root(tab).locator(f".lp-panel-{panel} > canvas"))


def lengths(joints):
    return [np.linalg.norm(joints[c] - joints[p]) for p, c in LIMBS]


def painted(tab):
    """Whether label and prediction come to be those of the pose that Python has."""
    return until(
        lambda: (
            np.array_equal(canvas(tab, "label"), tab.frame("studio.label"))
            and np.array_equal(canvas(tab, "prediction"), tab.frame("studio.step()"))
        )
    )


def test_a_dragged_joint_moves_alone_and_the_prediction_follows(tab):
    assert painted(tab)
    before = canvas(tab, "prediction")
    expected = REST.copy()
    expected[WRIST] += [6, -9]
    drag(tab, REST[WRIST], REST[WRIST] + [2, -2], expected[WRIST])
    np.testing.assert_allclose(places(tab), expected, atol=0.15)
    assert until(lambda: np.allclose(tab.value("studio.joints"), places(tab), atol=1e-5)) and painted(tab)
    assert (canvas(tab, "prediction") != before).any()
    np.testing.assert_array_equal(canvas(tab, "label"), draw_pose(places(tab), 32, 64))


def test_the_whole_figure_moves_scales_and_flips(tab, element):
    drag(tab, [50, 4], [44, 6])
    np.testing.assert_allclose(places(tab) - REST, np.broadcast_to([-6, 2], (18, 2)), atol=0.15)
    tab.page.keyboard.press("Shift+ArrowRight")  # the drag has given the focus to the figure
    np.testing.assert_allclose(places(tab) - REST, np.broadcast_to([-4, 2], (18, 2)), atol=0.15)
    before = np.array(lengths(places(tab)))
    element.get_by_title("Bigger (+)").click()
    np.testing.assert_allclose(lengths(places(tab)), 1.1 * before, rtol=1e-5)
    element.get_by_label("pose of the dance").select_option("wave")
    wave = places(tab)
    element.get_by_role("button", name="flip").click()
    flipped = places(tab)
    right = JOINT_NAMES.index("r_wrist")
    assert wave[WRIST, 1] < wave[right, 1] and flipped[WRIST, 1] > flipped[right, 1]
    element.get_by_role("button", name="flip").click()
    np.testing.assert_allclose(places(tab), wave, atol=1e-5)
    element.get_by_role("button", name="reset").click()
    np.testing.assert_allclose(places(tab), REST, atol=1e-3)


def test_limbs_keep_their_lengths_where_asked_to(tab, element):
    element.get_by_label("keep limb lengths").check()
    drag(tab, REST[WRIST], REST[WRIST] + [4, -6], REST[WRIST] + [7, -8])
    after = places(tab)
    np.testing.assert_allclose(lengths(after), lengths(REST), rtol=1e-5)
    moved = np.linalg.norm(after - REST, axis=-1) > 1e-4  # SVG counts in float32
    assert set(np.flatnonzero(moved)) == {ELBOW, WRIST}
    drag(tab, after[WRIST], [64, 0])  # out of reach: the arm is stretched
    arm = places(tab)
    assert np.linalg.norm(arm[WRIST] - arm[SHOULDER]) == pytest.approx(lengths(arm)[4] + lengths(arm)[5], rel=1e-5)
    drag(tab, arm[SHOULDER], arm[SHOULDER] + [0, -1.5])  # takes elbow and wrist along
    np.testing.assert_allclose(lengths(places(tab)), lengths(REST), rtol=1e-5)
    before = places(tab)
    drag(tab, before[1], before[1] + [5, 1])  # the neck
    np.testing.assert_allclose(places(tab) - before, np.broadcast_to([5, 1], (18, 2)), atol=0.15)
    element.get_by_label("keep limb lengths").uncheck()
    assert until(lambda: not tab.value("studio.keep_lengths"))


def test_joints_by_keyboard(tab, element):
    page = tab.page
    cells = page.locator(".jp-Cell").count()
    wrist = element.locator(f'[data-joint="{WRIST}"]')
    wrist.focus()
    before = places(tab)
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowUp", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    moved = places(tab) - before
    np.testing.assert_allclose(moved[WRIST], [0.5, -1.5], atol=1e-5)
    assert np.abs(np.delete(moved, WRIST, 0)).max() < 1e-5
    assert wrist.get_attribute("aria-label").startswith("left wrist, x ")
    assert element.locator(".lp-readout").inner_text().startswith("left wrist")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.classList.contains('lp-joint')")
    assert page.evaluate("document.activeElement.dataset.joint") != str(WRIST)
    wrist.focus()
    page.keyboard.press("h")
    assert until(lambda: tab.value("studio.hidden") == [WRIST]) and painted(tab)
    assert wrist.get_attribute("aria-label").endswith("hidden")
    page.keyboard.press("h")
    assert until(lambda: tab.value("studio.hidden") == [])
    assert page.locator(".jp-Cell").count() == cells


def test_record_play_and_export(tab, element):
    element.get_by_role("button", name="record").click()
    drag(tab, REST[WRIST], *(REST[WRIST] + [0.5 * k, -0.8 * k] for k in range(12)), pause=70)
    element.get_by_role("button", name="stop").click()
    assert until(lambda: int(element.get_attribute("data-frames")) > 4)
    count = int(element.get_attribute("data-frames"))
    poses = np.array(tab.value("studio.poses.tolist()"))
    assert poses.shape == (count, 18, 2)
    assert poses[-1, WRIST, 1] < poses[0, WRIST, 1] - 5 and (np.diff(poses[:, WRIST, 1]) <= 1e-6).all()
    still = [j for j in range(18) if j != WRIST]
    np.testing.assert_allclose(poses[:, still], np.broadcast_to(REST[still], (count, 17, 2)), atol=1e-4)

    slider = element.get_by_role("slider", name="frame of the dance")
    for key, index in (("End", count - 1), ("Home", 0)):
        slider.press(key)
        expected = tab.frame(f"studio.predict()[{index}]")
        assert until(lambda expected=expected: np.array_equal(canvas(tab, "prediction"), expected))
    element.get_by_role("button", name="play").click()
    seen = set()
    assert until(lambda: seen.add(element.get_attribute("data-place")) or len(seen) > 3)
    element.get_by_role("button", name="pause").click()

    element.get_by_role("button", name="export GIF").click()
    message = element.locator(".lp-message")
    assert until(lambda: "written to" in message.inner_text()), message.inner_text()
    assert "dance.gif" in message.inner_text() and message.locator("img").count() == 1
    tab.python("import imageio.v3 as iio; written = iio.imread('dance.gif', index=None)")
    assert tab.value("len(written)") == count


def test_key_poses_become_a_dance(tab, element):
    element.get_by_role("button", name="add key pose").click()
    element.get_by_label("pose of the dance").select_option("arms sideways")
    element.locator(".lp-figure").focus()
    tab.page.keyboard.press("k")
    element.get_by_label("frames between key poses").select_option("6 frames apart")
    assert until(lambda: tab.value("[len(studio.keyframes), studio.between, studio.source]") == [2, 6, "keyframes"])
    element.get_by_role("button", name="play").click()
    assert until(lambda: element.get_attribute("data-frames") == "7")
    element.get_by_role("button", name="pause").click()
    assert tab.value("studio.poses.shape") == (7, 18, 2)
    element.get_by_role("button", name="take key pose 1").click()
    np.testing.assert_allclose(places(tab), REST, atol=1e-5)
    element.get_by_role("button", name="remove key pose 1").click()
    assert until(lambda: tab.value("len(studio.keyframes)") == 1)


def test_python_moves_the_figure_and_the_settings(tab, element):
    tab.python("studio.joints = (rest_pose() + [7, 0]).tolist()")
    assert until(lambda: np.allclose(places(tab), REST + [7, 0], atol=1e-5)) and painted(tab)
    element.get_by_label("previous frame").select_option("its own prediction")
    element.get_by_label("z", exact=True).select_option("from the prior")
    assert until(lambda: tab.value("[studio.feed, studio.latent]") == ["previous", "prior"])
    tab.python("studio.poses = np.stack([rest_pose() + [k, 0] for k in range(5)])")
    assert until(lambda: element.get_attribute("data-frames") == "5")
    element.get_by_label("prediction below").check()
    assert element.locator(".lp-paper canvas").is_visible()
    element.get_by_label("prediction below").uncheck()


def test_only_the_latest_pose_is_painted(tab, element):
    tab.python("seen = []; real = studio.step; studio.step = lambda *a, **k: (seen.append(a), real(*a, **k))[1]")
    element.evaluate(
        """async root => {
          const svg = root.querySelector(".lp-figure"), box = svg.getBoundingClientRect();
          const send = (type, x, y) => svg.dispatchEvent(new PointerEvent(type, { button: 0, bubbles: true,
            clientX: box.x + x * box.width / 64, clientY: box.y + y * box.height / 32 }));
          svg.setPointerCapture = () => {};
          send("pointerdown", 50, 4);
          for (let i = 0; i < 200; i++) {
            send("pointermove", 50 - 0.05 * i, 4);
            if (i % 10 === 9) await new Promise(requestAnimationFrame);
          }
          send("pointerup", 40, 4);
        }"""
    )
    end = REST[1, 0] - 0.05 * 199
    assert until(lambda: tab.value("seen[-1][0][1][0].tolist()") == pytest.approx(end, abs=0.01))
    assert 1 <= tab.value("len(seen)") < 80  # 200 poses were passed


def test_the_figure_and_the_dance_live_on_without_the_kernel(tab, element):
    tab.python("studio.feed, studio.latent = 'previous', 'zero'")
    tab.python("studio.poses = np.stack([rest_pose() + [2 * k, 0] for k in range(6)])")
    assert until(lambda: element.get_attribute("data-frames") == "6")
    expected = tab.frame("studio.predict()[5]")
    tab.shut_down_kernel()
    tab.page.wait_for_timeout(1000)
    drag(tab, REST[WRIST], REST[WRIST] + [5, -5])
    np.testing.assert_allclose(places(tab)[WRIST], REST[WRIST] + [5, -5], atol=0.15)
    assert until(lambda: element.get_attribute("data-alive") == "false")
    assert "needs a kernel" in element.locator(".lp-panel-prediction").inner_text()
    assert element.get_by_role("button", name="export GIF").is_disabled()
    element.get_by_role("slider", name="frame of the dance").fill("5")
    np.testing.assert_array_equal(canvas(tab, "prediction"), expected)


def test_the_page_plays_the_dance_without_any_network(browser, video, trained, tmp_path):
    studio = PoseStudio(load_model(trained / "last.ckpt"), video)
    studio.poses = np.stack([REST + [k, 0] for k in range(8)])
    path = studio.to_html(tmp_path / "studio.html")
    with opened(browser, path, color_scheme="dark") as page:
        element = root(page)
        assert until(lambda: element.get_attribute("data-frames") == "8") and fits(page, 380)
        for index in (1, 7):
            element.get_by_role("slider", name="frame of the dance").fill(str(index))
            np.testing.assert_array_equal(canvas(page, "prediction"), studio.predict()[index])
        element.get_by_role("button", name="play").click()
        assert until(lambda: element.get_attribute("data-place") not in ("7", ""))
