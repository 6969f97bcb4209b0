"""Slurm on this machine alone: a controller and a node on loopback, started for a test and ended after it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

CONFIGURATION = """\
ClusterName=loop
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
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
KillWait=5
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
    """Yields what the environment of its clients has to say."""
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(CONFIGURATION.format(host=socket.gethostname(), folder=folder))
    (folder / "bin" / "sacct").write_text(SACCT)
    (folder / "bin" / "sacct").chmod(0o755)
    said = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    there = {**os.environ, **said}
    munge = Path("/run/munge/tightfit.pid")
    Path("/run/munge").mkdir(exist_ok=True)
    for place in ("/run/munge", "/var/log/munge", "/var/lib/munge", "/etc/munge"):
        shutil.chown(place, "munge")
    subprocess.run(["runuser", "-u", "munge", "--", "munged", f"--pid-file={munge}"], check=True)
    subprocess.run(["slurmctld", "-i"], check=True, env=there)
    subprocess.run(["slurmd"], check=True, env=there)
    try:
        for _ in range(60):
            if "idle" in subprocess.run(["sinfo", "-h"], capture_output=True, text=True, env=there).stdout:
                break
            time.sleep(1)
        yield said
    finally:
        subprocess.run(["scancel", "--user=root"], env=there)
        subprocess.run(["scontrol", "shutdown"], env=there)
        os.kill(int(munge.read_text()), 15)
