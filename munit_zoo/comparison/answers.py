"""What people answered in a study: preferences, how far they agree, and who looked."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from munit_zoo.comparison.stats import wilson
from munit_zoo.comparison.study import FORMAT
from munit_zoo.errors import UsageError
from munit_zoo.metrics.report import as_json

__all__ = ["Annotator", "Preference", "StudyScore", "agreement", "score_study"]


@dataclass(frozen=True)
class Preference:
    """Votes between two runs. share: of those for `run`, with Wilson's 95 % interval."""

    run: str
    against: str
    votes: int
    total: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Annotator:
    """One person: answers, control questions met and rightly answered, and whether kept."""

    annotator: str
    name: str
    answers: int
    controls: int
    right: int
    kept: bool


@dataclass(frozen=True)
class StudyScore:
    """A study's result.

    percent: share of pairs of people who answered one question alike; alpha: Krippendorff's, which
    is 0 for agreement by chance alone; both NaN where no question has two answers. repeated:
    questions with two answers or more. left: share of votes for the left image.
    """

    study: str
    preferences: tuple[Preference, ...]
    annotators: tuple[Annotator, ...]
    percent: float
    alpha: float
    repeated: int
    left: tuple[float, float, float]
    threshold: float

    def to_json(self) -> str:
        return json.dumps(as_json(asdict(self)), indent=1) + "\n"

    def markdown(self) -> str:
        """For people."""
        lines = ["| preferred | over | share | 95 % interval | votes |", "|---|---|---:|---:|---:|"]
        lines += [
            f"| {p.run} | {p.against} | {100 * p.share:.1f} % | {100 * p.low:.1f} to "
            f"{100 * p.high:.1f} % | {p.votes} of {p.total} |"
            for p in self.preferences
        ]
        out = [a for a in self.annotators if not a.kept]
        kept = len(self.annotators) - len(out)
        lines += ["", f"- {kept} of {len(self.annotators)} people kept."]
        lines += [
            f"- Left out, below {100 * self.threshold:.0f} % of the control questions: "
            f"{a.name or a.annotator}, {a.right} of {a.controls} right."
            for a in out
        ]
        if self.repeated:
            lines.append(
                f"- Agreement on {self.repeated} questions with two answers or more: "
                f"{100 * self.percent:.1f} % of pairs; Krippendorff's alpha {self.alpha:.3f}."
            )
        else:
            lines.append("- No question has two answers: agreement is not known.")
        share, low, high = self.left
        lines.append(
            f"- Left image chosen: {100 * share:.1f} % ({100 * low:.1f} to {100 * high:.1f} %)."
        )
        lines.append(
            "- Intervals are Wilson's and take votes for independent; those of one person, or on "
            "one image, are less so."
        )
        return "\n".join([*lines, ""])


def score_study(files: Sequence[Path], key: Path, *, threshold: float = 0.8) -> StudyScore:
    """Score the answers of a study.

    key: `key.json` of its folder, or the folder. threshold: share of the control questions that a
    person must have answered rightly to be kept; who met none is kept.
    Raises UsageError for files that are no answers, or those of another study.
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"--controls is a share from 0 to 1, got {threshold:g}")
    known = _read(
        key / "key.json" if key.is_dir() else key, "a study's key", ("study", "questions")
    )
    questions = {entry["id"]: entry for entry in known["questions"]}
    answers = _answers(files, known["study"], questions)
    people, votes = [], []
    for person, (name, found) in answers.items():
        controls = [q for q in found if questions[q]["control"]]
        right = sum(questions[q]["options"][found[q][0]] != "wrong" for q in controls)
        keep = not controls or right >= threshold * len(controls)
        people.append(Annotator(person, name, len(found), len(controls), right, keep))
        if keep:
            votes += [(person, q, *found[q]) for q in found if not questions[q]["control"]]
    percent, alpha, repeated = agreement(
        [[questions[q]["options"][t] for _, r, t, _ in votes if r == q] for q in questions]
    )
    lefts = sum(side == "left" for *_, side in votes)
    share = lefts / len(votes) if votes else math.nan
    return StudyScore(
        known["study"],
        tuple(_preferences(votes, questions, list(known["runs"]))),
        tuple(people),
        percent,
        alpha,
        repeated,
        (share, *wilson(lefts, len(votes))),
        threshold,
    )


def _preferences(
    votes: Sequence[tuple[str, str, str, str]], questions: Mapping[str, Any], names: Sequence[str]
) -> list[Preference]:
    """Each pair of runs that was asked about, the second as against the first."""
    counted: Counter[tuple[str, str]] = Counter()
    for _, question, token, _ in votes:
        options = questions[question]["options"]
        (other,) = (run for t, run in options.items() if t != token)
        counted[options[token], other] += 1
    asked = {frozenset(q["options"].values()) for q in questions.values() if not q["control"]}
    found = []
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            if {first, second} in asked:
                mine = counted[second, first]
                total = mine + counted[first, second]
                share = mine / total if total else math.nan
                found.append(Preference(second, first, mine, total, share, *wilson(mine, total)))
    return found


def agreement(units: Sequence[Sequence[str]]) -> tuple[float, float, int]:
    """Share of pairs that agree, Krippendorff's alpha for names, and units with two answers.

    units: per question the answers to it. Krippendorff, *Computing Krippendorff's
    Alpha-Reliability* (2011); NaN where nothing can be compared, or all answers are one.
    """
    several = [Counter(unit) for unit in units if len(unit) > 1]
    total: Counter[str] = Counter()
    unequal = pairs = alike = 0.0
    for unit in several:
        count = sum(unit.values())
        same = sum(n * (n - 1) for n in unit.values())
        pairs += count * (count - 1)
        alike += same
        unequal += (count * (count - 1) - same) / (count - 1)
        total += unit
    if not several:
        return math.nan, math.nan, 0
    n = sum(total.values())
    expected = n * n - sum(c * c for c in total.values())
    alpha = 1 - (n - 1) * unequal / expected if expected else math.nan
    return alike / pairs, alpha, len(several)


def _answers(
    files: Sequence[Path], study: str, questions: Mapping[str, Any]
) -> dict[str, tuple[str, dict[str, tuple[str, str]]]]:
    """Per person the name, and per question the chosen image and its side. Of one person's files
    the one with most answers counts."""
    found: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {}
    for file in files:
        told = _read(file, "answers to a study", ("study", "annotator", "answers"))
        if told["study"] != study:
            raise UsageError(
                f"{file} answers the study {told['study']}, and the key is that of {study}: give "
                "--key of the folder that the page came from"
            )
        if told.get("format") != FORMAT:
            raise UsageError(f"{file} has the format {told.get('format')}; this reads {FORMAT}")
        chosen: dict[str, tuple[str, str]] = {}
        try:
            for answer in told["answers"]:
                options = questions[answer["question"]]["options"]
                if answer["chosen"] not in options or answer["side"] not in ("left", "right"):
                    raise KeyError(answer["chosen"])
                chosen[answer["question"]] = (answer["chosen"], answer["side"])
        except (KeyError, TypeError) as error:
            raise UsageError(f"{file} names what the study has not: {error}") from None
        before = found.get(str(told["annotator"]))
        if before is None or len(before[1]) < len(chosen):
            found[str(told["annotator"])] = (str(told.get("name", "")), chosen)
    return found


def _read(file: Path, what: str, keys: Sequence[str]) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{file} is not {what}: {error}") from None
    missing = [k for k in keys if not isinstance(document, dict) or k not in document]
    if missing:
        raise UsageError(f"{file} is not {what}: it has no {', '.join(missing)}")
    return dict(document)
