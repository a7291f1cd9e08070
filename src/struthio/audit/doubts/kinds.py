"""The doubts that an audit knows: what each is called, and why it makes a robustness number untrustworthy."""

from __future__ import annotations

from dataclasses import dataclass, field

KINDS: dict[str, tuple[str, str]] = {
    # What the answers say, before any attack.
    "training-mode": (
        "A layer is in training mode",
        "Its answers depend on chance or on the other rows of a batch, and asking it changes it: what is measured is "
        "not the model that will be used.",
    ),
    "random-outputs": (
        "The model answers the same input differently",
        "One slope is a slope of one draw, so an attack follows noise; and one lucky draw, or an unlucky one, decides "
        "about a row.",
    ),
    "batch-dependent": (
        "The answer to an input depends on the others in its batch",
        "A row has no robustness of its own: what held in one batch may fall in another.",
    ),
    "probabilities": (
        "The model returns probabilities, not logits",
        "Where the softmax is sure its slope is as good as zero, and a loss that takes a second softmax is flat.",
    ),
    "saturated": (
        "The logits are so far apart that the softmax is exact",
        "The slope of the cross-entropy underflows to zero, so an attack on it stands still: a matter of rounding, "
        "not of robustness.",
    ),
    "few-classes": (
        "There are few classes",
        "The scale-free losses of strong attacks compare three or four classes and cannot be used.",
    ),
    "constant-answers": (
        "The model gives every input the same answer",
        "What does not depend on the input cannot be changed by it: rows stand because nothing is told apart.",
    ),
    "fails-nearby": (
        "The model fails near inputs that it answers",
        "What it would say there cannot be known, and the examination stopped early. Rows count as fallen where an "
        "attack comes to such an input, and are listed as errors.",
    ),
    "unstable-answers": (
        "The answers jump under the smallest noise",
        "The slope at one point says nothing about the next, so attacks by slope look weaker than they could be.",
    ),
    "better-under-noise": (
        "Random noise makes the model more accurate",
        "Clean inputs are treated worse than noisy ones: labels, preprocessing or the range of the input are likely "
        "wrong, or a defence disturbs them.",
    ),
    "other-numbering": (
        "Data and model seem to number the classes differently",
        "Rows that the model knows count as mistaken, so clean and robust accuracy are both far too low.",
    ),
    # What the slopes say.
    "no-gradient": (
        "No gradient reaches the input",
        "Attacks by slope cannot begin. That is a property of the program, not of the model's decisions.",
    ),
    "zero-gradient": (
        "The gradient is zero although the answer depends on the input",
        "Attacks by slope stand still on these rows.",
    ),
    "nan-gradient": (
        "The gradient is not a number",
        "One such step, and an attack by slope is lost.",
    ),
    "shattered-gradient": (
        "The gradient says little about what a step does",
        "It belongs to a ripple finer than any useful step, so attacks by slope go astray.",
    ),
    "random-direction": (
        "A random direction is as good as the gradient",
        "An attack by slope is then no better than noise, and its failure shows nothing.",
    ),
    "gradient-free-part": (
        "A part of the model has no useful gradient",
        "What flows back through it is nothing, or misleads, however well the rest can be attacked.",
    ),
    # What the attacks say, afterwards.
    "queries-win": (
        "Attacks without gradient beat those with it",
        "With the gradient an attacker knows strictly more: if it does not help, it is hidden.",
    ),
    "transfer-wins": (
        "Inputs made for another model beat the attack on this one",
        "They lie within reach, and the attack by slope did not find them.",
    ),
    "noise-wins": (
        "Random noise brings down rows that the attack left standing",
        "An attack that loses to noise has not searched.",
    ),
    "more-steps-help": (
        "More steps still bring rows down",
        "The search was stopped before its end, so the number is too high.",
    ),
    "accuracy-floor": (
        "Accuracy does not reach zero as the radius grows",
        "Without a limit every picture can be turned into every other, so an attack that leaves rows standing there "
        "has failed.",
    ),
    "accuracy-rises": (
        "Accuracy rises with the radius",
        "A larger ball holds the smaller one: the attack lost wins that it must have.",
    ),
}


@dataclass(frozen=True)
class Doubt:
    """One reason not to trust a robustness number.

    Attributes:
        name: which, of `KINDS`.
        evidence: one sentence with what was measured.
        remedy: what was done about it; "" where nothing was.
        numbers: what was measured, for machines.
    """

    name: str
    evidence: str
    remedy: str = ""
    numbers: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in KINDS:
            raise KeyError(f"{self.name!r} is none of the known doubts: {', '.join(KINDS)}")

    @property
    def title(self) -> str:
        """One line for people."""
        return KINDS[self.name][0]

    @property
    def meaning(self) -> str:
        """Why it makes a robustness number untrustworthy."""
        return KINDS[self.name][1]
