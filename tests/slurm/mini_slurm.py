"""A real SLURM with several nodes on this one host: the daemons of the distribution, in namespaces, below one folder.

Each node has its own host name, /etc/hosts and process table, so jobs meet over the network as on separate machines,
and whatever a node runs dies with it. All daemons die with the process that started them, however that ends.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "scontrol", "squeue", "scancel", "unshare", "setpriv")
CPUS, MEMORY_MIB = 2, 4000
"""Of a node; SLURM is told to believe it. Their sum may be more than the host has."""
FREEZER = Path("/sys/fs/cgroup/freezer")
_ALONE = ["unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
_MORTAL = ["setpriv", "--pdeathsig", "KILL", "--"]
_NODE = 'hostname "$1" && mount --bind "$2/hosts" /etc/hosts && slurmd -D -N "$1" -f "$2/slurm.conf" & wait'
"""The shell stays as the first process of the namespace, where it buries orphans."""

CONFIG = """
ClusterName=mini
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire is also how long a job waits before it starts again after a requeue; by default two minutes.
AuthInfo=socket={folder}/munge/socket,cred_expire=8
# The controller listens on 127.0.0.1 only. With NoInAddrAny a srun inside a job would listen on its node's address and
# be called back on another.
CommunicationParameters=NoCtldInAddrAny
# Trainings meet on a port that follows from the number of their job; clusters on this host shall not share any.
FirstJobId={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
PlugStackConfig={folder}/plugstack.conf
ProctrackType=proctrack/{proctrack}
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU={memory_per_cpu}
SchedulerType=sched/backfill
# Looks for work at once instead of every minute.
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# The signal asked for with --signal comes at preemption, too.
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
# How long a job that is canceled may save: by default half a minute, which a busy disk can use up.
KillWait=60
CompleteWait=0
# A node that does not answer for so long is down; by default five minutes.
SlurmdTimeout=15
SlurmctldTimeout=10
InactiveLimit=0
MinJobAge=3600
ReturnToService=2
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
{nodes}
PartitionName=urgent Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=10 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=low Nodes=ALL MaxTime=INFINITE DefaultTime=10 State=UP PriorityTier=1 GraceTime=60
"""
CGROUP_CONFIG = """
CgroupPlugin=cgroup/v1
CgroupMountpoint=/sys/fs/cgroup
CgroupAutomount=no
ConstrainCores=no
ConstrainRAMSpace=no
"""


def unavailable():
    """Why this host cannot run the cluster; empty if it can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed: apt-get install slurmctld slurmd slurm-client munge"
    if os.geteuid() != 0:
        return "a SLURM of one's own needs root"
    tried = subprocess.run([*_ALONE, "true"], capture_output=True, text=True, check=False)
    return f"namespaces are not allowed here: {tried.stderr.strip()}" if tried.returncode else ""


class MiniSlurm:
    """The cluster; a context manager."""

    def __init__(self, nodes=3):
        # Not below pytest's folder: munged wants the way to its socket open to everybody.
        self.folder = Path(tempfile.mkdtemp(prefix="mini-slurm-", dir="/tmp"))
        self.folder.chmod(0o755)
        port, *self._node_ports = _free_ports(nodes + 1)
        # Unique, because the kernel's groups of processes are named after the nodes.
        self.nodes = tuple(f"mini{port}-{i}" for i in range(1, nodes + 1))
        self._daemons = {}
        self._configure(port)

    @property
    def environment(self):
        """For the commands of SLURM and whatever calls them; free of an allocation around the tests."""
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_"))}
        return {**ours, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def __enter__(self):
        try:
            key, munge = self.folder / "munge" / "key", self.folder / "munge"
            paths = [f"--{name}-file={munge / name}" for name in ("key", "pid", "log", "seed")]
            self._start("munged", ["munged", "--foreground", *paths, f"--socket={munge / 'socket'}"])
            assert key.exists()
            self._until(lambda: self._succeeds("munge", "-n", "-S", munge / "socket"), "munged")
            self._start("slurmctld", ["slurmctld", "-D", "-c", "-f", self.folder / "slurm.conf"])
            self._until(lambda: self._succeeds("scontrol", "ping"), "slurmctld")
            for node in self.nodes:
                self.power_on(node)
            self._until(self._idle, "all nodes")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Kill every process and remove every trace."""
        for name in [*self.nodes, "slurmctld", "munged"]:
            self._kill(name)
        for node in self.nodes:
            remove_groups(FREEZER / f"slurm_{node}")
        shutil.rmtree(self.folder)

    def power_cut(self, node):
        """Kill everything on a node at one stroke."""
        self._kill(node)

    def power_on(self, node):
        """Start a node; a node that was down comes back."""
        self._start(node, ["bash", "-c", _NODE, "node", node, self.folder])

    def repair(self):
        """Start all nodes that are off, give all back that were drained, and wait until none has work."""
        for node in self.nodes:
            if node not in self._daemons:
                self.power_on(node)
            if "drain" in self._ask("sinfo", "-h", "-n", node, "-p", "urgent", "-o", "%T"):
                self._ask("scontrol", "update", f"NodeName={node}", "State=RESUME")
        self._until(self._idle, "all nodes")

    def _idle(self):
        states = self._ask("sinfo", "-h", "-N", "-p", "urgent", "-o", "%T").split()
        return states == ["idle"] * len(self.nodes)

    def _ask(self, *command):
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=120
        ).stdout  # fmt: skip

    def _configure(self, port):
        for name in ("munge", "state", "log", *(f"spool-{node}" for node in self.nodes)):
            (self.folder / name).mkdir(mode=0o755)
        key = self.folder / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        host = socket.gethostname().split(".")[0]
        addresses = {node: f"127.0.1.{i}" for i, node in enumerate(self.nodes, 1)}
        hosts = [f"127.0.0.1 localhost {host}", *(f"{address} {node}" for node, address in addresses.items())]
        lines = [
            f"NodeName={node} NodeHostname={node} NodeAddr={address} Port={node_port} CPUs={CPUS} "
            f"RealMemory={MEMORY_MIB} State=UNKNOWN"
            for (node, address), node_port in zip(addresses.items(), self._node_ports, strict=True)
        ]
        config = CONFIG.format(
            host=host,
            port=port,
            folder=self.folder,
            memory_per_cpu=MEMORY_MIB // CPUS,
            # As on real clusters, where it exists: signals reach the tasks and not their children.
            proctrack="cgroup" if os.access(FREEZER / "cgroup.procs", os.W_OK) else "linuxproc",
            nodes="\n".join(lines),
        )
        texts = {"slurm.conf": config, "cgroup.conf": CGROUP_CONFIG, "hosts": "\n".join(hosts), "plugstack.conf": ""}
        for name, text in texts.items():
            (self.folder / name).write_text(text.lstrip() + "\n")

    def _start(self, name, command):
        assert name not in self._daemons, f"{name} is running"
        with (self.folder / "log" / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                [*_MORTAL, *_ALONE, *map(str, command)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def _kill(self, name):
        process = self._daemons.pop(name, None)
        if process is None:
            return
        # With the first process of a namespace all others die, and `unshare` ends when they are gone.
        first = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in first or [process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        process.wait()

    def _succeeds(self, *command):
        return not subprocess.run(
            command,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
            check=False,
        ).returncode

    def _until(self, happened, what):
        """Wait for the start of something; says what the daemons said if it does not come."""
        end = time.monotonic() + 180
        while not happened():
            dead = [name for name, process in self._daemons.items() if process.poll() is not None]
            if dead or time.monotonic() > end:
                logs = {path.name: path.read_text()[-3000:] for path in sorted((self.folder / "log").iterdir())}
                said = "\n".join(f"--- {name}\n{text}" for name, text in logs.items() if text)
                raise RuntimeError(f"{what} did not come up ({dead or 'nobody'} ended)\n{said}")
            time.sleep(0.1)


def _free_ports(count):
    """Ports below the ephemeral ones, where no outgoing connection takes them before the daemons do."""
    ports = []
    while len(ports) < count:
        port = random.SystemRandom().randrange(12000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            ports += [port] if port not in ports else []
    return ports


def remove_groups(folder):
    """Remove a tree of control groups, whose processes may need a moment to be gone."""
    for group in sorted(folder.rglob("*/"), reverse=True) + [folder]:
        for _ in range(50):
            try:
                group.rmdir()
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.1)
            else:
                break
