"""A report in a browser: every page fits, works by keys and by pointer alone, and lets no text break out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import support.browser as driver
from support.browser import Browser
from support.reports import HEIGHT, WIDTH, T, bare_trace, curves, estimated_gap, gap, report, traces

from sb3_ext.viz.names import Names
from sb3_ext.viz.report import ReportData, write_report

# A browser is no Python package, so a user's machine may lack one; `.ci/run` installs it where it can.
needs_browser = pytest.mark.skipif(driver.CHROMIUM is None, reason="no Chromium")


class Page:
    """A report that is open."""

    def __init__(self, browser: Browser, data: ReportData, folder: Path, width: int = 1280, height: int = 900) -> None:
        self.browser = browser
        browser.open(write_report(data, folder / "report"), width, height)
        # Charts are drawn when the page has its layout, which a busy machine may give it later.
        browser.wait_for("[...document.querySelectorAll('.chart')].every(chart => chart.querySelector('svg') !== null)")

    def text(self, selector: str) -> str:
        text: str = self.browser.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")
        return text

    def has(self, selector: str) -> bool:
        found: bool = self.browser.evaluate(f"document.querySelector({json.dumps(selector)}) !== null")
        return found

    def step(self) -> int:
        shown = int(self.text("#step"))
        assert self.browser.evaluate("document.querySelector('#scrubber').valueAsNumber") == shown
        return shown

    def pixels(self, t: int, change: str = "0") -> np.ndarray:
        """:return: [height, width, 3] of the canvas at a step, after a script"""
        self.browser.evaluate(f"delete document.querySelector('#screen').dataset.step; {change}; show({t})")
        self.browser.wait_for(f"document.querySelector('#screen').dataset.step === '{t}'")
        return self.canvas()

    def canvas(self) -> np.ndarray:
        """:return: [height, width, 3] as it is now"""
        # A copy, because Chromium warns where a canvas that is drawn on is read often.
        flat = self.browser.evaluate(
            """(screen => {
                const canvas = new OffscreenCanvas(screen.width, screen.height);
                const copy = canvas.getContext('2d', {willReadFrequently: true});
                copy.drawImage(screen, 0, 0);
                return Array.from(copy.getImageData(0, 0, screen.width, screen.height).data);
            })(document.querySelector('#screen'))"""
        )
        return np.array(flat).reshape(HEIGHT, WIDTH, 4)[..., :3]


@needs_browser
def test_the_driver_sees_errors_and_requests(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<img src="http://127.0.0.1:9/x.png"><script>console.error("ouch"); nothing.at.all</script>')
    browser.open(page, 400, 400)
    browser.wait_for("document.readyState === 'complete'")
    assert "http://127.0.0.1:9/x.png" in browser.requests
    assert any("ouch" in error for error in browser.errors)
    assert any("nothing is not defined" in error for error in browser.errors)
    with pytest.raises(RuntimeError, match="no such name"):
        browser.evaluate("(() => { throw new Error('no such name') })()")


@needs_browser
@pytest.mark.parametrize("full", [True, False], ids=["full", "trace_alone"])
@pytest.mark.parametrize("kind", traces())
def test_every_page_loads_fits_and_has_no_empty_box(browser: Browser, tmp_path: Path, kind: str, full: bool) -> None:
    trace = traces()[kind]
    page = Page(browser, report(trace, full), tmp_path)
    for width, height in ((1280, 900), (360, 740)):
        browser.resize(width, height)
        browser.wait_for(f"innerWidth === {width}")
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
    # By their heading, and the smallest of the boxes with a border: none is without content.
    empty = "[...document.querySelectorAll('section, .panel, dl, table, .chart, .track, ol')]"
    assert browser.evaluate(f"{empty}.filter(x => x.getBoundingClientRect().height < 10).map(x => x.outerHTML)") == []
    assert browser.evaluate(f"{empty}.filter(x => !x.childElementCount).map(x => x.outerHTML)") == []
    assert page.has("#screen") == (len(trace.frames) > 0)
    assert page.has("#overlay") == (kind == "recurrent_q") and page.has("#hidden") == (kind == "recurrent_q")
    has_choices = kind in ("recurrent_q", "probabilities", "gaussian", "deterministic")
    assert page.has("#choices") == has_choices and page.has("#value") == (trace.values is not None)
    for section in (
        "curves",
        "optimality",
        "returns",
        "command",
        "copy",
        "versions-title",
        "hyperparameters-title",
        "notes-title",
    ):
        assert page.has(f"#{section}") == full
    for t in range(len(trace) + 1):
        browser.evaluate(f"show({t})")
    assert browser.errors == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [(tmp_path / "report.html").as_uri()]


@needs_browser
def test_keys_move_through_the_episode(browser: Browser, tmp_path: Path) -> None:
    page = Page(browser, report(traces()["recurrent_q"]), tmp_path)
    for key, expected in [
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("Home", 0),
        ("ArrowLeft", 0),
        ("End", T),
        ("ArrowRight", T),
    ]:
        browser.press(key)
        assert page.step() == expected, key
    # From the end it begins anew, plays at 50 steps a second, and stops at the end.
    browser.press(" ")
    assert browser.evaluate("document.querySelector('#play').getAttribute('aria-label')") == "Pause"
    browser.wait_for(f"document.querySelector('#step').textContent === '{T}'")
    browser.wait_for("document.querySelector('#play').getAttribute('aria-label') === 'Play'")
    browser.evaluate("document.querySelector('#speed').value = '0.1'")
    browser.press("Home")
    browser.press(" ")
    browser.wait_for("Number(document.querySelector('#step').textContent) > 0")
    browser.press(" ")
    stopped = page.step()
    browser.evaluate("new Promise(resolve => setTimeout(resolve, 400))")
    assert 0 < page.step() == stopped < T
    # Out of the player's sight the keys are the browser's again.
    browser.press("Home")
    browser.evaluate("scrollTo(0, document.body.scrollHeight)")
    browser.press("ArrowRight")
    assert page.step() == 0 and browser.errors == []


@needs_browser
def test_keys_work_wherever_the_focus_is_in_the_player(browser: Browser, tmp_path: Path) -> None:
    page = Page(browser, report(traces()["recurrent_q"]), tmp_path)
    browser.evaluate("document.querySelector('#scrubber').focus()")
    browser.press("ArrowRight")
    assert page.step() == 1
    browser.press("End")
    assert page.step() == T
    browser.evaluate("document.querySelector('#strength').focus()")
    before = browser.evaluate("document.querySelector('#strength').value")
    browser.press("ArrowLeft")
    assert page.step() == T and browser.evaluate("document.querySelector('#strength').value") != before
    browser.evaluate("document.querySelector('[data-go=back]').focus()")
    browser.press(" ")  # presses the button
    assert page.step() == T - 1
    assert browser.evaluate("document.querySelector('#play').getAttribute('aria-label')") == "Play"


@needs_browser
def test_every_control_is_named_and_reached_by_tab(browser: Browser, tmp_path: Path) -> None:
    page = Page(browser, report(traces()["recurrent_q"]), tmp_path)
    controls = browser.controls()
    assert sorted(role for role, _ in controls) == ["button"] * 6 + ["combobox"] * 2 + ["slider"] * 2
    assert all(name.strip() for _, name in controls) and len({name for _, name in controls}) == len(controls)
    reachable = "document.querySelectorAll('button, input, select, [tabindex]')"
    n_reachable = browser.evaluate(f"{reachable}.length")
    assert n_reachable == len(controls) + 2  # the charts of lines
    seen, rings = set(), set()
    for _ in range(n_reachable):
        browser.press("Tab")
        seen.add(browser.evaluate(f"[...{reachable}].indexOf(document.activeElement)"))
        rings.add(browser.evaluate("getComputedStyle(document.activeElement).outline"))
    assert seen == set(range(n_reachable))
    assert all("solid" in ring and "3px" in ring for ring in rings)
    # Within the chart the arrow keys walk along the curve.
    browser.evaluate("document.querySelector('#curves svg').focus()")
    browser.press("Home")
    first = page.text(".tip b")
    browser.press("ArrowRight")
    assert first != page.text(".tip b") and page.step() == 0 and browser.errors == []


def shown(x: float) -> str:
    """:return: as the page writes it, by Python's own rules"""
    text = f"{x:,.0f}" if abs(x) >= 1000 else np.format_float_positional(float(f"{x:.4g}"), trim="-")
    return text.replace("-", "−")


@needs_browser
def test_the_numbers_of_a_step_are_the_traces(browser: Browser, tmp_path: Path) -> None:
    trace = traces()["recurrent_q"]
    page = Page(browser, report(trace), tmp_path)
    assert trace.values is not None and trace.q_values is not None
    for t in range(T):
        browser.evaluate(f"show({t})")
        assert page.text("#action") == trace.names.actions[trace.actions[t]]
        assert page.text("#reward") == shown(trace.rewards[t])
        assert page.text("#return") == shown(trace.rewards[: t + 1].sum())
        assert page.text("#value") == shown(trace.values[t])
        rows = browser.evaluate("[...document.querySelectorAll('#choices li')].map(row => row.innerText.split('\\n'))")
        assert [row[-1] for row in rows] == [shown(q) for q in trace.q_values[t]]
        chosen = browser.evaluate(
            "[...document.querySelectorAll('#choices [aria-current] .name')].map(x => x.innerText)"
        )
        assert chosen == [trace.names.actions[trace.actions[t]]]
        widths = browser.evaluate(
            "[...document.querySelectorAll('#choices i')].map(bar => parseFloat(bar.style.width))"
        )
        assert int(np.argmax(widths)) == int(trace.q_values[t].argmax())
    browser.evaluate(f"show({T})")
    assert page.text("#action") == "The episode is over" and page.text("#reward") == "–"
    assert page.text("#return") == shown(trace.rewards.sum())


@needs_browser
def test_bars_of_distributions(browser: Browser, tmp_path: Path) -> None:
    trace = traces()["probabilities"]
    page = Page(browser, report(trace), tmp_path)
    assert trace.probabilities is not None
    browser.evaluate("show(4)")
    widths = browser.evaluate("[...document.querySelectorAll('#choices i')].map(bar => parseFloat(bar.style.width))")
    np.testing.assert_allclose(widths, 100 * trace.probabilities[4], rtol=1e-3)
    trace = traces()["gaussian"]
    page = Page(browser, report(trace), tmp_path)
    assert trace.means is not None and trace.stds is not None
    browser.evaluate("show(5)")
    texts = browser.evaluate("[...document.querySelectorAll('#choices .number')].map(x => x.innerText)")
    pairs = zip(trace.means[5], trace.stds[5], strict=True)
    assert texts == [f"{shown(mean)} ± {shown(std)}" for mean, std in pairs]
    assert page.text("#action") == ", ".join(shown(x) for x in trace.actions[5])


@needs_browser
def test_the_gap_is_drawn_with_v_star_in_its_legend(browser: Browser, tmp_path: Path) -> None:
    page = Page(browser, replace(report(bare_trace()), gap=gap(n=3)), tmp_path)
    assert page.text("#optimality-title") == "Optimality gap"
    assert page.text("#optimality-legend") == "gap to V* = 0.542 (discount 0.99)"
    assert browser.evaluate("document.querySelectorAll('#optimality .mean').length") == 1
    assert not page.has("#optimality .band")
    browser.evaluate("document.querySelector('#optimality svg').focus()")
    browser.press("End")
    assert page.text("#optimality .tip b") == "2,000 steps"
    assert page.text("#optimality .tip div") == f"gap to V* = 0.542 (discount 0.99): {shown(np.sin(2) / 2)}"
    assert browser.errors == []


@needs_browser
def test_an_estimated_return_is_not_called_a_gap(browser: Browser, tmp_path: Path) -> None:
    page = Page(browser, replace(report(bare_trace()), gap=estimated_gap()), tmp_path)
    assert page.text("#optimality-title") == "Return, estimated"
    assert page.text("#optimality-legend") == "return over 2000 episodes"
    assert page.has("#optimality .band") and page.has("#optimality .level")
    assert browser.errors == []


@needs_browser
def test_the_canvas_shows_the_frame_and_the_overlay_changes_it(browser: Browser, tmp_path: Path) -> None:
    trace = traces()["recurrent_q"]
    page = Page(browser, report(trace), tmp_path)
    overlay, strength = "document.querySelector('#overlay')", "document.querySelector('#strength')"

    def choose(control: str, value: str, event: str) -> str:
        return f"{control}.value = '{value}'; {control}.dispatchEvent(new Event('{event}'))"

    with_value = page.pixels(3)
    np.testing.assert_array_equal(page.pixels(3, choose(overlay, "", "change")), trace.frames[3])
    np.testing.assert_array_equal(page.pixels(T), trace.frames[T])
    with_advantage = page.pixels(3, choose(overlay, "advantage", "change"))
    assert abs(with_value - trace.frames[3]).mean() > 5
    assert abs(with_value - with_advantage).mean() > 2
    np.testing.assert_array_equal(page.pixels(3, choose(strength, "0", "input")), trace.frames[3])
    np.testing.assert_array_equal(page.pixels(T, choose(strength, "90", "input")), trace.frames[T])
    assert browser.errors == []


@needs_browser
def test_a_picture_that_comes_late_is_not_shown(browser: Browser, tmp_path: Path) -> None:
    trace = replace(traces()["recurrent_q"], attributions={})
    page = Page(browser, report(trace), tmp_path)
    page.pixels(0)
    browser.evaluate(
        """(() => {
            const decode = HTMLImageElement.prototype.decode;
            let wait = 400;
            HTMLImageElement.prototype.decode = function () {
                const after = wait;
                wait = 0;
                return decode.call(this).then(() => new Promise((resolve) => setTimeout(resolve, after)));
            };
            show(5);
            show(9);
            return new Promise((resolve) => setTimeout(resolve, 800));
        })()"""
    )
    np.testing.assert_array_equal(page.canvas(), trace.frames[9])


@needs_browser
def test_buttons_and_the_timeline_by_pointer(browser: Browser, tmp_path: Path) -> None:
    page = Page(browser, report(traces()["recurrent_q"]), tmp_path, width=360, height=740)
    for name, expected in [("forward", 1), ("last", T), ("back", T - 1), ("first", 0)]:
        browser.click(f"[data-go={name}]")
        assert page.step() == expected
    browser.click("#tracks .track svg", at=0.5)
    assert page.step() == T // 2
    cursor = browser.evaluate("document.querySelector('.cursor').getBoundingClientRect().toJSON()")
    svg = browser.evaluate("document.querySelector('#tracks .track svg').getBoundingClientRect().toJSON()")
    assert cursor["left"] + 1 == pytest.approx(svg["left"] + svg["width"] / 2, abs=1)
    browser.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    browser.click("#copy")
    browser.wait_for("document.querySelector('#copy').textContent === 'Copied'")
    assert browser.evaluate("window.copied") == report(bare_trace()).command


NASTY = (
    "</script><script>window.hacked = 1</script>",
    "</script onload=x",
    "<img src=x onerror='window.hacked = 1'>",
    "\"'><svg onload=window.hacked=1> <!-- <script>",
    "$title ${data} <!-- if frames -->\n\u2028 &lt; \\u003c",
    "x" * 2_000,
)


@needs_browser
@pytest.mark.parametrize("nasty", NASTY)
def test_no_text_breaks_out_of_the_page(browser: Browser, tmp_path: Path, nasty: str) -> None:
    trace = replace(
        traces()["recurrent_q"],
        observations=np.ones((T + 1, 4)),
        names=Names((nasty, nasty, nasty, nasty), (nasty, nasty, nasty)),
        attributions={nasty: np.ones((T, 3, 3)), f"{nasty}2": np.ones((T, 4))},
    )
    named = [replace(curve, name=nasty) for curve in curves()]
    data = ReportData(
        nasty, nasty, nasty, trace, named, None, np.ones(3), {nasty: nasty}, {nasty: nasty}, nasty, (nasty,)
    )
    page = Page(browser, data, tmp_path)
    assert browser.evaluate("typeof window.hacked") == "undefined" and browser.errors == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [(tmp_path / "report.html").as_uri()]
    for selector in (
        "title",
        "h1",
        "#action",
        "#choices .name",
        "th",
        "td",
        "#command",
        "[aria-labelledby=notes-title] li",
    ):
        assert page.text(selector) == nasty, selector
    assert page.text("#overlay option:last-child") == nasty
    assert page.text("#legend span") == f"{nasty}, evaluation"
    assert not page.has("img") and browser.evaluate("document.scripts.length") == 2
    for width in (1280, 360):
        browser.resize(width, 800)
        browser.wait_for(f"innerWidth === {width}")
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        # Names take three lines at most, so all else of a step stays in sight.
        tall = "[...document.querySelectorAll('.name, #action, .track p')].map(x => x.getBoundingClientRect().height)"
        assert max(browser.evaluate(tall)) < 100


@needs_browser
def test_the_page_may_load_nothing_and_run_nothing_else(browser: Browser, tmp_path: Path) -> None:
    Page(browser, report(bare_trace()), tmp_path)
    refused = """new Promise(resolve => {
        document.addEventListener('securitypolicyviolation', event => resolve(event.effectiveDirective));
        %s
        setTimeout(() => resolve('allowed'), 3000);
    })"""
    assert browser.evaluate(refused % "fetch('http://127.0.0.1:9/').catch(() => 0);") == "connect-src"
    assert browser.evaluate(refused % "new Image().src = 'http://127.0.0.1:9/x.png';") == "img-src"
    inject = (
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.hacked = 1'}));"
    )
    assert browser.evaluate(refused % inject) == "script-src-elem"
    assert browser.evaluate("typeof window.hacked") == "undefined"


@needs_browser
def test_it_is_dark_where_the_user_likes_it_and_text_has_contrast(browser: Browser, tmp_path: Path) -> None:
    path = write_report(report(traces()["recurrent_q"]), tmp_path / "report")
    found = {}
    for dark in (False, True):
        browser.open(path, 1280, 900, dark)
        colours = {}
        for name in ("--page", "--card", "--well", "--ink", "--soft"):
            text = browser.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('{name}').trim()")
            digits = text[1:] if len(text) == 7 else "".join(2 * c for c in text[1:])
            colours[name] = luminance(bytes.fromhex(digits))
        found[dark] = colours
        for text in ("--ink", "--soft"):
            for ground in ("--page", "--card", "--well"):
                low, high = sorted((colours[text], colours[ground]))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground, dark)  # WCAG 2.2, level AA
    assert found[False]["--page"] > 0.8 and found[True]["--page"] < 0.05


def luminance(colour: bytes) -> float:
    """:return: relative, as WCAG 2.2 defines it"""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (x / 255 for x in colour)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def two_agents() -> ReportData:
    """Of two episodes each, the other agent's shorter; its second episode is of a single step."""
    first, second = traces()["recurrent_q"], traces()["probabilities"]
    short = replace(second, **{part: getattr(second, part)[:5] for part in ("actions", "rewards", "values")})
    short = replace(
        short,
        probabilities=second.probabilities[:5] if second.probabilities is not None else None,
        frames=second.frames[:6],
        attributions={"policy": second.attributions["policy"][:5]},
        seed=8,
    )
    other = replace(report(second), name="Another", algorithm="PPO", more=[short], returns=np.array([1.0, 2.0]))
    return replace(report(replace(first, seed=7)), more=[replace(first, seed=8)], versus=other)


@needs_browser
def test_two_agents_are_shown_side_by_side_at_one_step(browser: Browser, tmp_path: Path) -> None:
    data = two_agents()
    assert data.versus is not None
    page = Page(browser, data, tmp_path)
    for width, height in ((1280, 900), (360, 740)):
        browser.resize(width, height)
        browser.wait_for(f"innerWidth === {width}")
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        left, right = (
            browser.evaluate(f"document.querySelector('{x}').getBoundingClientRect().toJSON()")
            for x in ("#screen", "#screen-2")
        )
        assert left["right"] < right["left"] and left["top"] == right["top"]
    browser.evaluate("show(3)")
    first, second = data.trace, data.versus.trace
    assert first.values is not None and second.values is not None
    assert page.text("#value") == shown(first.values[3]) and page.text("#value-2") == shown(second.values[3])
    assert page.text("#reward-2") == shown(second.rewards[3]) and page.has("#hidden") and not page.has("#hidden-2")
    assert browser.evaluate("document.querySelector('#scrubber').getAttribute('aria-valuetext')") == (
        f"step 3 of {T}: Rainbow: {first.names.actions[first.actions[3]]}; Another: {second.actions[3]}"
    )
    # Scores and settings have a column for each.
    heads = browser.evaluate(
        "[...document.querySelectorAll('[aria-labelledby=scores-title] th[scope=col]')].map(x => x.innerText)"
    )
    assert heads == ["Rainbow", "Another"] and not page.has("[aria-labelledby=evaluation-title]")
    assert "Mean of Rainbow less Another: 2.375" in page.text("[aria-labelledby=scores-title] .hint")
    assert page.text("#command-title-2") == "Command of Another"
    names = [name for _, name in browser.controls()]
    assert len(set(names)) == len(names) and browser.errors == []


@needs_browser
def test_another_episode_is_chosen(browser: Browser, tmp_path: Path) -> None:
    data = two_agents()
    assert data.versus is not None
    page = Page(browser, data, tmp_path)
    options = browser.evaluate("[...document.querySelectorAll('#episode option')].map(x => x.innerText)")
    assert options == ["seed 7: Rainbow 7.5, Another 7.5", "seed 8: Rainbow 7.5, Another 7.5"]
    short = data.versus.episodes[1]
    browser.evaluate("document.querySelector('#overlay').value = 'advantage'")
    browser.evaluate("document.querySelector('#overlay').dispatchEvent(new Event('change'))")
    browser.evaluate("show(7); document.querySelector('#episode').value = '1'")
    browser.evaluate("document.querySelector('#episode').dispatchEvent(new Event('change'))")
    assert page.step() == 0 and browser.evaluate("document.querySelector('#overlay').value") == "advantage"
    # The shorter one has ended, and stays there while the other goes on.
    browser.evaluate("show(9)")
    assert page.text("#action-2") == "The episode is over" and page.text("#return-2") == shown(short.rewards.sum())
    assert page.text("#action") == data.trace.names.actions[data.trace.actions[9]]
    browser.wait_for("document.querySelector('#screen-2').dataset.step === '5'")
    browser.press("End")
    assert page.step() == T and browser.errors == []
    assert browser.evaluate("document.querySelectorAll('#tracks .track').length") == 2 + 2 + 1
    assert browser.evaluate("document.querySelectorAll('#screen, #screen-2, .now').length") == 4


@needs_browser
def test_inputs_have_their_names_and_values(browser: Browser, tmp_path: Path) -> None:
    trace = traces()["probabilities"]
    observations = np.random.RandomState(5).randn(T + 1, 4)
    weights = abs(trace.attributions["policy"])
    trace = replace(
        trace,
        observations=observations,
        names=Names(("place", "speed", "angle", "spin"), ("left", "stay", "right")),
        attributions={"policy": weights},
    )
    page = Page(browser, report(trace), tmp_path)
    browser.evaluate("show(6)")
    rows = browser.evaluate("[...document.querySelectorAll('#inputs li')].map(row => row.innerText.split('\\n'))")
    assert [row[0] for row in rows] == ["place", "speed", "angle", "spin"]
    assert [row[-1] for row in rows] == [shown(float(f"{x:.4g}")) for x in observations[6]]
    widths = browser.evaluate("[...document.querySelectorAll('#inputs i')].map(bar => parseFloat(bar.style.width))")
    expected = np.minimum(weights[6] / np.percentile(weights, 99.5), 1)
    np.testing.assert_allclose(widths, 100 * expected, atol=0.5)
    assert page.text("#inputs-legend span") == "policy"
    assert "place (top) to spin" in page.text("#tracks")
    assert page.text("#action") == trace.names.actions[trace.actions[6]]
    browser.evaluate(f"show({T})")
    assert browser.errors == []
