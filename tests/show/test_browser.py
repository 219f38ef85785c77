"""Pages in a real browser, without a network."""

import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
    "--virtual-time-budget=60000", "--dump-dom",
)  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
]


def opened(page, profile):
    """Drawn page, and what it logged: a blocked request or an error of a script would be there."""
    done = subprocess.run(
        [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=180,
    )
    logged = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, logged


@pytest.fixture(params=["published", "released"])
def report(request, published_report, released_report):
    return published_report[0] if request.param == "published" else released_report


def test_every_chart_of_a_report_is_drawn_offline_without_a_complaint(report, tmp_path):
    page = (report / "index.html").read_text()
    assert "default-src 'none'" in page
    dom, logged = opened(report / "index.html", tmp_path / "profile")
    assert logged == []
    figures = re.split(r'<figure id="chart-', dom)[1:]
    assert len(figures) == page.count("<figure id=")
    for figure in figures:
        name = figure.split('"')[0]
        assert "<svg" in figure, name
        marks = re.findall(r'aria-roledescription="(circle|point|bar|rect mark|text mark)"', figure)
        assert len(marks) >= 5, name
        if name.startswith(("vision", "decode", "required", "kv_cache")):
            for label in (">1x2<", ">1x29<", ">4x7<", ">image tokens<"):
                assert label in figure, (name, label)
            assert marks.count("circle") >= 53, name


def test_single_chart_opens_offline(published_report, tmp_path):
    chart = published_report[0] / "charts" / "vision_flops.html"
    dom, logged = opened(chart, tmp_path / "profile")
    assert logged == []
    assert dom.count('aria-roledescription="circle"') == 53


def test_console_errors_and_requests_are_seen(published_report, tmp_path):
    page = (published_report[0] / "charts" / "vision_flops.html").read_text()
    chart = tmp_path / "chart.html"
    fetching = "<script>fetch('http://127.0.0.1:9/'); console.error('seen')</script></body>"
    chart.write_text(page.replace("</body>", fetching))
    _, logged = opened(chart, tmp_path / "profile")
    assert any("seen" in line for line in logged)
    assert any("Content Security Policy" in line for line in logged)
