"""Pages in a real browser, without a network, and what an accessibility checker says of them."""

import shutil
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest

import sweepengine as se
from sweepengine.query.sources import open_sources
from sweepengine.show.model_comparison import write_model_comparison
from tests.search.test_model_costs import PAGES
from tests.waits import PATIENCE_SECONDS, free_port, waiting

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
]


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium):
    """Opens a page; `page.logged` has what it complained of, and requests beyond its own."""
    contexts = []

    def open_page(address, width=1300):
        context = chromium.new_context(viewport={"width": width, "height": 900})
        context.set_default_timeout(1000 * PATIENCE_SECONDS)
        contexts.append(context)
        page = context.new_page()
        page.logged = []
        page.on("console", lambda message: page.logged.append(message.text))
        page.on("pageerror", lambda error: page.logged.append(str(error)))
        page.on("requestfailed", lambda request: page.logged.append(request.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()


def complaints(page):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page)
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found.response["violations"]]


@pytest.fixture(params=["published", "released"])
def report(request, published_report, released_report):
    return published_report[0] if request.param == "published" else released_report


def drawn_report(opened, folder, width=1300):
    page = opened((folder / "index.html").as_uri(), width)
    all_drawn(page, page.locator("main figure:not(details figure)").count())
    return page


def all_drawn(page, charts):
    page.wait_for_function(f"document.querySelectorAll('figure svg').length === {charts}")


SMALL = """() => [...document.querySelectorAll('body *')].filter(one => {
  const texts = [...one.childNodes].filter(node => node.nodeType === 3 && node.data.trim());
  if (!texts.length || ['SCRIPT', 'STYLE'].includes(one.tagName)) return false;
  const svg = one.closest('svg'), shown = svg && svg.viewBox.baseVal.width;
  const scale = shown ? svg.getBoundingClientRect().width / shown : 1;
  return scale > 0 && parseFloat(getComputedStyle(one).fontSize) * scale < 10.9;
}).map(one => one.textContent)"""
"""Texts below 11 pixels, charts included, as they are scaled."""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def test_every_chart_of_a_report_is_drawn_offline_without_a_complaint(report, opened):
    assert "default-src 'none'" in (report / "index.html").read_text()
    page = drawn_report(opened, report)
    assert page.locator("main figure:not(details figure)").count() <= 20
    page.evaluate("document.querySelectorAll('details.more').forEach(one => { one.open = true; })")
    all_drawn(page, page.locator("main figure").count())
    assert page.logged == []
    assert page.evaluate(SMALL) == []
    roles = "circle", "point", "bar", "rect mark", "text mark"
    marks = ", ".join(f'[aria-roledescription="{role}"]' for role in roles)
    for figure in page.locator("main figure").all():
        name = figure.get_attribute("id").removeprefix("chart-")
        assert figure.locator(marks).count() >= 5, name
        if name.startswith(("vision", "decode", "required", "kv_cache")):
            text = figure.locator("svg").first.inner_html()
            for label in (">1x2<", "1x29<", "4x7<", ">image tokens<"):
                assert label in text, (name, label)
            assert figure.locator('[aria-roledescription="circle"]').count() >= 53, name


def test_report_passes_an_accessibility_check(released_report, opened):
    assert complaints(drawn_report(opened, released_report)) == []


def test_comparisons_of_a_report_pass_an_accessibility_check(published_report, opened):
    """Without its charts, which are of the kinds that the other report has."""
    page = drawn_report(opened, published_report[0])
    page.evaluate("document.querySelectorAll('figure').forEach(figure => figure.remove())")
    assert page.locator("table").count() >= 5
    assert complaints(page) == []


def test_comparison_of_models_is_drawn_accessible_and_fits_a_phone(opened, grid_file, tmp_path):
    write_model_comparison(open_sources(grid_file(PAGES)), tmp_path / "out", {"l40s": 0.9})
    page = drawn_report(opened, tmp_path / "out", 390)
    assert page.logged == []
    assert complaints(page) == []
    assert page.locator('#chart-flops [aria-roledescription="bar"]').count() == 9
    assert "Most pages a USD: granite-docling-258m" in page.locator(".card").first.inner_text()
    assert page.locator("details").count() == 2
    assert page.evaluate(OVERFLOW) == 0
    assert page.evaluate(SMALL) == []


def test_report_opens_with_answers_and_fits_a_phone_and_paper(released_report, opened):
    page = drawn_report(opened, released_report, 390)
    first = page.locator("main h2").first
    assert first.inner_text() == "Answers"
    assert page.locator(".card").count() == 6
    assert "tokens/s" in page.locator(".card").first.inner_text()
    assert page.evaluate(OVERFLOW) == 0
    assert page.evaluate(SMALL) == []
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()


def labels(page, name):
    """Values that a chart writes beside the points under the cursor."""
    texts = page.locator(f'#chart-{name} [aria-roledescription="text mark"]').all_text_contents()
    return [text for text in texts if text.replace(",", "").replace(".", "").isdecimal()]


def test_charts_share_the_cursor_and_the_attention(published_report, opened):
    page = drawn_report(opened, published_report[0])
    chosen, other = "vision_activation_memory", "vision_intensity"
    assert (labels(page, chosen), labels(page, other)) == ([], [])
    plot = page.locator(f'#chart-{chosen} [aria-roledescription="circle"]').nth(3)
    plot.scroll_into_view_if_needed()
    plot.hover(force=True)
    for _ in waiting("no labels"):
        if labels(page, chosen) and labels(page, other):
            break
        page.wait_for_timeout(50)
    lines = page.locator(f'#chart-{chosen} [aria-roledescription="line mark"]')
    assert lines.count() == 2
    page.locator("#attention select").select_option("flash")
    for _ in waiting("both lines are shown"):
        if lines.count() == 1:
            break
        page.wait_for_timeout(50)


def test_single_chart_opens_offline(published_report, opened):
    page = opened((published_report[0] / "charts" / "vision_flops.html").as_uri())
    page.wait_for_selector("figure svg")
    assert page.logged == []
    assert page.locator('[aria-roledescription="circle"]').count() == 53
    assert complaints(page) == []


def test_console_errors_and_requests_are_seen(published_report, opened, tmp_path):
    page = (published_report[0] / "charts" / "vision_flops.html").read_text()
    chart = tmp_path / "chart.html"
    fetching = "<script>fetch('http://127.0.0.1:9/'); console.error('seen')</script></body>"
    chart.write_text(page.replace("</body>", fetching))
    logged = opened(chart.as_uri()).logged
    assert any("seen" in line for line in logged)
    assert any("Content Security Policy" in line for line in logged)


@contextmanager
def explorer(folder, *words):
    port = free_port()
    command = [sys.executable, "-m", "sweepengine", "explore", *words, "--headless", "--port", port]
    process = subprocess.Popen(list(map(str, command)), cwd=folder, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in waiting("the page does not answer"):
            try:
                urllib.request.urlopen(address, timeout=60).close()
                break
            except OSError:
                assert process.poll() is None
        yield address
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_SECONDS)


def drawn_explorer(page):
    page.wait_for_function("document.body.dataset.drawn > 0")
    page.wait_for_function("document.querySelectorAll('#devices svg').length >= 3")


def shown(page, device, name):
    found = page.locator(f'section[data-device="{device}"] dd[data-name="{name}"]')
    return found.get_attribute("data-value")


def set_to(page, **values):
    for name, value in values.items():
        before = page.evaluate("document.body.dataset.drawn")
        control = page.locator(f"#controls [name={name}]")
        if control.evaluate("one => one.tagName") == "SELECT":
            control.select_option(value)
        else:
            control.fill(value)
            control.dispatch_event("change")
        done = f"document.body.dataset.drawn && document.body.dataset.drawn !== '{before}'"
        page.wait_for_function(done)


def same_as_cost(page, device, model, **point):
    cost = se.cost(model, device=device, **point)
    assert float(shown(page, device, "ttft")) == cost["ttft_seconds"]
    assert float(shown(page, device, "tpot")) == cost["tpot_seconds"]


def test_controls_of_the_explorer_change_numbers_that_cost_says_too(opened, tmp_path):
    with explorer(tmp_path, "llama-3.1-8b", "--device", "h100-sxm", "--device", "l4") as address:
        page = opened(address)
        drawn_explorer(page)
        point = {"prompt_tokens": 4000, "decode_steps": 500, "batch_size": 8}
        for device in ("h100-sxm", "l4"):
            same_as_cost(page, device, "llama-3.1-8b", **point)
        page.locator("#controls [value=l4]").uncheck()
        page.wait_for_selector('section[data-device="l4"]', state="detached")
        set_to(page, batch="64", answer="2000", precision="fp8-kv8", layout="tp2")
        fp8 = {"weight_format": "fp8", "activation_format": "fp8", "cache_format": "fp8"}
        point |= {"batch_size": 64, "decode_steps": 2000, "tensor_parallel": 2} | fp8
        same_as_cost(page, "h100-sxm", "llama-3.1-8b", **point)
        assert "batch=64" in page.url
        assert "precision=fp8-kv8" in page.url
        again = opened(page.url)  # the address holds the state
        drawn_explorer(again)
        same_as_cost(again, "h100-sxm", "llama-3.1-8b", **point)
        set_to(page, layout="tp2-pp2", heads="32/4")
        set_to(page, model="deepseek-ocr-3b")  # what was chosen stays, where the model has it
        assert "deepseek-ocr-3b has no heads / KV heads 32/4" in page.locator("#said").inner_text()
        set_to(page, layout="tp2")
        set_to(page, crops="4x5")
        seen = {"crop_rows": 4, "crop_cols": 5, "text_tokens": 10, "decode_steps": 2000}
        seen |= {"tensor_parallel": 2, "batch_size": 64} | fp8
        same_as_cost(page, "h100-sxm", "deepseek-ocr-3b", **seen)
        set_to(page, batch="0")
        assert "batch" in page.locator("#said").inner_text()
        assert page.locator("#said").get_attribute("class") == "error"
        assert len(page.logged) == 1, page.logged  # the browser notes the refusal
        set_to(page, batch="2")
        assert complaints(page) == []


def test_config_that_is_dropped_is_a_model(opened, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(
        '{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 1024, '
        '"num_attention_heads": 8, "num_key_value_heads": 2, "num_hidden_layers": 4, '
        '"intermediate_size": 4096, "vocab_size": 32000, "max_position_embeddings": 8192, '
        '"rms_norm_eps": 1e-5, "tie_word_embeddings": false, "torch_dtype": "bfloat16"}'
    )
    bad = tmp_path / "bad.json"
    bad.write_text('{"model_type": "</script><b>nobody"}')
    with explorer(tmp_path, "llama-3.1-8b") as address:
        page = opened(address)
        drawn_explorer(page)
        page.set_input_files("input[type=file]", config)
        page.wait_for_function("document.getElementById('controls').model.value.startsWith('conf')")
        drawn_explorer(page)
        page.wait_for_function("document.getElementById('said').textContent.includes('billion')")
        point = {"prompt_tokens": 4000, "decode_steps": 500, "batch_size": 8}
        same_as_cost(page, "h100-sxm", config, **point)
        page.set_input_files("input[type=file]", bad)
        page.wait_for_function("document.getElementById('said').className === 'error'")
        said = page.locator("#said").inner_text()
        assert said.startswith("config.json: ")
        assert "nobody" in said


def test_exported_page_needs_no_server(opened, tmp_path, command):
    out = tmp_path / "page.html"
    done = command("explore", "llama-3.1-8b", "--device", "h100-sxm", "--device", "l4", "--prompt",
                   1000, "--answer", 200, "--batch", 1, "--batch", 16, "--export", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = opened(out.as_uri() + "?device=l4&batch=16")
    drawn_explorer(page)
    assert page.logged == []
    page.set_viewport_size({"width": 390, "height": 800})
    for _ in waiting("charts are not redrawn"):
        if page.evaluate(OVERFLOW) == 0 and page.evaluate(SMALL) == []:
            break
        page.wait_for_timeout(100)
    point = {"prompt_tokens": 1000, "decode_steps": 200}
    same_as_cost(page, "l4", "llama-3.1-8b", batch_size=16, **point)
    page.locator("#controls [value=h100-sxm]").check()
    page.wait_for_selector('section[data-device="h100-sxm"] svg')
    set_to(page, batch="1")
    for device in ("h100-sxm", "l4"):
        same_as_cost(page, device, "llama-3.1-8b", batch_size=1, **point)
        first = page.locator(
            f'section[data-device="{device}"] dd[data-name="verdict"]'
        ).inner_text()
        assert first.startswith(("yes, ", "no: "))
    assert complaints(page) == []
