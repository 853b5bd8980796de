"""ReparameterizationExplorer and LatentExplorer in a real JupyterLab and as pages, with and without a kernel."""

import json

import numpy as np
import pytest
from browser import fits, opened, running_browser, running_notebook, shown_frame, until  # noqa: F401, a fixture
from gaussians import expected_numbers

from labutils.checkpoint import load_model
from labutils.widgets import LatentExplorer, ReparameterizationExplorer
from labutils.widgets.latent import difference_image

pytestmark = pytest.mark.browser
# A model that has learned for seconds hardly listens to z; its weights on z are raised until z shows.
CELLS = """\
import numpy as np, torch
from labutils.checkpoint import load_model
from labutils.dataset import load_split
from labutils.widgets import LatentExplorer, ReparameterizationExplorer
torch.set_num_threads(1)
model = load_model(CHECKPOINT)
video = load_split(DATA, "val", model.cfg.replace(DR=DATA, quiet=True))
model.Generator.out.weight.data[:4], model.Generator.out.bias.data[:4] = 0, 2  # opacity one half
for _ in range(12):
    probe = LatentExplorer(model, video, index=15)
    probe.values = [2.0] + [0.0] * (len(probe.std) - 1)
    if np.abs(probe.prediction.astype(int) - probe.prediction_at_zero).max() < 40:
        model.Decoder_Fusion.latent.weight.data *= 2
====
small = ReparameterizationExplorer(mu=0.7, logvar=-0.5)
small
====
explorer = LatentExplorer(model, video, DATA + "/val/light.csv", index=15, gain=16)
def walk(first): explorer.draw, explorer.values = 0, [first] + [0.0] * (len(explorer.std) - 1)
explorer"""


@pytest.fixture(scope="module")
def tab(browser, dance, trained, tmp_path_factory):
    """A notebook that shows both; its kernel ends in the last test that uses it."""
    folder, paths = tmp_path_factory.mktemp("lab"), {"CHECKPOINT": str(trained / "last.ckpt"), "DATA": str(dance)}
    with running_notebook(browser, folder, CELLS, height=1900, **paths) as tab:
        assert until(lambda: root(tab, "latent").get_attribute("data-live") == "true")
        yield tab


@pytest.fixture
def small(tab):
    return root(tab, "reparameterization")


@pytest.fixture
def element(tab):
    return root(tab, "latent")


def root(tab, name):
    return getattr(tab, "page", tab).locator(f".lab-{name}")


def canvas(element, panel):
    return shown_frame(element.locator(f".ll-panel-{panel} canvas"))


def near(a, b, most=1):
    return np.abs(a.astype(int) - b).max() <= most


def predicted(tab, element):
    """Whether the prediction that is shown comes to be Python's."""
    return until(lambda: near(canvas(element, "prediction"), tab.frame("explorer.prediction")))


def shown(element):
    """The numbers that the reparameterization shows."""
    return {k: json.loads(v) for k, v in element.evaluate("e => ({...e.dataset})").items()}


def check_numbers(values, eps):
    """The front end's numbers against the lab's modules and autograd."""
    expected = expected_numbers(values["mu"], values["logvar"], eps, values["chosen"])
    for name, number in expected.items():
        assert values[name] == pytest.approx(number, abs=1e-9), name


def test_numbers_agree_with_the_modules_wherever_the_sliders_stand(tab, small):
    eps = tab.value("small.eps")
    check_numbers(shown(small), eps)
    for mu, logvar in [("-1.5", "1.2"), ("0", "-6"), ("2.25", "0")]:
        small.get_by_role("slider", name="μ").fill(mu)
        small.get_by_role("slider", name="log σ²").fill(logvar)
        values = shown(small)
        assert (values["mu"], values["logvar"]) == (float(mu), float(logvar))
        check_numbers(values, eps)
    assert until(lambda: tab.value("[small.mu, small.logvar]") == [2.25, 0])
    tab.python("small.mu, small.logvar = -0.5, 0.25")
    assert until(lambda: shown(small)["mu"] == -0.5 and shown(small)["logvar"] == 0.25)
    numbers = small.locator(".lr-numbers").inner_text()
    assert f"{shown(small)['kl']:.3f} nats" in numbers and "−0.500" in numbers


def test_symbols_are_in_italics_and_words_stay_whole(small):
    italic = small.locator(".lab-math")
    assert {"z", "μ", "ε", "N"} <= set(italic.all_text_contents())
    assert {e.evaluate("e => getComputedStyle(e).fontStyle") for e in italic.all()} == {"italic"}
    assert "z ~ q = N(μ, σ²)" in small.locator(".lr-map").text_content()


def test_draws_are_new_and_can_be_chosen(tab, small):
    before = shown(small)["z"]
    small.get_by_role("button", name="draw new ε").click()
    assert shown(small)["z"] != before and len(shown(small)["z"]) == 32
    small.get_by_label("number of draws").select_option("256 draws")
    assert until(lambda: len(tab.value("small.eps")) == 256)
    eps = tab.value("small.eps")
    assert abs(np.mean(eps)) < 0.3 and 0.8 < np.std(eps) < 1.2
    check_numbers(shown(small), eps)
    small.get_by_label("number of draws").select_option("8 draws")
    order = np.argsort(shown(small)["z"])
    for _ in range(8):
        small.get_by_title("The draw before").click()
    assert shown(small)["chosen"] == order[0]
    box = small.locator(".lr-map svg").bounding_box()
    z = shown(small)["z"][order[-1]]
    tab.page.mouse.click(box["x"] + box["width"] / 2 + z / 6 * (box["width"] / 2 - 14), box["y"] + 244)
    assert shown(small)["chosen"] == order[-1]


def test_a_step_by_sigma_can_leave_the_gaussians_and_one_by_log_variance_cannot(tab, small):
    tab.python("small.mu, small.logvar, small.rate = 0.0, 2.0, 2.0")
    assert until(lambda: shown(small)["logvar"] == 2)
    small.get_by_role("button", name="σ", exact=True).click()
    assert small.get_by_role("slider", name="σ", exact=True).count() == 1
    small.get_by_role("button", name="gradient step").click()
    assert "no Gaussian has that" in small.get_by_role("alert").inner_text() and shown(small)["logvar"] == 2
    small.get_by_role("button", name="log σ²", exact=True).click()
    small.get_by_role("button", name="gradient step").click()
    expected = 2 - 2 * 0.5 * (np.exp(2) - 1)
    assert shown(small)["logvar"] == pytest.approx(max(expected, -6))
    assert not small.get_by_role("alert").is_visible()
    tab.python("small.mu, small.logvar, small.rate = 1.0, 0.0, 0.5")
    assert until(lambda: shown(small)["mu"] == 1)
    small.get_by_role("button", name="gradient step").click()
    assert shown(small)["mu"] == pytest.approx(0.5)
    box = small.locator(".lr-side > svg").bounding_box()
    tab.page.mouse.click(box["x"] + 34 + 258 * 0.75, box["y"] + 8 + 194 * 0.5)
    values = shown(small)
    assert (values["mu"], values["logvar"]) == (pytest.approx(1.5, abs=0.05), pytest.approx(-2, abs=0.1))


def test_sliders_change_the_predicted_frame_and_not_the_given_ones(tab, element):
    still = {name: canvas(element, name) for name in ("pose", "last", "truth", "zero")}
    np.testing.assert_array_equal(still["pose"], tab.frame("video.labels[15]"))
    np.testing.assert_array_equal(still["last"], tab.frame("video.frames[14]"))
    np.testing.assert_array_equal(still["truth"], tab.frame("video.frames[15]"))
    assert (canvas(element, "difference") == 128).all()
    slider = element.get_by_role("slider", name="direction 1")
    slider.focus()
    slider.fill("2.55")
    assert until(lambda: tab.value("explorer.values[0]") == 2.55) and predicted(tab, element)
    assert not near(canvas(element, "prediction"), still["zero"], 5)
    expected = difference_image(canvas(element, "prediction").astype(float), still["zero"].astype(float), 16)
    assert near(canvas(element, "difference"), expected, 16)  # both were rounded
    tab.page.keyboard.press("ArrowRight")
    assert until(lambda: tab.value("explorer.values[0]") == pytest.approx(2.6))
    for name, frame in still.items():
        np.testing.assert_array_equal(canvas(element, name), frame)
    tab.python("walk(-3.0)")
    assert until(lambda: slider.input_value() == "-3") and predicted(tab, element)
    element.get_by_role("button", name="z = 0").click()
    assert until(lambda: (canvas(element, "difference") == 128).all())


def test_frames_draws_and_the_posterior(tab, element):
    element.get_by_role("slider", name="frame", exact=True).fill("20")
    assert until(lambda: tab.value("explorer.index") == 20)
    assert until(lambda: near(canvas(element, "truth"), tab.frame("video.frames[20]"), 0)) and predicted(tab, element)
    element.get_by_role("button", name="draw from the prior").click()
    assert until(lambda: tab.value("explorer.draw") == 1) and predicted(tab, element)
    values = tab.value("explorer.values")
    tab.python("explorer.draw_from_prior(1)")
    assert tab.value("explorer.values") == pytest.approx(values)
    element.get_by_role("button", name="μ of this frame").click()
    assert until(lambda: tab.value("explorer.draw") == 0)
    posterior = tab.value("explorer.posterior_values().tolist()")
    assert until(lambda: tab.value("explorer.values") == pytest.approx(posterior))
    box = element.locator(".ll-series svg").bounding_box()
    tab.page.mouse.click(box["x"] + 58 + (box["width"] - 68) * 9 / 29, box["y"] + 60)
    assert until(lambda: tab.value("explorer.index") == 9)
    element.get_by_role("button", name="z = 0").click()


def test_correlations_are_told(tab, element):
    element.get_by_role("button", name="direction 1").click()
    assert f"r = {tab.value('float(explorer.correlation[0])'):.2f}" in element.locator(".ll-scatter").inner_text()
    element.get_by_role("button", name="best combination").click()
    best = tab.value("float(explorer.best_correlation)")
    assert f"{best:.2f}".replace("-", "−") in element.locator(".ll-scatter .ll-legend").inner_text()
    assert until(lambda: tab.value("explorer.direction == len(explorer.std)"))


def test_only_the_latest_value_is_computed(tab, element):
    tab.python("told = []; real = explorer.send; explorer.send = lambda c, b=None: (told.append(c), real(c, b))[1]")
    wanted = element.evaluate(
        """async root => {
          const slider = root.querySelector(".ll-slider input");
          for (let i = 0; i <= 150; i++) {
            slider.value = -3 + 0.04 * i;
            slider.dispatchEvent(new Event("input"));
            if (i % 10 === 9) await new Promise(requestAnimationFrame);
          }
          return Number(slider.value);
        }"""
    )
    assert until(lambda: tab.value("explorer.values[0]") == pytest.approx(wanted))
    assert until(lambda: tab.value("told[-1].get('values', [0])[0]") == pytest.approx(wanted))
    assert 1 <= tab.value("len(told)") < 60  # 151 values were asked for


def test_both_go_on_when_the_kernel_is_gone(tab, element, small):
    element.get_by_role("slider", name="frame", exact=True).fill("15")
    assert until(lambda: tab.value("explorer.index") == 15)
    expected = {}
    for value in (2.0, -3.5):
        tab.python(f"walk({value})")
        expected[value] = tab.frame("explorer.prediction")
    tab.shut_down_kernel()
    tab.page.wait_for_timeout(1000)
    slider = element.get_by_role("slider", name="direction 1")
    for value, frame in expected.items():
        slider.fill(str(value + 0.1))
        assert until(lambda frame=frame: near(canvas(element, "prediction"), frame))  # after its patience
        assert until(lambda value=value: float(slider.input_value()) == value)  # snapped to what came beforehand
    assert element.get_attribute("data-live") == "false" and "no kernel" in element.locator(".ll-state").inner_text()
    before = canvas(element, "prediction")
    element.get_by_role("button", name="draw from the prior").click()
    assert until(lambda: not near(canvas(element, "prediction"), before, 3))
    small.get_by_role("slider", name="μ").fill("-2")
    values = shown(small)
    assert values["mu"] == -2 and values["klMu"] == -2
    small.get_by_role("button", name="draw new ε").click()
    assert shown(small)["z"] != values["z"]


def test_pages_need_neither_kernel_nor_network(browser, video, trained, tmp_path):
    model = load_model(trained / "last.ckpt")
    model.Decoder_Fusion.latent.weight.data *= 20
    explorer = LatentExplorer(model, video, index=10)
    paths = explorer.to_html(tmp_path / "a.html", moments=2), ReparameterizationExplorer().to_html(tmp_path / "b.html")
    with opened(browser, paths[0], color_scheme="dark") as page:
        element = root(page, "latent")
        assert until(lambda: element.get_attribute("data-ready") == "true") and fits(page, 380)
        np.testing.assert_array_equal(canvas(element, "last"), video.frames[9])
        element.get_by_role("slider", name="direction 1").fill("3")
        explorer.values = [3.0] + [0.0] * (len(explorer.std) - 1)
        assert until(lambda: near(canvas(element, "prediction"), explorer.prediction))
        element.get_by_role("slider", name="direction 2").fill("-2")  # no prediction moves along two at once
        explorer.values = [0.0, -2.0] + [0.0] * (len(explorer.std) - 2)
        assert until(lambda: near(canvas(element, "prediction"), explorer.prediction))
        assert until(lambda: element.get_by_role("slider", name="direction 1").input_value() == "0")
        element.get_by_role("button", name="μ of this frame").click()
        explorer.values = explorer.posterior_values().tolist()
        assert until(lambda: near(canvas(element, "prediction"), explorer.prediction))
        frame = element.get_by_role("slider", name="frame", exact=True)
        frame.fill("3")
        assert until(lambda: frame.input_value() == "1")  # the nearest frame that travelled
        np.testing.assert_array_equal(canvas(element, "last"), video.frames[0])
        page.goto(paths[1].as_uri())
        element = root(page, "reparameterization")
        element.get_by_role("slider", name="log σ²").fill("1")
        assert shown(element)["klLogvar"] == pytest.approx(0.5 * (np.e - 1))
        assert fits(page, 380)
