"""The site file: what a cluster wants to know of a job, once per cluster and for all runs. Its keys and their defaults.

What goes into a job's options is one word without quotes; only `setup` is shell.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt, PositiveInt, model_validator

from fuxi_ens.config.base import Section


def _written_number(value: Any) -> Any:
    """YAML makes a number of what is a word here, as in `memory: 0`; a truth value stays an error."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _quoted_time(value: Any) -> Any:
    if not isinstance(value, str):
        # YAML 1.1 reads 12:00:00 as 43200, and SLURM would take a plain number for minutes.
        raise ValueError(f"a time limit stands in quotes, like '12:00:00' or '2-00:00:00', got {value!r}")  # noqa: TRY004
    return value


def _one_line(value: str) -> str:
    if "\n" in value or "\0" in value:
        raise ValueError(f"one line each, got {value!r}; make an item of every line")
    return value


Word = Annotated[str, BeforeValidator(_written_number), Field(pattern=r"^[^\s'\"\\#]+$")]
Option = Annotated[str, Field(pattern=r"^--[a-z][^\s'\"\\#]*$")]
Line = Annotated[str, AfterValidator(_one_line)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
TimeLimit = Annotated[
    str, BeforeValidator(_quoted_time), Field(pattern=r"^(\d+-\d{1,2}(:\d{2}){0,2}|\d+:\d{2}(:\d{2})?|\d+)$")
]


def seconds(limit: str) -> int:
    """A time limit as SLURM reads it: minutes, minutes:seconds, hours:minutes:seconds, or days-hours and on."""
    days, dash, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if not dash and len(parts) < 3:
        parts = [0, *parts]
    hours, minutes, rest = [*parts, 0, 0][:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + rest


class NodesConfig(Section):
    """Where jobs of one sort run, and what they get of a node."""

    partition: Word | None = None
    account: Word | None = None
    """Account of these jobs where it is another one than `account` of the site."""
    qos: Word | None = None
    reservation: Word | None = None
    constraint: Word | None = None
    cpus_per_task: PositiveInt = 8
    """Cores of one process."""
    memory: Word | None = None
    """Memory of a node, like 120G; 0 takes all of it. Null leaves it to the site's default."""


class GpuNodesConfig(NodesConfig):
    """Nodes for training and forecasts."""

    nodes: PositiveInt = 1
    """Nodes of a training, unless `--nodes` says otherwise."""
    gpus_per_node: NonNegativeInt = 1
    """GPUs of a node, used by training and by forecasts, one process each; 0 on a cluster without."""
    gpu_option: Literal["gpus-per-node", "gres"] = "gpus-per-node"
    """How the site wants GPUs asked for: --gpus-per-node=4 or --gres=gpu:4."""
    gpu_type: Word | None = None
    """Kind of GPU, where the site has several and names them, like a100."""
    tasks_per_node: PositiveInt | None = None
    """Training processes on a node; null makes one for each GPU, or a single one without GPUs."""

    @property
    def training_tasks(self) -> int:
        """Training processes on a node."""
        return self.tasks_per_node or self.gpus_per_node or 1

    @model_validator(mode="after")
    def _one_gpu_each(self) -> Self:
        if self.gpus_per_node and self.training_tasks != self.gpus_per_node:
            raise ValueError(
                f"gpu.tasks_per_node {self.tasks_per_node} differs from gpus_per_node {self.gpus_per_node}: training "
                "runs one process per GPU; drop tasks_per_node, or set gpus_per_node to 0 where there are none"
            )
        return self


class TimeConfig(Section):
    """Time limits by kind of job. Training and forecasts outlive theirs: they go back into the queue and go on."""

    prepare: TimeLimit = "2-00:00:00"
    statistics: TimeLimit = "04:00:00"
    climatology: TimeLimit = "12:00:00"
    train: TimeLimit = "1-00:00:00"
    forecast: TimeLimit = "12:00:00"
    verify: TimeLimit = "04:00:00"
    scorecard: TimeLimit = "01:00:00"
    cyclones: TimeLimit = "04:00:00"
    heat_waves: TimeLimit = "04:00:00"


class SiteConfig(Section):
    """One cluster."""

    account: Word | None = None
    gpu: GpuNodesConfig = GpuNodesConfig()
    cpu: NodesConfig = NodesConfig()
    """Nodes for everything that needs cores only."""
    time: TimeConfig = TimeConfig()
    forecast_tasks: PositiveInt = 1
    """Jobs among which the init times of a forecast are divided, unless `--tasks` says otherwise."""
    setup: tuple[Line, ...] = ()
    """Shell lines that make `fuxi-ens` callable, such as `module load python` and `source .venv/bin/activate`. They are
    copied word for word into every job."""
    container: tuple[Line, ...] = ()
    """Words before every `fuxi-ens`, such as [apptainer, exec, --nv, /images/fuxi_ens.sif]."""
    environment: dict[Variable, Annotated[Line, BeforeValidator(_written_number)]] = Field(default_factory=dict)
    """Variables of every job, taken literally; one that needs the shell belongs in `setup`."""
    sbatch_options: tuple[Option, ...] = ()
    """Further options of every job, such as --mail-type=FAIL."""
    srun_options: tuple[Option, ...] = ()
    """Options for starting the processes of a job, such as --label or --cpu-bind=cores."""
    signal_seconds: Annotated[int, Field(ge=10, le=65535)] = 300
    """How long before its time limit a job is told to save: longer than saving takes plus a minute, by which SLURM may
    be late."""
    max_requeues: NonNegativeInt = 20
    """How often a job goes back into the queue before it ends for good."""

    @model_validator(mode="after")
    def _time_to_save(self) -> Self:
        short = {kind: limit for kind, limit in self.time if seconds(limit) <= self.signal_seconds}
        if short:
            raise ValueError(
                f"time {short} leaves no time before the signal to save, which comes signal_seconds "
                f"{self.signal_seconds} before the limit; raise the limit or lower signal_seconds"
            )
        return self
