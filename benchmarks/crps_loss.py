"""What the CRPS costs in training: forward and backward beside other ways to write it, and as a share of a step.

Every way computes the same number (checked first). They take turns, round after round, so that a busy machine slows all
of them; what counts is the ratio of medians of the thread's own time. Saved bytes are what autograd holds between the
forward and the backward pass, without the ensemble itself.

    python benchmarks/crps_loss.py
    python benchmarks/crps_loss.py --configs configs/demo.yaml,configs/era5_64x32.yaml
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from goals import Figure, print_figures
from rich.console import Console
from rich.table import Table
from torch import Tensor

from fuxi_ens.config import ModelConfig, StageConfig, TrainConfig, load_config
from fuxi_ens.data.loader import Batch
from fuxi_ens.losses import ensemble_crps
from fuxi_ens.losses.crps import spread_factor
from fuxi_ens.losses.objective import Weights, channel_means
from fuxi_ens.model import build_model
from fuxi_ens.model.gaussian import DiagonalGaussian
from fuxi_ens.model.noise import Noise, Stream
from fuxi_ens.train.divergence import divergence
from fuxi_ens.train.module import TrainingModule
from fuxi_ens.train.ranks import Ranks

Loss = Callable[[Tensor, Tensor], Tensor]


def factor(ens_BMP: Tensor) -> float:
    """Factor c of the fair estimator."""
    return spread_factor(ens_BMP.shape[1], "fair", 1.0)


def ours(ens_BMP: Tensor, truth_BP: Tensor) -> Tensor:
    """The loss that trains."""
    return ensemble_crps(ens_BMP, truth_BP, "fair")


def sorting(ens_BMP: Tensor, truth_BP: Tensor) -> Tensor:
    """Errors sorted along the members; the pair sum is then one weighted sum."""
    members = ens_BMP.shape[1]
    error = ens_BMP - truth_BP[:, None]
    weight = (2.0 * torch.arange(1, members + 1) - members - 1.0) * 2.0 * factor(ens_BMP)
    return error.abs().mean(1) - torch.tensordot(error.sort(1).values.movedim(1, -1), weight, dims=1)


def broadcast(ens_BMP: Tensor, truth_BP: Tensor) -> Tensor:
    """All pairs in one tensor."""
    pairs = (ens_BMP[:, :, None] - ens_BMP[:, None]).abs().sum((1, 2))
    return (ens_BMP - truth_BP[:, None]).abs().mean(1) - factor(ens_BMP) * pairs


def loop(ens_BMP: Tensor, truth_BP: Tensor) -> Tensor:
    """Each member against those after it."""
    pairs = torch.zeros_like(truth_BP)
    for i in range(ens_BMP.shape[1] - 1):
        pairs = pairs + (ens_BMP[:, i, None] - ens_BMP[:, i + 1 :]).abs().sum(1)
    return (ens_BMP - truth_BP[:, None]).abs().mean(1) - 2.0 * factor(ens_BMP) * pairs


LOSSES: dict[str, Loss] = {"ours": ours, "sort": sorting, "pair broadcast": broadcast, "loop": loop}


def thread_time(work: Callable[[], object]) -> float:
    """Seconds the thread computed."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def medians(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, taken in turns after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for i in range(rounds + 1):
        for name, work in works.items():
            seconds = thread_time(work)
            if i:
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def saved(loss: Loss, ens: Tensor, truth: Tensor) -> float:
    """Bytes held for the backward pass over those of the ensemble, without the ensemble itself."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in (ens.untyped_storage().data_ptr(), truth.untyped_storage().data_ptr()):
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        score = loss(ens, truth)
    del score
    return sum(kept.values()) / ens.nbytes


def peak(loss: Loss, members: int, points: int) -> float:
    """Most memory that score and gradient take beside their inputs, over the bytes of the ensemble.

    As Linux counts it for this process, so that whatever an allocator or a kernel takes is in it.
    """
    ens = torch.randn(1, members, 8 * points).requires_grad_()
    truth = torch.randn(1, 8 * points)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    loss(ens, truth).sum().backward()
    return (resident("VmHWM") - before) / ens.nbytes


def resident(entry: str) -> int:
    """Bytes of this process in memory: `VmRSS` now, `VmHWM` at most."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[entry].split()[0])


def compare_losses(console: Console, points: int, rounds: int) -> None:
    """Time and memory of every way at some ensemble sizes."""
    title = f"CRPS, {points} points"
    table = Table("members", "ours ms", *(f"{name}: x ours, saved" for name in LOSSES), title=title)
    for members in (2, 4, 8):
        ens = torch.randn(2, members, points // 2).requires_grad_()
        truth = torch.randn(2, points // 2)

        def work(loss: Loss, ens: Tensor = ens, truth: Tensor = truth) -> None:
            torch.autograd.grad(loss(ens, truth).mean(), ens)

        expected = ours(ens, truth)
        for name, loss in LOSSES.items():
            torch.testing.assert_close(loss(ens, truth), expected, rtol=1e-4, atol=1e-5, msg=name)
        took = medians({name: lambda loss=loss: work(loss) for name, loss in LOSSES.items()}, rounds)
        cells = [f"{took[n] / took['ours']:.2f}, {saved(loss, ens, truth):.2f}" for n, loss in LOSSES.items()]
        table.add_row(str(members), f"{1e3 * took['ours']:.1f}", *cells)
    console.print(table)


def share_of_a_step(console: Console, config: ModelConfig, name: str, members: int, rounds: int) -> Figure:
    """CRPS and KL, forward and backward, over the whole training step of one init time."""
    stage = StageConfig(name="s", objective="crps_kl", iterations=1, learning_rate=1.0, members=members)
    model = build_model(config)
    frame = (len(config.channels), config.height, config.width)
    weights = Weights(torch.ones(config.height), torch.ones(len(config.channels)))
    module = TrainingModule(model, stage, weights, Ranks.alone(), TrainConfig(stages=(stage,)))
    batch = Batch(torch.randn(1, 2, *frame), torch.randn(1, 1, *frame), torch.rand(1, 1, 3), None)
    latents = [torch.randn(1, 2, *frame).requires_grad_() for _ in range(4)]
    ens, truth = torch.randn(1, members, *frame).requires_grad_(), torch.randn(1, *frame)
    mask = torch.ones(1, 1, *frame)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            terms = module(batch, Noise([Stream([1], torch.device("cpu"))]), 3e-4)
        model.zero_grad(set_to_none=True)
        terms.total.backward()

    def crps() -> None:
        score = ensemble_crps(ens, truth, stage.estimator, stage.alpha)
        channel_means(score, torch.isfinite(truth), weights.area_H).mean().backward()

    def kl() -> None:
        q, p = (DiagonalGaussian.clamped(*latents[i : i + 2], config.logvar_bounds) for i in (0, 2))
        divergence(q, p, mask, stage).penalty.backward()

    took = medians({"step": step, "crps": crps, "kl": kl}, rounds)
    share = (took["crps"] + took["kl"]) / took["step"]
    console.print(
        f"{name}, {members} members, bfloat16: step {1e3 * took['step']:.0f} ms, CRPS {1e3 * took['crps']:.2f} ms, "
        f"KL {1e3 * took['kl']:.2f} ms"
    )
    return Figure(f"CRPS and KL over the step of {name}, {members} members", share, "at most", 0.05, ".2%")


def main(
    configs: Annotated[
        str, typer.Option(help="Run files whose model takes a step, with commas between.")
    ] = "configs/demo.yaml",
    points: Annotated[int, typer.Option(help="Points of the ensembles compared; an even number.")] = 2 << 20,
    rounds: Annotated[int, typer.Option(help="Turns of every way.")] = 7,
) -> None:
    """Print time and memory of every way, then the figures that have a goal."""
    torch.set_num_threads(1)
    console = Console()
    figures = [
        Figure(f"peak memory over the ensemble, {m} members", peak(ours, m, points), "at most", 2.0) for m in (2, 4, 8)
    ]
    compare_losses(console, points, rounds)
    for path in configs.split(","):
        config = load_config(Path(path)).model
        figures.append(share_of_a_step(console, config, Path(path).stem, 4, max(rounds // 2, 3)))
    print_figures(console, figures)


if __name__ == "__main__":
    typer.run(main)
