"""`struthio attack`: every option of it, and which of its two jobs is meant, pictures or a data set."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, get_type_hints

from cyclopts import Group, Parameter

from struthio.checks import UserError
from struthio.cli.declared import AttackName, AttackOption, Defenses, Device, Json, Seed, Weights

AIM = Group.create_ordered("What is wanted")
HOW = Group.create_ordered("What is attacked, and how")
WIRE = Group.create_ordered("A model behind an address, in place of --model")
DATA = Group.create_ordered("Data sets only")
PICTURES = Group.create_ordered("Pictures only")
OUT = Group.create_ordered("What is left")


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """What can be said to `struthio attack`, beside the pictures."""

    to: Annotated[
        str | None, Parameter(group=AIM, metavar="CLASS", help="This class: its name, a synonym, or its number.")
    ] = None
    untargeted: Annotated[
        bool, Parameter(group=AIM, negative="", show_default=False, help="Any other class than now.")
    ] = False
    goal: Annotated[
        str | None,
        Parameter(group=AIM, metavar="GOAL", help="untargeted, least-likely, second, next, or to:CLASS."),
    ] = None

    attack: Annotated[AttackName, Parameter(group=HOW)] = "pgd"
    threat: Annotated[
        str | None,
        Parameter(
            group=HOW,
            name=["--threat", "-t"],
            metavar="SPEC",
            help="What may change, and by how much, such as linf:8/255 or l2:0.5. Pictures: linf:4/255 if not said.",
        ),
    ] = None
    model: Annotated[
        str | None,
        Parameter(
            group=HOW,
            name=["--model", "-m"],
            metavar="SPEC",
            help="zoo:NAME, FILE.py:FACTORY, FILE.onnx ...: struthio list models. Pictures: zoo:efficientnet-lite0.",
        ),
    ] = None
    weights: Annotated[Weights | None, Parameter(group=HOW)] = None
    defense: Annotated[Defenses, Parameter(group=HOW)] = ()
    via: Annotated[
        str | None,
        Parameter(
            group=DATA,
            metavar="SPEC[,SPEC]",
            help="Search on these models instead; the one attacked is asked only whether what was found fools it.",
        ),
    ] = None
    average: Annotated[
        str, Parameter(group=DATA, metavar="KIND", help="Of several --via models: logits, probabilities or losses.")
    ] = "logits"
    steps: Annotated[
        int | None, Parameter(group=HOW, metavar="N", help="Steps of the attack; the same as -O steps=N.")
    ] = None
    restarts: Annotated[
        int | None, Parameter(group=HOW, metavar="N", help="Run the attack so often on what still holds.")
    ] = None
    option: Annotated[AttackOption, Parameter(group=HOW)] = ()  # type: ignore[assignment]
    levels: Annotated[
        bool | None,
        Parameter(
            group=HOW, show_default=False, help="Keep to the 256 levels of 8-bit pictures. Pictures do if not said."
        ),
    ] = None
    seed: Annotated[Seed, Parameter(group=HOW)] = 0
    device: Annotated[Device | None, Parameter(group=HOW)] = None

    full_size: Annotated[
        bool,
        Parameter(
            group=PICTURES,
            negative="",
            show_default=False,
            help="Keep the resolution of the picture, and attack through the resize to the network's input.",
        ),
    ] = False

    endpoint: Annotated[
        str | None,
        Parameter(
            group=WIRE, metavar="URL", help="Inputs are sent there by POST, as JSON; the data's rows are attacked."
        ),
    ] = None
    outputs: Annotated[
        str, Parameter(group=WIRE, metavar="KIND", help="What it answers with: scores, probabilities or labels.")
    ] = "scores"
    classes: Annotated[
        str | None,
        Parameter(
            group=WIRE,
            metavar="N|NAME,NAME",
            help="How many there are, or their names in order, for a service that answers with labels or names.",
        ),
    ] = None
    budget: Annotated[
        int | None,
        Parameter(group=WIRE, metavar="N", help="The most inputs to send in all, shared evenly by the rows."),
    ] = None
    rate: Annotated[float | None, Parameter(group=WIRE, metavar="R", help="The most requests a second.")] = None
    timeout: Annotated[float, Parameter(group=WIRE, metavar="S", help="Seconds to wait for an answer.")] = 5.0
    retries: Annotated[int, Parameter(group=WIRE, metavar="N", help="How often a failed question is put again.")] = 3
    request_size: Annotated[int, Parameter(group=WIRE, metavar="N", help="The most inputs in one request.")] = 32
    field: Annotated[
        str, Parameter(group=WIRE, metavar="PLACE", help="Where the inputs go in a request, such as data.ndarray.")
    ] = "inputs"
    encoding: Annotated[
        str,
        Parameter(group=WIRE, metavar="KIND", help="How inputs are said: floats; bytes or png (these set --levels)."),
    ] = "floats"
    layout: Annotated[str, Parameter(group=WIRE, metavar="KIND", help="channels-first or channels-last.")] = (
        "channels-first"
    )
    each: Annotated[
        str | None, Parameter(group=WIRE, metavar="NAME", help="A field put around each input, such as b64.")
    ] = None
    answer: Annotated[
        str | None,
        Parameter(group=WIRE, metavar="PLACE", help="Where the numbers are in an answer, such as results.*.score."),
    ] = None
    header: Annotated[
        list[str],
        Parameter(
            group=WIRE,
            negative="",
            metavar="NAME:VALUE",
            show_default=False,
            help="Sent with every request; $NAME in it is read from the environment. May be repeated.",
        ),
    ] = ()  # type: ignore[assignment]

    data: Annotated[
        str | None,
        Parameter(
            group=DATA,
            name=["--data", "-d"],
            metavar="SPEC",
            help="data:digits, FOLDER, FILE.npz ...: struthio list data.",
        ),
    ] = None
    count: Annotated[
        int | None,
        Parameter(
            group=DATA,
            name=["--count", "-n"],
            metavar="N",
            help="At most so many rows: 1000 if not said, or one for each 200 inputs of --budget.",
        ),
    ] = None
    row_budget: Annotated[
        int | None, Parameter(group=DATA, metavar="N", help="The most forwards that a row may have.")
    ] = None
    batch_size: Annotated[
        int | None,
        Parameter(
            group=DATA, metavar="N", help="Rows at once; no answer depends on it. Chosen by their size, if not said."
        ),
    ] = None
    prepare: Annotated[
        bool,
        Parameter(group=DATA, help="Make the model faster first; what it says is confirmed on the model as given."),
    ] = True

    output: Annotated[
        str | None,
        Parameter(
            group=OUT,
            name=["--output", "-o"],
            metavar="DIR",
            help="The folder for results. Pictures: 'adversarial' if not said. Data sets: nothing is kept if not said.",
        ),
    ] = None
    json: Annotated[Json, Parameter(group=OUT)] = False

    def goal_text(self) -> str | None:
        """The goal as one text, or None where nothing was said. Raises UserError where two things were."""
        said = [self.to is not None, self.untargeted, self.goal is not None]
        if sum(said) > 1:
            raise UserError("--to, --untargeted and --goal name the goal in three ways; give one of them.")
        if self.to is not None:
            return f"to:{self.to}"
        return "untargeted" if self.untargeted else self.goal

    def given(self) -> dict[str, Any]:
        """The options that differ from their defaults, by their fields' names."""
        held = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in held.items() if value != default}

    def refuse(self, *groups: Group, why: str) -> None:
        """Raise UserError for an option of these groups, which the job at hand would pass over in silence."""
        hints = get_type_hints(Options, include_extras=True)
        for name in self.given():
            own = {group for part in hints[name].__metadata__ for group in part.group}
            if own & set(groups):
                raise UserError(f"--{name.replace('_', '-')} {why}")

    def words(self) -> list[str]:
        """These options as they are typed, without --output and --json."""
        words = []
        for name, value in self.given().items():
            dashed = name.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{dashed}" if value else f"--no-{dashed}")
            elif name not in ("output", "json"):
                for one in value if isinstance(value, (list, tuple)) else [value]:
                    words += [f"--{dashed}", str(one)]
        return words


def attack(
    *pictures: Annotated[
        str, Parameter(name="PICTURE", help="Files, folders, globs, or data:chelsea.png and other bundled photographs.")
    ],
    options: Options = Options(),
) -> int:
    """Attack pictures, or a model over a whole data set.

    Pictures are attacked one by one. Each leaves an adversarial picture and a
    figure, and is judged on the 8-bit file as saved. Of a data set, rows are
    attacked in batches, to measure how robust the model is.

    With -o DIR every finished batch is on the disk before the next begins. After
    Ctrl-C, a kill or a full disk the same command goes on with the other rows,
    and ends as one run would have; another attack in that folder is refused.

    A model behind an address (--endpoint) is attacked by questions alone. Every
    answer is kept in DIR as it comes: the same command goes on with what is left
    of --budget when the service answers no more, and asks nothing twice.

    Exit status: 0 done (pictures: all reached), 1 some picture not reached,
    or --budget spent before the last row, 2 a mistake, a picture that cannot
    be attacked (the others still are), or an endpoint that is gone,
    130 Ctrl-C (what was done is kept; of a picture, the best so far).
    """
    if pictures and options.data is not None:
        raise UserError("pictures and --data were given; they are two jobs. Give one of them.")
    if pictures:
        options.refuse(DATA, WIRE, why="is for data sets. Give the pictures as one: --data FOLDER.")
        from struthio.cli.pictures import run_pictures

        return run_pictures(pictures, options)
    if options.data is None:
        raise UserError(
            "nothing to attack was given. Name a picture (struthio attack data:chelsea.png --to 'common iguana'), "
            "or a model and data (struthio attack --model zoo:digits-cnn --data data:digits --threat linf:0.2)."
        )
    options.refuse(PICTURES, why="is for pictures; rows of a data set have the size that the model takes.")
    if options.endpoint is None:
        options.refuse(WIRE, why="is for a model behind an --endpoint. What another may be asked, --row-budget says.")
    from struthio.cli.batch import run_batch

    return run_batch(options)
