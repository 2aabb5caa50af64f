"""What runs below Ray Tune's controller: a pool of long-lived workers, or a clock and no workers at all.

Tune's controller, schedulers, searchers and callbacks stay as they are. One name in the controller's module, the class
that starts and asks actors, is exchanged for the time of a run (:mod:`raytune_suite.engine.seam`), and what Tune takes
for an actor a trial is then a *tenant*: one trainable in one of a few worker processes that outlive their trials.

    seam.py       every private name that is relied upon, compared with what is expected; puts the pool in and out
    pool.py       the interface of Tune's actor manager: tenants, their calls and the order of callbacks
    tenants.py    what is known of one tenant and of one worker process
    workers.py    Ray's side: starts, asks and ends the processes
    residence.py  what runs in such a process
    lean.py       the suite's own worker without ray.tune, for such a process
"""
