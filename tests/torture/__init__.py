"""A fault campaign: runs are killed, their files damaged, their disk filled, their clock moved, and then completed.

    make torture MINUTES=10                 as many faults as fit
    make torture SEED=3 INDEX=117           one of them alone

A fault is drawn from a seed and an index and strikes at a counted moment, not at a time, so the pair repeats it. What
it leaves behind is completed without a fault and compared with a run that nothing disturbed. A refusal passes where
one line names the file and a remedy, and the remedy, when followed, leads to the same result.
"""
