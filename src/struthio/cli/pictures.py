"""`struthio attack PICTURE...`: reads, attacks, saves and judges picture after picture, then prints one table."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from struthio.attacks.pictures import attack_picture, fitted, seen_whole, whole
from struthio.attacks.stream import aim
from struthio.checks import UserError
from struthio.cli import picture_words, terminal
from struthio.cli.attack import Options
from struthio.cli.classes import find_class
from struthio.cli.network import agreed, chosen_attack, chosen_threat, load_network
from struthio.cli.picture_job import FOLDER, MODEL, THREAT, Done, Job, Problem, sources
from struthio.cli.watching import watched
from struthio.data.files import replacing, writable_folder
from struthio.data.pictures import read_picture
from struthio.describe import describe
from struthio.meter import Ended, ask
from struthio.models import prepare
from struthio.report import figure
from struthio.report.numbers import seconds_text

LARGE = 3_000_000  # pixels: from here on, how long it will take is worth a word
SEVERAL = 3  # pictures: from here on, preparing the model costs less than it saves


def run_pictures(specs: Sequence[str], options: Options) -> int:
    """Attack the pictures that these texts name; gives the exit status."""
    job = _job(options)
    found: list[Done | Problem] = []
    named = list(sources(specs))
    try:
        for entry in _attacked(job, named):
            found.append(entry)
            if isinstance(entry, Problem):
                terminal.error(entry.why if entry.name in entry.why else f"{entry.name}: {entry.why}")
        stopped = False
    except KeyboardInterrupt:
        stopped = True
        terminal.note(f"stopped: {len(found)} of {len(named)} pictures are done, and kept in {job.folder}.")
    done = [entry for entry in found if isinstance(entry, Done)]
    if options.json:
        terminal.show_json(picture_words.as_json(job, found, stopped))
    elif done:
        picture_words.show(job, done)
    if stopped:
        return 130
    return 2 if len(done) < len(found) else int(not all(entry.result.reached for entry in done))


def _job(options: Options) -> Job:
    goal = options.goal_text()
    if goal is None:
        raise UserError("what the pictures shall become was not said. Give --to CLASS, or --untargeted.")
    if options.weights is not None and options.model is None:
        raise UserError("--weights belong to a model from code; name it with --model FILE.py:FACTORY.")
    # At full size a random start would leave grain where the network does not look.
    still = {"random_start": False} if options.full_size and options.restarts is None else {}
    attack = chosen_attack(options, keep="best", **still)
    threat = chosen_threat(options.threat or THREAT, options.levels is not False)
    folder = writable_folder(options.output or FOLDER)
    model = load_network(options, options.model or MODEL)
    return Job(model, attack, threat, aim(_numbered(goal, model)), folder, options)


def _numbered(goal: str, model: nn.Module) -> str:
    """The goal with the number of its class in place of the name."""
    kind, _, wanted = goal.partition(":")
    return f"to:{find_class(wanted, getattr(model, 'class_names', None))}" if kind == "to" and wanted else goal


def _attacked(job: Job, sources: Sequence[Path | Problem]) -> Iterator[Done | Problem]:
    """Picture after picture; the network is checked on the first that can be read."""
    ready, taken = False, set[str]()
    fast: nn.Module = job.model
    for number, source in enumerate(sources, start=1):
        if isinstance(source, Problem):
            yield source
            continue
        try:
            x = _read(job, source)
        except UserError as error:
            yield Problem(source.name, str(error))
            continue
        if not ready:
            job = replace(job, model=_agreed(job, x))
            fast = prepare(_seen(job), x[None], channels_last=True) if len(sources) >= SEVERAL else _seen(job)
            ready = True
        _warn_of_length(job, fast, source, x)
        place = f"{source.name} ({number} of {len(sources)})"
        try:
            done, stopped = _one(job, fast, source, x, _free_name(source.stem, taken), place)
        except UserError as error:
            yield Problem(source.name, str(error))
            continue
        yield done
        if stopped:
            terminal.note(f"{source.name} was cut short: what was found until then is kept.")
            raise KeyboardInterrupt


def _read(job: Job, source: Path) -> Tensor:
    x = read_picture(source)
    x = whole(x, job.size) if job.options.full_size else fitted(x, job.size)
    return x.to(next((parameter.device for parameter in job.model.parameters()), torch.device("cpu")))


def _agreed(job: Job, x: Tensor) -> nn.Module:
    seen = x if job.size is None else fitted(x.cpu(), job.size).to(x)
    return agreed(job.model, seen[None])


def _seen(job: Job) -> nn.Module:
    if not job.options.full_size:
        return job.model
    view = seen_whole(job.model, job.size)
    view.class_names = job.names  # type: ignore[assignment]
    return view


def _free_name(stem: str, taken: set[str]) -> str:
    """The stem, numbered where another picture of this run has it already."""
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name


def _warn_of_length(job: Job, model: nn.Module, source: Path, x: Tensor) -> None:
    """For a very large picture, one step is timed to say how long all will take."""
    if x[0].numel() < LARGE:
        return
    started = time.perf_counter()
    z = x[None].clone().requires_grad_()
    outputs = ask(model, z)
    if outputs.requires_grad:
        torch.autograd.grad(outputs.logsumexp(1).sum(), z, allow_unused=True)
    steps = getattr(job.attack, "steps", None) or 1
    whole_time = seconds_text(steps * (time.perf_counter() - started))
    terminal.note(
        f"{source.name} has {x.shape[-1]} x {x.shape[-2]} pixels: {steps} steps will take about {whole_time}."
    )


def _one(job: Job, model: nn.Module, source: Path, x: Tensor, name: str, place: str) -> tuple[Done, bool]:
    """What came of a picture, and whether Ctrl-C cut it short."""
    saved, drawn = job.folder / f"{name}-adversarial.png", job.folder / f"{name}-figure.png"
    with watched(model, job.attack, place) as seen:
        try:
            result = attack_picture(
                model, x, job.attack, job.threat, job.aim, path=saved, seed=job.options.seed, seen=seen
            )
        except Ended as nothing:
            raise KeyboardInterrupt from nothing
    shown = (job.options.model or MODEL).removeprefix("zoo:")
    panels = [
        figure.Panel("before", result.x, job.top(result.before)),
        figure.Panel("noise x10, on grey", figure.enlarged_noise(result.x, result.x_adv), job.top(result.noise)),
        figure.Panel("after", result.x_adv, job.top(result.after)),
    ]
    with replacing(drawn) as beside:
        figure.draw(panels, beside, "  ·  ".join([source.name, shown, describe(job.attack), describe(job.threat)]))
    return Done(source.name, result, saved, drawn), seen.stopped
