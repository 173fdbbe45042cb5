"""Studies: made, answered in a real browser, and scored."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import munit_zoo as mz
from munit_zoo.cli import main
from munit_zoo.comparison.answers import agreement, score_study
from munit_zoo.comparison.study import StudyChoice, make_study, scrambled
from munit_zoo.data.images import read_image
from munit_zoo.errors import UsageError


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny) -> list[Path]:
    """Two runs, one without styles."""
    folder = tmp_path_factory.mktemp("study")
    small = [word for word in tiny if not word.startswith("MODEL")]
    bare = "MODEL.GENERATOR={NAME: resnet, DIM: 2, BLOCKS: 1, DOWNSAMPLES: 1}"
    words = ["MODEL.DISCRIMINATOR={NAME: patch, DIM: 2, LAYERS: 1}", bare]
    mz.train(
        "cyclegan/shapes", *small, *words, "ENGINE.ITERATIONS=1", run=folder / "one", device="cpu"
    )
    mz.train("munit/shapes", *tiny, "ENGINE.ITERATIONS=1", run=folder / "two", device="cpu")
    return [folder / "one", folder / "two"]


@pytest.fixture(scope="module")
def study(runs, tmp_path_factory) -> Path:
    """A study of 6 questions and 2 controls."""
    out = tmp_path_factory.mktemp("made") / "study"
    words = ["--questions", "6", "--controls", "2", "--out", str(out), "--device", "cpu"]
    assert main(["study", "make", *map(str, runs), *words]) == 0
    return out


def key_of(study: Path) -> dict[str, Any]:
    return json.loads((study / "key.json").read_text())


def test_the_site_tells_nothing(study):
    key = key_of(study)
    assert len(key["questions"]) == 8
    assert sum(q["control"] for q in key["questions"]) == 2
    assert {q["way"] for q in key["questions"]} == {"a2b", "b2a"}
    page = (study / "site/index.html").read_text()
    for word in ("one", "two", "wrong", "control"):
        assert f'"{word}"' not in page
    files = {file.stem for file in (study / "site/images").iterdir()}
    tokens = {token for q in key["questions"] for token in q["options"]}
    assert tokens < files
    assert len(files) == 3 * 8
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in files)
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1]
    asked = json.loads(data)
    assert set(asked["questions"][0]) == {"id", "input", "options"}


def test_both_runs_translate_the_image_shown(runs, study):
    model = mz.load_model(runs[0])
    for question in key_of(study)["questions"]:
        if question["control"]:
            continue
        page = (study / "site/index.html").read_text()
        shown = re.search(rf'"id": "{question["id"]}", "input": "(\w+)"', page)[1]
        x = mz.read_image(study / f"site/images/{shown}.png")
        (token,) = (t for t, run in question["options"].items() if run == "one")
        made = model.translate(x, question["way"][-1], source=question["way"][0])[0, 0]
        image = read_image(study / f"site/images/{token}.png")
        assert np.abs(image / 127.5 - 1 - made.numpy()).max() < 0.03


def test_a_control_is_plainly_wrong():
    x = torch.linspace(-1, 1, 3 * 17 * 16).view(3, 17, 16)
    wrong = scrambled(x, torch.Generator().manual_seed(0))
    assert wrong.shape == x.shape
    assert (wrong - x).abs().mean() > 0.3


def answers(made: Path, file: Path, choose, who: str = "somebody", **changes) -> Path:
    """A file of answers; choose: from a question of the key to the chosen run."""
    key = key_of(made)
    given = []
    for question in key["questions"]:
        run = choose(question)
        if run is not None:
            (token,) = (t for t, name in question["options"].items() if name == run)
            given.append({"question": question["id"], "chosen": token, "side": "left"})
    document = {"study": key["study"], "format": 1, "annotator": who, "name": who, "answers": given}
    file.write_text(json.dumps({**document, **changes}))
    return file


def real(question) -> str:
    """The right answer to a control."""
    return next(name for name in question["options"].values() if name != "wrong")


def test_scores(study, tmp_path, capsys):
    def careful(question):
        return real(question) if question["control"] else "two"

    def careless(question):
        return "wrong" if question["control"] else "one"

    files = [
        answers(study, tmp_path / "a.json", careful, "anna"),
        answers(study, tmp_path / "b.json", careful, "ben"),
        answers(study, tmp_path / "c.json", careless, "carl"),
    ]
    score = mz.score_study(*files, key=study)
    (preference,) = score.preferences
    assert (preference.run, preference.against) == ("two", "one")
    assert (preference.votes, preference.total, preference.share) == (12, 12, 1.0)
    assert 0.7 < preference.low < 0.8
    assert [a.kept for a in score.annotators] == [True, True, False]
    assert (score.percent, score.repeated) == (1.0, 6)
    everybody = score_study(files, study / "key.json", threshold=0)
    assert everybody.preferences[0].total == 18
    out = tmp_path / "scores.json"
    command = ["study", "score", *map(str, files), "--key", str(study), "--out", str(out)]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "| two | one | 100.0 % | 75.8 to 100.0 % | 12 of 12 |" in text
    assert "Left out, below 80 % of the control questions: carl, 0 of 2 right." in text
    assert json.loads(out.read_text())["preferences"][0]["votes"] == 12


def test_of_one_persons_files_the_longer_counts(study, tmp_path):
    whole = answers(study, tmp_path / "a.json", lambda q: real(q) if q["control"] else "two")
    part = answers(study, tmp_path / "b.json", lambda q: None if q["control"] else "one")
    for files in ([whole, part], [part, whole]):
        score = score_study(files, study)
        assert [a.answers for a in score.annotators] == [8]
        assert score.preferences[0].votes == 6


def test_what_is_no_answer(study, tmp_path):
    def said(file: Path, what: str) -> None:
        with pytest.raises(UsageError, match=what):
            score_study([file], study)

    other = answers(study, tmp_path / "o.json", real, study="ffff")
    said(other, "answers the study ffff, and the key is that of")
    (tmp_path / "x.json").write_text("{}")
    said(tmp_path / "x.json", "is not answers to a study: it has no study, annotator, answers")
    said(tmp_path / "none.json", "cannot be read")
    said(answers(study, tmp_path / "f.json", real, format=9), "format 9; this reads 1")
    bad = [{"question": "q0000", "chosen": "nothing", "side": "left"}]
    said(answers(study, tmp_path / "b.json", real, answers=bad), "names what the study has not")
    with pytest.raises(UsageError, match="share from 0 to 1"):
        score_study([other], study, threshold=80)


def test_what_is_no_study(runs, study, tmp_path, tiny):
    with pytest.raises(UsageError, match="two or more runs"):
        make_study(runs[:1], tmp_path / "s")
    with pytest.raises(UsageError, match="is there already"):
        mz.make_study(*runs, out=study)
    with pytest.raises(UsageError, match="do not share 'a2c'; they do a2b, b2a"):
        make_study(runs, tmp_path / "s", StudyChoice(ways=("a2c",)))
    with pytest.raises(UsageError, match="--questions is 1 or more"):
        StudyChoice(questions=0)
    other = tmp_path / "other"
    shutil.copytree(runs[1], other)
    text = re.sub(r"TEST_COUNT: 5", "TEST_COUNT: 6", (other / "config.yaml").read_text())
    (other / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match="other test images of A than"):
        make_study([runs[0], other], tmp_path / "s")


def test_krippendorffs_alpha():
    # Krippendorff (2011), two observers, ten units, two categories: .095
    one, other = "0100000010", "1110010000"
    percent, alpha, several = agreement([list(pair) for pair in zip(one, other, strict=True)])
    assert (percent, several) == (0.6, 10)
    assert alpha == pytest.approx(0.095, abs=5e-4)
    # the same page, five categories, four observers, some of whom did not answer: .743
    observers = (
        (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
        (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
        (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
        (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
    )
    units = [[str(v) for v in unit if v is not None] for unit in zip(*observers, strict=True)]
    assert agreement(units)[1] == pytest.approx(0.743, abs=5e-4)
    assert np.isnan(agreement([["a"], ["b"]])[1])


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium: playwright's own, or the system's."""
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync.sync_playwright() as playwright:
        system = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
        own = playwright.chromium.executable_path
        path = own if os.path.exists(own) else system
        if path is None:
            pytest.skip("no Chromium is installed (playwright install chromium)")
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


def choose(page: Any, study: Path, wanted: str, press) -> None:
    """Answer the question that is shown: controls rightly, else with a run."""
    tokens = {
        side: page.locator(f"#{side}").get_attribute("data-token") for side in ("left", "right")
    }
    names = {t: n for q in key_of(study)["questions"] for t, n in q["options"].items()}
    found = {names[token]: side for side, token in tokens.items()}
    press(found[wanted] if wanted in found and "wrong" not in found else found[real_of(found)])


def real_of(found: dict[str, str]) -> str:
    return next(name for name in found if name != "wrong")


def test_a_study_in_a_browser(browser, study, tmp_path):
    """By clicks, keys and touch; stopped and gone on with; saved, and scored."""
    context = browser.new_context(accept_downloads=True, has_touch=True)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    # what is being fetched ahead when the page is loaded again is given up, and no error
    page.on("requestfailed", lambda r: "ABORTED" in r.failure or wrong.append(r.url))
    page.goto((study / "site/index.html").as_uri())
    assert page.locator("#unkept").is_hidden()
    assert "two translations of it, 8 times" in page.locator("#start").inner_text().replace(
        "\n", " "
    )
    page.fill("#name", "Robin")
    page.click("#begin")
    where = page.locator("#where")
    ways = [
        lambda side: page.click(f"#{side}"),
        lambda side: page.tap(f"#{side}"),
        lambda side: page.keyboard.press("ArrowLeft" if side == "left" else "ArrowRight"),
    ]
    for number in range(3):
        assert where.inner_text() == f"{number + 1} of 8"
        assert page.locator("#input").evaluate("i => i.decode().then(() => i.naturalWidth)") == 16
        choose(page, study, "one", ways[number])
        page.reload()  # interrupted
    page.keyboard.press("Backspace")  # the third again
    assert where.inner_text() == "3 of 8"
    before = page.locator("#left").get_attribute("data-token")
    page.reload()  # interrupted: goes on where it was, with the same sides
    assert where.inner_text() == "3 of 8"
    assert page.locator("#left").get_attribute("data-token") == before
    page.click("#stop")
    assert "3 of 8 questions answered" in page.locator("#rest").inner_text()
    page.click("#more")
    for number in range(2, 8):
        choose(page, study, "two", ways[number % 3])
    assert "That was all" in page.locator("#thanks").inner_text()
    with page.expect_download() as download:
        page.click("#save")
    file = tmp_path / "answers.json"
    download.value.save_as(file)
    assert (
        json.loads(file.read_text())["answers"] == json.loads(page.input_value("#text"))["answers"]
    )
    (person,) = score_study([file], study).annotators
    assert (person.name, person.answers, person.controls, person.right) == ("Robin", 8, 2, 2)
    (preference,) = score_study([file], study).preferences
    assert preference.total == 6
    assert preference.votes >= 4  # of six, the first two questions apart
    assert not wrong
    context.close()


def test_order_and_sides_differ_from_person_to_person(browser, study):
    seen, sides = set(), []
    for _ in range(2):
        context = browser.new_context()
        page = context.new_page()
        page.goto((study / "site/index.html").as_uri())
        seen.add(page.evaluate("JSON.stringify([state.order, state.left])"))
        sides += page.evaluate("study.questions.map(q => q.options.indexOf(state.left[q.id]))")
        context.close()
    assert len(seen) == 2
    assert set(sides) == {0, 1}


def test_a_person_may_be_asked_a_part_and_a_browser_may_keep_nothing(browser, study, tmp_path):
    shutil.copytree(study / "site", tmp_path / "site")
    file = tmp_path / "site/index.html"
    file.write_text(file.read_text().replace('"each": null', '"each": 3'))
    context = browser.new_context()
    refuse = "{ get() { throw new Error('no storage here'); } }"
    context.add_init_script(f"Object.defineProperty(window, 'localStorage', {refuse})")
    page = context.new_page()
    page.goto(file.as_uri())
    assert "answer all in one go" in page.inner_text("#unkept")
    assert page.inner_text("#count") == "3"
    page.click("#begin")
    for _ in range(3):
        page.click("#left")
    assert "3 of 3 questions answered" in page.inner_text("#rest")
    assert len(json.loads(page.input_value("#text"))["answers"]) == 3
    context.close()
