"""Slurm on this machine alone: a controller and a node on loopback, started for a test and ended after it.

Keys, sockets and ports are its own. A step of an earlier Slurm that ends late tells the controller at its port. Where
both had one port, such a message drained the node of the next Slurm, and its jobs waited for ever.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .ports import free_ports
from .waiting import until

CONFIGURATION = """\
ClusterName=loop
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
KillWait=30
MinJobAge=600
JobRequeue=1
DefMemPerCPU=1000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=16000 State=UNKNOWN
PartitionName=short Nodes=ALL Default=YES State=UP PriorityTier=1 GraceTime=30
PartitionName=urgent Nodes=ALL State=UP PriorityTier=10
"""
# Accounting needs a data base; submitit asks only for what the controller knows too.
SACCT = """\
#!/bin/sh
echo "JobID|State|NodeList"
scontrol -o show jobs | awk '{id=a=arr=st=nl="";for(i=1;i<=NF;i++){
 if($i~/^JobId=/)id=substr($i,7); else if($i~/^ArrayJobId=/)a=substr($i,12);
 else if($i~/^ArrayTaskId=/)arr=a"_"substr($i,13); else if($i~/^JobState=/)st=substr($i,10);
 else if($i~/^NodeList=/)nl=substr($i,10)} print (arr!=""?arr:id)"|"st"|"nl}'
"""


def obstacle() -> str:
    """Why Slurm cannot be started here; empty where it can."""
    if os.environ.get("TIGHTFIT_CLUSTER") != "1":
        return "starts system services, for minutes: set TIGHTFIT_CLUSTER=1"
    missing = [name for name in ("munged", "slurmctld", "slurmd", "scontrol") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} missing: apt-get install --no-install-recommends slurm-wlm munge"
    return "" if os.geteuid() == 0 else "only root can start it"


@contextmanager
def slurm(folder: Path) -> Generator[dict[str, str]]:
    """Yields what the environment of its clients has to say; no job and no daemon is left after it."""
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir()
    controller_port, node_port = free_ports(2)
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            host=socket.gethostname(), folder=folder, controller_port=controller_port, node_port=node_port
        )
    )
    (folder / "bin" / "sacct").write_text(SACCT)
    (folder / "bin" / "sacct").chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    said = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
    munge = ["--foreground", "--force", f"--socket={folder}/munge.socket", *files]  # forced into a folder of one owner
    with ExitStack() as daemons:
        daemons.enter_context(daemon(said, "munged", *munge))
        daemons.enter_context(daemon(said, "slurmctld", "-D", "-i"))
        daemons.enter_context(daemon(said, "slurmd", "-D"))
        until(lambda: "idle" in asked(said, "sinfo", "-h"), state=lambda: asked(said, "sinfo", "-h"))
        try:
            yield said
        finally:
            asked(said, "scancel", "--user=root")
            until(lambda: not jobs(said), state=lambda: jobs(said))


@contextmanager
def daemon(said: dict[str, str], *command: str) -> Generator[None]:
    """A process of its own group, so that a Ctrl-C at the tests lets it end in its turn."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        command, env={**os.environ, **said}, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def asked(said: dict[str, str], *command: str) -> str:
    """What a client of Slurm answers, with its complaint where it has one."""
    answer = subprocess.run(command, env={**os.environ, **said}, capture_output=True, text=True)
    return answer.stdout + answer.stderr


def jobs(said: dict[str, str]) -> str:
    """Each job that has not ended: its number, state and what it waits for, but no time, which never stands still."""
    return asked(said, "squeue", "-h", "-o", "%A %T %r")
