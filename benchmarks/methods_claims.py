"""What the papers say of their methods, held against what was measured here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]
Verdict = tuple[str, bool]
"""The figures, and whether they bear the claim out."""

FAITHFUL, NEAR, WELL_BELOW, SHARE, DRIFT = 0.3, 0.5, 5.0, 0.25, 0.5
"""Points between bundle and twin; between SURGEON and full tuning; that make "well below"; the share of full tuning's
kept bytes that SURGEON may take; points that the last round may lie above the first."""


EVEN_GRADIENTS = """\
SURGEON keeps of a layer what the root mean square of its gradient is to the largest one. In these small networks the
BatchNorms, half of all that is saved, have gradients of one size: a batch of corrupted photographs keeps 0.38 of the
elements of ResNet-20 and 0.29 of ResNet-56, where the paper's WRN-28-10 keeps 0.09. Masks of ReLU wait whole. That is
with a probe of one image that is pruned itself. Whole, as on the authors' Jetson (`--probe-ratio 0`), the probe finds
gradients further apart, and less is kept."""

LITTLE_TO_SHARE = """\
At the paper's learning rate all points of both curves lie within 0.4 points of each other, and those of one ratio for
all layers reach what dense tuning does: how kept elements are shared among layers hardly matters to this network.
SURGEON's ratios follow the gradients of one image of each batch, which are no better a guide here than none. Nor are
those of ten images, unpruned, as the authors' code takes (25.71 against 25.57 at equal bytes, 25.8 MiB; tried apart
from this page), nor of the whole batch (25.72 against 25.57)."""

BRIEF_WARM_UP = """\
The meta networks of ResNet-20, warmed up on a tenth of the training images, do as well as the statistics of each batch
and no better; those of ResNet-56, on the same images, do better by three points. Warmed up on all fifty thousand
(`--source CIFAR10.npz --methods ecotta`), ResNet-20's do better, too: 26.69 % (eager 26.70). So they do where all is
shown ten times, see below."""


@dataclass(frozen=True)
class Results:
    """Of one model, by part of the page; each part by label."""

    parts: Mapping[str, Sequence[Document]]

    def of(self, part: str, label: str) -> list[Document]:
        return [one for one in self.parts.get(part, ()) if one["label"] == label]

    def error(self, label: str) -> float:
        """Of the table. Raises LookupError where the method was not run."""
        return float(self.of("table", label)[0]["mean_error"])

    def kept(self, label: str) -> float:
        return float(self.of("table", label)[0]["kept_bytes"])


@dataclass(frozen=True)
class Claim:
    """judge: raises LookupError where what it needs was not measured. why: it does not hold, where it does not."""

    words: str
    judge: Callable[[Results], Verdict]
    why: str = ""


def faithful(results: Results) -> Verdict:
    gaps = {str(one["label"]): abs(one["mean_error"] - one["mean_eager_error"]) for one in results.parts["table"]}
    label, gap = max(gaps.items(), key=lambda pair: pair[1])
    return f"{len(gaps)} methods; the furthest is {label}, {gap:.2f} points away", gap <= FAITHFUL


def well_below_source(results: Results) -> Verdict:
    bn, source = results.error("bn"), results.error("source")
    return f"{bn:.2f} against {source:.2f} %", bn <= source - WELL_BELOW


def below_bn(label: str, why: str = "") -> Claim:
    def judge(results: Results) -> Verdict:
        error, bn = results.error(label), results.error("bn")
        return f"{error:.2f} against {bn:.2f} %", error < bn

    return Claim(f"{label} has a lower error than bn", judge, why)


def near_full(label: str) -> Claim:
    def judge(results: Results) -> Verdict:
        error, full = results.error(label), results.error("full")
        return f"{error:.2f} against {full:.2f} %", error <= full + NEAR

    return Claim(f"{label} at its own ratios is within {NEAR} points of full", judge)


def small_share(label: str) -> Claim:
    def judge(results: Results) -> Verdict:
        share = results.kept(label) / results.kept("full")
        return f"{100 * share:.0f} % of them", share <= SHARE

    return Claim(f"{label} keeps at most a quarter of full's bytes", judge, EVEN_GRADIENTS)


def below_static(results: Results) -> Verdict:
    """The two curves have points at equal kept bytes, pair by pair."""
    surgeon, static = ({one["pair"]: one for one in results.of("curve", label)} for label in ("surgeon", "static"))
    numbers = sorted(surgeon.keys() & static.keys(), key=lambda number: float(surgeon[number]["kept_bytes"]))
    pairs = [(float(surgeon[number]["mean_error"]), float(static[number]["mean_error"])) for number in numbers]
    if not pairs:
        raise LookupError("no curve")
    below = sum(error < other for error, other in pairs)
    figures = ", ".join(f"{error:.2f} against {other:.2f}" for error, other in pairs)
    return f"at {below} of {len(pairs)} points: {figures} %", below == len(pairs)


def steady(label: str) -> Claim:
    def judge(results: Results) -> Verdict:
        first, *_, last = results.of("rounds", label)[0]["error_of_round"]
        return f"{first:.2f} in the first round, {last:.2f} in the last", last <= first + DRIFT

    return Claim(f"{label} does not drift over ten rounds", judge)


CLAIMS = (
    Claim(f"every bundle is within {FAITHFUL} points of its eager twin", faithful),
    Claim("bn lies well below source", well_below_source),
    *map(below_bn, ("tent", "cotta", "surgeon")),
    below_bn("ecotta", BRIEF_WARM_UP),
    *map(near_full, ("surgeon", "surgeon fp16", "surgeon whole probe")),
    *map(small_share, ("surgeon", "surgeon fp16", "surgeon whole probe")),
    Claim("surgeon lies below one ratio everywhere at equal kept bytes", below_static, LITTLE_TO_SHARE),
    *map(steady, ("cotta", "ecotta")),
)


def judged(parts: Mapping[str, Sequence[Document]]) -> Iterator[tuple[Claim, str, bool]]:
    """Claim, figures and verdict, of each claim for which one model's results were had."""
    results = Results(parts)
    for claim in CLAIMS:
        try:
            yield claim, *claim.judge(results)
        except LookupError:
            continue


def claims_table(parts: Mapping[str, Sequence[Document]]) -> Iterator[str]:
    """A table a model, and then why what does not hold does not."""
    reasons: dict[str, str] = {}
    for model in dict.fromkeys(str(one["model"]) for one in parts.get("table", [])):
        yield f"{model}:\n"
        yield "| | | |"
        yield "|---|---|---|"
        for claim, figures, holds in judged(_of_model(parts, model)):
            yield f"| {claim.words} | {figures} | {'holds' if holds else '**does not hold**'} |"
            if not holds and claim.why:
                reasons.setdefault(claim.why, claim.words)
        yield ""
    for why, words in reasons.items():
        yield f"- *{words}*: {why}".replace("\n", "\n  ")


def _of_model(parts: Mapping[str, Sequence[Document]], model: str) -> dict[str, list[Document]]:
    return {part: [one for one in found if one["model"] == model] for part, found in parts.items()}
