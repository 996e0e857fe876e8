"""A report in words: what changed, whether it may be chance, which classes changed most, and the cause."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from loom.drift.report import ClassShift, DriftReport, Metrics, PairResult, PermutationResult, PolicySplit
from loom.drift.window import WindowCount

__all__ = [
    "class_in_words",
    "count",
    "explain_drift",
    "metrics_in_words",
    "points",
    "severity_in_words",
    "share",
    "split_in_words",
    "tested_in_words",
]

_MOST_CLASSES = 3
_MOSTLY = 2 / 3
_LONGEST = 100
_UNCERTAIN = {
    "both_empty": "neither window holds a decision",
    "baseline_empty": "the baseline holds no decision",
    "current_empty": "the current window holds no decision",
    "no_classes": "a window has no decision that is in a class, as its actors have no equivalence rule",
}
_UNABLE = {
    "code_changed": "the code of the baseline's version is not available",
    "erased": "they were erased",
    "missing_facts": "the baseline's version asks for facts that were not recorded",
    "no_facts": "no facts were recorded",
    "no_rule": "their actor has no policy",
    "not_evaluated": "no policy was asked for them",
    "other_policy": "their policy did not decide in the baseline",
    "policy_missing": "the baseline's version is not registered",
    "rule_failed": "the baseline's rule failed on them",
    "sealed": "their facts are sealed",
}


def explain_drift(report: DriftReport) -> tuple[str, ...]:
    """Return the report in sentences, the answer first."""
    return tuple(_sentences(report))


def class_in_words(shift: ClassShift) -> str:
    """Return the attributes of a class, or, where its rule is not known, its outcome."""
    words = [f"{name} {said}" for name, said in shift.alike.items()]
    if not words:
        words = [f"class {shift.precedent[:12]}"]
        words += [f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in (shift.outcome or {}).items()]
    text = ", ".join(words)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def share(value: float) -> str:
    """Return a share in percent, with a decimal."""
    return f"{100 * value:.1f} %"


def points(value: float) -> str:
    """Return a change of a share in points, with its sign."""
    return f"{100 * value:+.1f}"


def count(number: float, what: str) -> str:
    """Return a number with its noun."""
    return f"{number:,.10g} {what}{'' if number == 1 else 's'}"


def split_in_words(split: PolicySplit) -> Iterator[str]:
    """Yield where the change comes from, and always how much of it could be judged again."""
    if split.total is None or split.population is None or split.policy is None or split.interaction is None:
        yield (
            f"Population and policy cannot be separated: {split.reason}. Who came, taken alone, moved by "
            f"{split.situations:.3f} bits (p = {split.situations_p:.2g})."
        )
    else:
        yield (
            f"{_mostly(split)}: of {split.total:.3f} bits over situations and "
            f"what the policy said, who came makes up {split.population:.3f} (situations alone: "
            f"p = {split.situations_p:.2g}), how they were answered {split.policy:.3f}, and both together "
            f"{split.interaction:+.3f}."
        )
        if split.acted:
            yield (
                f"That is about what the policy said. What was done moved by {split.acted:.3f} bits more: after the "
                "evaluation, people answered or code acted otherwise, and part of that may be chance."
            )
        yield from _transitions(split)
    yield _coverage(split)


def tested_in_words(report: DriftReport) -> Iterator[str]:
    """Yield which test was used, what the pairs show as plain counts, and what could not be tested."""
    permutation, pairs = report.permutation, report.pairs
    if permutation is None:
        return
    flipped = next((each for each in permutation.parts if each.method == "sign_flips"), None)
    dealt = next((each for each in permutation.parts if each.method == "permutation"), None)
    if flipped is not None and pairs is not None:
        yield (
            f"Tested in pairs, by sign flips: {count(pairs.subjects, 'subject')} are in both windows, with "
            f"{count(pairs.pairs, 'pair')} of decisions at the same step (p = {flipped.p_value:.2g})."
        )
        if dealt is not None:
            yield (
                f"What has no partner was tested by permutation, {dealt.decisions[0]:,} decisions against "
                f"{dealt.decisions[1]:,} (p = {dealt.p_value:.2g}); p = {permutation.p_value:.2g} is of both together."
            )
    else:
        yield "Tested by permutation, as two samples: too few subjects, or none, are known to be in both windows."
    if permutation.untested:
        yield f"{count(permutation.untested, 'decision')} without a partner are too few to be tested."
    if pairs is not None:
        yield from _turned(pairs)


def severity_in_words(report: DriftReport) -> str:
    """Return the severity of a detected change; `stable` of the earlier rule is a change below a warning."""
    return "less than a warning" if report.severity == "stable" else str(report.severity)


def _sentences(report: DriftReport) -> Iterator[str]:
    permutation, divergence = report.permutation, report.js_divergence
    if report.state == "insufficient_data" or permutation is None or divergence is None:
        why = _UNCERTAIN.get(report.reason or "", report.judged.evaluation.why)
        yield f"Nothing can be said: {why}."
        yield from _left_out(report.baseline, report.current)
        return
    compared = (
        f"{count(report.baseline.decisions, 'decision')} of {_classes(report.baseline.classes)} against "
        f"{count(report.current.decisions, 'decision')} of {_classes(report.current.classes)}"
    )
    if report.detected:
        yield (
            f"The pattern of decisions changed: {compared} lie {divergence:.3f} bits of 1 apart, "
            f"{_chance(permutation)}."
        )
        yield f"Its severity is {severity_in_words(report)}: {report.judged.evaluation.why}."
        yield from tested_in_words(report)
        yield from _moved("Rose", report.rose)
        yield from _moved("Fell", report.fell)
    elif len(report.counts) == 1:
        yield f"The pattern is the same: {compared}, and it is one class in both."
    else:
        yield f"No change was found: {compared} lie {divergence:.3f} bits of 1 apart, {_chance(permutation)}."
        yield from tested_in_words(report)
    if report.split is not None and report.detected:
        yield from split_in_words(report.split)
    yield from metrics_in_words(report.metrics)
    yield from _left_out(report.baseline, report.current)


def metrics_in_words(metrics: Metrics) -> Iterator[str]:
    """Yield the metrics with a reported change, marked as metrics: figures apart from the pattern, by size alone."""
    for each in metrics.moved:
        change = "from nothing" if each.change is None else f"{100 * each.change:+.1f} %"
        before, now = (share(x) if each.kind == "rate" else f"{x:,.6g}" for x in (each.baseline, each.current))
        figure = f"{each.kind} {each.name} from {before} to {now} ({change})"
        yield f"Metric drift, apart from the pattern: {figure}, {each.severity}."


def _chance(permutation: PermutationResult) -> str:
    if len(permutation.parts) > 1:
        return f"p = {permutation.p_value:.2g}"
    [part] = permutation.parts
    return (
        f"where chance alone gives {part.expected_divergence:.3f}, and rarely more than {part.expected_upper:.3f} "
        f"(p = {permutation.p_value:.2g})"
    )


def _turned(pairs: PairResult) -> Iterator[str]:
    ways = "; ".join(f"{name}: {n:,}" for name, n in sorted(pairs.transitions.items(), key=lambda e: (-e[1], e[0])))
    yield (
        f"{pairs.turned:,} of {count(pairs.same_situation, 'pair')} of one situation were decided otherwise"
        f"{f' ({ways})' if ways else ''}."
    )
    if pairs.answered_otherwise:
        answers = ", ".join(f"{name} {n:,}" for name, n in pairs.answers.items())
        yield (
            f"That is no estimate where the facts were the same: the policy answered {pairs.answered_otherwise:,} of "
            f"{count(pairs.same_facts, 'such pair')} otherwise ({answers}), and chance has no part in a rule."
        )


def _moved(how: str, shifts: Sequence[ClassShift]) -> Iterator[str]:
    for shift in shifts[:_MOST_CLASSES]:
        yield (
            f"{how}: {class_in_words(shift)}, from {share(shift.baseline_share)} to {share(shift.current_share)} "
            f"({points(shift.change)} points), {shift.share_of_divergence:.0%} of the divergence."
        )


def _mostly(split: PolicySplit) -> str:
    """Return the cause of the change, limited to what was examined."""
    scope = "All"
    if split.acted:
        scope = "In what the policy said, all"
    elif split.coverage < 1:
        scope = "Of what could be judged again, all"
    total, population, policy = split.total or 0.0, split.population or 0.0, split.policy or 0.0
    if total == 0:
        return "Who came and what the policy said to it did not change"
    if policy == 0:
        return f"{scope} of it is who came"
    if population == 0:
        return f"{scope} of it is how they were answered"
    if population / total >= _MOSTLY:
        return "Mostly who came changed"
    if policy / total >= _MOSTLY:
        return "Mostly how they were answered changed"
    return "Both changed, who came and how they were answered"


def _transitions(split: PolicySplit) -> Iterator[str]:
    versions = ", ".join(split.versions)
    if not split.answered_otherwise:
        yield f"The baseline's policy ({versions}) would have answered all {count(split.rejudged, 'case')} the same."
        return
    largest = sorted(split.transitions.items(), key=lambda each: (-each[1], each[0]))[:_MOST_CLASSES]
    yield (
        f"The baseline's policy ({versions}) would have answered {split.answered_otherwise:,.10g} of "
        f"{count(split.rejudged, 'case')} otherwise: {', '.join(f'{name} {n:,.10g}' for name, n in largest)}."
    )


def _coverage(split: PolicySplit) -> str:
    said = f"{split.rejudged:,} of {count(split.current_decisions, 'current decision')} could be judged again"
    others = ", ".join(f"{n:,} not, as {_UNABLE.get(reason, reason)}" for reason, n in split.not_rejudged.items())
    return f"{said}; {others}." if others else f"{said}."


def _left_out(*windows: WindowCount) -> Iterator[str]:
    left_out = sum(each.unclassified for each in windows)
    if left_out:
        yield f"{count(left_out, 'decision')} without a class {'was' if left_out == 1 else 'were'} not compared."


def _classes(number: int) -> str:
    return f"{number:,} class{'' if number == 1 else 'es'}"
