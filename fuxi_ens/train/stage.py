"""One stage of training: its iterations, what is logged, validated and saved between them, and how it stops."""

import logging
from collections.abc import Iterator

import torch

from fuxi_ens.config import StageConfig, TrainConfig
from fuxi_ens.data.loader import Batch, Loader
from fuxi_ens.data.samples import SampleIndex
from fuxi_ens.errors import Stopped
from fuxi_ens.losses.objective import ObjectiveTerms, mean_terms
from fuxi_ens.progress import Advance, progress
from fuxi_ens.train.module import Serving, TrainingModule
from fuxi_ens.train.monitors import CollapseAlarm
from fuxi_ens.train.parallel import choose_trained, unsynchronized, whole, wrapped
from fuxi_ens.train.run import Run, restore, tensors
from fuxi_ens.train.sampling import StageSamples
from fuxi_ens.train.schedule import kl_weight, learning_rate, phases
from fuxi_ens.train.self_check import check_ranks
from fuxi_ens.train.signals import stop_request
from fuxi_ens.train.state import Counters, Position, SavedState
from fuxi_ens.train.watch import averaged_records, validate

log = logging.getLogger(__name__)


class StageRun:
    """A stage under way on this rank."""

    def __init__(self, run: Run, number: int, lead_in: Serving | None = None) -> None:
        self.run, self.number, self.stage, self.lead_in = run, number, run.stages[number], lead_in
        choose_trained(run.model, self.stage)
        self.optimizer = _optimizer(run, self.stage)
        module = TrainingModule(run.model, self.stage, run.weights, run.ranks, run.config.train, lead_in)
        self.module = wrapped(module, run.config.train, run.ranks)
        data = run.config.data
        index = SampleIndex.legal(run.frames.times, data.train, data.step_size, self.stage.rollout_steps)
        self.samples = StageSamples(run.config, number, index, run.ranks.place, run.device)
        self.alarm = CollapseAlarm(self.stage, run.config.train.collapse_alarm_logs)
        self.best: float | None = None
        """Lowest validation score of this stage so far."""

    def resume(self, saved: SavedState) -> int:
        """Take over a state from the middle of this stage; returns the iterations that are done."""
        run, counters = self.run, saved.counters
        restore(run.store, saved, run.model, run.average, self.optimizer)
        log.info("resuming stage %s at iteration %d", self.stage.name, saved.position.iteration)
        self.alarm.silent = int(counters["silent_logs"] or 0)
        best = counters["best_score"]
        self.best = None if best is None else float(best)
        if counters["samples_per_iteration"] != self.samples.per_iteration:
            log.warning(
                "an iteration had %s samples before and has %d now: learning rates may no longer fit",
                counters["samples_per_iteration"], self.samples.per_iteration,
            )  # fmt: skip
        return saved.position.iteration

    def go(self, first: int) -> None:
        """All iterations from `first` on. Raises Stopped, with everything saved, if somebody asked for it."""
        with progress(f"training {self.stage.name}", self.stage.iterations) as advance:
            if first:
                advance(first, "resumed")
            for iterations, steps in phases(self.stage):
                todo = range(max(first, iterations.start), iterations.stop)
                if todo:
                    self._phase(todo, steps, advance)

    def _phase(self, todo: range, steps: int, advance: Advance) -> None:
        """Iterations with one length of rollouts."""
        run, each = self.run, self.stage.accumulate
        loader = Loader(run.frames, run.config.data.step_size, steps, self.stage.batch_size, run.device)
        wanted = range(todo.start * each, todo.stop * each)
        batches = loader.stream(self.samples.init_times, wanted)
        for i in todo:
            terms = self._iterate(i, batches, check=i == todo.start)
            self._after(i + 1, terms, advance)

    def _iterate(self, i: int, batches: Iterator[Batch], *, check: bool) -> ObjectiveTerms:
        """One iteration: forward and backward for each batch, clip, step, average."""
        run, stage = self.run, self.stage
        run.model.train()
        run.model.zero_grad(set_to_none=True)
        each, terms = stage.accumulate, list[ObjectiveTerms]()
        for b in range(i * each, (i + 1) * each):
            with run.pace.waiting():
                batch = next(batches)
            if check and not terms:
                self._check(b, batch)
            last = len(terms) == each - 1
            if last:
                terms.append(self._differentiate(b, batch, i))
            else:
                with unsynchronized(self.module):
                    terms.append(self._differentiate(b, batch, i))
        mean = mean_terms(terms)
        self._step(i, mean)
        run.pace.step(self.samples.per_iteration)
        return mean

    def _check(self, b: int, batch: Batch) -> None:
        drawn = torch.cat([stream.normal((1,)).cpu() for stream in self.samples.streams(b)])
        check_ranks(self.run.ranks, self.run.model, batch, drawn, distinct=self.samples.in_one_epoch(b))

    def _differentiate(self, b: int, batch: Batch, i: int) -> ObjectiveTerms:
        """Add the gradient of batch `b` to those of its iteration `i`."""
        train, stage, device = self.run.config.train, self.stage, self.run.device.type
        noise = self.samples.noise(b)
        watch = _is_logged(train, stage, i + 1) and b == (i + 1) * stage.accumulate - 1
        # Casts of weights are not kept where blocks run again backwards: they would be a second network in memory.
        with torch.autocast(
            device, torch.bfloat16, enabled=train.precision == "bfloat16", cache_enabled=not train.recompute
        ):
            terms: ObjectiveTerms = self.module(batch, noise, kl_weight(stage, i), watch=watch)
        (terms.total / stage.accumulate).backward()
        return terms.detach()

    def _step(self, i: int, terms: ObjectiveTerms) -> None:
        run, stage = self.run, self.stage
        parameters = [p for p in run.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not run.guard.passes(whole(norm), terms, run.model, stage, i):
            return
        torch.nn.utils.clip_grads_with_norm_(parameters, run.config.train.clip_norm, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(stage, i)
        self.optimizer.step()
        run.average.update()

    def _after(self, done: int, terms: ObjectiveTerms, advance: Advance) -> None:
        """Log, validate, save and stop when due; `done` iterations of the stage are finished."""
        run, train, stage = self.run, self.run.config.train, self.stage
        total = run.iterations_before(self.number) + done
        last = done == stage.iterations
        advance(1, run.pace.note(terms.total.item()))
        if _is_logged(train, stage, done):
            self._log(total, learning_rate(stage, done - 1), terms)
        score = None
        if done % train.validate_every == 0 or last:
            score = validate(run, stage, self.lead_in, total)
        better = score is not None and (self.best is None or score < self.best)
        self.best = score if better else self.best
        stopping = self._agree() and not (last and self.number == len(run.stages) - 1)
        if last or better or stopping or done % train.checkpoint_every == 0:
            self._save(done, score)
        if stopping:
            run.store.settle(wait=True)
            raise Stopped(
                f"stopped on {stop_request.reason or 'a signal to another rank'} after iteration {total}; the newest "
                f"state is {run.store.last.folder_name if run.store.last else 'none'}"
            )

    def _log(self, total: int, rate: float, terms: ObjectiveTerms) -> None:
        run = self.run
        if terms.monitors:
            self.alarm.hear(terms.monitors, terms.kl_weight)
        values = averaged_records(run.ranks.gather(terms.record(run.config.model.channels)))
        more = {"lr": rate, "skipped": run.guard.skipped}
        run.record.write("train", total, {"stage": self.stage.name, **values, **more})
        # Apart, because it is never the same twice.
        run.record.write("pace", total, run.pace.values())

    def _agree(self) -> bool:
        """Whether any rank was asked to stop; on the way, a save that all ranks have finished is declared whole."""
        run = self.run
        stop, unready = run.ranks.largest([int(bool(stop_request.reason)), int(not run.store.ready())])
        if run.store.pending and not unready:
            run.store.settle(wait=False)
        return bool(stop)

    def _save(self, done: int, score: float | None) -> None:
        """A state between stages needs no optimizer, and its score says nothing about the next stage."""
        run, last = self.run, done == self.stage.iterations
        position = Position(self.number + 1, 0) if last else Position(self.number, done)
        state = tensors(run.model, run.average, None if last else self.optimizer)
        run.store.begin(position, state, self._counters(), None if last else score)

    def _counters(self) -> Counters:
        return {
            "skipped": self.run.guard.skipped,
            "skipped_in_a_row": self.run.guard.skipped_in_a_row,
            "silent_logs": self.alarm.silent,
            "best_score": self.best,
            "samples_per_iteration": self.samples.per_iteration,
        }


def _optimizer(run: Run, stage: StageConfig) -> torch.optim.AdamW:
    """AdamW over what learns in the stage; biases, norms and positions are not decayed."""
    parameters = [p for p in run.model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": run.config.train.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=stage.learning_rate, betas=run.config.train.betas)


def _is_logged(train: TrainConfig, stage: StageConfig, done: int) -> bool:
    return done % train.log_every == 0 or done == stage.iterations
