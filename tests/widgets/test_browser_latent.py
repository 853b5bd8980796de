"""ReparameterizationExplorer and LatentExplorer in a real JupyterLab and as pages, with and without a kernel."""

import base64
import json
import statistics

import numpy as np
import pytest
import torch
from browser import jupyterlab, running_browser, until, watch, write_notebook  # noqa: F401, a fixture

from labutils.modules import kl_divergence, reparameterize
from labutils.widgets.latent import difference_image

GONE = ("Could not send widget sync message", "Failed to load resource", "WebSocket")  # the notebook's own, kernel gone

# A model that has learned for seconds hardly listens to z; its weights on z are raised until z shows.
CELLS = """\
import base64, numpy as np, torch
from labutils import load_model
from labutils.dataset import load_split
from labutils.widgets.latent import LatentExplorer, ReparameterizationExplorer
torch.set_num_threads(1)
model = load_model(CHECKPOINT)
video = load_split(DATA, "val", model.cfg.replace(DR=DATA, quiet=True))
model.Generator.out.weight.data[:4], model.Generator.out.bias.data[:4] = 0, 2  # opacity one half
probe = LatentExplorer(model, video)
for _ in range(12):
    effect = np.abs(probe._at(15, [2.0] + [0.0] * (len(probe.std) - 1), 0) - probe._zero(15)).max()
    if effect < 40:
        model.Decoder_Fusion.latent.weight.data *= 2
light = DATA + "/val/light.csv"

def pixels(array):
    print(base64.b64encode(np.ascontiguousarray(array)).decode())
====
small = ReparameterizationExplorer(mu=0.7, logvar=-0.5)
small
====
explorer = LatentExplorer(model, video, light, index=15)
explorer"""


@pytest.fixture(scope="module")
def tab(browser, dance, trained, tmp_path_factory):
    """A notebook that shows both; its kernel ends in the last test that uses it."""
    folder = tmp_path_factory.mktemp("lab")
    cells = CELLS.split("====\n")
    cells[0] = f"CHECKPOINT, DATA = {str(trained / 'last.ckpt')!r}, {str(dance)!r}\n{cells[0]}"
    write_notebook(folder / "latent.ipynb", cells)
    with jupyterlab(folder) as lab:
        tab = lab.open(browser, "latent.ipynb", height=1900)
        tab.run_all()
        root(tab.page, "latent").wait_for()
        assert until(lambda: root(tab.page, "latent").get_attribute("data-live") == "true", 20)
        yield tab


def root(page, name):
    return page.locator(f".lab-{name}")


def canvas(element, panel):
    """The frame in a panel, (32, 64, 3); fails unless each of its pixels is one even square."""
    width, height, data = element.locator(f".ll-panel-{panel} canvas").evaluate(
        """c => {
          const data = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
          let text = "";
          for (let i = 0; i < data.length; i += 4096) text += String.fromCharCode(...data.subarray(i, i + 4096));
          return [c.width, c.height, btoa(text)];
        }"""
    )
    pixels = np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)[..., :3]
    zoom = width // 64
    small = pixels[::zoom, ::zoom]
    np.testing.assert_array_equal(small.repeat(zoom, 0).repeat(zoom, 1), pixels)
    return small


def python_frame(tab, expression):
    return np.frombuffer(base64.b64decode(tab.python(f"pixels({expression})")), np.uint8).reshape(32, 64, 3)


def near(a, b, most=1):
    return np.abs(a.astype(int) - b).max() <= most


def shown(element):
    """The numbers that the reparameterization shows."""
    return {k: json.loads(v) for k, v in element.evaluate("e => ({...e.dataset})").items()}


def check_numbers(values, eps):
    """The front end's numbers against the lab's modules and autograd."""
    mu, logvar = (torch.tensor([[values[k]]], dtype=torch.float64, requires_grad=True) for k in ("mu", "logvar"))
    e = torch.tensor(eps, dtype=torch.float64)[:, None]
    z = reparameterize(mu.expand(len(eps), 1), logvar.expand(len(eps), 1), e)
    kl = kl_divergence(mu, logvar)[0]
    np.testing.assert_allclose(values["z"], z.detach().numpy()[:, 0], atol=1e-12)
    assert values["kl"] == pytest.approx(kl.item(), abs=1e-12)
    q = torch.distributions.Normal(mu, torch.exp(0.5 * logvar))
    ratios = (q.log_prob(z) - torch.distributions.Normal(0.0, 1.0).log_prob(z)).detach().numpy()
    assert values["estimate"] == pytest.approx(ratios.mean(), abs=1e-9)
    assert values["error"] == pytest.approx(ratios.std(ddof=1) / len(eps) ** 0.5, abs=1e-9)
    grads = [*torch.autograd.grad(z[values["chosen"], 0], (mu, logvar)), *torch.autograd.grad(kl, (mu, logvar))]
    found = [values[k] for k in ("zMu", "zLogvar", "klMu", "klLogvar")]
    assert found == pytest.approx([g.item() for g in grads], abs=1e-12)
    sigma = torch.tensor(values["sigma"], dtype=torch.float64, requires_grad=True)
    (of_sigma,) = torch.autograd.grad(0.5 * (sigma**2 - 1) - torch.log(sigma), sigma)
    assert values["klSigma"] == pytest.approx(of_sigma.item(), abs=1e-9)
    assert values["zSigma"] == pytest.approx(eps[values["chosen"]])


def test_numbers_agree_with_the_modules_wherever_the_sliders_stand(tab):
    element = root(tab.page, "reparameterization")
    eps = eval(tab.python("print(small.eps)"))
    check_numbers(shown(element), eps)
    for mu, logvar in [("-1.5", "1.2"), ("0", "-6"), ("2.25", "0")]:
        element.get_by_role("slider", name="μ").fill(mu)
        element.get_by_role("slider", name="log σ²").fill(logvar)
        values = shown(element)
        assert (values["mu"], values["logvar"]) == (float(mu), float(logvar))
        check_numbers(values, eps)
    assert until(lambda: tab.python("print(small.mu, small.logvar)") == "2.25 0.0")
    tab.python("small.mu, small.logvar = -0.5, 0.25")
    assert until(lambda: shown(element)["mu"] == -0.5 and shown(element)["logvar"] == 0.25)
    dl = element.locator(".lr-numbers").inner_text()
    assert f"{shown(element)['kl']:.3f} nats" in dl and "−0.500" in dl


def test_draws_are_new_and_can_be_chosen(tab):
    element, page = root(tab.page, "reparameterization"), tab.page
    before = shown(element)["z"]
    element.get_by_role("button", name="draw new ε").click()
    assert shown(element)["z"] != before and len(shown(element)["z"]) == 32
    element.get_by_label("number of draws").select_option("256 draws")
    assert until(lambda: tab.python("print(len(small.eps))") == "256")
    eps = eval(tab.python("print(small.eps)"))
    assert abs(np.mean(eps)) < 0.3 and 0.8 < np.std(eps) < 1.2
    check_numbers(shown(element), eps)
    element.get_by_label("number of draws").select_option("8 draws")
    order = np.argsort(shown(element)["z"])
    for _ in range(8):
        element.get_by_role("button", name="The draw before").or_(element.locator(".lr-step").first).first.click()
    assert shown(element)["chosen"] == order[0]
    box = element.locator(".lr-map svg").bounding_box()
    z = shown(element)["z"][order[-1]]
    page.mouse.click(box["x"] + box["width"] / 2 + z / 6 * (box["width"] / 2 - 14), box["y"] + 244)
    assert shown(element)["chosen"] == order[-1]


def test_a_step_by_sigma_can_leave_the_gaussians_and_one_by_log_variance_cannot(tab):
    element = root(tab.page, "reparameterization")
    tab.python("small.mu, small.logvar, small.rate = 0.0, 2.0, 2.0")
    assert until(lambda: shown(element)["logvar"] == 2)
    element.get_by_role("button", name="σ", exact=True).click()
    assert element.get_by_role("slider", name="σ", exact=True).count() == 1
    element.get_by_role("button", name="gradient step").click()
    assert "no Gaussian has that" in element.get_by_role("alert").inner_text() and shown(element)["logvar"] == 2
    element.get_by_role("button", name="log σ²", exact=True).click()
    element.get_by_role("button", name="gradient step").click()
    expected = 2 - 2 * 0.5 * (np.exp(2) - 1)
    assert (
        shown(element)["logvar"] == pytest.approx(max(expected, -6)) and not element.get_by_role("alert").is_visible()
    )
    tab.python("small.mu, small.logvar, small.rate = 1.0, 0.0, 0.5")
    assert until(lambda: shown(element)["mu"] == 1)
    element.get_by_role("button", name="gradient step").click()
    assert shown(element)["mu"] == pytest.approx(0.5)
    box = element.locator(".lr-side > svg").bounding_box()
    tab.page.mouse.click(box["x"] + 34 + 258 * 0.75, box["y"] + 8 + 194 * 0.5)
    assert shown(element)["mu"] == pytest.approx(1.5, abs=0.05) and shown(element)["logvar"] == pytest.approx(
        -2, abs=0.1
    )


def test_sliders_change_the_predicted_frame_and_not_the_given_ones(tab):
    element = root(tab.page, "latent")
    still = {name: canvas(element, name) for name in ("pose", "last", "truth", "zero")}
    np.testing.assert_array_equal(still["pose"], python_frame(tab, "video.labels[15]"))
    np.testing.assert_array_equal(still["last"], python_frame(tab, "video.frames[14]"))
    np.testing.assert_array_equal(still["truth"], python_frame(tab, "video.frames[15]"))
    assert (canvas(element, "difference") == 128).all()
    slider = element.get_by_role("slider", name="direction 1")
    slider.focus()
    slider.fill("2.55")
    assert until(lambda: eval(tab.python("print(explorer.values)"))[0] == 2.55)
    assert until(lambda: near(canvas(element, "prediction"), python_frame(tab, "explorer.prediction")))
    assert not near(canvas(element, "prediction"), still["zero"], 5)
    expected = difference_image(canvas(element, "prediction").astype(float), still["zero"].astype(float), 16)
    assert np.abs(canvas(element, "difference").astype(int) - expected).max() <= 16  # both were rounded
    tab.page.keyboard.press("ArrowRight")
    assert until(lambda: eval(tab.python("print(explorer.values)"))[0] == pytest.approx(2.6))
    for name, frame in still.items():
        np.testing.assert_array_equal(canvas(element, name), frame)
    tab.python("explorer.values = [-3.0] + [0.0] * (len(explorer.std) - 1)")
    assert until(lambda: element.get_by_role("slider", name="direction 1").input_value() == "-3")
    assert until(lambda: near(canvas(element, "prediction"), python_frame(tab, "explorer.prediction")))
    element.get_by_role("button", name="z = 0").click()
    assert until(lambda: (canvas(element, "difference") == 128).all())


def test_frames_draws_and_the_posterior(tab):
    element = root(tab.page, "latent")
    element.get_by_role("slider", name="frame", exact=True).fill("20")
    assert until(lambda: tab.python("print(explorer.index)") == "20")
    assert until(lambda: near(canvas(element, "truth"), python_frame(tab, "video.frames[20]"), 0))
    assert until(lambda: near(canvas(element, "prediction"), python_frame(tab, "explorer.prediction")))
    element.get_by_role("button", name="draw from the prior").click()
    assert until(lambda: tab.python("print(explorer.draw)") == "1")
    assert until(lambda: tab.python("print(np.allclose(explorer.values, explorer._rest(1)[0]))") == "True")
    assert until(lambda: near(canvas(element, "prediction"), python_frame(tab, "explorer.prediction")))
    element.get_by_role("button", name="μ of this frame").click()
    assert until(lambda: tab.python("print(explorer.draw)") == "0")
    assert until(lambda: tab.python("print(np.allclose(explorer.values, explorer.posterior_values()))") == "True")
    box = element.locator(".ll-series svg").bounding_box()
    tab.page.mouse.click(box["x"] + 48 + (box["width"] - 58) * 9 / 29, box["y"] + 60)
    assert until(lambda: tab.python("print(explorer.index)") == "9")
    element.get_by_role("button", name="z = 0").click()


def test_correlations_are_told(tab):
    element = root(tab.page, "latent")
    first = float(tab.python("print(explorer.correlation[0])"))
    element.get_by_role("button", name="direction 1").click()
    assert f"r = {first:.2f}" in element.locator(".ll-scatter").inner_text()
    element.get_by_role("button", name="best combination").click()
    best = float(tab.python("print(explorer.best_correlation)"))
    assert f"{best:.2f}".replace("-", "−") in element.locator(".ll-scatter .ll-legend").inner_text()
    assert until(lambda: tab.python("print(explorer.direction == len(explorer.std))") == "True")


def test_only_the_latest_value_is_computed(tab, record_property):
    element = root(tab.page, "latent")
    tab.python("asked = []; real = explorer._at; explorer._at = lambda *a: (asked.append(a), real(*a))[1]")
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
    assert until(lambda: eval(tab.python("print(explorer.values)"))[0] == pytest.approx(wanted))
    assert until(lambda: float(tab.python("print(asked[-1][1][0])")) == pytest.approx(wanted))
    count = int(tab.python("print(len(asked))"))
    assert 1 <= count < 60, count  # 151 values were asked for
    times = []
    for k in range(12):
        element.get_by_role("slider", name="direction 1").fill(str(0.1 * k))
        tab.page.wait_for_timeout(80)
        times.append(float(element.get_attribute("data-latency")))
    text = f"{statistics.median(times):.0f} ms from slider to picture; {count} of 151 values computed"
    print(f"\nlatent explorer: {text}")
    record_property("latency", text)


def test_both_go_on_when_the_kernel_is_gone(tab):
    assert tab.errors == []
    element, small = root(tab.page, "latent"), root(tab.page, "reparameterization")
    element.get_by_role("slider", name="frame", exact=True).fill("15")
    element.get_by_role("button", name="z = 0").click()
    expected = {}
    for value in (2.0, -3.5):
        tab.python(f"frame = explorer._at(15, [{value}] + [0.0] * (len(explorer.std) - 1), 0)")
        expected[value] = python_frame(tab, "np.rint(frame).astype(np.uint8)")
    tab.shut_down_kernel()
    tab.page.wait_for_timeout(1000)
    slider = element.get_by_role("slider", name="direction 1")
    for value, frame in expected.items():
        slider.fill(str(value + 0.1))
        assert until(lambda frame=frame: near(canvas(element, "prediction"), frame), 15)  # after its patience
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
    assert [e for e in tab.errors if not e.startswith(GONE)] == []


def test_pages_need_neither_kernel_nor_network(browser, dance, trained, tmp_path):
    from labutils import load_model
    from labutils.dataset import load_split
    from labutils.widgets.latent import LatentExplorer, ReparameterizationExplorer

    model = load_model(trained / "last.ckpt")
    model.Decoder_Fusion.latent.weight.data *= 20
    video = load_split(dance, "val", model.cfg.replace(DR=str(dance), quiet=True))
    explorer = LatentExplorer(model, video, index=10)
    paths = explorer.to_html(tmp_path / "a.html", moments=2), ReparameterizationExplorer().to_html(tmp_path / "b.html")
    context = browser.new_context(offline=True, viewport={"width": 380, "height": 900}, color_scheme="dark")
    page = context.new_page()
    errors = watch(page)
    page.goto(paths[0].as_uri())
    element = root(page, "latent")
    element.wait_for()
    assert until(lambda: element.get_attribute("data-ready") == "true")
    np.testing.assert_array_equal(canvas(element, "last"), video.frames[9])
    element.get_by_role("slider", name="direction 1").fill("3")
    explorer.values = [3.0] + [0.0] * (len(explorer.std) - 1)
    assert until(lambda: near(canvas(element, "prediction"), explorer.prediction))
    element.get_by_role("slider", name="frame", exact=True).fill("27")  # the nearest frame that travelled is frame 1
    assert until(lambda: element.get_attribute("data-index") in ("1", "10"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.goto(paths[1].as_uri())
    element = root(page, "reparameterization")
    element.get_by_role("slider", name="log σ²").fill("1")
    assert shown(element)["klLogvar"] == pytest.approx(0.5 * (np.e - 1))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert errors == []
    context.close()
