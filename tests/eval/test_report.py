"""results.md and report.html: what they show, that nothing in them can do harm, and that they can be read."""

from __future__ import annotations

import re
import shutil
import struct
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ems.eval.intervals import differences, intervals
from ems.eval.report import to_html, to_markdown
from ems.eval.report.charts import HEAT_LEVELS, Mark, Place, axis, dot_chart, heat_map, histogram, stacked_bar
from ems.eval.report.markup import Markup, element, escape
from ems.eval.report.script import SCRIPT
from ems.eval.report.wording import language_name, script_family, script_of, signed_percent
from tests.eval.browser import NAMES, Browser
from tests.eval.results import ARABIC, HOSTILE, bare_record, flores_record, results_of

CHANCES = {"de": 0.9, "ja": 0.5, "ar": 0.6, "xxx": 0.3}
VOID = {"meta", "link", "br"}


class Reader(HTMLParser):
    """Reads a page strictly: its text, and its elements with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join("|".join(self.texts).split())


def full_results():
    """Two encoders, and a record of each kind that a page can show."""
    encoders = []
    for seed in (1, 2):
        matrix = {"en": {"en": 0.9, "de": 0.8}, "de": {"en": 0.7, "de": 0.6 + seed / 10}}
        by_type = {"de": {"Misaligned": 3, "number_replacement": 10}, "ja": {"Misaligned": 2}}
        encoders.append(
            [
                flores_record({name: chance / seed for name, chance in CHANCES.items()}, seed=seed),
                flores_record(CHANCES, task="flores-xsimpp", higher_is_better=False, by_type=by_type, margin="ratio"),
                flores_record(CHANCES, task="mldoc", matrix=matrix, selected={"C": 0.1}),
                bare_record(skipped=[{"language": "yo", "reason": "no file"}]),
            ]
        )
    return results_of(*encoders)


def test_markdown_has_the_interval_beside_each_mean():
    record = flores_record(CHANCES)
    low, high = intervals(record).means["chosen"]["mean"]
    mean = record["means"]["chosen"]["mean"]
    assert f" {100 * mean:.1f} ({100 * low:.1f}–{100 * high:.1f}) |\n" in to_markdown(results_of([record]))
    assert low < mean < high


def test_markdown_says_which_columns_have_no_interval():
    record = flores_record(CHANCES)
    record["columns"].append("mteb_f1")
    for row in (*record["scores"].values(), *record["means"].values()):
        row["mteb_f1"] = 0.25
    report = to_markdown(results_of([record]))
    assert "| 25.0 |\n" in report
    assert "No interval for mteb_f1:" in report


def test_a_mean_of_unknown_languages_has_no_interval_and_a_note_that_says_so():
    record = flores_record(CHANCES)
    record["means"]["some"] = record["means"]["chosen"] | {"languages": 2}
    sentence = "No interval for some: the record does not say which languages these are."
    assert sentence in to_markdown(results_of([record]))
    assert sentence in Reader(to_html(results_of([record]))).text


def test_a_page_shows_every_score_with_its_interval_and_is_the_same_every_time():
    results = full_results()
    page = to_html(results)
    assert page == to_html(results)
    text = Reader(page).text
    for encoder in results["encoders"]:
        assert encoder["fingerprint"] in text
        for record in encoder["records"]:
            assert record["protocol"] in text
            assert record["data_digest"] in text
            for row in (*record["scores"].values(), *record["means"].values()):
                for column in record["columns"]:
                    assert f"{100 * row[column]:.1f}" in text
    first = results["encoders"][0]["records"][0]
    low, high = intervals(first).means["chosen"]["mean"]
    assert f"{100 * low:.1f}–{100 * high:.1f}" in text
    assert "German" in text
    assert "Yoruba" in text
    assert "no file" in text


def test_each_encoder_is_compared_with_the_first_on_the_same_rows():
    results = full_results()
    first, second = (encoder["records"][0] for encoder in results["encoders"])
    found = differences(first, second).scores["de"]["mean"]
    assert found.high < 0
    reader = Reader(to_html(results))
    expected = f"{signed_percent(found.value)}|{signed_percent(found.low)} to {signed_percent(found.high)}"
    assert expected in reader.text
    assert "worse in 4" in reader.text
    alone = Reader(to_html({**results, "encoders": results["encoders"][:1]}))
    assert "worse in" not in alone.text


def test_records_of_other_data_are_not_laid_side_by_side():
    results = results_of([flores_record(CHANCES)], [flores_record(CHANCES, data_digest="f" * 16)])
    reader = Reader(to_html(results))
    assert sum(tag == "section" for tag, _ in reader.elements) == 1 + 2
    assert "worse in" not in reader.text


def test_texts_from_outside_cannot_leave_their_place():
    record = flores_record(CHANCES, protocol=HOSTILE, data_digest=HOSTILE, note=HOSTILE, language_set=HOSTILE)
    record["task"] = record["split"] = HOSTILE
    record["columns"] = [HOSTILE]
    for rows in (record["scores"], record["means"], record["outcomes"]):
        for row in rows.values():
            row[HOSTILE] = row["mean"]
    for kind in ("scores", "outcomes"):
        record[kind][HOSTILE] = record[kind].pop("xxx")
    record["matrix"] = {HOSTILE: {HOSTILE: 0.5}}
    record["by_type"] = {HOSTILE: {HOSTILE: 3}}
    record["skipped"] = [{"language": HOSTILE, "reason": HOSTILE}]
    record["confusions"][0] |= {"language": HOSTILE, "query": HOSTILE, "expected": HOSTILE, "found": HOSTILE}
    results = results_of([record], [record])
    for encoder in results["encoders"]:
        encoder["name"] = encoder["fingerprint"] = HOSTILE
    page = to_html(results)
    page.encode("utf-8")
    assert "\x00" not in page
    reader = Reader(page)
    tags = [tag for tag, _ in reader.elements]
    assert tags.count("script") == 1
    for _, attributes in reader.elements:
        assert not any(name.startswith("on") for name in attributes)
    assert "</script><b onload=alert(1)>&amp;'\"" in reader.text
    to_markdown(results).encode("utf-8", "surrogatepass")


def test_texts_have_the_direction_of_their_own_letters_and_name_their_language():
    record = flores_record({"ar": 0.5})
    record["confusions"][0]["query"] = ARABIC
    reader = Reader(to_html(results_of([record])))
    assert ("dd", {"dir": "auto", "lang": "ar"}) in reader.elements
    assert ARABIC in reader.text


def test_a_page_fetches_nothing_and_runs_only_its_own_script():
    page = to_html(full_results())
    reader = Reader(page)
    policy = next(a["content"] for tag, a in reader.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]{44}'$", policy)
    for tag, attributes in reader.elements:
        assert tag not in {"img", "iframe", "object", "embed", "base", "form"}
        assert "src" not in attributes
        assert not attributes.get("href", "#").strip("#").startswith(("http", "/", "."))
    assert "url(" not in page
    assert "@import" not in page
    assert "innerHTML" not in SCRIPT


def test_a_page_is_bounded_however_much_there_is_to_show():
    languages = {f"l{i:03}": 0.5 for i in range(200)}
    record = flores_record(languages, rows=20)
    for confusion in record["confusions"]:
        confusion |= {"query": "ä" * 100_000, "expected": "b" * 100_000, "found": "c" * 100_000}
    record["thresholds"] = ["x"] * 100_000
    random = np.random.default_rng(1)
    record["matrix"] = {a: dict(zip(languages, random.random(200).tolist(), strict=True)) for a in languages}
    page = to_html(results_of([record]))
    assert len(page.encode("utf-8")) < 2_000_000
    assert "(of 400 in results.json)" in page


def test_a_record_with_nothing_but_scores_is_shown():
    text = Reader(to_html(results_of([bare_record()]))).text
    assert "12.3" in text
    assert "No interval for x|y" in text
    text = Reader(to_html(results_of([bare_record(scores={})]))).text
    assert "p. Percent; lower is better." in text
    assert Reader(to_html(results_of([]))).text


@given(st.text(st.characters()))
def test_escaped_text_is_read_back(text):
    page = element("p", element("b", text, title=text))
    page.encode("utf-8")
    reader = Reader(f"{page}")
    visible = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)
    assert reader.elements[1] == ("b", {"title": visible})
    assert "".join(reader.texts) == visible


def test_only_what_was_built_here_is_not_escaped():
    assert escape("<") == "&lt;"
    assert escape(Markup("<b>")) == "<b>"
    built = element("td", None, 1, "<", class_="a b", data_x=0.125, hidden=False, open=True)
    assert built == '<td class="a b" data-x="0.12" open>1&lt;</td>'


@given(st.floats(0, 1), st.floats(0, 1))
def test_an_axis_holds_its_values_in_few_round_steps(a, b):
    low, high = sorted((a, b))
    start, stop, step = axis(low, high)
    assert 0 <= start <= low + 1e-9
    assert high - 1e-9 <= stop <= 1 + 1e-9 or stop - start == pytest.approx(step)
    assert start < stop
    assert (stop - start) / step <= 8 + 1e-9


def test_marks_are_drawn_where_their_values_lie():
    places = [Place(str(value), "latin", [Mark(value, value, value, "")]) for value in (0.2, 0.4, 0.8)]
    heights = [float(y) for y in re.findall(r'<circle [^>]*cy="([0-9.]+)"', dot_chart(places, "label"))]
    assert heights[0] - heights[1] == pytest.approx((heights[1] - heights[2]) / 2, abs=0.05)


def test_a_heat_map_has_a_cell_for_each_score_and_shades_in_their_order():
    rows = [f"r{i}" for i in range(20)]
    values = {row: dict.fromkeys(rows, i / 19) for i, row in enumerate(rows)}
    del values["r3"]["r4"]
    drawn = heat_map(rows, rows, values, 0, 1, "label")
    shades = {int(level): path for path, level in re.findall(r'd="([^"]+)" class="h(\d+)"', drawn)}
    cells = {level: sum(map(int, re.findall(r"h(\d+)v", path))) / 12 for level, path in shades.items()}
    assert sum(cells.values()) == 20 * 20 - 1  # equal neighbours are one stripe, as wide as its cells
    assert min(cells) == 0
    assert max(cells) == HEAT_LEVELS


def test_distributions_of_unequal_counts_fill_equal_areas():
    drawn = histogram((-1, 1), {"others": [0, 10, 0, 0], "translations": [0, 0, 300, 0]}, "label")
    tops = [min(float(y) for y in re.findall(r"V([0-9.]+)", path)) for path in re.findall(r' d="([^"]+)"', drawn)]
    assert tops[0] == tops[1]


def test_a_stacked_bar_is_as_long_as_its_parts():
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([0-9.]+)"', stacked_bar({"a": 1, "b": 3}, "l"))]
    assert widths[1] == pytest.approx(3 * widths[0])


@pytest.mark.parametrize(
    ("code", "name", "script", "family"),
    [
        ("de", "German", "Latn", "latin"),
        ("deu_Latn", "German", "Latn", "latin"),
        ("ckb_Arab", "ckb_Arab", "Arab", "semitic"),
        ("ja/books", "Japanese books", "Jpan", "east"),
        ("zz", "zz", "", "other"),
    ],
)
def test_rows_are_named_and_coloured_as_far_as_they_are_known(code, name, script, family):
    assert (language_name(code), script_of(code), script_family(code)) == (name, script, family)


def test_differences_that_round_to_nothing_have_no_sign():
    assert [signed_percent(value) for value in (0.0004, -0.0004, -0.012, 0.5)] == ["0.0", "0.0", "−1.2", "+50.0"]


def pixels(png):
    """The rows of an 8-bit PNG, bytes; filters are undone only as far as needed to count colours."""
    place, data, header = 8, b"", None
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", png[place + 8 : place + 8 + length])
        if kind == b"IDAT":
            data += png[place + 8 : place + 8 + length]
        place += 12 + length
    width, height, _, colour = header[:4]
    stride = 1 + width * {2: 3, 6: 4}[colour]
    return np.frombuffer(zlib.decompress(data), dtype=np.uint8).reshape(height, stride)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, NAMES)), reason=f"no browser: none of {', '.join(NAMES)} is on the PATH")
class TestInABrowser:
    """The page as a person sees it."""

    @pytest.fixture
    def shown(self, browser, tmp_path):
        def show(results, **how):
            (tmp_path / "report.html").write_text(to_html(results), "utf-8")
            browser.events.clear()
            browser.open(tmp_path / "report.html", **how)
            return browser

        return show

    @pytest.mark.parametrize("dark", [False, True])
    def test_it_is_drawn_without_complaint_and_fetches_nothing(self, shown, dark):
        results = full_results()
        page = shown(results, dark=dark)
        rows = pixels(page.screenshot())
        assert (rows[:, 1:].std(axis=1) > 0).mean() > 0.2
        text = page.evaluate("document.body.innerText")
        mean = results["encoders"][0]["records"][0]["means"]["chosen"]["mean"]
        assert f"{100 * mean:.1f}" in text
        requests = [event["request"]["url"] for name, event in page.events if name == "Network.requestWillBeSent"]
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        complaints = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        assert [event for name, event in page.events if name in complaints] == []

    @pytest.mark.parametrize("width", [1280, 400])
    def test_it_fits_the_window(self, shown, width):
        page = shown(full_results(), width=width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    def test_tables_sort_by_a_click_on_a_column(self, shown):
        page = shown(full_results())
        names = "[...document.querySelectorAll('#task-1 .languages tbody th')].map((cell) => cell.textContent)"
        before = page.evaluate(names)
        page.evaluate("document.querySelector('#task-1 .languages thead tr:last-child button').click()")
        after = page.evaluate(names)
        assert before != after == sorted(before)

    def test_a_hostile_sentence_is_shown_and_not_run(self, shown):
        record = flores_record(CHANCES)
        record["confusions"][0]["query"] = "</script><img src=x onerror='document.title=1'><b>"
        page = shown(results_of([record]))
        assert "onerror" in page.evaluate("document.querySelector('.cards').innerText")
        assert page.evaluate("document.title") == "ems evaluation"
        assert page.evaluate("document.images.length") == 0
