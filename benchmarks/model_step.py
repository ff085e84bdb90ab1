"""How near a stack of our blocks comes to bare matrix products, and to the window attention of others, in one run.

Four blocks on 45x90 tokens in windows of 9x9, heads of 32, one thread. `limit` runs the matrix products of our blocks
and nothing else, scaled up by the share of the two products of attention; three times that is the limit of a training
step. timm's stage is Swin-V2; `relative bias` is the classic shifted-window block as torchvision has it, written here
because torchvision needs its own torch. All have 12 D^2 weights per block and token maps of the same shape. Contestants
take turns, round after round; what counts is the ratio of medians. On a shared machine processor time (`--clock cpu`)
is what an idle machine's clock would say.

    pip install --no-deps timm==1.0.31
    python benchmarks/model_step.py --width 384
"""

import json
import os

os.environ["OMP_NUM_THREADS"] = "1"

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import no_torchvision
import torch
import torch.nn.functional as F
import typer
from goals import Figure, print_figures
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from fuxi_ens.config import ModelConfig
from fuxi_ens.model.attention import Windows, from_windows, to_windows
from fuxi_ens.model.block import Layer
from fuxi_ens.model.blocks import blocks_of, compile_blocks

ROWS, COLUMNS, WINDOW, HEAD, DEPTH = 45, 90, 9, 32, 4
TOKENS = ROWS * COLUMNS
GOALS: dict[str, tuple[Literal["at least", "at most"], float]] = {
    "limit / forward, compiled, float32": ("at least", 0.7),
    "limit / training, compiled, float32": ("at least", 0.7),
    "training in bfloat16, compiled / float32 limit": ("at most", 0.72),
    "forward of timm / ours": ("at least", 1.0),
    "training of timm / ours": ("at least", 1.0),
    "forward of relative bias / ours": ("at least", 1.0),
    "training of relative bias / ours": ("at least", 1.0),
}


class Clock(StrEnum):
    """What is measured."""

    WALL = "wall"
    CPU = "cpu"


class Stack(nn.Module):
    """Our blocks with a clock condition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        config = ModelConfig(
            height=ROWS, width=COLUMNS, patch=1, embedding=width, heads=width // HEAD, window=WINDOW,
            mlp_hidden=8 * width // 3, blocks_per_layer=DEPTH,
        )  # fmt: skip
        self.layer, self.windows = Layer(config), Windows(config)
        self.condition = torch.randn(1, width)
        for block in blocks_of(self.layer):
            # A new block is the identity; a trained one is not.
            nn.init.normal_(block.adaln[1].weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, D] to the same shape."""
        out: Tensor = self.layer(x, self.condition, self.windows(len(x)))
        return out


class RelativeBiasBlock(nn.Module):
    """Shifted windows with a learned bias per relative position, explicit softmax, pre-norm: Swin of 2021."""

    def __init__(self, width: int, shift: int) -> None:
        super().__init__()
        self.shift, self.heads = shift, width // HEAD
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.bias = nn.Parameter(0.02 * torch.randn((2 * WINDOW - 1) ** 2, self.heads))
        place = torch.cartesian_prod(torch.arange(WINDOW), torch.arange(WINDOW))
        away = place[:, None] - place[None] + WINDOW - 1
        self.register_buffer("index", away[..., 0] * (2 * WINDOW - 1) + away[..., 1])

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, D] to the same shape."""
        x = x + self.attend(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def attend(self, x: Tensor) -> Tensor:
        """Attention inside shifted windows, with the mask made on the way, as there."""
        rolled = torch.roll(x, (-self.shift, -self.shift), (1, 2)) if self.shift else x
        windows = to_windows(rolled, WINDOW).flatten(0, 1)
        qkv = self.qkv(windows).unflatten(-1, (3, self.heads, HEAD)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0] * HEAD**-0.5, qkv[1], qkv[2]
        logits = q @ k.transpose(-2, -1) + self.bias[self.index].permute(2, 0, 1)
        if self.shift:
            logits = logits + self.mask(x)[:, None]
        mixed = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
        out = from_windows(self.proj(mixed).unflatten(0, (len(x), -1)), (ROWS, COLUMNS), WINDOW)
        return torch.roll(out, (self.shift, self.shift), (1, 2)) if self.shift else out

    def mask(self, x: Tensor) -> Tensor:
        """Tokens of different sides of either seam do not see each other."""
        edges = (slice(0, -WINDOW), slice(-WINDOW, -self.shift), slice(-self.shift, None))
        group = x.new_zeros(1, ROWS, COLUMNS, 1)
        for number, (rows, columns) in enumerate((r, c) for r in edges for c in edges):
            group[:, rows, columns] = number
        flat = to_windows(group, WINDOW)[0, :, :, 0]
        return (flat[:, None] - flat[:, :, None]).ne(0) * -100.0


def timm_stage(width: int) -> nn.Module:
    """Swin-V2 of timm."""
    no_torchvision.pretend()
    from timm.models.swin_transformer_v2 import SwinTransformerV2Stage

    stage: nn.Module = SwinTransformerV2Stage(width, width, (ROWS, COLUMNS), DEPTH, width // HEAD, WINDOW)
    return stage


def matrix_products(width: int, kind: torch.dtype) -> Callable[[], None]:
    """The token maps of our blocks, forward, nothing else."""
    hidden = 8 * width // 3
    token, inner = torch.randn(TOKENS, width, dtype=kind), torch.randn(TOKENS, hidden, dtype=kind)
    square, wide, narrow = (
        torch.randn(n, m, dtype=kind) for n, m in ((width, width), (2 * hidden, width), (width, hidden))
    )

    @torch.no_grad()
    def run() -> None:
        for _ in range(DEPTH):
            for _ in range(4):
                F.linear(token, square)
            F.linear(token, wide)
            F.linear(inner, narrow)

    return run


@dataclass(frozen=True)
class Contest:
    """What runs, by name, and how the limit grows by the products of attention."""

    runs: dict[str, Callable[[], None]]
    attention_factor: float


def contest(width: int, compile_peers: bool) -> Contest:
    """All contestants for one width."""
    x = torch.randn(1, ROWS, COLUMNS, width)
    stacks: dict[str, nn.Module] = {
        "ours": Stack(width),
        "ours compiled": Stack(width),
        "timm": timm_stage(width),
        "relative bias": nn.Sequential(*[RelativeBiasBlock(width, (i % 2) * (WINDOW // 2)) for i in range(DEPTH)]),
    }
    compile_blocks(stacks["ours compiled"])
    if compile_peers:
        for name in ("timm", "relative bias"):
            stacks[f"{name} compiled"] = torch.compile(stacks[name], dynamic=False)
    runs = {f"limit {name}": matrix_products(width, kind) for name, kind in TYPES.items()}
    for name, stack in stacks.items():
        for kind in TYPES:
            runs[f"{name} forward {kind}"] = forward(stack, x, kind)
            runs[f"{name} training {kind}"] = training(stack, x, kind)
    maps = 2 * TOKENS * 12 * width**2
    return Contest(runs, 1 + 4 * TOKENS * WINDOW**2 * width / maps)


TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def forward(stack: nn.Module, x: Tensor, kind: str) -> Callable[[], None]:
    """Without gradient."""

    @torch.no_grad()
    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16"):
            stack(x)

    return run


def training(stack: nn.Module, x: Tensor, kind: str) -> Callable[[], None]:
    """Forward and backward, to the weights and to the input, as between other blocks."""
    leaf = x.clone().requires_grad_()

    def run() -> None:
        stack.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16"):
            out = stack(leaf)
        out.float().square().mean().backward()

    return run


def medians(runs: dict[str, Callable[[], None]], rounds: int, clock: Clock) -> dict[str, float]:
    """Seconds per run; contestants take turns."""
    now = time.perf_counter if clock is Clock.WALL else time.process_time
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()  # compiles
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            started = now()
            run()
            taken[name].append(now() - started)
    return {name: statistics.median(values) for name, values in taken.items()}


def ratios(seconds: dict[str, float], factor: float) -> dict[str, float]:
    """Figures that have a goal; limits include the products of attention."""
    limit = factor * seconds["limit float32"]
    best = {
        work: {kind: min(seconds[f"ours {work} {kind}"], seconds[f"ours compiled {work} {kind}"]) for kind in TYPES}
        for work in ("forward", "training")
    }
    found = {
        "limit / forward, compiled, float32": limit / seconds["ours compiled forward float32"],
        "limit / training, compiled, float32": 3 * limit / seconds["ours compiled training float32"],
        "training in bfloat16, compiled / float32 limit": seconds["ours compiled training bfloat16"] / (3 * limit),
    }
    for peer in ("timm", "relative bias"):
        for work in ("forward", "training"):
            names = [f"{name} {work} float32" for name in (peer, f"{peer} compiled")]
            theirs = min(seconds[name] for name in names if name in seconds)
            found[f"{work} of {peer} / ours"] = theirs / best[work]["float32"]
    return found


def main(
    width: Annotated[int, typer.Option(help="Embedding; a multiple of 96.")] = 384,
    rounds: Annotated[int, typer.Option(help="Turns of every contestant.")] = 9,
    clock: Annotated[Clock, typer.Option(help="Wall or processor time.")] = Clock.WALL,
    compile_peers: Annotated[bool, typer.Option(help="Compile the others too; the faster form counts.")] = False,
    output: Annotated[Path | None, typer.Option(help="Also write the figures here, as JSON.")] = None,
) -> None:
    """Measure, and say which goals are met."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    contestants = contest(width, compile_peers)
    seconds = medians(contestants.runs, rounds, clock)
    load = os.getloadavg()[0]
    limit = contestants.attention_factor * seconds["limit float32"]
    table = Table("what", "ms", "x float32 limit", title=f"width {width}, {clock} time, load {load:.1f}")
    for name, value in seconds.items():
        share = value / (limit * (3 if "training" in name else 1))
        table.add_row(name, f"{1e3 * value:.1f}", "" if name.startswith("limit") else f"{share:.2f}")
    Console().print(table)
    figures = ratios(seconds, contestants.attention_factor)
    print_figures(Console(), [Figure(name, value, *GOALS[name]) for name, value in figures.items()])
    if output:
        output.write_text(json.dumps({"width": width, "clock": clock, "load": load, "seconds": seconds, **figures}))


if __name__ == "__main__":
    typer.run(main)
