"""The page as a person has it: opened in a browser, without complaints, plots drawn and zoomed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monitors.analysis.analysis import JobContext, analyse_folder
from monitors.report.build import render_html
from tests.monitors import traces
from tests.monitors.browser import Browser
from tests.monitors.report.test_page import EVIL, day, page_over

SECONDS = 900

PAINTED = """
(canvas => {
  const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let painted = 0;
  for (let at = 3; at < all.length; at += 4) painted += all[at] > 0;
  return painted / (all.length / 4);
})
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    def slow(node: str, index: int, t: int) -> dict[str, object]:
        return {"sm_clock_mhz": 900} if (node, index) == ("n2", 1) and t > 50 else {}

    traces.record(tmp_path, nodes=2, gpus=2, seconds=SECONDS, gpu=slow)
    context = JobContext("run", (), (("state", EVIL),), tuple(traces.events(SECONDS)))
    path = tmp_path / "report.html"
    path.write_text(render_html(analyse_folder(tmp_path, context)))
    return path


def view(browser: Browser) -> tuple[float, float]:
    begin, end = browser.run("document.documentElement.dataset.view").split()
    return float(begin), float(end)


def canvas(browser: Browser, plot: str) -> dict[str, float]:
    """Bring a plot into view, and wait until it is drawn; where the plotting area lies."""
    browser.run(f"document.getElementById('plot-{plot}').scrollIntoView({{block: 'center'}})")
    browser.until(f"document.querySelector('#plot-{plot} canvas') !== null")
    browser.settle()
    found: dict[str, float] = browser.run(
        f"""(() => {{
          const box = document.querySelector('#plot-{plot} .u-over').getBoundingClientRect();
          return {{x: box.x, y: box.y, width: box.width, height: box.height}};
        }})()"""
    )
    return found


def pixels(browser: Browser, plot: str) -> str:
    found: str = browser.run(f"document.querySelector('#plot-{plot} canvas').toDataURL()")
    return found


def drag(browser: Browser, box: dict[str, float], begin: float, end: float) -> None:
    y = box["y"] + box["height"] / 2
    a, b = (box["x"] + box["width"] * share for share in (begin, end))
    browser.mouse("mouseMoved", a, y)
    browser.mouse("mousePressed", a, y, pressed=True)
    for share in (0.5, 1.0):
        browser.mouse("mouseMoved", a + (b - a) * share, y, pressed=True)
    browser.mouse("mouseReleased", b, y)
    browser.settle()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_it_opens_without_a_complaint(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(page, width=width, dark=dark)
    text = browser.run("document.body.innerText")
    for wanted in ("n2 GPU 1 held the job back", "GPU memory, GiB", "checkpoints", EVIL):
        assert wanted in text
    assert browser.complaints == []
    assert browser.requests == [page.as_uri()]
    overflow = browser.run("document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0, "no sideways scrolling"
    for plot in ("loss", "sm_pct-1", "power_w-1", "net_rx_mb_s-1"):
        canvas(browser, plot)
        painted = browser.run(f"{PAINTED}(document.querySelector('#plot-{plot} canvas'))")
        assert painted > 0.01, f"{plot} is empty"


def test_every_canvas_has_a_text_alternative_with_its_figures(browser: Browser, page: Path) -> None:
    browser.open(page, height=12_000)
    folded = "document.querySelectorAll('details:not([open])')"
    assert browser.run(f"[...{folded}].map(node => node.innerText)") == ["n1"], "none names it"
    browser.run(f"{folded}.forEach(node => node.open = true)")
    browser.until(
        "document.querySelectorAll('canvas').length === document.querySelectorAll('figure').length"
    )
    labels = browser.run("[...document.querySelectorAll('canvas')].map(c => c.ariaLabel)")
    assert len(labels) > 15
    assert [label for label in labels if not re.search(r"\d", label or "")] == []
    (power,) = [label for label in labels if label.startswith("GPU power of n2")]
    assert re.fullmatch(r"GPU power of n2: GPU 0 3\d\d \([\d.]+ to \d+\) W; GPU 1 .* W", power)
    assert browser.run("document.querySelectorAll('canvas:not([role=img])').length") == 0


def test_dragging_zooms_into_what_was_dragged_over(browser: Browser, page: Path) -> None:
    browser.open(page)
    whole = view(browser)
    box = canvas(browser, "power_w-1")
    before = pixels(browser, "power_w-1")
    drag(browser, box, 0.25, 0.5)
    begin, end = view(browser)
    length = whole[1] - whole[0]
    assert begin == pytest.approx(whole[0] + 0.25 * length, abs=0.05 * length)
    assert end - begin == pytest.approx(0.25 * length, rel=0.1)
    assert pixels(browser, "power_w-1") != before, "the plot is drawn anew"
    browser.run("document.getElementById('whole').click()")
    browser.settle()
    assert view(browser) == whole
    assert browser.complaints == []


def test_keys_and_buttons_zoom_and_move(browser: Browser, page: Path) -> None:
    browser.open(page)
    whole = view(browser)
    browser.run("document.getElementById('in').click(); document.getElementById('charts').focus()")
    begin, end = view(browser)
    assert end - begin == pytest.approx((whole[1] - whole[0]) / 2, abs=0.01)
    browser.key("ArrowLeft")
    assert view(browser)[0] < begin
    browser.key("0")
    assert view(browser) == whole
    for _ in range(30):
        browser.run("document.getElementById('in').click()")
    browser.settle()
    begin, end = view(browser)
    assert 0 < end - begin <= 10, "never into nothing"


def test_pointing_tells_the_values(browser: Browser, page: Path) -> None:
    browser.open(page)
    box = canvas(browser, "memory_used_mib-1")
    browser.mouse("mouseMoved", box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    browser.settle()
    shown = browser.run("document.getElementById('tip').innerText")
    assert "step" in shown
    assert "GPU 1" in shown
    assert "64.6" in shown or "64.4" in shown or "64.3" in shown, shown
    assert "GiB" in shown


def test_a_page_of_512_gpus_opens_at_once(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "large.html"
    path.write_text(page_over(day(64, 8), tmp_path / "metrics"))
    browser.complaints.clear()
    browser.open(path)
    assert browser.run("performance.now()") < 20_000, "0.7 s where little else runs"
    assert canvas(browser, "sm_pct")["height"] >= 512, "a row for each GPU"
    drawn = browser.run("document.querySelectorAll('details.node[open]').length")
    assert drawn == 0, "64 nodes are folded up; the heat maps show them"
    assert browser.complaints == []


def test_a_finding_s_link_shows_and_highlights_its_plot(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.querySelector('#finding-1 a').click()")
    browser.until("document.querySelector('figure.highlight canvas') !== null")
    browser.settle()
    figure, top, bottom = browser.run(
        """(() => {
          const figure = document.querySelector("figure.highlight");
          const box = figure.getBoundingClientRect();
          return [figure.id, box.top, box.bottom];
        })()"""
    )
    assert (figure, browser.run("location.hash")) == ("plot-sm_clock_mhz-1", "#plot-sm_clock_mhz-1")
    assert 0 <= top < bottom <= 900, "it is in view"
    keys = browser.run(
        "[...document.querySelectorAll('figure.highlight figcaption i')]"
        ".map(key => key.style.background)"
    )
    assert keys == ["var(--muted)", "var(--flag)"], "GPU 1 stands out"


def test_gpus_are_lines_or_a_heat_map_by_choice(browser: Browser, page: Path) -> None:
    browser.open(page)
    pressed = "document.querySelector('[data-mode][aria-pressed=true]').dataset.mode"
    assert browser.run(pressed) == "lines"
    browser.run("document.querySelector('[data-mode=heat]').click()")
    assert browser.run(pressed) == "heat"
    for plot in ("sm_pct", "power_w", "sm_clock_mhz", "temperature_c"):
        canvas(browser, plot)
    label = browser.run("document.querySelector('#plot-sm_clock_mhz canvas').ariaLabel")
    assert re.match(r"SM clock of all GPUs: mean 8\d\d to 1,3\d\d MHz, median 1,3\d\d", label), (
        label
    )
    assert browser.run("document.getElementById('plot-power_w-1')") is None
    box = canvas(browser, "sm_clock_mhz")
    browser.mouse("mouseMoved", box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.9)
    browser.settle()
    assert "n2 GPU 1" in browser.run("document.getElementById('tip').innerText")
    drag(browser, box, 0.2, 0.4)
    begin, end = view(browser)
    assert end - begin < 0.3 * SECONDS
    assert browser.complaints == []


def test_a_click_on_a_column_sorts_the_gpus(browser: Browser, page: Path) -> None:
    browser.open(page)
    column = (
        "[...document.querySelectorAll('#gpus tbody tr')]"
        ".map(row => +row.cells[7].textContent.replace(',', ''))"
    )
    head = "document.querySelectorAll('#gpus th')[7]"
    browser.run(f"{head}.querySelector('button').click()")
    clocks = browser.run(column)
    assert len(clocks) == 4
    assert clocks == sorted(clocks)
    assert clocks[0] < clocks[1]
    assert browser.run(f"{head}.getAttribute('aria-sort')") == "ascending"
    browser.run(f"{head}.querySelector('button').click()")
    assert browser.run(column) == sorted(clocks, reverse=True)
