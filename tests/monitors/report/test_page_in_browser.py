"""The page as a person has it: opened in a browser, without complaints, plots drawn and zoomed."""

from __future__ import annotations

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
    story = JobContext("run", (("state", EVIL),), tuple(traces.marks(SECONDS)))
    path = tmp_path / "report.html"
    path.write_text(render_html(analyse_folder(tmp_path, story)))
    return path


def view(browser: Browser) -> tuple[float, float]:
    begin, end = browser.run("document.documentElement.dataset.view").split()
    return float(begin), float(end)


def canvas(browser: Browser, title: str) -> dict[str, float]:
    found: dict[str, float] = browser.run(
        f"""(() => {{
          const canvas = document.querySelector('canvas[aria-label="{title}"]');
          canvas.scrollIntoView({{block: "center"}});
          const box = canvas.getBoundingClientRect();
          return {{x: box.x, y: box.y, width: box.width, height: box.height}};
        }})()"""
    )
    browser.settle()
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
    for title in ("Loss", "GPU SM", "GPU power"):
        canvas(browser, title)
        painted = browser.run(
            f"{PAINTED}(document.querySelector('canvas[aria-label=\"{title}\"]'))"
        )
        assert painted > 0.01, f"{title} is empty"


def test_dragging_zooms_into_what_was_dragged_over(browser: Browser, page: Path) -> None:
    browser.open(page)
    whole = view(browser)
    box = canvas(browser, "GPU power")
    before = browser.run("document.querySelector('canvas[aria-label=\"GPU power\"]').toDataURL()")
    drag(browser, box, 0.25, 0.5)
    begin, end = view(browser)
    length = whole[1] - whole[0]
    assert begin == pytest.approx(whole[0] + 0.22 * length, abs=0.03 * length)
    assert end - begin == pytest.approx(0.26 * length, rel=0.1)
    after = browser.run("document.querySelector('canvas[aria-label=\"GPU power\"]').toDataURL()")
    assert after != before, "the plot is drawn anew"
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
    box = canvas(browser, "GPU memory")
    browser.mouse("mouseMoved", box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    browser.settle()
    told = browser.run("document.getElementById('tip').innerText")
    assert "step" in told
    assert "GPU 1" in told
    assert "64.6" in told or "64.4" in told or "64.3" in told, told
    assert "GiB" in told


def test_a_page_of_512_gpus_opens_at_once(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "large.html"
    path.write_text(page_over(day(64, 8), tmp_path / "metrics"))
    browser.complaints.clear()
    browser.open(path)
    assert browser.run("performance.now()") < 5000
    assert canvas(browser, "All GPUs: SM, darker is busier")["height"] >= 512
    drawn = browser.run("document.querySelectorAll('details.node[open]').length")
    assert drawn == 0, "64 nodes are folded up; the overview shows them"
    assert browser.complaints == []
