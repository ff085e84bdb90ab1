"""What the ranks together see of a run: losses averaged over them, and validation divided among them."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch

from fuxi_ens.config import StageConfig
from fuxi_ens.data.loader import load_batch
from fuxi_ens.data.samples import SampleIndex
from fuxi_ens.train.module import Serving
from fuxi_ens.train.picture import ValidationPicture
from fuxi_ens.train.run import Run
from fuxi_ens.train.sampling import divided, validation_noise
from fuxi_ens.train.validation import Validation


def averaged_records(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean over ranks of every number, at any depth; a name that only some ranks have is averaged over those."""
    names = dict.fromkeys(name for record in records for name in record)
    out: dict[str, Any] = {}
    for name in names:
        found = [record[name] for record in records if name in record]
        out[name] = averaged_records(found) if isinstance(found[0], Mapping) else fmean(found)
    return out


def validate(run: Run, stage: StageConfig, serving: Serving | None, total: int) -> float:
    """Score the averaged weights on a fixed, evenly spaced set of validation init times, and record it.

    `total` is the iteration of the record. Returns the score by which states of a stage are compared. Collective.
    """
    data, train = run.config.data, run.config.train
    validation = Validation(run.model, stage, run.weights, train.validation_members, data.step_size, serving)
    index = SampleIndex.legal(run.frames.times, data.validation, data.step_size, stage.rollout_steps)
    chosen = index.spread(train.validation_init_times)
    sums: list[torch.Tensor] = []
    first: ValidationPicture | None = None
    with run.average.in_place():
        for sample, counts in divided(len(chosen), run.ranks.place):
            times = chosen[sample : sample + 1]
            batch = load_batch(run.frames, times, data.step_size, stage.rollout_steps).to(run.device)
            noise = validation_noise(run.config.run.seed, sample, train.validation_members, run.device)
            added, picture = validation.sums(batch, noise)
            sums.append(added if counts else torch.zeros_like(added))
            first = first or picture
    scores = validation.scores(run.ranks.total(torch.stack(sums).sum(0)))
    run.record.write("validation", total, {"stage": stage.name, **scores})
    if first:
        run.record.picture(total, first)
    return float(scores["score"])
